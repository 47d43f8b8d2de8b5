# SPDX-License-Identifier: GPL-3.0-or-later
"""What a campaign knows when it is over: plain data, from which account.py draws its conclusions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
