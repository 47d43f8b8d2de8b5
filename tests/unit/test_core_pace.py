# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that gets nothing while its source goes on: how soon that is suspected follows from the source's pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Recorder, State
from streamvaultd.core.pace import Pace, flow_look, refused_limit, sign_hold, silence_limit, still_limit
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.asking import PROBE_MAX
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.policy import is_rested, last_growth, next_measure, silence_due
from tests.unit.broadcast import Air
from tests.unit.rows import POLICY
from tests.unit.stories import begun, causes, ends_well, everything_aired, notices
from tests.unit.world import World

STALL = 90.0
SOURCE = Pace(target=2.0, window=30.0)


def paced(seconds: float = 30.0, pace: Pace = SOURCE) -> World:
    """A recording whose first run has told how its source offers media."""
    world = begun(World(policy=replace(POLICY, stall_timeout=STALL, rotate_age=86400.0)))
    world.advance(3.0)
    world.tell(lambda at: ev.SegmentSpoke(at=at, attempt=1, line=Line.PACE, pace=pace))
    world.advance(seconds - 3.0)
    assert world.recorder.state is State.RECORDING
    return world


def asked(world: World) -> int:
    return world.recorder.probe


def current_of(world: World) -> int:
    return world.recorder.segments[-1].number


@pytest.mark.parametrize(("target", "window", "limit"), [
    (2.0, 12.0, 6.0),  # two media segments
    (6.0, 30.0, 14.0),
    (2.0, 60.0, 22.0),  # a third of the window
    (1.0, 3.0, 5.0),
    (10.0, 7200.0, 45.0),  # half of what is a stall
    (0.5, 86400.0, 45.0),
])  # fmt: skip
def test_a_silence_is_measured_by_the_source(target: float, window: float, limit: float) -> None:
    assert silence_limit(Pace(target, window), STALL) == limit


def test_what_else_follows_from_the_pace_and_what_holds_without() -> None:
    fast, slow = Pace(2.0, 12.0), Pace(20.0, 3600.0)
    assert [still_limit(pace) for pace in (None, fast, slow)] == [10.0, 6.0, 30.0]
    assert [refused_limit(pace) for pace in (None, Pace(0.5, 6.0), fast, slow)] == [10.0, 2.0, 4.0, 30.0]
    assert [flow_look(pace) for pace in (None, fast, slow)] == [10.0, 4.0, 10.0]
    assert [sign_hold(pace) for pace in (None, fast, slow)] == [30.0, 10.0, 100.0]
    assert Pace.told(target=0.0, window=30.0) is None
    assert Pace.told(target=2.0, window=1e9) is None


def test_a_run_that_hangs_while_its_source_goes_on_loses_nothing() -> None:
    """It would be replaced after stall_timeout, three windows later."""
    world = paced()
    world.scopes[1].stalled = True
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 25.0)
    world.advance(30.0)
    assert notices(world).count(Notice.SUSPECTED) == 1
    assert "nothing came for " in (world.recorder.segments[0].suspect or "")
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)
    assert causes(world)[-1] == "source-ended"


def test_a_source_that_stands_still_costs_some_questions_and_no_run() -> None:
    world = paced()
    before = asked(world)
    world.source.change(Air.FROZEN, world.now.realtime / 1e6)  # its run has more patience
    world.advance(60.0)
    assert len(world.recorder.segments) == 1
    assert 1 < asked(world) - before < 15
    world.source.change(Air.LIVE, world.now.realtime / 1e6)
    world.advance(20.0)
    assert len(world.recorder.segments) == 1
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_source_that_cannot_be_reached_costs_no_run() -> None:
    """The run that is there asks for itself, and has all that is in the window."""
    world = paced()
    world.scopes[1].stalled = True
    world.is_reachable = False
    world.advance(40.0)
    assert len(world.recorder.segments) == 1
    world.is_reachable = True
    world.change_air(Air.ENDED)
    ends_well(world)


@pytest.mark.parametrize("pace", [SOURCE, Pace(2.0, 6.0), Pace(2.0, 3600.0)])
def test_an_hour_of_a_steady_source_costs_neither_a_question_nor_a_run(pace: Pace) -> None:
    world = paced(3600.0, pace)
    assert asked(world) == 0
    assert len(world.recorder.segments) == 1
    world.change_air(Air.ENDED)
    ends_well(world)


def test_without_a_pace_a_silence_says_nothing_and_advertisements_never_do() -> None:
    world = paced()
    segment = world.recorder.segments[0]
    assert silence_due(segment, POLICY) is not None
    assert silence_due(replace(segment, pace=None), POLICY) is None
    assert silence_due(replace(segment, filtering=True), POLICY) is None
    world.change_air(Air.ENDED)
    ends_well(world)


def test_the_next_run_knows_the_pace_of_the_one_before() -> None:
    world = paced()
    world.post(lambda at: ev.RotateRequested(at=at))
    world.advance(20.0)
    assert [segment.pace for segment in world.recorder.segments] == [SOURCE, SOURCE]
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_site_that_answers_slowly_is_asked_one_question_at_a_time() -> None:
    """A later question would make the answer to the one before it void, and none would ever tell anything."""
    world = paced(pace=Pace(2.0, 12.0))
    world.probe_seconds = 10.0
    before = asked(world)
    world.scopes[1].stalled = True
    assert world.advance_until(lambda world: len(world.recorder.segments) > 1, 40.0)
    assert asked(world) - before == 2


def test_a_site_that_wants_to_be_left_alone_is_left_alone_during_a_silence() -> None:
    recorder, at = silent(paced())
    recorder, _ = step(recorder, ev.SizeMeasured(at=at, attempt=1, size=recorder.segments[0].size))
    for detail, is_left_alone in (("429 Client Error: Too Many Requests", True), ("timed out", False)):
        answer = ev.SourceProbed(at=at, probe=recorder.probe, outcome=ev.Outcome.TROUBLE, detail=detail, mark="")
        after, _ = step(recorder, answer)
        due = silence_due(after.segments[0], replace(POLICY, stall_timeout=STALL))
        assert due is not None
        assert (due >= at.monotonic + PROBE_MAX) is is_left_alone


@pytest.mark.parametrize(("window", "rest"), [(12.0, 6.0), (30.0, 10.0), (56.0, 10.0), (120.0, 20.0), (3600.0, 120.0)])
def test_a_refused_run_rests_for_seconds_and_longer_where_each_run_fetches_much(window: float, rest: float) -> None:
    """Links are good for seconds, so each run is replaced within minutes, and others would be made to wait."""
    recorder = paced(pace=Pace(2.0, window)).recorder
    first = recorder.segments[0]
    before = tuple(replace(first, number=number, rotated=True, ended=first.media_at) for number in range(1, 9))
    last = replace(first, number=9)
    recorder = replace(recorder, segments=(*before, last))
    assert last.media_at is not None
    begun_at = last.media_at.monotonic
    assert not is_rested(recorder, last, begun_at + rest - 0.1, refused=True)
    assert is_rested(recorder, last, begun_at + rest + 0.1, refused=True)
    assert not is_rested(recorder, last, begun_at + 119.9)
    assert is_rested(recorder, last, begun_at + 120.1)


def test_links_that_are_good_for_seconds_cost_no_media_at_the_end_of_a_show() -> None:
    """The window reaches back for 56 s: a run that rested for half of that was replaced when the show was over."""
    world = paced(pace=Pace(2.0, 56.0))
    for _ in range(7):
        attempt = current_of(world)
        world.advance(12.0)
        world.scopes[attempt].stalled = True
        for _ in range(7):  # each reload of the playlist is refused
            if current_of(world) == attempt:
                refuse(world, attempt)
                world.advance(2.0)
        assert current_of(world) > attempt
        assert world.advance_until(lambda world: world.recorder.state is State.RECORDING, 12.0)
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def test_a_refused_run_that_gets_nothing_is_replaced_after_two_media_segments() -> None:
    """The rest of a source's own way would be 20 s; a show that ends meanwhile would lose what it offered last."""
    world = paced(pace=Pace(2.0, 28.0))
    waits = []
    for _ in range(6):
        attempt, waited = current_of(world), 0
        world.advance(12.0)
        world.scopes[attempt].stalled = True
        while current_of(world) == attempt:
            refuse(world, attempt)  # each reload of the playlist
            world.advance(0.5)
            waited += 1
        waits.append(waited / 2)
        assert world.advance_until(lambda world: world.recorder.state is State.RECORDING, 12.0)
    assert waits[:3] == [0.5, 0.5, 0.5]
    assert all(4.0 <= wait <= 5.5 for wait in waits[3:]), waits
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


def refuse(world: World, attempt: int) -> None:
    world.tell(lambda at: ev.SegmentSpoke(at=at, attempt=attempt, line=Line.RELOAD_REFUSED))


@pytest.mark.parametrize("every", [20, 30, 60])
def test_a_source_that_is_suspected_all_the_time_has_fewer_and_fewer_runs(every: int) -> None:
    """One of a site's caches refuses a playlist now and then, and nothing is lost by it."""
    world = paced()
    for _ in range(3600 // every):
        world.tell(lambda at: ev.SegmentSpoke(at=at, attempt=current_of(world), line=Line.RELOAD_REFUSED))
        world.advance(float(every))
    assert 3 < len(world.recorder.segments) < 45
    assert world.recorder.state is State.RECORDING
    world.change_air(Air.ENDED)
    ends_well(world)


@pytest.mark.parametrize("grace", [2.0, 60.0])
def test_a_short_grace_asks_no_more_of_a_site_that_wants_to_be_left_alone(
    monkeypatch: pytest.MonkeyPatch, grace: float
) -> None:
    world = begun(World(policy=replace(POLICY, grace=grace, outage=1800.0)))
    world.advance(20.0)

    def refuse(probe: int, *_: object, **__: object) -> Callable[[Moment], ev.Event]:
        detail = "429 Client Error: Too Many Requests"
        return lambda at: ev.SourceProbed(at=at, probe=probe, outcome=ev.Outcome.TROUBLE, detail=detail, mark="")

    monkeypatch.setattr(world.source, "answer", refuse)
    world.change_air(Air.OFFLINE)
    world.advance(1200.0)
    assert 10 < asked(world) < 120


def silent(world: World) -> tuple[Recorder, Moment]:
    """The recorder, and the moment at which its silence is long enough."""
    due = silence_due(world.recorder.segments[0], POLICY)
    assert due is not None
    return world.recorder, world.now.at(due)


def test_a_run_that_got_something_meanwhile_is_not_replaced() -> None:
    recorder, at = silent(paced())
    size = recorder.segments[0].size
    recorder, effects = step(recorder, ev.SizeMeasured(at=at, attempt=1, size=size))
    assert fx.Probe(recorder.probe) in effects
    for mark in ("one", "two"):
        live = ev.SourceProbed(at=at, probe=recorder.probe, outcome=ev.Outcome.LIVE, detail="", mark=mark)
        recorder, _ = step(recorder, live)
    assert recorder.segments[0].left_behind
    grown, _ = step(recorder, ev.SizeMeasured(at=at, attempt=1, size=size + 1))
    assert (grown.state, grown.segments[0].left_behind, len(grown.segments)) == (State.RECORDING, False, 1)
    still, _ = step(recorder, ev.SizeMeasured(at=at, attempt=1, size=size))
    assert (still.state, still.segments[-1].phase) == (State.ROTATING, Phase.LAUNCHING)


def test_a_source_that_offers_several_media_segments_at_a_time_is_asked_about_once() -> None:
    """A silence that ended by itself while the source answered is its way; one in which nobody answered is not."""
    recorder, at = silent(paced())
    size = recorder.segments[0].size
    recorder, _ = step(recorder, ev.SizeMeasured(at=at, attempt=1, size=size))
    grown = ev.SizeMeasured(at=at.at(at.monotonic + 1.0), attempt=1, size=size + 1)
    for outcome, is_learned in ((ev.Outcome.LIVE, True), (ev.Outcome.TROUBLE, False)):
        answer = ev.SourceProbed(at=at, probe=recorder.probe, outcome=outcome, detail="", mark="one")
        after, _ = step(step(recorder, answer)[0], grown)
        first = after.segments[0]
        assert (first.pause == pytest.approx(13.0)) is is_learned
        due = silence_due(first, replace(POLICY, stall_timeout=STALL))
        assert due == pytest.approx(at.monotonic + 1.0 + (19.5 if is_learned else 12.0))


def test_a_silent_run_is_looked_at_when_it_is_to_be_asked_about_and_no_more_often() -> None:
    recorder, at = silent(paced())
    first = recorder.segments[0]
    assert next_measure(first, POLICY, at.monotonic - 1.0) <= at.monotonic
    assert next_measure(first, POLICY, at.monotonic + 5.0) >= at.monotonic + 6.0


def test_a_file_tells_when_it_grew_between_two_looks_whatever_the_clock_says() -> None:
    segment = replace(paced().recorder.segments[0], size=100, grown_at=50.0, looked_at=60.0)
    told = [last_growth(segment, 101, written, 70.0) for written in (None, 65.0, 10.0, 3700.0)]
    assert told == [70.0, 65.0, 60.0, 70.0]
    assert last_growth(segment, 100, 65.0, 70.0) == 50.0


# --- a crash after every effect ------------------------------------------------------------------------------------


def play(world: World) -> World:
    """A run hangs after half a minute, and its source goes on for a minute; the pace is told now and then."""

    def tell() -> None:
        if world.scopes:
            newest = max(world.scopes)
            world.tell(lambda at: ev.SegmentSpoke(at=at, attempt=newest, line=Line.PACE, pace=SOURCE))

    def hang() -> None:
        if world.scopes:
            world.scopes[max(world.scopes)].stalled = True

    world.post(lambda at: ev.RecordRequested(at=at))
    for second in range(3, 90, 5):
        world.after(float(second), tell)
    world.after(30.0, hang)
    world.after(90.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    return world


def check(world: World) -> None:
    assert world.broken == []
    assert world.recorder.state is State.COMPLETED
    assert world.joined == [set(range(world.aired))]
    assert world.leftovers() == []
    assert world.rows.is_like(world.recorder)


PATIENT = replace(POLICY, stall_timeout=STALL, rotate_age=86400.0)
UNDISTURBED = play(World(policy=PATIENT))


def test_undisturbed() -> None:
    check(UNDISTURBED)
    assert causes(UNDISTURBED) == ["rotated", "source-ended"]


@pytest.mark.parametrize("crash_after", range(1, len(UNDISTURBED.performed) + 1))
def test_with_a_crash(crash_after: int) -> None:
    check(play(World(crash_after={crash_after}, policy=PATIENT)))
