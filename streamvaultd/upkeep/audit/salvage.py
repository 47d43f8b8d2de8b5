# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of recordings that the store has lost: looked at, moved under a new name, or removed if they are empty.

All calls block. Nothing is touched that somebody may be writing to: a read lease (fcntl(2), F_SETLEASE) is granted
only while nobody on the whole machine has the file open for writing, whoever that is. Links are not followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streamvaultd.base.durable import sync_folder
from streamvaultd.recording.files.output import FOLDER_MODE

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LEASE: Final = frozenset({errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK})


class Salvage:
    """What may be done to such files; raises OSError."""

    def is_free(self, path: Path, size: int) -> bool:
        """Whether a regular file still has this size, can be read, and nobody writes to it.

        For a file of another user, or on a file system without leases, the kernel does not tell who writes to it.
        """
        fd = os.open(path, _OPEN)
        try:
            found = os.fstat(fd)
            return stat.S_ISREG(found.st_mode) and found.st_size == size and not _is_written(fd)
        finally:
            os.close(fd)

    def is_ours(self, folder: Path) -> bool:
        """Whether files may be made and removed in a folder and beside it."""
        return all(os.access(where, os.R_OK | os.W_OK | os.X_OK) for where in (folder, folder.parent))

    def remove_empty(self, path: Path) -> bool:
        """Remove a file that holds nothing and that nobody writes to, durably; whether it was removed."""
        try:
            if not self.is_free(path, size=0):
                return False
        except FileNotFoundError:
            return False
        path.unlink()
        sync_folder(path.parent)
        return True

    def remove_folder(self, folder: Path) -> bool:
        """Remove a folder, durably, unless it holds anything."""
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.ENOENT):
                return False
            raise
        sync_folder(folder.parent)
        return True

    def move(self, paths: Iterable[Path], folder: Path) -> None:
        """Move files of one folder into another one beside it, durably.

        If nothing else is in theirs it is renamed, at once and whole. Otherwise they move one by one: interrupted,
        some are here and some are there. FileExistsError: something of these names is there already.
        """
        moved = list(paths)
        source = moved[0].parent
        if {entry.name for entry in source.iterdir()} == {path.name for path in moved} and not folder.exists():
            source.rename(folder)
        else:
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            for path in moved:
                target = folder / path.name
                if target.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
                path.rename(target)
            sync_folder(folder)
            sync_folder(source)
        sync_folder(folder.parent)


def _is_written(fd: int) -> bool:
    # whoever opens it in between makes the kernel send a signal: SIGIO would end us, SIGURG is ignored (signal(7))
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
        if error.errno in _NO_LEASE:
            return False
        raise
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
