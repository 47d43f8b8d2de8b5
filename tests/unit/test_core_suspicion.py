# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that may be losing media gets another one beside it; in the simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.flows import Pulse
from streamvaultd.core.model import Container, Phase, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.policy import BESIDE_PAUSE_MAX
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY
from tests.unit.stories import KILLED, begun, causes, ends_well, everything_aired, notices, recording
from tests.unit.world import World


def say(world: World, line: Line) -> None:
    attempt = max(world.scopes)
    world.tell(lambda at: ev.SegmentSpoke(at=at, attempt=attempt, line=line))


def open_in_part(world: World) -> int:
    """The newest segment has begun to open two streams, and one of them is not there."""
    number = world.recorder.segments[-1].number
    at = world.now
    world.handle(ev.SegmentSpoke(at=at, attempt=number, line=Line.MUXING, quality="720p60"))
    world.handle(ev.SegmentSpoke(at=at, attempt=number, line=Line.NOT_FOUND))
    return number


def is_waiting(world: World) -> bool:
    return world.recorder.segments[-1].phase is Phase.WAITING


def finish(world: World) -> None:
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_playlist_that_is_refused_has_another_segment_start_at_once() -> None:
    world = recording(30.0)
    say(world, Line.RELOAD_REFUSED)
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 0.5)
    world.advance(10.0)
    finish(world)
    assert causes(world) == ["rotated", "source-ended"]
    assert notices(world).count(Notice.SUSPECTED) == 1


def test_a_run_that_has_only_begun_is_not_suspected() -> None:
    """It would go on for ever, each one suspecting the one before, and nobody would ask the source."""
    world = recording(3.0)
    say(world, Line.RELOAD_REFUSED)
    world.advance(2.0)
    assert world.recorder.state is State.RECORDING
    finish(world)
    assert causes(world) == ["source-ended"]


def test_links_that_are_good_for_seconds_cost_nothing() -> None:
    """Each run is refused before it has shown that it goes on, and so soon that others would be made to wait."""
    world = recording(30.0)
    for count in range(2, 10):
        world.scopes[max(world.scopes)].stalled = True
        for _ in range(10):  # each reload of the playlist is refused
            if len(world.recorder.segments) < count:
                say(world, Line.RELOAD_REFUSED)
                world.advance(2.0)
        assert len(world.recorder.segments) == count
        assert world.advance_until(lambda world: world.recorder.state is State.RECORDING, 15.0)
        world.advance(12.0)
    finish(world)
    assert causes(world) == [*["rotated"] * 8, "source-ended"]


def test_two_runs_in_a_row_that_get_nothing_new_are_enough() -> None:
    """A source that is over may still have its first playlist: somebody has to ask it if it goes on."""
    world = recording(30.0)
    for expected in (State.ROTATING, State.ROTATING, State.RECORDING):
        say(world, Line.RELOAD_REFUSED)
        world.advance(0.5)
        assert world.recorder.state is expected
        world.advance_until(lambda world: world.recorder.state is State.RECORDING, 15.0)
        world.advance(1.0)
    finish(world)


def test_the_end_of_one_of_several_streams_is_seen_when_the_others_go_on() -> None:
    world = recording(30.0)
    say(world, Line.SOURCE_SILENT)
    world.advance(1.0)
    assert world.recorder.state is State.RECORDING, "of a single stream the end follows at once"
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 10.0)
    world.advance(10.0)
    finish(world)
    assert causes(world) == ["rotated", "source-ended"]


def test_it_is_tried_again_while_the_suspicion_lasts_and_counts_as_no_failure() -> None:
    """The old segment goes on meanwhile, and its end would be answered at once."""
    world = recording(30.0)
    world.broker_refuses = 3
    say(world, Line.SOURCE_SILENT)
    world.advance(60.0)
    assert causes(world)[:5] == ["rotated", "launch-failed", "launch-failed", "launch-failed", None]
    assert notices(world).count(Notice.BESIDE_FAILED) == 3
    assert Notice.ROTATION_FAILED not in notices(world)
    assert world.recorder.failures == 0
    finish(world)


@pytest.mark.timeout(300)  # it computes for half a minute beside others
def test_tries_in_vain_become_rare_and_end() -> None:
    world = recording(30.0)
    world.broker_refuses = 1000
    say(world, Line.SOURCE_SILENT)
    world.advance(3600.0)
    tries = notices(world).count(Notice.BESIDE_FAILED)
    assert 600 / BESIDE_PAUSE_MAX < tries < 60
    world.advance(3600.0)
    assert notices(world).count(Notice.BESIDE_FAILED) == tries
    world.broker_refuses = 0
    finish(world)


@pytest.mark.parametrize("line", [Line.RELOAD_FAILED, Line.OPENING, Line.RESUMING])
def test_what_a_healthy_source_has_said_of_it_starts_nothing(line: Line) -> None:
    """A server that fails once is asked again by streamlink; an hour of that costs no run."""
    world = begun(World(policy=replace(POLICY, rotate_age=86400.0)))
    for _ in range(60):
        world.advance(60.0)
        say(world, line)
    assert len(world.recorder.segments) == 1
    finish(world)


def look(world: World, sound_at: int | None, unfit: str | None = None) -> None:
    """A look at the first segment's file: its pictures have come further, its sound as far as that."""
    first, now = world.recorder.segments[0], world.now.monotonic
    pulses = (
        Pulse(stream=1, is_video=True, stamp=round(now * 1000), units=25),
        Pulse(stream=2, is_video=False, stamp=sound_at, units=25 if sound_at is not None else 0),
    )
    world.tell(
        lambda at: ev.SizeMeasured(at=at, attempt=first.number, size=first.size + 1000, pulses=pulses, unfit=unfit)
    )
    world.advance(0.1)


def test_sound_that_stands_still_while_pictures_go_on_has_another_segment_start() -> None:
    world = recording(30.0)
    look(world, 1)
    for _ in range(2):
        assert Notice.STREAM_STILL not in notices(world)
        world.advance(5.0)
        look(world, None)
    assert notices(world).count(Notice.STREAM_STILL) == 1
    assert notices(world).count(Notice.SUSPECTED) == 1
    assert world.recorder.state is State.ROTATING
    world.advance(10.0)
    finish(world)
    assert causes(world) == ["rotated", "source-ended"]


def test_it_is_told_once_and_that_it_goes_on_again() -> None:
    world = recording(30.0)
    world.broker_refuses = 1000
    look(world, 1)
    for _ in range(6):
        world.advance(5.0)
        look(world, None)
    assert notices(world).count(Notice.STREAM_STILL) == 1
    look(world, 2)
    assert notices(world).count(Notice.STREAM_MOVES) == 1
    world.broker_refuses = 0
    finish(world)


@pytest.mark.parametrize(("container", "told"), [(Container.MP4, 1), (Container.RECEIVED, 0)])
def test_what_cannot_become_an_mp4_is_told_once_at_the_start_if_one_was_asked_for(
    container: Container, told: int
) -> None:
    world = begun(World(policy=replace(POLICY, container=container)))
    world.advance(3.0)
    for _ in range(3):
        look(world, None, "it comes as Matroska")
    assert notices(world).count(Notice.CONTAINER_UNFIT) == told
    assert (world.recorder.segments[-1].unfit is not None) is bool(told)
    finish(world)


def test_a_segment_beside_that_lacks_a_stream_is_not_waited_for() -> None:
    """It would wait for that stream for a minute, and the window moves on."""
    world = recording(30.0)
    say(world, Line.SOURCE_SILENT)
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING and is_waiting(world), 10.0)
    number = open_in_part(world)
    assert world.recorder.state is State.RECORDING
    assert world.recorder.segments[number - 1].cause == "source-refused"
    assert world.advance_until(lambda world: len(world.recorder.segments) > number, 10.0), "it is tried again"
    world.advance(10.0)
    finish(world)


def test_a_replacement_that_lacks_a_stream_is_tried_again_for_a_while() -> None:
    """What a killed run has missed is still offered; what stays away for long is gone on without."""
    world = recording(30.0)
    world.exit_run(max(world.scopes), KILLED)
    refused = 0
    while world.advance_until(is_waiting, 20.0) and refused < 100:
        number = open_in_part(world)
        if world.recorder.segments[number - 1].phase is Phase.WAITING:
            break
        refused += 1
    assert 5 < refused < 20
    finish(world)


def test_a_recording_that_begins_with_one_stream_alone_is_left_to_it() -> None:
    world = begun()
    assert world.advance_until(lambda world: bool(world.recorder.segments) and is_waiting(world), 10.0)
    open_in_part(world)
    assert is_waiting(world)
    world.advance(10.0)
    finish(world)
