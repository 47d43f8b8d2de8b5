# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a job makes: written beside their final name, whole and on disk before they get it.

Every function may raise OSError. Nothing here replaces or removes a file that the job did not make.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamvaultd.base.beneath import SEGMENTS_DEPTH, STREAMER_DEPTH, open_file
from streamvaultd.base.layout import stream_of_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# renameat2(2), fcntl.h and linux/fs.h
AT_FDCWD = -100
RENAME_NOREPLACE = 1
# linux/fs.h: begin to write; wait for what is being written, write, and wait for that
SYNC_FILE_RANGE_WRITE = 2
SYNC_FILE_RANGE_ALL = 7
# Copied, then written out. Dirty and cached pages count against the memory limit of the job's scope, and a fast
# writer is killed before its pages are reclaimed, so they are written out and dropped as the copy goes.
CHUNK = 32 << 20
# Compared at a time, and copied without copy_file_range(2)
BUFFER = 4 << 20
MODE = 0o640

_NO_COPY_RANGE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_WRITE_OUT = frozenset({errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP, errno.EPERM})
# What ioctl_ficlonerange(2) answers where blocks cannot be shared
NO_CLONE = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS})


class NoRoom(OSError):
    """`size` bytes do not fit beside what has to stay free."""

    def __init__(self, size: int, why: str) -> None:
        super().__init__(errno.ENOSPC, why)
        self.size = size


def room_missing(error: OSError) -> int | None:
    """The bytes that there is no room for, 0 if only the disk knows; None if the error says something else."""
    if isinstance(error, NoRoom):
        return error.size
    return 0 if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else None


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A regular file, or with O_DIRECTORY a folder; what is behind a link is neither."""
    if flags & os.O_DIRECTORY:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    else:
        is_segment = stream_of_folder(path.parent.name) is not None
        fd = open_file(path, flags, SEGMENTS_DEPTH if is_segment else STREAMER_DEPTH, MODE)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power failure."""
    with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


def remove_stale(part: Path) -> None:
    """Removes the part file of an earlier run; one of another user or kind is refused (PermissionError)."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a file of this job", str(part))
    part.unlink()


def link(source: Path, part: Path) -> bool:
    """A second name for a file; False when the file system or the kernel's protection does not allow one."""
    try:
        part.hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def copy(source: int, start: int, end: int, target: int, progress: Callable[[int], None]) -> None:
    """Puts source[start:end] at the target's position, and proves it: each chunk is read back from disk and compared.

    Tells `progress` how many bytes came. The source must have them all. While a chunk is proven, the next is copied.
    What a power failure may not undo is only what the caller syncs afterwards: that is done once, for all chunks.
    """
    at = os.lseek(target, 0, os.SEEK_CUR)
    os.posix_fadvise(source, start, min(CHUNK, end - start), os.POSIX_FADV_WILLNEED)
    with ThreadPoolExecutor(1) as prover:
        proof: Future[None] | None = None
        for chunk in range(start, end, CHUNK):
            size = min(CHUNK, end - chunk)
            if end > chunk + size:
                os.posix_fadvise(source, chunk + size, min(CHUNK, end - chunk - size), os.POSIX_FADV_WILLNEED)
            _copy_all(source, chunk, chunk + size, target)
            write_out(target, at + chunk - start, size, SYNC_FILE_RANGE_WRITE)
            if proof is not None:
                proof.result()
            proof = prover.submit(_prove, source, chunk, target, at + chunk - start, size)
            progress(size)
        if proof is not None:
            proof.result()


def _prove(source: int, start: int, target: int, at: int, size: int) -> None:
    """Writes a chunk out of memory, reads it back, and compares it; EIO when it is something else."""
    write_out(target, at, size, SYNC_FILE_RANGE_ALL)
    os.posix_fadvise(target, at, size, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(target, at, size, os.POSIX_FADV_WILLNEED)
    for offset in range(0, size, BUFFER):
        length = min(BUFFER, size - offset)
        if os.pread(source, length, start + offset) != os.pread(target, length, at + offset):
            raise OSError(errno.EIO, "what was written is not what is read back")
    os.posix_fadvise(target, at, size, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(source, start, size, os.POSIX_FADV_DONTNEED)


def write_out(target: int, at: int, size: int, flags: int) -> None:
    """Has pages written without the commit and the flush of a sync, of which each chunk would need one.

    Where sync_file_range(2) cannot be had, it is a sync.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not libc.sync_file_range(target, ctypes.c_int64(at), ctypes.c_int64(size), flags):
        return
    error = ctypes.get_errno()
    if error not in _NO_WRITE_OUT:
        raise OSError(error, os.strerror(error))
    if flags == SYNC_FILE_RANGE_ALL:
        os.fdatasync(target)


def _copy_all(source: int, start: int, end: int, target: int) -> None:
    while start < end:
        count = _copy_some(source, start, end - start, target)
        if not count:
            raise OSError(errno.EIO, "a segment is shorter than it was")
        start += count


def _copy_some(source: int, start: int, count: int, target: int) -> int:
    try:
        return os.copy_file_range(source, target, count, start)
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
    return write_all(target, os.pread(source, min(count, BUFFER), start))


def write_all(target: int, data: bytes) -> int:
    done = 0
    while done < len(data):
        done += os.write(target, data[done:])
    return done


def publish(part: Path, final: Path) -> None:
    """Gives a finished file its name, unless there is a file of that name already (FileExistsError).

    rename(2) would replace it silently; a second name is refused when it is taken.
    """
    if link(part, final):
        part.unlink()
    else:
        rename_without_replacing(part, final)
    sync_folder(final.parent)


def rename_without_replacing(part: Path, final: Path) -> None:
    """renameat2(2), for file systems without hard links."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(part), AT_FDCWD, os.fsencode(final), RENAME_NOREPLACE):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(part), None, str(final))


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file by one with this content; after a power failure it is the old or the new one, whole."""
    fresh = path.with_name(f".{path.name}.new")
    with opened(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        write_all(fd, data)
        os.fsync(fd)
    fresh.replace(path)
    sync_folder(path.parent)
