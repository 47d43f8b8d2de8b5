# SPDX-License-Identifier: GPL-3.0-or-later
"""A running segment that has missed media, and the quality that a recording stays with; in the simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.policy import (
    FILL_PAUSE,
    FILL_PAUSE_MAX,
    QUALITY_LATE,
    fills_in_a_row,
    may_fill,
    preferred_quality,
    quality_to_come,
)
from tests.unit.broadcast import Air
from tests.unit.rows import new_recorder
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


def test_the_next_one_that_misses_something_at_once_is_left_to_itself() -> None:
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


def fills(recorder: Recorder, start: float, *, hours: float) -> tuple[Recorder, list[int]]:
    """When segments are started for missed media, in minutes, while each segment misses some every eight seconds."""
    found, at = [], start
    while at < start + hours * 3600:
        if may_fill(recorder, at):
            recorder = replace(recorder, fills=fills_in_a_row(recorder, at) + 1, filled_at=at)
            found.append(round((at - start) / 60))
        at += 8.0
    return recorder, found


def test_what_nobody_can_fetch_is_asked_for_less_and_less_often() -> None:
    """A source that lacks media has every segment say so, and is not helped by a new connection each time."""
    recorder, found = fills(new_recorder(), 1000.0, hours=2.5)
    assert found == [0, 1, 3, 7, 15, 31, 63, 123]
    assert recorder.filled_at is not None
    _, found = fills(recorder, recorder.filled_at + FILL_PAUSE_MAX + 8.0, hours=0.1)
    assert found == [0, 1, 3], "an hour without forgets it"


def test_a_new_daemon_knows_what_was_tried() -> None:
    """It may hear the same line of the journal again."""
    world = recording()
    world.miss(1)
    world.advance(10.0)
    assert notices(world).count(Notice.MEDIA_MISSED) == 1
    world.restart()
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=2, line=Line.FETCH_FAILED))
    world.advance(5.0)
    assert len(world.recorder.segments) == 2
    finish(world)


@pytest.mark.parametrize("state", [State.STARTING, State.ROTATING, State.STOPPING])
def test_where_another_segment_is_on_its_way_or_none_is_wanted(state: State) -> None:
    world = reach(state)
    before = len(world.recorder.segments)
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=1, line=Line.FETCH_FAILED))
    world.advance(0.01)
    assert len(world.recorder.segments) == before
    assert Notice.MEDIA_MISSED not in notices(world)


def test_a_playlist_that_was_gone_before_its_end_was_read_is_told_as_missed_media() -> None:
    """A run that fetches a large window after a kill reads it seldom, and the broadcast may be over by then."""
    world = recording()
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=1, line=Line.UNREAD))
    world.advance(5.0)
    assert notices(world).count(Notice.MEDIA_MISSED) == 1
    finish(world)


def speak(world: World, attempt: int, quality: str) -> None:
    """streamlink tells which quality it chose."""
    world.post(lambda at: ev.SegmentSpoke(at=at, attempt=attempt, line=Line.OPENING, quality=quality))
    world.advance(0.01)


def test_a_recording_stays_with_the_quality_that_it_has() -> None:
    world = begun()
    assert preferred_quality(world.recorder) is None
    speak(world, 1, "720p60")
    assert preferred_quality(world.recorder) is None, "nothing of it was recorded"
    world.advance(5.0)
    assert preferred_quality(world.recorder) == "720p60"
    world.exit_run(1, KILLED)
    world.advance(0.2)
    speak(world, 2, "480p")
    assert preferred_quality(world.recorder) == "720p60"
    world.advance(5.0)
    assert preferred_quality(world.recorder) == "480p"
    world.restart()
    assert preferred_quality(world.recorder) == "480p"
    finish(world)


@pytest.mark.parametrize(
    ("causes_after", "wanted"),
    [
        ((), "720p60"),
        (("network", "launch-failed", "oom"), "720p60"),
        (("source-refused",), None),
        (("start-timeout",), None),
        (("source-refused", "network"), None),
        (("source-refused", "source-refused"), "720p60"),
        (("source-refused", "source-refused", "source-refused"), None),
    ],
)
def test_a_quality_that_is_listed_and_not_served_blocks_nothing(
    causes_after: tuple[str, ...], wanted: str | None
) -> None:
    moment = Moment(100.0, 0)
    first = Segment(number=1, phase=Phase.ENDED, since=moment, media_at=moment, quality="720p60", cause="signal:9")
    tries = [
        Segment(number=number, phase=Phase.ENDED, since=moment, quality="720p60", cause=cause)
        for number, cause in enumerate(causes_after, 2)
    ]
    launching = Segment(number=len(tries) + 2, phase=Phase.LAUNCHING, since=moment)
    assert preferred_quality(replace(new_recorder(), segments=(first, *tries, launching))) == wanted


def test_a_quality_that_is_not_heard_of_yet_is_expected_for_a_moment() -> None:
    """Entries of the journal come up to a quarter of a second late."""
    moment = Moment(100.0, 0)
    writing = Segment(number=1, phase=Phase.WRITING, since=moment, media_at=moment)
    launching = Segment(number=2, phase=Phase.LAUNCHING, since=moment)
    recorder = replace(new_recorder(), segments=(writing, launching))
    assert quality_to_come(recorder, 100.1) == 1
    assert quality_to_come(recorder, 100.0 + QUALITY_LATE) is None
    known = replace(recorder, segments=(replace(writing, quality="720p60"), launching))
    assert quality_to_come(known, 100.1) is None
    dead = replace(recorder, segments=(replace(writing, phase=Phase.SEALING), launching))
    assert quality_to_come(dead, 100.1) is None
    assert quality_to_come(new_recorder(), 100.1) is None


def test_the_exit_record_tells_the_quality_too() -> None:
    world = begun()
    world.advance(5.0)
    world.exit_run(1, replace(KILLED, log=("info cli: Opening stream: 480p (hls)",)))
    world.advance(0.5)
    assert preferred_quality(world.recorder) == "480p"
    finish(world)
