# SPDX-License-Identifier: GPL-3.0-or-later
"""Which quality a segment is launched with, when the journal tells that of the one before only now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.names import Run
from streamvaultd.core.recording.loglines import Line
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.recording import witnesses as module
from streamvaultd.recording.files.output import SegmentFiles
from tests.component.store_world import NOW
from tests.component.studio import Studio
from tests.component.test_launch_room import recorder

# more than any test waits, and less
FOR_EVER, LIMIT = 3600.0, 60.0
OPENING = "info cli: Opening stream: 720p60 (hls)"


class Launches:
    """A studio that gets as far as asking for streamlink, and remembers for which quality."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        files = SegmentFiles(mounts=Path("/dev/null"))
        memory = SimpleNamespace(refusal=lambda _wanted: None)
        studio = Studio(files=files, capture=self, runs=self, disk=self, memory=memory)
        self.captures, self.on_line = studio.captures, studio.witnesses.on_line

    async def command(self, _recording: object, preferred: str | None, _limit: float | None) -> None:
        self.asked.append(preferred)
        raise StreamlinkUnusable(command="streamlink", why="it is not there")

    async def trouble(self, _recorder: Recorder) -> str | None:
        return None

    def is_busy(self, unit: str) -> bool:
        return unit == "streamvault-1-001.scope"


@pytest.fixture(name="studio")
async def _studio() -> Launches:
    return Launches()


def rotation(directory: Path, **fields: Any) -> Recorder:
    """Segment 1 has its first media just now, segment 2 is to be launched beside it."""
    found = recorder(directory, State.ROTATING)
    first = Segment(number=1, phase=Phase.WRITING, since=NOW, media_at=NOW)
    return replace(found, segments=(replace(first, **fields), *found.segments[1:]))


async def test_a_quality_that_is_about_to_be_told_is_waited_for(studio: Launches, tmp_path: Path) -> None:
    launch = asyncio.create_task(studio.captures.launch(rotation(tmp_path), 2))
    asyncio.get_running_loop().call_later(0.05, studio.on_line, Run(1, 1), Line.OPENING, OPENING)
    await launch
    assert studio.asked == ["720p60"]


async def test_one_that_was_told_since_the_decision_is_taken_at_once(
    studio: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUALITY_WAIT", FOR_EVER)
    studio.on_line(Run(1, 1), Line.OPENING, OPENING)
    studio.on_line(Run(1, 1), Line.OPENING, OPENING)
    async with asyncio.timeout(LIMIT):
        await studio.captures.launch(rotation(tmp_path), 2)
    assert studio.asked == ["720p60"]


async def test_nobody_waits_for_long(studio: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal may be away, or not be readable."""
    monkeypatch.setattr(module, "QUALITY_WAIT", 0.01)
    await studio.captures.launch(rotation(tmp_path), 2)
    studio.on_line(Run(1, 7), Line.OPENING, OPENING)  # of a run that is none
    assert studio.asked == [None]


async def test_nor_for_what_is_known(studio: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUALITY_WAIT", FOR_EVER)
    async with asyncio.timeout(LIMIT):
        await studio.captures.launch(rotation(tmp_path, quality="480p"), 2)
    assert studio.asked == ["480p"]
