# SPDX-License-Identifier: GPL-3.0-or-later
"""What two captures hold, unit by unit and frame by frame, on one timeline: that of both, or one by what both have."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.frames import Frame, Unit, units
from streamvaultd.media.timeline import clock_of, first_beats, last_beats
from streamvaultd.media.unit_clock import Timed, aligned, common_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamvaultd.media.source import Source

# How far back in the older file the newer's start is looked for, and how far before it, and behind the older's end in
# the newer: a muxer puts what belongs together some seconds apart
REACH = 256 << 20
MARGIN = 30_000 * ts.TICKS_PER_MS
# The same where the clock does not tell
BEFORE = 32 << 20
# Frames held in memory of each, some 300 bytes for one
FRAMES_MAX = 150_000
# Units in a row that are so near (ticks) to each other are not where they belong
STILL_MIN = 25
STILL = ts.TICKS_PER_MS
# By how much two muxers round a frame's time differently
ROUNDING = (0, -1, 1, -2, 2)


@dataclass(slots=True)
class Known:
    """A unit, and its frames: which of them the other capture has, too."""

    pes: ts.Pes
    frames: list[Frame]
    digests: list[bytes]
    kept: list[Frame] = field(default_factory=list)


@dataclass(slots=True)
class Side:
    """What a part of a capture holds."""

    units: list[Known]
    times: dict[int, dict[int, bytes]]
    """By PID and time, the digest of each frame; b"" for one that is torn."""
    torn: dict[tuple[int, int], int] = field(default_factory=dict)
    """By PID and time, the bytes of each frame that is torn."""
    is_cut: bool = False
    """there is more behind it"""
    is_still: bool = False
    """its clock stood still for a while: what it has is played in no time"""

    def at(self, pid: int, ticks: int) -> bytes | None:
        """The digest of the frame of that time, None without one."""
        times = self.times.get(pid, {})
        for off in ROUNDING:
            found = times.get((ticks + off) % ts.WRAP)
            if found is not None:
                return found
        return None

    def torn_size(self, pid: int, ticks: int) -> int:
        """The bytes that are left of the frame of that time."""
        return max(self.torn.get((pid, (ticks + off) % ts.WRAP), 0) for off in ROUNDING)


class Sides(NamedTuple):
    """What both hold, on one timeline, newer's first time, and the PID that time is told by."""

    mine: Side
    yours: Side
    first: int
    clock: int


def by_time(older: Source, newer: Source) -> Sides | None:
    """By the clock of both; None where they do not overlap, or where times do not tell frames apart."""
    ends = _ends(older, newer)
    if ends is None:
        return None
    clock, first, last = ends
    mine = _side(_units(older, _low(older, first), older.size))
    yours = _side(_units(newer, 0, newer.size, until=(last + MARGIN) % ts.WRAP))
    return None if mine is None or yours is None else Sides(mine, yours, first, clock)


def has_moved(sides: Sides) -> bool:
    """Whether the newer has something of the older at another time."""
    for pid, times in sides.mine.times.items():
        theirs = _once(sides.yours.times.get(pid, {}))
        if any(sides.yours.at(pid, ticks) is None and digest in theirs for digest, ticks in _once(times).items()):
            return True
    return False


def _once(times: Mapping[int, bytes]) -> dict[bytes, int]:
    """By digest the time of each frame that is whole and comes once."""
    counts = Counter(times.values())
    return {digest: ticks for ticks, digest in times.items() if digest and counts[digest] == 1}


def by_content(older: Source, newer: Source) -> Sides | None:
    """By the frames that both have, where a clock stood still; None without enough of them.

    Clocks that go on are right: what was on air twice is there twice.
    """
    heads = first_beats(newer, 0, newer.size)
    clock = clock_of(heads)
    place = None if clock is None else common_place(older, newer, clock, REACH)
    if clock is None or place is None:
        return None
    low = max(0, older.size - REACH, place[0] - 2 * place[1] - BEFORE) // ts.PACKET * ts.PACKET
    mine = _units(older, low, older.size)
    yours = _units(newer, 0, min(newer.size, REACH))
    is_cut = newer.size > REACH or _count(yours) > FRAMES_MAX
    while _count(yours) > FRAMES_MAX:
        yours.pop()
    stood = _is_still(mine), _is_still(yours)
    if not any(stood):
        return None
    times = aligned(_timed(mine), _timed(yours), clock)
    if times is None:
        return None
    sides = _side(_moved(mine, times[0])), _side(_moved(yours, times[1]))
    if sides[0] is None or sides[1] is None:
        return None
    sides[1].is_cut = is_cut
    sides[0].is_still, sides[1].is_still = stood
    first = min(min(each) for each in times[1].values()) % ts.WRAP
    return Sides(sides[0], sides[1], first, clock)


def _is_still(units: Sequence[Known]) -> bool:
    """Whether so many units of one stream follow each other in no time."""
    last, still = dict[int, int](), Counter[int]()
    for known in units:
        pid, now = known.pes.pid, known.pes.dts
        is_next = pid in last and 0 <= ts.difference(now, last[pid]) < STILL
        still[pid] = still[pid] + 1 if is_next else 0
        last[pid] = now
        if still[pid] >= STILL_MIN:
            return True
    return False


def _count(units: Sequence[Known]) -> int:
    return sum(len(known.frames) for known in units)


def _timed(units: Sequence[Known]) -> dict[int, list[Timed]]:
    found: dict[int, list[Timed]] = {}
    for known in units:
        frames = zip(known.frames, known.digests, strict=True)
        found.setdefault(known.pes.pid, []).extend(Timed(frame.ticks, each, known.pes.at) for frame, each in frames)
    return found


def _moved(units: Sequence[Known], times: Mapping[int, Sequence[int]]) -> list[Known]:
    """The same at these times."""
    left = {pid: iter(each) for pid, each in times.items()}
    found = []
    for known in units:
        frames = [frame._replace(ticks=next(left[known.pes.pid]) % ts.WRAP) for frame in known.frames]
        found.append(replace(known, pes=known.pes._replace(dts=frames[0].ticks), frames=frames))
    return found


def _ends(older: Source, newer: Source) -> tuple[int, int, int] | None:
    """(the clock's PID, newer's first timestamp, older's last one) if they overlap."""
    heads = first_beats(newer, 0, newer.size)
    tails = last_beats(older, 0, older.size)
    clock = clock_of(heads)
    if clock is None or not heads.keys() & tails.keys():
        return None
    zero = heads[clock].pes.dts
    first = min((beat.pes.dts for beat in heads.values()), key=lambda dts: ts.difference(dts, zero))
    last = max((beat.pes.dts for beat in tails.values()), key=lambda dts: ts.difference(dts, zero))
    return (clock, first, last) if ts.difference(last, first) >= 0 else None


def _low(older: Source, first: int) -> int:
    """Where to begin to look in older for what newer begins with."""
    reach = 8 << 20
    while True:
        low = max(0, older.size - reach) // ts.PACKET * ts.PACKET
        heads = first_beats(older, low, older.size)
        is_before = any(ts.difference(beat.pes.dts, first) < -MARGIN for beat in heads.values())
        if not low or is_before or reach >= REACH:
            return low
        reach = min(4 * reach, REACH)


def _units(source: Source, start: int, end: int, *, until: int | None = None) -> list[Known]:
    """The units in these bytes, up to a timestamp, and no more than FRAMES_MAX frames and the unit after them."""
    found, count = list[Known](), 0
    for unit in units(source, start, end):
        frames = unit.frames()
        count += len(frames)
        digests = [b"" if unit.is_torn(frame) else _digest(unit, frame) for frame in frames]
        found.append(Known(unit.pes, frames, digests))
        if count > FRAMES_MAX or (until is not None and ts.difference(unit.pes.dts, until) > 0):
            break
    found.sort(key=lambda known: known.pes.at)
    return found


def _side(units: list[Known]) -> Side | None:
    """None if there are two frames of one time, or too many."""
    if _count(units) > FRAMES_MAX:
        return None
    side = Side(units, {})
    for known in units:
        times = side.times.setdefault(known.pes.pid, {})
        if any(frame.ticks in times for frame in known.frames):
            return None
        for frame, digest in zip(known.frames, known.digests, strict=True):
            times[frame.ticks] = digest
            if not digest:
                side.torn[known.pes.pid, frame.ticks] = frame.size
    return side


def _digest(unit: Unit, frame: Frame) -> bytes:
    return hashlib.blake2b(unit.data[frame.at : frame.at + frame.size], digest_size=16).digest()
