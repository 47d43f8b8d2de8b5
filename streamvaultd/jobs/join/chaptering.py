# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moments a part of the result shows: each capture that it has media of, by dates or by when it was received.

The source's own dates (EXT-X-PROGRAM-DATE-TIME) say when the first media of a capture were broadcast. Without them the
last ones are taken to have been broadcast when they came, which is late by what the source takes to offer them, and
the first ones before that by as long as they are all shown: whatever clock began anew, or was set, in between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import fragments, timeline
from streamvaultd.media.chapters import Change, Chapter, OnAir, chapters
from streamvaultd.media.container import FileFormat
from streamvaultd.media.seam import SeamKind
from streamvaultd.media.splice import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.jobs.join.describe import OpenSegment
    from streamvaultd.media.plan import Plan
    from streamvaultd.media.source import Source

BEYOND_MS: Final = 3_600_000
"""A capture may reach back before its beginning by as much as a playlist offers; more is another clock."""

CLOCKS_MS: Final = 2000
"""So far two synchronized clocks may be apart."""

ABOUT_MS: Final = 86_400_000
"""How far from all changes of the title a capture may have begun of which only a date tells when."""


class _Held(NamedTuple):
    """What a part of the result has of a capture: first and last byte, there and in its own file."""

    file: int
    at: int
    until: int
    start: int
    end: int


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
    held = _held(plan)
    duration, shown = timeline.shown(result, plan.gaps(), [(each.at, each.until) for each in held])
    if duration is None:
        return None, (), ()
    about = _about(titles)
    begun = [
        (each.file, one.at, began)
        for each, one in zip(held, shown, strict=True)
        if one is not None and (began := _broadcast_at(segments[each.file], each, one.lasts, about)) is not None
    ]
    found = _stretches(plan, begun, duration)
    return duration, chapters(titles, found, duration) if titles else (), found if is_timed else ()


def _about(titles: Sequence[Change]) -> tuple[float, float]:
    """When a capture may have begun, as far as changes of the title tell."""
    told = [change.moment for change in titles if change.moment]
    return (min(told) - ABOUT_MS, max(told) + ABOUT_MS) if told else (-math.inf, math.inf)


def _held(plan: Plan) -> list[_Held]:
    """In the order in which they begin in the result."""
    at, found = 0, dict[int, _Held]()
    for piece in plan.pieces:
        if isinstance(piece, Part):
            first = found.get(piece.file, _Held(piece.file, at, 0, piece.start, 0))
            found[piece.file] = first._replace(until=at + piece.size, end=piece.end)
        at += piece.size
    return list(found.values())


def _stretches(plan: Plan, begun: Sequence[tuple[int, float, float]], length: float) -> tuple[OnAir, ...]:
    """Of (file, ms into the result, moment), in the order of the result."""
    gaps = {each.newer: each.seam.gap_ms or 0.0 for each in plan.seams if each.seam.kind is SeamKind.GAP}
    ends = [*(at - gaps.get(file, 0.0) for file, at, _ in begun[1:]), length][: len(begun)]
    return tuple(OnAir(at, moment, max(0.0, end - at)) for (_, at, moment), end in zip(begun, ends, strict=True))


def _broadcast_at(segment: OpenSegment, held: _Held, lasts: float, about: tuple[float, float]) -> float | None:
    """When the first of what is held was broadcast (ms since 1970), as far as that can be told."""
    source, by_receipt = segment.source, None
    if segment.until is not None:
        by_receipt = segment.until - lasts - timeline.lasts_ms(source, held.end, source.size)
    if segment.dated is None:
        return by_receipt
    passed = timeline.lasts_ms(source, 0, held.start)
    first = None if by_receipt is None else by_receipt - passed
    return segment.dated + passed if _is_believed(segment.dated, first, segment, about) else by_receipt


def _is_believed(dated: int, by_receipt: float | None, segment: OpenSegment, about: tuple[float, float]) -> bool:
    """Whether media of that date can have come when they did; a source's clock may be wrong.

    What came first says so as well as what came last: ours may have been set in between.
    """
    if segment.received is None or by_receipt is None:
        return about[0] <= dated <= about[1]
    came = (float(segment.received[0]), by_receipt)
    return min(came) - BEYOND_MS <= dated <= max(came) + CLOCKS_MS
