# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a segment: made where there is room, watched while it grows, compared, measured, and sealed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

from streamvaultd.base.clock import Clock
from streamvaultd.base.growth import MediaWatcher
from streamvaultd.base.lanes import DEADLINE as LANE_DEADLINE
from streamvaultd.base.lanes import Lanes, is_no_room
from streamvaultd.core.flows import Pulse
from streamvaultd.core.model import Recorder
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.policy import seal_limit
from streamvaultd.errors import DiskFull
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.inbox import Inbox
from streamvaultd.recording.ports import Looks, RecordingFiles, Writeback


class Measured(NamedTuple):
    """A look at a file: its bytes, how far its streams have come, and why an MP4 cannot hold them.

    `written` is when it was last written to (CLOCK_REALTIME, microseconds).
    """

    size: int
    pulses: tuple[Pulse, ...] = ()
    unfit: str | None = None
    written: int | None = None


class Footage:
    """What is done with segments' files; each disk has a lane of its own."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        clock: Clock,
        files: RecordingFiles,
        lanes: Lanes,
        media: MediaWatcher,
        writeback: Writeback,
        held: HeldFiles,
        looks: Looks,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._files = files
        self._lanes = lanes
        self._media = media
        self._writeback = writeback
        self._held = held
        self._looks = looks
        self._measuring: set[Run] = set()

    def path(self, recorder: Recorder, attempt: int) -> Path:
        """Where a segment's media are."""
        return self._files.segment_path(recorder.recording, attempt)

    async def create(self, recorder: Recorder, attempt: int) -> int:
        """A descriptor of a segment's new file; raises DiskFull and OSError."""
        create = partial(self._files.create, self.path(recorder, attempt))
        try:
            return await self._lanes.call(recorder.recording.directory, create, late=os.close)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull(directory=recorder.recording.directory, why=str(error)) from error
            raise

    def watch(self, recorder: Recorder, attempt: int) -> None:
        """Wait for the first media -> MediaArrived; from then on they are put on disk."""
        run, path = recorder.run(attempt), self.path(recorder, attempt)

        def on_media(_unit: str) -> None:
            size = self._files.size(path)
            self._writeback.watch(run, path)
            self._inbox.post(run.recording, ev.MediaArrived(at=self._clock.now(), attempt=attempt, size=size))

        try:
            self._media.watch(run.unit, path, on_media)
        except OSError:
            return  # it ended at once, and its empty file is gone; or nobody can look at it: MediaTimedOut ends it

    def go_on_watching(self, recorder: Recorder, attempt: int) -> None:
        """The same, of a segment that an earlier daemon started."""
        segment = recorder.segment(attempt)
        if segment is not None and segment.media_at is None:
            self.watch(recorder, attempt)
        else:
            self._writeback.watch(recorder.run(attempt), self.path(recorder, attempt))

    async def measure(self, recorder: Recorder, attempt: int) -> Measured | None:
        """How far the file has come; None while the disk still owes the last answer."""
        run, lane, path = recorder.run(attempt), recorder.recording.directory, self.path(recorder, attempt)
        written: int | None = None
        size: int | None = 0  # what cannot be seen to write is treated as what does not
        if run in self._measuring:
            return None
        self._measuring.add(run)
        try:
            size = self._held.size(run)
            if size is None:
                size = await self._lanes.run(lane, self._files.size, path)
                written = await self._lanes.run(lane, self._files.written, path)
            pulses, unfit = await self._lanes.run(lane, self._looks.look, run, path)
            return Measured(size, pulses, unfit, written)
        except OSError:
            return Measured(size or 0)
        finally:
            self._measuring.discard(run)

    async def save(self, recorder: Recorder, attempt: int) -> None:
        """Keep what a file holds that has lost its name; raises OSError."""
        run = recorder.run(attempt)
        self._held.store(run)
        restore = self._held.restoring(run, self.path(recorder, attempt), is_over=False)
        await self._lanes.call(recorder.recording.directory, restore)

    async def check_overlap(self, recorder: Recorder, attempt: int, older: int) -> None:
        """-> OverlapChecked"""
        recording = recorder.recording
        pair = [(recording.run(n), self.path(recorder, n)) for n in (older, attempt)]
        files = [path if (fd := self._held.dup(run)) is None else fd for run, path in pair]
        try:
            proven = await self._lanes.run(recording.directory, self._looks.is_overlap_proven, *files)
        except OSError:
            proven = False  # one of the files is gone: its segment's end follows as an event
        self._inbox.post(recording.id, ev.OverlapChecked(at=self._clock.now(), attempt=attempt, proven=proven))

    def let_go(self, recorder: Recorder, attempt: int) -> None:
        """Nothing is expected of the file any more."""
        run = recorder.run(attempt)
        self._media.cancel(run.unit)
        self._writeback.cancel(run)
        self._looks.forget(run)

    async def seal(self, recorder: Recorder, attempt: int, *, is_over: bool) -> int:
        """What is in the file is durable when this returns; its bytes. `is_over`: nobody writes to it any more.

        Raises OSError.
        """
        lane, path, segment = recorder.recording.directory, self.path(recorder, attempt), recorder.segment(attempt)
        patience = LANE_DEADLINE if segment is None else max(LANE_DEADLINE, seal_limit(segment))
        restore = self._held.restoring(recorder.run(attempt), path, is_over=is_over)
        await self._lanes.call(lane, restore, deadline=patience)
        return await self._lanes.run(lane, self._files.seal, path)

    def release_named(self, recorder: Recorder, attempt: int) -> None:
        """It cannot be sealed now: its disk may be unmounted, unless it is nowhere but in what is open."""
        self._held.release_named(recorder.run(attempt))

    def release(self, recorder: Recorder, attempt: int) -> None:
        """It is sealed: nothing of it has to be kept open."""
        self._held.release(recorder.run(attempt))
