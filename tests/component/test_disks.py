# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls in lanes, and what a file system tells of itself."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvaultd.base.lanes import WIDTH, Lanes, is_no_room
from streamvaultd.errors import DiskFull
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.files.space import Space
from tests.component.small_disk import MIB, SmallDisk, run, small_disk


def in_thread(name: str) -> str:
    if not name:
        raise ValueError("no name")
    return f"{name} in {threading.current_thread().name}"


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    lanes = Lanes()
    assert await lanes.run("/srv", in_thread, "a") == "a in disk /srv"
    with pytest.raises(ValueError, match="no name"):
        await lanes.run("/srv", in_thread, "")


async def test_a_full_lane_makes_its_own_callers_wait_and_nobody_else() -> None:
    lanes, gate = Lanes(), threading.Event()
    stuck = [asyncio.create_task(lanes.run("/stuck", gate.wait)) for _ in range(WIDTH)]
    late = asyncio.create_task(lanes.run("/stuck", in_thread, "late"))
    assert await lanes.run("/srv", in_thread, "a") == "a in disk /srv"
    assert not late.done()
    gate.set()
    assert await late == "late in disk /stuck"
    assert await asyncio.gather(*stuck) == [True] * WIDTH


async def test_a_call_that_nobody_waits_for_keeps_its_place() -> None:
    """Otherwise a disk that hangs would get another thread each time."""
    lanes, gate = Lanes(), threading.Event()
    for _ in range(WIDTH):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await lanes.run("/stuck", gate.wait)
    late = asyncio.create_task(lanes.run("/stuck", in_thread, "late"))
    await lanes.run("/srv", in_thread, "a")
    assert [thread.name for thread in threading.enumerate()].count("disk /stuck") == WIDTH
    assert not late.done()
    gate.set()
    assert await late == "late in disk /stuck"


def test_the_end_of_the_program_does_not_wait_for_a_lane() -> None:
    gate = threading.Event()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await Lanes().run("/stuck", gate.wait)

    asyncio.run(leave())
    gate.set()


# --- file systems --------------------------------------------------------------------------------------------------


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 32 * MIB, "-N", "64") as found:
        yield found


def test_the_room_of_folders_that_are_there_and_will_be(disk: SmallDisk, tmp_path: Path) -> None:
    folder = disk.point / "demo"
    here, will_be, elsewhere = Space().measure([disk.point, folder / "stream_1_segments", tmp_path])
    assert here == will_be
    assert (here.place, here.free) == (str(disk.point), disk.free())
    assert here.inodes is not None
    assert 0 < here.inodes <= 64
    assert elsewhere.device == tmp_path.stat().st_dev != here.device


def test_a_file_system_without_blocks_tells_nothing() -> None:
    [room] = Space().measure([Path("/proc/self")])
    assert (room.free, room.inodes) == (None, None)


def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    """Otherwise another disk would be measured in its place."""
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        Space().measure([tmp_path / "round" / "demo"])


def test_a_disk_that_takes_what_is_written_shows_no_trace_of_it(disk: SmallDisk) -> None:
    before = disk.free()
    Space().try_writing(disk.point, 16 * MIB)
    assert disk.free() == before
    assert [path.name for path in disk.point.iterdir()] == ["lost+found"]


def test_a_folder_that_will_be_made_is_as_good_as_the_one_it_will_be_in(disk: SmallDisk) -> None:
    """Somebody has removed it, or nothing was recorded yet: a recording that is paused goes on all the same."""
    Space().try_writing(disk.point / "demo" / "stream_1_segments", MIB)
    assert [path.name for path in disk.point.iterdir()] == ["lost+found"]
    with pytest.raises(OSError, match="No space left on device"):
        Space().try_writing(disk.point / "demo" / "stream_1_segments", 64 * MIB)


def test_what_is_promised_must_be_there(disk: SmallDisk) -> None:
    """As with a quota: what statvfs(3) says is one thing, what one gets another."""
    with pytest.raises(OSError, match="No space left") as caught:
        Space().try_writing(disk.point, disk.free() + MIB)
    assert is_no_room(caught.value)


def test_a_full_a_crowded_and_a_read_only_disk_refuse(disk: SmallDisk) -> None:
    space = Space()
    filler = disk.fill()
    with pytest.raises(OSError, match="No space left"):
        space.try_writing(disk.point, 0)
    assert (space.measure([disk.point])[0].free or 0) < 8192
    filler.unlink()
    many = [disk.point / f"{number}" for number in range(space.measure([disk.point])[0].inodes or 0)]
    for path in many:
        path.touch()
    assert space.measure([disk.point])[0].inodes == 0
    with pytest.raises(OSError, match="No space left"):
        space.try_writing(disk.point, 0)
    for path in many:
        path.unlink()
    run("mount", "-o", "remount,ro", disk.point)
    with pytest.raises(OSError, match="Read-only") as caught:
        space.try_writing(disk.point, 0)
    assert is_no_room(caught.value)
    run("mount", "-o", "remount,rw", disk.point)
    space.try_writing(disk.point, 0)


def open_files() -> set[Path]:
    return {path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_a_full_disk_leaves_no_file_and_no_folder_open(disk: SmallDisk) -> None:
    files = SegmentFiles(mounts=Path("/dev/null"))
    path = disk.point / "demo" / "stream_1_segments" / "segment_001.ts"
    files.prepare(disk.point, "demo")
    while (inodes := Space().measure([disk.point])[0].inodes) is None or inodes > 1:
        (disk.point / f"{inodes}").touch()
    descriptors = open_files()
    with pytest.raises(OSError, match="No space left") as caught:
        files.create(path)
    assert caught.value.errno == errno.ENOSPC
    assert not path.exists()
    assert open_files() == descriptors
    with pytest.raises(DiskFull, match=r"cannot record to .*: No space left on device"):
        files.prepare(disk.point, "other")
