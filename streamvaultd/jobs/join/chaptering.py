# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moments a part of the result shows: each capture that it has media of, by dates or by when it was received.

The source's own dates (EXT-X-PROGRAM-DATE-TIME) say when the first media of a capture were broadcast. Without them the
last ones are taken to have been broadcast when they came, which is late by what the source takes to offer them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamvaultd.media import fragments, timeline, ts
from streamvaultd.media.chapters import Change, Chapter, OnAir, chapters
from streamvaultd.media.container import FileFormat
from streamvaultd.media.seam import SeamKind
from streamvaultd.media.splice import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamvaultd.jobs.join.describe import OpenSegment
    from streamvaultd.media.plan import Plan
    from streamvaultd.media.source import Source

BEYOND_MS: Final = 3_600_000
"""A capture may reach back before its beginning by as much as a playlist offers; more is another clock."""

CLOCKS_MS: Final = 2000
"""So far two synchronized clocks may be apart."""


def timed(
    plan: Plan, segments: Sequence[OpenSegment], result: Source, titles: Sequence[Change], *, is_timed: bool
) -> tuple[int | None, tuple[Chapter, ...], tuple[OnAir, ...]]:
    """How many ms a part of the result lasts, gaps included; and in the same look, of a transport stream, its chapters
    and when its media were broadcast, if they are wanted.
    """
    if plan.container is not FileFormat.TS:
        return fragments.duration_ms(result, plan.gaps()), (), ()
    if not (titles or is_timed):
        return timeline.duration_ms(result, plan.gaps()), (), ()
    begun = [at for at, _ in _first_parts(plan).values()]
    duration, places = timeline.places_ms(result, plan.gaps(), begun)
    if duration is None:
        return None, (), ()
    found = stretches(plan, segments, places, duration)
    return duration, chapters(titles, found, duration) if titles else (), found if is_timed else ()


def _first_parts(plan: Plan) -> dict[int, tuple[int, Part]]:
    """By file, where in the result its first media are, and which."""
    at, found = 0, dict[int, tuple[int, Part]]()
    for piece in plan.pieces:
        if isinstance(piece, Part):
            found.setdefault(piece.file, (at, piece))
        at += piece.size
    return found


def stretches(
    plan: Plan, segments: Sequence[OpenSegment], places: Mapping[int, float], length: float
) -> tuple[OnAir, ...]:
    """In the order of the result; `places` has the ms at which what begins at an offset is shown."""
    begun = [
        (places[at], moment, file)
        for file, (at, part) in _first_parts(plan).items()
        if at in places and (moment := _broadcast_at(segments[file], part.start)) is not None
    ]
    gaps = {each.newer: each.seam.gap_ms or 0.0 for each in plan.seams if each.seam.kind is SeamKind.GAP}
    ends = [*(at - gaps.get(file, 0.0) for at, _, file in begun[1:]), length][: len(begun)]
    return tuple(OnAir(at, moment, max(0.0, end - at)) for (at, moment, _), end in zip(begun, ends, strict=True))


def _broadcast_at(segment: OpenSegment, offset: int) -> float | None:
    """When what begins at an offset of a capture was broadcast (ms since 1970), as far as that can be told."""
    here = _decoded(segment.source, offset)
    if here is None:
        return None
    if segment.dated is not None and _is_believed(segment.dated, segment):
        first = _decoded(segment.source, 0)
        passed = None if first is None else ts.difference(here, first) / ts.TICKS_PER_MS
        return None if passed is None or passed < 0 else segment.dated + passed
    if segment.received is None or segment.until is None:
        return None
    return segment.until - next(_lasts(segment, here), float(segment.until - segment.received[0]))


def _is_believed(dated: int, segment: OpenSegment) -> bool:
    """Whether media of that date can have come when they did; a source's clock may be wrong."""
    return segment.received is None or -CLOCKS_MS <= segment.received[0] - dated <= BEYOND_MS


def _lasts(segment: OpenSegment, here: int) -> Iterator[float]:
    """How many ms of media come from there to the end of a capture, if its clock and ours agree well enough."""
    beats = timeline.last_beats(segment.source, 0, segment.source.size)
    clock = timeline.clock_of(beats)
    if clock is None or segment.received is None or segment.until is None:
        return
    about, beat = float(segment.until - segment.received[0]), beats[clock]
    ticks = ts.difference((beat.pes.dts + max(beat.step, 0)) % ts.WRAP, here)
    round_ms = ts.WRAP / ts.TICKS_PER_MS  # it takes 26.5 hours, and a capture may last a day
    ms = ticks / ts.TICKS_PER_MS
    ms += round_ms * max(0, round((about - ms) / round_ms))
    if 0 <= ms <= about + BEYOND_MS and ms >= about - BEYOND_MS:
        yield ms


def _decoded(source: Source, offset: int) -> int | None:
    """The decoding time of the first picture, or else the first sound, from an offset on."""
    beats = timeline.first_beats(source, offset, source.size)
    clock = timeline.clock_of(beats)
    return None if clock is None else beats[clock].pes.dts
