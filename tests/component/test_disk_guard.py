# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk guard: file systems of any size and mood, and which recordings it tells of them."""

from __future__ import annotations

import asyncio
import errno
import math
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.disk import Margin, Room, WritePace
from streamvaultd.errors import DirectoryUnusable, DiskFull
from streamvaultd.recording import disks
from streamvaultd.recording.disk_guard import DiskGuard
from streamvaultd.recording.disks import Disks
from streamvaultd.recording.files.output import SegmentFiles
from tests.fakes.parts import Posted

MIB = 1 << 20
NOW = Moment(monotonic=1000.0, realtime=1_795_424_400_000_000)
MARGIN = Margin(reserve=100.0, floor=10 * MIB)


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class FakeSpace:
    """File systems by the first part of a path; what they answer is set by the test."""

    def __init__(self) -> None:
        self.free: dict[str, int | OSError] = {}
        self.writable: dict[str, OSError] = {}
        self.tried: list[int] = []

    def measure(self, folders: Sequence[Path]) -> list[Room]:
        return [self._room(folder.parts[1]) for folder in folders]

    def _room(self, name: str) -> Room:
        free = self.free[name]
        if isinstance(free, OSError):
            raise free
        return Room(device=sorted(self.free).index(name), place=f"/{name}", free=free, inodes=None)

    def try_writing(self, folder: Path, size: int) -> None:
        self.tried.append(size)
        if folder.parts[1] in self.writable:
            raise self.writable[folder.parts[1]]


class Clock:
    def now(self) -> Moment:
        return NOW


class World:
    """A guard with everything around it."""

    def __init__(self) -> None:
        self.space = FakeSpace()
        self.recorders: dict[int, Recorder] = {}
        self.growing: dict[Run, WritePace] = {}
        self.inbox = Posted(lambda: self.news.set())
        self.told: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.news = asyncio.Event()
        """Something was posted or begun."""
        self.guard = DiskGuard(
            inbox=self.inbox,
            tasks=cast("Any", self),
            clock=Clock(),
            disks=Disks(lanes=Lanes(), files=SegmentFiles(mounts=Path("/dev/null")), space=self.space),
            journal=cast("Any", self),
            recorders=self.recorders,
            writeback=cast("Any", self),
            settings=LiveSettings(Settings(disk_reserve=MARGIN.reserve, disk_floor=MARGIN.floor, sync_interval=0.001)),
        )

    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))
        self.news.set()

    def tell(self, _entry: object, recorder: Recorder, *, segment: str, why: str) -> None:
        self.told.append(f"{recorder.recording.streamer} {segment}: {why}")

    def paces(self) -> dict[Run, WritePace]:
        return self.growing

    def add(
        self, number: int, directory: str, state: State = State.RECORDING, *, rate: int = 0, mean: int = 0
    ) -> Recorder:
        """A recording that writes at a rate now, and has written at another one for 100 s."""
        recording = Recording(
            id=number, stream=number, streamer=f"s{number}", url="https://host/x", quality="best",
            directory=directory, created=NOW, duration=None, policy=Policy(),
        )  # fmt: skip
        began = replace(NOW, monotonic=NOW.monotonic - 100)
        segment = Segment(number=1, phase=Phase.WRITING, since=began, media_at=began, size=100 * mean)
        self.recorders[number] = Recorder(recording=recording, state=state, since=NOW, segments=(segment,))
        if rate:
            self.growing[Run(number, 1)] = WritePace(steady=rate)
        return self.recorders[number]

    def become(self, number: int, state: State) -> Recorder:
        self.recorders[number] = replace(self.recorders[number], state=state)
        self.growing.pop(Run(number, 1), None)
        return self.recorders[number]

    async def look(self) -> list[tuple[int, str]]:
        """Whom the guard pauses in one round, and why."""
        self.news.clear()
        running = asyncio.create_task(self.guard.run())
        async with asyncio.timeout(60):
            await self.news.wait()
        running.cancel()
        await asyncio.gather(*self.tasks)
        return self.paused()

    def paused(self) -> list[tuple[int, str]]:
        found = [(number, event.why) for number, event in self.inbox.all if isinstance(event, ev.DiskLow)]
        self.inbox.all.clear()
        return sorted(set(found))

    async def check(self, number: int) -> str | None:
        """Why a paused recording cannot go on."""
        await self.guard.check(self.recorders[number])
        [(told, event)] = self.inbox.all
        self.inbox.all.clear()
        assert told == number
        assert isinstance(event, ev.DiskLow | ev.DiskFreed)
        return event.why if isinstance(event, ev.DiskLow) else None


@pytest.fixture(name="world")
async def _world() -> AsyncIterator[World]:
    found = World()
    yield found
    for task in found.tasks:
        task.cancel()


async def test_all_recordings_of_a_file_system_count_and_are_told(world: World) -> None:
    """Each alone would have time enough; on the other disk there is."""
    world.space.free = {"a": 210 * MIB, "b": 210 * MIB}
    world.add(1, "/a/x", rate=MIB)
    world.add(2, "/a/y", rate=MIB)
    world.add(3, "/b", rate=MIB)
    assert await world.look() == []
    world.add(4, "/a/x", State.BACKOFF, mean=MIB)
    why = "/a: 210M free, at 3.0M/s less than 100s remain"
    found = await world.look()
    assert [number for number, _ in found] == [1, 2, 4]
    assert why in {text for _, text in found}
    assert {world.guard.state_of(number) for number in (1, 2, 4)} == {"full"}
    assert world.guard.state_of(3) is None


@pytest.mark.parametrize("state", [State.STARTING, State.ROTATING, State.BACKOFF, State.RECORDING])
async def test_the_floor_holds_in_every_state_that_writes_or_will(world: World, state: State) -> None:
    world.space.free = {"a": 8 * MIB}
    world.add(1, "/a", state)
    assert await world.look() == [(1, "/a: 8.0M free, less than the floor of 10M")]


async def test_nobody_else_is_told(world: World) -> None:
    world.space.free = {"a": 0}
    world.add(1, "/a")
    for number, state in enumerate([State.PAUSED, State.GRACE, State.STOPPING, State.FINALIZING], 2):
        world.add(number, "/a", state)
    assert [number for number, _ in await world.look()] == [1]


async def test_a_streamers_folder_may_be_a_disk_of_its_own(world: World) -> None:
    world.space.free = {"a": 0}
    world.add(1, "/a")
    world.space.measure = lambda folders: [  # type: ignore[method-assign]
        Room(
            device=int("s2" in str(folder)), place=str(folder), free=1 << 40 if "s2" in str(folder) else 0, inodes=None
        )
        for folder in folders
    ]
    world.add(2, "/a")
    await world.guard._look("/a")
    assert [number for number, _ in world.paused()] == [1]


async def test_a_folder_that_nobody_may_enter_pauses_its_own_recording_and_no_other(world: World) -> None:
    world.space.free = {"a": 1 << 40}
    for number in (1, 2, 3):
        world.add(number, "/a")
    measure = world.space.measure

    def refuse(folders: Sequence[Path]) -> list[Room]:
        if any("s2" in str(folder) for folder in folders):
            raise error(errno.EACCES)
        return measure(folders)

    world.space.measure = refuse  # type: ignore[method-assign]
    await world.guard._look("/a")
    assert world.paused() == [(2, "/a: Permission denied")]


async def test_a_disk_that_cannot_be_asked_is_no_place_to_record_to(world: World) -> None:
    world.space.free = {"a": error(errno.EIO), "b": 1 << 40}
    world.add(1, "/a")
    world.add(2, "/b")
    assert await world.look() == [(1, "/a: Input/output error")]
    assert world.guard.state_of(1) is None


async def test_paused_recordings_go_on_when_there_is_room_for_all_of_them(world: World) -> None:
    world.space.free = {"a": 10 * MIB}
    for number in (1, 2):
        world.add(number, "/a", rate=MIB, mean=MIB)
    assert len(await world.look()) == 2
    for number in (1, 2):
        world.become(number, State.PAUSED)
    world.space.free = {"a": 400 * MIB}
    assert await world.check(1) == "/a: 400M free, 410M are needed to go on"
    world.space.free = {"a": 410 * MIB}
    assert await world.check(1) is None
    assert world.space.tried == [200 * MIB]
    assert world.guard.state_of(1) is None
    world.become(1, State.STARTING)
    assert await world.check(2) is None


async def test_one_that_was_fast_when_it_was_paused_needs_room_for_that(world: World) -> None:
    world.space.free = {"a": 10 * MIB}
    world.add(1, "/a", rate=4 * MIB, mean=MIB)
    assert len(await world.look()) == 1
    world.become(1, State.PAUSED)
    world.space.free = {"a": 300 * MIB}
    assert await world.check(1) == "/a: 300M free, 810M are needed to go on"
    world.become(1, State.STARTING)
    world.space.free = {"a": 1 << 40}
    await world.look()
    world.become(1, State.PAUSED)
    world.space.free = {"a": 210 * MIB}
    assert await world.check(1) is None  # what was is forgotten once it has gone on


@pytest.mark.parametrize(
    ("number", "state"),
    [(errno.EROFS, "read-only"), (errno.EDQUOT, "full"), (errno.ENOSPC, "full"), (errno.EIO, None)],
)
async def test_room_that_cannot_be_written_to_is_none(world: World, number: int, state: str | None) -> None:
    world.space.free = {"a": 1 << 40}
    world.space.writable = {"a": error(number)}
    world.add(1, "/a", State.PAUSED)
    assert await world.check(1) == f"/a: {os.strerror(number)}"
    assert world.guard.state_of(1) == state
    world.space.writable = {}
    assert await world.check(1) is None


async def test_a_launch_asks_by_the_same_rule_as_the_brake(world: World) -> None:
    world.space.free = {"a": 110 * MIB}
    recorder = world.add(1, "/a", State.STARTING, mean=MIB)
    assert await world.guard.trouble(recorder) is None
    world.space.free = {"a": 110 * MIB - 1}
    assert await world.guard.trouble(recorder) == "/a: 110M free, at 1.0M/s less than 100s remain"
    world.space.free = {"a": error(errno.ESTALE)}
    assert await world.guard.trouble(recorder) == "/a: Stale file handle"


async def test_media_that_cannot_be_put_on_disk_are_told_and_the_disk_is_tried(world: World) -> None:
    world.space.free = {"a": 1 << 40}
    for number in (1, 2):
        world.add(number, "/a")
    await world.look()
    world.guard.on_sync_failed(Run(1, 1), error(errno.EIO))
    await world.tasks[-1]
    assert world.told == ["s1 001: Input/output error"]
    assert world.paused() == []  # it can be written to: what is lost is lost, and the recordings go on
    world.space.writable = {"a": error(errno.EROFS)}
    world.guard.on_sync_failed(Run(1, 1), error(errno.EROFS))
    await world.tasks[-1]
    assert world.paused() == [(1, "/a: Read-only file system"), (2, "/a: Read-only file system")]
    assert world.guard.state_of(2) == "read-only"
    world.guard.on_sync_failed(Run(9, 1), error(errno.EIO))
    assert len(world.told) == 2


async def test_a_disk_that_does_not_answer_pauses_its_own_and_holds_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "ANSWER_LIMIT", 0.05)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def measure(folders: Sequence[Path]) -> list[Room]:
        if folders[0].parts[1] == "stuck":
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return FakeSpace.measure(world.space, folders)

    world.space.measure = measure  # type: ignore[method-assign]
    world.space.free = {"b": 0, "stuck": 1 << 40}
    world.add(1, "/stuck")
    world.add(2, "/b")
    running = asyncio.create_task(world.guard.run())
    async with asyncio.timeout(60):
        while {number for number, _ in world.inbox.all} != {1, 2}:
            world.news.clear()
            await world.news.wait()
    running.cancel()
    await asyncio.gather(*world.tasks)  # each has an end, whatever the disk does
    assert (1, "/stuck: the disk has not answered for 0.05 s") in world.paused()
    world.become(1, State.PAUSED)
    assert await world.check(1) == "/stuck: the disk has not answered for 0.05 s"
    gate.set()


async def test_a_recording_that_there_is_no_room_for_is_refused(world: World, tmp_path: Path) -> None:
    name = tmp_path.parts[1]
    world.space.free = {name: 10 * MIB}
    with pytest.raises(DiskFull) as caught:
        await world.guard.admit(tmp_path / "new", "demo")
    assert caught.value.fields == {
        "directory": str(tmp_path / "new"), "why": f"/{name}: 10M free, 20M are needed to go on",
    }  # fmt: skip
    assert not (tmp_path / "new").exists()
    world.space.free = {name: 20 * MIB}
    await world.guard.admit(tmp_path / "new", "demo")
    assert (tmp_path / "new" / "demo").is_dir()
    with pytest.raises(DirectoryUnusable):
        await world.guard.admit(tmp_path / "not" / "there", "demo")


async def test_a_join_leaves_the_recordings_what_they_need(world: World) -> None:
    world.space.free = {"a": 310 * MIB}
    world.add(1, "/a", rate=MIB)
    await world.look()
    assert await world.guard.missing(Path("/a/s2"), 100 * MIB) is None
    assert world.space.tried == [100 * MIB]
    assert await world.guard.missing(Path("/a/s2"), 101 * MIB) == "/a: 310M free, 311M are needed"
    world.space.writable = {"a": error(errno.EROFS)}
    assert await world.guard.missing(Path("/a/s2"), 0) == "/a/s2: Read-only file system"


async def test_what_is_over_is_forgotten(world: World) -> None:
    world.space.free = {"a": 0}
    world.add(1, "/a")
    world.add(2, "/a")
    await world.look()
    assert world.guard.state_of(1) == "full"
    del world.recorders[1]
    await world.look()
    assert world.guard.state_of(1) is None
    assert world.guard.state_of(2) == "full"


async def test_the_outlook_is_of_disks_that_are_recorded_to(world: World) -> None:
    world.space.free = {"a": 510 * MIB, "b": 20 * MIB}
    world.add(1, "/a", rate=2 * MIB)
    world.add(2, "/a", rate=3 * MIB)
    world.add(3, "/b")
    assert world.guard.outlook() == []
    for directory in ("/a", "/b"):
        await world.guard._look(directory)
    assert world.guard.outlook() == [("/a", 510 * MIB, 100.0), ("/b", 20 * MIB, math.inf)]
    del world.recorders[3]
    assert [place for place, _, _ in world.guard.outlook()] == ["/a"]
