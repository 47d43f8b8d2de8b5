# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not started for want of room, on the disk or in memory, and that nothing of it is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.api.record import RecordApi
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting
from streamvaultd.errors import DiskFull, MemoryFull, StreamlinkUnusable, VaultError
from streamvaultd.recording.admission import Beginner, Wish
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.files.space import Space
from streamvaultd.recording.headroom import Headroom
from streamvaultd.reporting.hub import Hub
from tests.component.small_disk import MIB, SmallDisk, small_disk
from tests.component.store_world import NOW, SetClock
from tests.component.studio import Studio

FULL = "streamvault.slice may have 300M of memory"


class Room:
    """What disk and memory say."""

    def __init__(self) -> None:
        self.disk: str | None = None
        self.memory: str | None = None
        self.asked: list[int] = []

    async def trouble(self, _recorder: Recorder) -> str | None:
        return self.disk

    async def admit(self, directory: Path, _streamer: str) -> None:
        if self.disk is not None:
            raise DiskFull(directory=str(directory), why=self.disk)

    def refusal(self, wanted: int) -> str | None:
        self.asked.append(wanted)
        return self.memory


@pytest.fixture(name="room")
def _room() -> Room:
    return Room()


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 16 * MIB, "-N", "32") as found:
        yield found


class Launches:
    """A studio that gets as far as asking for streamlink, and there is none."""

    def __init__(self, room: Room) -> None:
        files = SegmentFiles(mounts=Path("/dev/null"))
        self.studio = Studio(files=files, capture=self, disk=room, memory=room)

    async def command(self, _recording: Recording, _preferred: str | None, _limit: float | None) -> None:
        raise StreamlinkUnusable(command="streamlink", why="it is not there")

    async def launch(self, recorder: Recorder) -> ev.LaunchFailed:
        await self.studio.captures.launch(recorder, 2)
        [event] = self.studio.inbox.events
        assert isinstance(event, ev.LaunchFailed)
        return event


@pytest.fixture(name="studio")
def _studio(room: Room) -> Launches:
    return Launches(room)


def recorder(directory: Path, state: State = State.STARTING) -> Recorder:
    """Of which the second segment is to be started."""
    recording = Recording(
        id=1, stream=1, streamer="demo", url="https://host/x", quality="best", directory=str(directory),
        created=NOW, duration=None, policy=Policy(),
    )  # fmt: skip
    old = Segment(number=1, phase=Phase.WRITING, since=NOW, media_at=NOW, quality="best")
    new = Segment(number=2, phase=Phase.LAUNCHING, since=NOW, memory_max=300 * MIB)
    return Recorder(recording=recording, state=state, since=NOW, segments=(old, new))


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.ts")]


async def test_without_room_no_file_is_made(studio: Launches, room: Room, tmp_path: Path) -> None:
    room.disk = "/srv: 3M free"
    failed = await studio.launch(recorder(tmp_path))
    assert (failed.why, failed.disk, failed.permanent) == ("/srv: 3M free", True, False)
    assert files(tmp_path) == []


async def test_a_file_that_finds_no_room_is_a_full_disk(studio: Launches, disk: SmallDisk) -> None:
    for number in range(Space().measure([disk.point])[0].inodes or 0):
        (disk.point / f"{number}").touch()
    failed = await studio.launch(recorder(disk.point))
    assert failed.disk
    assert "No space left on device" in failed.why
    assert files(disk.point) == []


async def test_what_else_goes_wrong_is_no_full_disk(studio: Launches, room: Room, tmp_path: Path) -> None:
    room.memory = FULL  # a replacement takes the room of the one that died: it is not asked
    failed = await studio.launch(recorder(tmp_path))
    assert (failed.disk, failed.permanent) == (False, True)
    assert "cannot use streamlink" in failed.why
    assert room.asked == []


async def test_a_rotation_needs_memory_for_a_second_process(studio: Launches, room: Room, tmp_path: Path) -> None:
    room.memory = FULL
    failed = await studio.launch(recorder(tmp_path, State.ROTATING))
    assert (failed.why, failed.disk, failed.permanent) == (FULL, False, False)
    assert room.asked == [300 * MIB]
    assert files(tmp_path) == []


# --- new recordings ------------------------------------------------------------------------------------------------


async def refusal(room: Room, directory: Path) -> VaultError:
    """Of a new recording; the store is not reached."""

    async def can_handle(_url: str) -> bool:
        return True

    nobody = cast("Any", SimpleNamespace(recorders={}, can_handle=can_handle, trouble=None))
    parameters = {"url": "https://host/x", "name": "demo", "directory": str(directory)}
    settings = replace(Settings(), policy=Policy(memory_max=200 * MIB))
    beginner = Beginner(
        inbox=nobody,
        recorders=nobody,
        store=nobody,
        headroom=Headroom(disk=cast("Any", room), memory=room),
        clock=SetClock(),
    )
    api = RecordApi(
        recorders={}, beginner=beginner, plugins=nobody, hub=Hub(), presenter=nobody, settings=LiveSettings(settings)
    )
    call = cast("Any", SimpleNamespace(parameters=parameters, more=False))
    with pytest.raises(VaultError) as caught:
        await anext(aiter(api.record(call)))
    return caught.value


async def test_a_recording_that_does_not_fit_is_refused_before_there_is_anything(room: Room, tmp_path: Path) -> None:
    room.disk, room.memory = "3M free", FULL
    error = await refusal(room, tmp_path)
    assert isinstance(error, MemoryFull)
    assert str(error) == f"cannot record 'demo': {FULL}"
    assert room.asked == [200 * MIB]
    room.memory = None
    error = await refusal(room, tmp_path)
    assert str(error) == f"cannot record to {tmp_path}: 3M free"
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


class Source:
    """A source that offers these qualities; notes which were asked about."""

    trouble: str | None = None

    def __init__(self, *streams: str) -> None:
        self.streams = streams
        self.asked: list[str] = []

    async def can_handle(self, _url: str) -> bool:
        return True

    async def probe(self, _url: str, quality: str) -> Sighting:
        self.asked.append(quality)
        return Sighting(outcome=Outcome.LIVE, streams=self.streams)


@pytest.mark.parametrize(
    ("wanted", "offered", "recorded", "asked"),
    [
        ("1080p60", ("180p", "worst", "best"), "1080p60,180p,best", ["1080p60"]),
        ("1080p60", (), "1080p60,best", ["1080p60"]),
        ("1080p60,best", ("180p",), "1080p60,best", []),
        ("best", ("180p",), "best", []),
        ("audio_only", ("180p",), "audio_only", []),
    ],
)
async def test_what_comes_nearest_is_recorded_where_what_is_wanted_is_not_offered(
    wanted: str, offered: tuple[str, ...], recorded: str, asked: list[str], tmp_path: Path
) -> None:
    wishes: list[Wish] = []

    async def begin(wish: Wish) -> Recorder:
        wishes.append(wish)
        raise MemoryFull(streamer=wish.streamer, why="enough was seen")

    source = Source(*offered)
    nobody = cast("Any", SimpleNamespace(recorders={}, begin=begin))
    settings = LiveSettings(replace(Settings(), filename="{streamer}-{recording}"))
    api = RecordApi(recorders={}, beginner=nobody, plugins=source, hub=Hub(), presenter=nobody, settings=settings)
    parameters = {"url": "https://host/x", "name": "demo", "directory": str(tmp_path), "quality": wanted}
    with pytest.raises(MemoryFull):
        await anext(aiter(api.record(cast("Any", SimpleNamespace(parameters=parameters, more=False)))))
    [wish] = wishes
    assert (wish.quality, source.asked) == (recorded, asked)
    assert wish.policy.filename == "{streamer}-{recording}", "a reload does not rename what runs"
