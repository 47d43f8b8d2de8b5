# SPDX-License-Identifier: GPL-3.0-or-later
"""The first media of a segment, as an event: inotify(7) on its growing file, only until it is large enough."""

from __future__ import annotations

import asyncio
import ctypes
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

Key = TypeVar("Key")

THRESHOLD: Final = 8192
"""streamlink writes what it receives in pieces of this many bytes."""

IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4  # an unlink is a change of the link count
IN_DONT_FOLLOW: Final = 0x02000000
IN_IGNORED: Final = 0x8000
_EVENT: Final = struct.Struct("iIII")
_READ_SIZE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Watched(Generic[Key]):
    key: Key
    path: Path
    threshold: int
    on_media: Callable[[Key], None]


class MediaWatcher(Protocol):
    """Calls back once when a growing file has its first media, or as many bytes as are asked for."""

    def watch(self, key: str, path: Path, on_media: Callable[[str], None], *, threshold: int = ...) -> None: ...
    def cancel(self, key: str) -> None: ...


class MediaWatch(Generic[Key]):
    """Calls back once, from the event loop, for each watched file that reaches its threshold. One inotify for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._watched: dict[int, _Watched[Key]] = {}
        self._loop.add_reader(self._fd, self._on_events)

    def watch(self, key: Key, path: Path, on_media: Callable[[Key], None], *, threshold: int = THRESHOLD) -> None:
        """Call `on_media(key)` when the file has `threshold` bytes, which it may have already.

        A file that is removed is forgotten. OSError: there is no such file, or inotify's limits are reached.
        """
        name = os.fsencode(path)
        wd = self._checked(self._libc.inotify_add_watch(self._fd, name, IN_MODIFY | IN_ATTRIB | IN_DONT_FOLLOW), path)
        self._watched[wd] = _Watched(key, path, threshold, on_media)
        # Bytes that came before the watch tell nothing by themselves.
        self._loop.call_soon(self._check, wd)

    def cancel(self, key: Key) -> None:
        """Stop watching; nothing is called back any more."""
        for wd in [wd for wd, watched in self._watched.items() if watched.key == key]:
            self._drop(wd)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._fd)
        self._watched.clear()
        os.close(self._fd)

    def _on_events(self) -> None:
        data = os.read(self._fd, _READ_SIZE)
        seen = set()
        offset = 0
        while offset < len(data):
            wd, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if not mask & IN_IGNORED:
                seen.add(wd)
        for wd in seen:
            self._check(wd)

    def _check(self, wd: int) -> None:
        watched = self._watched.get(wd)
        if watched is None:
            return
        try:
            found = watched.path.lstat()
        except OSError:
            self._drop(wd)
            return
        if stat.S_ISREG(found.st_mode) and found.st_size >= watched.threshold:
            self._drop(wd)
            watched.on_media(watched.key)

    def _drop(self, wd: int) -> None:
        del self._watched[wd]
        # EINVAL: the file is gone, and the kernel has dropped its watch already.
        self._libc.inotify_rm_watch(self._fd, wd)

    @staticmethod
    def _checked(result: int, path: Path | None = None) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path) if path else None)
        return result
