# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the steps of recordings that are over: what is due by its row is begun, what runs by its row is found again.

Nothing of it is remembered but what is under way. Each look reads all rows that are not over, so a look after a start
is as any other one, and a crash between any two lines is one that the next look finds the rows of:

- before a job's row there is nothing, after it the step runs by its row. One whose scope never came, or is gone
  without a report, is due again;
- a program that has ended is believed by its report alone, whichever daemon reads it; drafts are removed before the
  rows say that it is over, its report after that;
- the step's row, its job's and those of the steps behind it are written in one transaction.

No recording waits for any of it. While one is at risk, nothing is begun and what runs is held; what is held for long
is stopped, and begun anew later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.after.graph import KINDS, is_sent
from streamvaultd.core.after.machine import Done, Failed, StepRow, StepStatus, next_due, startable
from streamvaultd.core.after.pauses import USEC
from streamvaultd.core.after.risk import HOLD_LIMIT, is_at_risk
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Recorder
from streamvaultd.errors import VaultError
from streamvaultd.jobs.after.facts import FactStore, gather, made_file
from streamvaultd.jobs.after.step_runs import StepReport, StepRuns
from streamvaultd.jobs.insist import insist
from streamvaultd.jobs.reports import OUT_OF_MEMORY
from streamvaultd.reporting.notices import STEP_FAILED, STEP_GIVEN_UP, STEP_HELD_UP, Journal
from streamvaultd.scopes.runs import OnExit

INTERVAL: Final = 300.0
"""How often (s) rows are looked at though nothing is known to have happened."""

TROUBLE_CHECK: Final = 5.0
"""How often (s) something is tried again that the store, the broker or a disk holds up."""

REST: Final = 30.0
"""What cannot be begun for its rows, or because its media are being removed, is left alone for so long (s)."""


_Key = tuple[int, str]


class StepStore(FactStore, Protocol):
    """Durable when a call returns; raises StoreUnavailable."""

    async def unfinished_steps(self) -> Sequence[StepRow]: ...
    async def begin_step(self, row: StepRow, spec: Mapping[str, object], at: int) -> int | None: ...
    async def skip_steps(self, recording: int, at: int) -> None: ...
    async def end_step(self, row: StepRow, event: Done | Failed, result: Mapping[str, object]) -> StepRow | None: ...


class GivingUp(Protocol):
    """Who removes media."""

    def is_at(self, recording: int) -> bool:
        """Whether those of a recording are being removed."""


class Steps:
    """Begins and ends the jobs of steps; `listeners` hear of each step of a recording that is over."""

    def __init__(
        self, *, store: StepStore, runs: StepRuns, pruning: GivingUp, journal: Journal, clock: Clock, tasks: Tasks
    ) -> None:
        self._store = store
        self._runs = runs
        self._pruning = pruning
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._wanted = asyncio.Event()
        self._at: dict[_Key, int] = {}  # the job of each, 0 before it has one
        self._resting: set[_Key] = set()
        self._risks: set[int] = set()
        self._held_since: float | None = None
        self._stopped: set[int] = set()
        self.listeners: list[Callable[[int], None]] = []

    def is_at(self, job: int) -> bool:
        """Whether a job is being started, watched, or its end is being dealt with."""
        return job in self._at.values()

    def on_recorder(self, recorder: Recorder) -> None:
        """A recording has changed: it may be joined now, or be at risk; never waits."""
        recording, was_held = recorder.recording.id, bool(self._risks)
        (self._risks.add if is_at_risk(recorder) else self._risks.discard)(recording)
        if recorder.state.is_final or was_held != bool(self._risks):
            self._wanted.set()

    async def run(self) -> None:
        """Look whenever there may be something to do, for ever."""
        while True:
            self._wanted.clear()
            try:
                wait = await self._look()
            except VaultError:  # the one that saves says so
                wait = TROUBLE_CHECK
            try:
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    def let_go(self) -> None:
        """The daemon ends: what is held goes on without it."""
        self._hold(is_held=False)

    async def _look(self) -> float:
        """Begin and find what is to be; how long (s) there is nothing to do unless something happens."""
        rows = await self._store.unfinished_steps()
        now = self._clock.now()
        for row in rows:
            if row.status is StepStatus.RUNNING and not self._is_busy(row):
                self._begin_work(row, row.job or 0, self._find(row))
        wait = self._look_at_risks(now)
        if not self._risks:
            free = [row for row in rows if not self._is_busy(row)]
            for row in startable(free, now.realtime, {step for _, step in self._at}):
                self._begin_work(row, 0, self._start(row))
        due = next_due(rows, now.realtime)
        return wait if due is None else min(wait, max(1.0, (due - now.realtime) / USEC))

    def _is_busy(self, row: StepRow) -> bool:
        """Whether it is under way, or something of it did not work a moment ago."""
        return _key(row) in self._at or _key(row) in self._resting

    def _begin_work(self, row: StepRow, job: int, work: Coroutine[Any, Any, None]) -> None:
        self._at[_key(row)] = job
        self._tasks.create_task(work)

    def _look_at_risks(self, now: Moment) -> float:
        """Hold what runs while a recording is at risk, and stop what has been held for too long."""
        if not self._risks:
            if self._held_since is not None:
                self._hold(is_held=False)
            self._held_since = None
            return INTERVAL
        if self._held_since is None:
            self._held_since = now.monotonic
        self._hold(is_held=True)
        left = self._held_since + HOLD_LIMIT - now.monotonic
        if left > 0:
            return left
        for job in self._at.values():
            if job and self._runs.is_busy(job):
                self._stopped.add(job)
                self._tasks.create_task(self._stop(job))
        return HOLD_LIMIT

    def _hold(self, *, is_held: bool) -> None:
        for job in self._at.values():
            if job:
                self._runs.hold(job, is_held=is_held)

    async def _stop(self, job: int) -> None:
        try:
            await self._runs.stop(job)
        except (VaultError, OSError):
            return  # the next look does it again

    # --- a job's life ----------------------------------------------------------------------------------------------

    async def _start(self, row: StepRow) -> None:
        """Write a job down, and launch it."""
        try:
            facts = await gather(self._store, row.recording)
            if facts is None:
                await self._store.skip_steps(row.recording, self._clock.now().realtime)
                return self._leave(row)
            if self._pruning.is_at(row.recording):
                return self._rest(row)
            job = await self._store.begin_step(row, {"step": row.step}, self._clock.now().realtime)
        except VaultError:
            return self._rest(row)
        if job is None:
            return self._leave(row)
        self._at[_key(row)] = job
        recorder = facts.recorder
        if self._pruning.is_at(row.recording):  # it has looked for jobs before there was this one
            return await self._end(row, recorder, job, StepReport(why="its media are being removed"), is_lost=True)
        try:
            await self._runs.launch(KINDS[row.step], job, facts, self._on_exit(row, recorder, job))
        except (VaultError, OSError) as error:
            await self._end(row, recorder, job, StepReport(why=str(error)), is_lost=True)
        except (ValueError, TypeError, OverflowError) as error:  # a row has what no program can be told
            await self._end(row, recorder, job, StepReport(why=f"a row is broken: {error}", for_good=True))
        else:
            self._runs.hold(job, is_held=bool(self._risks))

    async def _find(self, row: StepRow) -> None:
        """A step that runs by its row, and not by what this daemon knows: an earlier one has begun it."""
        try:
            recorder = await self._store.get(row.recording)
        except VaultError:
            return self._rest(row)
        if recorder is None or row.job is None:  # another hand has written it
            return self._rest(row)
        if self._runs.is_busy(row.job) or self._runs.adopt(row.job, self._on_exit(row, recorder, row.job)):
            return self._runs.hold(row.job, is_held=bool(self._risks))
        await self._conclude(row, recorder, row.job, None)

    def _on_exit(self, row: StepRow, recorder: Recorder, job: int) -> OnExit:
        def on_exit(told: Evidence, _at: Moment) -> None:
            self._tasks.create_task(self._conclude(row, recorder, job, told))

        return on_exit

    async def _conclude(self, row: StepRow, recorder: Recorder, job: int, told: Evidence | None) -> None:
        """The program is gone: its report says how it went. `told` is None if nobody saw it go."""
        report = await self._runs.read(job, recorder)
        if report is not None:
            return await self._end(row, recorder, job, report)
        why = "it was lost" if told is None else _how_it_ended(told)
        await self._end(row, recorder, job, StepReport(why=why), is_lost=told is None or job in self._stopped)

    async def _end(
        self, row: StepRow, recorder: Recorder, job: int, report: StepReport, *, is_lost: bool = False
    ) -> None:
        """Write down how a job ended; a store, a broker or a disk that is away is waited for."""
        await self._insist(row, recorder, lambda: self._runs.forget(job))
        is_kept = is_sent(row.step)  # it remembers what it has begun
        if report.why is None or report.for_good or (is_lost and not is_kept):
            await self._runs.discard_drafts(recorder, row.step)
        at = self._clock.now().realtime
        event: Done | Failed = Done(at=at, job=job)
        result: dict[str, object] = {"files": [made_file(file) for file in report.files], "notes": [*report.notes]}
        if report.why is not None:
            event = Failed(at=at, job=job, why=report.why, for_good=report.for_good, is_lost=is_lost)
            result = {"why": report.why}
        if report.uploads:
            result["uploads"] = msgspec.to_builtins(report.uploads)
        after: list[StepRow | None] = []

        async def write() -> None:
            after.append(await self._store.end_step(row, event, result))

        await self._insist(row, recorder, write)
        if after[-1] is not None and after[-1].status is StepStatus.FAILED:
            await self._runs.discard_drafts(recorder, row.step)
        self._runs.end(job)
        self._tell(recorder, after[-1], is_lost=is_lost)
        self._leave(row)

    def _leave(self, row: StepRow) -> None:
        """Nothing of it is under way any more."""
        self._stopped.discard(self._at.pop(_key(row), 0))
        self._wanted.set()

    def _rest(self, row: StepRow) -> None:
        """Something of it did not work: others come first, for a while."""
        self._resting.add(_key(row))
        self._leave(row)
        asyncio.get_running_loop().call_later(REST, self._wake, row)

    def _wake(self, row: StepRow) -> None:
        self._resting.discard(_key(row))
        self._wanted.set()

    def _tell(self, recorder: Recorder, after: StepRow | None, *, is_lost: bool) -> None:
        """People hear of a try that failed, the first and the last; who keeps books hears of a step that is done."""
        if after is None:
            return
        if after.status is StepStatus.FAILED:
            self._journal.tell(STEP_GIVEN_UP, recorder, step=after.step, recording=after.recording, why=after.why)
        elif after.status is StepStatus.DUE and after.tries == 1 and not is_lost:
            self._journal.tell(STEP_FAILED, recorder, step=after.step, recording=after.recording, why=after.why)
        for listener in self.listeners:
            listener(after.recording)

    async def _insist(self, row: StepRow, recorder: Recorder, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again until it is done."""

        def tell(why: VaultError | OSError) -> None:
            self._journal.tell(STEP_HELD_UP, recorder, step=row.step, recording=row.recording, why=why)

        await insist(work, tell, every=TROUBLE_CHECK)


def _key(row: StepRow) -> _Key:
    return row.recording, row.step


def _how_it_ended(told: Evidence) -> str:
    if told.was_oom:
        return OUT_OF_MEMORY
    if told.error:
        return told.error
    return "it left no report" if told.status is None else f"it left no report, and ended with status {told.status}"
