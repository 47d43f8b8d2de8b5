# SPDX-License-Identifier: GPL-3.0-or-later
"""One timeline for the frames of two captures whose clocks differ, told by the frames that both have.

A muxer that is given a clock which was set back does something of its own with it: ffmpeg has it stand still, and a
capture that began behind that place has the source's time. So the same frames have other times in either. What has the
same bytes, and has them once in both, is the same frame, as long as all of them come in the same order. Between two of
those, and beside them, frames follow each other by the steps of their own capture; where its clock stands still or
runs back, by the step that was usual before.

Equal bytes prove; times only order what is in one of them alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.pieces import GAP_MAX
from streamvaultd.media.source import WINDOW
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamvaultd.media.source import Source

# Frames of one stream that have to be in both, at least: a clock that is not the same proves less than one that is
ANCHORS_MIN = 8
# Of the frames that both have, one in so many may be in another order
DISORDERED_ONE_IN = 8
# And of those, so many may be in both, in other bytes, before or behind what both have
BESIDE_ONE_IN = 4
# A clock that advances by less (ticks) stands still
STILL = ts.TICKS_PER_MS
# What is usual before anything is known
USUAL = 3600
# Before both are read, the newer is tried at so many places, with so many bytes from either end of a packet that is
# there or soon behind
TRIES = 16
TRIED = 256 << 10
NEEDLE = 64


class Timed(NamedTuple):
    """A frame: when it is by the clock of its capture, its digest (b"" if it is torn), and where its unit begins."""

    ticks: int
    digest: bytes
    at: int


def common_place(older: Source, newer: Source, pid: int, reach: int) -> tuple[int, int] | None:
    """(offset in older, offset in newer) of something that this stream has in both, as far as can be seen quickly."""
    needles = list(_needles(newer, pid))
    end, low = older.size, max(0, older.size - reach)
    while needles and end - low >= NEEDLE:
        start = max(low, end - WINDOW)
        window = older.read(start, end - start)
        for at, needle in needles:
            if needle in window:
                return (start + window.rfind(needle)) // ts.PACKET * ts.PACKET, at
        end = start + NEEDLE - 1 if start > low else low
    return None


def _needles(source: Source, pid: int) -> Iterator[tuple[int, bytes]]:
    """Of some packets that are full: in other packets each is cut once at most, so that one of the two is whole."""
    step = max(ts.PACKET, source.size // TRIES // ts.PACKET * ts.PACKET)
    for start in range(0, source.size, step):
        for offset, data in blocks(source, start, min(source.size, start + min(step, TRIED))):
            places = range(0, len(data), ts.PACKET)
            at = next((at for at in places if _is_full(data, at) and ts.pid_of(data, at) == pid), None)
            if at is not None:
                yield offset + at, data[at + 4 : at + 4 + NEEDLE]
                yield offset + at, data[at + ts.PACKET - NEEDLE : at + ts.PACKET]
                break


def _is_full(data: bytes, at: int) -> bool:
    """Whether all of a packet is payload that goes on from the one before."""
    return not data[at + 1] & 0x40 and ts.payload_at(data, at) == at + 4


Times = dict[int, list[int]]


def aligned(
    mine: Mapping[int, Sequence[Timed]], yours: Mapping[int, Sequence[Timed]], clock: int
) -> tuple[Times, Times] | None:
    """By PID the times of all frames of the older and of the newer, on one timeline; None without proof.

    Where they meet first it is the newer's.
    """
    anchors = {pid: _anchors(mine[pid], yours[pid]) for pid in mine.keys() & yours.keys()}
    if any(found is None for found in anchors.values()):
        return None
    proven = {pid: found for pid, found in anchors.items() if found}
    if max(map(len, proven.values()), default=0) < ANCHORS_MIN:
        return None
    reference = clock if clock in proven else min(proven)
    if not _is_overlap(len(mine[reference]), len(yours[reference]), proven[reference]):
        return None
    zero = yours[reference][proven[reference][0][1]].ticks
    older, newer = Times(), Times()
    for pid, found in proven.items():
        base = zero + ts.difference(yours[pid][found[0][1]].ticks, zero)
        older[pid], newer[pid] = _laid(mine[pid], yours[pid], found, base)
    for times, side in ((older, mine), (newer, yours)):
        for pid in side.keys() - proven.keys():
            times[pid] = _beside(side[pid], side[reference], times[reference])
    return older, newer


def _is_overlap(mine: int, yours: int, anchors: Sequence[tuple[int, int]]) -> bool:
    """Whether no more than a hole is before what both have, or behind it, in both: an advertisement comes again."""
    before, behind = min(anchors[0]), min(mine - 1 - anchors[-1][0], yours - 1 - anchors[-1][1])
    return BESIDE_ONE_IN * max(before, behind) <= len(anchors)


def _anchors(mine: Sequence[Timed], yours: Sequence[Timed]) -> list[tuple[int, int]] | None:
    """(place in older, place in newer) of what both have once, in order; None if they have it in another order."""
    places = _once(yours)
    pairs = [(at, places[digest]) for digest, at in _once(mine).items() if digest in places]
    ordered = _ascending(pairs)
    return None if (len(pairs) - len(ordered)) * DISORDERED_ONE_IN > len(pairs) else ordered


def _once(frames: Sequence[Timed]) -> dict[bytes, int]:
    """By digest, in order, the place of what is there once."""
    counts = Counter(frame.digest for frame in frames)
    return {frame.digest: at for at, frame in enumerate(frames) if frame.digest and counts[frame.digest] == 1}


def _ascending(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many of them as possible of which both numbers rise; the first does already."""
    tails: list[int] = []
    heads: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        rank = bisect_left(tails, place)
        tails[rank : rank + 1] = [place]
        heads[rank : rank + 1] = [number]
        before.append(heads[rank - 1] if rank else -1)
    found, number = list[tuple[int, int]](), heads[-1] if heads else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _steps(frames: Sequence[Timed]) -> list[int]:
    """From each frame to the next one, as if the clock had always gone on."""
    found, usual, least = list[int](), USUAL, STILL
    for before, after in pairwise(frames):
        step = ts.difference(after.ticks, before.ticks)
        is_told = least <= step <= GAP_MAX
        found.append(step if is_told else usual)
        usual = step if is_told and step <= 1000 * ts.TICKS_PER_MS else usual
        # where a clock that stood still goes on, the step is what is left of one
        least = STILL if step >= STILL else usual
    return found


def _laid(
    mine: Sequence[Timed], yours: Sequence[Timed], anchors: Sequence[tuple[int, int]], base: int
) -> tuple[list[int], list[int]]:
    """The times of all frames of one stream; between two that both have, the longer way counts."""
    steps = _steps(mine), _steps(yours)
    times = [0] * len(mine), [0] * len(yours)
    for side in (0, 1):
        first = anchors[0][side]
        times[side][first] = base
        for at in reversed(range(first)):
            times[side][at] = times[side][at + 1] - steps[side][at]
    for here, there in zip(anchors, [*anchors[1:], (len(mine), len(yours))], strict=True):
        for side in (0, 1):
            for at in range(here[side] + 1, there[side]):
                times[side][at] = times[side][at - 1] + steps[side][at - 1]
        if there[0] < len(mine):
            ends = [times[side][there[side] - 1] + steps[side][there[side] - 1] for side in (0, 1)]
            times[0][there[0]] = times[1][there[1]] = max(ends)
    return times


def _beside(frames: Sequence[Timed], reference: Sequence[Timed], times: Sequence[int]) -> list[int]:
    """The times of a stream of which nothing tells, by the one that stands beside it in its file."""
    places = [frame.at for frame in reference]
    near = max(0, bisect_right(places, frames[0].at) - 1)
    found = [times[near] + ts.difference(frames[0].ticks, reference[near].ticks)]
    for step in _steps(frames):
        found.append(found[-1] + step)
    return found
