# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at everything that an audit compares.

core/upkeep/audit.py says how its rules keep from crying wolf. Here is what they rely on: the order in which things are
looked at, and that everything which had happened by then is dealt with before the recorders are compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.listing import JobRow as StoredJob
from streamvaultd.core.model import Recorder
from streamvaultd.core.names import ChatRun, Job, Run
from streamvaultd.core.recording.events import RecordRequested
from streamvaultd.core.upkeep.world import Disk, JobRow, LoadedUnit, Pipe, Process, ResultState, Row, World, moved
from streamvaultd.jobs.at_work import AtWork
from streamvaultd.recording.chat.chats import Chats
from streamvaultd.recording.manager import Manager
from streamvaultd.scopes.runs import Runs

ANSWER_LIMIT: Final = 30.0
"""The manager deals with what is queued within this time (s), or is stuck."""

ROWS_MAX: Final = 200_000
NOBODY: Final = 0
"""The number of no recording."""


class Survey(Protocol):
    """Looks at the world; raises BusError and OSError."""

    async def units(self) -> tuple[LoadedUnit, ...]: ...
    async def pipes(self) -> tuple[tuple[Pipe, ...], int]: ...
    async def processes(self) -> tuple[Process, ...]: ...
    async def disk(self, directories: Iterable[str]) -> Disk: ...
    async def results(self, paths: Iterable[str]) -> dict[str, ResultState]: ...


class AuditStore(Protocol):
    """The store, as far as it is looked at here; raises StoreUnavailable."""

    async def directories(self) -> list[str]: ...
    async def load_unfinished(self) -> tuple[list[Recorder], list[tuple[int, str]]]: ...
    async def rows(self, limit: int) -> tuple[list[Row], bool]: ...
    async def unfinished_jobs(self) -> Sequence[StoredJob]: ...


class Snapshots:
    """Looks once; raises BusError, OSError and StoreUnavailable."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: AuditStore,
        survey: Survey,
        runs: Runs,
        jobs: AtWork,
        chats: Chats,
        clock: Clock,
        settings: LiveSettings,
    ) -> None:
        self._manager = manager
        self._store = store
        self._survey = survey
        self._runs = runs
        self._jobs = jobs
        self._chats = chats
        self._clock = clock
        self._settings = settings
        self._started = clock.now().monotonic

    async def look(self) -> World:
        """Recorders, then the world, then the rows, then the recorders again.

        Files come before rows: a file's row is older than the file. Unfinished rows come before all others: one that
        is finished meanwhile is in both.
        """
        before, chats = dict(self._manager.recorders), self._chats.known
        directories = {str(self._settings.now.directory), *await self._store.directories()}
        disk = await self._survey.disk(directories)
        processes = await self._survey.processes()
        units = await self._survey.units()
        pipes, surplus = await self._survey.pipes()
        stored, unreadable = await self._store.load_unfinished()
        rows, are_whole = await self._store.rows(ROWS_MAX)
        jobs = [JobRow(id=job.id, recording=job.recording) for job in await self._store.unfinished_jobs()]
        results = await self._survey.results(row.path for row in rows if row.path is not None)
        silent_for = await self._catch_up()
        after = dict(self._manager.recorders)
        return World(
            now=self._clock.now().monotonic,
            started=self._started,
            recorders=tuple(after.values()),
            moving=moved(before, after),
            silent_for=silent_for,
            busy_runs=self._busy_runs(units, pipes),
            busy_jobs=frozenset(job for job in _jobs_of(units, pipes, jobs) if self._is_job_busy(job)),
            chats=chats | self._chats.known | self._busy_chats(units, pipes),
            stored=tuple(stored),
            unreadable=tuple(unreadable),
            rows=tuple(rows),
            results=results,
            rows_are_whole=are_whole,
            jobs=tuple(jobs),
            units=units,
            pipes=pipes,
            surplus=surplus,
            processes=processes,
            disk=disk,
        )

    async def _catch_up(self) -> float:
        """Return when everything that had happened is dealt with; how long (s) the manager is silent if it is not."""
        for _ in range(2):  # turns of the loop: what the kernel knows is read in one, and told in the next
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                await self._manager.submit(NOBODY, RecordRequested(at=self._clock.now()))
        except TimeoutError:
            return max(self._manager.stuck_for(), ANSWER_LIMIT)
        return 0.0

    def _busy_runs(self, units: Iterable[LoadedUnit], pipes: Iterable[Pipe]) -> frozenset[Run]:
        runs = {unit.run for unit in units} | {pipe.run for pipe in pipes}
        return frozenset(run for run in runs if run is not None and self._is_busy(run.unit))

    def _busy_chats(self, units: Iterable[LoadedUnit], pipes: Iterable[Pipe]) -> frozenset[ChatRun]:
        """Those that are being stopped; all, until it is known which are whose. One that just runs needs an owner."""
        runs = {unit.chat for unit in units} | {pipe.chat for pipe in pipes}
        is_open = not self._chats.is_taken_over
        return frozenset(run for run in runs if run is not None and (is_open or self._runs.is_stopping(run.unit)))

    def _is_busy(self, unit: str) -> bool:
        return self._runs.is_busy(unit) or self._runs.is_stopping(unit)

    def _is_job_busy(self, job: Job) -> bool:
        return self._is_busy(job.unit) or self._jobs.is_at(job.number)


def _jobs_of(units: Iterable[LoadedUnit], pipes: Iterable[Pipe], jobs: Iterable[JobRow]) -> set[Job]:
    found = {unit.job for unit in units} | {pipe.job for pipe in pipes} | {Job(job.id) for job in jobs}
    return {job for job in found if job is not None}
