# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention with a real store and real files: what goes, what stays, and that a crash anywhere is made good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from streamvaultd.core.model import Phase, Recorder, Segment, State, StopReason
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.events import JoinEnded
from streamvaultd.core.upkeep.retention import CLOCK_SETTLES, Result, RetentionRules
from streamvaultd.errors import NothingToKeep, StoreUnavailable
from streamvaultd.reporting.notices import CLOCK_STEPPED, RETENTION_FAILED
from streamvaultd.store.engine import sqlite_url
from streamvaultd.upkeep import retention as working
from streamvaultd.upkeep.retention import REPRIEVE, SWEEP_MAX
from tests.component.retention_world import DAY, ENDED, SIZE, World
from tests.component.socket_world import open_queryable
from tests.component.store_world import NOW, start


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    store = await open_queryable(tmp_path / "store.db")
    (tmp_path / "media").mkdir()
    yield World(store, tmp_path / "media")
    await store.close()


async def test_what_is_too_many_goes_and_the_rows_and_the_journal_say_why(world: World) -> None:
    for days in (4, 3, 2, 1):
        await world.over(days)
    await world.over(9, "bob")
    world.rules = {"alice": RetentionRules(keep_recordings=2), "bob": RetentionRules()}
    assert await world.sweep() == 2
    assert await world.kept() == [3, 4, 5]
    first = await world.store.get(1)
    assert first is not None
    assert (first.state, first.detail) == (
        State.COMPLETED, "its media were not to be kept any longer, keep_recordings: there are 3 newer ones",
    )  # fmt: skip
    assert [one.notice for one in world.announced] == [Notice.MEDIA_EXPIRED] * 2
    assert dict(world.announced[0].fields) == {
        "files": "2", "size": "100", "rule": "keep_recordings: there are 3 newer ones",
    }  # fmt: skip
    assert (await world.sweep(), world.told) == (0, [])


async def test_only_results_of_recordings_that_are_over_go(world: World) -> None:
    segment = Segment(number=1, phase=Phase.ENDED, since=NOW, ended=NOW, size=SIZE)
    failed = await world.over(50, state=State.FAILED, path=None, segments=[segment])
    untidy = await world.over(40, segments=[segment])
    busy = await world.over(30, state=State.STOPPED)
    await world.over(20)
    await world.over(0)
    running = await start(world.store, "alice")
    job = await world.store.create_job(busy.recording.id, "join", {"join": 2}, NOW)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    assert await world.sweep() == 1
    left = [one.recording.id for one in await world.store.list(all=True) if one.path is not None]
    assert sorted(left) == [untidy.recording.id, busy.recording.id, 5]
    assert {values["why"] for _, values in world.told} == {"its segments are not removed yet", "a job works on it"}
    for recorder in (failed, running):
        assert await world.store.get(recorder.recording.id) == recorder
    assert all(part.exists() for part in (*world.parts(failed), *world.parts(untidy)))
    await world.store.finish_job(job, ok=True, result={"path": str(world.parts(busy)[0])}, now=NOW)
    assert await world.sweep() == 1


@pytest.mark.parametrize("removed", [0, 1, 2, None])
async def test_a_crash_leaves_what_the_next_daemon_makes_good(world: World, removed: int | None) -> None:
    """After so many files; None: after all of them, while the row is written."""
    await world.over(2)
    await world.over(1)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    world.media.crash_after, world.crash_at_event = removed, removed is None
    assert await world.sweep() == -1
    found = await world.store.get(1)
    assert found is not None
    assert found.path is not None
    assert [part.exists() for part in world.parts(found)] == [i >= (2 if removed is None else removed) for i in (0, 1)]
    world.media.crash_after, world.crash_at_event = None, False
    world.begin()
    assert await world.sweep() == 1
    assert await world.kept() == [2]
    assert [one.notice for one in world.announced] == [Notice.MEDIA_EXPIRED]


async def test_a_disk_that_is_away_is_not_taken_for_an_empty_one(world: World) -> None:
    await world.over(2)
    await world.over(1)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    home = world.folder / "alice"
    home.rename(world.folder / "away")
    assert [await world.sweep(), await world.sweep()] == [0, 0]
    ((entry, values),) = world.told
    assert entry is RETENTION_FAILED
    assert "mounted" in values["why"]
    (world.folder / "away").rename(home)
    assert await world.sweep() == 1
    assert await world.kept() == [2]


async def test_what_cannot_be_removed_keeps_nothing_else_from_it(world: World, tmp_path: Path) -> None:
    for days in (3, 2, 1):
        await world.over(days)
    victim = tmp_path / "victim"
    victim.write_bytes(b"root")
    link = world.folder / "alice" / "1.ts"
    link.unlink()
    link.symlink_to(victim)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    assert await world.sweep() == 1
    assert [values["recording"] for _, values in world.told] == [1]
    assert victim.read_bytes() == b"root"


async def test_a_disk_that_hangs_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (3, 2, 1):
        await world.over(days)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    monkeypatch.setattr(working, "REMOVAL_LIMIT", 0.05)
    world.media.hangs = threading.Event()
    assert [await world.sweep(), await world.sweep()] == [0, 0]
    assert [values["recording"] for _, values in world.told] == [1]  # the second one is not even tried
    monkeypatch.undo()
    world.media.hangs.set()
    running = asyncio.create_task(world.manager.run())
    async with asyncio.timeout(60):
        await world.removed.wait()
    running.cancel()
    assert await world.kept() == [2, 3]
    assert await world.sweep() == 1
    assert await world.kept() == [3]


async def test_a_sweep_removes_a_few(world: World) -> None:
    for days in range(SWEEP_MAX + 5, 0, -1):
        await world.over(days)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    assert [await world.sweep(), await world.sweep(), await world.sweep()] == [SWEEP_MAX, 4, 0]
    assert await world.kept() == [SWEEP_MAX + 5]


async def test_nothing_goes_before_somebody_could_look(world: World) -> None:
    await world.over(2)
    await world.over(1)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    world.reprieve.begin()
    assert await world.sweep() == 0
    world.pass_by(REPRIEVE - 1)
    assert await world.sweep() == 0
    outlook = await world.retention.outlook()
    assert [one.recording for one in outlook.expired] == [1]
    world.pass_by(1)
    assert await world.sweep() == 1


async def test_nothing_goes_while_nobody_can_tell_the_rules(world: World) -> None:
    for name in ("alice", "bob"):
        for days in (2, 1):
            await world.over(days, name)
    world.rules = {"alice": None, "bob": RetentionRules(keep_recordings=1)}
    outlook = await world.retention.outlook()
    assert [one.recording for one in outlook.expired] == [3]
    assert outlook.notes == ("nothing is removed of alice while the settings or the file of a streamer have mistakes",)
    assert await world.sweep() == 1
    assert await world.kept() == [1, 2, 4]


async def test_ages_count_only_by_a_clock_that_runs_undisturbed(world: World) -> None:
    for days in (5, 1):
        await world.over(days)
    world.rules = {"alice": RetentionRules(keep_for=3 * DAY)}
    assert await world.sweep() == 0
    assert "keep_for does not count" in (await world.retention.outlook()).notes[0]
    world.pass_by(CLOCK_SETTLES / 2)
    assert await world.sweep() == 0
    world.pass_by(1, step=12 * 365 * DAY)  # suddenly it is 2038
    assert await world.sweep() == 0
    assert [entry for entry, _ in world.told] == [CLOCK_STEPPED]
    world.pass_by(1, step=-12 * 365 * DAY)
    assert await world.sweep() == 0
    world.pass_by(CLOCK_SETTLES)
    assert (await world.retention.outlook()).notes == ()
    assert await world.sweep() == 1
    assert await world.kept() == [2]


async def test_it_works_by_itself_when_a_recording_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "REPRIEVE", 0.0)
    monkeypatch.setattr(working, "PAUSE", 0.0)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    world.begin()
    await world.over(2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.manager.run()), group.create_task(world.retention.run())]
        await asyncio.sleep(0)
        over = await world.over(1)
        world.manager.take(over)
        world.retention.on_change(over)
        async with asyncio.timeout(60):
            await world.removed.wait()
        assert await world.kept() == [2]
        for task in tasks:
            task.cancel()


async def test_a_store_that_fails_is_asked_again_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "REPRIEVE", 0.0)
    monkeypatch.setattr(working, "PAUSE", 0.0)
    monkeypatch.setattr(working, "INTERVAL", 0.01)
    failures = iter([True, True])
    names = world.store.streamer_names

    async def fail() -> Sequence[str]:
        if next(failures, False):
            raise StoreUnavailable(url="sqlite:", why="disk I/O error")
        return await names()

    monkeypatch.setattr(world.store, "streamer_names", fail)
    await world.over(2)
    await world.over(1)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    world.begin()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.manager.run()), group.create_task(world.retention.run())]
        async with asyncio.timeout(60):
            await world.removed.wait()
        for task in tasks:
            task.cancel()
    assert await world.kept() == [2]


async def test_rows_that_nobody_can_read_are_left_out(world: World, tmp_path: Path) -> None:
    for days in (4, 3, 2, 1):
        await world.over(days)
    await world.over(9, "bob", result_bytes=None)
    engine = create_engine(sqlite_url(tmp_path / "store.db"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE recordings SET bytes = 'much' WHERE id = 1"))
        connection.execute(text("UPDATE recordings SET end_time = 'once' WHERE id = 2"))
        connection.execute(text("UPDATE recordings SET state = 'odd' WHERE id = 3"))
    engine.dispose()
    assert await world.store.streamer_names() == ["alice", "bob"]
    assert [one.recording for one in await world.store.results("alice")] == [3, 4]
    assert await world.store.results("bob") == [
        Result(recording=5, ended=world.clock.moment.realtime - round(9 * DAY * 1e6), size=0)
    ]
    world.rules = {"alice": RetentionRules(keep_recordings=1), "bob": RetentionRules(keep_recordings=1)}
    assert await world.sweep() == 0
    assert all((world.folder / "alice" / f"{number}.ts").exists() for number in (1, 2, 3, 4))


async def test_what_is_marked_stays_over_restarts_until_the_mark_goes(world: World) -> None:
    for days in (3, 2, 1):
        await world.over(days)
    world.rules = {"alice": RetentionRules(keep_recordings=1)}
    await mark(world, 1, keep=True)
    world.begin()
    assert [await world.sweep(), await world.kept()] == [1, [1, 3]]
    await mark(world, 1, keep=False)
    assert [await world.sweep(), await world.kept()] == [1, [3]]
    assert world.told == []


async def mark(world: World, recording: int, *, keep: bool) -> Recorder:
    found = await world.store.get(recording)
    assert found is not None
    running = asyncio.create_task(world.manager.run())
    try:
        return await world.pruning.keep(found, keep=keep)
    finally:
        running.cancel()


async def test_nobody_hears_that_a_mark_is_there_which_came_too_late(world: World) -> None:
    """The end of its join was queued before, and gives up what is too short."""
    found = await world.over(1, state=State.FINALIZING, path=None, stop=StopReason.OVER, segments=[ENDED])
    policy = replace(found.recording.policy, min_duration=60.0)
    world.manager.take(replace(found, recording=replace(found.recording, policy=policy)))
    path = str(world.parts(found)[0])
    joined = JoinEnded(at=world.clock.now(), join=found.joins, path=path, size=SIZE, duration=1.0)
    world.manager.post(found.recording.id, joined)
    with pytest.raises(NothingToKeep, match=r"its media are being removed \(not kept: 1\.0 s of media"):
        await mark(world, found.recording.id, keep=True)


@pytest.mark.parametrize(("keep", "words"), [(True, "is marked"), (False, "is no longer marked")])
async def test_nobody_hears_that_a_mark_is_there_which_the_store_does_not_have(
    world: World, keep: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: a restart would lose it."""

    async def save_later(*_: object) -> None:
        """As the executor does then."""

    await world.over(1, kept=not keep)
    with monkeypatch.context() as full:
        full.setattr(world, "perform", save_later)
        with pytest.raises(StoreUnavailable, match=f"sqlite://.*: recording 1 {words} to be kept, but this is not"):
            await mark(world, 1, keep=keep)
        with pytest.raises(StoreUnavailable):
            await mark(world, 1, keep=keep)
    known = world.manager.known(1)
    assert known is not None
    await world.store.save(known, ())
    assert (await mark(world, 1, keep=keep)).kept is keep


async def test_nobody_hears_that_media_are_kept_which_are_on_their_way_out(world: World) -> None:
    """The disk hangs while they are removed; and what was read before a mark is not removed after it."""
    old = [await world.over(days) for days in (3, 2)]
    world.media.hangs = threading.Event()
    removing = asyncio.create_task(world.pruning.prune(old[0]))
    await asyncio.sleep(0)  # it has begun
    with pytest.raises(NothingToKeep, match="are being removed"):
        await mark(world, 1, keep=True)
    assert (await mark(world, 2, keep=True)).kept
    world.media.hangs.set()
    running = asyncio.create_task(world.manager.run())
    assert (await removing).why is None
    assert (await world.pruning.prune(old[1])).why == "it is marked to be kept"
    running.cancel()
    assert await world.kept() == [2]
