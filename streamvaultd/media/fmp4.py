# SPDX-License-Identifier: GPL-3.0-or-later
"""Fragmented MP4 (ISO/IEC 14496-12), as far as joining needs it: the end of its header and of its last fragment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media.source import WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

HEADER = 16
# Of an initialisation as far as it is compared; a real one has a few KiB
HEADER_MAX = 1 << 20
# Boxes that a file, a header or a media segment may begin with
FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft"})

# A box of bit rates; and a decoder's configuration up to its buffer size and bit rates, as lengths are written
_BTRT = re.compile(rb"\0\0\0\x14btrt.{12}", re.DOTALL)
_DECODER = re.compile(rb"esds.{4}\x03(?:\x80{3})?.{4}\x04(?:\x80{3})?.{14}", re.DOTALL)


_FIRST = re.compile(b"|".join(sorted(FIRST_BOXES)))


class Box(NamedTuple):
    kind: bytes
    start: int
    end: int


def is_fmp4(source: Source) -> bool:
    return source.read(4, 4) in FIRST_BOXES


def boxes(source: Source, start: int = 0) -> Iterator[Box]:
    """The top-level boxes that are there as a whole; ends at the first torn or impossible one."""
    while True:
        head = source.read(start, HEADER)
        if len(head) < 8:
            return
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or start + size > source.size:
            return
        yield Box(head[4:8], start, start + size)
        start += size


def clean(source: Source) -> list[tuple[int, int]]:
    """The ranges of whole boxes; between them is what is none: a page that was served as a media segment, say.

    The last one ends with the source: what is torn there is whole in another file, perhaps.
    """
    found: list[tuple[int, int]] = []
    start = 0
    while True:
        end = max((box.end for box in boxes(source, start)), default=start)
        again = _next_fragment(source, end) if end < source.size else None
        if again is None:
            return [*found, (start, source.size)]
        found += [(start, end)] if end > start else []
        start = again


def _next_fragment(source: Source, start: int) -> int | None:
    """Where behind `start` the boxes of a whole fragment begin."""
    at = start + 1
    while at < source.size:
        window = source.read(at, WINDOW)
        for hit in _FIRST.finditer(window):
            place = at + hit.start() - 4
            if place > start and _is_fragment(source, place):
                return place
        at += max(1, len(window) - 3) if len(window) == WINDOW else WINDOW
    return None


def _is_fragment(source: Source, start: int) -> bool:
    """Whether boxes with a moof and its mdat begin here, all of kinds that stand there."""
    for box in boxes(source, start):
        if box.kind == b"mdat":
            return True
        if box.kind not in FIRST_BOXES and box.kind != b"free":
            return False
    return False


def torn_media(source: Source) -> Box | None:
    """The mdat that the file ends with, if less of it is there than it says."""
    end = max((box.end for box in boxes(source)), default=0)
    return Box(b"mdat", end, source.size) if source.read(end + 4, 4) == b"mdat" else None


def is_indexed(source: Source) -> bool:
    """True for an MP4 without fragments, its index before or behind its media; either may be torn or missing."""
    end = 0
    for box in boxes(source):
        if box.kind == b"moov" and b"mvex" in source.read(box.start, min(box.end - box.start, HEADER_MAX)):
            return False
        if box.kind in {b"moof", b"mdat"}:
            return box.kind == b"mdat"
        end = box.end
    return source.read(end + 4, 4) == b"mdat"


def header_end(source: Source) -> int:
    """Length of the header (ftyp and moov) that stands before the media; 0 when there is none."""
    end = 0
    for box in boxes(source):
        if box.kind == b"moov":
            end = box.end
        elif box.kind not in {b"ftyp", b"free"}:
            break
    return end


def is_same_header(one: bytes, other: bytes) -> bool:
    """Whether two headers describe the same streams: a muxer may measure other bit rates at each start."""
    return one == other or (len(one) == len(other) and without_rates(one) == without_rates(other))


def without_rates(header: bytes) -> bytes:
    """With zeros for bit rates: btrt (8.5.2.2), and those of a decoder's configuration (ISO/IEC 14496-1, 7.2.6.6)."""
    blank = _BTRT.sub(lambda found: found[0][:8] + bytes(12), header)
    return _DECODER.sub(lambda found: found[0][:-11] + bytes(11), blank)


def whole_end(source: Source) -> int:
    """Where the last whole fragment (moof and its mdat) ends, or the header if there is no fragment."""
    end = header_end(source)
    for box in boxes(source, end):
        if box.kind == b"mdat":
            end = box.end
    return end


def uniform(source: Source) -> list[tuple[int, int]]:
    """The ranges that have one initialisation each; those without any fragment are left out.

    An initialisation that is repeated as it was begins no other range (RFC 8216, 3.3).
    """
    found: list[tuple[int, int]] = []
    header, start, first, end = b"", 0, -1, 0
    for box in boxes(source):
        if box.kind in {b"ftyp", b"moov"}:
            first = box.start if first < 0 else first
        if box.kind == b"moov":
            known, header = header, source.read(first, min(box.end - first, HEADER_MAX))
            if known and header != known:
                found += [(start, end)] if end > start else []
                start = first
            first = -1
        elif box.kind == b"mdat":
            end = box.end
    # what is torn at the very end is whole in another file, perhaps: it still proves an overlap
    return [*found, (start, source.size)] if end > start else found
