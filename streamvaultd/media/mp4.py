# SPDX-License-Identifier: GPL-3.0-or-later
"""MP4 files with an index (ISO/IEC 14496-12, moov with sample tables): where its samples are, and when.

Everything is read in slices: a day of media has an index of hundreds of megabytes. What an index says is not trusted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import fmp4
from streamvaultd.media.fmp4 import Box
from streamvaultd.media.source import Clipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

SLICE: Final = 65_520
"""Bytes of a table that are read at a time; a multiple of every entry's size."""

PARTS_MAX: Final = 64
"""Boxes of an index that are looked at, tracks among them."""

EDITS_MAX: Final = 8
"""Entries of an edit list that are looked at."""

TEXT: Final = b"text"
"""The handler of a track that names chapters."""

PATH: Final = (b"mdia", b"minf", b"stbl")
TABLES: Final = (b"stts", b"stsz", b"stsc")


@dataclass(frozen=True, slots=True)
class Track:
    """The boxes of one track, by kind; `timescale` is in units per second.

    What it has is shown `delay` seconds after its own time. `handler` is what it is: vide, soun, text.
    """

    timescale: int
    tables: dict[bytes, Box]
    delay: float = 0.0
    handler: bytes = b""


class TimedSample(NamedTuple):
    """`size` bytes at `at` of the file, shown at `shown` seconds of the film."""

    at: int
    size: int
    shown: float


class Unreadable(Exception):
    """What an index lacks."""


def tracks(source: Source) -> list[Track]:
    """The tracks of the file; none where there is no index, or one that says that fragments follow (mvex).

    Raises Unreadable for one that cannot be followed.
    """
    moov = next((box for box in fmp4.boxes(source) if box.kind == b"moov"), None)
    parts = [] if moov is None else list(islice(_inside(source, moov), PARTS_MAX))
    if any(box.kind == b"mvex" for box in parts):
        return []
    scale = next((_timescale(source, box) for box in parts if box.kind == b"mvhd"), 0)
    return [_track(source, box, scale) for box in parts if box.kind == b"trak"]


def _inside(source: Source, box: Box) -> Iterator[Box]:
    head = 16 if source.read(box.start, 4) == b"\0\0\0\1" else 8
    return fmp4.boxes(Clipped(source, box.end), box.start + head)


def _timescale(source: Source, header: Box) -> int:
    """Of an mvhd or mdhd."""
    is_long = source.read(header.start + 8, 1) == b"\1"
    return int.from_bytes(source.read(header.start + (28 if is_long else 20), 4), "big")


def _track(source: Source, trak: Box, scale: int) -> Track:
    where = trak
    timescale, handler = 0, b""
    for kind in PATH:
        found = {box.kind: box for box in _inside(source, where)}
        if b"mdhd" in found:
            timescale = _timescale(source, found[b"mdhd"])
        if b"hdlr" in found and not handler:  # that of the media; what is behind it may have one of its data
            handler = source.read(found[b"hdlr"].start + 16, 4)
        if kind not in found:
            raise Unreadable(f"a track has no {kind.decode()}")
        where = found[kind]
    tables = {box.kind: box for box in _inside(source, where)}
    missing = [kind.decode() for kind in TABLES if kind not in tables]
    if missing or not (b"stco" in tables or b"co64" in tables):
        raise Unreadable(f"a track has no {(missing or ['stco'])[0]}")
    if not timescale:
        raise Unreadable("a track has no timescale")
    return Track(timescale, tables, _delay(source, trak, scale, timescale), handler)


def _delay(source: Source, trak: Box, scale: int, timescale: int) -> float:
    """How much later than its own time a track is shown (8.6.6): first nothing, and then all of it from a time on."""
    edits = next((box for box in _inside(source, trak) if box.kind == b"edts"), None)
    table = None if edits is None else next((box for box in _inside(source, edits) if box.kind == b"elst"), None)
    if table is None:
        return 0.0
    is_long = source.read(table.start + 8, 1) == b"\1"
    entries = list(islice(_entries(source, table, ">Qqi" if is_long else ">Iii"), EDITS_MAX))
    before = [entry for entry in entries if entry[1] == -1]
    if len(entries) != len(before) + 1 or entries[-1][1] < 0 or (before and not scale):
        raise Unreadable("a track is edited")
    return sum(entry[0] for entry in before) / max(scale, 1) - entries[-1][1] / timescale


def samples(source: Source, track: Track) -> Iterator[TimedSample]:
    """All samples in order; raises Unreadable."""
    sizes = _Sizes(source, track.tables[b"stsz"])
    times = _times(source, track)
    for at, count in _places(source, track):
        place = at
        for size in sizes.each(count):
            shown = next(times, None)
            if shown is None:
                raise Unreadable("there are more samples than times")
            yield TimedSample(place, size, shown / track.timescale + track.delay)
            place += size
    if sizes.left:
        raise Unreadable("there are more samples than their chunks have")


def _times(source: Source, track: Track) -> Iterator[int]:
    """When each sample is shown, by the track's own clock."""
    later: Iterator[int] = repeat(0)
    if (table := track.tables.get(b"ctts")) is not None:
        entries = _entries(source, table, ">Ii")
        later = (shift for count, shift in entries for _ in range(count))
    now = 0
    for count, delta in steps(source, track):
        for _ in range(count):
            shift = next(later, None)
            if shift is None:
                raise Unreadable("there are more samples than times")
            yield now + shift
            now += delta


def _places(source: Source, track: Track) -> Iterator[tuple[int, int]]:
    """(offset, samples) of each run of samples in the file, in order."""
    wide = b"co64" in track.tables
    places = _entries(source, track.tables[b"co64" if wide else b"stco"], ">Q" if wide else ">I")
    per_chunk = _samples_per_chunk(source, track.tables[b"stsc"])
    return ((offset, count) for (offset,), count in zip(places, per_chunk, strict=False))


def chunks(source: Source, track: Track) -> Iterator[tuple[int, int, int]]:
    """(offset, bytes, samples) of each run of samples in the file, in order; raises Unreadable."""
    sizes = _Sizes(source, track.tables[b"stsz"])
    for offset, count in _places(source, track):
        yield offset, sum(sizes.each(count)), count
    if sizes.left:
        raise Unreadable("there are more samples than their chunks have")


def steps(source: Source, track: Track) -> Iterator[tuple[int, int]]:
    """(samples, ticks that each of them lasts), in order."""
    return ((count, delta) for count, delta in _entries(source, track.tables[b"stts"], ">II"))


def _entries(source: Source, table: Box, form: str, head: int = 16) -> Iterator[tuple[int, ...]]:
    """The entries of a table, as far as it says to have them and does."""
    count = int.from_bytes(source.read(table.start + head - 4, 4), "big")
    size = struct.calcsize(form)
    end = min(table.start + head + count * size, table.end)
    for at in range(table.start + head, end - size + 1, SLICE):
        data = source.read(at, min(SLICE, end - at))
        yield from struct.iter_unpack(form, data[: len(data) // size * size])


class _Sizes:
    """The sizes of samples, in order; all may have the same."""

    def __init__(self, source: Source, table: Box) -> None:
        self._same, self.left = struct.unpack(">II", source.read(table.start + 12, 8).ljust(8, b"\0"))
        self._each = _entries(source, table, ">I", head=20)

    def each(self, samples: int) -> tuple[int, ...]:
        """Bytes of each of the next samples."""
        found = (self._same,) * samples if self._same else tuple(size for (size,) in islice(self._each, samples))
        if samples > self.left or len(found) < samples:
            raise Unreadable("there are fewer samples than their chunks have")
        self.left -= samples
        return found


def _samples_per_chunk(source: Source, table: Box) -> Iterator[int]:
    """How many samples each chunk has, for ever as the last entry says."""
    entries = _entries(source, table, ">III")
    known = next(entries, None)
    while known is not None:
        first, samples, _ = known
        if not 0 < samples <= SLICE:
            raise Unreadable(f"a chunk has {samples} samples")
        known = next(entries, None)
        if known is None:
            yield from repeat(samples)
        elif known[0] <= first:
            raise Unreadable("its chunks are not in order")
        else:
            yield from repeat(samples, known[0] - first)
