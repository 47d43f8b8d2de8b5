# SPDX-License-Identifier: GPL-3.0-or-later
"""What people may ask of a recording: to begin, to end, to try again, to keep its media, and to give them up.

Retention gives media up on the same terms, see upkeep/retention.py.
"""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.model import Moment, Phase, Recorder, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.steps import Step, join, launch, move, tell, wind_up


def on_begin(recorder: Recorder, event: ev.RecordRequested) -> Step:
    if recorder.segments:
        return recorder, ()
    after, effects = launch(recorder, event.at)
    return after, (*effects, tell(Notice.RECORDING_STARTED))


def on_stop_requested(recorder: Recorder, event: ev.StopRequested) -> Step:
    after, effects = wind_up(replace(recorder, stop=StopReason.REQUESTED), event.at)
    return after, (*effects, tell(Notice.STOPPING, why="it was asked for"))


def on_broadcast_over(recorder: Recorder, event: ev.BroadcastOver) -> Step:
    reason = StopReason.UNWANTED if event.unwanted else StopReason.CHANGED
    after, effects = wind_up(replace(recorder, stop=reason), event.at)
    return after, (*effects, tell(Notice.STOPPING, why=event.why))


def on_duration_reached(recorder: Recorder, event: ev.DurationReached) -> Step:
    if recorder.recording.duration is None or recorder.media_started is None:
        return recorder, ()
    return end_at_duration(recorder, event.at)


def end_at_duration(recorder: Recorder, at: Moment) -> Step:
    """There is as much of it as was asked for."""
    after, effects = wind_up(replace(recorder, stop=StopReason.DURATION), at)
    return after, (*effects, tell(Notice.STOPPING, why="its duration is reached"))


def why_not_retried(recorder: Recorder) -> str | None:
    """Why there is nothing to try again; None if there is."""
    if recorder.state in (State.BACKOFF, State.GRACE, State.PAUSED, State.UNJOINED):
        return None
    if recorder.state is State.FAILED:
        return None if has_segments(recorder) else "it kept no segments that could be joined"
    if recorder.state.is_final:
        return "it is joined, or never had media"
    return "it is busy already"


def has_segments(recorder: Recorder) -> bool:
    """Whether segments with media are kept, as far as the rows tell."""
    return any(segment.phase is Phase.ENDED and segment.size > 0 for segment in recorder.segments)


def on_retry_requested(recorder: Recorder, event: ev.RetryRequested) -> Step:
    if why_not_retried(recorder) is not None:
        return recorder, ()
    told = tell(Notice.RETRYING, state=recorder.state.value)
    match recorder.state:
        case State.FAILED:
            after, effects = join(replace(recorder, failures=0, ended=None, detail=None), event.at)
        case State.UNJOINED:
            after, effects = join(replace(recorder, failures=0), event.at)
        case State.BACKOFF:
            after, effects = launch(recorder, event.at)
        case State.GRACE:
            after, effects = replace(recorder, probing=False, probe_at=event.at.monotonic), ()
        case _:
            after, effects = replace(recorder, retry_at=event.at.monotonic), ()
    return after, (*effects, told)


def why_not_kept(recorder: Recorder) -> str | None:
    """Why there is nothing to keep; None if there is, or may be in the end."""
    if recorder.state is State.DISCARDING:
        return f"its media are being removed ({recorder.detail})"
    if recorder.state.is_final and recorder.path is None and not has_segments(recorder):
        return "it has no media"
    return None


def on_keep_requested(recorder: Recorder, event: ev.KeepRequested) -> Step:
    """From now on no rule removes its media, or the rules hold again."""
    if recorder.kept is event.keep or (event.keep and why_not_kept(recorder) is not None):
        return recorder, ()
    return replace(recorder, kept=event.keep), (tell(Notice.KEPT if event.keep else Notice.UNKEPT),)


def why_not_pruned(recorder: Recorder, *, failed: bool, force: bool) -> str | None:
    """Why the media of a recording must stay; None if they may go.

    `failed`: also those that nobody has joined. `force`: also those that somebody wants to keep.
    """
    if recorder.kept and not force:
        return "it is marked to be kept"
    if recorder.state is State.UNJOINED:
        return "its join is tried again, unless you stop it"
    if not recorder.state.is_final:
        return f"it is {recorder.state.value}"
    if any(not segment.phase.is_over for segment in recorder.segments):
        return "a segment of it is not over"
    if recorder.path is None:
        if not has_segments(recorder):
            return "it has no media"
        return None if failed else "its segments were never joined: they are all there is of it"
    if has_segments(recorder):
        return "its segments are not removed yet"
    return None


def on_media_pruned(recorder: Recorder, event: ev.MediaPruned) -> Step:
    """Its media are gone; its rows say so from now on, and there is nothing to keep."""
    if why_not_pruned(recorder, failed=event.rule is None, force=True) is not None:
        return recorder, ()
    told = tell(Notice.MEDIA_PRUNED, files=event.files, size=event.size)
    detail = "its media were removed by request"
    if event.rule is not None:
        told = tell(Notice.MEDIA_EXPIRED, files=event.files, size=event.size, rule=event.rule)
        detail = f"its media were not to be kept any longer, {event.rule}"
    for segment in recorder.segments:
        if segment.phase is Phase.ENDED:
            recorder = move(recorder, segment, Phase.REMOVED, event.at)
    return replace(recorder, path=None, detail=detail, kept=False), (fx.DiscardFolder(), told)
