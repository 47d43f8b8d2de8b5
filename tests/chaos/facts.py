# SPDX-License-Identifier: GPL-3.0-or-later
"""What a campaign knows when it is over: plain data, from which account.py draws its conclusions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.faults import Strike
    from tests.fakes.channel import Spell
    from tests.testbed.frames import FrameCount

Interval = tuple[float, float]
"""Two moments of the monotonic clock of the host that runs the campaign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A segment as the daemon's store has it."""

    number: int
    status: str
    cause: str | None
    started: float | None
    ended: float | None
    media_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as the daemon's store has it."""

    kind: str
    segment: int | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one recording. `offers`: from when to when the playlist had each media segment, by the source's own log."""

    name: str
    state: str
    rows: tuple[Row, ...]
    events: tuple[Told, ...]
    gaps: int
    """seams at which the join found something missing"""
    frames: FrameCount | None
    """None: there is no joined file"""
    offers: tuple[Interval, ...]
    spells: tuple[Spell, ...]
    frames_per_offer: int
    began: float
    ended: float
    """when the broadcast ended"""
    strikes: tuple[Strike, ...]
    """what was done to it or its source"""
    slowness: float = 1.0
    """the times above are those of a machine that is not slow: see `quickened()`"""


def quickened(facts: Facts, slowness: float) -> Facts:
    """The same with each moment where it would be if the machine were not slow."""

    def quick(moment: float | None) -> float | None:
        return None if moment is None else facts.began + (moment - facts.began) / slowness

    def sure(moment: float) -> float:
        return facts.began + (moment - facts.began) / slowness

    return replace(
        facts,
        rows=tuple(
            replace(row, started=quick(row.started), ended=quick(row.ended), media_at=quick(row.media_at))
            for row in facts.rows
        ),
        events=tuple(replace(event, at=sure(event.at)) for event in facts.events),
        offers=tuple((sure(since), sure(until)) for since, until in facts.offers),
        spells=tuple(replace(spell, since=sure(spell.since), until=sure(spell.until)) for spell in facts.spells),
        ended=sure(facts.ended),
        strikes=quickened_strikes(facts.strikes, facts.began, slowness),
        slowness=slowness,
    )


def quickened_strikes(strikes: Iterable[Strike], began: float, slowness: float) -> tuple[Strike, ...]:
    """Strikes as `quickened()` has them."""

    def quick(moment: float) -> float:
        return began + (moment - began) / slowness

    return tuple(
        replace(strike, before=quick(strike.before), after=quick(strike.after), until=quick(strike.until))
        for strike in strikes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What is left of the campaign when every recording is final; each must be empty."""

    scopes: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    empty_files: tuple[str, ...] = ()
    descriptors: int = 0
    crashes: tuple[str, ...] = ()
    """ends of the daemon or the broker that nobody brought about"""
    failed_units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFacts:
    """What the catalogue lacks when every recording is final; `rows` that the store has, in all tables."""

    rows: int
    differing: tuple[str, ...] = ()
    """must be empty: each row that is not the same in both, every column counted"""
    backlog: int = 0
    """must be 0: changes that it was not told"""
