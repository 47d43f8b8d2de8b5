# SPDX-License-Identifier: GPL-3.0-or-later
"""Who looks sees how much there is now, and how far the join is; a disk that does not answer holds nobody up."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.jobs.progress import Headway
from streamvaultd.recording import glance
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.glance import Glance
from streamvaultd.reporting.hub import News
from tests.component.socket_world import World, served
from tests.component.store_world import NOW, SetClock, later, move, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Hung(SegmentFiles):
    """A disk that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def size(self, path: Path) -> int:
        self.let_go.wait()
        return super().size(path)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as world:
        yield world


async def writing(world: World, folder: Path, size: int) -> tuple[Recorder, Path]:
    """A recording whose segment 1 has 188 bytes by its row, and a file of this size."""
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW, media_at=NOW, size=188)
    recorder = await start(world.store)
    recorder = replace(recorder, recording=replace(recorder.recording, directory=str(folder)))
    recorder = await move(world.store, recorder, State.RECORDING, segment)
    world.manager.take(recorder)
    path = SegmentFiles().segment_path(recorder.recording, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x47" * size)
    return recorder, path


async def sizes(world: World) -> set[int]:
    """What every view of the recording tells."""
    [listed] = (await world.call("List"))["recordings"]
    got = (await world.call("Get", recording="1"))["recording"]
    [segment] = (await world.call("ListSegments", recording="1"))["segments"]
    one = (await world.call("GetSegment", recording="1", segment=1))["segment"]
    return {listed["runtime"]["bytes"], got["runtime"]["bytes"], segment["bytes"], one["bytes"]}


async def test_a_size_is_that_of_the_moment_at_which_somebody_looks(world: World, tmp_path: Path) -> None:
    _, path = await writing(world, tmp_path, 5000)
    assert await sizes(world) == {5000}
    path.write_bytes(b"\x47" * 7000)
    assert await sizes(world) == {5000}, "it is looked at once a second"
    world.clock.moment = later(122)
    assert await sizes(world) == {7000}


async def test_a_file_that_is_gone_has_the_size_that_was_measured(world: World, tmp_path: Path) -> None:
    _, path = await writing(world, tmp_path, 5000)
    path.unlink()
    assert await sizes(world) == {188}


async def test_a_disk_that_hangs_is_not_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, _ = await writing(world, tmp_path, 5000)
    monkeypatch.setattr(glance, "LIMIT", 0.01)
    disk, overdue = Hung(), list[str]()
    looks = Glance(files=disk, lanes=Lanes(on_overdue=overdue.append), clock=SetClock())
    try:
        assert await looks.fresh(recorder) == recorder
        assert overdue == [], "a slow answer is no word about the disk"
    finally:
        disk.let_go.set()
    await asyncio.sleep(0)


async def test_what_is_over_is_not_looked_at(world: World, tmp_path: Path) -> None:
    recorder, _ = await writing(world, tmp_path, 5000)
    [segment] = recorder.segments
    over = replace(recorder, state=State.COMPLETED, segments=(replace(segment, phase=Phase.ENDED),))
    looks = Glance(files=Hung(), lanes=Lanes(), clock=SetClock())
    assert await looks.fresh(over) is over


async def test_a_subscriber_sees_the_sizes_of_now_and_how_far_the_join_is(world: World, tmp_path: Path) -> None:
    recorder, _ = await writing(world, tmp_path, 5000)
    async with world.subscribed(topics=["recordings", "segments"]) as feed:
        first = await feed.next()
        assert first["recording"]["runtime"]["bytes"] == first["segments"][0]["bytes"] == 5000
        assert "progress" not in first["recording"]["runtime"]
        world.progress[1] = Headway(done=10, total=40, left=3.5)
        world.hub.publish(News(world.clock.now(), replace(recorder, state=State.FINALIZING)))
        told = (await feed.next())["recording"]["runtime"]["progress"]
    assert told == {"doneBytes": 10, "totalBytes": 40, "etaUSec": 3_500_000}
    [listed] = (await world.call("List"))["recordings"]
    assert listed["runtime"]["progress"] == told
