# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a newer capture may take over from an older one, while both files grow.

It may when the older holds the newer's start, and the end of the one that is behind is in the other: then all that the
older has is in the newer, or in what the older holds before that. Between the two either may lack something: the join
takes the union.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from streamvaultd.media import fmp4, fragment_union, timeline
from streamvaultd.media.pes_splice import find_pes_splice
from streamvaultd.media.places import HEAD, HITS_MAX, REACH_MAX, REPEAT_MAX
from streamvaultd.media.source import FileSource, Source, find_back, is_equal

# The newer begins with the oldest that the source offers, and soon has as much of it as the older: at first, this much
# behind its start may be all that it does not have yet
AHEAD = 64 << 20


def overlap_proven(older_fd: int, newer_fd: int) -> bool:
    """One look at two files that grow; reads little more than what both have. May raise OSError.

    The caller owns the descriptors.
    """
    older, newer = FileSource.of(older_fd), FileSource.of(newer_fd)
    skip = fmp4.header_end(newer) if fmp4.is_fmp4(newer) else 0
    head = newer.read(skip, HEAD)
    if len(head) < HEAD:
        return False
    reach = min(REACH_MAX, AHEAD + 2 * newer.size)
    places = list(islice(find_back(older, head, max(0, older.size - reach), older.size), HITS_MAX))
    if not places and skip:
        return fragment_union.has_overlap(older, newer)
    if not places:
        return timeline.is_ts(newer) and find_pes_splice(older, newer, reach) is not None
    # where a stream is filled up to its bit rate, the head alone may come again after a while
    whole = next((place for place in places if _goes_on(older, place, newer, skip)), None)
    place = places[0] if whole is None else whole
    before = find_back(older, head, max(0, place - REPEAT_MAX), place + HEAD - 1)
    if _is_once(newer, head, skip) and next(before, None) is None:
        return whole is not None or _is_end_common(older, place, newer, skip)
    # the media repeat themselves, as a slate does: only what comes behind them tells how much the newer has
    return _is_end_common(older, max(0, place - REPEAT_MAX), newer, skip)


def _goes_on(older: Source, place: int, newer: Source, skip: int) -> bool:
    return is_equal(older, place, newer, skip, min(older.size - place, newer.size - skip))


def _is_once(source: Source, part: bytes, start: int) -> bool:
    """True when what stands there does not come again soon."""
    again = find_back(source, part, start + 1, min(source.size, start + REPEAT_MAX))
    return next(again, None) is None


def _is_end_common(older: Source, place: int, newer: Source, skip: int) -> bool:
    """True when the older holds the newer's end behind the place, or the newer the older's."""
    yours, mine = _end_of(newer, skip), _end_of(older, place)
    return _holds(older, place, yours) or _holds(newer, skip, mine)


def _holds(source: Source, start: int, part: bytes) -> bool:
    """Once: what is there twice may be either of them."""
    places = find_back(source, part, start, source.size) if part else iter(())
    return len(list(islice(places, 2))) == 1


def _end_of(source: Source, start: int) -> bytes:
    """The last bytes that are whole, if they cannot be anywhere else in the stream; empty otherwise."""
    end = fmp4.whole_end(source) if fmp4.is_fmp4(source) else timeline.whole_end(source)
    low = end - HEAD
    if low < start or (not fmp4.is_fmp4(source) and not any(timeline.units(source, low, end))):
        return b""
    part = source.read(low, HEAD)
    again = find_back(source, part, max(start, low - REPEAT_MAX), low + HEAD - 1)
    return part if next(again, None) is None else b""


def are_overlapping(older: Path | int, newer: Path | int) -> bool:
    """overlap_proven() of two files by their paths, or by descriptors, which are closed."""
    with FileSource.opened(older) as older_source, FileSource.opened(newer) as newer_source:
        return overlap_proven(older_source.fd, newer_source.fd)
