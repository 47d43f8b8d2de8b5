# SPDX-License-Identifier: GPL-3.0-or-later
"""What the joined recording will consist of: the segments in order, each put to the splice of all before it.

One file holds one format and, in fragmented MP4, one initialisation: behind another one, players show nothing. So a
source that changes either makes a recording of several parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import fmp4, fragments, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.pieces import SECOND
from streamvaultd.media.seam import Certainty, Inserted, Joint, Seam, SeamKind, find_seam
from streamvaultd.media.splice import Literal, Part, Piece, Splice, cut, merged, size_of
from streamvaultd.media.union import Origin, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.media.source import Source


@dataclass(frozen=True, slots=True)
class PlannedSeam:
    """A seam between two files (by index), and where in the part it is.

    The place is None when a later file holds the media on both sides of it: then it is no seam of the result; and at a
    break, behind which another part begins.
    """

    older: int
    newer: int
    offset: int | None
    seam: Seam


@dataclass(frozen=True, slots=True)
class Plan:
    """One part of the result as pieces of the files; `torn` bytes at the very end are left out."""

    container: FileFormat
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

    def ranges(self) -> list[tuple[int, int]]:
        """Where in the result there are bytes of the files."""
        ends = accumulate(piece.size for piece in self.pieces)
        return [
            (end - piece.size, end) for end, piece in zip(ends, self.pieces, strict=True) if isinstance(piece, Part)
        ]

    def gaps(self) -> list[int]:
        """Where in the result something is missing by the clock, which may be more than a pause within one capture."""
        return [
            planned.offset
            for planned in self.seams
            if planned.offset is not None and planned.seam.kind is SeamKind.GAP and planned.seam.gap_ms
        ]

    def places(self) -> list[int]:
        """Where in the result there are seams."""
        return [planned.offset for planned in self.seams if planned.offset is not None]


def plan_join(files: Sequence[Source], ends: Sequence[int | None] = ()) -> tuple[Plan, ...]:
    """Plans the join of segments in the order in which they were started, as one part or more; none if none has media.

    `ends`: when the last of each was received (ms), as far as that is known.
    Never raises on what they hold (OSError of a read apart).
    """
    chains: list[_Chain] = []
    for index in range(len(files)):
        ranges = _uniform(files, index)
        level: _Level | None = None
        for number in range(len(ranges)):
            level = _take(files, chains, _Times(files, ends, index, ranges[number:]), level)
    return tuple(_finished(files, chain) for chain in chains)


@dataclass(slots=True)
class _Chain:
    """A part that is being planned."""

    pieces: tuple[Piece, ...]
    seams: list[PlannedSeam]
    last: int
    """The file that was put to it last."""


def _uniform(files: Sequence[Source], index: int) -> Sequence[tuple[Piece, ...]]:
    """The file cut where fragmented MP4 gets another initialisation; what has no media of its own is left out."""
    file = files[index]
    if sniff(file) is not FileFormat.FMP4 or fmp4.is_indexed(file):
        return [(Part(index, 0, file.size),)]
    clean = tuple(Part(index, start, end) for start, end in fmp4.clean(file))
    return [cut(clean, start, end) for start, end in fmp4.uniform(Splice(files, clean))]


def foreign_bytes(file: Source) -> int:
    """Bytes between the boxes of fragmented MP4 that are none."""
    if sniff(file) is not FileFormat.FMP4 or fmp4.is_indexed(file):
        return 0
    return file.size - sum(end - start for start, end in fmp4.clean(file))


@dataclass(frozen=True, slots=True)
class _Times:
    """What the times at which segments were received tell of a piece; `rest` are all of its file from it on."""

    files: Sequence[Source]
    ends: Sequence[int | None]
    index: int
    rest: Sequence[tuple[Piece, ...]]

    def overlap_ms(self, older: tuple[Piece, ...]) -> float | None:
        """How much of what is received until now is in both; None where nothing tells."""
        last = older[-1] if older else None
        if not self.ends or not isinstance(last, Part):
            return None
        before, behind = self.ends[last.file], self.ends[self.index]
        later = [each for each in _uniform(self.files, last.file) if _start_of(each) >= last.end]
        mine, yours = [self._ms(each) for each in later], [self._ms(each) for each in self.rest]
        if before is None or behind is None or None in mine + yours:
            return None
        return sum(filter(None, yours)) - sum(filter(None, mine)) - float(behind - before)

    def _ms(self, pieces: tuple[Piece, ...]) -> float | None:
        source = Splice(self.files, pieces)
        if source.size > timeline.COUNTED_MAX:
            return None
        is_ts = sniff(source) is FileFormat.TS
        ms = timeline.received_ms(source) if is_ts else fragments.duration_ms(source, gap_max=SECOND)
        return None if ms is None else float(ms)


def _start_of(pieces: tuple[Piece, ...]) -> int:
    """Where in its file the first of them begins."""
    return pieces[0].start if isinstance(pieces[0], Part) else 0


class _Level(NamedTuple):
    """Where in an earlier file the next piece of a file begins: the ones before them end with the very same bytes."""

    file: int
    at: int

    def place_in(self, pieces: tuple[Piece, ...], skip: int) -> int | None:
        """Where in a part that is, behind `skip` bytes of the piece; None if it is not there."""
        place, at = 0, self.at + skip
        for piece in pieces:
            if isinstance(piece, Part) and piece.file == self.file and piece.start <= at < piece.end:
                return place + at - piece.start
            place += piece.size
        return None


def _level_of(older: tuple[Piece, ...], newer: Source, seam: Seam) -> _Level | None:
    """After a seam by equal bytes in which both end."""
    last = older[-1]
    is_exact = (seam.kind, seam.method, seam.certainty) == (SeamKind.EXACT, "bytes", Certainty.PROVEN)
    is_even = size_of(older) - seam.older_end == newer.size - seam.newer_start == seam.overlap_bytes
    return _Level(last.file, last.end) if is_exact and is_even and isinstance(last, Part) else None


def _take(files: Sequence[Source], chains: list[_Chain], times: _Times, level: _Level | None) -> _Level | None:
    """Put the next piece to the part that is proven to have the same media, else to the last one, or to one that is
    likely to have them, or begin another.

    A source that comes back to an earlier initialisation has parts of equal headers: the last is not the first choice.
    What is before either tells where a slate begins that repeats itself.
    """
    index, pieces = times.index, times.rest[0]
    source = Splice(files, pieces)
    last: Seam | None = None
    likely: tuple[_Chain, Seam] | None = None
    for chain in reversed(chains):
        begin = None if level is None else level.place_in(chain.pieces, fmp4.header_end(source))
        seam = find_seam(Splice(files, chain.pieces), source, partial(times.overlap_ms, chain.pieces), begin)
        if seam.certainty is Certainty.PROVEN and seam.kind in (SeamKind.EXACT, SeamKind.UNION):
            after = _level_of(chain.pieces, source, seam)
            _extend(chain, seam, index, pieces)
            return after
        last = last or seam
        if likely is None and seam.kind is SeamKind.EXACT and seam.overlap_bytes:
            likely = chain, seam
    if last is not None and last.kind is not SeamKind.BREAK:
        _extend(chains[-1], last, index, pieces)
        return None
    if likely is not None:
        _extend(*likely, index, pieces)
        return None
    chain = _Chain(pieces, [], index)
    if last is not None:
        chain.seams.append(PlannedSeam(chains[-1].last, index, None, last))
    chains.append(chain)
    return None


def _extend(chain: _Chain, seam: Seam, index: int, newer: tuple[Piece, ...]) -> None:
    chain.seams = [_without_place(planned) if _is_replaced(planned, seam) else planned for planned in chain.seams]
    chain.seams.append(PlannedSeam(chain.last, index, seam.older_end, seam))
    chain.pieces = _continued(chain.pieces, seam, newer)
    chain.last = index


def _finished(files: Sequence[Source], chain: _Chain) -> Plan:
    container = sniff(Splice(files, chain.pieces))
    end = _end(container, files, chain.pieces)
    return Plan(container, cut(chain.pieces, 0, end), tuple(chain.seams), size_of(chain.pieces) - end)


def _is_replaced(planned: PlannedSeam, later: Seam) -> bool:
    """True when what is between the two files, a mark for example, is no longer kept as it was."""
    size = sum(len(joint.data) for joint in planned.seam.pieces if isinstance(joint, Inserted))
    return planned.offset is not None and later.older_end < planned.offset + size


def _without_place(planned: PlannedSeam) -> PlannedSeam:
    gap = 0.0 if planned.seam.gap_ms == 0 else None
    note = "; ".join(filter(None, (planned.seam.note, "a later segment holds this place")))
    return replace(planned, offset=None, seam=replace(planned.seam, gap_ms=gap, note=note))


def _continued(pieces: tuple[Piece, ...], seam: Seam, newer: tuple[Piece, ...]) -> tuple[Piece, ...]:
    kept = cut(pieces, 0, seam.older_end)
    between = [piece for joint in seam.pieces for piece in _resolve(pieces, joint, newer)]
    return merged([*kept, *between, *cut(newer, seam.newer_start, size_of(newer))])


def _resolve(pieces: tuple[Piece, ...], joint: Joint, newer: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """A piece of a seam in terms of the files."""
    match joint:
        case Span(origin=Origin.OLDER, start=start, end=end):
            return cut(pieces, start, end)
        case Span(start=start, end=end):
            return cut(newer, start, end)
        case _:
            return (Literal(joint.data),)


def _end(container: FileFormat, files: Sequence[Source], pieces: tuple[Piece, ...]) -> int:
    """Where the last whole packet or fragment ends."""
    whole, size = Splice(files, pieces), size_of(pieces)
    match container:
        case FileFormat.TS:
            end = timeline.whole_end(whole)
            # A whole file can be linked instead of copied, which is worth a torn packet that every player ignores
            linkable = len(pieces) == 1 and _is_whole(files, pieces[0])
            return size if linkable and size - end < ts.PACKET else end
        case FileFormat.FMP4 if not fmp4.is_indexed(whole):
            return fmp4.whole_end(whole)
        case _:
            return size


def _is_whole(files: Sequence[Source], piece: Piece) -> bool:
    return isinstance(piece, Part) and (piece.start, piece.end) == (0, files[piece.file].size)
