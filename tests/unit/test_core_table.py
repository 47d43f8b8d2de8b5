# SPDX-License-Identifier: GPL-3.0-or-later
"""The table says exactly what can happen: every recorder that can be reached is visited, and nothing leads elsewhere.

Recorders that differ only in times, numbers and texts are taken for one; segments are counted up to two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Segment, State, StopReason
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.machine import RULES, IllegalTransition, step
from streamvaultd.core.recording.steps import put
from streamvaultd.core.upkeep.recovery import coherent
from tests.unit.broadcast import GONE, NO_SPACE, SILENT, UNKNOWN_SITE, UNREACHABLE
from tests.unit.invariants import broken_by_step
from tests.unit.rows import BOOTED, EPOCH, new_recorder

SEGMENTS_MAX = 2
JOINS_MAX = 1
POLICY = Policy(start_attempts=2, grace=1000.0, min_duration=60.0)

EXITS = (
    Evidence(),
    Evidence(status=0),
    Evidence(status=0, log=(SILENT,)),
    Evidence(status=1, log=(GONE,)),
    Evidence(status=1, log=(UNKNOWN_SITE,)),
    Evidence(status=-9, oom_kills=1),
    Evidence(status=1, log=(UNREACHABLE,)),
    Evidence(status=1, log=(NO_SPACE,)),
    Evidence(error="no such file"),
)

pytestmark = pytest.mark.timeout(300)  # whichever test is first visits all recorders

Arrow = tuple[State, type[ev.Event], State]


def run_events(at: Moment, attempt: int, segment: Segment) -> Iterator[ev.Event]:
    """Everything that can be heard of one run."""
    yield ev.ScopeStarted(at=at, attempt=attempt)
    yield ev.EvidenceArrived(at=at, attempt=attempt, evidence=Evidence(unit_result="oom-kill"))
    if segment.phase.is_over:  # the other events are stale, as those of test_core_properties
        yield ev.SegmentExited(at=at, attempt=attempt, evidence=Evidence(status=-9))
        return
    yield ev.LaunchFailed(at=at, attempt=attempt, why="refused")
    yield ev.LaunchFailed(at=at, attempt=attempt, why="refused", permanent=True)
    yield ev.LaunchFailed(at=at, attempt=attempt, why="no room", disk=True)
    yield ev.MediaArrived(at=at, attempt=attempt, size=1000)
    yield ev.SizeMeasured(at=at, attempt=attempt, size=segment.size)
    yield ev.SizeMeasured(at=at, attempt=attempt, size=segment.size + 1000)
    yield ev.SizeMeasured(at=at, attempt=attempt, size=segment.size + 1000, anon=250 << 20)
    yield ev.FileTaken(at=at, attempt=attempt, how=ev.Taken.REMOVED, size=1000)
    yield ev.SegmentSpoke(at=at, attempt=attempt, line=Line.FILTERING)
    yield ev.SegmentSpoke(at=at, attempt=attempt, line=Line.FETCH_FAILED)
    yield ev.SegmentSpoke(at=at, attempt=attempt, line=Line.OPENING, quality="720p60")
    yield ev.OverlapChecked(at=at, attempt=attempt, proven=False)
    yield ev.OverlapChecked(at=at, attempt=attempt, proven=True)
    yield from (ev.SegmentExited(at=at, attempt=attempt, evidence=evidence) for evidence in EXITS)
    yield ev.SegmentSealed(at=at, attempt=attempt, size=1000)
    yield ev.SegmentSealed(at=at, attempt=attempt, size=0)  # empty, or somebody removed it
    for kind in (
        ev.LaunchTimedOut, ev.MediaTimedOut, ev.MeasureDue, ev.RotationDue, ev.OverlapDue, ev.OverlapTimedOut,
        ev.StopTimedOut, ev.SealTimedOut,
    ):  # fmt: skip
        yield kind(at=at, attempt=attempt)


def all_events(recorder: Recorder, at: Moment) -> Iterator[ev.Event]:
    """Everything that can be heard, true or not."""
    for segment in recorder.segments:
        yield from run_events(at, segment.number, segment)
    for outcome in ev.Outcome:
        yield ev.SourceProbed(at=at, probe=recorder.probe, outcome=outcome, detail="")
    yield ev.JoinEnded(at=at, join=recorder.joins, path="/srv/r/demo/x.ts", size=1000)
    yield ev.JoinEnded(at=at, join=recorder.joins, path="/srv/r/demo/x.ts", size=1000, duration=5.0)
    yield ev.JoinEnded(at=at, join=recorder.joins, why="cannot")
    yield ev.JoinEnded(at=at, join=recorder.joins, why="no media", for_good=True)
    yield ev.MediaDiscarded(at=at, files=2, size=2000)
    yield ev.DiskLow(at=at, why="no room")
    yield ev.MediaPruned(at=at, files=1, size=1000)
    yield ev.MediaPruned(at=at, files=1, size=1000, rule="keep_for: it ended 9.0 days ago")
    yield ev.KeepRequested(at=at, keep=True)
    yield ev.KeepRequested(at=at, keep=False)
    yield ev.Restarted(at=at)
    yield ev.Restarted(at=at, live={segment.number: segment.size for segment in recorder.live})
    for kind in (
        ev.RecordRequested, ev.StopRequested, ev.RotateRequested, ev.SegmentsRemoved, ev.RetryDue, ev.ProbeDue,
        ev.GraceOver, ev.DurationReached, ev.JoinOverdue, ev.NetworkBack, ev.DiskFreed, ev.DiskDue, ev.HostStopping,
        ev.HostStays, ev.RetryRequested, ev.DiscardOverdue,
    ):  # fmt: skip
        yield kind(at=at)
    yield ev.BroadcastOver(at=at, why="another one")
    yield ev.BroadcastOver(at=at, why="its title", unwanted=True)


def abstract(recorder: Recorder) -> object:
    """What is left of a recorder without its times, numbers and texts, as far as it matters in its state."""
    stopping = recorder.state is State.STOPPING
    unfinished = [segment for segment in recorder.segments if not segment.phase.is_over]
    running = tuple((s.phase, s.started is not None, s.media_at is not None) for s in unfinished)
    tries = tuple(segment.stops for segment in unfinished[:1]) if stopping else ()
    waiting = () if stopping else (min(recorder.failures, 1), recorder.grace_until is not None)
    refused = recorder.state is State.BACKOFF and recorder.segments[-1:] and recorder.segments[-1].cause == "network"
    return (
        recorder.state, running, tries, waiting, len(recorder.segments), _reason(recorder), recorder.probing,
        recorder.media_started is not None, recorder.size > 0, recorder.joins, recorder.overlap_at is not None,
        refused, recorder.gone and recorder.state is State.GRACE,
    )  # fmt: skip


def _reason(recorder: Recorder) -> StopReason | None:
    """Why it ended, as far as it matters."""
    return recorder.stop if recorder.stop in (None, StopReason.OVER, StopReason.CHANGED) else StopReason.REQUESTED


def _opened_in_part(recorder: Recorder, at: Moment) -> Iterator[tuple[Recorder, ev.Event]]:
    """A run that waits for two streams hears that one of them is not there."""
    for segment in recorder.segments:
        if segment.phase is Phase.WAITING:
            line = ev.SegmentSpoke(at=at, attempt=segment.number, line=Line.NOT_FOUND)
            yield put(recorder, segment, muxed=True), line


def everything_after(recorder: Recorder) -> Iterator[tuple[Recorder, ev.Event]]:
    """What may happen soon or late; and while the machine goes down, what would start something."""
    for wait in (1.0, 2000.0, 90000.0) if recorder.state is State.PAUSED else (1.0, 2000.0):
        seconds = recorder.since.monotonic - BOOTED + wait
        at = Moment(BOOTED + seconds, EPOCH + round(seconds * 1e6))
        going_down = replace(recorder, host_stopping=at.monotonic + 1.0)
        for event in all_events(recorder, at):
            yield recorder, event
            if isinstance(event, STARTERS):
                yield going_down, event
        yield from _opened_in_part(recorder, at)


STARTERS = (
    ev.RecordRequested, ev.Restarted, ev.SourceProbed, ev.DiskFreed, ev.RetryDue, ev.NetworkBack, ev.SegmentExited,
    ev.RetryRequested, ev.JoinOverdue,
)  # fmt: skip


@cache
def explore() -> tuple[frozenset[Arrow], int, tuple[str, ...]]:
    """(every change of state that can happen, recorders visited, broken invariants)"""
    wanted = replace(new_recorder(policy=POLICY, duration=50.0))
    queue, known = deque([wanted]), {abstract(wanted)}
    arrows: set[Arrow] = set()
    broken: set[str] = set()
    while queue:
        for recorder, event in everything_after(queue.popleft()):
            try:
                after, effects = step(recorder, event)
            except IllegalTransition as error:
                broken.add(str(error))
                continue
            if after is recorder and not effects:
                continue
            broken.update(
                f"{text} ({type(event).__name__})" for text in broken_by_step(recorder, after, effects, event)
            )
            if coherent(after, event.at) != after:
                broken.add(f"a new daemon takes {after.state} for another's work ({type(event).__name__})")
            arrows.add((recorder.state, type(event), after.state))
            is_bounded = len(after.segments) <= SEGMENTS_MAX and after.joins <= JOINS_MAX
            if is_bounded and (kind := abstract(after)) not in known:
                known.add(kind)
                queue.append(after)
    return frozenset(arrows), len(known), tuple(sorted(broken))


def test_no_event_in_any_recorder_breaks_an_invariant() -> None:
    assert explore()[2] == ()


def test_every_state_is_reached() -> None:
    assert {after for _, _, after in explore()[0]} == set(State)


def test_rows_name_what_can_happen_and_nothing_else() -> None:
    declared = {
        (state, rule.event, target)
        for rule in RULES
        for state in rule.states
        for target in rule.targets
        if target is not state
    }
    happened = {arrow for arrow in explore()[0] if arrow[0] is not arrow[2]}
    assert declared == happened
