# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a join is, from the lines that its job writes to the bar that people see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamvaultd.base.growth import MediaWatch
from streamvaultd.core.model import Moment
from streamvaultd.jobs.join.passes import Progress as Writer
from streamvaultd.jobs.progress import Headway, JoinProgress

RECORDING, JOB = 348, 12


class Stopwatch:
    """Shows the time of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> Moment:
        return Moment(self._world.now, 0)


class World:
    """A job that writes, and a daemon that hears of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 100.0
        self.changes: asyncio.Queue[int] = asyncio.Queue()
        self.watch: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())
        self.progress = self.daemon()
        self.write = Writer(folder / f"job-{JOB}.progress", Stopwatch(self))

    def daemon(self) -> JoinProgress:
        """Another one."""
        return JoinProgress(folder=self.folder, watcher=self.watch, listener=self)

    def on_progress(self, recording: int) -> None:
        self.changes.put_nowait(recording)

    async def heard(self) -> Headway | None:
        """What is known after the next change."""
        async with asyncio.timeout(60):
            return self.progress.of(await self.changes.get())


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path)
    yield found
    found.watch.close()


async def test_each_percent_is_heard_with_the_time_that_is_left(world: World) -> None:
    world.progress.begin(RECORDING, JOB)
    assert world.progress.of(RECORDING) is None
    world.write(200, 1000)
    assert await world.heard() == Headway(200, 1000, None)
    world.now += 4.0
    world.write(400, 1000)
    assert await world.heard() == Headway(400, 1000, 12.0)
    world.write(401, 1000)  # no percent more: nothing is written
    world.now += 4.0
    world.write(1000, 1000)
    assert await world.heard() == Headway(1000, 1000, 0.0)
    world.progress.end(RECORDING, JOB)
    assert world.progress.of(RECORDING) is None
    assert list(world.folder.iterdir()) == []


async def test_a_later_daemon_takes_up_what_was_written_while_there_was_none(world: World) -> None:
    world.progress.begin(RECORDING, JOB)
    world.watch.cancel(f"streamvault-job-{JOB}.scope")
    world.write(100, 1000)
    world.now += 1.0
    world.write(300, 1000)
    world.progress = world.daemon()
    world.progress.resume(RECORDING, JOB)
    assert await world.heard() == Headway(300, 1000, 3.5)
    world.now += 1.0
    world.write(500, 1000)
    assert await world.heard() == Headway(500, 1000, 2.5)


async def test_the_time_that_is_left_goes_by_the_speed_of_the_last_seconds(world: World) -> None:
    """What was fast at first (an append) says nothing of what follows."""
    world.progress.begin(RECORDING, JOB)
    latest = None
    for seconds, done in ((0.0, 0), (1.0, 500), (10.0, 600), (10.0, 700)):
        world.now += seconds
        world.write(done, 1000)
        latest = await world.heard()
    assert latest == Headway(700, 1000, 30.0)


@pytest.mark.parametrize("text", [b"no line\n", b"\n", b"[]\n", b'{"done": "x"}\n', b"\xff\xfe\n", b'{"done": 1}\n'])
async def test_what_is_no_line_of_a_job_is_no_progress(world: World, text: bytes) -> None:
    world.progress.begin(RECORDING, JOB)
    world.progress.path(JOB).write_bytes(text)
    asyncio.get_running_loop().call_soon(world.write, 100, 1000)
    assert await world.heard() == Headway(100, 1000, None)
    assert world.changes.empty()


async def test_a_job_whose_file_is_gone_goes_on(world: World) -> None:
    world.write(10, 1000)
    world.progress.resume(RECORDING, JOB)
    world.progress.end(RECORDING, JOB)
    assert world.progress.of(RECORDING) is None
