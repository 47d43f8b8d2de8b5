# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a disk without room: it is a state, nothing runs in it, and it is left by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.model import Phase, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import DISK_CHECK, DISK_CHECK_MAX, HOST_HOLD, PAUSE_MAX
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY
from tests.unit.stories import KILLED, begun, causes, ends_well, everything_aired, notices, reach, recording, state_of
from tests.unit.world import World


def brake(world: World) -> None:
    """Somebody who watches the disk says that soon there will be no room."""
    world.disk = "full"
    world.tell(lambda at: ev.DiskLow(at=at, why="less than an hour is left"))
    world.advance(0.1)


def is_paused(world: World) -> bool:
    return world.recorder.state is State.PAUSED and not any(s.phase.is_live for s in world.recorder.segments)


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_a_full_disk_is_waited_out_without_a_trail(why: str) -> None:
    world = recording(20.0)
    world.fill_disk(why)
    world.advance(4 * 3600.0)
    assert is_paused(world)
    assert causes(world) == ["disk-full"]
    assert list(world.files) == [1]
    assert notices(world).count(Notice.DISK_LOW) == 1
    looks = sum(isinstance(effect, fx.CheckDisk) for effect in world.performed)
    assert 4 * 60 <= looks <= 4 * 60 + 20
    world.free_disk()
    world.advance(DISK_CHECK_MAX + 2.0)
    assert state_of(world) is State.RECORDING
    assert notices(world).count(Notice.DISK_FREED) == 1
    world.change_air(Air.ENDED)
    ends_well(world)


@pytest.mark.parametrize("state", [State.STARTING, State.RECORDING, State.ROTATING, State.BACKOFF])
def test_the_brake_ends_what_runs_and_starts_nothing(state: State) -> None:
    world = begun()
    world.advance(20.0)
    if state is State.STARTING:
        world = reach(state)
    elif state is State.ROTATING:
        world.ask(lambda at: ev.RotateRequested(at=at))
        world.advance(0.3)
    elif state is State.BACKOFF:
        world = reach(state)
    assert state_of(world) is state
    brake(world)
    numbers = [segment.number for segment in world.recorder.segments]
    world.advance(600.0)
    assert is_paused(world)
    assert [segment.number for segment in world.recorder.segments] == numbers
    assert not world.scopes
    world.free_disk()
    world.advance(3 * DISK_CHECK_MAX)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


def test_the_old_segment_of_a_rotation_writes_on_if_there_is_no_room_for_the_new_one() -> None:
    world = recording(20.0)
    world.disk = "full"
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(0.2)
    world.disk = None
    assert state_of(world) is State.RECORDING
    assert causes(world) == [None, "launch-failed"]
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_recording_that_begins_on_a_full_disk_begins_when_there_is_room() -> None:
    world = World()
    world.fill_disk()
    begun(world)
    world.advance(300.0)
    assert is_paused(world)
    assert causes(world) == ["launch-failed"]
    assert world.files == {}
    world.free_disk()
    world.advance(DISK_CHECK_MAX + 2.0)
    assert state_of(world) is State.RECORDING
    assert world.recorder.deaths == 0
    world.change_air(Air.ENDED)
    ends_well(world)


def test_room_that_is_told_of_is_used_at_once() -> None:
    world = recording(20.0)
    brake(world)
    world.advance(1.0)
    world.free_disk()
    world.tell(lambda at: ev.DiskFreed(at=at))
    world.advance(1.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_disk_that_only_looks_as_if_it_had_room_is_tried_less_and_less() -> None:
    """Say, a quota. It is not tried again and again for nothing, and no empty files are left."""
    world = recording(20.0)
    world.disk_seems_free = True
    world.fill_disk()
    world.advance(3600.0)
    assert 5 <= len(world.recorder.segments) <= 20
    assert list(world.files) == [1]
    world.free_disk()
    world.advance(400.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


def test_deaths_of_another_kind_are_no_reason_to_wait_for_the_disk() -> None:
    world = recording(20.0)
    for _ in range(6):
        world.kill(max(world.scopes))
        world.advance(14.0)
    world.fill_disk()
    world.advance(1.0)
    assert is_paused(world)
    world.free_disk()
    world.advance(DISK_CHECK + 1.0)
    assert state_of(world) is State.RECORDING


def test_a_segment_that_ignores_its_stop_is_ended_while_paused() -> None:
    world = recording(20.0)
    world.scopes[1].stops_needed = 3
    brake(world)
    assert world.recorder.segments[0].phase is Phase.STOPPING
    world.advance(DISK_CHECK + 0.5)
    assert state_of(world) is State.PAUSED
    world.disk = None
    world.advance(DISK_CHECK + 1.0)
    assert world.recorder.segments[0].phase is Phase.STOPPING  # still, and it does not hold anything up
    assert len(world.recorder.segments) == 2
    world.advance(30.0)
    assert causes(world) == ["disk-full", None]
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_run_that_is_killed_while_it_is_stopped_for_want_of_room() -> None:
    world = recording(20.0)
    brake(world)
    world.exit_run(1, KILLED)
    world.advance(5.0)
    assert causes(world) == ["disk-full"]
    assert is_paused(world)


def test_the_source_may_end_meanwhile() -> None:
    world = recording(20.0)
    world.fill_disk()
    world.advance(5.0)
    world.change_air(Air.OFFLINE)
    world.advance(600.0)
    assert is_paused(world)
    world.free_disk()
    ends_well(world)


def test_silence_before_the_disk_was_full_is_forgotten() -> None:
    """The source was asked for the last time an hour ago: it has its whole grace period again."""
    world = reach(State.GRACE)
    world.change_air(Air.LIVE)
    assert world.advance_until(lambda world: world.recorder.state is State.STARTING)
    brake(world)
    world.advance(3600.0)
    world.change_air(Air.OFFLINE)
    world.free_disk()
    assert world.advance_until(lambda world: world.recorder.state is State.GRACE, DISK_CHECK_MAX + 5.0)
    world.change_air(Air.LIVE)
    world.advance(POLICY.grace)
    assert state_of(world) is State.RECORDING


def test_a_recording_that_found_no_room_for_a_day_is_over() -> None:
    world = recording(20.0)
    world.fill_disk()
    aired = world.aired
    world.advance(PAUSE_MAX - 60.0)
    assert is_paused(world)
    world.advance(120.0)
    ends_well(world)
    assert world.joined == [set(range(aired))]


def test_a_disk_that_says_for_a_day_that_it_has_room_and_has_none() -> None:
    world = recording(20.0, disk_seems_free=True)
    world.fill_disk()
    world.advance(PAUSE_MAX - 60.0)
    assert state_of(world) in (State.PAUSED, State.BACKOFF)
    assert world.advance_until(lambda world: world.recorder.state is State.FINALIZING, 600.0)
    ends_well(world)


def test_the_duration_passes_while_paused() -> None:
    world = begun(World(duration=60.0))
    world.advance(20.0)
    world.fill_disk()
    world.advance(30.0)
    assert is_paused(world)
    ends_well(world)


@pytest.mark.parametrize("away", [World.restart, World.reboot])
def test_a_daemon_that_comes_back_looks_at_the_disk_first(away: object) -> None:
    world = recording(20.0)
    world.fill_disk()
    world.advance(5.0)
    assert callable(away)
    away(world)
    world.advance(60.0)
    assert is_paused(world)
    assert len(world.recorder.segments) == 1
    world.free_disk()
    world.advance(DISK_CHECK_MAX + 2.0)
    assert state_of(world) is State.RECORDING


def test_room_on_a_machine_that_goes_down_is_of_no_use() -> None:
    world = recording(20.0)
    brake(world)
    world.advance(5.0)
    world.begin_shutdown()
    world.free_disk()
    world.advance(HOST_HOLD - 30.0)
    assert len(world.recorder.segments) == 1
    assert state_of(world) is State.BACKOFF
    world.call_off_shutdown()
    world.advance(2.0)
    assert state_of(world) is State.RECORDING


def test_an_answer_about_the_disk_that_never_comes_is_asked_for_again() -> None:
    world = recording(20.0)
    world.fill_disk()
    world.advance(DISK_CHECK + 0.55)  # asked, and not answered yet
    world._agenda.clear()
    world.free_disk()
    world.advance(3 * DISK_CHECK_MAX)
    assert state_of(world) is State.RECORDING


def test_a_disk_that_fills_again_and_again_pauses_longer() -> None:
    world = begun(World(policy=replace(POLICY, rotate_age=9999.0)))
    world.advance(20.0)
    paused = []
    for _ in range(5):
        brake(world)
        since = world.monotonic
        world.free_disk()
        assert world.advance_until(lambda world: world.recorder.state is State.RECORDING)
        paused.append(world.monotonic - since)
        world.advance(5.0)
    assert paused == sorted(paused)
    assert paused[-1] > 60.0
    world.advance(120.0)  # it has lasted
    brake(world)
    since = world.monotonic
    world.free_disk()
    assert world.advance_until(lambda world: world.recorder.state is State.RECORDING)
    assert world.monotonic - since < 2 * DISK_CHECK
