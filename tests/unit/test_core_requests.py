# SPDX-License-Identifier: GPL-3.0-or-later
"""To try again, and to give up media: what is done in which state, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.on_request import why_not_kept, why_not_pruned, why_not_retried
from tests.unit.rows import new_recorder
from tests.unit.stories import KILLED, notices, reach

AT = Moment(monotonic=9_000.0, realtime=1_795_000_000_000_000)
PRUNED = ev.MediaPruned(at=AT, files=2, size=3000)


def over(state: State, *phases: Phase, path: str | None = None, size: int = 1000) -> Recorder:
    """A recording that is over, with segments in these phases."""
    parts = [
        Segment(number=number, phase=phase, since=AT, started=AT, media_at=AT, ended=AT, size=size, cause="stopped")
        for number, phase in enumerate(phases, 1)
    ]
    return replace(new_recorder(), state=state, segments=tuple(parts), path=path, joins=3, ended=AT, detail="because")


def told(effects: tuple[fx.Effect, ...]) -> list[Notice]:
    return [effect.notice for effect in effects if isinstance(effect, fx.Announce)]


# --- retry ---------------------------------------------------------------------------------------------------------


def test_a_recording_that_failed_to_be_joined_is_joined_again() -> None:
    after, effects = step(over(State.FAILED, Phase.ENDED, Phase.ENDED), ev.RetryRequested(at=AT))
    assert (after.state, after.joins, after.ended, after.detail) == (State.FINALIZING, 4, None, None)
    assert isinstance(effects[0], fx.Save)
    assert fx.Join(4) in effects
    assert told(effects) == [Notice.JOIN_STARTED, Notice.RETRYING]
    failed, _ = step(after, ev.JoinEnded(at=AT, join=after.joins, why="still broken"))
    assert (failed.state, failed.detail) == (State.UNJOINED, "the last join failed: still broken")
    done, _ = step(after, ev.JoinEnded(at=AT, join=after.joins, path="/srv/x.ts", size=9))
    assert (done.state, done.path) == (State.COMPLETED, "/srv/x.ts")


def test_what_waits_does_not_wait_any_longer() -> None:
    world = reach(State.BACKOFF)
    runs = len(world.recorder.segments)
    world.ask(lambda at: ev.RetryRequested(at=at))
    assert (world.recorder.state, len(world.recorder.segments)) == (State.STARTING, runs + 1)
    assert notices(world)[-1] is Notice.RETRYING
    world = reach(State.GRACE)
    asked = world.recorder.probe
    world.ask(lambda at: ev.RetryRequested(at=at))
    assert world.advance_until(lambda world: world.recorder.probe > asked)
    world = reach(State.PAUSED)
    world.ask(lambda at: ev.RetryRequested(at=at))
    assert world.recorder.retry_at is not None
    assert world.recorder.state is State.PAUSED


@pytest.mark.parametrize("state", [State.RECORDING, State.COMPLETED, State.STOPPED])
def test_where_there_is_nothing_to_retry_nothing_is_done(state: State) -> None:
    recorder = reach(state).recorder
    assert why_not_retried(recorder)
    assert step(recorder, ev.RetryRequested(at=AT)) == (recorder, ())


@pytest.mark.parametrize("phases", [(), (Phase.REMOVED,)])
def test_a_failed_recording_without_segments_cannot_be_retried(phases: tuple[Phase, ...]) -> None:
    recorder = over(State.FAILED, *phases)
    assert why_not_retried(recorder) == "it kept no segments that could be joined"
    assert step(recorder, ev.RetryRequested(at=AT)) == (recorder, ())


def test_a_retry_counts_its_deaths_as_ever() -> None:
    world = reach(State.BACKOFF)
    world.ask(lambda at: ev.RetryRequested(at=at))
    world.advance(0.3)
    world.exit_run(max(world.scopes), KILLED)
    assert world.advance_until(lambda world: world.recorder.state is State.RECORDING)
    assert world.broken == []


# --- prune ---------------------------------------------------------------------------------------------------------


def test_media_of_a_joined_recording_are_given_up() -> None:
    after, effects = step(over(State.COMPLETED, Phase.REMOVED, path="/srv/x.ts"), PRUNED)
    assert (after.state, after.path, after.detail) == (State.COMPLETED, None, "its media were removed by request")
    assert isinstance(effects[0], fx.Save)
    assert fx.DiscardFolder() in effects
    assert told(effects) == [Notice.MEDIA_PRUNED]
    assert step(after, PRUNED) == (after, ())


def test_media_that_are_not_kept_are_given_up_with_the_rule_that_says_so() -> None:
    by_rule = replace(PRUNED, rule="keep_recordings: there are 3 newer ones")
    after, effects = step(over(State.STOPPED, Phase.REMOVED, path="/srv/x.ts"), by_rule)
    assert (after.state, after.path) == (State.STOPPED, None)
    assert after.detail == "its media were not to be kept any longer, keep_recordings: there are 3 newer ones"
    assert told(effects) == [Notice.MEDIA_EXPIRED]
    for kept in (over(State.FAILED, Phase.ENDED), over(State.COMPLETED, Phase.ENDED, path="/srv/x.ts")):
        assert step(kept, by_rule) == (kept, ())


def test_segments_of_a_failed_recording_are_removed_in_its_rows() -> None:
    after, _ = step(over(State.FAILED, Phase.ENDED, Phase.ENDED), PRUNED)
    assert {segment.phase for segment in after.segments} == {Phase.REMOVED}
    assert why_not_retried(after) == "it kept no segments that could be joined"


@pytest.mark.parametrize(
    ("recorder", "failed", "why"),
    [
        (over(State.COMPLETED, Phase.REMOVED, path="/srv/x.ts"), False, None),
        (over(State.COMPLETED, Phase.ENDED, path="/srv/x.ts"), True, "its segments are not removed yet"),
        (over(State.COMPLETED, Phase.REMOVED), True, "it has no media"),
        (over(State.FAILED, Phase.ENDED), False, "its segments were never joined: they are all there is of it"),
        (over(State.FAILED, Phase.ENDED), True, None),
        (over(State.FAILED, Phase.ENDED, size=0), True, "it has no media"),
        (over(State.FAILED, Phase.SEALING), True, "a segment of it is not over"),
        (over(State.FINALIZING, Phase.ENDED), True, "it is finalizing"),
        (over(State.UNJOINED, Phase.ENDED), True, "its join is tried again, unless you stop it"),
        (over(State.RECORDING, Phase.WRITING), True, "it is recording"),
    ],
)
def test_only_what_is_over_and_kept_elsewhere_may_go(recorder: Recorder, failed: bool, why: str | None) -> None:
    assert why_not_pruned(recorder, failed=failed, force=False) == why
    if why is not None and failed:
        assert step(recorder, PRUNED) == (recorder, ())


# --- keep ----------------------------------------------------------------------------------------------------------

KEEP = ev.KeepRequested(at=AT, keep=True)
UNKEEP = ev.KeepRequested(at=AT, keep=False)
JOINED = over(State.COMPLETED, Phase.REMOVED, path="/srv/x.ts")


def test_a_mark_is_saved_told_and_taken_off_again() -> None:
    marked, effects = step(JOINED, KEEP)
    assert (marked, told(effects)) == (replace(JOINED, kept=True), [Notice.KEPT])
    assert isinstance(effects[0], fx.Save)
    assert step(marked, KEEP) == (marked, ())
    bare, effects = step(marked, UNKEEP)
    assert (bare, told(effects)) == (JOINED, [Notice.UNKEPT])
    assert step(bare, UNKEEP) == (bare, ())


def test_marked_media_go_only_if_that_is_meant_and_the_mark_goes_with_them() -> None:
    marked, _ = step(JOINED, KEEP)
    assert why_not_pruned(marked, failed=True, force=False) == "it is marked to be kept"
    assert why_not_pruned(marked, failed=True, force=True) is None
    after, effects = step(marked, PRUNED)  # they are gone, whoever did that
    assert (after.path, after.kept, told(effects)) == (None, False, [Notice.MEDIA_PRUNED])


@pytest.mark.parametrize("state", list(State))
def test_there_is_something_to_keep_unless_the_media_are_gone_or_go(state: State) -> None:
    recorder = over(state, Phase.REMOVED)
    after, _ = step(recorder, KEEP)
    assert after.kept is (why_not_kept(recorder) is None)
    assert after.kept is not (state.is_final or state is State.DISCARDING)
    assert after.state is state
    failed = over(State.FAILED, Phase.ENDED)
    assert step(failed, KEEP)[0].kept
