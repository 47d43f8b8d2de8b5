# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an older segment holds the beginning of a newer one, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

from streamvaultd.media import fragment_union, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.distance import distance_ms
from streamvaultd.media.source import Source, find_back, is_equal

# What is looked for: 32 packets hold tables, a clock reference and timestamps, so they are unique
HEAD = 32 * ts.PACKET
# Places that hold the head but go on differently are tried this often; only made-up input has more
HITS_MAX = 16
# How far back in any case, and as far as the longest windows go (99 media segments of 10 s at 130 Mbit/s) unless the
# clocks tell that newer begins behind older's end
REACH = 1 << 30
REACH_MAX = 16 << 30
# How far before a place another one is looked for that is as good: media that repeat themselves, as a slate does
REPEAT_MAX = 64 << 20
# And so many of them at most
REPEATS_MAX = 64


def places_of(older: Source, newer: Source, head: bytes) -> Iterator[int]:
    """Where older holds the head, the last one first; far back only if the clocks allow it to be there."""
    low = max(0, older.size - REACH)
    yield from find_back(older, head, low, older.size)
    far = max(0, older.size - REACH_MAX)
    if far < low and not _is_behind(older, newer):
        yield from find_back(older, head, far, min(older.size, low + len(head) - 1))


def _is_behind(older: Source, newer: Source) -> bool:
    """True when the clock of both tells that newer begins behind older's end."""
    match sniff(older):
        case FileFormat.TS:
            distance = distance_ms(older, newer)
        case FileFormat.FMP4:
            distance = fragment_union.gap_ms(older, newer)
        case _:
            distance = None
    return distance is not None and distance > 0


def goes_on(older: Source, place: int, newer: Source, skip: int) -> bool:
    return is_equal(older, place, newer, skip, min(older.size - place, newer.size - skip))


def is_repeated(older: Source, place: int, newer: Source, skip: int, head: bytes) -> bool:
    """True when newer continues older at an earlier place just as well, or begins with the same twice."""
    if next(other_places(older, place, newer, skip, head), None) is not None:
        return True
    again = find_back(newer, head, skip + ts.PACKET, min(newer.size, skip + REPEAT_MAX))
    return next(again, None) is not None


def other_places(older: Source, place: int, newer: Source, skip: int, head: bytes) -> Iterator[int]:
    """Places before this one at which newer continues older, too, the last one first."""
    hits = find_back(older, head, max(0, place - REPEAT_MAX), place + len(head) - 1)
    return (other for _, other in zip(range(REPEATS_MAX), hits, strict=False) if goes_on(older, other, newer, skip))


def short_overlap(older: Source, head: bytes) -> int:
    """Bytes of the longest end of older that is a start of newer, when that is shorter than the head."""
    tail = older.read(max(0, older.size - len(head)), len(head))
    return next((size for size in range(len(tail), ts.PACKET - 1, -1) if tail.endswith(head[:size])), 0)
