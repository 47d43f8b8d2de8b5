# SPDX-License-Identifier: GPL-3.0-or-later
"""What is too short to be kept goes, by a decision that is saved first; in any doubt everything stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.machine import step
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY, new_recorder
from tests.unit.stories import KILLED, begun, ends_well, notices, reach, recording
from tests.unit.world import World

LEAST = 100.0
SHORT = replace(POLICY, min_duration=LEAST)
AT = Moment(monotonic=9_000.0, realtime=1_795_000_000_000_000)


def broadcast(world: World, seconds: float = 20.0, air: Air = Air.ENDED) -> World:
    """A broadcast of so many seconds, with a death in its middle; it has as much before it as its window holds."""
    begun(world)
    world.after(seconds / 2, lambda: world.exit_run(max(world.scopes), KILLED) if world.scopes else None)
    world.after(seconds, lambda: world.change_air(air))
    world.finish()
    return world


def is_discarded(world: World) -> None:
    assert world.broken == []
    assert world.recorder.state is State.COMPLETED
    assert (world.recorder.path, world.result, world.files) == (None, False, {})
    assert {segment.phase for segment in world.recorder.segments} == {Phase.REMOVED}
    assert world.recorder.detail is not None
    assert world.recorder.detail.startswith("not kept: ")
    assert world.leftovers() == []
    assert world.wrong_deaths() == []
    assert world.rows.is_like(world.recorder)


def is_kept(world: World, state: State = State.COMPLETED) -> None:
    ends_well(world, state)
    assert world.result
    assert world.recorder.path is not None
    assert not any(isinstance(effect, fx.Discard) for effect in world.performed)


# --- the decision --------------------------------------------------------------------------------------------------


def test_a_broadcast_with_less_media_is_not_kept() -> None:
    world = broadcast(World(policy=SHORT))
    is_discarded(world)
    assert world.recorder.stop is StopReason.OVER
    assert notices(world)[-2:] == [Notice.NOT_KEPT, Notice.MEDIA_DISCARDED]
    assert Notice.RECORDING_COMPLETED not in notices(world)
    assert world.recorder.detail == "not kept: 40.0 s of media, and min_duration is 100 s"


def test_a_broadcast_with_as_much_is_kept() -> None:
    is_kept(broadcast(World(policy=SHORT), seconds=LEAST))


def test_media_count_and_not_the_clock() -> None:
    """It is on air for long, and most of the time there are advertisements."""
    world = begun(World(policy=SHORT))
    world.after(20.0, lambda: world.change_air(Air.ADS))
    world.after(45.0, lambda: world.change_air(Air.LIVE))
    world.after(50.0, lambda: world.change_air(Air.ADS))
    world.after(70.0, lambda: world.change_air(Air.LIVE))
    world.after(75.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    is_discarded(world)


def test_whoever_does_not_ask_for_it_keeps_everything() -> None:
    is_kept(broadcast(World()))


def test_another_broadcast_ends_it_just_as_well() -> None:
    world = begun(World(policy=SHORT))
    world.advance(10.0)
    world.ask(lambda at: ev.BroadcastOver(at=at, why="another broadcast has begun"))
    world.finish()
    is_discarded(world)
    assert world.recorder.stop is StopReason.CHANGED


def ask(event: Callable[[Moment], ev.Event]) -> Callable[[World], None]:
    return lambda world: world.ask(event)


@pytest.mark.parametrize(
    ("how", "state"),
    [
        (ask(lambda at: ev.StopRequested(at=at)), State.STOPPED),
        (ask(lambda at: ev.BroadcastOver(at=at, why="its title", unwanted=True)), State.COMPLETED),
        (lambda world: world.change_air(Air.FROZEN), State.COMPLETED),  # nobody says that it is over
        (World.lose_network, State.COMPLETED),
        (World.fill_disk, State.COMPLETED),
    ],
    ids=["somebody stopped it", "it goes on, unwanted", "its playlist froze", "no network", "no room for a day"],
)
def test_an_end_that_is_not_that_of_the_broadcast_keeps_it(how: Callable[[World], None], state: State) -> None:
    world = begun(World(policy=SHORT))
    world.advance(10.0)
    how(world)
    world.finish(200_000.0)
    is_kept(world, state)


def test_its_duration_was_reached() -> None:
    world = begun(World(policy=SHORT, duration=10.0))
    world.finish()
    is_kept(world)
    assert world.recorder.stop is StopReason.DURATION


def test_nobody_can_tell_in_the_end_though_it_was_said_to_be_over() -> None:
    world = begun(World(policy=SHORT))
    world.advance(10.0)
    world.change_air(Air.ENDED)
    world.advance(15.0)
    assert (world.recorder.state, world.recorder.gone) == (State.GRACE, True)
    world.lose_network()
    is_kept(world)
    assert world.recorder.stop is None


def test_a_broadcast_that_comes_back_within_the_grace_period_is_one() -> None:
    world = begun(World(policy=SHORT))
    world.advance(40.0)
    world.change_air(Air.ENDED)
    world.advance(15.0)
    assert world.recorder.state is State.GRACE
    world.change_air(Air.LIVE)
    world.advance(40.0)
    world.change_air(Air.ENDED)
    is_kept(world)


def test_what_could_not_be_measured_is_kept() -> None:
    finalizing = replace(reach(State.FINALIZING, World(policy=SHORT)).recorder, stop=StopReason.OVER)
    ended = ev.JoinEnded(at=AT, join=finalizing.joins, path="/srv/x.ts", size=9)
    after, _ = step(finalizing, ended)
    assert (after.state, after.path) == (State.COMPLETED, "/srv/x.ts")
    after, effects = step(finalizing, replace(ended, duration=5.0))
    assert (after.state, after.path, after.state.status) == (State.DISCARDING, None, "finalizing")
    assert [type(effect) for effect in effects] == [fx.Save, fx.Discard, fx.Announce]


def test_a_join_that_fails_discards_nothing() -> None:
    world = World(policy=SHORT)
    world.join_failures = 5
    broadcast(world)
    assert (world.recorder.state, world.broken) == (State.UNJOINED, [])
    assert world.files


# --- its media go --------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_removed_is_tried_again() -> None:
    world = World(policy=SHORT)
    world.discards_fail = 3
    is_discarded(broadcast(world))


UNDISTURBED = broadcast(World(policy=SHORT))
EFFECTS = range(1, len(UNDISTURBED.performed) + 1)


@pytest.mark.parametrize("crash_after", EFFECTS)
@pytest.mark.parametrize("then", [None, 1, 3])
def test_restart_comes_to_the_same_end(crash_after: int, then: int | None) -> None:
    crashes = {crash_after} if then is None else {crash_after, crash_after + then}
    world = broadcast(World(policy=SHORT, crash_after=crashes))
    assert world.crashes >= 1
    is_discarded(world)


@pytest.mark.parametrize("do", [World.restart, World.reboot])
@pytest.mark.parametrize("wait", [0.0, 0.02, 0.04, 0.06])
def test_a_crash_while_media_are_being_removed(do: Callable[[World], None], wait: float) -> None:
    world = begun(World(policy=SHORT))
    world.advance(10.0)
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is State.DISCARDING)
    world.advance(wait)
    do(world)
    world.finish()
    is_discarded(world)


def test_a_late_answer_about_the_media_of_another_recording_does_nothing() -> None:
    recorder = recording().recorder
    assert step(recorder, ev.MediaDiscarded(at=AT, files=1, size=1)) == (recorder, ())
    assert step(new_recorder(), ev.DiscardOverdue(at=AT)) == (new_recorder(), ())


# --- a mark --------------------------------------------------------------------------------------------------------


def marked_broadcast(world: World) -> World:
    """Somebody marks it while it is recorded; it ends before there is as much as min_duration says."""
    begun(world)
    world.after(15.0, lambda: world.ask(lambda at: ev.KeepRequested(at=at, keep=True)))
    world.after(40.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    return world


MARKED = marked_broadcast(World(policy=SHORT))


def test_what_somebody_marked_is_kept_however_short_it_is() -> None:
    is_kept(MARKED)
    assert MARKED.recorder.kept
    assert notices(MARKED).count(Notice.KEPT) == 1


@pytest.mark.parametrize("crash_after", range(1, len(MARKED.performed) + 1))
def test_a_mark_outlives_a_crash_after_any_effect(crash_after: int) -> None:
    world = marked_broadcast(World(policy=SHORT, crash_after={crash_after}))
    is_kept(world)
    assert world.crashes == 1
    assert world.recorder.kept
    assert world.rows.is_like(world.recorder)
