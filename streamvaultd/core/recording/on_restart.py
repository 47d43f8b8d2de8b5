# SPDX-License-Identifier: GPL-3.0-or-later
"""A new daemon: take up what the rows say."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.model import Instant, Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.policy import GRACE_ANEW, STEP_MIN, wall_offset
from streamvaultd.core.recording.steps import Step, launch, move, put, tell


def on_restarted(recorder: Recorder, event: ev.Restarted) -> Step:
    """Take up what the rows say: watch what runs, and ask again for what may have been lost on the way.

    Runs that are live by their rows and have no scope are not looked at here: their end follows as an event.
    """
    if recorder.state is State.STARTING and not recorder.segments:
        return launch(recorder, event.at)
    effects: tuple[Effect, ...] = ()
    for segment in recorder.segments:
        recorder, more = _resume_segment(recorder, segment, event)
        effects += more
    recorder, more = _resume_state(recorder, event)
    return recorder, effects + more


def _resume_segment(recorder: Recorder, segment: Segment, event: ev.Restarted) -> Step:
    if segment.phase is Phase.SEALING:
        return put(recorder, segment, since=event.at), (fx.Seal(segment.number),)
    if not segment.phase.is_live or segment.number not in event.live:
        return recorder, ()
    effects: tuple[Effect, ...] = (fx.Watch(segment.number), tell(Notice.ADOPTED, segment))
    if segment.phase is Phase.LAUNCHING:
        return move(recorder, segment, Phase.WAITING, event.at, started=segment.since), effects
    if segment.phase is Phase.STOPPING:
        return put(recorder, segment, since=event.at), (*effects, fx.StopScope(segment.number))
    if segment.phase is Phase.WRITING:
        changes = {"grown_at": _last_growth(segment, event), "measure_at": event.at.monotonic + 1.0}
        size = max(segment.size, event.live[segment.number])
        return put(recorder, segment, size=size, earlier_boot=False, **changes), effects
    return recorder, effects


def _last_growth(segment: Segment, event: ev.Restarted) -> Instant:
    """When a run that lives has last written, also while there was no daemon: one that hangs goes on hanging."""
    known, now = segment.grown_at, event.at.monotonic
    if known is None:
        known = segment.since.monotonic
    if event.live[segment.number] <= segment.size:
        return min(known, now)
    if abs(wall_offset(event.at) - wall_offset(segment.since)) > STEP_MIN:
        return now  # the date of the last write is told by a clock that was set since
    return min(max(event.grown.get(segment.number, now), known), now)


def _resume_state(recorder: Recorder, event: ev.Restarted) -> Step:
    now = event.at.monotonic
    if recorder.grace_until is not None:  # nobody asked the source for as long as there was no daemon
        anew = now + max(recorder.recording.policy.grace, GRACE_ANEW)
        recorder = replace(recorder, grace_until=max(recorder.grace_until, anew))
    match recorder.state:
        case State.ROTATING if recorder.overlap_at is not None:
            return replace(recorder, overlap_at=now), ()
        case State.GRACE:
            return replace(recorder, probing=False, probe_at=now), ()
        case State.PAUSED:
            return replace(recorder, retry_at=now), ()
        case State.FINALIZING:
            return recorder, (fx.Join(recorder.joins),)
        case State.DISCARDING:
            return recorder, (fx.Discard(),)
        case State.COMPLETED | State.STOPPED if recorder.path is not None:
            return recorder, (fx.RemoveSegments(),)
        case _:
            return recorder, ()
