# SPDX-License-Identifier: GPL-3.0-or-later
"""The first media of a growing file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamvaultd.base.growth import THRESHOLD, MediaWatch


class Arrivals:
    """A watch, and the files that it told."""

    def __init__(self) -> None:
        self.watch: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        async with asyncio.timeout(60):
            return await self.told.get()


@pytest.fixture(name="arrivals")
async def _arrivals() -> AsyncIterator[Arrivals]:
    found = Arrivals()
    yield found
    found.watch.close()


def grow(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.write(b"x" * size)


async def test_a_file_that_grows_is_told_once(tmp_path: Path, arrivals: Arrivals) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        arrivals.watch.watch(path.name, path, arrivals.told.put_nowait)
    grow(one, THRESHOLD - 1)
    grow(two, THRESHOLD)
    assert await arrivals.next() == "two"
    grow(one, 1)
    assert await arrivals.next() == "one"
    grow(one, THRESHOLD)
    grow(two, THRESHOLD)
    await asyncio.sleep(0)
    assert arrivals.told.empty()


async def test_a_file_that_is_large_enough_already_is_told(tmp_path: Path, arrivals: Arrivals) -> None:
    path = tmp_path / "file"
    grow(path, THRESHOLD)
    arrivals.watch.watch("file", path, arrivals.told.put_nowait)
    assert await arrivals.next() == "file"


async def test_a_threshold_may_be_given(tmp_path: Path, arrivals: Arrivals) -> None:
    path = tmp_path / "file"
    grow(path, 1)
    arrivals.watch.watch("file", path, arrivals.told.put_nowait, threshold=1)
    assert await arrivals.next() == "file"


async def test_a_cancelled_watch_says_nothing(tmp_path: Path, arrivals: Arrivals) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        arrivals.watch.watch(path.name, path, arrivals.told.put_nowait)
    arrivals.watch.cancel("one")
    arrivals.watch.cancel("one")
    grow(one, THRESHOLD)
    grow(two, THRESHOLD)
    assert await arrivals.next() == "two"
    assert arrivals.told.empty()


async def test_a_file_that_is_removed_is_forgotten(tmp_path: Path, arrivals: Arrivals) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        arrivals.watch.watch(path.name, path, arrivals.told.put_nowait)
    one.unlink()
    grow(two, THRESHOLD)
    assert await arrivals.next() == "two"
    grow(one, THRESHOLD)
    arrivals.watch.watch("again", one, arrivals.told.put_nowait)
    assert await arrivals.next() == "again"


async def test_a_file_that_is_open_while_it_is_removed_is_forgotten(tmp_path: Path, arrivals: Arrivals) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    fd = os.open(one, os.O_WRONLY | os.O_CREAT)
    two.touch()
    for path in (one, two):
        arrivals.watch.watch(path.name, path, arrivals.told.put_nowait)
    one.unlink()
    os.write(fd, b"x" * THRESHOLD)
    os.close(fd)
    grow(two, THRESHOLD)
    assert await arrivals.next() == "two"
    assert arrivals.told.empty()


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, arrivals: Arrivals) -> None:
    with pytest.raises(FileNotFoundError):
        arrivals.watch.watch("file", tmp_path / "file", arrivals.told.put_nowait)
