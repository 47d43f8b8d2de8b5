# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments in the world: their file, their streamlink, their scope, their first media, their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.base.growth import MediaWatcher
from streamvaultd.base.lanes import DEADLINE as LANE_DEADLINE
from streamvaultd.base.lanes import Lanes, is_no_room
from streamvaultd.base.units import parse_segment_unit, segment_fd_name, segment_unit
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.flows import Pulse
from streamvaultd.core.model import Moment, Recorder, ScopeLimits, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.loglines import Line, resolved_quality
from streamvaultd.core.recording.policy import preferred_quality, quality_to_come, seal_limit
from streamvaultd.core.recording.reconcile import Run
from streamvaultd.errors import DirectoryUnusable, DiskFull, MemoryFull, StreamlinkUnusable, VaultError
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.ports import Capture, Disk, Files, Looks, Writeback
from streamvaultd.reporting.notices import fields_of
from streamvaultd.scopes.ports import Command
from streamvaultd.scopes.runs import OnExit, Place, Runs

RUNTIME_SLACK: Final = 3600.0
"""RuntimeMaxSec= of a scope is this much (s) above all that a segment may take: a backstop should the daemon hang."""

QUALITY_WAIT: Final = 1.0
"""So long (s) a launch waits to hear which quality the segment before has."""

FORGET_PAUSES: Final = (0.5, 2.0)
"""After so long (s) each the broker is asked again to end what is left of a run."""

Post = Callable[[int, ev.Event], None]


class Captures:
    """Starts, watches and ends segments; what becomes of them is posted as events."""

    def __init__(
        self,
        *,
        post: Post,
        clock: Clock,
        files: Files,
        capture: Capture,
        runs: Runs,
        media: MediaWatcher,
        writeback: Writeback,
        held: HeldFiles,
        disk: Disk,
        lanes: Lanes,
        looks: Looks,
        parse_record: Callable[[bytes | None], Evidence],
        is_overlap_proven: Callable[[Path | int, Path | int], bool],
        scope_memory: Callable[[str], tuple[int | None, int | None]],
        memory_refusal: Callable[[int], str | None],
        is_link_down: Callable[[], bool],
    ) -> None:
        self._post = post
        self._clock = clock
        self._files = files
        self._capture = capture
        self._runs = runs
        self._media = media
        self._writeback = writeback
        self._held = held
        self._disk = disk
        self._lanes = lanes
        self._looks = looks
        self._parse_record = parse_record
        self._is_overlap_proven = is_overlap_proven
        self._scope_memory = scope_memory
        self._memory_refusal = memory_refusal
        self._is_link_down = is_link_down
        self._measuring: set[Run] = set()
        self._qualities: dict[Run, asyncio.Future[str]] = {}

    async def launch(self, recorder: Recorder, attempt: int) -> None:
        """-> ScopeStarted | LaunchFailed"""
        path = self._files.segment_path(recorder.recording, attempt)
        try:
            output = await self._create(recorder, attempt, path)
            try:
                await self._launch(recorder, attempt, path, output)
            finally:
                os.close(output)
        except (VaultError, OSError) as error:
            self._post(recorder.recording.id, self._launch_failed(attempt, error))

    async def _create(self, recorder: Recorder, attempt: int, path: Path) -> int:
        """The segment's file, if there is room for what it will hold and, in a rotation, for one more process."""
        recording = recorder.recording
        if recorder.state is State.ROTATING:
            why = self._memory_refusal(_memory_max(recorder, attempt))
            if why is not None:
                raise MemoryFull(streamer=recording.streamer, why=why)
        why = await self._disk.trouble(recorder)
        if why is not None:
            raise DiskFull(directory=recording.directory, why=why)
        try:
            return await self._lanes.call(recording.directory, partial(self._files.create, path), late=os.close)
        except OSError as error:
            if is_no_room(error):
                raise DiskFull(directory=recording.directory, why=str(error)) from error
            raise

    def _launch_failed(self, attempt: int, error: VaultError | OSError) -> ev.LaunchFailed:
        is_disk = isinstance(error, DiskFull)
        permanent = isinstance(error, DirectoryUnusable | StreamlinkUnusable | PermissionError)
        why = str(error.fields["why"]) if isinstance(error, DiskFull | MemoryFull) else str(error)
        return ev.LaunchFailed(at=self._clock.now(), attempt=attempt, why=why, permanent=permanent, disk=is_disk)

    async def _launch(self, recorder: Recorder, attempt: int, path: Path, output: int) -> None:
        recording = recorder.recording
        argv, config, secrets = await self._capture.command(recording, await self._preferred(recorder))
        try:
            command = Command(
                argv=argv,
                fields=fields_of(recorder, attempt) | {"SYSLOG_IDENTIFIER": "streamlink"},
                label=f"{recording.id}-{attempt:03d}",
                stdout_fd=output,
                extra_fds=(config,),
                secrets=secrets,
                rules=await self._capture.rules(recording),
            )
            on_exit = self._exit_handler(recording.id, attempt)
            place = _place(recorder, attempt, path, self._capture.reachable(recording))
            await self._runs.launch(command, place, on_exit)
        finally:
            os.close(config)
        self._post(recording.id, ev.ScopeStarted(at=self._clock.now(), attempt=attempt))
        self._watch_media(recording.id, attempt, path)

    async def _preferred(self, recorder: Recorder) -> str | None:
        """The quality to ask for; one that is told in a moment is waited for, since another would not join exactly."""
        run = quality_to_come(recorder, self._clock.now().monotonic)
        if run is None:
            return preferred_quality(recorder)
        try:
            return await asyncio.wait_for(asyncio.shield(self._quality(recorder.recording.id, run)), QUALITY_WAIT)
        except TimeoutError:
            return preferred_quality(recorder)

    def _quality(self, recording: int, attempt: int) -> asyncio.Future[str]:
        if (recording, attempt) not in self._qualities:
            self._qualities[recording, attempt] = asyncio.get_running_loop().create_future()
        return self._qualities[recording, attempt]

    def adopt(self, recorder: Recorder, attempt: int) -> None:
        """Watch a run of an earlier daemon -> MediaArrived, SegmentExited"""
        recording = recorder.recording.id
        unit = segment_unit(recording, attempt)
        on_exit = self._exit_handler(recording, attempt)
        if not self._runs.adopt(unit, on_exit):
            on_exit(self._runs.last_record(unit), None, self._clock.now())
            return
        segment, path = recorder.segment(attempt), self._files.segment_path(recorder.recording, attempt)
        if segment is not None and segment.media_at is None:
            self._watch_media(recording, attempt, path)
        else:
            self._writeback.watch(unit, path)

    async def stop(self, recorder: Recorder, attempt: int) -> None:
        """-> SegmentExited, by the process; or at once if there is neither a scope nor a process"""
        recording = recorder.recording.id
        unit = segment_unit(recording, attempt)
        if not await self._runs.stop(unit) and not self._runs.is_busy(unit):
            self._exit_handler(recording, attempt)(None, None, self._clock.now())

    async def measure(self, recorder: Recorder, attempt: int) -> None:
        """-> SizeMeasured; nothing while the disk still owes the last answer"""
        recording, run = recorder.recording, (recorder.recording.id, attempt)
        if run in self._measuring:
            return
        self._measuring.add(run)
        # whoever cannot be seen to write takes the way of one that does not
        size: int | None = 0
        pulses, unfit = tuple[Pulse, ...](), None
        try:
            path = self._files.segment_path(recording, attempt)
            size = self._held.size(segment_unit(*run))
            if size is None:
                size = await self._lanes.run(recording.directory, self._files.size, path)
            pulses, unfit = await self._lanes.run(recording.directory, self._looks.look, run, path)
        except OSError:
            pass
        finally:
            self._measuring.discard(run)
        group = self._runs.control_group(segment_unit(recording.id, attempt))
        anon, limit = (None, None) if group is None else self._scope_memory(group)
        measured = ev.SizeMeasured(
            at=self._clock.now(), attempt=attempt, size=size or 0, pulses=pulses, unfit=unfit, anon=anon, limit=limit
        )
        self._post(recording.id, measured)

    async def save_file(self, recorder: Recorder, attempt: int) -> None:
        """Keep what a file holds that has lost its name; raises OSError."""
        recording = recorder.recording
        unit, path = segment_unit(recording.id, attempt), self._files.segment_path(recording, attempt)
        self._held.store(unit)
        await self._lanes.call(recording.directory, self._held.restoring(unit, path, is_over=False))

    async def check_overlap(self, recorder: Recorder, attempt: int, older: int) -> None:
        """-> OverlapChecked"""
        recording = recorder.recording
        pair = [(segment_unit(recording.id, n), self._files.segment_path(recording, n)) for n in (older, attempt)]
        files = [path if (fd := self._held.dup(unit)) is None else fd for unit, path in pair]
        try:
            proven = await self._lanes.run(recording.directory, self._is_overlap_proven, *files)
        except OSError:
            proven = False  # one of the files is gone: its segment's end follows as an event
        self._post(recorder.recording.id, ev.OverlapChecked(at=self._clock.now(), attempt=attempt, proven=proven))

    async def seal(self, recorder: Recorder, attempt: int) -> None:
        """-> SegmentSealed. Whatever is left of the run in its scope is ended first, so that nobody writes any more.

        Raises VaultError, and posts nothing, when the broker cannot tell whether anything is left, not even after some
        tries: what is in the file is durable then, and the core asks again.
        """
        recording = recorder.recording
        run = (recording.id, attempt)
        path = self._files.segment_path(recording, attempt)
        self._qualities.pop(run, None)
        self._looks.forget(run)
        self._media.cancel(segment_unit(*run))
        self._writeback.cancel(segment_unit(*run))
        trouble = await self._forget(*run)
        unit, segment = segment_unit(*run), recorder.segment(attempt)
        patience = LANE_DEADLINE if segment is None else max(LANE_DEADLINE, seal_limit(segment))
        restore = self._held.restoring(unit, path, is_over=trouble is None)
        await self._lanes.call(recording.directory, restore, deadline=patience)
        size = await self._lanes.run(recording.directory, self._files.seal, path)
        if trouble is not None:
            raise trouble
        self._held.release(unit)
        self._post(recording.id, ev.SegmentSealed(at=self._clock.now(), attempt=attempt, size=size))

    async def _forget(self, recording: int, attempt: int) -> VaultError | None:
        """End what is left of a run; the error of the last try if that cannot be done. A broker soon comes back."""
        trouble: VaultError | None = None
        for pause in (0.0, *FORGET_PAUSES):
            await asyncio.sleep(pause)
            try:
                await self._runs.forget(segment_unit(recording, attempt), segment_fd_name(recording, attempt))
            except VaultError as error:
                trouble = error
            else:
                return None
        return trouble

    def on_unit_result(self, unit: str, result: str, active_state: str) -> None:
        """What systemd says about a scope; "success" is no evidence, for units that are unknown have it too."""
        is_known = result not in ("", "success")
        if active_state not in ("failed", "inactive", "deactivating"):
            return
        # Once the run is over it is the stop of what it left behind that took too long
        if is_known and (result != "timeout" or self._runs.is_busy(unit)):
            self.on_evidence(unit, Evidence(unit_result=result))
        if is_known or active_state != "deactivating":
            self._runs.on_result(unit)

    def on_unit_memory(self, unit: str, peak: int | None, limit: int | None) -> None:
        """How much memory a scope that failed had used at most, and its limit."""
        self.on_evidence(unit, Evidence(memory_peak=peak, memory_max=limit))

    def on_evidence(self, unit: str, evidence: Evidence) -> None:
        """What a witness says about a run, before or after its end."""
        run = parse_segment_unit(unit)
        if run is not None:
            self._post(run[0], ev.EvidenceArrived(at=self._clock.now(), attempt=run[1], evidence=evidence))

    def on_file_taken(self, unit: str, how: ev.Taken, size: int) -> None:
        """Somebody has removed, moved or cut the file of a run."""
        run = parse_segment_unit(unit)
        if run is not None:
            self._post(run[0], ev.FileTaken(at=self._clock.now(), attempt=run[1], how=how, size=size))

    def on_line(self, recording: int, attempt: int, line: Line, text: str) -> None:
        """What streamlink says while it runs."""
        quality = resolved_quality(text) if line in (Line.OPENING, Line.MUXING) else None
        if quality is not None and self._runs.is_busy(segment_unit(recording, attempt)):
            heard = self._quality(recording, attempt)
            if not heard.done():
                heard.set_result(quality)
        self._post(recording, ev.SegmentSpoke(at=self._clock.now(), attempt=attempt, line=line, quality=quality))

    def _exit_handler(self, recording: int, attempt: int) -> OnExit:
        def on_exit(record: bytes | None, shim_status: int | None, at: Moment) -> None:
            told = self._parse_record(record)
            if told == Evidence():  # none, or one that is torn
                told = Evidence(shim_status=shim_status)
            around = Evidence(link_down=self._is_link_down() or None, disk=self._disk.state_of(recording))
            exited = ev.SegmentExited(at=at, attempt=attempt, evidence=told.merged(around))
            self._post(recording, exited)

        return on_exit

    def _watch_media(self, recording: int, attempt: int, path: Path) -> None:
        def on_media(unit: str) -> None:
            size = self._files.size(path)
            self._writeback.watch(unit, path)
            self._post(recording, ev.MediaArrived(at=self._clock.now(), attempt=attempt, size=size))

        try:
            self._media.watch(segment_unit(recording, attempt), path, on_media)
        except OSError:
            return  # it ended at once, and its empty file is gone; or nobody can look at it: MediaTimedOut ends it


def _place(recorder: Recorder, attempt: int, path: Path, reachable: tuple[str, ...]) -> Place:
    recording, policy = recorder.recording, recorder.recording.policy
    longest = policy.rotate_age + policy.start_timeout + policy.overlap_limit + RUNTIME_SLACK
    return Place(
        unit=segment_unit(recording.id, attempt),
        pipe=segment_fd_name(recording.id, attempt),
        description=f"Segment {attempt:03d} of recording {recording.id} ({recording.streamer})",
        limits=ScopeLimits(
            memory_max=_memory_max(recorder, attempt),
            tasks_max=policy.tasks_max,
            runtime_max_usec=round(longest * 1e6),
            reachable=reachable,
        ),
        mounts_for=path.parent,
    )


def _memory_max(recorder: Recorder, attempt: int) -> int:
    segment = recorder.segment(attempt)
    return (segment.memory_max if segment else None) or recorder.recording.policy.memory_max
