# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody removes, moves, cuts or replaces a file that is written: it is noticed, and what it has is saved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from streamvaultd.core.names import Run
from streamvaultd.core.recording.events import FileTaken, Taken
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.inbox import Inbox
from tests.component.held_world import Store, held_files

RUN = Run(1, 1)
STORED = "file-1-1"
LIMIT = 20.0


class Scene:
    """A file of a segment that somebody writes, and a daemon that holds it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "demo" / "stream_1_segments" / "segment_001.ts"
        self.path.parent.mkdir(parents=True)
        self.writer = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self.written = b""
        self.store = Store()
        self.inbox = Inbox()
        self.held = self.daemon()

    def daemon(self) -> HeldFiles:
        return held_files(self.store, self.inbox)

    def write(self, text: bytes) -> None:
        os.write(self.writer, text)
        self.written += text

    def hold(self) -> None:
        self.held.hold(RUN, self.path, self.held.open(RUN, self.path))

    async def next(self) -> tuple[Taken, int]:
        async with asyncio.timeout(LIMIT):
            entry = await self.inbox.next()
        assert isinstance(entry.event, FileTaken)
        assert Run(entry.recording, entry.event.attempt) == RUN
        return entry.event.how, entry.event.size

    def seal(self) -> None:
        """As a seal does: nobody writes any more."""
        os.close(self.writer)
        self.held.restoring(RUN, self.path, is_over=True)()
        self.held.release(RUN)


@pytest.fixture(name="scene")
async def _scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "recordings")
    scene.write(b"before")
    return scene


async def test_a_file_that_is_removed_is_copied_when_it_is_sealed(scene: Scene) -> None:
    scene.hold()
    assert not scene.held.is_taken(RUN)
    scene.path.unlink()
    assert await scene.next() == (Taken.REMOVED, 6)
    scene.held.store(RUN)
    scene.held.restoring(RUN, scene.path, is_over=False)()
    assert not scene.path.exists(), "somebody still writes to it"
    scene.write(b", and after")
    assert scene.held.size(RUN) == len(scene.written)
    assert list(scene.store.fds) == [STORED]
    scene.seal()
    assert scene.path.read_bytes() == scene.written
    assert [path.name for path in scene.path.parent.iterdir()] == [scene.path.name]
    assert scene.store.fds == {}


async def test_with_its_folders_too(scene: Scene) -> None:
    scene.hold()
    scene.path.unlink()
    scene.path.parent.rmdir()
    scene.path.parent.parent.rmdir()
    assert await scene.next() == (Taken.REMOVED, 6)
    scene.seal()
    assert scene.path.read_bytes() == scene.written


@pytest.mark.parametrize("up", [0, 1, 2, 3])
async def test_a_file_that_is_moved_or_a_folder_above_it_gets_its_name_again_at_once(scene: Scene, up: int) -> None:
    scene.hold()
    moved = [scene.path, *scene.path.parents][up]
    moved.rename(moved.with_name("elsewhere"))
    assert (await scene.next())[0] is Taken.MOVED
    if up == 3:
        moved.mkdir()  # a directory that is gone may be a disk that is not mounted: it is not made
    scene.held.restoring(RUN, scene.path, is_over=False)()
    scene.write(b", and after")
    assert scene.path.read_bytes() == scene.written
    async with asyncio.timeout(LIMIT):
        while scene.held.is_taken(RUN):  # noqa: ASYNC110  (nobody is told)
            await asyncio.sleep(0)
    scene.path.unlink()
    assert (await scene.next())[0] is Taken.MOVED, "it is looked after where it is now"
    scene.seal()
    assert scene.path.read_bytes() == scene.written


async def test_a_name_that_another_file_has_is_left_to_it(scene: Scene) -> None:
    scene.hold()
    scene.path.unlink()
    scene.path.write_bytes(b"mine")
    assert await scene.next() == (Taken.REMOVED, 6)
    with pytest.raises(FileExistsError, match="another file has its name"):
        scene.held.restoring(RUN, scene.path, is_over=True)()
    assert scene.path.read_bytes() == b"mine"


async def test_sealed_twice_it_is_the_same_copy(scene: Scene) -> None:
    scene.hold()
    scene.path.unlink()
    for _ in range(2):
        scene.held.restoring(RUN, scene.path, is_over=True)()
    assert scene.path.read_bytes() == scene.written


async def test_other_changes_of_the_file_and_its_folders_are_nothing(scene: Scene) -> None:
    scene.hold()
    scene.path.chmod(0o600)
    scene.path.with_name("other").write_bytes(b"")
    scene.path.with_name("other").unlink()
    os.link(scene.path, scene.path.with_name("second"))
    scene.path.with_name("second").unlink()
    scene.path.unlink()
    assert await scene.next() == (Taken.REMOVED, 6), "which is the first that is told"


@pytest.mark.parametrize("is_running", [True, False])
async def test_the_next_daemon_has_it_from_the_fd_store(scene: Scene, is_running: bool) -> None:
    scene.hold()
    scene.path.unlink()
    await scene.next()
    scene.held.store(RUN)
    scene.held = scene.daemon()
    scene.held.inherit({name: [os.dup(fd) for fd in fds] for name, fds in scene.store.fds.items()})
    if is_running:
        scene.hold()
        assert await scene.next() == (Taken.REMOVED, 6)
    scene.seal()
    assert scene.path.read_bytes() == scene.written
    assert scene.store.fds == {}


async def test_a_daemon_that_was_away_finds_it_at_the_process_that_writes(scene: Scene) -> None:
    scene.path.unlink()
    scene.hold()
    assert await scene.next() == (Taken.REMOVED, 6)
    scene.seal()
    assert scene.path.read_bytes() == scene.written


async def test_a_file_that_nobody_has_is_not_there(scene: Scene) -> None:
    scene.path.unlink()
    os.close(scene.writer)
    with pytest.raises(FileNotFoundError):
        scene.held.open(RUN, scene.path)
    scene.held.restoring(RUN, scene.path, is_over=True)()
    scene.held.release(RUN)


def opened() -> set[str]:
    """What is open in this process."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(link.readlink()))
    return found


async def test_what_cannot_be_sealed_keeps_no_disk_busy_unless_it_is_nowhere_else(scene: Scene) -> None:
    scene.hold()
    other = scene.path.with_name("segment_002.ts")
    other.write_bytes(b"other")
    scene.held.hold(Run(1, 2), other, os.open(other, os.O_RDONLY))
    scene.path.unlink()
    await scene.next()
    assert str(other) in opened()
    for run in (RUN, Run(1, 2)):
        scene.held.release_named(run)
    assert str(other) not in opened()
    scene.seal()
    assert scene.path.read_bytes() == scene.written


async def test_descriptors_are_closed(scene: Scene) -> None:
    def count() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = count()
    actions: list[Callable[[], None]] = [scene.hold, scene.hold, scene.path.unlink]
    for act in actions:
        act()
    await scene.next()
    scene.held.store(RUN)
    scene.seal()
    assert count() == before - 1, "of the writer"
