# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the joins are: each job puts lines to the end of a file, which is watched and not polled.

The file outlives the daemon as the job does. It is made before the job starts and goes when that is over; losing it
costs nothing but the bar.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec

from streamvaultd.base.growth import MediaWatcher
from streamvaultd.core import ranges
from streamvaultd.core.names import Job

TAIL: Final = 4096
"""Bytes at the file's end that are read: more than a line."""


class Headway(msgspec.Struct, frozen=True):
    """Bytes of the result that are in place, all of them, and how many seconds the rest may take if that is known."""

    done: Annotated[int, msgspec.Meta(ge=0, le=ranges.BYTES.high)]
    total: Annotated[int, msgspec.Meta(ge=0, le=ranges.BYTES.high)]
    left: Annotated[float, msgspec.Meta(ge=0, le=ranges.SECONDS.high)] | None = None


class Listener(Protocol):
    """Hears how far joins are."""

    def on_progress(self, recording: int) -> None: ...


class Unheard:
    """A listener for those whom nobody follows."""

    def on_progress(self, recording: int) -> None:
        """Who asks gets it."""


class JoinProgress:
    """What is known of the joins that run; `listener` hears of each line that a job writes."""

    def __init__(self, *, folder: Path, watcher: MediaWatcher, listener: Listener) -> None:
        self._folder = folder
        self._watcher = watcher
        self._listener = listener
        self._of: dict[int, Headway] = {}

    def of(self, recording: int) -> Headway | None:
        """How far the join of a recording is."""
        return self._of.get(recording)

    def path(self, job: int) -> Path:
        """The file of a job."""
        return self._folder / f"job-{job}.progress"

    def begin(self, recording: int, job: int) -> None:
        """Make the file of a job that is about to start, and watch it; without one nobody sees how far it is."""
        with suppress(OSError):
            self.path(job).write_bytes(b"")
        self.resume(recording, job)

    def resume(self, recording: int, job: int) -> None:
        """Watch the file of a job that an earlier daemon started."""
        self._watch(recording, job, 1)

    def end(self, recording: int, job: int) -> None:
        """The job is over."""
        self._watcher.cancel(Job(job).unit)
        self._of.pop(recording, None)
        with suppress(OSError):
            self.path(job).unlink()

    def _watch(self, recording: int, job: int, size: int) -> None:
        def on_line(_: str) -> None:
            self._watch(recording, job, self._read(recording, job))

        try:
            self._watcher.watch(Job(job).unit, self.path(job), on_line, threshold=size)
        except OSError:
            return  # it is gone, or there are too many watches

    def _read(self, recording: int, job: int) -> int:
        """Take what the last whole line says, if it can be read; the size from which on there is another one."""
        size = 0
        try:
            with self.path(job).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL))
                lines = file.read(TAIL).split(b"\n")
            self._of[recording] = msgspec.json.decode(lines[-2], type=Headway)
        except (OSError, IndexError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return size + 1
        self._listener.on_progress(recording)
        return size + 1
