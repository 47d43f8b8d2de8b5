# SPDX-License-Identifier: GPL-3.0-or-later
"""Which fault strikes when and whom: drawn from a seed and a campaign's length and size, and from nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MEAN_PAUSE: Final = 3.5
"""Seconds between two faults, on average."""
MIN_PAUSE: Final = 0.3
WINDOW: Final = 30.0
"""Seconds that the sources' playlists reach back."""
STALL_TIMEOUT: Final = 12
"""As the daemon is configured; with what follows a stall it must fit into the window."""
STALL_BUSY: Final = 25.0
"""Seconds until a stopped process has surely been found and replaced: nothing else happens to its recording."""
LONG_ENOUGH_FOR_GONE: Final = 180.0
"""Campaigns of so many seconds see a source that is away for longer than its window."""
GONE: Final = (36.0, 42.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, `at` seconds after the first.

    `recording` counts from 0, None where the fault is not one recording's. `lasts`: seconds until it is undone.
    `which`: "newest" or "oldest" of the segments that run. `on`: what of a source misbehaves.
    """

    at: float
    kind: str
    recording: int | None = None
    lasts: float = 0.0
    which: str = "newest"
    on: str = "all"

    def __str__(self) -> str:
        whom = "" if self.recording is None else f" of recording {self.recording}"
        on = f" ({self.on})" if self.kind.startswith("source-") else ""
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:7.2f}  {self.kind}{on}{whom}{lasts}"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of fault is drawn: `cards` of it are in each deck, `busy` seconds until its target is free again.

    `whom`: "capture" and "source" are one recording's, "disk" is the last recording's, which has one of its own,
    "daemon" is everybody's, "database" the catalogue's. `lasts`: from … to, in seconds.
    """

    whom: str
    cards: int = 1
    busy: float = 3.0
    lasts: tuple[float, float] = (0.0, 0.0)
    on: tuple[str, ...] = ("all",)


KINDS: Final = {
    "streamlink-kill": Kind("capture", 3),
    "streamlink-term": Kind("capture", 2),
    "streamlink-segv": Kind("capture"),
    "streamlink-abrt": Kind("capture"),
    "streamlink-stop": Kind("capture", busy=STALL_BUSY),
    "shim-kill": Kind("capture", 2),
    "scope-kill": Kind("capture"),
    "scope-stop": Kind("capture"),
    "segment-oom": Kind("capture", 3, busy=5.0),
    "rotate": Kind("capture", 3),
    "rotate-and-kill": Kind("capture", 2, busy=5.0),
    "kill-and-rotate": Kind("capture", busy=5.0),
    "kill-and-broker": Kind("capture", busy=5.0),
    "rotate-and-broker": Kind("capture", busy=5.0),
    "daemon-kill": Kind("daemon", 2),
    "daemon-freeze": Kind("daemon", busy=16.0),
    "daemon-restart": Kind("daemon"),
    "daemon-stop": Kind("daemon", lasts=(1.0, 7.0)),
    "daemon-reload": Kind("daemon", busy=0.5),
    "manager-reexec": Kind("daemon"),
    "broker-kill": Kind("daemon", busy=0.5),
    "bus-restart": Kind("daemon"),
    "journal-restart": Kind("daemon", busy=0.5),
    "disk-fill": Kind("disk", lasts=(2.0, 6.0), busy=30.0),
    "source-403": Kind("source", lasts=(3.0, 9.0), on=("playlist", "media", "all")),
    "source-404": Kind("source", lasts=(3.0, 9.0), on=("playlist", "media", "all")),
    "source-500": Kind("source", lasts=(3.0, 9.0), on=("playlist", "media", "all")),
    "source-stall": Kind("source", lasts=(3.0, 9.0), on=("playlist", "media", "all")),
    "source-drop": Kind("source", lasts=(3.0, 9.0), on=("playlist", "media", "all")),
    "source-cut": Kind("source", lasts=(3.0, 8.0), on=("media",)),
    "source-slow": Kind("source", lasts=(3.0, 8.0), on=("media",)),
    "source-freeze": Kind("source", lasts=(3.0, 9.0), on=("playlist",)),
    "source-flap": Kind("source", lasts=(6.0, 12.0)),
    "source-gone": Kind("source", lasts=GONE),
}
DATABASE_KINDS: Final = {
    "postgresql-kill": Kind("database", lasts=(0.5, 6.0)),
    "postgresql-crash": Kind("database", 2, busy=2.0),
    "postgresql-stop": Kind("database", lasts=(2.0, 12.0)),
    "postgresql-restart": Kind("database"),
    "postgresql-freeze": Kind("database", lasts=(2.0, 10.0)),
}
"""What is done to the catalogue's server, one after the other, beside all the rest of a seed, which stays as it is."""
NEEDS_MEMORY: Final = frozenset({"segment-oom"})
"""Kinds that need a machine whose memory is limited by its kernel: a vm."""
PAIRS: Final = {
    "rotate-and-kill": ("rotate", "streamlink-kill", 2.5),
    "kill-and-rotate": ("streamlink-kill", "rotate", 1.0),
    "kill-and-broker": ("streamlink-kill", "broker-kill", 0.5),
    "rotate-and-broker": ("rotate", "broker-kill", 0.5),
}
"""Two faults in close succession: the first, the second, and how long after it at most."""
ALONE: Final = {
    "streamlink-stop": ("source",),
    "source-gone": ("capture", "disk"),
    "disk-fill": ("capture", "source"),
}
"""Faults that leave their recording in peace from others: what came of which could not be told."""
TAIL: Final = ("daemon-kill", "broker-kill", "daemon-restart", "journal-restart", "manager-reexec")
"""What may still happen while the recordings end and are joined."""
TAIL_LENGTH: Final = 15.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Faults in order of time. Those after `length` seconds strike while the broadcasts are over already.

    On a machine that is slow by a factor, everything takes that much longer: pauses, faults, windows and limits.
    """

    seed: int
    minutes: float
    recordings: int
    slowness: float
    faults: tuple[Fault, ...]
    postgresql: bool = False
    """the daemon has a catalogue, whose server suffers too"""

    @property
    def length(self) -> float:
        return self.minutes * 60

    @property
    def window(self) -> float:
        """Seconds that the sources' playlists reach back."""
        return WINDOW * self.slowness

    @property
    def stall_timeout(self) -> int:
        return round(STALL_TIMEOUT * self.slowness)

    @property
    def grace(self) -> int:
        """Seconds that a source may be away and still be the same broadcast: longer than it will be."""
        return round(self.slowness * (GONE[1] + WINDOW / 2 if self.has_real_losses else WINDOW))

    @property
    def has_real_losses(self) -> bool:
        return any(fault.kind == "source-gone" for fault in self.faults)


def draw(
    seed: int,
    minutes: float,
    recordings: int,
    *,
    slowness: float = 1.0,
    memory: bool = False,
    postgresql: bool = False,
) -> Schedule:
    """The schedule of a campaign; equal arguments give equal schedules.

    `memory`: with what only a vm can suffer; `postgresql`: with what the catalogue's server can.
    """
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is what it is for
    length = minutes * 60 / slowness
    busy = _Busy(recordings)
    left_out = set() if memory else set(NEEDS_MEMORY)
    if length < LONG_ENOUGH_FOR_GONE:
        left_out.add("source-gone")
    deck = _deal(rng, {name: kind for name, kind in KINDS.items() if name not in left_out})
    faults: list[Fault] = []
    at = 0.0
    while (at := at + MIN_PAUSE + rng.expovariate(1 / (MEAN_PAUSE - MIN_PAUSE))) < length:
        faults += _draw_fault(rng, busy, next(deck), at, length)
    for kind in rng.sample(TAIL, k=2):
        faults.append(Fault(at=length + rng.uniform(0.0, TAIL_LENGTH), kind=kind))
    if postgresql:
        faults += _draw_database(seed, length)
    faults.sort(key=lambda fault: fault.at)
    stretched = tuple(_stretch(fault, slowness) for fault in faults)
    return Schedule(seed, minutes, recordings, slowness, stretched, postgresql)


def _draw_database(seed: int, length: float) -> Iterator[Fault]:
    """The server's faults, one after the other, and that it is away while the broadcasts end."""
    rng = random.Random(f"{seed} postgresql")  # noqa: S311
    deck = _deal(rng, DATABASE_KINDS)
    at = 0.0
    while True:
        name = next(deck)
        kind = DATABASE_KINDS[name]
        at, lasts = at + MIN_PAUSE + rng.expovariate(1 / (MEAN_PAUSE - MIN_PAUSE)), rng.uniform(*kind.lasts)
        if at + lasts > length:
            break
        yield Fault(at=at, kind=name, lasts=lasts)
        at += lasts + kind.busy
    lasts = rng.uniform(*DATABASE_KINDS["postgresql-stop"].lasts)
    yield Fault(at=length + rng.uniform(0.0, TAIL_LENGTH / 2), kind="postgresql-stop", lasts=lasts)


def _stretch(fault: Fault, slowness: float) -> Fault:
    return replace(fault, at=round(fault.at * slowness, 2), lasts=round(fault.lasts * slowness, 2))


def _deal(rng: random.Random, kinds: Mapping[str, Kind]) -> Iterator[str]:
    """Kinds without end, from decks that hold each kind as often as it has cards: so none is left out for long."""
    cards = [name for name, kind in kinds.items() for _ in range(kind.cards)]
    while True:
        rng.shuffle(cards)
        yield from list(cards)


@dataclass(slots=True)
class _Busy:
    """Until when each target is left alone."""

    recordings: int
    until: dict[tuple[str, int | None], float] = field(default_factory=dict)

    def free(self, whom: str, at: float) -> list[int | None]:
        """Whom a fault of this kind may strike now."""
        every: list[int | None] = [*range(self.recordings)]
        special: dict[str, list[int | None]] = {"daemon": [None], "disk": every[-1:]}
        targets = special.get(whom, every)
        return [target for target in targets if self.until.get((whom, target), 0.0) <= at]

    def take(self, whom: str, target: int | None, until: float) -> None:
        self.until[whom, target] = max(until, self.until.get((whom, target), 0.0))


def _draw_fault(rng: random.Random, busy: _Busy, name: str, at: float, length: float) -> list[Fault]:
    """The fault or the pair of faults of this kind at this time; none if there is nobody that it may strike."""
    kind = KINDS[name]
    lasts = rng.uniform(*kind.lasts)
    free = busy.free(kind.whom, at)
    for other in ALONE.get(name, ()):
        free = [target for target in free if target in busy.free(other, at)]
    target = rng.choice(free) if free else None
    delay = rng.uniform(0.0, PAIRS[name][2]) if name in PAIRS else 0.0
    which = "oldest" if rng.random() < 0.5 else "newest"
    on = rng.choice(kind.on)
    if not free or at + lasts + (STALL_BUSY if name == "streamlink-stop" else 0.0) > length:
        return []
    busy.take(kind.whom, target, at + lasts + kind.busy + (5.0 if kind.whom == "source" else 0.0))
    for other in ALONE.get(name, ()):
        busy.take(other, target, at + lasts + kind.busy)
    if name not in PAIRS:
        return [Fault(at=at, kind=name, recording=target, lasts=lasts, which=which, on=on)]
    first, second, _ = PAIRS[name]
    second_target = target if KINDS[second].whom == "capture" else None
    return [
        Fault(at=at, kind=first, recording=target, which="newest"),
        Fault(at=at + delay, kind=second, recording=second_target, which=which),
    ]
