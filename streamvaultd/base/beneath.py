# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders below a recording directory, opened so that nothing that was put in their place is followed.

The directory that the administrator has set may be a symbolic link; what is below it may not: who may write there
could point it anywhere. A file must be a regular one: a FIFO or a device would hold up a program that opens it. All
calls block, and raise OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SEGMENTS_DEPTH: Final = 2
"""Folders below the directory that a segment's file is in: its streamer's, and that of the segments."""

STREAMER_DEPTH: Final = 1
"""Of a result and of a manifest."""

_FOLDER: Final = os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotOurs(OSError):
    """Something else is where a file or a folder of ours should be."""


@contextmanager
def opened_folder(path: Path, depth: int, *, mode: int | None = None) -> Iterator[Path]:
    """A folder for the length of the block, as a path that goes on meaning it whatever is put in its place.

    Its last `depth` names are not followed if they are links: NotOurs. With `mode`, those that are missing are made,
    durably.
    """
    with _opened(path, depth, mode) as fd:
        yield Path(f"/proc/self/fd/{fd}")


@contextmanager
def _opened(path: Path, depth: int, mode: int | None = None) -> Iterator[int]:
    fd = os.open(path.parents[depth - 1] if depth else path, _FOLDER | _way(mode))
    try:
        for folder in [*reversed(path.parents[: depth - 1]), path] if depth else []:
            fd = _step(fd, folder, mode)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_file(path: Path, flags: int, depth: int) -> Iterator[int]:
    """A regular file for the length of the block, below this number of folders; NotOurs if it is none."""
    fd = open_file(path, flags, depth)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(path: Path, flags: int, depth: int, mode: int = 0) -> int:
    """As opened_file(); the descriptor is the caller's."""
    with _opened(path.parent, depth) as folder:
        try:
            fd = os.open(path.name, flags | _FILE, mode, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket, or a FIFO that nobody reads
                raise _not_ours(path, "no regular file") from error
            raise OSError(error.errno, error.strerror, str(path)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _not_ours(path, "no regular file")
    return fd


def status(path: Path, depth: int) -> os.stat_result:
    """Of a regular file, without opening it; NotOurs if it is none."""
    with _opened(path.parent, depth) as folder:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise _not_ours(path, "no regular file")
    return found


def _step(fd: int, folder: Path, mode: int | None) -> int:
    """The folder of this name in an open one, which is closed once it is had."""
    if mode is not None:
        try:
            os.mkdir(folder.name, mode, dir_fd=fd)
            os.fsync(fd)
        except FileExistsError:
            pass  # whatever it is
    try:
        below = os.open(folder.name, _FOLDER | _way(mode) | os.O_NOFOLLOW, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _not_ours(folder, "a symbolic link or no folder") from error
        raise OSError(error.errno, error.strerror, str(folder)) from error
    os.close(fd)
    return below


def _way(mode: int | None) -> int:
    """To go through a folder needs no right to list it, which a confined job has in its own folders only."""
    return os.O_PATH if mode is None else os.O_RDONLY


def _not_ours(path: Path, what: str) -> NotOurs:
    return NotOurs(errno.EUCLEAN, f"it is {what}, and is not touched", str(path))
