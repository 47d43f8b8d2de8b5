# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that joins: what it gets to know, where it runs, what it may reach; and where it leaves its report."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.core.model import Container, Recorder, ScopeLimits, Segment
from streamvaultd.core.names import Job
from streamvaultd.jobs.ports import ResultFiles
from streamvaultd.jobs.progress import JoinProgress
from streamvaultd.jobs.reports import read_report
from streamvaultd.reporting.notices import fields_of
from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.runs import OnExit, Place, Runs

JOB_TASKS_MAX: Final = 16
PROGRAM: Final = (sys.executable, "-I", "-m", "streamvaultd.jobs.join.main")


class JoinRuns:
    """Runs of the program, by the numbers of their jobs. Their reports are in the folder `reports`."""

    def __init__(
        self,
        *,
        runs: Runs,
        files: ResultFiles,
        progress: JoinProgress,
        reports: Path,
        argv: Sequence[str] = PROGRAM,
    ) -> None:
        self._runs = runs
        self._files = files
        self._progress = progress
        self.reports = reports
        self._argv = argv

    def is_busy(self, job: int) -> bool:
        """See Runs.is_busy()."""
        return self._runs.is_busy(Job(job).unit)

    async def launch(self, recorder: Recorder, job: int, spec: Mapping[str, object], on_exit: OnExit) -> None:
        """Start it; raises VaultError and OSError."""
        report = self.report(job)
        self.reports.mkdir(mode=0o750, exist_ok=True)
        if report.exists():  # of a job that had this number in a store that is gone
            report.unlink()
        self._progress.begin(recorder.recording.id, job)
        paths = {"report": str(report), "progress": str(self._progress.path(job))}
        stdin = memfd_with("join-spec", json.dumps({**spec, **paths}))
        try:
            fields = fields_of(recorder) | {"SYSLOG_IDENTIFIER": "streamvault-join"}
            command = Command(
                argv=self._argv, fields=fields, label=f"job-{job}", stdin_fd=stdin, rules=self._rules(recorder)
            )
            await self._runs.launch(command, _place(recorder, job), on_exit)
        finally:
            os.close(stdin)

    def adopt(self, recorder: Recorder, job: int, on_exit: OnExit) -> bool:
        """Watch one that an earlier daemon started; False if it is gone."""
        is_running = self._runs.adopt(Job(job).unit, on_exit)
        if is_running:
            self._progress.resume(recorder.recording.id, job)
        return is_running

    async def forget(self, job: int) -> None:
        """See Runs.forget()."""
        await self._runs.forget(Job(job).unit, Job(job).pipe)

    async def read(self, job: int) -> bytes:
        """Its report; raises OSError."""
        return await asyncio.to_thread(read_report, self.report(job))

    def end(self, recording: int, job: int) -> None:
        """The job is over, and its row says so: its report goes."""
        self._progress.end(recording, job)
        self.report(job).unlink(missing_ok=True)

    def report(self, job: int) -> Path:
        """Where its report is, once it has ended."""
        return self.reports / f"job-{job}.json"

    def spec(self, recorder: Recorder, join: int, output: Path) -> dict[str, object]:
        """What it gets to know of the recording; `output` is the result's path without its suffix."""
        recording = recorder.recording
        parts = [segment for segment in recorder.segments if segment.size > 0]
        return {
            "recording": recording.id,
            "segments": [str(self._files.segment_path(recording, segment.number)) for segment in parts],
            "numbers": [segment.number for segment in parts],
            "times": [_received(segment) for segment in parts],
            "dates": [_dated(segment) for segment in parts],
            "output": str(output),
            "mp4": recording.policy.container is Container.MP4,
            "tries": join,
            "memory": recording.policy.job_memory_max,
            "timed": recording.policy.chat,
            "least": round(recording.policy.min_duration * 1000),
        }

    def _rules(self, recorder: Recorder) -> Access:
        """A join reads and writes in its streamer's folder and where reports are, and has no network."""
        folder = self._files.segment_path(recorder.recording, 1).parent.parent
        result = folder if recorder.path is None else Path(recorder.path).parent
        folders = {str(folder), str(result), str(self.reports)}
        return Access(write=tuple(sorted(folders)))


def _received(segment: Segment) -> tuple[int, int] | None:
    """From when to when a segment was received, in ms of the realtime clock."""
    if segment.media_at is None or segment.ended is None:
        return None
    return segment.media_at.realtime // 1000, segment.ended.realtime // 1000


def _dated(segment: Segment) -> int | None:
    """When its first media were broadcast, in ms, if the source said it."""
    dated = None if segment.evidence is None else segment.evidence.dated
    return None if dated is None else dated // 1000


def _place(recorder: Recorder, job: int) -> Place:
    recording = recorder.recording
    return Place(
        unit=Job(job).unit,
        pipe=Job(job).pipe,
        description=f"Join of recording {recording.id} ({recording.streamer})",
        limits=ScopeLimits(memory_max=recording.policy.job_memory_max, tasks_max=JOB_TASKS_MAX),
        mounts_for=Path(recording.directory),
    )
