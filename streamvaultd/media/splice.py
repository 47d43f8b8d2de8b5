# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is not written yet: spans of other files and a few literal bytes, readable as if it existed.

The planner joins the next segment to such a splice of all segments before it, so a segment that lies inside an
earlier one, or one that is shorter than the overlap, needs no special case.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from streamvaultd.media.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, end) of one file, known by its index."""

    file: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def cut(self, start: int, end: int) -> Part:
        """The bytes [start, end) of this part."""
        return Part(self.file, self.start + start, self.start + end)


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that are in no file."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def cut(self, start: int, end: int) -> Literal:
        return Literal(self.data[start:end])


Piece: TypeAlias = Part | Literal


def size_of(pieces: Sequence[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def cut(pieces: Sequence[Piece], start: int, end: int) -> tuple[Piece, ...]:
    """The pieces that make up bytes [start, end)."""
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(end - at, piece.size)
        if low < high:
            found.append(piece.cut(low, high))
        at += piece.size
    return tuple(found)


def merged(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same bytes with neighbouring parts of one file made one, and without empty pieces."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, Part) and isinstance(last, Part) and (piece.file, piece.start) == (last.file, last.end):
            found[-1] = Part(last.file, last.start, piece.end)
        elif piece.size:
            found.append(piece)
    return tuple(found)


@dataclass(frozen=True)
class Splice:
    """The pieces as one source."""

    files: Sequence[Source]
    pieces: tuple[Piece, ...]
    ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", list(accumulate(piece.size for piece in self.pieces)))

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        found = []
        index = bisect_right(self.ends, offset)
        while offset < end:
            piece, ends_at = self.pieces[index], self.ends[index]
            start = offset - (ends_at - piece.size)
            size = min(end, ends_at) - offset
            found.append(self._read_piece(piece, start, size))
            offset, index = offset + size, index + 1
        return b"".join(found)

    def _read_piece(self, piece: Piece, start: int, size: int) -> bytes:
        if isinstance(piece, Literal):
            return piece.data[start : start + size]
        return self.files[piece.file].read(piece.start + start, size)
