# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of recordings: where they are, how they come into being, become durable and go.

All calls block; the executor runs them in threads. A new name is durable only once its folder is synced (fsync(2)), so
whatever creates or removes a name syncs the folder before it returns.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from streamvaultd.base import beneath
from streamvaultd.base.beneath import SEGMENTS_DEPTH as DEPTH
from streamvaultd.base.durable import sync_folder
from streamvaultd.base.layout import segment_file, segments_folder
from streamvaultd.core.model import Recording
from streamvaultd.errors import DirectoryUnusable, DiskFull

FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
MOUNTS: Final = Path("/proc/self/mountinfo")


class SegmentFiles:
    """Makes, measures, syncs and removes the files of segments; never touches a file that is not named to it.

    `mounts` tells what is mounted where, proc_pid_mountinfo(5).
    """

    def __init__(self, mounts: Path = MOUNTS) -> None:
        self._mounts = mounts

    def prepare(self, directory: Path, streamer: str) -> None:
        """Make the streamer's folder and prove that it can be written to.

        The directory itself is made only if its parent exists: a missing path above it rather is a disk that is not
        mounted. DirectoryUnusable tells what is wrong, also that it is kept in memory: recordings neither last nor fit
        there, and /tmp of the service is not that of its users. DiskFull: not even an empty file has room there.
        """
        if file_system_of(directory, self._mounts.read_text(encoding="utf-8", errors="replace")) in IN_MEMORY:
            raise DirectoryUnusable(directory=str(directory), why="it is kept in memory (tmpfs), not on a disk")
        try:
            _make_folder(directory)
            with (
                beneath.opened_folder(directory / streamer, beneath.STREAMER_DEPTH, mode=FOLDER_MODE) as folder,
                tempfile.NamedTemporaryFile(dir=folder, prefix=".streamvault-"),
            ):
                pass
        except beneath.NotOurs as error:
            why = f"{error.filename} is a symbolic link or no folder: remove it, or give another directory"
            raise DirectoryUnusable(directory=str(directory), why=why) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(directory=str(directory), why=os.strerror(error.errno)) from error
            raise DirectoryUnusable(directory=str(directory), why=error.strerror or str(error)) from error

    def create(self, path: Path) -> int:
        """Create a segment's file, durably, and open it for appending.

        FileExistsError: this attempt was made before. OSError: the folder cannot be written to; no file is left then.
        """
        with beneath.opened_folder(path.parent, DEPTH, mode=FOLDER_MODE) as folder:
            file = folder / path.name
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
            try:
                sync_folder(folder)
            except BaseException:
                os.close(fd)
                file.unlink(missing_ok=True)
                raise
        return fd

    def size(self, path: Path) -> int:
        """Bytes in the file; 0 if there is none. What is no regular file is none, nor is one behind a link."""
        try:
            return beneath.status(path, DEPTH).st_size
        except (FileNotFoundError, beneath.NotOurs):
            return 0

    def written(self, path: Path) -> int | None:
        """When the file was last written to (CLOCK_REALTIME, microseconds); None if there is none."""
        try:
            return beneath.status(path, DEPTH).st_mtime_ns // 1000
        except (FileNotFoundError, beneath.NotOurs):
            return None

    def seal(self, path: Path) -> int:
        """Make what was written survive a power loss, and tell its bytes; an empty file goes. May be repeated.

        Whatever else somebody has put in its place stays there, unopened, and holds nothing.
        """
        try:
            with beneath.opened_file(path, os.O_RDONLY, DEPTH) as fd:
                os.fsync(fd)
                size = os.fstat(fd).st_size
            if size == 0:
                with beneath.opened_folder(path.parent, DEPTH) as folder:
                    (folder / path.name).unlink(missing_ok=True)
                    sync_folder(folder)
        except (FileNotFoundError, beneath.NotOurs):
            return 0
        return size

    def remove_segments(self, paths: Iterable[Path], folder: Path) -> None:
        """Remove these files, durably, and their folder unless it holds anything else. May be repeated.

        With each goes what a join has noted of it (jobs/join/writer.py).
        """
        try:
            with beneath.opened_folder(folder, DEPTH) as here:
                for path in paths:
                    (here / path.name).unlink(missing_ok=True)
                    (here / f".{path.name}.intent").unlink(missing_ok=True)
                sync_folder(here)
        except FileNotFoundError:
            return
        self._remove_if_empty(folder, DEPTH)

    def discard_folder(self, folder: Path) -> None:
        """Remove a segments folder and then its streamer's folder, each only if it is empty. May be repeated."""
        self._remove_if_empty(folder, DEPTH)
        self._remove_if_empty(folder.parent, DEPTH - 1)

    @staticmethod
    def _remove_if_empty(folder: Path, depth: int) -> None:
        """Remove one folder durably; one that is not empty stays."""
        try:
            with beneath.opened_folder(folder.parent, depth - 1) as above:
                (above / folder.name).rmdir()
                sync_folder(above)
        except OSError:
            return

    def segment_path(self, recording: Recording, number: int) -> Path:
        """Where a segment's media are."""
        folder = Path(recording.directory) / recording.streamer / segments_folder(recording.stream)
        return folder / segment_file(number)

    def row_path(self, recording: Recording, number: int) -> str:
        """The same, as the segment's row has it."""
        return str(self.segment_path(recording, number))


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that a path is or would be on; "" if that cannot be told."""
    found, depth = "", -1
    resolved = path.resolve()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        if resolved.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split()[0], len(point.parts)
    return found


def _make_folder(folder: Path) -> None:
    """Make one folder durably; its parent must exist."""
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        return  # if it is no folder, its first use says so
    sync_folder(folder.parent)
