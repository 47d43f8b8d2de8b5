# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of steps: what each gets to know, where it runs, what it may reach; where it leaves its report."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from streamvaultd.base import beneath
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.layout import manifest_file
from streamvaultd.base.memory_file import memfd_with
from streamvaultd.base.redaction import redact_url
from streamvaultd.core import ranges
from streamvaultd.core.after.graph import StepKind, is_sent
from streamvaultd.core.model import Recorder, ScopeLimits, Segment
from streamvaultd.core.names import Job
from streamvaultd.jobs.after.belongings import belongs
from streamvaultd.jobs.after.facts import StepFacts
from streamvaultd.jobs.after.step_program import MadeFile, MediaPart, SpecSegment, StepSpec, Uploaded, UploadOrder
from streamvaultd.jobs.progress import JoinProgress
from streamvaultd.jobs.reports import read_report
from streamvaultd.reporting.notices import fields_of
from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.runs import OnExit, Place, Runs

INTERPRETER: Final = (sys.executable, "-I", "-m")
"""What runs a module."""

TASKS_MAX: Final = 32
TIDY_LIMIT: Final = 30.0
USEC: Final = 1_000_000


class _Told(msgspec.Struct, rename="camel"):
    """A report."""

    ok: bool
    error: str | None = None
    for_good: bool = False
    files: tuple[MadeFile, ...] = ()
    notes: tuple[str, ...] = ()
    uploads: tuple[Uploaded, ...] = ()


class StepReport(msgspec.Struct, frozen=True):
    """What a step made, or why it did not; either way, what it has uploaded."""

    files: tuple[MadeFile, ...] = ()
    notes: tuple[str, ...] = ()
    uploads: tuple[Uploaded, ...] = ()
    why: str | None = None
    for_good: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where results of a streamer are uploaded to, and at how many bytes a second at most.

    `config` is rclone's configuration, None if there is none; `reachable` what of this host it names.
    """

    remotes: tuple[str, ...]
    bandwidth: int | None = None
    config: str | None = None
    reachable: tuple[str, ...] = ()


class Destinations(Protocol):
    """As the settings have them now: who corrects a mistake there has not to wait for the next recording."""

    async def of(self, recorder: Recorder) -> Destination:
        """That of a recording; raises OSError."""


class StepRuns:
    """Runs of the programs, by the numbers of their jobs. Their reports are in the folder `reports`.

    What a kind that `is_sent` writes while it works is there, too: it writes nothing where media are.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        progress: JoinProgress,
        reports: Path,
        lanes: Lanes,
        destinations: Destinations,
        argv: Sequence[str] = INTERPRETER,
    ) -> None:
        self._runs = runs
        self._progress = progress
        self._reports = reports
        self._lanes = lanes
        self._destinations = destinations
        self._argv = argv

    def is_busy(self, job: int) -> bool:
        """See Runs.is_busy()."""
        return self._runs.is_busy(Job(job).unit)

    async def launch(self, kind: StepKind, job: int, facts: StepFacts, on_exit: OnExit) -> None:
        """Start it; raises VaultError and OSError."""
        recorder = facts.recorder
        self._reports.mkdir(mode=0o750, exist_ok=True)
        self._report(job).unlink(missing_ok=True)  # of a job that had this number in a store that is gone
        self._progress.begin(job, job)
        destination = await self._destinations.of(recorder) if kind.is_sent else None
        config = None if destination is None or destination.config is None else destination.config
        fds = [] if config is None else [memfd_with("rclone.conf", config)]
        spec = self._spec(kind, job, facts)
        if destination is not None:
            upload = UploadOrder(
                remotes=destination.remotes, bandwidth=destination.bandwidth, config=fds[0] if fds else None
            )
            spec = msgspec.structs.replace(spec, upload=upload)
        stdin = memfd_with("step-spec", msgspec.json.encode(spec, enc_hook=str))
        try:
            command = Command(
                argv=(*self._argv, kind.program),
                fields=fields_of(recorder) | {"SYSLOG_IDENTIFIER": f"streamvault-{kind.name}"},
                label=f"job-{job}",
                stdin_fd=stdin,
                extra_fds=fds,
                rules=self._rules(kind, recorder),
            )
            place = _place(kind, job, recorder, () if destination is None else destination.reachable)
            await self._runs.launch(command, place, on_exit)
        finally:
            for fd in (stdin, *fds):
                os.close(fd)

    def adopt(self, job: int, on_exit: OnExit) -> bool:
        """Watch one that an earlier daemon started; False if it is gone."""
        is_running = self._runs.adopt(Job(job).unit, on_exit)
        if is_running:
            self._progress.resume(job, job)
        return is_running

    def hold(self, job: int, *, is_held: bool) -> None:
        """See Runs.hold()."""
        self._runs.hold(Job(job).unit, is_held=is_held)

    async def stop(self, job: int) -> None:
        """See Runs.stop()."""
        await self._runs.stop(Job(job).unit)

    async def forget(self, job: int) -> None:
        """See Runs.forget()."""
        await self._runs.forget(Job(job).unit, Job(job).pipe)

    async def read(self, job: int, recorder: Recorder) -> StepReport | None:
        """Its report, None if it left none that is whole; one that tells of files of others failed."""
        try:
            told = msgspec.json.decode(
                await asyncio.to_thread(read_report, self._report(job)),
                type=_Told,
                dec_hook=lambda kind, text: kind(text),
            )
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not told.ok:
            why = told.error or "it did not say why"
            return StepReport(why=why, for_good=told.for_good, uploads=told.uploads)
        if not all(_is_of(file, Path(recorder.path or "")) for file in told.files):
            return StepReport(why="it tells of a file that is none of its result", for_good=True)
        return StepReport(files=told.files, notes=told.notes, uploads=told.uploads)

    async def discard_drafts(self, recorder: Recorder, step: str) -> None:
        """Remove what a step has put into its work folder; on a disk that does not take it, its next try does that."""
        work, directory = self._work_of(recorder, step), recorder.recording.directory
        with suppress(OSError):
            if is_sent(step):
                await asyncio.to_thread(shutil.rmtree, work)
            else:
                await self._lanes.call(f"steps {directory}", partial(_remove_folder, work), deadline=TIDY_LIMIT)

    def end(self, job: int) -> None:
        """The job is over, and its row says so: its report goes."""
        self._progress.end(job, job)
        with suppress(OSError):
            self._report(job).unlink(missing_ok=True)

    def _report(self, job: int) -> Path:
        return self._reports / f"job-{job}.json"

    def _spec(self, kind: StepKind, job: int, facts: StepFacts) -> StepSpec:
        recorder = facts.recorder
        recording = recorder.recording
        result = Path(recorder.path or "")
        named = [
            MediaPart(Path(part.path), part.bytes, part.duration_ms, part.on_air)
            for part in facts.parts
            if not part.is_kept
        ]
        return StepSpec(
            recording=recording.id,
            step=kind.name,
            streamer=recording.streamer,
            folder=_folder(recorder),
            result=result,
            parts=tuple(named) or (MediaPart(result, recorder.result_bytes or 0),),
            started=recording.created.realtime,
            ended=(recorder.ended or recorder.since).realtime,
            work=self._work_of(recorder, kind.name),
            report=self._report(job),
            progress=self._progress.path(job),
            memory=recording.policy.job_memory_max,
            url=redact_url(recording.url),
            site_id=facts.broadcast.site_id,
            title=facts.broadcast.title,
            category=facts.broadcast.category,
            titles=facts.titles,
            segments=tuple(_segment(segment) for segment in recorder.segments),
            seams=tuple(asdict(seam) for seam in facts.seams),
            made=facts.made,
            policy=_plain(asdict(recording.policy)),
            kept=tuple(Path(part.path) for part in facts.parts if part.is_kept),
            manifest=_folder(recorder) / manifest_file(recording.stream),
            chat=facts.chat,
            chat_channel=facts.chat_channel,
            is_chat_due=facts.is_chat_due,
        )

    def _rules(self, kind: StepKind, recorder: Recorder) -> Access:
        """A step reads and writes in its streamer's folder and where reports are, and has no network.

        One that is sent has it, and writes where reports are alone.
        """
        folders = {str(_folder(recorder)), str(Path(recorder.path or _folder(recorder)).parent)}
        if kind.is_sent:
            return Access(read=tuple(sorted(folders)), write=(str(self._reports),), network=True)
        return Access(write=tuple(sorted({*folders, str(self._reports)})))

    def _work_of(self, recorder: Recorder, step: str) -> Path:
        if is_sent(step):
            return self._reports / f"{step}-{recorder.recording.id}"
        return _folder(recorder) / f".after_{recorder.recording.id}_{step}"


def _plain(policy: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, str) else value for name, value in policy.items()}


def _folder(recorder: Recorder) -> Path:
    return Path(recorder.recording.directory) / recorder.recording.streamer


def _remove_folder(work: Path) -> None:
    """All that is in it; links are not followed."""
    try:
        with beneath.opened_folder(work.parent, beneath.STREAMER_DEPTH) as folder:
            shutil.rmtree(folder / work.name)
    except FileNotFoundError:
        return


def _is_of(file: MadeFile, result: Path) -> bool:
    return belongs(file.path, result) and 0 <= file.bytes <= ranges.BYTES.high


def _segment(segment: Segment) -> SpecSegment:
    moments = segment.started, segment.media_at, segment.ended
    return SpecSegment(segment.number, *(None if moment is None else moment.realtime for moment in moments))


def _place(kind: StepKind, job: int, recorder: Recorder, reachable: tuple[str, ...]) -> Place:
    recording = recorder.recording
    return Place(
        unit=Job(job).unit,
        pipe=Job(job).pipe,
        description=f"Step {kind.name} of recording {recording.id} ({recording.streamer})",
        limits=ScopeLimits(
            memory_max=recording.policy.job_memory_max,
            tasks_max=TASKS_MAX,
            runtime_max_usec=round(kind.limit * USEC),
            reachable=reachable,
            has_network=kind.is_sent,
        ),
        mounts_for=Path(recording.directory),
    )
