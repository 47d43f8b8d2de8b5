# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of a recording: the start, a source that goes away, the join, a new daemon; in the simulated world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, State, StopReason
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import IN_VAIN, PROBE_LIMIT
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

BROKEN = Evidence(status=3, log=("error: it is broken",))

# --- the start -----------------------------------------------------------------------------------------------------


def test_a_source_that_is_not_there() -> None:
    world = World()
    world.change_air(Air.OFFLINE)
    ends_well(begun(world), State.FAILED)
    assert len(world.recorder.segments) == POLICY.start_attempts
    assert "404 Client Error" in (world.recorder.detail or "")
    assert not world.folder
    assert world.files == {}


def test_a_source_that_no_plugin_knows() -> None:
    world = World()
    world.change_air(Air.UNSUPPORTED)
    ends_well(begun(world), State.FAILED)
    assert len(world.recorder.segments) == 1
    assert "No plugin can handle URL" in (world.recorder.detail or "")
    assert not world.folder


def test_a_source_that_says_nothing() -> None:
    world = begun()
    world.advance(0.2)
    world.scopes[1].stalled = True
    world.advance(POLICY.start_timeout + 5.0)
    assert causes(world) == ["start-timeout", None]
    assert world.recorder.state is State.RECORDING


def test_what_can_never_be_started_has_failed_at_once() -> None:
    world = World()
    world.broker_refuses, world.permanently = 9, True
    ends_well(begun(world), State.FAILED)
    assert (causes(world), world.recorder.detail, world.recorder.deaths) == (["launch-failed"], "refused", 0)


def test_scopes_that_are_refused_or_vanish_at_the_start_are_no_tries_of_the_source() -> None:
    world = World()
    world.broker_refuses = 9
    begun(world)
    assert world.advance_until(lambda world: world.recorder.state is State.RECORDING, 60.0)
    assert causes(world) == [*["launch-failed"] * 9, None]
    world.change_air(Air.ENDED)
    ends_well(world)


def test_the_source_has_all_its_tries_after_them() -> None:
    world = World()
    world.broker_refuses = 9
    world.change_air(Air.OFFLINE)
    ends_well(begun(world), State.FAILED)
    assert causes(world) == [*["launch-failed"] * 9, *["source-refused"] * POLICY.start_attempts]


def test_a_broker_that_refuses_for_longer_than_any_outage_is_not_waited_for() -> None:
    world = World()
    world.broker_refuses = 10_000
    ends_well(begun(world), State.FAILED)
    assert world.recorder.detail == "refused"
    assert world.monotonic - world.recorder.recording.created.monotonic > POLICY.outage


def test_the_broker_refuses_after_media() -> None:
    world = recording(20.0, broker_refuses=4, permanently=True)
    world.exit_run(1, KILLED)
    world.advance(10.0)
    assert causes(world) == ["signal:9", *["launch-failed"] * 4, None]
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_scope_that_starts_too_late_is_stopped() -> None:
    world = begun()
    world.launches_hang = 1
    world.advance(35.0)
    assert world.recorder.state is State.RECORDING  # by the second one
    world.advance(20.0)
    assert list(world.scopes) == [2]
    assert causes(world) == ["launch-failed", None]
    world.change_air(Air.ENDED)
    ends_well(world)


# --- the source, and waiting for it --------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [Air.OFFLINE, Air.ENDED, Air.FROZEN])
def test_a_source_that_comes_back_in_time_goes_on_in_the_same_recording(away: Air) -> None:
    world = recording(20.0)
    world.change_air(away)
    world.advance(20.0)
    world.change_air(Air.LIVE)
    world.advance(30.0)
    assert world.recorder.state in (State.RECORDING, State.ROTATING)
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_source_that_stays_away() -> None:
    world = recording(20.0)
    world.change_air(Air.OFFLINE)
    gone = world.monotonic
    ends_well(world)
    everything_aired(world)
    assert world.monotonic - gone < POLICY.grace + 15.0


def test_a_playlist_that_froze_is_recorded_a_few_times_and_no_more() -> None:
    world = recording(20.0)
    world.change_air(Air.FROZEN)
    gone = world.monotonic
    ends_well(world)
    everything_aired(world)
    assert len(world.recorder.segments) <= 8
    assert world.monotonic - gone < 120.0


def test_a_source_that_says_live_and_gives_nothing() -> None:
    world = recording(20.0)
    world.change_air(Air.FROZEN)
    aired, world.source.before = world.aired, 0  # an empty playlist
    gone = world.monotonic
    assert world.finish() is State.COMPLETED
    assert world.broken == []
    assert world.joined == [set(range(aired))]
    assert world.monotonic - gone < POLICY.grace + POLICY.start_timeout + 20.0


@pytest.mark.parametrize("how", ["dies", "is refused", "hangs"])
@pytest.mark.parametrize("air", [Air.OFFLINE, Air.LIVE])
def test_a_streamlink_that_never_works_again_is_no_reason_to_go_on_for_ever(how: str, air: Air) -> None:
    """What it died of says nothing of the source; so that is asked, and what there is is joined in the end."""
    world = recording(20.0)
    world.broker_refuses = 10_000 if how == "is refused" else 0
    world.launches_hang = 10_000 if how == "hangs" else 0
    world.exit_run(1, KILLED)
    if air is not Air.LIVE:
        world.advance(1.0)
        world.change_air(air)
    before = world.monotonic

    def die(world: World) -> bool:
        for attempt in list(world.scopes) if how == "dies" else []:
            world.exit_run(attempt, BROKEN)
        return world.recorder.state in (State.FINALIZING, State.COMPLETED)

    assert world.advance_until(die, POLICY.outage + 3 * POLICY.grace + IN_VAIN)
    assert world.recorder.probe > 3
    if air is Air.OFFLINE:
        assert world.monotonic - before < IN_VAIN + 2 * POLICY.grace + 60.0
    ends_well(world)


def test_a_streamlink_that_works_again_in_time_goes_on_in_the_same_recording() -> None:
    world = recording(20.0, broker_refuses=10_000)
    world.exit_run(1, KILLED)
    world.advance(IN_VAIN + POLICY.grace + 30.0)
    world.broker_refuses = 0
    world.advance(30.0)
    assert world.recorder.state is State.RECORDING
    assert world.recorder.grace_until is None
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_site_that_turns_unknown_while_in_grace() -> None:
    world = reach(State.GRACE)
    world.change_air(Air.UNSUPPORTED)
    world.advance(2.0)
    assert world.recorder.state in (State.FINALIZING, State.COMPLETED)
    ends_well(world)


def test_every_grace_period_asks_as_often_as_the_first() -> None:
    world = recording(20.0)
    asked = []
    for _ in range(3):
        before = world.recorder.probe
        world.change_air(Air.ENDED)
        world.advance(POLICY.grace - 5.0)
        world.change_air(Air.LIVE)
        world.advance(75.0)
        asked.append(world.recorder.probe - before)
    assert min(asked) >= 5


def test_an_answer_that_never_comes_is_asked_for_again() -> None:
    world = begun(World(policy=replace(POLICY, grace=80.0)))
    world.advance(5.0)
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.probing)
    world._agenda = [item for item in world._agenda if item[2] == -1]
    assert world.advance_until(lambda world: world.recorder.probe == 2, PROBE_LIMIT + 1.0)
    stale = ev.SourceProbed(at=world.now, probe=1, outcome=ev.Outcome.LIVE, detail="")
    world.handle(stale)
    assert world.recorder.state is State.GRACE
    ends_well(world)


# --- the join ------------------------------------------------------------------------------------------------------


def test_an_answer_about_an_earlier_join_is_stale() -> None:
    world = reach(State.FINALIZING)
    world.handle(ev.JoinEnded(at=world.now, join=0, path="/x", size=1))
    assert world.recorder.state is State.FINALIZING


def test_a_join_that_says_nothing_is_looked_after() -> None:
    world = reach(State.FINALIZING)
    world._agenda.clear()
    world.job = None
    ends_well(world, State.STOPPED)


# --- a new daemon --------------------------------------------------------------------------------------------------

EVERYWHERE = [*RUNNING, State.STOPPING, State.FINALIZING]


@pytest.mark.parametrize("state", EVERYWHERE)
@pytest.mark.parametrize("do", [World.restart, World.reboot])
def test_restart_and_reboot_in_every_state(state: State, do: Callable[[World], None]) -> None:
    world = reach(state)
    do(world)
    world.free_disk()
    world.advance(5.0)
    world.change_air(Air.ENDED)
    asked = world.recorder.stop is StopReason.REQUESTED
    ends_well(world, State.STOPPED if asked else State.COMPLETED)
    assert len(world.joined) == 1


def test_runs_are_adopted() -> None:
    world = recording(20.0)
    before = world.recorder.segments[0]
    world.restart()
    world.advance(5.0)
    after = world.recorder.segments[0]
    assert (after.number, after.started, after.phase) == (1, before.started, Phase.WRITING)
    assert Notice.ADOPTED in notices(world)
    assert world.recorder.next_number == 2


def test_rotation_by_age_counts_from_the_start_not_from_the_restart() -> None:
    world = recording(40.0)
    world.restart()
    world.advance(22.0)
    assert world.recorder.next_number == 3


@pytest.mark.parametrize("evidence", [KILLED, OOM_KILLED, Evidence(status=0)])
def test_an_end_that_nobody_was_there_to_see(evidence: Evidence) -> None:
    world = recording(20.0)
    world.crash()
    world.advance(3.0)
    world.exit_run(1, evidence)
    world.advance(10.0)
    world.restart()
    world.advance(10.0)
    assert world.recorder.state is State.RECORDING
    assert world.recorder.segments[0].exit_status == evidence.status
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_media_that_nobody_saw_arrive_count() -> None:
    world = begun()
    world.advance(0.3)
    world.crash()
    world.advance(20.0)
    world.exit_run(1, KILLED)
    world.change_air(Air.OFFLINE)
    world.restart()
    assert world.recorder.media_started is not None
    world.advance(2.0)
    assert world.recorder.state is State.GRACE  # and not one of the few tries at the start
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("without_gate", [False, True])
def test_a_launch_that_the_daemon_did_not_live_to_finish_is_no_death(without_gate: bool) -> None:
    world = begun()
    world.scope_without_gate = without_gate
    world.advance(0.05)
    world.restart()
    world.advance(5.0)
    assert world.recorder.state is State.RECORDING
    assert world.recorder.deaths == (1 if without_gate else 0)
    assert world.files.keys() == {2}


def test_a_daemon_that_was_away_asks_the_source_before_it_gives_up() -> None:
    world = reach(State.GRACE)
    world.crash()
    world.change_air(Air.LIVE)
    world.advance(POLICY.grace + 10.0)
    world.restart()
    world.advance(5.0)
    assert world.recorder.state is State.RECORDING


def test_a_scope_without_a_row_is_stopped() -> None:
    world = recording(5.0)
    world.crash()
    world.rows.segments.clear()
    world.rows.recorder = replace(world.rows.recorder, state=State.STARTING)
    world.restart()
    assert world.scopes[1].stops == 1


@pytest.mark.parametrize("how", ["grace", "duration", "unknown"])
def test_a_file_that_somebody_removed_is_no_reason_to_fall_over(how: str) -> None:
    world = begun(World(duration=15.0 if how == "duration" else None))
    world.advance(5.0)
    world.files[1].clear()
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is State.GRACE)
    if how == "unknown":
        world.change_air(Air.UNSUPPORTED)
    assert world.finish() is (State.STOPPED if how == "duration" else State.FAILED)
    assert world.broken == []
    assert world.joined == []


def test_a_playlist_that_stays_as_it_is_ends_the_recording() -> None:
    world = recording(30.0)
    world.change_air(Air.FROZEN)
    ends_well(world)
    everything_aired(world)
    assert world.recorder.detail is None
    assert world.recorder.stop is None, "nobody said that it is over"


def test_a_playlist_that_advances_keeps_the_recording_though_streamlink_sees_nothing_new() -> None:
    """As with a packager that slides its window and always says MEDIA-SEQUENCE:0."""
    world = recording(30.0)
    world.source.is_misnumbered = True
    world.change_air(Air.FROZEN)
    world.advance(20 * world.recorder.recording.policy.grace)
    assert world.recorder.state in (State.STARTING, State.RECORDING, State.BACKOFF, State.GRACE)
    assert causes(world).count("network") > 20
    world.source.is_misnumbered = False
    ends_well(world)
