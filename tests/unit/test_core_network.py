# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a source that cannot be reached, and of advertisements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from tests.unit.broadcast import UNREACHABLE, Air
from tests.unit.rows import POLICY
from tests.unit.stories import begun, causes, ends_well, everything_aired, reach, recording, state_of
from tests.unit.world import World


def probes(world: World) -> int:
    return sum(isinstance(effect, fx.Probe) for effect in world.performed)


def test_an_outage_shorter_than_the_window_loses_nothing() -> None:
    world = recording(20.0)
    world.lose_network()
    world.advance(18.0)
    world.regain_network()
    world.advance(5.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("told", [True, False])
def test_an_outage_longer_than_the_grace_period_does_not_end_the_recording(told: bool) -> None:
    world = recording(20.0)
    world.lose_network()
    world.advance(POLICY.outage * 0.8)
    assert state_of(world) is State.GRACE
    assert set(causes(world)) == {"network"}
    world.regain_network(told=told)
    world.advance(3.0 if told else 25.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


def test_an_outage_has_an_end() -> None:
    world = recording(20.0)
    world.lose_network()
    lost, before = world.monotonic, probes(world)
    ends_well(world)
    assert POLICY.outage <= world.monotonic - lost <= POLICY.outage + POLICY.grace + 30.0
    assert probes(world) - before < 40  # every 15 s, and not all the time


def test_a_streamlink_that_takes_long_to_give_up_does_not_end_the_recording() -> None:
    """It finds out that nobody answers when the grace period is over; nobody has asked the source yet."""
    world = recording(20.0)
    world.lose_network()
    assert world.advance_until(lambda world: 2 in world.scopes)
    world._agenda.clear()  # it does not give up in three seconds
    world.post(lambda at: ev.ScopeStarted(at=at, attempt=2))
    world.advance(POLICY.grace + 5.0)
    assert state_of(world) is State.STARTING
    world.exit_run(2, Evidence(status=1, log=(UNREACHABLE,)))
    world.advance(1.0)
    assert state_of(world) is State.GRACE
    world.regain_network()
    world.advance(3.0)
    assert causes(world)[-1] is None


def test_questions_that_nobody_answers_do_not_end_the_recording_either() -> None:
    world = recording(20.0)
    world.lose_network()
    world.probes_hang = True
    world.advance(POLICY.outage * 0.8)
    assert state_of(world) is State.GRACE
    world.probes_hang = False
    world.regain_network()
    world.advance(3.0)
    assert state_of(world) is State.RECORDING


def test_questions_that_nobody_ever_answers_end_it_in_time() -> None:
    world = recording(20.0)
    world.lose_network()
    world.probes_hang = True
    lost = world.monotonic
    ends_well(world)
    assert POLICY.outage - 30.0 <= world.monotonic - lost <= POLICY.outage + POLICY.grace + 60.0


def test_the_answer_to_the_last_question_is_waited_for() -> None:
    world = reach(State.GRACE)
    until = world.recorder.grace_until
    assert until is not None
    assert world.advance_until(lambda world: world.recorder.probing and world.monotonic > until - 3.0)
    world._agenda.clear()
    number = world.recorder.probe
    world.post(lambda at: ev.SourceProbed(at=at, probe=number, outcome=ev.Outcome.LIVE, detail=""), 8.0)
    world.change_air(Air.LIVE)
    world.advance(10.0)
    assert state_of(world) is State.RECORDING


def test_answers_that_take_long_do_not_prolong_the_wait() -> None:
    world = recording(20.0)
    world.probe_seconds = 5.0
    world.change_air(Air.OFFLINE)
    gone = world.monotonic
    ends_well(world)
    assert world.monotonic - gone < POLICY.grace + 25.0


def test_the_source_is_over_when_the_network_comes_back() -> None:
    world = recording(20.0)
    world.lose_network()
    world.advance(100.0)
    world.change_air(Air.OFFLINE)
    world.regain_network()
    back = world.monotonic
    ends_well(world)
    assert world.monotonic - back <= POLICY.grace + 10.0


def test_a_network_that_comes_back_all_the_time_starts_no_crowd() -> None:
    world = recording(20.0)
    world.lose_network()
    world.advance(30.0)
    for _ in range(50):
        world.tell(lambda at: ev.NetworkBack(at=at))
        world.advance(0.2)
    assert len(world.recorder.segments) <= 5
    world.regain_network()
    world.advance(3.0)
    assert state_of(world) is State.RECORDING


def test_a_network_that_is_back_ends_the_wait_after_a_stall() -> None:
    world = recording(20.0)
    for _ in range(6):
        world.kill(max(world.scopes))
        world.advance(14.0)
    world.scopes[max(world.scopes)].stalled = True
    assert world.advance_until(lambda world: world.recorder.state is State.BACKOFF)
    segments = len(world.recorder.segments)
    world.tell(lambda at: ev.NetworkBack(at=at))
    world.advance(1.0)
    assert len(world.recorder.segments) == segments + 1


def test_other_deaths_do_not_wait_for_the_network() -> None:
    world = reach(State.BACKOFF)
    before = world.recorder
    world.handle(ev.NetworkBack(at=world.now))
    assert world.recorder == before


def test_a_machine_whose_network_comes_late_after_a_reboot() -> None:
    world = recording(20.0)
    world.is_reachable = False
    world.reboot(30.0)
    world.advance(90.0)
    assert state_of(world) is State.GRACE
    world.regain_network()
    world.advance(3.0)
    assert state_of(world) is State.RECORDING
    assert world.recorder.segments[0].cause == "host-shutdown"


# --- advertisements ------------------------------------------------------------------------------------------------

LONG = replace(POLICY, rotate_age=9999.0)


def test_advertisements_are_no_stall() -> None:
    world = begun(World(policy=LONG))
    world.advance(20.0)
    for _ in range(3):
        world.change_air(Air.ADS)
        world.advance(POLICY.stall_timeout + 30.0)
        world.change_air(Air.LIVE)
        world.advance(20.0)
    assert causes(world) == [None]
    assert world.deadlines_met < 100
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_advertisements_without_end_are_one() -> None:
    world = begun(World(policy=LONG))
    world.advance(20.0)
    world.change_air(Air.ADS)
    world.advance(POLICY.stall_timeout + POLICY.start_timeout + 20.0)
    assert causes(world)[0] == "stall"


def test_a_stall_after_advertisements_is_one() -> None:
    world = begun(World(policy=LONG))
    world.advance(20.0)
    world.change_air(Air.ADS)
    world.advance(50.0)
    world.scopes[1].stalled = True
    world.change_air(Air.LIVE)
    world.advance(POLICY.stall_timeout + 15.0)
    assert causes(world)[0] == "stall"
    assert state_of(world) is State.RECORDING


def test_a_daemon_that_did_not_hear_of_the_advertisements() -> None:
    """It replaces the segment, which costs nothing but a seam."""
    world = begun(World(policy=LONG))
    world.advance(20.0)
    world.change_air(Air.ADS)
    world.advance(5.0)
    world.restart()
    world.advance(60.0)
    world.change_air(Air.LIVE)
    world.advance(30.0)
    assert state_of(world) is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)
