# SPDX-License-Identifier: GPL-3.0-or-later
"""The fragments of fragmented MP4 (ISO/IEC 14496-12, 8.8): where they are, and which time of which track they hold.

Pure functions over a source. Damaged input is an answer (fewer fragments, no times), never an exception. Everything
that is counted in the input is bounded: boxes by the file's size, what is read of one box by BOX_MAX.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.fmp4 import Box, boxes, header_end
from streamvaultd.media.pieces import GAP_MAX, Pieces, Seams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamvaultd.media.source import Source

# Of a moov or moof; a real one has some tens of KiB
BOX_MAX = 4 << 20
# Samples counted one by one in a track run; a media segment has a few thousand
SAMPLES_MAX = 1 << 17

# Boxes that belong to the fragment that follows them (ISO/IEC 23000-19 and 23009-1)
_BEFORE = frozenset({b"styp", b"sidx", b"emsg", b"prft"})

# Flags of tfhd and trun (8.8.7.1 and 8.8.8.1)
_BASE_OFFSET, _DESCRIPTION, _DURATION = 0x1, 0x2, 0x8
_DATA_OFFSET, _FIRST_FLAGS, _SAMPLE_DURATION = 0x1, 0x4, 0x100
_SAMPLE_FIELDS = (0x100, 0x200, 0x400, 0x800)


class TrackHeader(NamedTuple):
    """What the header says of a track: ticks per second, whether it is video, and a sample's usual duration."""

    timescale: int
    is_video: bool
    duration: int


class FragmentRun(NamedTuple):
    """The time that a fragment holds of one track, in ticks of its timescale."""

    track: int
    start: int
    duration: int


class Fragment(NamedTuple):
    """Bytes [start, end): a moof with what belongs before it, and its mdat. `runs` is empty when it tells no time."""

    start: int
    end: int
    runs: tuple[FragmentRun, ...]


def tracks(source: Source) -> dict[int, TrackHeader]:
    """The tracks that the header at the start of the source describes, by their id."""
    moov = next((box for box in boxes(source) if box.kind == b"moov"), None)
    if moov is None:
        return {}
    data = content(source, moov)
    defaults = dict(_defaults(data))
    found = {}
    for kind, body in children(data):
        parsed = _parse_track(body) if kind == b"trak" else None
        if parsed is not None:
            number, timescale, is_video = parsed
            found[number] = TrackHeader(timescale, is_video, defaults.get(number, 0))
    return found


def media_tracks(source: Source) -> frozenset[int]:
    """Those of pictures or sound: subtitles and data come now and then."""
    moov = next((box for box in boxes(source) if box.kind == b"moov"), None)
    found = {}
    for kind, body in children(content(source, moov)) if moov is not None else ():
        parsed = _parse_track(body) if kind == b"trak" else None
        if parsed is not None:
            found[parsed[0]] = dict(children(dict(children(body)).get(b"mdia", b""))).get(b"hdlr", b"")[8:12]
    return frozenset(number for number, handler in found.items() if handler in {b"vide", b"soun"})


def clock_of(known: Mapping[int, TrackHeader]) -> int | None:
    """The track that time is told by: video if there is any, else the lowest."""
    return min(known, key=lambda number: (not known[number].is_video, number), default=None)


def fragments(source: Source, known: Mapping[int, TrackHeader], start: int = 0) -> Iterator[Fragment]:
    """The fragments that are there as a whole, in order; `start` is where a box begins."""
    first, moof = -1, None
    for box in boxes(source, max(start, header_end(source))):
        if box.kind == b"moof":
            first, moof = box.start if first < 0 else first, box
        elif box.kind == b"mdat" and moof is not None:
            yield Fragment(first, box.end, runs_of(source, moof, known) if known else ())
            first, moof = -1, None
        elif box.kind in _BEFORE:
            first, moof = box.start if first < 0 or moof is not None else first, None
        else:
            first, moof = -1, None


def content(source: Source, box: Box) -> bytes:
    """What a box holds; nothing of one that is too large."""
    size = box.end - box.start
    if size > BOX_MAX:
        return b""
    data = source.read(box.start, size)
    return data[16 if data[:4] == b"\0\0\0\1" else 8 :]


def children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the boxes that a box consists of; ends at the first impossible one."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _number(data: bytes, at: int, length: int = 4) -> int | None:
    return int.from_bytes(data[at : at + length], "big") if at + length <= len(data) else None


def _defaults(moov: bytes) -> Iterator[tuple[int, int]]:
    """(track, a sample's usual duration) as mvex tells it (8.8.3)."""
    for kind, body in children(moov):
        for inner, trex in children(body) if kind == b"mvex" else ():
            track, duration = _number(trex, 4), _number(trex, 12)
            if inner == b"trex" and track is not None and duration is not None:
                yield track, duration


def _parse_track(trak: bytes) -> tuple[int, int, bool] | None:
    """(id, timescale, is video) of a trak (8.3.2, 8.4.2, 8.4.3)."""
    inside = dict(children(trak))
    media = dict(children(inside.get(b"mdia", b"")))
    header, clock = inside.get(b"tkhd", b""), media.get(b"mdhd", b"")
    number = _number(header, 20 if header[:1] == b"\1" else 12)
    timescale = _number(clock, 20 if clock[:1] == b"\1" else 12)
    if number is None or not timescale:
        return None
    return number, timescale, media.get(b"hdlr", b"")[8:12] == b"vide"


def runs_of(source: Source, moof: Box, known: Mapping[int, TrackHeader]) -> tuple[FragmentRun, ...]:
    """The times of a movie fragment; none at all unless every track fragment of a known track tells its own."""
    found = []
    for kind, body in children(content(source, moof)):
        if kind == b"traf":
            run = _parse_traf(body, known)
            if run is None:
                return ()
            found.append(run)
    return tuple(found)


def _parse_traf(traf: bytes, known: Mapping[int, TrackHeader]) -> FragmentRun | None:
    boxes_inside = list(children(traf))
    inside = dict(boxes_inside)
    header, clock = inside.get(b"tfhd", b""), inside.get(b"tfdt", b"")
    track = _number(header, 4)
    start = _number(clock, 4, 8 if clock[:1] == b"\1" else 4)
    if track is None or start is None or track not in known:
        return None
    usual = _usual_duration(header)
    usual = known[track].duration if usual is None else usual
    duration = sum(_run_duration(body, usual) for kind, body in boxes_inside if kind == b"trun")
    return FragmentRun(track, start, duration)


def _usual_duration(tfhd: bytes) -> int | None:
    """default_sample_duration, if the header has it (8.8.7)."""
    flags = _number(tfhd, 1, 3) or 0
    if not flags & _DURATION:
        return None
    return _number(tfhd, 8 + 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION))


def _run_duration(trun: bytes, usual: int) -> int:
    """Ticks of all samples of a track run (8.8.8); what is torn counts as far as it goes."""
    flags, count = _number(trun, 1, 3) or 0, min(_number(trun, 4) or 0, SAMPLES_MAX)
    if not flags & _SAMPLE_DURATION:
        return count * usual
    fields = sum(bool(flags & field) for field in _SAMPLE_FIELDS)
    at = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    values = min(count * fields, max(0, len(trun) - at) // 4)
    return sum(struct.unpack_from(f">{values}I", trun, at)[::fields])


def beats(source: Source) -> Iterator[tuple[int, float, float]]:
    """(offset, seconds, seconds that it lasts) of each fragment, by the clock track."""
    known = tracks(source)
    clock = clock_of(known)
    for fragment in fragments(source, known):
        for run in fragment.runs:
            if run.track == clock:
                scale = known[run.track].timescale
                yield fragment.start, run.start / scale, run.duration / scale


def counted_ms(source: Source) -> int | None:
    """As duration_ms(), for one who removes what is short: None where something is not understood.

    That is a fragment that is torn, or has samples of which nothing says how long they last, and what is no box.
    """
    known, end = tracks(source), 0
    for box in boxes(source):
        end = box.end
        if box.kind == b"moof" and any(_is_endless(body, known) for body in _of_tracks(source, box)):
            return None
    return None if end < source.size else duration_ms(source)


def _of_tracks(source: Source, moof: Box) -> Iterator[bytes]:
    return (body for kind, body in children(content(source, moof)) if kind == b"traf")


def _is_endless(traf: bytes, known: Mapping[int, TrackHeader]) -> bool:
    """Whether it has samples that last no time, or more than are counted."""
    counts = [_number(body, 4) or 0 for kind, body in children(traf) if kind == b"trun"]
    run = _parse_traf(traf, known)
    return any(count > SAMPLES_MAX for count in counts) or (any(counts) and (run is None or not run.duration))


def duration_ms(source: Source, seams: Sequence[int] = (), gap_max: int = GAP_MAX) -> int | None:
    """Milliseconds that are presented from the first to the end of the last fragment of any track, gaps included.

    `seams` are offsets at which another capture begins behind a gap. A step ahead of more than `gap_max` is none, but
    another piece.

    Each piece has its own clock (pieces.py). None when a fragment tells no time: it may last long.
    """
    known, pieces, ahead = tracks(source), Pieces(gap_max), Seams(seams)
    for fragment in fragments(source, known):
        if not fragment.runs:
            return None
        at_seam = ahead.is_met(fragment.start)
        for run in fragment.runs:
            ticks = 1000 * ts.TICKS_PER_MS / known[run.track].timescale
            start, lasts = round(run.start * ticks) % ts.WRAP, round(run.duration * ticks)
            pieces.feed(run.track, start, lasts, at_seam=at_seam)
    return round(pieces.end() / ts.TICKS_PER_MS) if pieces.count else None
