# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a recording: asked to stop, deaths, rotations; in the simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, State, StopReason
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.deadlines import due
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.policy import SIZE_REST, media_limit
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY
from tests.unit.stories import (
    KILLED,
    OOM_KILLED,
    RUNNING,
    begun,
    causes,
    ends_well,
    everything_aired,
    notices,
    reach,
    recording,
)
from tests.unit.world import World

# --- asked to stop -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNING)
def test_stop_in_every_state(state: State) -> None:
    world = reach(state)
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)
    assert world.recorder.deaths == {State.BACKOFF: 2, State.PAUSED: 1}.get(state, 0)
    assert len(world.joined) == 1
    assert not world.folder


def test_stop_while_the_scope_is_on_its_way() -> None:
    world = begun()
    world.advance(0.05)
    assert world.recorder.segments[0].phase is Phase.LAUNCHING
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)
    assert causes(world) == ["stopped"]


def test_stop_before_anything_was_launched() -> None:
    world = World()
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)
    assert world.recorder.segments == ()


@pytest.mark.parametrize("state", [State.STOPPING, State.FINALIZING])
def test_a_second_stop_changes_nothing(state: State) -> None:
    world = reach(state)
    before = world.recorder
    world.ask(lambda at: ev.StopRequested(at=at))
    assert world.recorder == before
    ends_well(world, State.STOPPED)


@pytest.mark.parametrize("state", RUNNING)
def test_another_broadcast_ends_the_recording_of_the_last_one(state: State) -> None:
    """Nobody stopped it: what there is of it is complete."""
    world = reach(state)
    world.ask(lambda at: ev.BroadcastOver(at=at, why="another broadcast has begun"))
    ends_well(world, State.COMPLETED)
    assert len(world.joined) == 1


def test_duration() -> None:
    world = begun(World(duration=30.0))
    ends_well(world)
    assert world.recorder.stop is StopReason.DURATION
    started, ended = world.recorder.media_started, world.recorder.ended
    assert started is not None
    assert ended is not None
    assert 30.0 <= ended.monotonic - started.monotonic < 31.0
    everything = world.joined[0]
    assert everything == set(range(len(everything)))


def test_the_duration_counts_media_that_the_window_of_the_source_held() -> None:
    """The run ends by itself when it has them, long before so much time has passed."""
    world = begun(World(duration=30.0))
    world.advance(5.0)
    world.exit_run(1, Evidence(status=0, log=("info stream.hls: Stopping stream early after 30.00s",)))
    ends_well(world)
    assert world.recorder.stop is StopReason.DURATION
    assert [segment.cause for segment in world.recorder.segments] == ["stopped"]
    assert world.recorder.deaths == 0


def test_enough_before_anybody_saw_media_is_enough() -> None:
    world = World(duration=1.0)
    world.post(lambda at: ev.RecordRequested(at=at))
    assert world.advance_until(lambda world: bool(world.scopes))
    after, _ = step(
        world.recorder,
        ev.SegmentExited(
            at=world.now,
            attempt=1,
            evidence=Evidence(status=0, log=("info stream.hls: Stopping stream early after 1.00s",)),
        ),
    )
    assert (after.stop, after.state) == (StopReason.DURATION, State.STOPPING)
    assert after.media_started == world.now


def test_the_first_run_alone_ends_by_itself() -> None:
    world = World(duration=30.0)
    assert media_limit(world.recorder) == 30.0
    assert media_limit(reach(State.RECORDING, World(duration=70.0)).recorder) is None
    assert media_limit(World().recorder) is None
    twitch = replace(world.recorder.recording, url="https://www.twitch.tv/demo")
    assert media_limit(replace(world.recorder, recording=twitch)) is None


@pytest.mark.parametrize("state", RUNNING)
def test_duration_passes_in_any_state(state: State) -> None:
    world = reach(state, World(duration=70.0))
    ends_well(world)


def test_duration_that_passes_while_joining_is_no_deadline() -> None:
    world = begun(World(duration=100.0))
    world.advance(10.0)
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is State.FINALIZING)
    world.monotonic += 300.0
    assert due(world.recorder, world.now) is None
    ends_well(world)


# --- deaths --------------------------------------------------------------------------------------------------------


def test_a_death_is_answered_at_once_and_loses_nothing() -> None:
    world = recording(20.0)
    world.exit_run(1, KILLED)
    world.advance(0.2)
    assert list(world.scopes) == [2]
    world.advance(20.0)
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)
    assert causes(world) == ["signal:9", "source-ended"]
    assert world.recorder.deaths == 1


def test_deaths_in_a_row_are_answered_later_and_later() -> None:
    world = recording(20.0)
    waits = []
    for _ in range(5):
        died = world.monotonic
        world.exit_run(max(world.scopes), KILLED)
        world.advance(0.05)
        assert world.advance_until(lambda world: world.recorder.state is State.RECORDING)
        waits.append(world.monotonic - died - 0.61)
    assert waits == pytest.approx([0.0, 0.2, 0.5, 1.0, 2.0], rel=0.25, abs=0.01)
    world.advance(70.0)
    assert causes(world)[5:] == ["rotated", None]  # it has lasted meanwhile
    world.exit_run(max(world.scopes), KILLED)
    world.advance(0.2)
    assert world.recorder.failures == 1


@pytest.mark.parametrize("how", ["record", "before", "after", "lost"])
def test_oom_is_recognised_by_whoever_tells(how: str) -> None:
    world = recording()
    if how == "record":
        world.exit_run(1, OOM_KILLED)
    elif how == "before":
        world.exit_run(1, KILLED.merged(Evidence(unit_result="oom-kill")))
    else:
        world.exit_run(1, KILLED, record=how == "after")
        late = Evidence(unit_result="oom-kill")
        world.post(lambda at: ev.EvidenceArrived(at=at, attempt=1, evidence=late), 0.1)
        world.post(lambda at: ev.EvidenceArrived(at=at, attempt=1, evidence=late), 0.2)
    world.advance(5.0)
    assert causes(world) == ["oom", None]
    assert world.recorder.deaths == 1
    assert notices(world).count(Notice.CAUSE_CORRECTED) == (1 if how in ("after", "lost") else 0)
    assert notices(world).count(Notice.SEGMENT_DIED) == 1


def test_evidence_of_something_else_corrects_nothing() -> None:
    world = recording()
    world.exit_run(1, KILLED)
    world.post(lambda at: ev.EvidenceArrived(at=at, attempt=1, evidence=Evidence(unit_result="timeout")), 0.1)
    world.post(lambda at: ev.EvidenceArrived(at=at, attempt=2, evidence=Evidence(oom_kills=1)), 3.0)
    world.advance(5.0)
    assert causes(world) == ["signal:9", None]


def test_a_stalled_segment_is_replaced() -> None:
    world = recording()
    world.scopes[1].stalled = True
    world.advance(42.0)
    assert causes(world) == ["stall", None]
    assert Notice.STALLED in notices(world)
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_stall_after_a_lasting_run_is_answered_at_once() -> None:
    world = begun(World(policy=replace(POLICY, rotate_age=9999.0)))
    world.advance(5.0)
    for _ in range(4):
        world.exit_run(max(world.scopes), KILLED)
        world.advance(5.0)
    world.advance(70.0)
    world.scopes[5].stalled = True
    assert world.advance_until(lambda world: world.recorder.next_number == 7)
    assert world.recorder.state is State.STARTING
    assert world.recorder.failures == 1


@pytest.mark.parametrize("stops", [2, 4])
def test_a_stop_that_is_ignored_is_asked_again(stops: int) -> None:
    world = begun()
    world.next_stops_needed = stops
    world.advance(5.0)
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)
    assert notices(world).count(Notice.STOP_OVERDUE) == stops - 1
    assert causes(world) == ["stopped"]


def test_what_cannot_be_killed_does_not_hold_up_the_recording() -> None:
    world = begun()
    world.next_stops_needed = 99
    world.advance(5.0)
    world.ask(lambda at: ev.StopRequested(at=at))
    assert world.finish() is State.STOPPED
    assert causes(world) == ["unkillable"]
    assert world.broken == []
    assert world.leftovers() == ["scope 1"]
    world.restart()
    assert world.scopes[1].stops == 6  # four times, by the seal, and as a scope without a row


def test_a_seal_that_hangs_is_asked_again() -> None:
    world = recording(seals_hang=2)
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)


def test_a_disk_that_never_answers_does_not_hold_up_the_recording() -> None:
    world = recording(seals_hang=99)
    world.ask(lambda at: ev.StopRequested(at=at))
    assert world.finish() is State.STOPPED
    assert world.broken == []
    assert world.joined


# --- rotation ------------------------------------------------------------------------------------------------------


def rotating(*, until_media: bool = False) -> World:
    world = recording(20.0)
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(0.6 if until_media else 0.3)
    assert world.recorder.state is State.ROTATING
    return world


def test_rotation_on_request() -> None:
    world = rotating()
    world.advance(5.0)
    assert causes(world) == ["rotated", None]
    assert world.recorder.segments[0].rotated
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_rotation_by_size() -> None:
    world = begun(World(policy=replace(POLICY, rotate_size=30 * 800_000, rotate_age=9999.0)))
    world.advance(39.0)
    assert [segment.number for segment in world.recorder.segments] == [1]
    world.advance(5.0)
    assert [segment.number for segment in world.recorder.segments] == [1, 2]
    first = world.recorder.segments[0]
    assert 30 * 800_000 <= first.size <= 34 * 800_000


def test_a_window_that_is_larger_than_the_size_is_not_rotated_at_once_again_and_again() -> None:
    world = begun(World(policy=replace(POLICY, rotate_size=1, rotate_age=9999.0)))
    world.advance(600.0)
    assert 3 <= len(world.recorder.segments) <= 600.0 / SIZE_REST + 1
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_rotation_is_asked_for_when_nothing_writes() -> None:
    world = reach(State.STARTING)
    world.ask(lambda at: ev.RotateRequested(at=at))
    assert world.recorder.next_number == 2


@pytest.mark.parametrize("until_media", [False, True])
@pytest.mark.parametrize("who", ["old", "new", "both"])
def test_death_in_a_rotation(who: str, *, until_media: bool) -> None:
    world = rotating(until_media=until_media)
    for attempt in {"old": [1], "new": [2], "both": [1, 2]}[who]:
        world.exit_run(attempt, KILLED)
    world.advance(20.0)
    assert world.recorder.state is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_failed_rotation_is_tried_again_and_stops_the_right_segment() -> None:
    world = rotating()
    world.exit_run(2, KILLED)
    world.advance(1.0)
    assert world.recorder.state is State.RECORDING
    assert list(world.scopes) == [1]
    assert Notice.ROTATION_FAILED in notices(world)
    world.advance(50.0)
    assert causes(world) == ["rotated", "signal:9", None]
    assert list(world.scopes) == [3]


def test_a_rotation_whose_overlap_cannot_be_proven_ends_by_its_limit() -> None:
    world = recording(20.0)
    world.files[1][:] = range(900, 910)  # as of a source that counts anew: the head is nowhere in the old file
    world.scopes[1].stalled = True
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(15.0)
    assert len(world.scopes) == 2
    world.advance(10.0)
    assert list(world.scopes) == [2]
    assert Notice.OVERLAP_UNPROVEN in notices(world)
    assert world.broken == []


def test_the_new_segment_of_a_rotation_is_refused() -> None:
    world = recording(20.0, broker_refuses=1)
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(5.0)
    assert world.recorder.state is State.RECORDING
    assert causes(world) == [None, "launch-failed"]
    assert world.recorder.deaths == 0
