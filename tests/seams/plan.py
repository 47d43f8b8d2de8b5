# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to which recording, in which order: drawn from a seed and the numbers asked for, and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

SEGMENT: Final = 2
"""Seconds of a media segment."""
WINDOW: Final = 15
"""Media segments that a playlist offers."""
PAUSE: Final = (0.5, 6.0)
"""Seconds between two things that are done to one recording: a media segment lasts two."""
OUTAGE: Final = (0.1, 8.0)
"""Seconds for which nothing can be fetched after a kill; a window of 30 s holds what comes meanwhile."""
SIGNALS: Final = ("TERM", "KILL")
MAIN_KINDS: Final = ("ts", "fmp4")
OTHER_KINDS: Final = ("aes", "audio", "separate", "change", "fmp4-change")
PARALLEL: Final = 4
"""Recordings of each main kind at most."""
PER_RECORDING: Final = 4
"""Steps that are worth a recording of their own."""
OTHERS_SHARE: Final = 20
"""A recording of each other kind gets this share of the rotations and kills, one of each at least."""
SOAKED: Final = 5
"""Recordings of each main kind in a soak."""
SOAK_WINDOW: Final = 120
"""Seconds on the clock that a playlist reaches back in a soak."""
SLACK: Final = 1.25
"""The broadcasts of a soak last longer than they need by this factor: a machine may be slow."""
BEYOND: Final = (1.15, 1.5)
"""How long an outage beyond the window lasts, in windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rotation or a kill, `pause` seconds after the one before.

    `where` nothing can be fetched for `outage` seconds: at the "source", or because the next streamlink begins so late
    ("start"). `mid_chunk`: the kill comes so many seconds after a media segment began to come in, slowly.
    `due`: not before the broadcast has offered so many media segments.
    """

    kind: str
    pause: float
    signal: str = ""
    outage: float = 0.0
    where: str = ""
    mid_chunk: float | None = None
    due: int = 0


@dataclass(frozen=True, slots=True)
class Take:
    """One recording: what its channel offers, how many media segments its window has, and what is done.

    `speed`: seconds of media for each second on the clock. `until`: it does not end before so many media segments.
    """

    name: str
    kind: str
    window: int
    steps: tuple[Step, ...]
    speed: float = 1.0
    until: int = 0

    @property
    def is_away(self) -> bool:
        """Whether its source is away for longer than its window."""
        return any(step.kind == "away" for step in self.steps)

    def count(self, kind: str) -> int:
        return sum(step.kind == kind for step in self.steps)


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign."""

    seed: int
    rotations: int
    kills: int
    takes: tuple[Take, ...]

    @property
    def seconds(self) -> int:
        """How long (in media) it may last: so long have the broadcasts to go on."""
        return round(max(_longest(take) for take in self.takes))


def draw(seed: int, rotations: int, kills: int, *, absences: int = 2, away_window: int = WINDOW) -> Plan:
    """Equal arguments give equal plans. `absences` of each main kind, by sources with a window of their own."""
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is what it is for
    number = max(1, min(PARALLEL, (rotations + kills) // (PER_RECORDING * len(MAIN_KINDS))))
    names = [(f"{kind}-{index}", kind) for index in range(1, number + 1) for kind in MAIN_KINDS]
    shuffled = ["rotate"] * rotations + ["kill"] * kills
    rng.shuffle(shuffled)
    takes = [
        Take(name, kind, WINDOW, _steps(rng, shuffled[at :: len(names)])) for at, (name, kind) in enumerate(names)
    ]
    few = ["rotate"] * max(1, rotations // OTHERS_SHARE) + ["kill"] * max(1, kills // OTHERS_SHARE)
    takes += [Take(kind, kind, WINDOW, _steps(rng, rng.sample(few, len(few)))) for kind in OTHER_KINDS]
    if absences:
        takes += [Take(f"{kind}-away", kind, away_window, _aways(rng, away_window, absences)) for kind in MAIN_KINDS]
    return Plan(seed, rotations, kills, tuple(takes))


def draw_soak(seed: int, rotations: int, kills: int, hours: float, speed: float) -> Plan:
    """So many hours of media, of all recordings together, with the changes spread over them."""
    rng = random.Random(seed)  # noqa: S311 - see draw()
    names = [(f"{kind}-{index}", kind) for index in range(1, SOAKED + 1) for kind in MAIN_KINDS]
    shuffled = ["rotate"] * rotations + ["kill"] * kills
    rng.shuffle(shuffled)
    until = -(-round(hours * 3600) // (SEGMENT * len(names)))
    takes = []
    for at, (name, kind) in enumerate(names):
        dues = sorted(rng.randrange(until) for _ in shuffled[at :: len(names)])
        steps = _steps(rng, shuffled[at :: len(names)])
        timed = tuple(replace(step, due=due) for step, due in zip(steps, dues, strict=True))
        takes.append(Take(name, kind, round(SOAK_WINDOW * speed / SEGMENT), timed, speed, until))
    return Plan(seed, rotations, kills, tuple(takes))


def _longest(take: Take) -> float:
    """Seconds of media until all steps are done at the latest, and a minute."""
    steps = sum(step.pause + step.outage + 12 for step in take.steps)
    if take.until:
        return take.until * SEGMENT * SLACK
    return steps * take.speed + 60


def _steps(rng: random.Random, kinds: list[str]) -> tuple[Step, ...]:
    return tuple(_kill(rng) if kind == "kill" else Step(kind=kind, pause=_uniform(rng, PAUSE)) for kind in kinds)


def _kill(rng: random.Random) -> Step:
    return Step(
        kind="kill",
        pause=_uniform(rng, PAUSE),
        signal=rng.choice(SIGNALS),
        outage=_uniform(rng, OUTAGE),
        where=rng.choice(("source", "start")),
        mid_chunk=_uniform(rng, (0.0, 1.0)) if rng.random() < 1 / 3 else None,
    )


def _aways(rng: random.Random, window: int, count: int) -> tuple[Step, ...]:
    seconds = 2.0 * window
    return tuple(
        Step(
            kind="away",
            pause=_uniform(rng, PAUSE),
            signal=SIGNALS[number % len(SIGNALS)],
            outage=_uniform(rng, (BEYOND[0] * seconds, BEYOND[1] * seconds)),
            where="source",
        )
        for number in range(count)
    )


def _uniform(rng: random.Random, between: tuple[float, float]) -> float:
    return round(rng.uniform(*between), 2)
