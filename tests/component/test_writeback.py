# SPDX-License-Identifier: GPL-3.0-or-later
"""Growing files on real disks: what is on them after a power cut, what stays in memory, and disks in trouble."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streamvaultd.base.clock import SystemClock
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.names import Run
from streamvaultd.core.recording.events import FileTaken, Taken
from streamvaultd.recording.files.writeback import Writeback
from streamvaultd.recording.inbox import Inbox
from tests.component.held_world import held_files
from tests.component.small_disk import MIB, SmallDisk, small_disk

RUN, STUCK, OTHER = Run(1, 1), Run(2, 1), Run(3, 1)
TICK = 0.05
LIMIT = 60.0
PAGE = mmap.PAGESIZE


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as found:
        yield found


class Writer:
    """A growing file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def write(self, size: int) -> None:
        data = os.urandom(size)
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        os.close(self._fd)


class Desk:
    """A writeback, and the troubles that it told."""

    def __init__(self) -> None:
        self.troubles: asyncio.Queue[tuple[Run, int | None]] = asyncio.Queue()
        self.inbox = Inbox()
        self.held = held_files(inbox=self.inbox)
        self.writeback = Writeback(
            asyncio.get_running_loop(),
            clock=SystemClock(),
            settings=LiveSettings(Settings(sync_interval=TICK)),
            held=self.held,
        )
        self.writeback.listeners.append(lambda run, error: self.troubles.put_nowait((run, error.errno)))
        self._writers: list[Writer] = []
        self._runs: list[Run] = []

    def begin(self, run: Run, path: Path, *, has: int = 0) -> Writer:
        writer = Writer(path)
        self._writers.append(writer)
        self._runs.append(run)
        writer.write(has)
        self.writeback.watch(run, path)
        return writer

    async def end(self) -> None:
        """Nobody has a file open any more."""
        self.writeback.close()
        while self._writers:
            self._writers.pop().close()
        await until(lambda: not threads(), "all threads have ended")
        await asyncio.sleep(0)  # what they had to tell is told
        for run in self._runs:
            self.held.release(run)


@pytest.fixture(name="desk")
async def _desk(disk: SmallDisk) -> AsyncIterator[Desk]:
    found = Desk()
    yield found
    await found.end()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it."""
    try:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110  (threads and the kernel's cache tell nobody)
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"{what}: not within {LIMIT} s")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sync ")]


def cached(path: Path) -> int:
    """How many bytes of a file are in memory, mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED) as memory:
        pages = (ctypes.c_ubyte * -(-len(memory) // PAGE))()
        anchor = ctypes.c_char.from_buffer(memory)
        assert libc.mincore(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(len(memory)), pages) == 0
        del anchor
        return sum(page & 1 for page in pages) * PAGE


async def test_a_power_cut_costs_what_came_after_the_last_sync(desk: Desk, disk: SmallDisk) -> None:
    unwatched = Writer(disk.point / "unwatched")
    unwatched.write(MIB)
    writer = desk.begin(RUN, disk.point / "a.ts")
    writer.write(3 * MIB)
    await until(lambda: cached(writer.path) < MIB, "what is on disk is out of memory")
    with disk.power_cut() as after:
        assert (after / "a.ts").read_bytes() == writer.path.read_bytes()
        assert not (after / "unwatched").exists() or (after / "unwatched").stat().st_size == 0
    unwatched.close()


async def test_a_file_that_grows_on_and_on_stays_out_of_memory(desk: Desk, disk: SmallDisk) -> None:
    writer = desk.begin(RUN, disk.point / "a.ts")
    for _ in range(20):
        writer.write(MIB)
        await asyncio.sleep(TICK)
    await until(lambda: cached(writer.path) == 0, "all of it is out of memory")


async def test_how_fast_files_grow_is_told(desk: Desk, disk: SmallDisk) -> None:
    writer = desk.begin(RUN, disk.point / "a.ts")
    assert desk.writeback.paces()[RUN].steady == 0
    await until(lambda: cached_or_zero(writer.path) == 0, "it is watched")
    writer.write(6 * MIB)
    await until(lambda: desk.writeback.paces()[RUN].steady == 6 * MIB / 60, "the pace is known")
    await until(lambda: desk.writeback.paces()[RUN].latest == 0, "it has stopped growing")
    desk.writeback.cancel(RUN)
    assert desk.writeback.paces() == {}


def cached_or_zero(path: Path) -> int:
    return cached(path) if path.stat().st_size else 0


async def test_an_adopted_file_is_not_taken_for_a_burst(desk: Desk, disk: SmallDisk) -> None:
    writer = desk.begin(RUN, disk.point / "a.ts", has=10 * MIB)
    await until(lambda: cached(writer.path) == 0, "it was synced")
    assert desk.writeback.paces()[RUN].steady == 0


async def test_a_file_that_is_not_there_is_no_trouble(desk: Desk, disk: SmallDisk) -> None:
    desk.writeback.watch(RUN, disk.point / "gone.ts")
    await until(lambda: not threads(), "its thread has ended")
    assert desk.troubles.empty()
    desk.writeback.cancel(RUN)
    desk.writeback.cancel(RUN)


async def test_a_disk_that_hangs_holds_nobody_else(desk: Desk, disk: SmallDisk) -> None:
    """The image of the inner disk is on the outer one: while that is frozen, nothing gets through."""
    with small_disk(disk.point / "image", 24 * MIB) as inner:
        stuck = desk.begin(STUCK, inner.point / "a.ts")
        other = desk.begin(OTHER, disk.point.parent / "b.ts")
        await until(lambda: f"sync {STUCK.unit}" in threads(), "it is watched")
        with inner.hanging(disk):
            stuck.write(MIB)
            await until(lambda: desk.writeback.paces()[STUCK].steady > 0, "its sync has begun")
            other.write(MIB)
            await until(lambda: desk.writeback.paces()[OTHER].steady > 0, "the other one is synced")
            assert cached(stuck.path) == MIB
            desk.writeback.close()
            await until(lambda: threads() == [f"sync {STUCK.unit}"], "nobody but the stuck one is left")
        await desk.end()


async def test_what_cannot_be_put_on_disk_is_told_once(desk: Desk, disk: SmallDisk) -> None:
    """A thin disk: the inner file system believes in room that the outer one does not have."""
    with small_disk(disk.point / "image", 48 * MIB) as inner:
        writer = desk.begin(RUN, inner.point / "a.ts")
        filler = disk.fill()
        writer.write(8 * MIB)
        async with asyncio.timeout(LIMIT):
            assert await desk.troubles.get() in [(RUN, errno.ENOSPC), (RUN, errno.EIO)]
        filler.unlink()
        writer.write(MIB)
        await until(lambda: cached(writer.path) < MIB, "it can be synced again")
        assert desk.troubles.empty()
        await desk.end()


async def test_a_file_that_was_cut_is_told_of(desk: Desk, disk: SmallDisk) -> None:
    writer = desk.begin(Run(1, 2), disk.point / "cut.ts", has=100_000)
    await until(lambda: cached(writer.path) == 0, "it was synced once")
    os.truncate(writer.path, 1000)
    async with asyncio.timeout(LIMIT):
        entry = await desk.inbox.next()
        assert isinstance(entry.event, FileTaken)
        assert (entry.recording, entry.event.attempt, entry.event.size) == (1, 2, 1000)
        assert entry.event.how is Taken.CUT
