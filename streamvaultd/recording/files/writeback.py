# SPDX-License-Identifier: GPL-3.0-or-later
"""P5: what growing files hold is put on disk at intervals, and out of memory.

Page cache counts against the memory limit of the scope whose process wrote it, and a fast writer in a tight limit is
killed before its pages are reclaimed: so pages that are on disk are dropped at once.

One thread a file, for fdatasync(2) may take as long as its disk likes. A slow disk is synced as often as it can, a
disk that hangs holds its own files' threads and nobody else; at the end of the daemon nobody waits for them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.names import Run
from streamvaultd.core.recording.disk import Sample, WritePace, pace_of, worth_keeping

P = ParamSpec("P")

BEHIND: Final = 4 << 20
"""Bytes before the synced range that are dropped once more: what was still under way to the disk the last time, or in
a large folio that was not complete."""


@dataclass(slots=True)
class _File:
    run: Run
    path: Path
    is_over: threading.Event = field(default_factory=threading.Event)
    samples: tuple[Sample, ...] = ()
    synced: int = 0
    trouble: int | None = None  # errno of the last try


class Held(Protocol):
    """Looks after files that are open."""

    def open(self, run: Run, path: Path) -> int: ...
    def hold(self, run: Run, path: Path, fd: int) -> None: ...
    def on_cut(self, run: Run, size: int) -> None: ...


class Writeback:
    """Syncs the files that it knows of every `sync_interval` seconds, as long as they grow.

    Each of `listeners` is called with run and error from the event loop when a file cannot be synced, once until it
    can again or the error is another one. Some of what was written is lost then.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Clock,
        settings: LiveSettings,
        held: Held,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._settings = settings
        self._held = held
        self.listeners: list[Callable[[Run, OSError], None]] = []
        self._files: dict[Run, _File] = {}

    def watch(self, run: Run, path: Path) -> None:
        """Sync this file from now on; one that is watched already, or is not there, changes nothing."""
        if run not in self._files:
            file = self._files[run] = _File(run, path)
            threading.Thread(target=self._attend, args=(file,), name=f"sync {run.unit}", daemon=True).start()

    def cancel(self, run: Run) -> None:
        """Sync this file no more. Does not wait for a sync that is under way."""
        file = self._files.pop(run, None)
        if file is not None:
            file.is_over.set()

    def paces(self) -> Mapping[Run, WritePace]:
        """How fast each watched file grows."""
        return {run: pace_of(file.samples) for run, file in self._files.items()}

    def close(self) -> None:
        """Sync nothing more."""
        for run in list(self._files):
            self.cancel(run)

    # --- in the file's thread --------------------------------------------------------------------------------------

    def _attend(self, file: _File) -> None:
        try:
            fd = self._held.open(file.run, file.path)
        except FileNotFoundError:
            return  # the segment ended at once
        except OSError as error:
            self._tell(file, error)
            return
        self._call(self._hold, file, os.dup(fd))
        try:
            self._measure(file, fd)
            while not file.is_over.wait(self._settings.now.sync_interval):
                self._sync(file, fd)
        finally:
            os.close(fd)

    def _sync(self, file: _File, fd: int) -> None:
        try:
            size = self._measure(file, fd)
            if size > file.synced:
                os.fdatasync(fd)
                begin = max(file.synced - BEHIND, 0)
                os.posix_fadvise(fd, begin, size - begin, os.POSIX_FADV_DONTNEED)
                file.synced = size
        except OSError as error:
            if error.errno != file.trouble:
                self._tell(file, error)
            file.trouble = error.errno
        else:
            file.trouble = None

    def _measure(self, file: _File, fd: int) -> int:
        size = os.fstat(fd).st_size
        if file.samples and size < file.samples[-1][1]:
            file.samples, file.synced = (), 0
            self._call(self._held.on_cut, file.run, size)
        file.samples = worth_keeping((*file.samples, (self._clock.now().monotonic, size)))
        return size

    def _tell(self, file: _File, error: OSError) -> None:
        self._call(self._on_trouble_of, file, error)

    def _call(self, function: Callable[P, None], *args: P.args, **_: P.kwargs) -> None:
        with suppress(RuntimeError):  # the loop is closed, nobody is left to be told
            self._loop.call_soon_threadsafe(function, *args)

    def _hold(self, file: _File, fd: int) -> None:
        if file.is_over.is_set():
            os.close(fd)
        else:
            self._held.hold(file.run, file.path, fd)

    def _on_trouble_of(self, file: _File, error: OSError) -> None:
        if not file.is_over.is_set():
            for listener in self.listeners:
                listener(file.run, error)
