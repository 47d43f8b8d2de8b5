# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a machine that goes down, or nearly so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import HOST_HOLD, HOST_WINDOW
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY
from tests.unit.stories import (
    KILLED,
    RUNNING,
    begun,
    causes,
    ends_well,
    everything_aired,
    notices,
    reach,
    recording,
    state_of,
)
from tests.unit.world import World

ASKED_BY_SYSTEMD = Evidence(status=130)


def going_down(world: World) -> None:
    world.post(lambda at: ev.HostStopping(at=at))
    world.advance(0.01)


def staying(world: World) -> None:
    world.post(lambda at: ev.HostStays(at=at))


def test_a_segment_that_ends_with_the_machine_is_not_replaced() -> None:
    world = recording()
    going_down(world)
    world.exit_run(1, ASKED_BY_SYSTEMD)
    world.advance(HOST_HOLD - 10)
    assert causes(world) == ["host-shutdown"]
    assert world.recorder.state is State.BACKOFF


def test_the_exit_may_be_known_before_the_shutdown() -> None:
    """The replacement that was begun is refused by systemd: one end, and it is the machine's doing."""
    world = recording(broker_refuses=1)
    world.exit_run(1, ASKED_BY_SYSTEMD)
    world.advance(0.02)
    assert causes(world) == ["signal:15", None]
    going_down(world)
    world.advance(60)
    assert causes(world) == ["host-shutdown", "launch-failed"]
    assert world.recorder.state is State.BACKOFF
    assert notices(world).count(Notice.SEGMENT_DIED) == 1
    assert Notice.LAUNCH_FAILED not in notices(world)


def test_an_earlier_death_is_none_of_its_doing() -> None:
    world = recording()
    world.exit_run(1, KILLED)
    world.advance(HOST_WINDOW + 1)
    going_down(world)
    assert causes(world) == ["signal:9", None]


def test_what_waits_for_its_next_try_waits_for_the_next_boot() -> None:
    world = reach(State.BACKOFF)
    going_down(world)
    segments = len(world.recorder.segments)
    world.advance(HOST_HOLD - 10)
    assert len(world.recorder.segments) == segments
    assert world.recorder.state is State.BACKOFF


def test_a_shutdown_that_is_called_off() -> None:
    """What it has ended goes on at once; what it has not ended is recorded as if nothing had been."""
    world = recording()
    going_down(world)
    world.exit_run(1, ASKED_BY_SYSTEMD)
    world.advance(5.0)
    staying(world)
    world.advance(5.0)
    assert world.recorder.state is State.RECORDING
    assert causes(world) == ["host-shutdown", None]

    going_down(world)
    staying(world)
    world.advance(20.0)
    world.exit_run(2, KILLED)
    world.advance(5.0)
    assert world.recorder.state is State.RECORDING
    assert causes(world) == ["host-shutdown", "signal:9", None]


def test_a_shutdown_that_never_comes() -> None:
    """Nobody has called it off, and the machine is still there."""
    world = recording()
    going_down(world)
    world.exit_run(1, ASKED_BY_SYSTEMD)
    world.advance(HOST_HOLD + 5)
    assert world.recorder.state is State.RECORDING


def test_a_join_that_ended_with_the_machine_that_stayed_is_begun_anew() -> None:
    world = reach(State.FINALIZING)
    going_down(world)
    world.post(lambda at: ev.JoinEnded(at=at, join=1, why="it was killed"))
    staying(world)
    ends_well(world, State.STOPPED)
    assert Notice.JOIN_FAILED not in notices(world)


def launches(world: World) -> int:
    return sum(isinstance(effect, fx.Launch) for effect in world.performed)


def tempt(world: World) -> None:
    """Whatever would start something."""
    world.change_air(Air.LIVE)
    world.free_disk()
    world.regain_network()
    world.ask(lambda at: ev.RotateRequested(at=at))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("state", RUNNING)
def test_nothing_starts_on_a_machine_that_goes_down_and_all_goes_on_when_it_stays(state: State, *, told: bool) -> None:
    world = reach(state)
    world.begin_shutdown()
    world.advance(0.01)
    before = launches(world)
    tempt(world)
    world.advance(HOST_HOLD - 1.0)
    assert launches(world) == before
    assert not world.scopes
    world.call_off_shutdown(told=told)
    world.advance(5.0 if told else 5.0 + POLICY.grace)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_machine_that_goes_down_before_anything_was_begun() -> None:
    world = World()
    world.begin_shutdown()
    world.advance(0.1)
    begun(world)
    world.advance(10.0)
    assert launches(world) == 0
    world.call_off_shutdown()
    world.advance(5.0)
    assert state_of(world) is State.RECORDING


@pytest.mark.parametrize(("seconds", "noted"), [
    (0.05, ["host-shutdown", "launch-failed"]),
    (0.3, ["rotated", "host-shutdown"]),  # the new one had media before it was ended
])  # fmt: skip
def test_a_rotation_on_a_machine_that_goes_down(seconds: float, noted: list[str]) -> None:
    world = recording(20.0)
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(seconds)
    world.begin_shutdown()
    world.advance(60.0)
    assert state_of(world) is State.BACKOFF
    assert causes(world) == noted


def test_a_rotation_that_is_due_waits() -> None:
    world = recording(20.0)
    going_down(world)
    world.advance(POLICY.rotate_age + 30.0)
    assert state_of(world) is State.RECORDING
    assert len(world.recorder.segments) == 1
    staying(world)
    world.advance(10.0)
    assert causes(world) == ["rotated", None]


def test_silence_before_the_machine_went_down_is_forgotten() -> None:
    """The source has its whole grace period again when the machine stays."""
    world = reach(State.GRACE)
    world.change_air(Air.LIVE)
    assert world.advance_until(lambda world: world.recorder.state is State.STARTING)
    world.begin_shutdown()
    world.advance(POLICY.grace + 60.0)
    world.change_air(Air.OFFLINE)
    world.call_off_shutdown()
    world.advance(10.0)
    assert state_of(world) is State.GRACE
    world.change_air(Air.LIVE)
    world.advance(20.0)
    assert state_of(world) is State.RECORDING


def test_memory_is_no_reason_to_start_something_on_a_machine_that_goes_down() -> None:
    world = recording(20.0)
    going_down(world)
    world.anon = 250 << 20
    world.advance(HOST_HOLD - 10.0)
    assert state_of(world) is State.RECORDING
    assert len(world.recorder.segments) == 1
    assert world.broken == []


def test_a_shutdown_that_nobody_called_off_is_forgotten() -> None:
    """A death long after it is none of its doing, and is answered at once."""
    world = recording(20.0)
    going_down(world)
    world.advance(HOST_HOLD + 1.0)
    world.kill(max(world.scopes))
    world.advance(1.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


@pytest.mark.parametrize("record", [True, False])
def test_what_was_killed_before_it_is_told_apart(record: bool) -> None:
    """systemd begins with SIGTERM, so a shim that was killed before it went down was killed by somebody else."""
    world = recording(20.0)
    world.kill(1, record=record)
    world.advance(HOST_WINDOW / 2)
    world.begin_shutdown()
    world.advance(5.0)
    assert causes(world) == ["signal:9", "host-shutdown"]


def test_what_is_killed_by_somebody_else_is_told_apart() -> None:
    """SIGKILL ends the shim, too, if it comes from systemd."""
    world = recording(20.0)
    going_down(world)
    world.kill(1)
    world.advance(1.0)
    assert causes(world) == ["signal:9"]
    assert state_of(world) is State.BACKOFF


def ordered(world: World) -> None:
    world.shut_down()


def told_late(world: World) -> None:
    world.shut_down(told=1.0)


def never_told(world: World) -> None:
    world.shut_down(told=None)


def power_cut(world: World) -> None:
    world.reboot(unsynced=3)


def power_cut_twice(world: World) -> None:
    world.reboot(unsynced=3)
    world.advance(0.3)
    world.reboot(5.0, unsynced=1)


@pytest.mark.parametrize("state", [*RUNNING, State.STOPPING, State.FINALIZING])
@pytest.mark.parametrize("how", [ordered, told_late, never_told, power_cut, power_cut_twice])
def test_the_same_recording_goes_on_after_a_boot(state: State, how: Callable[[World], None]) -> None:
    world = reach(state)
    how(world)
    world.change_air(Air.LIVE)
    world.free_disk()
    world.advance(130.0)
    stopped = world.recorder.stop is StopReason.REQUESTED
    assert state_of(world) in ((State.STOPPED,) if stopped else (State.RECORDING, State.ROTATING))
    world.change_air(Air.ENDED)
    ends_well(world, State.STOPPED if stopped else State.COMPLETED)
    assert len(world.joined) == 1


def test_each_run_that_a_power_cut_ended_is_one_death() -> None:
    world = recording(20.0)
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(0.6)
    assert state_of(world) is State.ROTATING
    world.reboot()
    world.advance(5.0)
    assert causes(world) == ["host-shutdown", "host-shutdown", None]
    assert world.recorder.deaths == 2
    assert notices(world).count(Notice.SEGMENT_DIED) == 2


def test_a_restart_after_the_boot_remembers_which_runs_were_of_it() -> None:
    world = recording(20.0)
    world.reboot()
    world.advance(5.0)
    world.crash()
    world.advance(5.0)
    world.exit_run(2, Evidence(status=130))
    world.restart()
    world.advance(5.0)
    assert causes(world) == ["host-shutdown", "signal:15", None]


def test_a_boot_in_the_window_loses_nothing() -> None:
    world = recording(20.0)
    world.reboot(15.0)
    world.advance(5.0)
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)
