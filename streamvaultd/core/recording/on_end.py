# SPDX-License-Identifier: GPL-3.0-or-later
"""The end: the join, and recordings that are too short to be kept.

A join that failed is tried again, later and later, and for ever: the disk may be full, the memory of the slice be
taken, a scope be refused. Only what no later try can change, segments without any media, ends a recording as failed.

Media are given up only by a decision that is saved first (DISCARDING), and only when nothing more can come: the
recording was begun by the watcher, whose streamer's file asks for it; the join has measured what there is; and the
source said that the broadcast is over, or another one has begun. Where nobody can tell, everything is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamvaultd.core.model import Moment, Phase, Recorder, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import (
    DISCARD_CHECK,
    JOIN_CHECK,
    JOINS_TOLD,
    is_host_stopping,
    join_delay,
)
from streamvaultd.core.recording.steps import Step, enter, join, last_end, move, tell


def on_join_ended(recorder: Recorder, event: ev.JoinEnded) -> Step:
    if event.join != recorder.joins or (event.why is not None and is_host_stopping(recorder, event.at.monotonic)):
        return recorder, ()  # a join that ended with the machine is begun anew by the next daemon
    if event.why is None:
        return discard(recorder, event) if is_too_short(recorder, event.duration) else _finish(recorder, event)
    if event.for_good:
        return _fail(recorder, event.at, f"cannot join: {event.why}")
    failures = recorder.failures + 1
    delay = join_delay(failures, recorder.recording.id)
    after = enter(
        recorder, State.UNJOINED, event.at, failures=failures, retry_at=event.at.monotonic + delay,
        detail=f"the last join failed: {event.why}",
    )  # fmt: skip
    told = [tell(Notice.JOIN_FAILED, why=event.why, tries=recorder.joins, pause=f"{delay:.0f}s")]
    if failures == JOINS_TOLD:
        told.append(tell(Notice.UNJOINED, why=event.why, tries=failures))
    return after, tuple(told)


def _fail(recorder: Recorder, at: Moment, why: str) -> Step:
    """There will be no file, unless somebody asks for another try: the segments stay."""
    return enter(recorder, State.FAILED, at, ended=at, detail=why), (tell(Notice.RECORDING_FAILED, why=why),)


def _finish(recorder: Recorder, event: ev.JoinEnded) -> Step:
    stopped = recorder.stop is StopReason.REQUESTED
    state = State.STOPPED if stopped else State.COMPLETED
    notice = Notice.RECORDING_STOPPED if stopped else Notice.RECORDING_COMPLETED
    ended = last_end(recorder, event.at)
    after = enter(recorder, state, event.at, ended=ended, path=event.path, result_bytes=event.size, detail=None)
    return after, (fx.RemoveSegments(), tell(notice, path=event.path, size=event.size, why="joined"))


def on_join_overdue(recorder: Recorder, event: ev.JoinOverdue) -> Step:
    again = event.at.monotonic + JOIN_CHECK
    return replace(recorder, retry_at=again), (fx.Join(recorder.joins),)


def on_next_join_due(recorder: Recorder, event: ev.JoinOverdue) -> Step:
    """Join again, but not on a machine that is going down, which would end it at once."""
    until = recorder.host_stopping
    if until is not None and is_host_stopping(recorder, event.at.monotonic):
        return replace(recorder, retry_at=until), ()
    return join(recorder, event.at)


def on_given_up(recorder: Recorder, event: ev.StopRequested) -> Step:
    """Somebody does not want to wait for a join that works."""
    return _fail(recorder, event.at, f"given up by request; {recorder.detail}")


def on_segments_removed(recorder: Recorder, event: ev.SegmentsRemoved) -> Step:
    if recorder.path is None:
        return recorder, ()
    for segment in recorder.segments:
        if segment.phase is Phase.ENDED:
            recorder = move(recorder, segment, Phase.REMOVED, event.at)
    return recorder, ()


# --- too short to be kept --------------------------------------------------------------------------------------------


_OVER: Final = frozenset({StopReason.OVER, StopReason.CHANGED})


def is_too_short(recorder: Recorder, duration: float | None) -> bool:
    """Whether what was joined, so many seconds, is not to be kept; what nobody could measure, or wants kept, is."""
    if recorder.kept:
        return False
    return recorder.stop in _OVER and duration is not None and duration < recorder.recording.policy.min_duration


def discard(recorder: Recorder, event: ev.JoinEnded) -> Step:
    """From now on it is on record that the media go, and why; then they go."""
    why = f"{event.duration or 0.0:.1f} s of media, and min_duration is {recorder.recording.policy.min_duration:g} s"
    again = event.at.monotonic + DISCARD_CHECK
    after = enter(recorder, State.DISCARDING, event.at, retry_at=again, detail=f"not kept: {why}")
    return after, (fx.Discard(), tell(Notice.NOT_KEPT, why=why))


def on_discard_overdue(recorder: Recorder, event: ev.DiscardOverdue) -> Step:
    return replace(recorder, retry_at=event.at.monotonic + DISCARD_CHECK), (fx.Discard(),)


def on_media_discarded(recorder: Recorder, event: ev.MediaDiscarded) -> Step:
    """Its media are gone; its rows say so from now on."""
    told = tell(Notice.MEDIA_DISCARDED, files=event.files, size=event.size)
    for segment in recorder.segments:
        if segment.phase is Phase.ENDED:
            recorder = move(recorder, segment, Phase.REMOVED, event.at)
    after = enter(recorder, State.COMPLETED, event.at, ended=last_end(recorder, event.at))
    return after, (fx.DiscardFolder(), told)
