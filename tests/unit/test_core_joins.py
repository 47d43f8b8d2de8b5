# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins that fail: tried again, later and later, for ever; unless nothing could ever come of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from streamvaultd.core.model import State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.policy import JOIN_DELAYS, JOINS_TOLD, join_delay
from tests.unit.broadcast import Air
from tests.unit.stories import ends_well, everything_aired, notices, recording
from tests.unit.test_core_host import going_down, staying
from tests.unit.world import World

DAY = 86400.0


def unjoined(failures: int = 1) -> World:
    """A broadcast is over, and its join has failed once."""
    world = recording(20.0, join_failures=failures)
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is State.UNJOINED)
    return world


def play(world: World) -> World:
    """A broadcast whose join fails three times."""
    world.join_failures = 3
    world.post(lambda at: ev.RecordRequested(at=at))
    world.after(20.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    return world


def test_a_join_that_fails_is_tried_again_after_a_pause() -> None:
    world = unjoined(2)
    assert (world.recorder.detail, world.recorder.state.status) == (
        "the last join failed: cannot read segment 002",
        "finalizing",
    )
    since = world.monotonic
    ends_well(world)
    everything_aired(world)
    assert world.recorder.joins == 3
    assert world.monotonic - since > sum(JOIN_DELAYS[:2]) * 0.75
    assert world.recorder.detail is None
    assert notices(world).count(Notice.JOIN_FAILED) == 2


def test_pauses_grow_to_an_hour_and_no_further() -> None:
    delays = [join_delay(failures, 1) for failures in range(1, 30)]
    assert all(0.75 * most <= delay <= 1.25 * most for delay, most in zip(delays, JOIN_DELAYS, strict=False))
    assert all(a < b for a, b in pairwise(delays[:4]))
    assert max(delays) <= JOIN_DELAYS[-1] * 1.25


def test_a_join_that_fails_for_days_comes_to_an_end_when_it_can() -> None:
    world = unjoined(60)
    world.advance(DAY)
    assert world.recorder.state in (State.UNJOINED, State.FINALIZING)
    assert 20 < world.recorder.joins < 40
    world.join_failures = 0
    ends_well(world)
    everything_aired(world)


def test_people_are_notified_once_of_a_join_that_keeps_failing() -> None:
    world = unjoined(10)
    assert Notice.UNJOINED not in notices(world)
    world.advance_until(lambda world: not world.join_failures, DAY)
    ends_well(world)
    told = [each for each in notices(world) if each in (Notice.JOIN_FAILED, Notice.UNJOINED)]
    assert told == [Notice.JOIN_FAILED] * JOINS_TOLD + [Notice.UNJOINED] + [Notice.JOIN_FAILED] * (10 - JOINS_TOLD)


def test_a_join_that_can_never_work_has_failed_and_keeps_the_segments() -> None:
    world = recording(20.0, join_failures=1, joins_fail_for_good=True)
    world.change_air(Air.ENDED)
    assert world.finish() is State.FAILED
    assert (world.broken, world.leftovers(), world.recorder.path) == ([], [], None)
    assert world.files
    assert world.recorder.detail == "cannot join: cannot read segment 002"
    assert world.recorder.joins == 1


def test_a_retry_joins_at_once() -> None:
    world = unjoined()
    world.ask(lambda at: ev.RetryRequested(at=at))
    assert (world.recorder.state, world.recorder.joins, world.recorder.failures) == (State.FINALIZING, 2, 0)
    ends_well(world)
    everything_aired(world)


def test_a_join_is_given_up_by_request_and_taken_up_again() -> None:
    world = unjoined()
    world.ask(lambda at: ev.StopRequested(at=at))
    assert world.recorder.state is State.FAILED
    assert world.recorder.detail == "given up by request; the last join failed: cannot read segment 002"
    assert world.files
    world.advance(DAY)
    assert world.recorder.joins == 1
    world.ask(lambda at: ev.RetryRequested(at=at))
    ends_well(world)
    everything_aired(world)


def test_what_was_not_stopped_by_request_is_complete_all_the_same() -> None:
    """Giving up a join is no reason of the recording's end."""
    world = unjoined()
    before = world.recorder.stop
    world.ask(lambda at: ev.StopRequested(at=at))
    assert (before, world.recorder.stop) == (StopReason.OVER, StopReason.OVER)


def test_a_new_daemon_waits_on() -> None:
    world = unjoined(2)
    world.advance_until(lambda world: world.recorder.failures == 2)
    due = world.recorder.retry_at
    world.restart()
    world.advance(1.0)
    assert (world.recorder.state, world.recorder.retry_at, world.recorder.joins) == (State.UNJOINED, due, 2)
    ends_well(world)
    everything_aired(world)


def test_after_a_reboot_it_is_tried_soon() -> None:
    world = unjoined(3)
    world.reboot()
    ends_well(world)
    everything_aired(world)


def test_nothing_is_joined_on_a_machine_that_goes_down() -> None:
    world = unjoined()
    going_down(world)
    world.advance(JOIN_DELAYS[0] * 2)
    assert (world.recorder.state, world.recorder.joins) == (State.UNJOINED, 1)
    staying(world)
    ends_well(world)
    everything_aired(world)


def test_an_answer_of_a_join_that_was_given_up_is_late() -> None:
    recorder = unjoined().recorder
    late = ev.JoinEnded(at=recorder.since, join=recorder.joins, path="/srv/x.ts", size=9)
    assert step(recorder, late) == (recorder, ())
    assert step(recorder, replace(late, path=None, why="no")) == (recorder, ())


UNDISTURBED = play(World())
EFFECTS = range(1, len(UNDISTURBED.performed) + 1)


def test_undisturbed() -> None:
    ends_well(UNDISTURBED)
    everything_aired(UNDISTURBED)
    assert sum(isinstance(effect, fx.Join) for effect in UNDISTURBED.performed) == 4


@pytest.mark.parametrize("crash_after", EFFECTS)
def test_a_crash_after_any_effect_changes_nothing(crash_after: int) -> None:
    world = play(World(crash_after={crash_after}))
    assert world.crashes == 1
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("crash_after", EFFECTS)
def test_neither_do_two(crash_after: int) -> None:
    world = play(World(crash_after={crash_after, crash_after + 2}, downtime=30.0))
    ends_well(world)
