# SPDX-License-Identifier: GPL-3.0-or-later
"""A result's name is decided once, is nobody else's, and what is found again is found under it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import JOIN, Broadcast, Phase, Policy, Recorder, Segment, State
from streamvaultd.core.ranges import DATE
from streamvaultd.jobs.naming import ResultNames
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.store.local import LocalStore
from tests.component.store_world import NOW, move, open_store


@dataclass
class World:
    store: LocalStore
    folder: Path
    template: str = "{title}"

    def __post_init__(self) -> None:
        self.names = ResultNames(store=self.store, files=SegmentFiles(), lanes=Lanes(), templates=self)
        (self.folder / "demo").mkdir()

    def template_for(self, _recording: object) -> str:
        return self.template

    async def over(self, title: str, *, timezone: str = "UTC") -> Recorder:
        """A recording that is to be joined."""
        begun = await self.store.create_recording(
            streamer="demo", url="https://example.org/demo", quality="best", directory=str(self.folder), duration=None,
            policy=Policy(timezone=timezone), now=NOW, broadcast=Broadcast(site_id="b1", title=title, category="Art"),
        )  # fmt: skip
        segment = Segment(number=1, phase=Phase.ENDED, since=NOW, size=188, quality="720p60")
        return await move(self.store, begun, State.FINALIZING, segment, joins=1)

    async def name(self, recorder: Recorder) -> str:
        stem = await self.names.stem(recorder, await self.names.listing(recorder))
        assert stem.parent == self.folder / "demo"
        return stem.name

    async def begin(self, recorder: Recorder) -> str:
        """Decide the name, and write the row of a job with it."""
        name = await self.name(recorder)
        await self.store.create_job(recorder.recording.id, JOIN, {"output": str(self.folder / "demo" / name)}, NOW)
        return name


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    store = await open_store(tmp_path / "store.db")
    yield World(store, tmp_path)
    await store.close()


async def test_the_title_at_the_join_counts_and_a_later_one_does_not(world: World) -> None:
    recorder = await world.over("Yesterday's title")
    await world.store.note_broadcast(recorder.recording.id, Broadcast(title="Speedrun", category="Games"), NOW)
    assert await world.begin(recorder) == "Speedrun"
    await world.store.note_broadcast(recorder.recording.id, Broadcast(title="Bye", category="Games"), NOW)
    world.template = "{recording}"
    (world.folder / "demo" / "Speedrun.ts").touch()  # what the job has made, and not told yet
    assert await world.name(recorder) == "Speedrun"


async def test_all_that_is_known_of_it(world: World) -> None:
    world.template = "{streamer} {start:%d.%m. %H.%M} {id} {title} {category} {quality} {recording} {stream}"
    assert await world.name(await world.over("A", timezone="Asia/Tokyo")) == "demo 23.11. 18.28 b1 A Art 720p60 1 1"
    assert await world.name(await world.over("A", timezone="Mars/Olympus")) == "demo 23.11. 09.28 b1 A Art 720p60 2 2"


@pytest.mark.parametrize(
    ("realtime", "zone", "name"),
    [
        (DATE.high, "Asia/Tokyo", "9999-12-31T23-59-59Z"),
        (DATE.high, "Etc/GMT+12", "9999-12-31T11-59-59-1200"),
    ],
)
async def test_where_the_calendar_of_a_zone_ends_a_start_is_told_in_utc(
    world: World, realtime: int, zone: str, name: str
) -> None:
    """A manifest, or another hand, may say anything that is a date."""
    world.template = "{start}"
    recorder = await world.over("A", timezone=zone)
    dated = replace(recorder.recording, created=replace(recorder.recording.created, realtime=realtime))
    assert await world.name(replace(recorder, recording=dated)) == name


async def test_two_that_are_joined_at_once_have_two_names(world: World) -> None:
    one, other = await world.over("Same"), await world.over("SAME")
    assert [await world.begin(one), await world.begin(other)] == ["Same", "SAME (2)"]
    assert [await world.name(one), await world.name(other)] == ["Same", "SAME (2)"]


async def test_the_file_of_somebody_else_keeps_its_name(world: World) -> None:
    (world.folder / "demo" / "holiday.mp4").write_text("mine")
    assert await world.name(await world.over("holiday")) == "holiday (2)"


async def test_a_result_that_is_away_keeps_its_name_in_its_row(world: World) -> None:
    gone = await world.over("Same")
    path = str(world.folder / "demo" / "Same.mp4")
    await world.store.save(replace(gone, state=State.COMPLETED, path=path), ())
    assert await world.name(await world.over("Same")) == "Same (2)"


async def test_a_result_that_is_joined_again_stays_where_it_is(world: World) -> None:
    recorder = replace(await world.over("Same"), path="/elsewhere/x.part.ts")
    assert world.names.folder(recorder) == Path("/elsewhere")
    assert await world.names.stem(recorder, []) == Path("/elsewhere/x.part")


async def test_without_a_folder_nothing_is_taken(world: World) -> None:
    (world.folder / "demo").rmdir()
    assert await world.name(await world.over("")) == "recording_1"
