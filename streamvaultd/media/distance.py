# SPDX-License-Identifier: GPL-3.0-or-later
"""How far two segments are apart by the clocks that both have, and what that tells of what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.media import timeline, ts
from streamvaultd.media.pieces import GAP_MAX
from streamvaultd.media.source import Clipped, Source

if TYPE_CHECKING:
    from collections.abc import Callable

# A clock that runs back by more than this (ms) is no rounding: that nothing is missing cannot be told
BACKWARD_NONE_MS = 1.0
# A clock that runs back by more than this (ms) was set anew, so distances across it mean nothing
BACKWARD_MAX_MS = 120_000.0


def passed(gap: float | None, expected: Callable[[], float | None]) -> float | None:
    """The gap, unless it is longer than any pause and far less time passed meanwhile: then the clock was set ahead.

    `expected` tells how much both hold by when they were received; less than nothing is what passed between them.
    """
    if gap is None or gap * ts.TICKS_PER_MS <= GAP_MAX:
        return gap
    both = expected()
    return gap if both is None or gap <= GAP_MAX / ts.TICKS_PER_MS - 2 * min(0.0, both) else None


def length_of(gap: float | None) -> float | None:
    """How much is missing. A clock that runs back does not tell: it was set anew, or the same time is there twice."""
    return None if gap is None or gap < -BACKWARD_NONE_MS else max(0.0, gap)


def gap_note(gap: float | None) -> str:
    if gap is None:
        return "the clocks of the segments cannot be compared"
    if gap < -BACKWARD_NONE_MS:
        return f"the clock was set back, or the same {-gap:.0f} ms may be in both, in other bytes: both are kept"
    return ""


def distance_ms(older: Source, newer: Source) -> float | None:
    """From the end of older's last frame to newer's first, by the clock both have; None without one."""
    before = timeline.last_beats(older, 0, older.size)
    after = timeline.first_beats(newer, 0, newer.size)
    clock = timeline.clock_of({pid: after[pid] for pid in after.keys() & before.keys()})
    if clock is None:
        return None
    step = before[clock].step if before[clock].step > 0 else after[clock].step
    ticks = ts.difference(after[clock].pes.dts, before[clock].pes.dts) - max(step, 0)
    return round(ticks / ts.TICKS_PER_MS, 1)


def clock_gap_ms(older: Source, newer: Source) -> float | None:
    """The distance, unless it tells of a clock that was set anew."""
    distance = distance_ms(older, newer)
    return None if distance is None or distance < -BACKWARD_MAX_MS else distance


def clock_overlap_ms(older: Source, newer: Source, older_end: int, newer_start: int) -> float | None:
    """For segments whose common clock is proven, and of which so much is kept before and behind what they share."""
    distance = distance_ms(older, newer)
    if distance is None:
        return None
    before = after = 0
    if not older_end:
        before = _ticks(timeline.first_beats(newer, 0, newer.size), timeline.first_beats(older, 0, older.size))
    if newer_start >= newer.size:
        after = _ticks(timeline.last_beats(newer, 0, newer.size), timeline.last_beats(older, 0, older.size))
    return max(0.0, round(-distance - (max(before, 0) + max(after, 0)) / ts.TICKS_PER_MS, 1))


def _ticks(earlier: dict[int, timeline.Beat], later: dict[int, timeline.Beat]) -> int:
    """From one to the other by the clock of both; 0 without one."""
    clock = timeline.clock_of({pid: earlier[pid] for pid in earlier.keys() & later.keys()})
    return 0 if clock is None else ts.difference(later[clock].pes.dts, earlier[clock].pes.dts)


def media_ms(source: Source, end: int) -> float | None:
    """Milliseconds of media in source[:end]."""
    ms = timeline.duration_ms(Clipped(source, end))
    return None if ms is None else float(ms)
