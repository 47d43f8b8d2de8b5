# SPDX-License-Identifier: GPL-3.0-or-later
"""Join jobs: each runs in a scope of its own, outlives the daemon, and leaves a report that is believed only whole.

The job never deletes a segment. Its row is written before it starts; a job that is gone without a report is done
again under a new number, which is harmless: it accepts or replaces what the first one left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.core import ranges
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.listing import JobRow
from streamvaultd.core.model import JOIN, Container, Moment, Recorder, SeamRecord, Titled
from streamvaultd.core.recording.events import JoinEnded
from streamvaultd.errors import VaultError
from streamvaultd.jobs.insist import insist
from streamvaultd.jobs.launching import JoinRuns
from streamvaultd.jobs.naming import ResultNames
from streamvaultd.jobs.ports import Disk, Inbox, JobLedger
from streamvaultd.jobs.reports import OUT_OF_MEMORY
from streamvaultd.media.chapters import TEXT_MAX
from streamvaultd.reporting.notices import JOIN_HELD_UP, JOIN_WAITS, LEAD_LEFT_OUT, Journal
from streamvaultd.scopes.runs import OnExit

ROOM_CHECK: Final = 10.0
"""How often (s) a join that waits for room looks whether there is some."""

TROUBLE_CHECK: Final = 5.0
"""How often (s) a join is gone on with that the broker or the store holds up."""

ROOM_WAIT_MAX: Final = 7 * 86400.0
"""A join that has waited so long (s) for room has failed, and is tried again as any other."""


TITLES_MAX: Final = 1 << 20
"""Bytes of titles that a join gets; what is behind them has no chapter of its own."""

_Bytes = Annotated[int, msgspec.Meta(ge=ranges.BYTES.low, le=ranges.BYTES.high)]
_Number = Annotated[int, msgspec.Meta(ge=ranges.SEGMENT.low, le=ranges.SEGMENT.high)]
_Ms = Annotated[float, msgspec.Meta(ge=ranges.MILLISECONDS.low, le=ranges.MILLISECONDS.high)]
_WholeMs = Annotated[int, msgspec.Meta(ge=0, le=ranges.MILLISECONDS.high)]


_Since = Annotated[float, msgspec.Meta(ge=0, le=ranges.USEC.high / 1000)]


class _Seam(msgspec.Struct, rename="camel"):
    older: _Number
    newer: _Number
    kind: str
    method: str
    certainty: str
    overlap_bytes: _Bytes | None = None
    overlap_ms: _Ms | None = None
    gap_ms: _Ms | None = None
    note: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    path: str
    bytes: _Bytes
    duration_ms: _WholeMs | None = None
    on_air: tuple[tuple[_Ms, _Since, _Ms], ...] = ()
    """Where in it, from when on (ms since 1970) and for how long (ms) what is there was broadcast."""
    is_kept: bool = False
    """It has what of a segment could not be shown to be in the others."""
    segment: _Number | None = None
    sha256: str | None = None


class _Lead(msgspec.Struct, rename="camel"):
    bytes: _Bytes
    ms: _Ms | None = None


class _Report(msgspec.Struct, rename="camel"):
    ok: bool
    path: str | None = None
    bytes: _Bytes = 0
    error: str | None = None
    for_good: bool = False
    seams: tuple[_Seam, ...] = ()
    parts: tuple[_Part, ...] = ()
    notes: tuple[str, ...] = ()
    room: _Bytes | None = None
    lead: _Lead | None = None


class Joins:
    """Starts join jobs and reads their reports; `listeners` hear of each end before the recorder does."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        tasks: Tasks,
        clock: Clock,
        store: JobLedger,
        disk: Disk,
        journal: Journal,
        names: ResultNames,
        runs: JoinRuns,
    ) -> None:
        self._inbox = inbox
        self._tasks = tasks
        self._clock = clock
        self._store = store
        self._disk = disk
        self._journal = journal
        self._names = names
        self._naming = asyncio.Lock()  # from the choice of a name until a row has it
        self._runs = runs
        self.listeners: list[Callable[[int, JoinEnded], None]] = []
        self._at: set[int] = set()
        self._asked: set[int] = set()

    def is_at(self, job: int) -> bool:
        """Whether a job is being started, or its end is being dealt with."""
        return job in self._at

    async def verify(self, recorder: Recorder) -> None:
        """Join again what is joined: the result is accepted if it is what the segments make -> JoinEnded"""
        await self._join(recorder, recorder.joins)

    async def join(self, recorder: Recorder, join: int) -> None:
        """Run the join number `join` of a recording, or find the one that runs or has ended -> JoinEnded"""
        if recorder.recording.id in self._asked:
            return
        self._asked.add(recorder.recording.id)
        try:
            await self._insist(recorder, lambda: self._join(recorder, join))
        finally:
            self._asked.discard(recorder.recording.id)

    async def _join(self, recorder: Recorder, join: int) -> None:
        job = await self._job_of(recorder.recording.id, join)
        if job is not None and self.is_at(job):
            return
        if job is None:
            await self._start(recorder, join)
        elif self._runs.is_busy(job) or self._adopt(recorder, join, job):
            return
        elif self._runs.report(job).exists():
            await self._conclude(recorder, join, job, None)
        else:
            await self._give_up(recorder.recording.id, join, job, "the job vanished", retry=recorder)

    async def _job_of(self, recording: int, join: int) -> int | None:
        rows: list[JobRow] = [row for row in await self._store.unfinished_jobs() if row.recording == recording]
        return next((row.id for row in reversed(rows) if row.spec.get("join") == join), None)

    async def _start(self, recorder: Recorder, join: int) -> None:
        recording = recorder.recording
        told: dict[str, object] = {"reserve": await self._disk.kept(self._names.folder(recorder))}
        if (before := await self._store.result_before(recording.id)) is not None:
            told |= {"before": before[0], "previous": before[1]}
        titles: list[tuple[int, str]] | None = None
        if recording.policy.chapters and recording.policy.container is Container.MP4:
            titles = _titles(recorder, await self._store.titles(recording.id))
        there = await self._names.listing(recorder)
        async with self._naming:
            spec = self._runs.spec(recorder, join, await self._names.stem(recorder, there)) | told
            job = await self._store.create_job(recording.id, JOIN, spec | {"join": join}, self._clock.now())
            self._at.add(job)
        try:
            # not in the row: each try has one, and they are in the store already
            named = {} if titles is None else {"titles": titles}
            await self._runs.launch(recorder, job, spec | named, self._exit_handler(recorder, join, job))
        except (VaultError, OSError) as error:
            await self._give_up(recording.id, join, job, str(error))
        finally:
            self._at.discard(job)

    def _adopt(self, recorder: Recorder, join: int, job: int) -> bool:
        return self._runs.adopt(recorder, job, self._exit_handler(recorder, join, job))

    def _exit_handler(self, recorder: Recorder, join: int, job: int) -> OnExit:
        def on_exit(told: Evidence, _at: Moment) -> None:
            self._at.add(job)
            self._tasks.create_task(self._conclude(recorder, join, job, told))

        return on_exit

    async def _conclude(self, recorder: Recorder, join: int, job: int, told: Evidence | None) -> None:
        """The job's process is gone: its report says how it went, or its end, which None is if nobody saw it."""
        self._at.add(job)
        try:
            await self._insist(recorder, lambda: self._read_end(recorder, join, job, told))
        finally:
            self._at.discard(job)

    async def _read_end(self, recorder: Recorder, join: int, job: int, told: Evidence | None) -> None:
        await self._runs.forget(job)
        await self._read_report(recorder, join, job, told)

    async def _insist(self, recorder: Recorder, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again until it is done: a broker or a store that is away is waited for."""

        def tell(why: VaultError | OSError) -> None:
            self._journal.tell(JOIN_HELD_UP, recorder, recording=recorder.recording.id, why=why)

        await insist(work, tell, every=TROUBLE_CHECK)

    async def _read_report(self, recorder: Recorder, join: int, job: int, told: Evidence | None) -> None:
        recording = recorder.recording.id
        try:
            report = msgspec.json.decode(await self._runs.read(job), type=_Report)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            has_room = await self._disk.missing(self._runs.reports, 0) is None
            why = OUT_OF_MEMORY if told is not None and told.was_oom else f"the job left no report: {error}"
            report = _Report(ok=False, error=why, room=None if has_room else 0)
        if not report.ok or report.path is None:
            why = (report.error or "the job did not say why").removeprefix(f"cannot join recording {recording}: ")
            has_waited = report.room is not None and await self._wait_for_room(recorder, report.room)
            retry = recorder if has_waited else None
            await self._give_up(recording, join, job, why, retry=retry, for_good=report.for_good)
            return
        await self._store.add_seams(recording, [SeamRecord(**msgspec.structs.asdict(seam)) for seam in report.seams])
        parts = [msgspec.structs.asdict(part) for part in report.parts]
        notes = [*report.notes, *_taken(recorder)]
        result = {"path": report.path, "bytes": report.bytes, "parts": parts, "notes": notes}
        await self._finish(recording, job, ok=True, result=result)
        if report.lead is not None:
            seconds = "-" if report.lead.ms is None else f"{report.lead.ms / 1000:.1f}"
            self._journal.tell(LEAD_LEFT_OUT, recorder, recording=recording, seconds=seconds, size=report.lead.bytes)
        ended = JoinEnded(
            at=self._clock.now(), join=join, path=report.path, size=report.bytes, duration=_duration(report.parts)
        )
        self._tell(recording, ended)

    async def _wait_for_room(self, recorder: Recorder, needed: int) -> bool:
        """Wait until a join that found no room has some; False if that takes too long.

        The job counts as under way meanwhile: a daemon that starts finds its report, and waits on.
        """
        until, is_told = self._clock.now().monotonic + ROOM_WAIT_MAX, False
        while (why := await self._missing(recorder, needed)) is not None:
            if self._clock.now().monotonic >= until:
                return False
            if not is_told:
                self._journal.tell(JOIN_WAITS, recorder, recording=recorder.recording.id, why=why)
                is_told = True
            await asyncio.sleep(ROOM_CHECK)
        return True

    async def _missing(self, recorder: Recorder, needed: int) -> str | None:
        """Why there is no room for the result, or for the report."""
        folder = self._names.folder(recorder)
        return await self._disk.missing(folder, needed) or await self._disk.missing(self._runs.reports, 0)

    async def _give_up(
        self, recording: int, join: int, job: int, why: str, *, retry: Recorder | None = None, for_good: bool = False
    ) -> None:
        await self._finish(recording, job, ok=False, result={"why": why})
        if retry is not None:
            await self._start(retry, join)
            return
        self._tell(recording, JoinEnded(at=self._clock.now(), join=join, why=why, for_good=for_good))

    def _tell(self, recording: int, ended: JoinEnded) -> None:
        for listener in self.listeners:
            listener(recording, ended)
        self._inbox.post(recording, ended)

    async def _finish(self, recording: int, job: int, *, ok: bool, result: Mapping[str, object]) -> None:
        await self._store.finish_job(job, ok=ok, result=result, now=self._clock.now())
        self._runs.end(recording, job)


def _titles(recorder: Recorder, titles: Sequence[Titled]) -> list[tuple[int, str]]:
    """The names of chapters, and since when each is right (ms); none for a broadcast that kept its title."""
    if len(titles) < 2:
        return []
    found, room = list[tuple[int, str]](), TITLES_MAX
    for one in titles:
        text = f"{one.title} ({one.category})" if one.category else one.title
        text = (text or recorder.recording.streamer)[:TEXT_MAX]
        room -= len(text.encode(errors="replace"))
        if room < 0:
            break
        found.append((one.at // 1000, text))
    return found


def _taken(recorder: Recorder) -> Iterator[str]:
    """What people did to the files of segments while these were written."""
    for segment in recorder.segments:
        if segment.evidence is not None and segment.evidence.file is not None:
            how, number = segment.evidence.file, f"{segment.number:03d}"
            what = "what it had then is gone from it" if how == "cut" else "what it had is in the result"
            kept = what if segment.size else "nothing of it could be saved"
            yield f"somebody has {how} the file of segment {number} while it was written: {kept}"


def _duration(parts: Sequence[_Part]) -> float | None:
    """Seconds of media in all parts; None if that of one is not known."""
    known = [part.duration_ms for part in parts if part.duration_ms is not None]
    return sum(known) / 1000 if parts and len(known) == len(parts) else None
