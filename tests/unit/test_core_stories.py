# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a recording, one story each, in the simulated world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamvaultd.core import events as ev
from streamvaultd.core.deadlines import due
from streamvaultd.core.effects import Notice
from streamvaultd.core.model import Phase, State, StopReason
from streamvaultd.core.verdict import Evidence
from tests.unit.world import POLICY, Air, World

KILLED = Evidence(status=-9)
OOM_KILLED = Evidence(status=-9, oom_kills=1)


def begun(world: World | None = None) -> World:
    world = world or World()
    world.post(lambda at: ev.RecordRequested(at=at))
    return world


def reach(state: State, world: World | None = None) -> World:
    """A world whose recording is in this state."""
    world = begun(world)
    if state is State.STARTING:
        world.advance(0.3)
    else:
        world.advance(5.0)
    if state is State.BACKOFF:
        for _ in range(2):
            world.exit_run(max(world.scopes), KILLED)
            world.advance(0.15)
    if state is State.GRACE:
        world.change_air(Air.ENDED)
    if state in (State.STOPPING, State.FINALIZING, State.STOPPED):
        world.ask(lambda at: ev.StopRequested(at=at))
    if state is State.COMPLETED:
        world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is state)
    return world


def recording(seconds: float = 5.0, **faults: object) -> World:
    world = begun()
    world.advance(seconds)
    assert world.recorder.state is State.RECORDING
    for name, value in faults.items():
        setattr(world, name, value)
    return world


def ends_well(world: World, state: State = State.COMPLETED) -> None:
    assert world.finish() is state, world.recorder
    assert world.broken == []
    assert world.leftovers() == []
    assert world.rows.load() == world.recorder


def everything_aired(world: World) -> None:
    """The joined file has every chunk from the first one to the last."""
    assert world.joined == [set(range(world.aired))]


def causes(world: World) -> list[str | None]:
    return [segment.cause for segment in world.recorder.segments]


def notices(world: World) -> list[Notice]:
    return [told.notice for told in world.told]


# --- asked to stop -------------------------------------------------------------------------------------------------

RUNNING = [State.STARTING, State.RECORDING, State.ROTATING, State.BACKOFF, State.GRACE]


@pytest.mark.parametrize("state", RUNNING)
def test_stop_in_every_state(state: State) -> None:
    world = reach(state)
    world.ask(lambda at: ev.StopRequested(at=at))
    ends_well(world, State.STOPPED)
    assert world.recorder.deaths == (2 if state is State.BACKOFF else 0)
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
        waits.append(round(world.monotonic - died - 0.61, 2))
    assert waits == [0.0, 0.2, 0.5, 1.0, 2.0]
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


@pytest.mark.parametrize(("permanently", "tries"), [(False, 3), (True, 1)])
def test_the_broker_refuses_at_the_start(permanently: bool, tries: int) -> None:
    world = World()
    world.broker_refuses, world.permanently = 9, permanently
    ends_well(begun(world), State.FAILED)
    assert causes(world) == ["launch-failed"] * tries
    assert world.recorder.detail == "refused"
    assert world.recorder.deaths == 0


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
    world._aired, aired = 0, world.aired  # an empty playlist
    gone = world.monotonic
    assert world.finish() is State.COMPLETED
    assert world.broken == []
    assert world.joined == [set(range(aired))]
    assert world.monotonic - gone < POLICY.grace + POLICY.start_timeout + 20.0


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
    assert world.advance_until(lambda world: world.recorder.probe == 2, 31.0)
    stale = ev.SourceProbed(at=world.now, probe=1, outcome=ev.Outcome.LIVE, detail="")
    world.handle(stale)
    assert world.recorder.state is State.GRACE
    ends_well(world)


# --- the join ------------------------------------------------------------------------------------------------------


def test_a_join_that_fails_is_tried_again() -> None:
    world = recording(20.0, join_failures=2)
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)
    assert world.recorder.joins == 3


def test_a_join_that_always_fails_keeps_the_segments() -> None:
    world = recording(20.0, join_failures=3)
    world.change_air(Air.ENDED)
    assert world.finish() is State.FAILED
    assert world.broken == []
    assert world.leftovers() == []
    assert world.files
    assert world.recorder.path is None
    assert world.recorder.detail == "cannot join: cannot read segment 002"


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
    world.advance(5.0)
    world.change_air(Air.ENDED)
    ends_well(world, State.STOPPED if world.recorder.stop else State.COMPLETED)
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
