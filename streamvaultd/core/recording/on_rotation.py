# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation: the next segment starts beside the present one, and takes over when it has all that is new."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import OVERLAP_RECHECK, has_lasted, is_host_stopping
from streamvaultd.core.recording.steps import Step, ask_to_stop, enter, launch, tell


def on_rotate(recorder: Recorder, event: ev.RotateRequested | ev.RotationDue) -> Step:
    current = recorder.current
    if current is None or current.phase is not Phase.WRITING or is_host_stopping(recorder, event.at.monotonic):
        return recorder, ()
    if isinstance(event, ev.RotationDue) and event.attempt != current.number:
        return recorder, ()
    after, effects = launch(recorder, event.at, State.ROTATING, rotate_retry_at=None)
    return after, (*effects, tell(Notice.ROTATION_STARTED, current, new=f"{after.segments[-1].number:03d}"))


def _pair(recorder: Recorder, attempt: int) -> tuple[Segment, Segment] | None:
    """(old, new) of the rotation under way, None if `attempt` is not its new segment."""
    running = [segment for segment in recorder.live if segment.phase is not Phase.STOPPING]
    if len(running) == 2 and running[1].number == attempt and running[1].phase is Phase.WRITING:
        return running[0], running[1]
    return None


def on_overlap_due(recorder: Recorder, event: ev.OverlapDue) -> Step:
    pair = _pair(recorder, event.attempt)
    if pair is None:
        return recorder, ()
    again = event.at.monotonic + 10 * OVERLAP_RECHECK  # should the answer never come
    return replace(recorder, overlap_at=again), (fx.CheckOverlap(pair[1].number, pair[0].number),)


def on_overlap_checked(recorder: Recorder, event: ev.OverlapChecked) -> Step:
    pair = _pair(recorder, event.attempt)
    if pair is None:
        return recorder, ()
    if not event.proven:
        return replace(recorder, overlap_at=event.at.monotonic + OVERLAP_RECHECK), ()
    return _take_over(recorder, *pair, event)


def on_overlap_timed_out(recorder: Recorder, event: ev.OverlapTimedOut) -> Step:
    pair = _pair(recorder, event.attempt)
    if pair is None:
        return recorder, ()
    after, effects = _take_over(recorder, *pair, event)
    return after, (*effects, tell(Notice.OVERLAP_UNPROVEN, pair[1], old=f"{pair[0].number:03d}"))


def _take_over(recorder: Recorder, old: Segment, new: Segment, event: ev.OverlapChecked | ev.OverlapTimedOut) -> Step:
    recorder, effects = ask_to_stop(recorder, replace(old, rotated=True), event.at, cause=Cause.ROTATED)
    failures = 0 if has_lasted(old, event.at.monotonic) else recorder.failures
    after = enter(recorder, State.RECORDING, event.at, failures=failures)
    return after, (
        *effects,
        tell(Notice.ROTATION_DONE, new, old=f"{old.number:03d}", new=f"{new.number:03d}"),
    )
