# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a machine that goes down, or nearly so."""

from __future__ import annotations

from streamvaultd.core import events as ev
from streamvaultd.core.effects import Notice
from streamvaultd.core.model import State
from streamvaultd.core.policy import HOST_HOLD, HOST_WINDOW
from streamvaultd.core.verdict import Evidence
from tests.unit.stories import KILLED, causes, ends_well, notices, reach, recording
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
