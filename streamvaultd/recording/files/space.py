# SPDX-License-Identifier: GPL-3.0-or-later
"""How much room a folder's file system has, and whether it takes what is written. All calls block."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamvaultd.core.recording.disk import Room

PROBE: Final = bytes(8192)
ALLOCATION_MAX: Final = 1 << 30
_NOT_POSSIBLE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})


class Space:
    """Measures the file systems of folders."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def measure(self, folders: Sequence[Path]) -> list[Room]:
        """The file system that each folder is on, or would be; OSError when one cannot be asked."""
        rooms: dict[int, Room] = {}
        return [self._measure(folder, rooms) for folder in folders]

    def _measure(self, folder: Path, rooms: dict[int, Room]) -> Room:
        folder, device = _there(folder)
        if device not in rooms:
            found = os.statvfs(folder)
            rooms[device] = Room(
                device=device,
                place=str(_mount_of(folder)),
                free=found.f_bavail * found.f_frsize if found.f_blocks else None,
                inodes=found.f_favail if found.f_files else None,
            )
        return rooms[device]

    def try_writing(self, folder: Path, size: int) -> None:
        """Write a small file without a name and put it on disk; OSError tells what is in the way.

        The file is given `size` bytes (a GiB at most) where the file system can do that without writing them: that
        takes room, which shows a quota that statvfs(3) does not know of, and gives it back at once. A folder that is
        not there will be made: what counts is the one that it will be in.
        """
        with tempfile.TemporaryFile(dir=_there(folder)[0], prefix=".streamvault-", buffering=0) as file:
            file.write(PROBE)
            self._allocate(file.fileno(), min(size, ALLOCATION_MAX))
            os.fsync(file.fileno())

    def _allocate(self, fd: int, size: int) -> None:
        """fallocate(2) itself: the C library's posix_fallocate() would write where the kernel cannot allocate."""
        if size > 0 and self._libc.fallocate(fd, 0, 0, size) != 0:
            number = ctypes.get_errno()
            if number not in _NOT_POSSIBLE:
                raise OSError(number, os.strerror(number))


def _there(folder: Path) -> tuple[Path, int]:
    """The folder, or the next one above that is there; and the device it is on."""
    while (device := _device_of(folder)) is None:
        folder = folder.parent
    return folder, device


def _device_of(folder: Path) -> int | None:
    """The device that a folder is on; None only if there is no such folder, a disk that fails is no answer."""
    try:
        return folder.stat().st_dev
    except (FileNotFoundError, NotADirectoryError):
        return None


def _mount_of(folder: Path) -> Path:
    """The topmost folder that is on the same device."""
    folder = folder.resolve()
    device = folder.stat().st_dev
    while folder != folder.parent and folder.parent.stat().st_dev == device:
        folder = folder.parent
    return folder
