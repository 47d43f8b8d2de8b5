# SPDX-License-Identifier: GPL-3.0-or-later
"""Where two segments of one recording meet: what the newer one repeats, and what is missing between them.

Two captures of one HLS source hold the same bytes for the same media segments, so an overlap is proven by bytes, never
by timestamps: muxers that begin every file at the same time would make any two files look alike. What is not proven is
kept: a seam never drops media on a guess. Nothing here raises on damaged or foreign input (OSError of a read apart).
docs/design/003-join.md has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from streamvaultd.media import fmp4, fragment_union, fragments, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.distance import (
    BACKWARD_MAX_MS,
    BACKWARD_NONE_MS,
    clock_gap_ms,
    clock_overlap_ms,
    gap_note,
    length_of,
    media_ms,
    passed,
)
from streamvaultd.media.pes_splice import PesSplice, find_pes_splice
from streamvaultd.media.pieces import SECOND
from streamvaultd.media.places import HEAD, HITS_MAX, goes_on, is_repeated, other_places, places_of, short_overlap
from streamvaultd.media.source import Clipped, Source, is_equal
from streamvaultd.media.union import Origin, Span, Union, find_union
from streamvaultd.media.unit_weave import Weave, find_weave

if TYPE_CHECKING:
    from collections.abc import Callable

BY_TIME = "which of them it is was told by when they were received"


class SeamKind(Enum):
    """How two segments are put together."""

    EXACT = "exact"
    """Older's end and newer's start are the same bytes, or newer goes on where older ends."""
    UNION = "union"
    """Both hold the same packets, and each may fill holes of the other."""
    GAP = "gap"
    """Nothing in common: appended as a whole; something may be missing between them."""
    BREAK = "break"
    """One file cannot hold both: the formats or their headers differ."""


class Certainty(Enum):
    PROVEN = "proven"
    """Bytes were compared."""
    LIKELY = "likely"
    """Timestamps and packet counters agree."""
    UNKNOWN = "unknown"
    """Nothing tells."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """Bytes of neither file."""

    data: bytes


Joint: TypeAlias = Span | Inserted
Expected: TypeAlias = "Callable[[], float | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """The join is older[:older_end], then the pieces, then newer[newer_start:].

    Milliseconds are None where nothing tells them.
    """

    kind: SeamKind
    method: str
    certainty: Certainty
    older_end: int
    newer_start: int
    pieces: tuple[Joint, ...] = ()
    overlap_bytes: int = 0
    overlap_ms: float | None = 0.0
    gap_ms: float | None = 0.0
    note: str = ""


def find_seam(older: Source, newer: Source, expected: Expected = lambda: None, level: int | None = None) -> Seam:
    """How `newer`, the next segment in time, continues `older`. Reads REACH_MAX bytes back at most, in windows.

    `expected` tells how much (ms) both hold by when they were received, less than nothing where something is missing.
    It is asked where the media repeat themselves, and may know nothing. `level`: where in `older` the media of `newer`
    begin (fragmented MP4), as what is before either tells.
    """
    kind = sniff(older)
    if kind is not sniff(newer):
        return _break(older, "the formats differ")
    match kind:
        case FileFormat.TS:
            ends = timeline.whole_end(older), timeline.whole_end(newer)
            return _ts_seam(Clipped(older, ends[0]), Clipped(newer, ends[1]), expected)
        case FileFormat.FMP4 if not (fmp4.is_indexed(older) or fmp4.is_indexed(newer)):
            return _fmp4_seam(older, newer, expected, level)
        case FileFormat.FMP4 | FileFormat.MATROSKA:
            return _single_seam(older, newer)
        case _:
            seam, _ = _exact(older, newer, 0, lambda: None)
            return seam or _gap(older.size, 0, "in this format only equal bytes were looked for")


def _single_seam(older: Source, newer: Source) -> Seam:
    """Of files that do not go on behind their end: one may be the start of the other."""
    if is_equal(older, 0, newer, 0, min(older.size, newer.size)):
        return _exact_seam(older, newer, 0, 0)
    return _break(older, "in this format one file cannot go on with another")


def _break(older: Source, note: str) -> Seam:
    return Seam(
        kind=SeamKind.BREAK,
        method="none",
        certainty=Certainty.PROVEN,
        older_end=older.size,
        newer_start=0,
        gap_ms=None,
        note=note,
    )


def _gap(older_end: int, newer_start: int, note: str) -> Seam:
    return Seam(
        kind=SeamKind.GAP,
        method="append",
        certainty=Certainty.UNKNOWN,
        older_end=older_end,
        newer_start=newer_start,
        gap_ms=None,
        note=note,
    )


# --- equal bytes ---------------------------------------------------------------------------------------------------


def _exact(older: Source, newer: Source, skip: int, expected: Expected) -> tuple[Seam | None, int | None]:
    """The seam by bytes, leaving out newer's first `skip` bytes; else where the head was found at all."""
    head = newer.read(skip, HEAD)
    found = None
    for _, place in zip(range(HITS_MAX), places_of(older, newer, head), strict=False):
        if goes_on(older, place, newer, skip):
            if is_repeated(older, place, newer, skip, head):
                return _by_time(older, place, newer, skip, head, expected()), place
            return _exact_seam(older, newer, place, skip), place
        found = place
    if found is not None:
        return None, found
    short = short_overlap(older, head)
    return (_exact_seam(older, newer, older.size - short, skip) if short else None), None


def _by_time(older: Source, place: int, newer: Source, skip: int, head: bytes, expected: float | None) -> Seam:
    """Equal bytes do not tell which of several places it is, or whether it is any: when they were received may.

    Without that the least is left out, so that nothing is lost that could be told apart. No more than this is known.
    """
    if expected is None:
        return _ambiguous(_exact_seam(older, newer, place, skip), "the overlap may be longer")
    places = [place, *other_places(older, place, newer, skip, head)]
    lengths = [min(older.size - each, newer.size - skip) for each in places]
    whole = Clipped(newer, skip + lengths[-1])
    is_ts = sniff(newer) is FileFormat.TS
    longest = timeline.received_ms(whole) if is_ts else fragments.duration_ms(whole, gap_max=SECOND)
    rate = (longest or 0) / lengths[-1]
    length, nearest = min(zip(lengths, places, strict=True), key=lambda each: abs(each[0] * rate - expected))
    if not longest or abs(length * rate - expected) <= abs(expected):
        return _ambiguous(_exact_seam(older, newer, nearest, skip), BY_TIME)
    return _ambiguous(_gap(older.size, skip, "nothing of it is taken for an overlap"), BY_TIME)


def _ambiguous(seam: Seam, known: str) -> Seam:
    note = f"the media repeat themselves: {known}, and how much is missing cannot be told"
    return replace(seam, certainty=Certainty.LIKELY, gap_ms=None, note="; ".join(filter(None, (seam.note, note))))


def _exact_seam(older: Source, newer: Source, place: int, skip: int) -> Seam:
    length = min(older.size - place, newer.size - skip)
    inside = length < older.size - place
    return Seam(
        kind=SeamKind.EXACT,
        method="bytes",
        certainty=Certainty.PROVEN,
        older_end=older.size if inside else place,
        newer_start=newer.size if inside else skip,
        overlap_bytes=length,
        overlap_ms=None,
        note="the newer segment lies wholly inside the older" if inside else "",
    )


# --- transport streams ---------------------------------------------------------------------------------------------


def _ts_seam(older: Source, newer: Source, expected: Expected) -> Seam:
    exact, start = _exact(older, newer, 0, expected)
    if exact is not None and exact.kind is SeamKind.GAP:
        gap = _append(older, newer, 0, expected)
        return replace(gap, kind=SeamKind.GAP, certainty=exact.certainty, gap_ms=None, note=exact.note)
    if exact is not None and _is_telling(newer, exact.overlap_bytes):
        return replace(exact, overlap_ms=media_ms(newer, exact.overlap_bytes))
    # Two muxers' packets may agree here and there, too: where the newer's first ones do not, units come before packets
    splice = find_pes_splice(older, newer) if start is None else None
    found = find_union(older, newer, start) if splice is None else None
    if found is not None:
        overlap_ms = clock_overlap_ms(older, newer, found.older_end, found.newer_start)
        return _union_seam(found, "packets", overlap_ms, _union_note(found))
    woven = find_weave(older, newer, expected)
    if woven is not None:
        return _woven_seam(older, newer, woven, expected)
    if splice is not None:
        return _pes_seam(older, newer, splice)
    # A few equal bytes without a timestamp are no proof of when they are, but they are equal: keep them once
    repeated = exact.overlap_bytes if exact is not None else 0
    return _append(Clipped(older, older.size - repeated), newer, repeated, expected)


def _pes_seam(older: Source, newer: Source, splice: PesSplice) -> Seam:
    following = timeline.counters_before(newer, splice.newer_start, newer.size)
    marks = ts.discontinuity(sorted(following.items()))
    return Seam(
        kind=SeamKind.EXACT,
        method="pes",
        certainty=Certainty.PROVEN,
        older_end=splice.older_end,
        newer_start=splice.newer_start,
        pieces=tuple(Inserted(data) for data in (splice.rewritten, marks) if data),
        overlap_bytes=splice.overlap_bytes,
        overlap_ms=clock_overlap_ms(older, newer, splice.older_end, splice.newer_start),
        note="the same access units in other packets",
    )


def _woven_seam(older: Source, newer: Source, woven: Weave, expected: Expected) -> Seam:
    """Where only what time is not told by is in common, pictures may be missing between the two."""
    seam = _pes_seam(older, newer, PesSplice(*woven[:4]))
    if woven.has_holes:
        seam = replace(seam, kind=SeamKind.UNION, note="each has access units that the other lacks")
    if not woven.is_by_time:
        seam = replace(seam, overlap_ms=None, note=f"{seam.note}, at other times")
    if woven.has_clock and not woven.missing:
        return seam
    if woven.has_clock:
        gap: float | None = woven.missing / ts.TICKS_PER_MS
    else:
        gap = passed(clock_gap_ms(older, newer), expected) if woven.is_by_time else None
    length = length_of(gap)
    what = "one of the streams is missing between them" if woven.has_clock else "only the sound is in both"
    if gap is not None and abs(gap) < BACKWARD_NONE_MS:
        return replace(seam, certainty=Certainty.LIKELY, note=f"{what}, and the pictures go on")
    return replace(
        seam, kind=SeamKind.GAP, method="timestamps", gap_ms=length, overlap_ms=None,
        certainty=Certainty.UNKNOWN if length is None else Certainty.LIKELY,
        note="; ".join(filter(None, (what, gap_note(gap)))),
    )  # fmt: skip


def _union_seam(found: Union, method: str, overlap_ms: float | None, note: str) -> Seam:
    seam = Seam(
        kind=SeamKind.UNION,
        method=method,
        certainty=Certainty.PROVEN,
        older_end=found.older_end,
        newer_start=found.newer_start,
        pieces=found.spans,
        overlap_bytes=found.common_bytes,
        overlap_ms=overlap_ms,
        note=note,
    )
    return _ambiguous(seam, "how often was told by the one that has more of them") if found.is_ambiguous else seam


def _union_note(found: Union) -> str:
    only_older = sum(span.end - span.start for span in found.spans if span.origin is Origin.OLDER)
    only_newer = sum(span.end - span.start for span in found.spans if span.origin is Origin.NEWER) - found.common_bytes
    return f"{only_older} bytes are only in the older, {only_newer} only in the newer segment"


def _append(older: Source, newer: Source, repeated: int, expected: Expected) -> Seam:
    """No overlap: the distance by timestamps, and a mark where the counters do not go on."""
    gap = passed(clock_gap_ms(older, newer), expected)
    following = timeline.counters_before(newer, 0, newer.size)
    known = timeline.last_counters(older, 0, older.size)
    shared = following.keys() & known.keys()
    if shared and all(following[pid] == known[pid] for pid in shared) and gap is not None and abs(gap) < 1:
        return Seam(
            kind=SeamKind.EXACT,
            method="adjacent",
            certainty=Certainty.LIKELY,
            older_end=older.size,
            newer_start=0,
            overlap_bytes=repeated,
            note="the newer segment begins where the older ends",
        )
    length = length_of(gap)
    return Seam(
        kind=SeamKind.GAP,
        method="timestamps",
        certainty=Certainty.UNKNOWN if length is None else Certainty.LIKELY,
        older_end=older.size,
        newer_start=0,
        pieces=(Inserted(ts.discontinuity(sorted(following.items()))),) if following else (),
        overlap_bytes=repeated,
        gap_ms=length,
        note=gap_note(gap),
    )


def _is_telling(newer: Source, length: int) -> bool:
    """True when newer's first `length` bytes can be at one place of the stream only, or are all there is."""
    return length >= min(HEAD, newer.size) or any(timeline.units(newer, 0, length))


# --- fragmented MP4 ------------------------------------------------------------------------------------------------


def _at_level(older: Source, newer: Source, level: int | None, skip: int) -> Seam | None:
    """The seam where the media of both begin at the same time, if they are the same."""
    if level is None or level >= older.size or not goes_on(older, level, newer, skip):
        return None
    return _exact_seam(older, newer, level, skip)


def _fmp4_seam(older: Source, newer: Source, expected: Expected, level: int | None) -> Seam:
    skip = fmp4.header_end(newer)
    if not fmp4.is_same_header(newer.read(0, skip), older.read(0, fmp4.header_end(older))):
        return _break(older, "the initialisation headers differ")
    end = fmp4.whole_end(older)
    if newer.size == skip:
        return replace(_gap(end, skip, "the newer segment holds no media"), gap_ms=0.0, certainty=Certainty.PROVEN)
    seam = _at_level(older, newer, level, skip)
    is_telling = seam is not None
    seam = seam or _exact(older, newer, skip, expected)[0]
    if seam is not None and seam.kind is SeamKind.GAP:
        return replace(seam, older_end=end)
    if seam is not None and (is_telling or seam.overlap_bytes >= min(HEAD, newer.size - skip)):
        overlap = fragments.duration_ms(Clipped(newer, skip + seam.overlap_bytes))
        return replace(seam, overlap_ms=None if overlap is None else float(overlap))
    older = Clipped(older, end)
    union = fragment_union.find_union(older, newer)
    if union is None:
        return _fmp4_gap(older, newer, skip, expected)
    return _union_seam(
        union, "fragments", fragment_union.overlap_ms(older, newer, union), "each has what the other lacks"
    )


def _fmp4_gap(older: Source, newer: Source, skip: int, expected: Expected) -> Seam:
    """No fragment in common: the distance by the clock of the fragments."""
    if fragment_union.goes_on(older, newer):
        return Seam(
            kind=SeamKind.EXACT,
            method="adjacent",
            certainty=Certainty.LIKELY,
            older_end=older.size,
            newer_start=skip,
            note="the newer segment begins where the older ends",
        )
    gap = passed(fragment_union.gap_ms(older, newer), expected)
    if gap is not None and gap < -BACKWARD_MAX_MS:
        gap = None
    length = length_of(gap)
    return Seam(
        kind=SeamKind.GAP,
        method="timestamps",
        certainty=Certainty.UNKNOWN if length is None else Certainty.LIKELY,
        older_end=older.size,
        newer_start=skip,
        gap_ms=length,
        note=gap_note(gap),
    )
