# SPDX-License-Identifier: GPL-3.0-or-later
"""A running segment that has missed media, and the quality that a recording stays with; in the simulated world."""

from __future__ import annotations

import pytest

from streamvaultd.core import events as ev
from streamvaultd.core.effects import Notice
from streamvaultd.core.loglines import Line
from streamvaultd.core.model import State
from streamvaultd.core.policy import FILL_PAUSE
from tests.unit.broadcast import Air
from tests.unit.stories import KILLED, begun, causes, ends_well, everything_aired, notices, reach, recording
from tests.unit.world import World


def finish(world: World) -> None:
    """The broadcast ends, and its recording with it."""
    world.change_air(Air.ENDED)
    ends_well(world)


@pytest.mark.parametrize("line", [Line.FETCH_FAILED, Line.SEQUENCE_GAP])
def test_the_next_segment_fetches_what_one_has_missed(line: Line) -> None:
    world = recording()
    world.miss(1, line)
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 10.0)
    world.advance(10.0)
    finish(world)
    everything_aired(world)
    assert causes(world) == ["rotated", "source-ended"]
    assert notices(world).count(Notice.MEDIA_MISSED) == 1
    assert Notice.ROTATION_STARTED not in notices(world)


def test_once_a_minute_at_most() -> None:
    """A source in trouble is not helped by a new connection every other second."""
    world = recording()
    for _ in range(5):
        world.miss(max(world.scopes))
        world.advance(8.0)
    assert notices(world).count(Notice.MEDIA_MISSED) == 1
    world.advance(FILL_PAUSE)
    world.miss(max(world.scopes))
    world.advance(8.0)
    assert notices(world).count(Notice.MEDIA_MISSED) == 2
    finish(world)


@pytest.mark.parametrize("state", [State.STARTING, State.ROTATING, State.STOPPING])
def test_where_another_segment_is_on_its_way_or_none_is_wanted(state: State) -> None:
    world = reach(state)
    before = len(world.recorder.segments)
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=1, line=Line.FETCH_FAILED))
    world.advance(0.01)
    assert len(world.recorder.segments) == before
    assert Notice.MEDIA_MISSED not in notices(world)


def speak(world: World, attempt: int, quality: str) -> None:
    """streamlink tells which quality it chose."""
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=attempt, line=Line.OPENING, quality=quality))
    world.advance(0.01)


def test_a_recording_stays_with_the_quality_that_it_has() -> None:
    world = begun()
    assert world.recorder.quality is None
    speak(world, 1, "720p60")
    assert world.recorder.quality is None, "nothing of it was recorded"
    world.advance(5.0)
    assert world.recorder.quality == "720p60"
    world.exit_run(1, KILLED)
    world.advance(0.2)
    speak(world, 2, "480p")
    assert world.recorder.quality == "720p60"
    world.advance(5.0)
    assert world.recorder.quality == "480p"
    world.restart()
    assert world.recorder.quality == "480p"
    finish(world)
