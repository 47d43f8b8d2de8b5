# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the segments a planned result does not hold: found by their payload, not by what the planner took for equal.

A join leaves bytes of its segments out, and then the segments go. So each range that is left out is looked at again:
either the result has the very bytes there, or it has every unit of every elementary stream of it, known or not, with
its presentation time. What lacks a single one, and what is not understood, is named, so that it is kept.

Memory is that of a slice of a range; of the result as much is read, and REACH around it if something is not found.
docs/design/003-join.md
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import fmp4
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.left_out_boxes import Boxed, look_for_samples
from streamvaultd.media.left_out_units import look_for_units
from streamvaultd.media.places import HEAD, HITS_MAX, REACH_MAX
from streamvaultd.media.sought import Lost
from streamvaultd.media.source import common_backward, common_forward, find_back, longest_at
from streamvaultd.media.splice import Part, Splice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.media.plan import Plan
    from streamvaultd.media.sought import Span
    from streamvaultd.media.source import Source


class LeftOut(NamedTuple):
    """Bytes [start, end) of a file that the result has to be given, and why."""

    file: int
    start: int
    end: int
    why: str


def left_out(files: Sequence[Source], plans: Sequence[Plan]) -> list[LeftOut]:
    """All that is in the files and not, byte for byte or unit for unit, in any of the parts of the result."""
    held = [(plan, Splice(files, plan.pieces)) for plan in plans if plan.size]
    found = []
    looked: dict[int, Boxed] = {}
    for index, file in enumerate(files):
        for start, end in _unused(index, file.size, plans):
            try:
                _look_for(file, index, (start, end), held, looked)
            except Lost as lost:
                found.append(LeftOut(index, start, end, str(lost)))
    return found


def _unused(index: int, size: int, plans: Sequence[Plan]) -> Iterator[tuple[int, int]]:
    """The ranges of a file that no part of the result has."""
    used = sorted(
        (one.start, one.end) for plan in plans for one in plan.pieces if isinstance(one, Part) and one.file == index
    )
    at = 0
    for start, end in [*used, (size, size)]:
        if at < start:
            yield at, start
        at = max(at, end)


def _look_for(
    file: Source, index: int, span: Span, held: Sequence[tuple[Plan, Splice]], looked: dict[int, Boxed]
) -> None:
    """Raises Lost unless all of a range is held."""
    start, end = span
    places: list[int] = []
    for plan, whole in held:
        before, behind = _places(index, span, plan, file, whole)
        if before is not None:
            start += common_forward(file, start, whole, before, end - start)
        if behind is not None:
            end -= common_backward(file, end, whole, behind, min(end - start, behind))
        if start >= end:
            return
        guess = before if before is not None else None if behind is None else behind - (span[1] - span[0])
        places.append((_last_before(index, plan) if guess is None else guess) + start - span[0])
    kind = sniff(file)
    if kind is FileFormat.TS:
        look_for_units(file, (start, end), [(whole, place) for (_, whole), place in zip(held, places, strict=True)])
    elif kind is FileFormat.FMP4 and not fmp4.is_indexed(file):
        pairs = [(whole, place) for (_, whole), place in zip(held, places, strict=True)]
        look_for_samples(file, (start, end), pairs, looked)
    else:
        raise Lost(f"{end - start} bytes of a format that is not looked into")


def _places(index: int, span: Span, plan: Plan, file: Source, whole: Splice) -> tuple[int | None, int | None]:
    """Where in a part of the result the bytes may be with which a range begins, and those with which it ends."""
    at, before, behind = 0, None, None
    for piece in plan.pieces:
        if isinstance(piece, Part) and piece.file == index:
            before = at + piece.size if piece.end == span[0] else before
            behind = at if piece.start == span[1] else behind
        at += piece.size
    if before is None and behind is None:
        head = file.read(span[0], min(HEAD, span[1] - span[0]))
        places = islice(find_back(whole, head, max(0, whole.size - REACH_MAX), whole.size), HITS_MAX)
        before = longest_at(file, span[0], whole, places, span[1] - span[0])
    return before, behind


def _last_before(index: int, plan: Plan) -> int:
    """Where in a part what was received before a file ends."""
    at = found = 0
    for piece in plan.pieces:
        at += piece.size
        found = at if isinstance(piece, Part) and piece.file < index else found
    return found
