# SPDX-License-Identifier: GPL-3.0-or-later
"""How a broadcast that was seen becomes a recording: what it is asked for with, and what keeps it from beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import AlreadyRecording, DiskFull, MemoryFull
from streamvaultd.recording.admission import Beginner, wish_for
from streamvaultd.recording.headroom import Headroom
from tests.component.store_world import SetClock, open_store

SEEN = Sighting(outcome=Outcome.LIVE, site_id="b1", title="one", category="chess", streams=("480p", "720p60", "best"))
ALICE = Streamer(
    name="alice", url="https://a.example/", quality="1080p60", directory="/srv/alice", max_duration=60.0,
    policy=(("grace", 5.0),),
)  # fmt: skip


class World:
    """A manager that takes what it is given, a disk and a memory that refuse at will."""

    def __init__(self) -> None:
        self.taken: list[Recorder] = []
        self.disk_refusal: Exception | None = None
        self.memory: str | None = None

    def take(self, recorder: Recorder) -> None:
        self.taken.append(recorder)

    async def submit(self, _recording: int, _event: Any) -> Recorder | None:
        return None

    def refusal(self, _wanted: int) -> str | None:
        return self.memory

    async def admit(self, _directory: Path, _streamer: str) -> None:
        if self.disk_refusal is not None:
            raise self.disk_refusal


async def test_begun_as_the_streamers_file_has_it_and_refused_before_anything_exists(tmp_path: Path) -> None:
    world, store = World(), await open_store(tmp_path / "store.db")
    beginner = Beginner(
        inbox=cast("Any", world), recorders=cast("Any", world), store=cast("Any", store),
        headroom=Headroom(disk=cast("Any", world), memory=world), clock=SetClock(),
    )  # fmt: skip
    world.memory = "too little is left"
    with pytest.raises(MemoryFull):
        await beginner.begin(wish_for(ALICE, SEEN, Settings()))
    world.memory, world.disk_refusal = None, DiskFull(directory="/srv/alice", why="no room")
    with pytest.raises(DiskFull):
        await beginner.begin(wish_for(ALICE, SEEN, Settings()))
    world.disk_refusal = None
    assert (world.taken, await store.list(all=True)) == ([], [])

    begun = (await beginner.begin(wish_for(ALICE, SEEN, Settings()))).recording
    assert [recorder.recording for recorder in world.taken] == [begun]
    assert (begun.url, begun.directory, begun.duration) == ("https://a.example/", "/srv/alice", 60.0)
    assert begun.policy == replace(Settings().policy, grace=5.0, filename=Settings().filename)
    assert begun.quality.split(",")[:3] == ["1080p60", "720p60", "480p"]
    with pytest.raises(AlreadyRecording):
        await beginner.begin(wish_for(ALICE, SEEN, Settings()))
    plain = Streamer(name="bob", url="https://b.example/")
    assert (await beginner.begin(wish_for(plain, SEEN, Settings()))).recording.directory == str(Settings().directory)
    assert world.taken[-1].recording.quality == "best"
    await store.close()
