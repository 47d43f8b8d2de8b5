# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that goes on as an HLS EVENT playlist (RFC 8216, 4.3.3.5) of byte ranges of its segments' files.

Entries are only added. A file is listed up to its end, which is known once nobody writes to it any more; the next one
goes on at the very byte, where find_seam() has proven it to hold the same: nothing is there twice, nothing is missing.
What is not proven to go on stands behind an EXT-X-DISCONTINUITY.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import fmp4, timeline, ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.reel import Piece, Reel, Unplayable
from streamvaultd.media.seam import SeamKind, find_seam
from streamvaultd.media.source import Clipped, FileSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.media.source import Source

__all__ = ["EventPlaylist", "Unplayable"]

TARGET: Final = 10
"""Seconds that an entry has at most, as far as the source allows it; half as often players look again."""

AT_THE_BYTE: Final = frozenset({"bytes", "adjacent"})


class Listed(NamedTuple):
    """A piece of a file, by its index. `header`: bytes of its initialisation, if it is another one."""

    file: int
    piece: Piece
    is_apart: bool
    header: int


@dataclass(slots=True)
class EventPlaylist:
    """What was listed so far of the files of a recording, in their order."""

    entries: list[Listed] = field(default_factory=list)
    is_ended: bool = False
    back: int | None = None
    """So many bytes of the first file count, its last ones; None: all."""
    _file: int = 0
    _reel: Reel | None = None
    _before: tuple[int, Reel] | None = None
    _is_apart: bool = False
    _header: int = 0

    def begin_with(self, file: int, back: int) -> None:
        """List nothing of the files before this one, and of it so many bytes at its end: a day takes long to read."""
        self._file, self.back = file, back

    def look(self, opened: Sequence[int | None], over: Sequence[bool], *, is_complete: bool) -> bool:
        """List what came since the last look; whether that is anything. None stands for a file that is not there.

        `over`: of these files nobody writes any more; `is_complete`: there will be no further one. Raises Unplayable,
        and OSError of a read.
        """
        files = [FileSource(-1, 0) if fd is None else FileSource.of(fd) for fd in opened]
        known = len(self.entries), self.is_ended
        while self._file < len(files) and self._take(files, over):
            self._file, self._reel = self._file + 1, None
        self.is_ended = is_complete and self._file == len(files)
        return known != (len(self.entries), self.is_ended)

    def _take(self, files: Sequence[Source], over: Sequence[bool]) -> bool:
        """List what there is of the present file; True if that is all there will be."""
        source, is_over = files[self._file], over[self._file]
        if is_over and source.size < ts.PACKET:
            return True
        if self._reel is None:
            reel = Reel()
            if not reel.begin(source, is_over=is_over):
                return False
            place = self._place(files, reel, is_over=is_over)
            if place is None:
                return is_over  # all of it is in the file before
            reel.skip_to(place)
            self._reel = reel
        for piece in self._reel.advance(source, is_over=is_over):
            self.entries.append(Listed(self._file, piece, self._is_apart, self._header))
            self._is_apart, self._header = False, 0
        if self._reel.is_done:
            self._before = self._file, self._reel
        return self._reel.is_done

    def _place(self, files: Sequence[Source], reel: Reel, *, is_over: bool) -> int | None:
        """Where the present file goes on with the one before; None while (or because) that has everything."""
        if self._before is None:
            self._header = reel.header
            source, back = files[self._file], self.back
            near = None if back is None else reel.place_behind(source, source.size - back)
            return reel.at if near is None else near
        index, older = self._before
        is_ts, source = reel.container is FileFormat.TS, files[self._file]
        end = (timeline if is_ts else fmp4).whole_end(source)
        newer = Clipped(source, end)
        if end <= reel.header:
            return None
        seam = find_seam(Clipped(files[index], older.at), newer)
        if seam.kind is SeamKind.EXACT and seam.method in AT_THE_BYTE:
            place = seam.newer_start + older.at - seam.older_end
            return place if place < end else None
        if seam.kind in (SeamKind.EXACT, SeamKind.UNION):
            found = reel.place_of(newer, older.until)
            if found is None and not is_over:
                return None
            place = reel.at if found is None else found
        else:
            place = reel.at
        self._is_apart, self._header = True, reel.header
        return place

    def text(self, names: Sequence[str]) -> str:
        """The playlist; `names` are the addresses of the files."""
        longest = max((listed.piece.seconds for listed in self.entries), default=0.0)
        lines = [
            "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(TARGET, math.ceil(longest))}",
            "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:EVENT",
        ]  # fmt: skip
        for file, piece, is_apart, header in self.entries:
            lines += ["#EXT-X-DISCONTINUITY"] if is_apart else []
            lines += [f'#EXT-X-MAP:URI="{names[file]}",BYTERANGE="{header}@0"'] if header else []
            lines.append(f"#EXTINF:{piece.seconds:.3f},")
            lines += [f"#EXT-X-BYTERANGE:{piece.end - piece.start}@{piece.start}", names[file]]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if self.is_ended else []), ""])
