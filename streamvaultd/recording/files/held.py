# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written now, held open: who removes, moves or cuts one is noticed at once, and takes nothing away.

inotify(7) tells of the file and of the folders above it. What has lost its name is kept in systemd's fd store, so that
a daemon that ends does not lose it, and gets its name again: at once where the file has another one (linkat(2)), else
as a copy when nobody writes to it any more. A name that another file has meanwhile is left to it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from streamvaultd.base import beneath
from streamvaultd.base.beneath import SEGMENTS_DEPTH as DEPTH
from streamvaultd.base.clock import Clock
from streamvaultd.base.durable import sync_folder
from streamvaultd.core.model import Recorder
from streamvaultd.core.names import Run
from streamvaultd.core.recording.events import FileTaken, Taken
from streamvaultd.recording.files.output import FILE_MODE, FOLDER_MODE
from streamvaultd.recording.inbox import Inbox
from streamvaultd.scopes.ports import FdStore

IN_ATTRIB: Final = 0x4  # an unlink is a change of the link count
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_IGNORED: Final = 0x8000
_OF_FILE: Final = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF
_OF_FOLDER: Final = IN_DELETE_SELF | IN_MOVE_SELF
_EVENT: Final = struct.Struct("iIII")
_READ_SIZE: Final = 64 * 1024
CHUNK: Final = 16 << 20
"""Bytes that are copied at a time, put on disk, and dropped from memory."""


@dataclass(slots=True, eq=False)
class _Held:
    run: Run
    path: Path
    fd: int
    taken: Taken | None = None
    is_stored: bool = False
    copy: tuple[int, int] | None = None  # device and inode
    watches: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


class HeldFiles:
    """The open files of segments -> FileTaken"""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, fd_store: FdStore, inbox: Inbox, clock: Clock) -> None:
        self._fd_store = fd_store
        self._inbox = inbox
        self._clock = clock
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._held: dict[Run, _Held] = {}
        self._inherited: dict[Run, int] = {}
        self._watched: dict[int, set[Run]] = {}
        loop.add_reader(self._inotify, self._on_events)

    # --- from when to when -----------------------------------------------------------------------------------------

    def inherit(self, fds: Mapping[str, list[int]]) -> None:
        """What an earlier daemon has kept in the fd store."""
        for name, (fd, *surplus) in fds.items():
            if (run := Run.of_file(name)) is not None:
                self._inherited[run] = fd
                for useless in surplus:
                    os.close(useless)

    def open(self, run: Run, path: Path) -> int:
        """The file that a run writes to, whether or not it still has its name. Blocks; raises OSError."""
        if run in self._inherited:
            return os.dup(self._inherited[run])
        try:
            return beneath.open_file(path, os.O_RDONLY, DEPTH)
        except FileNotFoundError:
            nameless = _find_nameless(path)
            if nameless is None:
                raise
            return nameless

    def hold(self, run: Run, path: Path, fd: int) -> None:
        """Look after a file until it is released; the descriptor is ours from now on."""
        if run in self._held:
            os.close(fd)
            return
        held = self._held[run] = _Held(run, path, fd)
        if (inherited := self._inherited.pop(run, None)) is not None:
            os.close(inherited)
            held.is_stored = True
        self._watch(held, Path(f"/proc/self/fd/{fd}"), _OF_FILE)
        self._watch_folders(held)
        self._check(held)

    def release(self, run: Run) -> None:
        """It is sealed: nobody needs it any more."""
        if (inherited := self._inherited.pop(run, None)) is not None:
            os.close(inherited)
            self._forget_stored(run)
        held = self._held.pop(run, None)
        if held is None:
            return
        for watch in held.watches:
            self._watched[watch].discard(run)
            if not self._watched[watch]:
                del self._watched[watch]
                self._libc.inotify_rm_watch(self._inotify, watch)
        os.close(held.fd)
        if held.is_stored:
            self._forget_stored(run)

    def release_named(self, run: Run) -> None:
        """It cannot be sealed now: one that has its name is there for the next try, and keeps no disk busy."""
        if not self.is_taken(run):
            self.release(run)

    def release_all(self, recorders: Iterable[Recorder]) -> None:
        """Those of segments that are over."""
        for recorder in recorders:
            for segment in recorder.segments:
                if segment.phase.is_over:
                    self.release(recorder.run(segment.number))

    # --- what has happened to it -----------------------------------------------------------------------------------

    def is_taken(self, run: Run) -> bool:
        """Whether it has lost its name."""
        held = self._held.get(run)
        return held is not None and held.taken in (Taken.REMOVED, Taken.MOVED)

    def size(self, run: Run) -> int | None:
        """Bytes of a file that has lost its name, None for others."""
        return os.fstat(self._held[run].fd).st_size if self.is_taken(run) else None

    def dup(self, run: Run) -> int | None:
        """A file that has lost its name, open; None for others."""
        return os.dup(self._held[run].fd) if self.is_taken(run) else None

    def on_cut(self, run: Run, size: int) -> None:
        """It was seen to be shorter than before."""
        if run in self._held:
            self._tell(run, Taken.CUT, size)

    def _tell(self, run: Run, how: Taken, size: int) -> None:
        self._inbox.post(run.recording, FileTaken(at=self._clock.now(), attempt=run.number, how=how, size=size))

    def store(self, run: Run) -> None:
        """Have systemd keep what has lost its name."""
        held = self._held.get(run)
        if held is not None and not held.is_stored:
            self._fd_store.store_fd(run.file, held.fd)
            held.is_stored = True

    def restoring(self, run: Run, path: Path, *, is_over: bool) -> Callable[[], None]:
        """What gives it its name again, if it has lost it: as a copy only if it `is_over`. Blocks; raises OSError."""
        if run in self._inherited:
            self.hold(run, path, os.dup(self._inherited[run]))
        held = self._held.get(run)
        return _nothing if held is None else partial(_restore, held, os.dup(held.fd), is_over=is_over)

    # --- inotify ---------------------------------------------------------------------------------------------------

    def _watch_folders(self, held: _Held) -> None:
        for folder in held.path.parents[: DEPTH + 1]:
            self._watch(held, folder, _OF_FOLDER)

    def _watch(self, held: _Held, path: Path, mask: int) -> None:
        watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(path), mask)
        if watch >= 0:  # else it is gone, which the check sees, or there are too many watches
            held.watches.add(watch)
            self._watched.setdefault(watch, set()).add(held.run)

    def _on_events(self) -> None:
        data, offset = os.read(self._inotify, _READ_SIZE), 0
        runs = set[Run]()
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if not mask & IN_IGNORED:
                runs |= self._watched.get(watch, set())
        for run in runs:
            self._check(self._held[run])

    def _check(self, held: _Held) -> None:
        """Compare the file with its name."""
        found = os.fstat(held.fd)
        taken: Taken | None = None
        if _named(held.path) != (found.st_dev, found.st_ino):
            taken = Taken.MOVED if found.st_nlink else Taken.REMOVED
        before, held.taken = held.taken, taken
        if taken is None and before is not None:
            self._watch_folders(held)  # those that it is in now
        elif taken is not None and taken is not before:
            self._tell(held.run, taken, found.st_size)

    def _forget_stored(self, run: Run) -> None:
        self._fd_store.remove_fd(run.file)


def _nothing() -> None:
    """It is not held."""


def _restore(held: _Held, fd: int, *, is_over: bool) -> None:
    try:
        with held.lock, beneath.opened_folder(held.path.parent, DEPTH, mode=FOLDER_MODE) as folder:
            found, there = os.fstat(fd), _identity(folder / held.path.name)
            if there is not None and there in ((found.st_dev, found.st_ino), held.copy):
                return
            if there is not None:
                raise FileExistsError(errno.EEXIST, "another file has its name now, and is left there", str(held.path))
            if found.st_nlink and _is_linked(fd, folder / held.path.name):
                sync_folder(folder)
            elif is_over and found.st_size:
                held.copy = _copy(fd, folder, held.path.name)
    finally:
        os.close(fd)


def _named(path: Path) -> tuple[int, int] | None:
    try:
        found = beneath.status(path, DEPTH)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_linked(fd: int, target: Path) -> bool:
    """Give a file that has another name this one, too; False if the file system cannot."""
    folder = os.open(target.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a descriptor of a folder it is linkat(2), which follows this link
        os.link(f"/proc/self/fd/{fd}", target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


def _copy(fd: int, folder: Path, name: str) -> tuple[int, int]:
    """A durable copy of a file that nobody writes to; blocks are shared where the file system can."""
    part = folder / f".{name}.saved"
    part.unlink(missing_ok=True)
    copy = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        place = 0
        while count := os.copy_file_range(fd, copy, CHUNK, place, place):
            os.fdatasync(copy)
            for each in (fd, copy):
                os.posix_fadvise(each, place, count, os.POSIX_FADV_DONTNEED)
            place += count
        os.fsync(copy)
        os.link(part, folder / name)
        found = os.fstat(copy)
    finally:
        os.close(copy)
        part.unlink(missing_ok=True)
    sync_folder(folder)
    return found.st_dev, found.st_ino


def _find_nameless(path: Path) -> int | None:
    """A file that was removed and that a process of our user still has open; looked for by the name it had."""
    wanted = f"{path} (deleted)"
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()) == wanted:
                return os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    return None
