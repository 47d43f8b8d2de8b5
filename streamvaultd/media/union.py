# SPDX-License-Identifier: GPL-3.0-or-later
"""The union of two transport streams that hold the same packets, where either may lack media segments of the other.

Packets that carry a timestamp are unique, so they are anchors: equal ones are found by hash, proven by comparison and
grown to runs of equal bytes. What lies between two runs is in one file only and is taken from there; where both files
have something of their own, the timestamps put it in order. Where both hold the same time, one of them is damaged, and
the sounder is kept: the equal bytes beside it prove that both are the same place of the stream.
"""

from __future__ import annotations

from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.source import Clipped, Source, common_backward, common_forward
from streamvaultd.media.timeline import blocks, clock_of, first_beats, units, whole_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Fewer equal bytes than this in all may be one audio frame that two different qualities share
COMMON_MIN = 8 * ts.PACKET
# How far back in the older file a union is looked for when the newer one's first packets are not found in it
REACH = 128 << 20
# Memory for anchors: about 40 MB at most, hours of media
ANCHORS_MAX = 400_000
# A pause between two frames that is longer than this (ticks) may be a hole: shorter than any media segment. To take
# the frames of a slow camera for holes costs nothing but time
PAUSE = 200 * ts.TICKS_PER_MS


class Origin(Enum):
    OLDER = "older"
    NEWER = "newer"


class Span(NamedTuple):
    """Bytes [start, end) of one of the two files."""

    origin: Origin
    start: int
    end: int


class EqualRun(NamedTuple):
    """Equal bytes, and where they are in both files."""

    older: int
    newer: int
    length: int


class Union(NamedTuple):
    """Keep older[:older_end], then the spans, then newer[newer_start:]."""

    older_end: int
    spans: tuple[Span, ...]
    newer_start: int
    common_bytes: int
    is_ambiguous: bool = False
    """Something of both is there more than once: which of them it is, nothing tells."""


class Stretch(NamedTuple):
    """Media without a hole, in one of the files: its first and last timestamp, and its bytes."""

    first: int
    last: int
    span: Span


def find_union(older: Source, newer: Source, start: int | None) -> Union | None:
    """The union, or None when the files have nothing in common or contradict each other.

    `start` is where the newer file's first packets were found in the older one, None when they were not.
    """
    low = max(0, older.size - REACH) // ts.PACKET * ts.PACKET if start is None else start
    index, end = _index(older, low), min(newer.size, older.size - low + REACH)
    repeated = _repeated(newer, end, index)
    runs = list(_runs(older, newer, low, {key: at for key, at in index.items() if key not in repeated}))
    if sum(run.length for run in runs) < COMMON_MIN or not _has_clock(newer, runs):
        return None
    found = _assemble(older, newer, runs)
    return None if found is None else found._replace(is_ambiguous=bool(repeated))


def _has_clock(newer: Source, runs: Sequence[EqualRun]) -> bool:
    """Whether what is common holds a unit of what time is told by; a muxer writes the sound alone alike, perhaps."""
    clock = clock_of(first_beats(newer, 0, newer.size))
    return any(pes.pid == clock for run in runs for pes in units(newer, run.newer, run.newer + run.length))


def _anchors(source: Source, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, hash) of every packet in which a unit with a timestamp begins."""
    for offset, data in blocks(source, start, end):
        for pes in ts.pes_starts(data):
            yield offset + pes.at, hash(data[pes.at : pes.at + ts.PACKET])


def _index(source: Source, start: int) -> dict[int, int]:
    """Anchors by hash; -1 for one that is there twice and so proves nothing."""
    places: dict[int, int] = {}
    for at, key in _anchors(source, start, source.size):
        places[key] = -1 if key in places else at
        if len(places) >= ANCHORS_MAX:
            break
    return places


def _repeated(newer: Source, end: int, index: Mapping[int, int]) -> set[int]:
    """Anchors of both that either has twice, as a slate that is repeated."""
    seen, twice = set[int](), set[int]()
    for _, key in _anchors(newer, 0, end):
        if key in seen or index.get(key) == -1:
            twice.add(key)
        elif key in index:
            seen.add(key)
    return twice


def _runs(older: Source, newer: Source, low: int, index: Mapping[int, int]) -> Iterator[EqualRun]:
    """The maximal equal runs, in order and apart in both files."""
    done = EqualRun(low, 0, 0)
    for at, key in _anchors(newer, 0, min(newer.size, older.size - low + REACH)):
        place = index.get(key, -1)
        if place < done.older + done.length or at < done.newer + done.length:
            continue
        run = _grow(older, newer, EqualRun(place, at, 0), done)
        if run.length:
            yield run
            done = run
        if done.older + done.length >= older.size:
            return


def _grow(older: Source, newer: Source, seed: EqualRun, before: EqualRun) -> EqualRun:
    """Widens a common place both ways by whole packets, not into the run before."""
    room = min(seed.older - before.older - before.length, seed.newer - before.newer - before.length)
    back = common_backward(older, seed.older, newer, seed.newer, room) // ts.PACKET * ts.PACKET
    room = min(older.size - seed.older, newer.size - seed.newer)
    length = common_forward(older, seed.older, newer, seed.newer, room) // ts.PACKET * ts.PACKET
    return EqualRun(seed.older - back, seed.newer - back, back + length) if length else seed


def _assemble(older: Source, newer: Source, runs: Sequence[EqualRun]) -> Union | None:
    first, last = runs[0], runs[-1]
    head = _join_head(older, first.older, newer, first.newer)
    tail = _join_tail(older, last.older + last.length, newer, last.newer + last.length)
    if head is None or tail is None:
        return None
    spans = [*head[1], Span(Origin.NEWER, first.newer, first.newer + first.length)]
    for run, after in pairwise(runs):
        mine, yours = (run.older + run.length, after.older), (run.newer + run.length, after.newer)
        between = _weave(older, mine, newer, yours)
        spans += [_sounder(older, mine, newer, yours)] if between is None else between
        spans.append(Span(Origin.NEWER, after.newer, after.newer + after.length))
    return Union(head[0], _merged([*spans, *tail[0]]), tail[1], sum(run.length for run in runs))


def _join_head(older: Source, end: int, newer: Source, start: int) -> tuple[int, list[Span]] | None:
    """How much of older stays as it is, and what stands between that and the first run."""
    if not start:
        return end, []
    low = max(0, end - REACH) // ts.PACKET * ts.PACKET
    spans = _weave(older, (low, end), newer, (0, start))
    if spans is None:
        place = _place_of(older, low, end, newer)
        return whole_end(Clipped(older, place)), [_sounder(older, (place, end), newer, (0, start))]
    if spans and spans[0].origin is Origin.OLDER:
        return whole_end(Clipped(older, spans[0].end)), spans[1:]
    return (0, spans) if low == 0 else None


def _join_tail(older: Source, start: int, newer: Source, rest: int) -> tuple[list[Span], int] | None:
    """What older has left behind the last run, in order with the start of newer's rest; and where that rest begins."""
    if start >= older.size:
        return [], rest
    high = min(newer.size, rest + REACH)
    spans = _weave(older, (start, older.size), newer, (rest, high))
    if spans is None:
        return ([], rest) if _is_covered(older, start, newer, rest, high) else None
    if spans and spans[-1].origin is Origin.NEWER:
        return spans[:-1], spans[-1].start
    return (spans, high) if high == newer.size else None


def _place_of(older: Source, low: int, end: int, newer: Source) -> int:
    """Where older comes to the time at which newer begins; `end` if it does not."""
    beats = first_beats(newer, 0, newer.size)
    clock = clock_of(beats)
    if clock is None:
        return end
    places = _stamps(older, clock, low, end)
    return next((at for at, stamp in places if ts.difference(stamp, beats[clock].pes.dts) >= 0), end)


def _is_covered(older: Source, start: int, newer: Source, rest: int, high: int) -> bool:
    """True when newer[rest:high] has, without a hole, all the time that older has from `start` on."""
    mine = _stretches(older, Origin.OLDER, start, older.size)
    return not mine or any(
        all(
            ts.difference(stretch.first, whole.first) >= 0 >= ts.difference(stretch.last, whole.last)
            for stretch in mine
        )
        for whole in _stretches(newer, Origin.NEWER, rest, high)
    )


def _sounder(older: Source, mine: tuple[int, int], newer: Source, yours: tuple[int, int]) -> Span:
    """The range with more timestamps, else the one with fewer jumps of the counters, else newer's."""
    if _soundness(older, *mine) > _soundness(newer, *yours):
        return Span(Origin.OLDER, *mine)
    return Span(Origin.NEWER, *yours)


def _soundness(source: Source, start: int, end: int) -> tuple[int, int, int]:
    units, jumps, size, counters = 0, 0, 0, dict[int, int]()
    for _, data in blocks(source, start, end):
        size += len(data)
        units += sum(1 for _ in ts.pes_starts(data))
        jumps += sum(1 for _ in ts.continuity_breaks(counters, data))
    return units, -jumps, 0 if units else size


def _weave(older: Source, mine: tuple[int, int], newer: Source, yours: tuple[int, int]) -> list[Span] | None:
    """Both ranges in order of time; None when both hold media of the same time, or neither tells its time."""
    if mine[0] >= mine[1] or yours[0] >= yours[1]:
        return [Span(Origin.OLDER, *mine)] * (mine[0] < mine[1]) + [Span(Origin.NEWER, *yours)] * (yours[0] < yours[1])
    left = _stretches(older, Origin.OLDER, *mine)
    right = _stretches(newer, Origin.NEWER, *yours)
    if not left and not right:
        return None
    if not left or not right:
        # without a timestamp it is the remains of something torn
        return [stretch.span for stretch in left or right]
    zero = left[0].first
    ordered = sorted(left + right, key=lambda stretch: ts.difference(stretch.first, zero))
    if any(ts.difference(after.first, before.last) <= 0 for before, after in pairwise(ordered)):
        return None
    return [stretch.span for stretch in ordered]


def _stretches(source: Source, origin: Origin, start: int, end: int) -> list[Stretch]:
    """The range cut at its holes; empty when nothing in it has a timestamp."""
    clock = clock_of(first_beats(source, start, end))
    found: list[Stretch] = []
    for at, stamp in _stamps(source, clock, start, end):
        last = found[-1] if found else None
        if last is None:
            found.append(Stretch(stamp, stamp, Span(origin, start, end)))
        elif 0 <= ts.difference(stamp, last.last) <= PAUSE:
            found[-1] = last._replace(last=stamp)
        else:
            found[-1] = last._replace(span=Span(origin, last.span.start, at))
            found.append(Stretch(stamp, stamp, Span(origin, at, end)))
    return found


def _stamps(source: Source, clock: int | None, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(where its media segment may begin, timestamp) of the clock's units.

    A media segment begins with tables (RFC 8216, 3.2): a unit's place is that of the tables since the unit before.
    """
    tables = -1
    for offset, data in blocks(source, start, end):
        for at in ts.starts(data):
            if ts.pid_of(data, at) < ts.PID_TABLES_END:
                tables = offset + _tables_start(data, at)
            elif (pes := ts.parse_pes(data, at)) is not None and pes.pid == clock:
                yield (offset + at if tables < 0 else tables), pes.dts
                tables = -1


def _tables_start(data: bytes, at: int) -> int:
    """The first of the tables that stand right before this one."""
    while at >= ts.PACKET and ts.pid_of(data, at - ts.PACKET) < ts.PID_TABLES_END:
        at -= ts.PACKET
    return at


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for span in spans:
        if found and found[-1].origin is span.origin and found[-1].end == span.start:
            found[-1] = found[-1]._replace(end=span.end)
        elif span.end > span.start:
            found.append(span)
    return tuple(found)
