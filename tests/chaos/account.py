# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a campaign: what was offered, recorded and lost, and whether each death was recorded as what it was.

A lost frame is explained if no capture could have fetched its media segment: at no time did one run for long enough
while the playlist offered it and the source behaved. Either the source was away until the media segment had all but
left the window, or the captures were: dead, and nobody there to replace them, or waiting for their next try. How long
they may be is limited, see RESTART. An injected death is recorded as it was if its segment has the
cause that belongs to the fault. There are three ambiguities, and no others:

- A segment that had been asked to end by a rotation before the fault took effect is `rotated`.
- A stopped process that had no media yet is a `start-timeout` rather than a `stall`.
- Of a shim that was killed, only the daemon that started it can know how it ended: after a restart of the daemon the
  cause may be `unknown`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.faults import SHIM_DEATHS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.facts import Facts, Interval, Row
    from tests.chaos.faults import Strike

STARTUP: Final = 6.0
"""Seconds that a run may need until it has fetched what the playlist offers."""
RELOAD: Final = 5.0
"""Seconds that a running streamlink may need to notice a new media segment and to fetch it."""
RETRY: Final = 14.0
"""Seconds after which a running streamlink has tried again what the source refused."""
RESTART: Final = 22.0
"""Seconds without a capture, while the source behaves and the daemon runs, after which a new one is late: the longest
pause between two tries or two questions to the source, and a slow start."""
DAEMON_AWAY: Final = {"daemon-kill": 4.0, "daemon-freeze": 14.0, "daemon-restart": 5.0, "daemon-stop": 5.0}
"""Kinds of faults that keep the daemon from noticing anything, and for how long (s) after they are over."""
LAUNCH_TROUBLE: Final = {**DAEMON_AWAY, "broker-kill": 5.0, "bus-restart": 10.0, "manager-reexec": 5.0}
"""Kinds of faults that a launch may fail of, and for how long (s) after they are over."""
SOURCE_CAUSES: Final = frozenset({"network", "stall", "start-timeout", "source-refused", "source-ended"})
SOURCE_ECHO: Final = 35.0
"""Seconds after a source's spell within which a run may still end because of it."""
DISK_ECHO: Final = {"disk-fill": 6.0}
"""Seconds after a disk has room again within which a run may still be recorded as ended by it …"""
DISK_RESUME: Final = {"disk-fill": 13.0}
"""… and within which recordings go on: the daemon looks every 10 s."""
DAMAGED_PER_GAP: Final = 6
"""Frames that a torn end may spoil where something is missing anyway."""


@dataclass(slots=True)
class Account:
    """Of one recording; `losses` say where frames are missing, `complaints` what must not be."""

    name: str
    offered: int = 0
    recorded: int = 0
    lost_source_away: int = 0
    lost_capture_away: int = 0
    lost_unexplained: int = 0
    repeated: int = 0
    damaged: int = 0
    disordered: int = 0
    segments: int = 0
    rotations: int = 0
    deaths_injected: int = 0
    deaths_recorded: int = 0
    deaths_miscounted: int = 0
    deaths_by_source: int = 0
    deaths_by_disk: int = 0
    deaths_unexplained: int = 0
    ends_unexplained: int = 0
    late: int = 0
    stuck: int = 0
    ended_early: int = 0
    losses: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


MUST_BE_ZERO: Final = (
    "lost_unexplained", "repeated", "damaged", "disordered", "deaths_miscounted", "deaths_unexplained",
    "ends_unexplained", "late", "stuck", "ended_early",
)  # fmt: skip


def draw_up(facts: Facts, daemon: Iterable[Strike]) -> Account:
    """The account of one recording; `daemon` is what was done to the daemon and its surroundings."""
    account = Account(facts.name, segments=len(facts.rows))
    surroundings = tuple(daemon)
    runs = [run for row in facts.rows if (run := run_of(row, facts.strikes, surroundings)) is not None]
    _count_frames(account, facts, runs)
    _count_deaths(account, facts, surroundings)
    _count_lateness(account, facts, runs, surroundings)
    if facts.state not in ("completed", "stopped", "failed"):
        account.stuck = 1
        account.complaints.append(f"it is still {facts.state}")
    return account


# --- frames --------------------------------------------------------------------------------------------------------


def run_of(row: Row, strikes: Iterable[Strike], daemon: Iterable[Strike]) -> Interval | None:
    """From when to when a segment captured, or at least could."""
    if row.started is None:
        return None
    end = math.inf if row.ended is None else row.ended
    for strike in strikes:
        if strike.segment == row.number:
            return row.started, min(end, strike.before)
    for start, over in away(daemon, DAEMON_AWAY):
        if start < end <= over:  # when it ended was not seen
            end = max(start, row.started)
    return row.started, end


def away(strikes: Iterable[Strike], kinds: dict[str, float]) -> list[Interval]:
    """The times in which faults of these kinds had effects."""
    return [(strike.before, strike.until + kinds[strike.kind]) for strike in strikes if strike.kind in kinds]


def without(interval: Interval, holes: Iterable[Interval]) -> list[Interval]:
    """What is left of an interval."""
    left = [interval]
    for low, high in holes:
        left = [part for start, end in left for part in ((start, min(end, low)), (max(start, high), end))]
        left = [(start, end) for start, end in left if start < end]
    return left


def could_fetch(offered: Interval, spells: Iterable[Interval], runs: Iterable[Interval]) -> bool:
    """Whether a capture ran for long enough while the source gave a media segment to whoever asked."""
    for start, end in without(offered, spells):
        for began, ended in runs:
            low, high = max(start, began), min(end, ended)
            needed = STARTUP if began >= start else RELOAD if start == offered[0] else RETRY
            if high - low >= needed:
                return True
    return False


def why_lost(offered: Interval, spells: list[Interval], runs: list[Interval]) -> str:
    """The line of the account that the loss of a media segment belongs to."""
    if max((end - start for start, end in without(offered, spells)), default=0.0) < STARTUP:
        return "lost_source_away"
    return "lost_unexplained" if could_fetch(offered, spells, runs) else "lost_capture_away"


@dataclass(slots=True)
class Loss:
    """Frames of media segments in succession that were lost for one reason."""

    reason: str
    first: int
    last: int
    frames: int
    when: str

    def __str__(self) -> str:
        which = f" {self.first}" if self.first == self.last else f"s {self.first} to {self.last}"
        reason = self.reason.replace("_", " ")
        return f"{reason}: {self.frames} frames of media segment{which}, the first offered {self.when}"


def losses_of(found: Counter[int], facts: Facts, spells: list[Interval], runs: list[Interval]) -> list[Loss]:
    """Lost frames by media segment, each with its reason, neighbours together."""
    losses: list[Loss] = []
    for index in sorted(found):
        reason = why_lost(facts.offers[index], spells, runs)
        if losses and (losses[-1].last, losses[-1].reason) == (index - 1, reason):
            losses[-1].last = index
            losses[-1].frames += found[index]
        else:
            losses.append(Loss(reason, index, index, found[index], _time(facts, facts.offers[index])))
    return losses


def _count_frames(account: Account, facts: Facts, runs: list[Interval]) -> None:
    account.offered = len(facts.offers) * facts.frames_per_offer
    if facts.frames is None:
        lost: Iterable[int] = range(account.offered)
    else:
        lost = facts.frames.lost
        account.recorded = facts.frames.found
        account.repeated = facts.frames.repeated
        account.disordered = facts.frames.disordered
        account.damaged = max(0, facts.frames.foreign - facts.gaps * DAMAGED_PER_GAP)
    spells = [(spell.since, spell.until) for spell in facts.spells if spell.kind != "freeze"]
    found = Counter(frame // facts.frames_per_offer for frame in lost)
    for loss in losses_of(found, facts, spells, runs):
        setattr(account, loss.reason, getattr(account, loss.reason) + loss.frames)
        account.losses.append(str(loss))
        if loss.reason == "lost_unexplained":
            account.complaints.append(str(loss))
    for name in ("repeated", "damaged", "disordered"):
        if found := getattr(account, name):
            account.complaints.append(f"{found} frames are {name}")


# --- deaths --------------------------------------------------------------------------------------------------------


def suspicions(facts: Facts) -> int:
    """How often a segment began beside one that a misbehaving source had made suspect; that ends as a rotation."""
    told = [event.at for event in facts.events if event.kind == "suspected"]
    return sum(any(spell.since <= at <= spell.until + SOURCE_ECHO for spell in facts.spells) for at in told)


def _count_deaths(account: Account, facts: Facts, daemon: tuple[Strike, ...]) -> None:
    injected = {strike.segment: strike for strike in facts.strikes if strike.segment is not None}
    account.deaths_injected = len(injected)
    account.rotations = sum(row.cause == "rotated" for row in facts.rows)
    asked = sum(strike.kind.startswith("rotate") for strike in facts.strikes) + suspicions(facts)
    if account.rotations > asked:
        account.ends_unexplained += account.rotations - asked
        account.complaints.append(f"{account.rotations} rotations, though {asked} were asked for")
    fills = sum(strike.kind == "disk-fill" for strike in facts.strikes)
    for row in facts.rows:
        told = sum(event.kind == "segment-died" and event.segment == row.number for event in facts.events)
        strike = injected.get(row.number)
        if strike is not None:
            _match(account, facts, row, strike, daemon, told)
        elif told > 1:
            account.deaths_miscounted += 1
            account.complaints.append(f"the death of segment {row.number} was told {told} times")
        else:
            _explain(account, facts, row, daemon)
    if account.deaths_by_disk > fills:
        account.deaths_miscounted += 1
        account.complaints.append(f"the disk was full {fills} times and ended {account.deaths_by_disk} segments")


def _match(account: Account, facts: Facts, row: Row, strike: Strike, daemon: tuple[Strike, ...], told: int) -> None:
    """An injected death: exactly one is recorded, and with its cause."""
    if row.cause in accepted_causes(facts, row, strike, daemon) and told <= 1:
        account.deaths_recorded += 1
        return
    account.deaths_miscounted += 1
    account.complaints.append(
        f"segment {row.number}: {strike.kind} at {_at(facts, strike.before)} is recorded as {row.cause}"
        f" at {_at(facts, row.ended)}, told {told} times; expected {strike.cause}"
    )


def accepted_causes(facts: Facts, row: Row, strike: Strike, daemon: tuple[Strike, ...]) -> set[str]:
    """The cause that belongs to the fault, or what the ambiguities above allow in its place."""
    assert strike.cause is not None
    causes = {strike.cause}
    if strike.cause == "stall" and row.media_at is None:
        causes = {"start-timeout"}
    effective = strike.after if strike.kind != "streamlink-stop" else row.ended or math.inf
    rotations = [event.at for event in facts.events if event.kind == "rotation-done" and event.segment is not None
                 and event.segment > row.number]  # fmt: skip
    if any(at <= effective for at in rotations):
        causes.add("rotated")
    lifetime = (row.started or 0.0, row.ended or math.inf)
    restarted = any(low <= lifetime[1] and lifetime[0] <= high for low, high in away(daemon, DAEMON_AWAY))
    if strike.kind in SHIM_DEATHS and restarted:
        causes.add("unknown")
    return causes


def _explain(account: Account, facts: Facts, row: Row, daemon: tuple[Strike, ...]) -> None:
    """The end of a segment to which nothing was done."""
    cause, ended = row.cause, row.ended
    if cause is None or ended is None:
        account.stuck += 1
        account.complaints.append(f"segment {row.number} has not ended")
        return
    if cause == "rotated" or (ended >= facts.ended and cause in (*SOURCE_CAUSES, "stopped")):
        return
    if cause in SOURCE_CAUSES and any(spell.since <= ended <= spell.until + SOURCE_ECHO for spell in facts.spells):
        account.deaths_by_source += cause not in ("source-ended", "source-refused")
        return
    if cause == "disk-full" and any(low <= ended <= high for low, high in away(facts.strikes, DISK_ECHO)):
        account.deaths_by_disk += 1
        return
    if cause == "launch-failed" and any(low <= ended <= high for low, high in away(daemon, LAUNCH_TROUBLE)):
        return
    if cause in ("launch-failed", "source-ended", "source-refused", "stopped"):
        account.ends_unexplained += 1
    else:
        account.deaths_unexplained += 1
    account.complaints.append(
        f"segment {row.number} ended ({cause}) at {_at(facts, ended)}, and nothing was done to it"
    )


# --- time ----------------------------------------------------------------------------------------------------------


def _count_lateness(account: Account, facts: Facts, runs: list[Interval], daemon: tuple[Strike, ...]) -> None:
    excuses = away(daemon, DAEMON_AWAY)
    excuses += [(spell.since, spell.until) for spell in facts.spells]
    excuses += away(facts.strikes, DISK_RESUME)
    excuses += [(s.before, s.before + RESTART) for s in facts.strikes if s.kind == "streamlink-stop"]
    for start, end in without((facts.began, facts.ended), [*runs, *excuses]):
        if end - start > RESTART:
            account.late += 1
            account.complaints.append(f"nothing captured from {_at(facts, start)} to {_at(facts, end)}")
    ends = [row.ended for row in facts.rows if row.ended is not None]
    if facts.state in ("completed", "stopped", "failed") and max(ends, default=0.0) < facts.ended - RESTART:
        account.ended_early = 1
        account.complaints.append(f"it was {facts.state} before the broadcast was over")


def _time(facts: Facts, interval: Interval) -> str:
    return f"{_at(facts, interval[0])} to {_at(facts, interval[1])}"


def _at(facts: Facts, moment: float | None) -> str:
    return "-" if moment is None else f"{(moment - facts.began) * facts.slowness:.2f}"
