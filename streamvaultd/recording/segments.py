# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments in the world: streamlink in its scope, writing to a file; started, taken over, measured, ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Recorder, ScopeLimits
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.policy import media_limit
from streamvaultd.errors import DirectoryUnusable, DiskFull, MemoryFull, StreamlinkUnusable, VaultError
from streamvaultd.recording.footage import Footage
from streamvaultd.recording.headroom import Headroom, memory_max
from streamvaultd.recording.inbox import Inbox
from streamvaultd.recording.ports import Capture
from streamvaultd.recording.witnesses import Witnesses
from streamvaultd.reporting.notices import FILES_TROUBLE, SCOPE_TROUBLE, Journal, fields_of
from streamvaultd.scopes.ports import Command
from streamvaultd.scopes.runs import Place, Runs

RUNTIME_SLACK: Final = 3600.0
"""RuntimeMaxSec= of a scope is this much (s) above all that a segment may take: a backstop should the daemon hang."""

FORGET_PAUSES: Final = (0.5, 2.0)
"""Pauses (s) after which the broker is asked again to end what is left of a run."""

LEAN: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}
"""Has glibc give memory back to the system soon, mallopt(3): a media segment is read whole, and then let go of."""


class Captures:
    """Starts, takes over, measures and ends segments; what becomes of them is posted as events."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        clock: Clock,
        capture: Capture,
        runs: Runs,
        headroom: Headroom,
        footage: Footage,
        witnesses: Witnesses,
        journal: Journal,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._capture = capture
        self._runs = runs
        self._headroom = headroom
        self._footage = footage
        self._witnesses = witnesses
        self._journal = journal

    async def launch(self, recorder: Recorder, attempt: int) -> None:
        """-> ScopeStarted | LaunchFailed"""
        try:
            await self._headroom.require(recorder, attempt)
            output = await self._footage.create(recorder, attempt)
            try:
                await self._launch(recorder, attempt, output)
            finally:
                os.close(output)
        except (VaultError, OSError) as error:
            self._inbox.post(recorder.recording.id, self._launch_failed(attempt, error))

    def _launch_failed(self, attempt: int, error: VaultError | OSError) -> ev.LaunchFailed:
        is_disk = isinstance(error, DiskFull)
        permanent = isinstance(error, DirectoryUnusable | StreamlinkUnusable | PermissionError)
        why = str(error.fields["why"]) if isinstance(error, DiskFull | MemoryFull) else str(error)
        return ev.LaunchFailed(at=self._clock.now(), attempt=attempt, why=why, permanent=permanent, disk=is_disk)

    async def _launch(self, recorder: Recorder, attempt: int, output: int) -> None:
        recording = recorder.recording
        preferred, limit = await self._witnesses.preferred(recorder), media_limit(recorder)
        argv, config, secrets = await self._capture.command(recording, preferred, limit)
        try:
            command = Command(
                argv=argv,
                fields=fields_of(recorder, attempt) | {"SYSLOG_IDENTIFIER": "streamlink"},
                label=recorder.run(attempt).label,
                stdout_fd=output,
                extra_fds=(config,),
                secrets=secrets,
                environment=LEAN,
                rules=await self._capture.rules(recording),
            )
            folder = self._footage.path(recorder, attempt).parent
            place = _place(recorder, attempt, folder, await self._capture.reachable(recording))
            await self._runs.launch(command, place, self._witnesses.of_run(recorder.run(attempt)))
        finally:
            os.close(config)
        self._inbox.post(recording.id, ev.ScopeStarted(at=self._clock.now(), attempt=attempt))
        self._footage.watch(recorder, attempt)

    def adopt(self, recorder: Recorder, attempt: int) -> None:
        """Watch a run of an earlier daemon -> MediaArrived, SegmentExited"""
        unit = recorder.run(attempt).unit
        on_exit = self._witnesses.of_run(recorder.run(attempt))
        if self._runs.adopt(unit, on_exit):
            self._footage.go_on_watching(recorder, attempt)
        else:
            on_exit(self._runs.last_words(unit), self._clock.now())

    async def stop(self, recorder: Recorder, attempt: int) -> None:
        """-> SegmentExited, by the process; or at once if there is neither a scope nor a process"""
        unit = recorder.run(attempt).unit
        try:
            is_there = await self._runs.stop(unit) or self._runs.is_busy(unit)
        except VaultError as error:
            # not stuck: StopTimedOut asks again
            self._journal.tell(SCOPE_TROUBLE, recorder, unit=unit, why=error)
            return
        if not is_there:
            self._witnesses.of_run(recorder.run(attempt))(Evidence(), self._clock.now())

    async def measure(self, recorder: Recorder, attempt: int) -> None:
        """-> SizeMeasured; nothing while the disk still owes the last answer"""
        found = await self._footage.measure(recorder, attempt)
        if found is None:
            return
        anon, limit = self._runs.memory(recorder.run(attempt).unit)
        now = self._clock.now()
        written = None if found.written is None else now.dated(found.written).monotonic
        measured = ev.SizeMeasured(
            at=now, attempt=attempt, size=found.size, written=written, pulses=found.pulses, unfit=found.unfit,
            anon=anon, limit=limit,
        )  # fmt: skip
        self._inbox.post(recorder.recording.id, measured)

    async def save_file(self, recorder: Recorder, attempt: int) -> None:
        """Keep what a file holds that has lost its name."""
        try:
            await self._footage.save(recorder, attempt)
        except OSError as error:
            # it stays open, and is saved when it is sealed
            self._journal.tell(FILES_TROUBLE, recorder, why=error)

    async def seal(self, recorder: Recorder, attempt: int) -> None:
        """-> SegmentSealed. What is left of the run in its scope is ended first, so that nothing writes any more.

        Posts nothing when the broker cannot tell whether anything is left, not even after some tries: what is in the
        file is durable then, and the core asks again.
        """
        run = recorder.run(attempt)
        self._witnesses.forget(run)
        self._footage.let_go(recorder, attempt)
        trouble = await self._forget(run)
        try:
            size = await self._footage.seal(recorder, attempt, is_over=trouble is None)
        except OSError as error:
            self._footage.release_named(recorder, attempt)
            self._journal.tell(FILES_TROUBLE, recorder, why=error)
            return
        if trouble is not None:
            self._journal.tell(SCOPE_TROUBLE, recorder, unit=run.unit, why=trouble)
            return
        self._footage.release(recorder, attempt)
        self._inbox.post(run.recording, ev.SegmentSealed(at=self._clock.now(), attempt=attempt, size=size))

    async def _forget(self, run: Run) -> VaultError | None:
        """End what is left of a run; the error of the last try if that cannot be done. A broker soon comes back."""
        trouble: VaultError | None = None
        for pause in (0.0, *FORGET_PAUSES):
            await asyncio.sleep(pause)
            try:
                await self._runs.forget(run.unit, run.pipe)
            except VaultError as error:
                trouble = error
            else:
                return None
        return trouble


def _place(recorder: Recorder, attempt: int, folder: Path, reachable: tuple[str, ...]) -> Place:
    recording, policy = recorder.recording, recorder.recording.policy
    longest = policy.rotate_age + policy.start_timeout + policy.overlap_limit + RUNTIME_SLACK
    return Place(
        unit=recording.run(attempt).unit,
        pipe=recording.run(attempt).pipe,
        description=f"Segment {attempt:03d} of recording {recording.id} ({recording.streamer})",
        limits=ScopeLimits(
            memory_max=memory_max(recorder, attempt),
            tasks_max=policy.tasks_max,
            runtime_max_usec=round(longest * 1e6),
            reachable=reachable,
        ),
        mounts_for=folder,
    )
