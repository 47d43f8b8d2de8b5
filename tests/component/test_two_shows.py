# SPDX-License-Identifier: GPL-3.0-or-later
"""Two shows within one window: the real streamlink records both, and each result has its own frames, all of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.jobs.join.spec import Spec
from streamvaultd.recording.streamlink.command import Installation, Version
from tests.component.captures import SHORT_MEDIA, real_streamlink, world
from tests.fakes.livesource import LiveSource
from tests.testbed.frames import count_frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.fakes.channel import Channel

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

WINDOW = 8
LIMIT = 60.0


@pytest.fixture(name="source", scope="module")
def _source() -> Iterator[LiveSource]:
    with LiveSource(SHORT_MEDIA, window=WINDOW) as source:
        yield source


@dataclass
class Shows:
    """A channel, what is recorded of it, and what the join makes of that."""

    source: LiveSource
    name: str
    folder: Path
    playlist: str = "live"

    @property
    def channel(self) -> Channel:
        return self.source.channels[self.name]

    def record(self, name: str, until: int) -> Path:
        """Record what is on air until it has come to that media segment, and is over."""
        output = self.folder / f"{name}_001.ts"
        streamlink = Installation(command=(real_streamlink(),), version=Version(8, 6, 3), python="", managed=False)
        with world() as at:
            run = at.record(self.source.url(self.name, self.playlist), output, streamlink)
            deadline = time.monotonic() + LIMIT
            while self.channel.last() < until and time.monotonic() < deadline:
                with self.channel.changed:
                    self.channel.changed.wait(0.1)
            self.source.control(self.name, end=True)
            assert run.ended()["status"] == 0
        return output

    def join(self, name: str, segment: Path, previous: Path | None) -> tuple[dict[str, Any], list[Path]]:
        report = self.folder / f"{name}.json"
        spec = Spec(
            recording=1, segments=(segment,), output=self.folder / f"joined-{name}", report=report, previous=previous
        )
        assert JoinProgram(spec).run(), report.read_text()
        told = json.loads(report.read_text())
        return told, [self.folder.__class__(part["path"]) for part in told["parts"]]

    def first_of(self, files: list[Path]) -> int:
        """The media segment that it begins with; from there to the last one all is there, once."""
        media, firsts = self.channel.media, set()
        for track in media.tracks:
            found = count_frames(files, media, track=track, last_segment=self.channel.last())
            assert found.is_perfect, f"{track}: {found}"
            firsts.add(media.index(track).segment_of(found.first))
        (first,) = firsts
        return first


@pytest.mark.parametrize("kind", ["ts", "fmp4", "aes", "audio", "change"])
def test_each_recording_has_its_own_show(source: LiveSource, tmp_path: Path, kind: str) -> None:
    shows = Shows(source, kind, tmp_path)
    source.control(kind, kind=kind, elapsed=10.0)
    first = shows.record("first", until=11)
    end = shows.channel.last()
    told, before = shows.join("first", first, None)
    assert told["lead"] is None
    source.control(kind, again=True)
    second = shows.record("second", until=end + 3)

    stale, files = shows.join("stale", second, None)
    old = end + 1 - shows.first_of(files)
    assert old > 0, "nothing is left of the first show"
    told, files = shows.join("second", second, before[-1])
    assert shows.first_of(files) == end + 1
    assert told["lead"]["ms"] == pytest.approx(old * 1000, abs=50)
    assert stale["bytes"] - told["bytes"] == told["lead"]["bytes"]


def test_a_show_that_was_not_recorded_stays_in_front_rather_than_anything_is_lost(
    source: LiveSource, tmp_path: Path
) -> None:
    shows = Shows(source, "missed", tmp_path)
    source.control("missed", elapsed=10.0, end=True)
    source.control("missed", again=True)
    second = shows.record("second", until=13)
    told, files = shows.join("second", second, None)
    assert told["lead"] is None
    assert shows.first_of(files) < shows.channel.shows[0]
