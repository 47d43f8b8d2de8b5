# SPDX-License-Identifier: GPL-3.0-or-later
"""What the joined recording will consist of: the segments in order, each put to the splice of all before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from streamvaultd.media import fmp4, timeline, ts
from streamvaultd.media.seam import Inserted, Joint, Seam, SeamKind, find_seam
from streamvaultd.media.splice import Literal, Part, Piece, Splice, cut, merged, size_of
from streamvaultd.media.union import Origin, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.media.source import Source


class Container(Enum):
    """The format of a file, by its first bytes; the value is the suffix that says so."""

    TS = ".ts"
    FMP4 = ".mp4"
    MATROSKA = ".mkv"
    OTHER = ".bin"


def sniff(source: Source) -> Container:
    """The container of a source; the suffix in its name plays no part."""
    if timeline.is_ts(source):
        return Container.TS
    if fmp4.is_fmp4(source):
        return Container.FMP4
    # EBML (RFC 8794), the header of Matroska and WebM
    return Container.MATROSKA if source.read(0, 4) == b"\x1a\x45\xdf\xa3" else Container.OTHER


@dataclass(frozen=True, slots=True)
class PlannedSeam:
    """A seam between two files (by index), and where in the result it is.

    The place is None when a later file holds the media on both sides of it: then it is no seam of the result.
    """

    older: int
    newer: int
    offset: int | None
    seam: Seam


@dataclass(frozen=True, slots=True)
class Plan:
    """The result as pieces of the files; `torn` bytes at the very end are left out."""

    container: Container
    pieces: tuple[Piece, ...]
    seams: tuple[PlannedSeam, ...]
    torn: int

    @property
    def size(self) -> int:
        return size_of(self.pieces)

    def sole_file(self) -> int | None:
        """The index of the one file that the result begins with and consists of, if it does."""
        piece = self.pieces[0] if len(self.pieces) == 1 else None
        return piece.file if isinstance(piece, Part) and piece.start == 0 else None

    def places(self) -> list[int]:
        """Where in the result there are seams."""
        return [planned.offset for planned in self.seams if planned.offset is not None]

    def broken_seam(self) -> PlannedSeam | None:
        """The first seam that one file cannot hold."""
        return next((planned for planned in self.seams if planned.seam.kind is SeamKind.BREAK), None)


def plan_join(files: Sequence[Source]) -> Plan:
    """Plans the join of segments in the order in which they were started; at least one, none empty.

    Never raises on what they hold (OSError of a read apart).
    """
    pieces: tuple[Piece, ...] = (Part(0, 0, files[0].size),)
    seams: list[PlannedSeam] = []
    for newer in range(1, len(files)):
        seam = find_seam(Splice(files, pieces), files[newer])
        seams = [_without_place(planned) if _is_replaced(planned, seam) else planned for planned in seams]
        seams.append(PlannedSeam(newer - 1, newer, seam.older_end, seam))
        pieces = _continued(pieces, seam, newer, files[newer].size)
    container = sniff(files[0])
    end = _end(container, files, pieces)
    return Plan(container, cut(pieces, 0, end), tuple(seams), size_of(pieces) - end)


def _is_replaced(planned: PlannedSeam, later: Seam) -> bool:
    """True when what is between the two files, a mark for example, is no longer kept as it was."""
    size = sum(len(joint.data) for joint in planned.seam.pieces if isinstance(joint, Inserted))
    return planned.offset is not None and later.older_end < planned.offset + size


def _without_place(planned: PlannedSeam) -> PlannedSeam:
    gap = 0.0 if planned.seam.gap_ms == 0 else None
    note = "; ".join(filter(None, (planned.seam.note, "a later segment holds this place")))
    return replace(planned, offset=None, seam=replace(planned.seam, gap_ms=gap, note=note))


def _continued(pieces: tuple[Piece, ...], seam: Seam, newer: int, size: int) -> tuple[Piece, ...]:
    kept = cut(pieces, 0, seam.older_end)
    between = [piece for joint in seam.pieces for piece in _resolve(pieces, joint, newer)]
    return merged([*kept, *between, Part(newer, min(seam.newer_start, size), size)])


def _resolve(pieces: tuple[Piece, ...], joint: Joint, newer: int) -> tuple[Piece, ...]:
    """A piece of a seam in terms of the files."""
    match joint:
        case Span(origin=Origin.OLDER, start=start, end=end):
            return cut(pieces, start, end)
        case Span(start=start, end=end):
            return (Part(newer, start, end),)
        case _:
            return (Literal(joint.data),)


def _end(container: Container, files: Sequence[Source], pieces: tuple[Piece, ...]) -> int:
    """Where the last whole packet or fragment ends."""
    whole, size = Splice(files, pieces), size_of(pieces)
    match container:
        case Container.TS:
            end = timeline.whole_end(whole)
            # A whole file can be linked instead of copied, which is worth a torn packet that every player ignores
            linkable = len(pieces) == 1 and _is_whole(files, pieces[0])
            return size if linkable and size - end < ts.PACKET else end
        case Container.FMP4:
            return fmp4.whole_end(whole)
        case _:
            return size


def _is_whole(files: Sequence[Source], piece: Piece) -> bool:
    return isinstance(piece, Part) and (piece.start, piece.end) == (0, files[piece.file].size)
