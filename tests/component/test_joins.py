# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins that find no room wait for it, burn no try, and begin by themselves. A real store; the job is played."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Broadcast, Container, Moment, Phase, Policy, Recorder, Segment, State, Titled
from streamvaultd.core.recording.events import JoinEnded
from streamvaultd.errors import ScopeFailed, StoreUnavailable
from streamvaultd.jobs import joins as module
from streamvaultd.jobs.joins import Joins
from streamvaultd.jobs.launching import JoinRuns
from streamvaultd.jobs.naming import ResultNames
from streamvaultd.jobs.progress import JoinProgress
from streamvaultd.media.chapters import TEXT_MAX
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.reporting.notices import LEAD_LEFT_OUT
from streamvaultd.store.local import LocalStore
from tests.component.store_world import NOW, SetClock, later, move, open_store, start
from tests.fakes.parts import Begun

Report = dict[str, Any] | None
NO_ROOM: Report = {"ok": False, "error": "cannot join recording 1: 5 bytes free", "room": 100}
BROKEN: Report = {"ok": False, "error": "cannot join recording 1: it is torn"}
DEFAULTS = Policy()
DONE: Report = {"ok": True, "path": "/srv/joined.ts", "bytes": 188}


class FakeDisk:
    """Room, as the test gives it."""

    def __init__(self) -> None:
        self.why: dict[str, str] = {}
        self.asked: list[tuple[str, int]] = []

    async def missing(self, folder: Path, needed: int) -> str | None:
        self.asked.append((folder.name, needed))
        return self.why.get(folder.name)

    async def kept(self, _folder: Path) -> int:
        return 12345


class World:
    """A Joins, whose jobs end at once with the report that is next."""

    def __init__(self, store: LocalStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.disk = FakeDisk()
        self.clock = SetClock(NOW)
        self.reports: list[Report] = []
        self.evidence = Evidence()
        self.specs: list[dict[str, Any]] = []
        self.ended: asyncio.Queue[JoinEnded] = asyncio.Queue()
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.watched: list[str] = []
        self.broker_away = 0
        self.refusal: ScopeFailed | None = None
        self.tasks = Begun()
        self.joins = self.build()

    def build(self) -> Joins:
        """Another daemon's."""
        return Joins(
            inbox=cast("Any", self),
            tasks=self.tasks,
            clock=self.clock,
            store=self.store,
            disk=cast("Any", self.disk),
            journal=cast("Any", self),
            names=ResultNames(store=self.store, files=SegmentFiles(), lanes=Lanes(), templates=self),
            runs=JoinRuns(
                runs=cast("Any", self),
                files=SegmentFiles(),
                progress=JoinProgress(folder=self.folder / "jobs", watcher=cast("Any", self), listener=self),
                reports=self.folder / "jobs",
                argv=("join",),
            ),
        )

    # as templates

    def template_for(self, _recording: object) -> str:
        return "joined"

    # as a listener to progress

    def on_progress(self, _recording: int) -> None:
        return

    # as inbox

    def post(self, _number: int, event: JoinEnded) -> None:
        self.ended.put_nowait(event)

    # as runs

    async def launch(self, command: Any, _place: object, on_exit: Callable[[Evidence, Moment], None]) -> None:
        if self.refusal is not None:
            raise self.refusal
        spec = json.loads(os.pread(command.stdin_fd, 1 << 20, 0))
        self.specs.append(spec)
        report = self.reports.pop(0)
        if report is not None:
            await asyncio.to_thread(Path(spec["report"]).write_text, json.dumps(report))
        on_exit(self.evidence, NOW)

    def is_busy(self, _unit: str) -> bool:
        return False

    def adopt(self, _unit: str, _on_exit: object) -> bool:
        return False

    async def forget(self, unit: str, _pipe: str) -> None:
        if self.broker_away:
            self.broker_away -= 1
            raise ScopeFailed(unit=unit, why="the broker does not answer")

    # as watcher

    def watch(self, key: str, *_: object, **__: object) -> None:
        self.watched.append(key)

    def cancel(self, key: str) -> None:
        self.watched.remove(key)

    # as journal

    def tell(self, entry: object, _recorder: Recorder, *, recording: int, **fields: object) -> None:
        what = "{seconds} s, {size} bytes" if entry is LEAD_LEFT_OUT else "{why}"
        self.told.put_nowait(f"{recording}: {what.format(**fields)}")

    async def recorder(
        self,
        policy: Policy = DEFAULTS,
        broadcast: Broadcast | None = None,
        evidence: Evidence | None = None,
    ) -> Recorder:
        segment = Segment(
            number=1, phase=Phase.ENDED, since=NOW, media_at=NOW, ended=NOW, size=188, evidence=evidence
        )  # fmt: skip
        begun = await start(self.store, policy=policy, broadcast=broadcast)
        return await move(self.store, begun, State.FINALIZING, segment, joins=1)

    async def next_end(self) -> JoinEnded:
        async with asyncio.timeout(60):
            return await self.ended.get()

    async def unfinished(self) -> int:
        return len(await self.store.unfinished_jobs())


@pytest.fixture(name="world")
async def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "ROOM_CHECK", 0.001)
    monkeypatch.setattr(module, "TROUBLE_CHECK", 0.001)
    store = await open_store(tmp_path / "store.db")
    found = World(store, tmp_path)
    yield found
    for task in found.tasks:
        task.cancel()
    await asyncio.gather(*found.tasks, return_exceptions=True)
    await store.close()


async def test_a_join_is_told_what_to_leave(world: World) -> None:
    world.reports = [DONE]
    recorder = await world.recorder()
    await world.joins.join(recorder, 1)
    assert (await world.next_end()).path == "/srv/joined.ts"
    assert world.specs[0]["reserve"] == 12345
    assert world.specs[0]["times"] == [[NOW.realtime // 1000] * 2]


MP4 = Policy(container=Container.MP4)


@pytest.mark.parametrize(
    ("policy", "titles"),
    [
        (MP4, [[0, "first (chess)"], [later(60).realtime // 1000, "second"], [later(70).realtime // 1000, "demo"]]),
        (replace(MP4, chapters=False), None), (Policy(), None),
    ],
)  # fmt: skip
async def test_a_join_is_told_what_the_broadcast_was_called(
    world: World, policy: Policy, titles: list[Any] | None
) -> None:
    world.reports = [DONE]
    recorder = await world.recorder(policy, Broadcast(title="first", category="chess"), Evidence(dated=5_250_999))
    for seconds, title in ((60, "second"), (70, "")):
        await world.store.note_broadcast(recorder.recording.id, Broadcast(title=title), later(seconds))
    await world.joins.join(recorder, 1)
    await world.next_end()
    assert world.specs[0].get("titles") == titles
    assert world.specs[0]["dates"] == [5250]


async def test_titles_are_not_written_to_the_row_of_each_try(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, create = list[dict[str, Any]](), world.store.create_job

    async def created(recording: int, kind: str, spec: Any, now: Moment) -> int:
        rows.append(spec)
        return await create(recording, kind, spec, now)

    monkeypatch.setattr(world.store, "create_job", created)
    world.reports = [DONE]
    recorder = await world.recorder(MP4, Broadcast(title="first"))
    for number in range(60):
        await world.store.note_broadcast(recorder.recording.id, Broadcast(title=f"{number}" * 1000), later(number))
    await world.joins.join(recorder, 1)
    await world.next_end()
    assert [("titles" in row, row["dates"]) for row in rows] == [(False, [None])]
    titles = world.specs[0]["titles"]
    assert len(titles) == 61
    assert max(len(text) for _, text in titles) == TEXT_MAX


def test_a_join_is_told_titles_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TITLES_MAX", 30)
    recorder = cast("Any", SimpleNamespace(recording=SimpleNamespace(streamer="demo")))
    titles = [Titled(at * 1000, "x" * 10, "") for at in range(5)]
    assert module._titles(recorder, titles) == [(at, "x" * 10) for at in range(3)]


async def test_a_broadcast_that_keeps_its_title_has_no_chapters(world: World) -> None:
    world.reports = [DONE]
    await world.joins.join(await world.recorder(MP4, Broadcast(title="first")), 1)
    await world.next_end()
    assert (world.specs[0]["titles"], world.specs[0]["dates"]) == ([], [None])


async def test_how_far_a_join_is_is_watched_while_it_runs(world: World) -> None:
    world.reports = [DONE]
    await world.joins.join(await world.recorder(), 1)
    assert world.watched == ["streamvault-job-1.scope"]
    assert world.specs[0]["progress"] == str(world.folder / "jobs" / "job-1.progress")
    await world.next_end()
    assert world.watched == []
    assert list((world.folder / "jobs").iterdir()) == []


async def test_a_join_without_room_waits_and_begins_again_as_the_same_join(world: World) -> None:
    world.reports = [NO_ROOM, DONE]
    world.disk.why = {"demo": "/srv: 5M free, 100M are needed"}
    recorder = await world.recorder()
    await world.joins.join(recorder, 1)
    async with asyncio.timeout(60):
        assert await world.told.get() == f"{recorder.recording.id}: /srv: 5M free, 100M are needed"
    await world.joins.join(recorder, 1)  # the core asks again from time to time
    assert len(world.specs) == 1
    assert await world.unfinished() == 1
    world.disk.why = {}
    ended = await world.next_end()
    assert (ended.join, ended.why, ended.path) == (1, None, "/srv/joined.ts")
    assert ("demo", 100) in world.disk.asked
    assert world.told.empty()
    assert world.ended.empty()
    assert await world.unfinished() == 0


async def test_a_daemon_that_comes_later_waits_on(world: World) -> None:
    world.reports = [NO_ROOM, DONE]
    world.disk.why = {"demo": "full"}
    recorder = await world.recorder()
    await world.joins.join(recorder, 1)
    async with asyncio.timeout(60):
        await world.told.get()
    for task in world.tasks:
        task.cancel()
    world.joins = world.build()
    again = asyncio.create_task(world.joins.join(recorder, 1))
    async with asyncio.timeout(60):
        await world.told.get()
    assert len(world.specs) == 1
    world.disk.why = {}
    await again
    assert (await world.next_end()).why is None


async def test_a_disk_without_room_for_the_report_is_waited_for(world: World) -> None:
    world.reports = [None, DONE]
    world.disk.why = {"jobs": "full"}
    await world.joins.join(await world.recorder(), 1)
    async with asyncio.timeout(60):
        await world.told.get()
    world.disk.why = {}
    assert (await world.next_end()).why is None


@pytest.mark.parametrize("report", [BROKEN, None], ids=["broken", "no report"])
async def test_what_is_no_want_of_room_is_a_failed_try(world: World, report: Report) -> None:
    world.reports = [report]
    await world.joins.join(await world.recorder(), 1)
    ended = await world.next_end()
    assert ended.why is not None
    assert ended.why.startswith("it is torn" if report else "the job left no report")
    assert not ended.for_good
    assert await world.unfinished() == 0


@pytest.mark.parametrize("told", [Evidence(oom_kills=1), Evidence(unit_result="oom-kill")])
async def test_a_job_that_ran_out_of_memory_names_the_limit(world: World, told: Evidence) -> None:
    world.reports, world.evidence = [None], told
    await world.joins.join(await world.recorder(), 1)
    ended = await world.next_end()
    assert (ended.why, ended.for_good) == ("it ran out of memory, see job_memory_max", False)


async def test_what_no_later_try_can_change_is_told_as_such(world: World) -> None:
    world.reports = [{"ok": False, "error": "no segment holds any media", "forGood": True}]
    await world.joins.join(await world.recorder(), 1)
    ended = await world.next_end()
    assert (ended.why, ended.for_good) == ("no segment holds any media", True)


async def test_a_scope_that_cannot_be_had_is_a_failed_try(world: World) -> None:
    """The unit vanished, say: it is tried again, since nothing says that it will not work the next time."""
    world.refusal = ScopeFailed(unit="streamvault-job-1.scope", why="the unit vanished")
    await world.joins.join(await world.recorder(), 1)
    ended = await world.next_end()
    assert ended.why is not None
    assert ended.why.endswith("the unit vanished")
    assert (ended.for_good, await world.unfinished()) == (False, 0)


async def test_a_report_of_an_earlier_store_is_not_that_of_the_job(world: World) -> None:
    """Numbers begin anew, and the report says of somebody else's segments that they may go."""
    (world.folder / "jobs").mkdir()
    (world.folder / "jobs" / "job-1.json").write_text(json.dumps(DONE))
    world.reports = [None]
    await world.joins.join(await world.recorder(), 1)
    assert (await world.next_end()).why is not None


async def test_room_is_not_waited_for_for_ever(world: World) -> None:
    world.reports = [NO_ROOM]
    world.disk.why = {"demo": "full"}
    await world.joins.join(await world.recorder(), 1)
    async with asyncio.timeout(60):
        await world.told.get()
    world.clock.moment = later(module.ROOM_WAIT_MAX)
    assert (await world.next_end()).why == "5 bytes free"


@pytest.mark.parametrize(("lengths", "seconds"), [((1500, 500), 2.0), ((1500, None), None), ((), None)])
async def test_how_much_there_is_is_known_if_it_is_of_every_part(
    world: World, lengths: tuple[int | None, ...], seconds: float | None
) -> None:
    parts = [{"path": "/srv/joined.ts", "bytes": 5, "durationMs": length} for length in lengths]
    world.reports = [{"ok": True, "path": "/srv/joined.ts", "bytes": 188, "parts": parts}]
    await world.joins.join(await world.recorder(), 1)
    assert (await world.next_end()).duration == seconds


async def test_a_join_is_told_what_the_broadcast_before_ended_with(world: World) -> None:
    world.reports = [{"ok": True, "path": "/srv/joined.ts", "bytes": 188, "lead": {"bytes": 564, "ms": 1500.0}}]
    before = await move(world.store, await start(world.store), State.COMPLETED, path="/srv/before.ts", ended=NOW)
    await world.joins.join(await world.recorder(), 1)
    assert (await world.next_end()).why is None
    assert (world.specs[0]["previous"], world.specs[0]["before"]) == ("/srv/before.ts", before.recording.id)
    assert world.told.get_nowait() == "2: 1.5 s, 564 bytes"


async def test_a_broker_that_is_away_when_a_join_ends_is_waited_for(world: World) -> None:
    world.reports, world.broker_away = [DONE], 3
    await world.joins.join(await world.recorder(), 1)
    assert (await world.next_end()).path == "/srv/joined.ts"
    assert "the broker does not answer" in world.told.get_nowait()
    assert world.told.empty()
    assert len(world.specs) == 1


@pytest.mark.parametrize("call", ["unfinished_jobs", "create_job", "add_seams", "finish_job"])
async def test_a_store_that_takes_nothing_is_waited_for(
    world: World, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reports, recorder, tries = [DONE], await world.recorder(), [0]
    does = getattr(world.store, call)

    async def refuse_twice(*args: Any, **kwargs: Any) -> Any:
        tries[0] += 1
        if tries[0] <= 2:
            raise StoreUnavailable(url="sqlite:", why="database or disk is full")
        return await does(*args, **kwargs)

    monkeypatch.setattr(world.store, call, refuse_twice)
    await asyncio.gather(world.joins.join(recorder, 1), world.joins.join(recorder, 1))
    assert (await world.next_end()).path == "/srv/joined.ts"
    assert "database or disk is full" in world.told.get_nowait()
    assert len(world.specs) == 1
    assert await world.unfinished() == 0
