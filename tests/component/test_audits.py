# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits and repairs around a real manager and a real store; systemd, processes and files are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from streamvaultd.base.clock import SystemClock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.systemd1 import BusError
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Policy, Recorder, Segment, State
from streamvaultd.core.names import Job, Run
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.upkeep.violations import Kind
from streamvaultd.core.upkeep.world import Disk, LoadedUnit, Pipe, Process, ResultState
from streamvaultd.errors import AuditFailed, StoreUnavailable
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import AUDIT_FAILED, AUDIT_FOUND, AUDIT_REPAIRED
from streamvaultd.store.audit_rows import RecoverableStore
from streamvaultd.upkeep.audit import snapshots as looking
from streamvaultd.upkeep.audit.audits import Audits
from streamvaultd.upkeep.audit.folders import look_at_folders, look_at_results
from streamvaultd.upkeep.audit.media import Media
from streamvaultd.upkeep.audit.repairs import Repairs
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.audit.snapshots import Snapshots
from tests.fakes.managing import new_manager
from tests.fakes.parts import NoChats

FILES = SegmentFiles()
CLOCK = SystemClock()


@dataclass
class Machine:
    """What the survey shows; `before` is called when the units are asked for."""

    units_: tuple[LoadedUnit, ...] = ()
    pipes_: tuple[Pipe, ...] = ()
    before: Callable[[], Any] = lambda: None

    async def units(self) -> tuple[LoadedUnit, ...]:
        self.before()
        return self.units_

    async def pipes(self) -> tuple[tuple[Pipe, ...], int]:
        return self.pipes_, 0

    async def processes(self) -> tuple[Process, ...]:
        return ()

    async def disk(self, directories: Iterable[str]) -> Disk:
        return look_at_folders(directories)

    async def results(self, paths: Iterable[str]) -> dict[str, ResultState]:
        return look_at_results(paths)


@dataclass
class Scopes:
    """Runs and Joins in one: what is busy, and what was asked for."""

    machine: Machine
    busy: set[str] = field(default_factory=set)
    asked: list[tuple[str, object]] = field(default_factory=list)

    def is_busy(self, unit: str) -> bool:
        return unit in self.busy

    def is_stopping(self, unit: str) -> bool:
        return False

    def is_at(self, job: int) -> bool:
        return False

    async def forget(self, unit: str, pipe: str) -> None:
        self.asked.append(("forget", unit))
        self._remove(unit)

    async def reset(self, unit: str) -> None:
        self.asked.append(("reset", unit))
        self._remove(unit)

    def store_fd(self, name: str, fd: int) -> None:
        raise NotImplementedError

    def drop_pipe(self, name: str) -> None:
        self.asked.append(("remove_fd", name))
        self.machine.pipes_ = tuple(pipe for pipe in self.machine.pipes_ if pipe.name != name)

    async def verify(self, recorder: Recorder) -> None:
        self.asked.append(("verify", recorder.recording.id))

    def _remove(self, unit: str) -> None:
        self.machine.units_ = tuple(one for one in self.machine.units_ if one.name != unit)


class Journal:
    def __init__(self) -> None:
        self.told: list[Entry] = []

    def tell(self, entry: Entry, recorder: Recorder | None = None, **values: object) -> None:
        entry.text.format_map({"streamer": "x", **values})
        self.told.append(entry)


class Executor:
    """Saves, and remembers the rest."""

    def __init__(self, store: RecoverableStore) -> None:
        self.store = store
        self.performed: list[fx.Effect] = []

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Save):
                await self.store.save(effect.recorder, effect.changed)
            else:
                self.performed.append(effect)


NO_CHATS: Any = NoChats()


class House:
    """Everything that an audit is about."""

    def __init__(self, store: RecoverableStore, root: Path) -> None:
        self.store, self.root = store, root
        self.machine = Machine()
        self.scopes = Scopes(self.machine)
        self.journal = Journal()
        self.executor = Executor(store)
        self.manager = new_manager(self.executor, CLOCK)
        settings = Settings(directory=root)
        common: dict[str, Any] = {
            "manager": self.manager,
            "store": store,
            "runs": self.scopes,
            "clock": CLOCK,
            "journal": self.journal,
            "settings": LiveSettings(settings),
        }
        journal = common.pop("journal")
        snapshots = Snapshots(survey=self.machine, jobs=cast("Any", self.scopes), chats=NO_CHATS, **common)
        media = Media(lanes=Lanes(), files=FILES, salvage=Salvage())
        self.repairs = Repairs(media=media, journal=journal, joins=cast("Any", self.scopes), **common)
        self.audits = Audits(snapshots=snapshots, repairs=self.repairs, journal=journal, pause=self.pause)
        self.pauses = 0

    async def pause(self, seconds: float) -> None:
        self.pauses += 1

    async def record(self, streamer: str = "demo") -> Recorder:
        """A recording that writes, and everything of it is there."""
        recorder = await self.create(streamer)
        self.manager.take(recorder)
        run = recorder.run(1)
        self.machine.units_ += (LoadedUnit(name=run.unit, state="active", run=run),)
        self.scopes.busy.add(run.unit)
        return recorder

    async def create(self, streamer: str = "demo", state: State = State.RECORDING, **more: Any) -> Recorder:
        now = CLOCK.now()
        recorder = await self.store.create_recording(
            streamer=streamer, url="http://h/x.m3u8", quality="best", directory=str(self.root), duration=None,
            policy=Policy(), now=now,
        )  # fmt: skip
        writing = Segment(
            number=1, phase=Phase.WRITING, since=now, started=now, media_at=now, size=5, grown_at=now.monotonic,
            measure_at=now.monotonic + 60,
        )  # fmt: skip
        recorder = replace(recorder, state=state, segments=(writing,), **more)
        await self.store.save(recorder, recorder.segments)
        path = FILES.segment_path(recorder.recording, 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"media")
        return recorder

    async def kinds(self) -> list[Kind]:
        return [violation.kind for violation in (await self.audits.check()).violations]

    async def clean_up(self) -> list[tuple[Kind, bool]]:
        done = await self.audits.clean_up(dry_run=False)
        return [(outcome.violation.kind, outcome.is_done) for outcome in (*done.details, *done.errors)]


@asynccontextmanager
async def run_house(root: Path) -> AsyncIterator[House]:
    store = await RecoverableStore.open(
        root / "store.db", paths=lambda recording, number: str(FILES.segment_path(recording, number))
    )
    house = House(store, root / "recordings")
    house.root.mkdir()
    running = asyncio.create_task(house.manager.run())
    try:
        yield house
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as one:
        yield one


async def test_all_is_well(house: House) -> None:
    await house.record()
    assert await house.kinds() == []
    assert house.pauses == 0
    assert await house.clean_up() == []
    await house.audits.tell()
    assert house.journal.told == []


async def test_three_looks_have_to_see_it(house: House) -> None:
    await house.record()
    stranger = LoadedUnit(name="streamvault-9-001.scope", state="active", run=Run(9, 1))
    there = house.machine.units_
    looks = iter([(*there, stranger), (*there, stranger), there])
    house.machine.before = lambda: setattr(house.machine, "units_", next(looks))
    assert await house.kinds() == []
    assert house.pauses == 2


async def test_what_is_queued_is_dealt_with_before_the_comparison(house: House) -> None:
    """The scope is gone, and the event that says so has come, but was not dealt with: no violation."""
    recorder = await house.record()
    number = recorder.recording.id

    def die() -> None:
        house.machine.units_ = ()
        if house.manager.recorders[number].segments[0].phase is Phase.WRITING:
            house.manager.post(number, ev.SegmentExited(at=CLOCK.now(), attempt=1, evidence=Evidence(status=-9)))

    house.machine.before = die
    assert await house.kinds() == []
    assert house.manager.recorders[number].segments[0].phase is Phase.SEALING


async def test_a_lost_run_takes_the_way_of_a_death(house: House) -> None:
    number = (await house.record()).recording.id
    house.machine.units_ = ()
    assert await house.clean_up() == [(Kind.RUN_LOST, True)]
    after = house.manager.recorders[number]
    assert after.segments[0].phase is Phase.SEALING
    assert fx.Seal(1) in house.executor.performed
    assert fx.Launch(2) in house.executor.performed
    assert house.journal.told == [AUDIT_REPAIRED]


async def test_units_jobs_and_pipes_that_belong_to_nothing(house: House) -> None:
    await house.record()
    house.machine.units_ += (
        LoadedUnit(name="streamvault-9-001.scope", state="active", run=Run(9, 1)),
        LoadedUnit(name="streamvault-job-9.scope", state="active", job=Job(9)),
        LoadedUnit(name="streamvault-8-001.scope", state="failed", run=Run(8, 1)),
    )
    house.machine.pipes_ = (Pipe(name="exit-9-1", run=Run(9, 1)),)
    expected = [Kind.SCOPE_UNKNOWN, Kind.JOB_UNKNOWN, Kind.UNIT_FAILED, Kind.PIPE_LEFT]
    assert await house.kinds() == expected
    dry = await house.audits.clean_up(dry_run=True)
    assert [outcome.violation.kind for outcome in dry.details] == expected
    assert house.scopes.asked == []
    assert await house.clean_up() == [(kind, True) for kind in expected]
    assert house.scopes.asked == [
        ("forget", "streamvault-9-001.scope"),
        ("forget", "streamvault-job-9.scope"),
        ("reset", "streamvault-8-001.scope"),
        ("remove_fd", "exit-9-1"),
    ]


async def test_a_row_that_nobody_owns_is_taken_over(house: House) -> None:
    recorder = await house.create()
    assert await house.clean_up() == [(Kind.ROW_UNOWNED, True)]
    after = house.manager.recorders[recorder.recording.id]
    assert (after.segments[0].phase, after.segments[0].size) == (Phase.SEALING, 5)


async def test_a_row_that_says_recording_though_all_its_segments_are_over(house: House) -> None:
    """Nothing would ever happen to it: the next segment is due."""
    recorder = await house.create()
    [segment] = recorder.segments
    await house.store.save(recorder, (replace(segment, phase=Phase.ENDED, ended=segment.since),))
    assert await house.kinds() == [Kind.ROW_UNOWNED]
    assert await house.clean_up() == [(Kind.ROW_UNOWNED, True)]
    await house.manager.settle()
    assert house.manager.recorders[recorder.recording.id].state in (State.BACKOFF, State.STARTING)
    assert await house.kinds() == []


async def test_a_row_that_says_recording_though_it_is_joined(house: House) -> None:
    recorder = await house.create()
    [segment] = recorder.segments
    path = FILES.segment_path(recorder.recording, 1).parent.parent / "joined.ts"
    path.write_bytes(b"media")
    FILES.remove_segments(
        [FILES.segment_path(recorder.recording, 1)], FILES.segment_path(recorder.recording, 1).parent
    )
    changed = replace(recorder, path=str(path), result_bytes=5)
    await house.store.save(changed, (replace(segment, phase=Phase.REMOVED, ended=segment.since),))
    assert await house.clean_up() == [(Kind.ROW_UNOWNED, True)]
    after = await house.store.get(recorder.recording.id)
    assert after is not None
    assert (after.state, after.path) == (State.COMPLETED, str(path))
    assert await house.kinds() == []


async def test_a_result_that_is_forgotten_is_not_written_again_by_what_comes_next(house: House) -> None:
    """The recording was settled lately, so the daemon still has it as it was."""
    recorder = await house.create(state=State.COMPLETED)
    [segment] = recorder.segments
    file = FILES.segment_path(recorder.recording, 1)
    FILES.remove_segments([file], file.parent)
    over = replace(segment, phase=Phase.REMOVED, ended=segment.since)
    path = str(house.root / "demo" / "joined.ts")
    joined = replace(recorder, segments=(over,), path=path, result_bytes=5, kept=True, ended=segment.since)
    await house.store.save(joined, joined.segments)
    house.manager.take(joined)
    assert await house.clean_up() == [(Kind.RESULT_GONE, True)]
    await house.manager.submit(recorder.recording.id, ev.KeepRequested(at=CLOCK.now(), keep=False))
    after = await house.store.get(recorder.recording.id)
    assert after is not None
    assert (after.path, after.detail, after.kept) == (None, f"its file {path} was removed", False)


async def test_a_row_that_was_called_over_is_joined(house: House) -> None:
    recorder = await house.create(state=State.COMPLETED)
    assert await house.kinds() == [Kind.STATUS_WRONG]
    assert await house.clean_up() == [(Kind.STATUS_WRONG, True)]
    after = house.manager.recorders[recorder.recording.id]
    assert (after.state, after.size) == (State.FINALIZING, 5)
    assert fx.Join(1) in house.executor.performed
    assert await house.kinds() == []


async def test_files_of_a_lost_store_get_their_numbers(house: House) -> None:
    """1 to 3 are known to the new store, 1 to 5 are there: 4 and 5 keep their numbers, the others get new ones."""
    for number in range(3):
        await house.store.claim_stream(f"taker{number}", "http://h", number + 1, CLOCK.now())
    for stream in range(1, 6):
        path = house.root / "demo" / f"stream_{stream}_segments" / "segment_001.ts"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % stream * 10)
    assert await house.clean_up() == [(Kind.MEDIA_UNKNOWN, True)] * 5
    owned = house.manager.recorders.values()
    assert sorted(recorder.recording.stream for recorder in owned) == [4, 5, 6, 7, 8]
    for recorder in owned:
        assert FILES.segment_path(recorder.recording, 1).stat().st_size == recorder.size
    assert [effect for effect in house.executor.performed if isinstance(effect, fx.Join)] == [fx.Join(1)] * 5
    assert await house.kinds() == []


@pytest.mark.parametrize("stop", ["move", "insert_recovered"])
async def test_a_recovery_that_was_interrupted(house: House, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    """After the claim, or after the move: the next cleanup does the rest, and nothing is there twice."""
    await house.store.claim_stream("taker", "http://h", 1, CLOCK.now())
    path = house.root / "demo" / "stream_1_segments" / "segment_001.ts"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"media")

    def fail(*_: object) -> None:
        raise OSError(5, "the power goes off")

    with monkeypatch.context() as patched:
        patched.setattr(Salvage if stop == "move" else RecoverableStore, stop, fail)
        assert (Kind.MEDIA_UNKNOWN, False) in await house.clean_up()
    assert await house.clean_up() == [(Kind.MEDIA_UNKNOWN, True)]
    [recorder] = house.manager.recorders.values()
    assert FILES.segment_path(recorder.recording, 1).read_bytes() == b"media"
    assert len((await house.store.rows(10))[0]) == 1
    assert await house.kinds() == []


async def test_segments_go_only_when_the_join_agrees(house: House) -> None:
    ended = await house.create(state=State.FINALIZING)
    segment = replace(ended.segments[0], phase=Phase.ENDED)
    result = house.root / "demo" / "demo.ts"
    result.write_bytes(b"media")
    joined = replace(ended, state=State.COMPLETED, segments=(segment,), path=str(result), result_bytes=5, joins=1)
    await house.store.save(joined, joined.segments)
    assert await house.kinds() == [Kind.SEGMENTS_LEFT]
    number = joined.recording.id

    for said in ({"why": "they differ"}, {"path": str(result), "size": 4}, {"path": "/other.ts", "size": 5}):
        await house.clean_up()
        house.repairs.on_join_ended(number, ev.JoinEnded(at=CLOCK.now(), join=1, **said))
        assert number not in house.manager.recorders
    await house.clean_up()
    house.repairs.on_join_ended(number, ev.JoinEnded(at=CLOCK.now(), join=1, path=str(result), size=5))
    await house.manager.settle()
    assert house.executor.performed == [fx.RemoveSegments()]


async def test_segments_stay_if_one_of_them_is_gone(house: House) -> None:
    ended = await house.create(state=State.FINALIZING)
    segments = tuple(replace(ended.segments[0], phase=Phase.ENDED, number=number) for number in (1, 2))
    result = house.root / "demo" / "demo.ts"
    result.write_bytes(b"media")
    joined = replace(ended, state=State.COMPLETED, segments=segments, path=str(result), result_bytes=5, joins=1)
    await house.store.save(joined, segments)
    assert await house.clean_up() == [(Kind.SEGMENTS_LEFT, False)]
    assert house.scopes.asked == []


async def test_a_manager_that_is_stuck_is_told_of(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    number = (await house.record()).recording.id
    never = asyncio.Event()

    async def hang(recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        await never.wait()

    monkeypatch.setattr(house.executor, "perform", hang)
    monkeypatch.setattr(looking, "ANSWER_LIMIT", 0.05)
    house.manager.post(number, ev.StopRequested(at=CLOCK.now()))
    house.machine.units_ = ()
    assert await house.kinds() == [Kind.DEADLINE_MISSED]


@pytest.mark.parametrize("error", [BusError("x.NoReply", "no answer"), OSError(5, "Input/output error")])
async def test_what_cannot_be_looked_at(house: House, error: Exception) -> None:
    def fail() -> None:
        raise error

    house.machine.before = fail
    with pytest.raises(AuditFailed):
        await house.audits.check()
    await house.audits.tell()
    assert house.journal.told == [AUDIT_FAILED]


async def test_a_bus_that_starts_anew_is_asked_again(house: House) -> None:
    await house.record()
    answers = iter([False, True])

    def fail() -> None:
        if not next(answers):
            raise BusError("x.NoReply", "disconnected")

    house.machine.before = fail
    assert await house.kinds() == []


async def test_what_is_found_is_told(house: House) -> None:
    house.machine.units_ = tuple(
        LoadedUnit(name=f"streamvault-{number}-001.scope", state="active", run=Run(number, 1))
        for number in range(100, 130)
    )
    await house.audits.tell()
    assert house.journal.told == [AUDIT_FOUND] * 21


async def test_a_repair_that_fails_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.create()

    async def refuse(recording: int) -> None:
        raise StoreUnavailable(url="sqlite://", why="locked")

    monkeypatch.setattr(house.store, "get", refuse)
    assert await house.clean_up() == [(Kind.ROW_UNOWNED, False)]
    assert house.journal.told == [AUDIT_FOUND]
