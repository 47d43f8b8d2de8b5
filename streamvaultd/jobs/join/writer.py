# SPDX-License-Identifier: GPL-3.0-or-later
"""How the bytes of a planned result come to be a file, in the cheapest way that the file system allows:

link     the result is one whole segment: a second name
share    extents of the segments, shared (ioctl_ficlonerange(2)); costs next to nothing, whatever the size
append   the first segment is given a second name and the rest is appended to it: half the copying, half the space
copy     copy_file_range(2) into a new file

Shared extents have to begin at a block in both files. What is between two pieces is filled with what players skip
(null packets, ISO/IEC 13818-1 2.4.1; a free box, ISO/IEC 14496-12 8.1.2) until the next piece falls on one.

Appending is the only way that changes a segment, and only behind its end. Before that an intent is put on disk beside
it: which file, and how long it was. Who finds an intent takes the file to be that long. It goes with the segment:
a job that is run again after its report finds the segments as they were.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamvaultd.base.beneath import NotOurs
from streamvaultd.jobs.join import output
from streamvaultd.media import ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.plan import Plan
from streamvaultd.media.source import FileSource, common_forward
from streamvaultd.media.splice import Literal, Part, Piece, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
FICLONERANGE = 0x4020940D
# Shorter pieces are copied
SHARE_MIN = 1 << 20
APPEND_MIN = 256 << 20
INTENT_MAX = 4096
# Later (ms) than anything: an earlier version kept no such time
NEVER = 1 << 60
_NULL_PACKET = b"\x47\x1f\xff\x10".ljust(ts.PACKET, b"\xff")

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Intent:
    """That something is going to be appended to a file of `size` bytes, the last of which was `written` then (ms)."""

    inode: int
    size: int
    written: int

    @classmethod
    def load(cls, path: Path) -> Intent | None:
        """The intent that an earlier run left; one that is torn was never acted upon."""
        try:
            with output.opened(path, os.O_RDONLY) as fd:
                stored = json.loads(os.read(fd, INTENT_MAX))
            return cls(int(stored["inode"]), int(stored["size"]), int(stored.get("written", NEVER)))
        except (FileNotFoundError, NotOurs, ValueError, KeyError, TypeError, RecursionError):
            return None

    def save(self, path: Path) -> None:
        """Durable when it returns."""
        output.write_atomically(
            path, json.dumps({"inode": self.inode, "size": self.size, "written": self.written}).encode()
        )


def intent_of(segment: Path) -> Path:
    """Where the intent to append to a segment is; recording/files/output.py removes it with the segment."""
    return segment.with_name(f".{segment.name}.intent")


def size_of_segment(path: Path, found: os.stat_result) -> int:
    """The bytes of a segment without what was or is to be appended to it."""
    intent = Intent.load(intent_of(path))
    if intent is None or intent.inode != found.st_ino:
        return found.st_size
    return min(found.st_size, intent.size)


def written_at(path: Path, found: os.stat_result) -> int:
    """When the last bytes of a segment were written (ms), whatever was appended to it."""
    intent = Intent.load(intent_of(path))
    if intent is None or intent.inode != found.st_ino:
        return found.st_mtime_ns // 1_000_000
    return intent.written


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes plans over these sources; calls `reached` after each lasting effect, `moved` with bytes as they move."""

    paths: Sequence[Path]
    sources: Sequence[FileSource]
    reserve: int
    append_min: int = APPEND_MIN
    reached: Callable[[str], None]
    moved: Callable[[int], None]

    def write(self, plan: Plan, part: Path) -> Plan:
        """Make `part`, which is not there yet, hold the plan; returns it as it was done, with filling in it perhaps.

        What comes from the segments is proven: it is their own blocks, or was compared with them after it was read
        back. Raises NoRoom, OSError.
        """
        ways = (self._link, self._share, self._append)
        return next((written for way in ways if (written := way(plan, part))), None) or self._copy(plan, part)

    def undo(self, part: Path) -> None:
        """Leave nothing of a try that failed, or of an earlier run that was stopped: neither bytes nor names."""
        output.remove_stale(part)
        for path in (path for path in self.paths if intent_of(path).exists()):
            found = path.stat()
            # with a second name it is a result: that of another part, or one that was moved away
            if found.st_nlink == 1:
                written = written_at(path, found) * 1_000_000
                _truncate(path, size_of_segment(path, found))
                os.utime(path, ns=(written, written))
                intent_of(path).unlink()

    # --- the four ways ----------------------------------------------------------------------------------------------

    def _link(self, plan: Plan, part: Path) -> Plan | None:
        sole = plan.sole_file()
        if sole is None or self.sources[sole].size != plan.size or not output.link(self.paths[sole], part):
            return None
        self.reached("linked")
        self.moved(plan.size)
        return plan

    def _share(self, plan: Plan, part: Path) -> Plan | None:
        block = os.fstatvfs(self.sources[0].fd).f_bsize
        if not any(_is_worth(piece) for piece in plan.pieces):
            return None
        aligned = align(plan, block)
        with output.opened(part, os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
            if not self._can_share(aligned, target, block):
                part.unlink()
                return None
            self.reached("created")
            self._check_space(aligned.size - _shared_size(aligned, block), part)
            at = 0
            for piece in aligned.pieces:
                self._put(piece, target, at, block)
                at += piece.size
                self.reached("piece")
        self.reached("written")
        return aligned

    def _append(self, plan: Plan, part: Path) -> Plan | None:
        plan = prefer_first(plan, self.sources)
        base = plan.pieces[0]
        if not isinstance(base, Part) or base.start or base.size < self.append_min:
            return None
        source = self.sources[base.file]
        if base.size != source.size or os.fstat(source.fd).st_nlink != 1:
            return None
        self._check_space(plan.size - base.size, part)
        path = self.paths[base.file]
        found = os.fstat(source.fd)
        Intent(found.st_ino, source.size, written_at(path, found)).save(intent_of(path))
        self.reached("intended")
        if not output.link(path, part):
            intent_of(path).unlink()
            return None
        self.reached("linked")
        self.moved(base.size)
        with output.opened(part, os.O_RDWR) as target:
            self._put_all(plan.pieces[1:], target, base.size)
        self.reached("written")
        return plan

    def _copy(self, plan: Plan, part: Path) -> Plan:
        with output.opened(part, os.O_RDWR | os.O_CREAT | os.O_EXCL) as target:
            self.reached("created")
            self._check_space(plan.size, part)
            self._put_all(plan.pieces, target, 0)
        self.reached("written")
        return plan

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _put_all(self, pieces: Iterable[Piece], target: int, at: int) -> None:
        for piece in pieces:
            self._put(piece, target, at, None)
            at += piece.size
            self.reached("piece")

    def _put(self, piece: Piece, target: int, at: int, block: int | None) -> None:
        """Write a piece at an offset of the target; with `block`, share what of it can be."""
        os.lseek(target, at, os.SEEK_SET)
        if isinstance(piece, Literal):
            output.write_all(target, piece.data)
            return
        low, high = _inner(piece, at, block) if block is not None else (piece.start, piece.start)
        self._copy_range(piece.file, piece.start, low, target)
        if low < high:
            clone_range(self.sources[piece.file].fd, low, high - low, target, at + low - piece.start)
            self.moved(high - low)
            os.lseek(target, at + high - piece.start, os.SEEK_SET)
        self._copy_range(piece.file, high, piece.end, target)

    def _copy_range(self, file: int, start: int, end: int, target: int) -> None:
        if start < end:
            output.copy(self.sources[file].fd, start, end, target, self.moved)

    def _can_share(self, plan: Plan, target: int, block: int) -> bool:
        """Whether the file system shares extents: asked by sharing the first one."""
        at = 0
        for piece in plan.pieces:
            low, high = _inner(piece, at, block) if isinstance(piece, Part) else (0, 0)
            if isinstance(piece, Part) and low < high:
                return clone_range(self.sources[piece.file].fd, low, block, target, at + low - piece.start)
            at += piece.size
        return False

    def _check_space(self, size: int, part: Path) -> None:
        found = os.statvfs(part.parent)
        free = found.f_bavail * found.f_frsize
        if free < size + self.reserve:
            why = f"{part.parent} has {free} bytes free, {size + self.reserve} are needed"
            raise output.NoRoom(size, why)


def clone_range(source: int, start: int, length: int, target: int, at: int) -> bool:
    """Shares blocks of a file; False where the file system cannot. All numbers are whole blocks."""
    request = struct.pack("qQQQ", source, start, length, at)
    try:
        fcntl.ioctl(target, FICLONERANGE, request)
    except OSError as error:
        if error.errno in output.NO_CLONE:
            return False
        raise
    return True


def _truncate(path: Path, size: int) -> None:
    with output.opened(path, os.O_RDWR) as fd:
        if os.fstat(fd).st_size > size:
            os.ftruncate(fd, size)
            os.fsync(fd)


def _is_worth(piece: Piece) -> bool:
    return isinstance(piece, Part) and piece.size >= SHARE_MIN


def _inner(piece: Piece, at: int, block: int) -> Range:
    """The whole blocks of a piece that also are whole blocks of a target in which it begins at `at`."""
    if not isinstance(piece, Part) or not _is_worth(piece) or (at - piece.start) % block:
        return (piece.start, piece.start) if isinstance(piece, Part) else (0, 0)
    low, high = -(-piece.start // block) * block, piece.end // block * block
    return low, max(low, high)


def _shared_size(plan: Plan, block: int) -> int:
    """Bytes of the result that are shared blocks."""
    at = total = 0
    for piece in plan.pieces:
        low, high = _inner(piece, at, block)
        total += high - low
        at += piece.size
    return total


def align(plan: Plan, block: int) -> Plan:
    """The plan with filling before each large piece, so that its blocks are whole blocks of the result, too."""
    pieces: list[Piece] = []
    shifts: list[Range] = []
    at = before = 0
    for piece in plan.pieces:
        filling = _filling(plan.container, piece, at, block)
        if filling:
            pieces.append(Literal(filling))
            shifts.append((before, len(filling)))
        pieces.append(piece)
        at, before = at + len(filling) + piece.size, before + piece.size
    seams = tuple(
        replace(seam, offset=seam.offset + sum(size for start, size in shifts if start <= seam.offset))
        if seam.offset is not None
        else seam
        for seam in plan.seams
    )
    return replace(plan, pieces=merged(pieces), seams=seams)


def _filling(container: FileFormat, piece: Piece, at: int, block: int) -> bytes:
    """What stands before a piece so that it can share its blocks; empty where nothing can or need be done."""
    if not isinstance(piece, Part) or not _is_worth(piece):
        return b""
    wanted = (piece.start - at) % block
    match container:
        case FileFormat.TS:
            counts = (count for count in range(block) if count * ts.PACKET % block == wanted)
            return _NULL_PACKET * next(counts, 0)
        case FileFormat.FMP4 if wanted:
            size = wanted if wanted >= 8 else wanted + block
            return (size.to_bytes(4, "big") + b"free").ljust(size, b"\0")
        case _:
            return b""


def prefer_first(plan: Plan, sources: Sequence[FileSource]) -> Plan:
    """The same bytes with as many as possible from the first piece's file: where two overlap, they are equal."""
    if len(plan.pieces) < 2:
        return plan
    first, second = plan.pieces[:2]
    if not isinstance(first, Part) or not isinstance(second, Part):
        return plan
    base = sources[first.file]
    room = min(base.size - first.end, second.size)
    more = common_forward(base, first.end, sources[second.file], second.start, room)
    pieces = (Part(first.file, first.start, first.end + more), second.cut(more, second.size), *plan.pieces[2:])
    return replace(plan, pieces=merged(pieces))
