# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps after the join, with a real store: a daemon that dies between any two calls, and one that is held up.

The machine (scopes, reports, what programs make) outlives each daemon, as it does in truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from streamvaultd.core.after import graph
from streamvaultd.core.after import machine as table
from streamvaultd.core.after.graph import KINDS, StepKind
from streamvaultd.core.after.machine import StepStatus
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Segment, State
from streamvaultd.errors import ScopeFailed, StoreUnavailable
from streamvaultd.jobs.after import stepper as module
from streamvaultd.jobs.after.facts import uploads_of
from streamvaultd.jobs.after.step_program import MadeFile, Uploaded
from streamvaultd.jobs.after.step_runs import StepReport
from streamvaultd.jobs.after.stepper import Steps
from streamvaultd.reporting.notices import STEP_FAILED, STEP_GIVEN_UP, STEP_HELD_UP
from streamvaultd.store.stepped import SteppedStore
from tests.component.store_world import NOW, SetClock, move, open_store, start
from tests.fakes.parts import Begun, Noted

OnExit = Callable[[Evidence, Moment], None]
LIMIT = 60.0
ORDER = ("picture", "copy", "last")


class Crash(BaseException):
    """The daemon is gone."""


class Machine:
    """What there is besides the daemon. A program does its work when it is let run; `fail` says what it reports."""

    def __init__(self) -> None:
        self.programs: dict[int, str] = {}  # that run, by job
        self.reports: dict[int, StepReport] = {}
        self.made: list[str] = []
        self.begun: list[str] = []
        self.drafts: set[str] = set()
        self.fail: dict[str, list[StepReport | None]] = {}
        self.broker_away = 0
        self.cannot_be_told = False
        self.hangs = False

    def run(self, job: int) -> None:
        """The program comes to its end."""
        step = self.programs.pop(job)
        self.drafts.add(step)
        told = self.fail.get(step)
        report = told.pop(0) if told else StepReport(files=(MadeFile(Path(f"/srv/demo/{step}"), 1, "ab"),))
        if report is not None:
            self.reports[job] = report
            if report.why is None and step not in self.made:
                self.made.append(step)


class Daemon:
    """One daemon's Steps and what it stands on; `calls_left` is after how many of its calls it dies."""

    def __init__(self, store: SteppedStore, machine: Machine, clock: SetClock, calls_left: int | None) -> None:
        self.store, self.machine, self.clock, self.calls_left = store, machine, clock, calls_left
        self.is_dead = asyncio.Event()
        self.tasks = Begun()
        self.works: list[Any] = []
        self.journal = Noted()
        self.watched: dict[int, OnExit] = {}
        self.held: list[tuple[int, bool]] = []
        self.removing: set[int] = set()
        self.changed = asyncio.Event()
        self.steps = Steps(
            store=cast("Any", self), runs=cast("Any", self), pruning=cast("Any", Pruning(self)), journal=self.journal,
            clock=clock, tasks=cast("Any", self),
        )  # fmt: skip

    def create_task(self, work: Any) -> None:
        self.works.append(work)
        self.tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Crash:
            self.is_dead.set()

    def call(self) -> None:
        """One call of the outside; the one at which the daemon dies does nothing any more."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.is_dead.set()
                raise Crash

    async def die(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for work in self.works:  # one of them may not have begun
            work.close()

    # as the store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.call()
            found = await method(*args, **kwargs)
            if name in ("begin_step", "end_step"):
                self.call()  # written, and nobody has heard of it
            return found

        return call

    # as the runs of programs

    def is_busy(self, job: int) -> bool:
        return job in self.watched

    async def launch(self, kind: StepKind, job: int, _facts: object, on_exit: OnExit) -> None:
        self.call()
        if self.machine.broker_away:
            self.machine.broker_away -= 1
            raise ScopeFailed(unit="x", why="the broker does not answer")
        if self.machine.cannot_be_told:
            "\ud800".encode()
        self.machine.programs[job] = kind.name
        self.machine.begun.append(kind.name)
        self.call()
        self._watch(job, on_exit)

    def adopt(self, job: int, on_exit: OnExit) -> bool:
        self.call()
        if job not in self.machine.programs:
            return False
        self._watch(job, on_exit)
        return True

    def _watch(self, job: int, on_exit: OnExit) -> None:
        self.watched[job] = on_exit
        self.changed.set()
        if not self.machine.hangs:
            asyncio.get_running_loop().call_soon(self.exit, job)

    def exit(self, job: int) -> None:
        """A program ends, and the daemon hears of it, if it is there."""
        if job in self.machine.programs:
            self.machine.run(job)
        on_exit = self.watched.pop(job, None)
        if on_exit is not None and not self.is_dead.is_set():
            on_exit(Evidence(status=1), NOW)

    def hold(self, job: int, *, is_held: bool) -> None:
        self.held.append((job, is_held))
        self.changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until the daemon has done so."""
        async with asyncio.timeout(LIMIT):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()

    async def stop(self, job: int) -> None:
        self.call()
        self.machine.programs.pop(job, None)
        self.exit(job)

    async def forget(self, job: int) -> None:
        self.call()
        if self.machine.broker_away:
            self.machine.broker_away -= 1
            raise ScopeFailed(unit="x", why="the broker does not answer")
        self.machine.programs.pop(job, None)

    async def read(self, job: int, _recorder: Recorder) -> StepReport | None:
        self.call()
        return self.machine.reports.get(job)

    async def discard_drafts(self, _recorder: Recorder, step: str) -> None:
        self.call()
        self.machine.drafts.discard(step)

    def end(self, job: int) -> None:
        self.call()
        self.machine.reports.pop(job, None)


class Pruning:
    """Who removes media."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def is_at(self, recording: int) -> bool:
        return recording in self._daemon.removing


class World:
    """A store, a machine, and the daemons that come one after the other."""

    def __init__(self, store: SteppedStore) -> None:
        self.store, self.machine, self.clock = store, Machine(), SetClock(NOW)
        self.daemons: list[Daemon] = []

    def begin(self, calls_left: int | None = None) -> Daemon:
        daemon = Daemon(self.store, self.machine, self.clock, calls_left)
        self.daemons.append(daemon)
        daemon.create_task(daemon.steps.run())
        return daemon

    async def joined(self, streamer: str = "demo", **more: Any) -> Recorder:
        """A recording that has just been joined."""
        segment = Segment(number=1, phase=Phase.ENDED, since=NOW, media_at=NOW, ended=NOW, size=188)
        recorder = await start(self.store, streamer)
        return await move(
            self.store, recorder, State.COMPLETED, segment, path=f"/srv/{streamer}/a.ts", ended=NOW, **more
        )

    async def until(self, is_so: Callable[[dict[str, StepStatus]], bool], recording: int = 1) -> dict[str, StepStatus]:
        """Wait until the steps of a recording are as they should be."""
        async with asyncio.timeout(LIMIT):
            while True:
                found = {row.step: row.status for row in await self.store.steps(recording)}
                if is_so(found):
                    return found
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self.store.written.wait()
                self.store.written.clear()

    async def jobs(self, kind: str) -> list[str]:
        rows = [await self.store.job(number) for number in range(1, 200)]
        return [row.status.value for row in rows if row is not None and row.kind == kind]


def kind(name: str, *after: str, is_required: bool = False) -> StepKind:
    return StepKind(name=name, wanted=lambda _: True, program=name, after=after, is_required=is_required, tries=2)


def is_over(found: dict[str, StepStatus]) -> bool:
    return bool(found) and all(status.is_over for status in found.values())


@pytest.fixture(name="world")
async def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "TROUBLE_CHECK", 0.001)
    monkeypatch.setattr(module, "REST", 0.001)
    monkeypatch.setattr(table, "PAUSES", (0,))
    rows = (kind("picture"), kind("copy", "picture", is_required=True), kind("last", "copy"))
    monkeypatch.setattr(graph, "GRAPH", rows)
    for row in rows:
        monkeypatch.setitem(KINDS, row.name, row)
    store = await open_store(tmp_path / "store.db")
    world = World(store)
    yield world
    for daemon in world.daemons:
        await daemon.die()
    await store.close()


async def test_steps_follow_one_another_and_each_is_done_once(world: World) -> None:
    recorder = await world.joined()
    world.begin()
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)
    assert world.machine.begun == [*ORDER]
    assert world.machine.drafts == set()
    made = await world.store.steps_made(recorder.recording.id)
    assert [(step, file["path"]) for step, told in made for file in told["files"]] == [
        (step, f"/srv/demo/{step}") for step in ORDER
    ]
    told = [event.kind for event in await world.store.events(recorder.recording.id)]
    assert told == ["step-done"] * 3


async def test_a_recording_without_steps_has_no_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "GRAPH", ())
    recorder = await world.joined()
    assert await world.store.steps(recorder.recording.id) == []
    assert await world.store.unfinished_steps() == []


@pytest.mark.timeout(300)
async def test_a_daemon_that_dies_at_any_call_leaves_all_to_be_done_once(world: World) -> None:
    """Every call is the last one of some daemon: from the first look to the last report."""
    deaths = 0
    for dies_at in range(400):
        world.machine.made.clear()
        recorder = await world.joined(f"demo{dies_at}")
        recording = recorder.recording.id
        first = world.begin(dies_at)
        done = asyncio.create_task(world.until(is_over, recording))
        died = asyncio.create_task(first.is_dead.wait())
        await asyncio.wait([done, died], return_when=asyncio.FIRST_COMPLETED)
        await first.die()
        died.cancel()
        if not first.is_dead.is_set():
            break
        deaths += 1
        second = world.begin()
        found = await done
        await second.die()
        assert found == dict.fromkeys(ORDER, StepStatus.DONE), dies_at
        assert world.machine.made == [*ORDER], dies_at
        assert world.machine.drafts == set(), dies_at
        told = [event.kind for event in await world.store.events(recording)]
        assert told == ["step-done"] * 3, dies_at
        assert await world.store.unfinished_jobs() == [], dies_at
    assert deaths > 20


async def test_what_no_program_can_be_told_is_a_step_that_failed(world: World) -> None:
    """A required one goes on for ever; this is an optional one, and nobody's death."""
    world.machine.cannot_be_told = True
    recorder = await world.joined()
    daemon = world.begin()
    await world.until(is_over)
    assert daemon.journal.told[0][0] is STEP_GIVEN_UP
    assert "surrogates not allowed" in daemon.journal.whys[0]
    assert world.machine.begun == []
    assert await world.store.unfinished_jobs() == []
    assert recorder.path is not None


async def test_an_optional_step_that_fails_is_told_and_the_rest_goes_on(world: World) -> None:
    world.machine.fail["picture"] = [StepReport(why="no key frame"), None]
    await world.joined()
    daemon = world.begin()
    found = await world.until(is_over)
    assert found == {"picture": StepStatus.FAILED, "copy": StepStatus.DONE, "last": StepStatus.DONE}
    assert [entry for entry, _ in daemon.journal.told] == [STEP_FAILED, STEP_GIVEN_UP]
    assert daemon.journal.whys == ["no key frame", "it left no report, and ended with status 1"]
    assert await world.jobs("picture") == ["failed", "failed"]
    assert world.machine.drafts == set()


async def test_a_required_step_goes_on_until_it_is_done_and_holds_back_retention(world: World) -> None:
    world.machine.hangs = True
    await world.joined()
    daemon = world.begin()
    await world.until(lambda found: found.get("picture") is StepStatus.RUNNING)
    world.machine.fail["copy"] = [StepReport(why="refused")] * 5
    world.machine.hangs = False
    for job in list(daemon.watched):
        daemon.exit(job)
    assert (await world.until(is_over))["copy"] is StepStatus.DONE
    assert await world.jobs("copy") == ["failed"] * 5 + ["done"]


async def test_a_broker_that_is_away_burns_no_try(world: World) -> None:
    world.machine.broker_away = 12
    await world.joined()
    daemon = world.begin()
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)
    assert [row.tries for row in await world.store.steps(1)] == [0, 0, 0]
    assert STEP_HELD_UP in [entry for entry, _ in daemon.journal.told]


async def test_a_store_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.joined()
    real, refusals = world.store.end_step, [3]

    async def end_step(*args: Any) -> Any:
        if refusals[0]:
            refusals[0] -= 1
            raise StoreUnavailable(url="x", why="the disk is full")
        return await real(*args)

    monkeypatch.setattr(world.store, "end_step", end_step)
    world.begin()
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)
    assert world.machine.begun == [*ORDER]


async def test_a_step_that_takes_for_ever_holds_up_no_other_kind_and_its_own_for_others_only(world: World) -> None:
    world.machine.hangs = True
    await world.joined("one")
    await world.joined("two")
    daemon = world.begin()
    await world.until(lambda found: found.get("picture") is StepStatus.RUNNING)
    assert (await world.until(lambda found: bool(found), 2))["picture"] is StepStatus.DUE
    world.machine.hangs = False
    for job in list(daemon.watched):
        daemon.exit(job)
    await world.until(is_over)
    await world.until(is_over, 2)


async def test_nothing_begins_while_a_recording_is_at_risk_and_what_runs_is_held(world: World) -> None:
    world.machine.hangs = True
    await world.joined("one")
    daemon = world.begin()
    await world.until(lambda found: found.get("picture") is StepStatus.RUNNING)
    await daemon.until(lambda: bool(daemon.watched))
    [job] = daemon.watched
    other = await start(world.store, "other")
    daemon.steps.on_recorder(await move(world.store, other, State.PAUSED))
    await daemon.until(lambda: (job, True) in daemon.held)
    await world.joined("two")
    world.clock.moment = Moment(NOW.monotonic + 3600, NOW.realtime)  # held for long: it keeps what the other one needs
    daemon.steps.on_recorder(await move(world.store, other, State.RECORDING))
    await daemon.until(lambda: (job, False) in daemon.held)
    world.machine.hangs = False
    daemon.exit(job)
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)


async def test_what_is_held_for_long_is_stopped_and_begun_anew(world: World) -> None:
    world.machine.hangs = True
    await world.joined("one")
    daemon = world.begin()
    await daemon.until(lambda: bool(daemon.watched))
    other = await start(world.store, "other")
    daemon.steps.on_recorder(await move(world.store, other, State.PAUSED))
    await daemon.until(lambda: any(is_held for _, is_held in daemon.held))
    world.clock.moment = Moment(NOW.monotonic + 3600, NOW.realtime)
    await world.joined("two")
    daemon.steps.on_recorder(await world.joined("three"))  # something has happened: it looks again
    await world.until(lambda found: found["picture"] is StepStatus.DUE)
    assert world.machine.begun == ["picture"]
    world.machine.hangs = False
    daemon.steps.on_recorder(await move(world.store, other, State.RECORDING))
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)
    assert [row.tries for row in await world.store.steps(1)] == [0, 0, 0]


async def test_media_that_are_given_up_need_no_steps(world: World) -> None:
    recorder = await world.joined()
    await move(world.store, recorder, State.COMPLETED, path=None, ended=NOW)
    assert {row.status for row in await world.store.steps(1)} == {StepStatus.SKIPPED}
    other = await world.joined("other")
    world.begin()
    await world.until(is_over, other.recording.id)
    assert world.machine.begun == [*ORDER]


async def test_a_step_waits_for_whoever_removes_the_media(world: World) -> None:
    await world.joined()
    daemon = world.begin()
    daemon.removing.add(1)  # before its first look
    await world.until(lambda found: found.get("picture") is StepStatus.DUE)
    daemon.removing.clear()
    assert await world.until(is_over) == dict.fromkeys(ORDER, StepStatus.DONE)


async def test_the_policy_of_a_recording_decides() -> None:
    assert not any(row.wanted(Policy()) for row in graph.GRAPH)


UPLOADED = Uploaded(remote="nas:rec", path="demo/a.ts", bytes=1, sha256="0" * 64, at=5)


async def test_what_a_failed_try_has_uploaded_is_in_the_rows_whenever_the_daemon_dies(world: World) -> None:
    """One remote has it, another one is away: the next try's word takes the place of it."""
    for dies_at in range(400):
        world.machine.fail = {"copy": [StepReport(why="b2: away", uploads=(UPLOADED,))]}
        recorder = await world.joined(f"demo{dies_at}")
        daemon = world.begin(dies_at)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await daemon.is_dead.wait()
        has_died = daemon.is_dead.is_set()
        await daemon.die()
        found = [row for row in await world.store.steps(recorder.recording.id) if row.step == "copy"]
        told = dict(await world.store.steps_made(recorder.recording.id)).get("copy", {})
        has_failed_once = found[0].tries == 1 and found[0].status is not StepStatus.DONE
        assert (uploads_of([("copy", told)]) == (UPLOADED,)) is has_failed_once
        last = world.begin()
        assert await world.until(is_over, recorder.recording.id) == dict.fromkeys(ORDER, StepStatus.DONE)
        await last.die()
        if not has_died:
            return
    raise AssertionError("it never ran to its end")
