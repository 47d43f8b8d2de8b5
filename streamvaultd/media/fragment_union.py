# SPDX-License-Identifier: GPL-3.0-or-later
"""The union of two captures in fragmented MP4 of one source, where either may lack fragments of the other.

A fragment says which time of which track it holds (tfdt), so equal times name candidates, and equal bytes prove that
both captures saw the same stream. What only one of them has is put in order of time. Without a single common fragment
nothing is proven, and there is no union.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media.fmp4 import boxes
from streamvaultd.media.fragments import Fragment, FragmentRun, TrackHeader, clock_of, fragments, tracks
from streamvaultd.media.source import Clipped, find_back, is_equal
from streamvaultd.media.union import Origin, Span, Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamvaultd.media.source import Source

# Bytes of a fragment's number
_NUMBER = 4
# Newer's fragments that are looked for in older, and bytes of each: they have its sizes and times, so they are unique
TRIES = 8
NEEDLE = 4096
# How far back they are looked for, and how far before one its predecessor
REACH = 1 << 30
BACK = 64 << 20
# Boxes from a moof to the next one
CHAIN = 8
# Fragments at each end that may lack the clock's track
ENDS = 64
# Fragments kept in memory of each file, some 200 bytes each: days of media
FRAGMENTS_MAX = 400_000


class Kept(NamedTuple):
    """A fragment of the union, and whose it is."""

    origin: Origin
    fragment: Fragment


def find_union(older: Source, newer: Source) -> Union | None:
    """The union, or None when the two have no fragment in common or contradict each other."""
    known = tracks(newer)
    yours = _listed(newer, known)
    low = _low(older, newer, yours, known)
    mine = _listed(older, known, low)
    pairs = list(_common(older, mine, newer, yours))
    if not pairs:
        return None
    kept: list[Kept] = []
    i = j = 0
    for at, to in [*pairs, (len(mine), len(yours))]:
        between = _woven(mine[i:at], yours[j:to], known)
        if between is None:
            return None
        kept += between
        if to < len(yours):
            kept.append(Kept(Origin.OLDER, mine[at]))
        i, j = at + 1, to + 1
    common = sum(yours[to].end - yours[to].start for _, to in pairs)
    times = {fragment.runs for fragment in mine} & {fragment.runs for fragment in yours}
    is_ambiguous = bool((_repeated(mine) | _repeated(yours)) & times)
    return _union(kept, low, newer, common)._replace(is_ambiguous=is_ambiguous)


def _listed(source: Source, known: Mapping[int, TrackHeader], start: int = 0) -> list[Fragment]:
    return [fragment for fragment, _ in zip(fragments(source, known, start), range(FRAGMENTS_MAX), strict=False)]


def _low(older: Source, newer: Source, yours: Sequence[Fragment], known: Mapping[int, TrackHeader]) -> int:
    """Where in older to begin: a little before what it has of newer's first fragments, else at its first one.

    An older of a day has tens of thousands of fragments, and newer begins near its end.
    """
    for fragment in yours[:TRIES]:
        number = _number_at(newer, fragment) + _NUMBER
        needle = newer.read(fragment.start + number, min(NEEDLE, fragment.end - fragment.start - number))
        place = next(find_back(older, needle, max(0, older.size - REACH), older.size), None)
        if place is not None:
            return _before(older, place - number, yours[0], known)
    return first_of(older)


def _before(source: Source, start: int, goal: Fragment, known: Mapping[int, TrackHeader]) -> int:
    """Where the fragment begins that has the time of `goal`, or earlier; `start` is where a later one does."""
    wanted = {run.track: run.start for run in goal.runs}
    for _ in range(TRIES):
        runs = next((fragment.runs for fragment in fragments(source, known, start)), ())
        if runs and all(run.start <= wanted.get(run.track, run.start) for run in runs):
            break
        earlier = next((at for at in _moofs_before(source, start) if _leads_to(source, at, start)), None)
        if earlier is None:
            break
        start = earlier
    return start


def _moofs_before(source: Source, start: int) -> Iterator[int]:
    places = find_back(source, b"moof", max(0, start - BACK), start)
    return (place - 4 for place, _ in zip(places, range(TRIES), strict=False))


def _leads_to(source: Source, at: int, end: int) -> bool:
    """Whether one fragment, with what belongs to the next one, lies from there to there."""
    chain = list(boxes(Clipped(source, end), at))
    return [box.kind for box in chain[:2]] == [b"moof", b"mdat"] and chain[-1].end == end and len(chain) <= CHAIN


def _common(
    older: Source, mine: Sequence[Fragment], newer: Source, yours: Sequence[Fragment]
) -> Iterator[tuple[int, int]]:
    """Indices of equal fragments, ascending in both files."""
    places: dict[tuple[FragmentRun, ...], int] = {}
    for index, fragment in enumerate(mine):
        places[fragment.runs] = -1 if fragment.runs in places else index
    last = -1
    for to, fragment in enumerate(yours):
        at = places.get(fragment.runs, -1) if fragment.runs else -1
        if at > last and _is_same(older, mine[at], newer, fragment):
            yield at, to
            last = at


def _repeated(some: Sequence[Fragment]) -> set[tuple[FragmentRun, ...]]:
    """The times that are there more than once, as those of a slate: which of them it is, nothing tells."""
    return {runs for runs, count in Counter(fragment.runs for fragment in some).items() if count > 1 and runs}


def _is_same(older: Source, one: Fragment, newer: Source, other: Fragment) -> bool:
    """Whether two fragments are the same bytes, but for the number that a muxer gives each (mfhd, 8.8.5)."""
    size = one.end - one.start
    if size != other.end - other.start:
        return False
    number = _number_at(older, one)
    if number != _number_at(newer, other):
        return False
    rest = min(number + _NUMBER, size)
    return is_equal(older, one.start, newer, other.start, number) and is_equal(
        older, one.start + rest, newer, other.start + rest, size - rest
    )


def _number_at(source: Source, fragment: Fragment) -> int:
    """Where in a fragment its number is; at its end if it has none."""
    for box in boxes(Clipped(source, fragment.end), fragment.start):
        if box.kind == b"moof" and source.read(box.start + 12, 4) == b"mfhd":
            return box.start + 20 - fragment.start
    return fragment.end - fragment.start


def _woven(mine: Sequence[Fragment], yours: Sequence[Fragment], known: Mapping[int, TrackHeader]) -> list[Kept] | None:
    """Fragments of both in order of time; None when they hold the same time in other fragments, or tell none.

    Of two that hold the very same time in other bytes one is damaged; nothing says which, and the newer's is kept.
    Where one time is there more than once, the one that has all of the other is.
    """
    yours_times, mine_times = {fragment.runs for fragment in yours}, {fragment.runs for fragment in mine}
    if (_repeated(mine) | _repeated(yours)) & yours_times & mine_times:
        return _longer(mine, yours)
    left = [Kept(Origin.OLDER, fragment) for fragment in mine if fragment.runs not in yours_times]
    right = [Kept(Origin.NEWER, fragment) for fragment in yours]
    if not left or not right:
        return left or right
    if not all(kept.fragment.runs for kept in left + right):
        return None
    ordered = sorted(left + right, key=lambda kept: _seconds(kept.fragment.runs[0], known))
    if _is_apart(ordered):
        return ordered
    # a muxer that begins, or ends, in the middle of what the other has as a whole makes other fragments of it
    return next((fuller for fuller, other in ((right, left), (left, right)) if _covers(fuller, other)), None)


def _longer(mine: Sequence[Fragment], yours: Sequence[Fragment]) -> list[Kept] | None:
    """Of two that have one time more than once, that which has all times of the other, in order."""
    left, right = [fragment.runs for fragment in mine], [fragment.runs for fragment in yours]
    if _is_within(left, right):
        return [Kept(Origin.NEWER, fragment) for fragment in yours]
    return [Kept(Origin.OLDER, fragment) for fragment in mine] if _is_within(right, left) else None


def _is_within(some: Sequence[tuple[FragmentRun, ...]], all_of_it: Sequence[tuple[FragmentRun, ...]]) -> bool:
    ahead = iter(all_of_it)
    return all(runs in ahead for runs in some)


def _covers(fuller: Sequence[Kept], other: Sequence[Kept]) -> bool:
    """True when all time of all tracks of the one is in the other without a hole."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for run in sorted(run for kept in fuller for run in kept.fragment.runs):
        known = spans.setdefault(run.track, [])
        if known and run.start <= known[-1][1]:
            known[-1] = known[-1][0], max(known[-1][1], run.start + run.duration)
        else:
            known.append((run.start, run.start + run.duration))
    return all(
        any(start <= run.start and run.start + run.duration <= end for start, end in spans.get(run.track, ()))
        for kept in other
        for run in kept.fragment.runs
    )


def _seconds(run: FragmentRun, known: Mapping[int, TrackHeader]) -> float:
    return run.start / known[run.track].timescale


def _is_apart(ordered: Sequence[Kept]) -> bool:
    """True when no track has two fragments of one time."""
    ends: dict[int, int] = {}
    for kept in ordered:
        for run in kept.fragment.runs:
            if run.start < ends.get(run.track, run.start):
                return False
            ends[run.track] = run.start + run.duration
    return True


def _union(kept: Sequence[Kept], low: int, newer: Source, common: int) -> Union:
    """As bytes: what older begins with stays (to `low` it was not listed), what newer ends with follows, spans of
    either between them.
    """
    spans: list[Span] = []
    for origin, fragment in kept:
        last = spans[-1] if spans else None
        if last is not None and last.origin is origin and last.end == fragment.start:
            spans[-1] = last._replace(end=fragment.end)
        else:
            spans.append(Span(origin, fragment.start, fragment.end))
    older_end = low
    if spans and spans[0].origin is Origin.OLDER and spans[0].start == older_end:
        older_end = spans.pop(0).end
    newer_start = newer.size
    if spans and spans[-1].origin is Origin.NEWER and spans[-1].end == last_of(newer):
        newer_start = spans.pop().start
    return Union(older_end, tuple(spans), newer_start, common)


def has_overlap(older: Source, newer: Source) -> bool:
    """Whether they have a fragment in common, and the last one of either is in the other."""
    known = tracks(newer)
    yours = _listed(newer, known)
    mine = _listed(older, known, _low(older, newer, yours, known))
    last = next(((at, to) for at, to in reversed(list(_common(older, mine, newer, yours)))), None)
    return last is not None and (last[0] == len(mine) - 1 or last[1] == len(yours) - 1)


def first_of(source: Source) -> int:
    """Where the first fragment begins."""
    return next((fragment.start for fragment in fragments(source, {})), source.size)


def last_of(source: Source) -> int:
    """Where the last whole fragment ends."""
    end = 0
    for fragment in fragments(source, {}):
        end = fragment.end
    return end


def gap_ms(older: Source, newer: Source) -> float | None:
    """Milliseconds from the end of older to the start of newer by the clock track; negative when they overlap."""
    mine, yours = _ends(older, newer), _ends(newer, newer)
    return None if mine is None or yours is None else round(yours[0] - mine[1], 1)


def goes_on(older: Source, newer: Source) -> bool:
    """Whether each track of newer begins at the very tick at which older ends, so that nothing is between them."""
    known = tracks(newer)
    last_places = [fragment.start for fragment in fragments(older, {})][: -ENDS - 1 : -1]
    first_places = [fragment.start for fragment in islice(fragments(newer, {}), ENDS)]
    meets = 0
    for track in known:
        last = next(_runs_at(older, last_places, known, track), None)
        first = next(_runs_at(newer, first_places, known, track), None)
        if (last is None) != (first is None):
            return False
        if last is not None and first is not None:
            if last.start + last.duration != first.start:
                return False
            meets += 1
    return meets > 0


def overlap_ms(older: Source, newer: Source, union: Union) -> float | None:
    """Milliseconds that both hold, holes apart; both may begin and end first."""
    mine, yours = _ends(older, newer), _ends(newer, newer)
    if mine is None or yours is None:
        return None
    start = max(mine[0], yours[0]) if union.older_end == first_of(older) else yours[0]
    end = min(mine[1], yours[1]) if union.newer_start >= newer.size else mine[1]
    return max(0.0, round(end - start, 1))


def _runs_at(
    source: Source, places: Sequence[int], known: Mapping[int, TrackHeader], track: int
) -> Iterator[FragmentRun]:
    """The runs of a track in the fragments at these places."""
    for place in places:
        found = next(fragments(source, known, place), None)
        yield from (run for run in (() if found is None else found.runs) if run.track == track)


def _ends(source: Source, newer: Source) -> tuple[float, float] | None:
    """Where the clock track begins and ends, in milliseconds, as newer's header describes it."""
    known = tracks(newer)
    clock = clock_of(known)
    if clock is None:
        return None
    places = [fragment.start for fragment in fragments(source, {})]
    first = next(_runs_at(source, places[:ENDS], known, clock), None)
    last = next(_runs_at(source, places[: -ENDS - 1 : -1], known, clock), None)
    if first is None or last is None:
        return None
    scale = known[clock].timescale / 1000
    return first.start / scale, (last.start + last.duration) / scale
