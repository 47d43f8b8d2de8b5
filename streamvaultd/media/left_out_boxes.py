# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a range of a fragmented MP4 the result of a join lacks, sample for sample. See left_out.py."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, TypeAlias

from streamvaultd.media import fmp4, sought
from streamvaultd.media.fmp4 import Box
from streamvaultd.media.samples import Sample, Usual, samples, usual_of
from streamvaultd.media.sought import CHUNK, DIGEST, Item, Key, Lost, Sought, Span, digest, windows
from streamvaultd.media.source import Clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Set

    from streamvaultd.media.source import Source

_STRUCTURE: Final = frozenset({b"styp", b"sidx", b"prft", b"free", b"skip", b"mfra"})
INITIALISATION: Final = "the initialisation"


def look_for_samples(file: Source, span: Span, held: Sequence[tuple[Source, int]], looked: dict[int, Boxed]) -> None:
    start, end = span
    mine = _boxed(file, looked)
    for boxes, items in _groups(file, mine, start, end):
        wanted = Sought(items if any(item.key[0] != INITIALISATION for item in items) else ())
        only = {_when(item.key) for item in items}
        for whole, place in held if wanted else ():
            theirs = _boxed(whole, looked)
            near = windows(whole, place + boxes[0][0].start - start, boxes[-1][0].end - boxes[0][0].start)
            # in the end all of it: it may be anywhere, and only what has the very time is read
            for window in ((0, fmp4.header_end(whole)), *near, (0, whole.size)):
                if not wanted:
                    break
                for box in theirs.boxes(*window):
                    for item in _items_in(whole, *box, theirs.usual, only):
                        wanted.find(item)
                    if not wanted:
                        break
        for item in wanted:
            raise Lost(f"what {item.key[0]} has at byte {item.at} is not in the result")


def _when(key: Key) -> Key:
    """Whose it is, and when if it is a sample."""
    return key[0], key[1][DIGEST:]


Boxes: TypeAlias = tuple[Box, Box | None]
"""A box, and the moof that it belongs to if it is an mdat."""


class Boxed:
    """The boxes of a source, found without reading all those before: it is looked through once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._clean = [(low, high, [low]) for low, high in fmp4.clean(source)]
        self._end, self._last = 0, None
        for low, high, places in self._clean:
            self._end = low
            for box in fmp4.boxes(Clipped(source, high), low):
                if box.kind == b"moof" and box.start - places[-1] >= CHUNK:
                    places.append(box.start)
                self._end, self._last = box.end, box if box.kind == b"moof" else None
        moov = next((box for box in fmp4.boxes(source) if box.kind == b"moov"), None)
        self.usual: Mapping[int, Usual] = {} if moov is None else usual_of(source, moov)

    _last: Box | None
    """A moof that they end with."""

    def boxes(self, start: int, end: int) -> Iterator[Boxes]:
        """Those that are in a range, also what is torn at the end, and what is none."""
        at = 0
        for low, high, places in self._clean:
            yield from _foreign(self._source, max(at, start), min(low, end))
            at = high
            if low < end and start < high:
                yield from self._in_order(places[max(0, bisect_right(places, start) - 1)], high, start, end)
        if self._end < self._source.size and end > self._end:
            torn = self._source.read(self._end + 4, 4)
            if torn == b"mdat" and self._last is not None:
                yield Box(b"mdat", self._end, self._source.size), self._last
            elif torn not in fmp4.FIRST_BOXES | _STRUCTURE and not _is_torn_head(self._source, self._end):
                yield from _foreign(self._source, max(self._end, start), end)

    def _in_order(self, first: int, high: int, start: int, end: int) -> Iterator[Boxes]:
        moof: Box | None = None
        for box in fmp4.boxes(Clipped(self._source, high), first):
            if box.start >= end:
                return
            moof = box if box.kind == b"moof" else moof
            if box.end > start:
                yield box, moof if box.kind == b"mdat" else None
            moof = None if box.kind == b"mdat" else moof


def _boxed(source: Source, looked: dict[int, Boxed]) -> Boxed:
    if id(source) not in looked:
        looked[id(source)] = Boxed(source)
    return looked[id(source)]


def _groups(file: Source, boxed: Boxed, start: int, end: int) -> Iterator[tuple[list[Boxes], list[Item]]]:
    """The boxes of a file that are in a range, and what is in them: as much at a time as memory holds."""
    found: list[Boxes] = []
    items: list[Item] = []
    for box in boxed.boxes(start, end):
        found.append(box)
        items += _items_in(file, *box, boxed.usual)
        if box[0].end - found[0][0].start >= sought.SLICE or len(items) >= sought.ITEMS_MAX:
            yield found, items
            found, items = [], []
    if found:
        yield found, items


def _is_torn_head(source: Source, at: int) -> bool:
    """Whether a file ends before it is said what box that would be."""
    rest = source.read(at, 9)
    return len(rest) < 8 and any(kind.startswith(rest[4:]) for kind in (*fmp4.FIRST_BOXES, *_STRUCTURE, b"mdat"))


def _foreign(source: Source, start: int, end: int) -> Iterator[Boxes]:
    """What is no box is something, unless it is a page, or the zeros of a power failure."""
    if start < end and b"\0" in (data := source.read(start, min(CHUNK, end - start))) and data.strip(b"\0"):
        yield Box(b"    ", start, end), None


def _items_in(
    source: Source, box: Box, moof: Box | None, known: Mapping[int, Usual], only: Set[Key] | None = None
) -> Iterator[Item]:
    """What a box holds that must not be lost, or `only` what may be one of these, see _when()."""
    if box.kind in _STRUCTURE or box.kind in (b"moof", b"ftyp"):
        return
    if box.kind == b"moov":
        yield Item((INITIALISATION, _header(source, box)), None, 0, box.start, box.end)
        return
    found = None if moof is None else samples(source, moof, known)
    head = 16 if source.read(box.start, 4) == b"\0\0\0\1" else 8
    is_torn = head == 8 and box.end - box.start < int.from_bytes(source.read(box.start, 4), "big")
    if not found or not _fills(found, box.start + head, box.end, is_torn=is_torn):
        name = f"box {box.kind.decode('latin-1')}"
        if only is None or (name, b"") in only:
            yield Item((name, _digest_of(source, box.start, box.end)), None, 0, box.start, box.end)
        return
    for one in found:
        name, when = f"track {one.track}", str(one.ticks).encode()
        if one.at + one.size <= box.end and (only is None or (name, when) in only):
            key = name, _digest_of(source, one.at, one.at + one.size) + when
            yield Item(key, None, one.late, box.start, box.end)


def _fills(found: Sequence[Sample], start: int, end: int, *, is_torn: bool) -> bool:
    """Whether samples are what [start, end) consists of, each once; of what is torn, as far as it is there."""
    at = start
    for one in sorted(found, key=lambda sample: sample.at):
        if one.at != at:
            return False
        at += one.size
    return at == end or (is_torn and at > end)


def _header(source: Source, moov: Box) -> bytes:
    return digest(fmp4.without_rates(source.read(moov.start, min(moov.end - moov.start, fmp4.HEADER_MAX))))


def _digest_of(source: Source, start: int, end: int) -> bytes:
    found = hashlib.blake2b(digest_size=DIGEST)
    for at in range(start, end, CHUNK):
        found.update(source.read(at, min(CHUNK, end - at)))
    return found.digest()
