# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from each event: one function an event, used by the rows of the table in machine.py.

Events of a run first look at their segment's phase: a late or repeated one finds it changed and does nothing, except
that a scope which turns out to run for a segment that is over is stopped, so that nothing leaks.
"""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Phase, Recorder, Segment, State, StopReason, is_death
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.keeping import discard, is_too_short
from streamvaultd.core.recording.loglines import quality_in
from streamvaultd.core.recording.policy import (
    GRACE_ANEW,
    JOIN_CHECK,
    JOINS_MAX,
    OVERLAP_RECHECK,
    SEALS_MAX,
    STEP_MIN,
    STOPS_MAX,
    has_advanced,
    has_lasted,
    has_stalled,
    is_host_stopping,
    is_memory_near,
    memory_limit,
    next_measure,
    raised_limit,
    wall_offset,
)
from streamvaultd.core.recording.steps import (
    Step,
    ask_to_stop,
    conclude,
    enter,
    go_on_without,
    join,
    last_end,
    launch,
    learn_from_end,
    may_rotate,
    move,
    put,
    raise_memory,
    tell,
    wind_up,
)
from streamvaultd.core.recording.surroundings import on_evidence
from streamvaultd.core.recording.verdict import Ending, Verdict, judge


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
    after, effects = wind_up(replace(recorder, stop=StopReason.DURATION), event.at)
    return after, (*effects, tell(Notice.STOPPING, why="its duration is reached"))


# --- rotation ------------------------------------------------------------------------------------------------------


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
    recorder, effects = ask_to_stop(recorder, replace(old, rotated=True), event.at, cause="rotated")
    failures = 0 if has_lasted(old, event.at.monotonic) else recorder.failures
    after = enter(recorder, State.RECORDING, event.at, failures=failures)
    return after, (
        *effects,
        tell(Notice.ROTATION_DONE, new, old=f"{old.number:03d}", new=f"{new.number:03d}"),
    )


# --- a run's life --------------------------------------------------------------------------------------------------


def on_scope_started(recorder: Recorder, event: ev.ScopeStarted) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or not segment.phase.is_live:
        return recorder, (fx.StopScope(event.attempt),)
    if segment.phase is Phase.LAUNCHING:
        after = move(recorder, segment, Phase.WAITING, event.at, started=event.at)
        return after, (tell(Notice.SEGMENT_STARTED, segment),)
    if segment.phase is Phase.STOPPING and segment.started is None:
        return put(recorder, segment, started=event.at), (fx.StopScope(event.attempt),)
    return recorder, ()


def on_launch_failed(recorder: Recorder, event: ev.LaunchFailed) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.started is not None or not segment.phase.is_live:
        return recorder, ()
    asked = segment.phase is Phase.STOPPING
    cause = segment.cause or ("stopped" if asked else "launch-failed")
    is_host_down = is_host_stopping(recorder, event.at.monotonic)
    known = Evidence(
        asked=cause if asked else None,
        error=event.why,
        disk="full" if event.disk else None,
        host_down=is_host_down or None,
    )
    known = known.merged(segment.evidence or Evidence())
    after = move(recorder, segment, Phase.SEALING, event.at, ended=event.at, cause=cause, evidence=known)
    effects: tuple[Effect, ...] = (fx.Seal(segment.number),)
    if asked:
        return after, effects
    if is_host_down:  # systemd refuses whatever is new; that is no failure of the launch
        after, more = go_on_without(after, segment, event.at, Verdict("launch-failed", Ending.HOST, event.why))
        return after, (*effects, *more)
    told = tell(Notice.LAUNCH_FAILED, segment, "launch-failed", why=event.why)
    ending = Ending.BROKEN
    if event.disk:
        ending = Ending.DISK
    elif event.permanent and recorder.media_started is None:
        ending = Ending.UNSUPPORTED
    after, more = go_on_without(after, segment, event.at, Verdict("launch-failed", ending, event.why))
    return after, (*effects, told, *more)


def on_media_arrived(recorder: Recorder, event: ev.MediaArrived) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase not in (Phase.LAUNCHING, Phase.WAITING):
        return recorder, ()
    started = segment.started or event.at
    after = move(
        recorder, segment, Phase.WRITING, event.at, started=started, media_at=event.at, size=event.size,
        grown_at=event.at.monotonic, measure_at=event.at.monotonic + 1.0,
    )  # fmt: skip
    told = (tell(Notice.MEDIA_ARRIVED, segment, size=event.size),)
    after = replace(after, detail=None)
    if after.state is State.STARTING:
        return enter(after, State.RECORDING, event.at), told
    if after.state is State.ROTATING and segment.number == after.segments[-1].number:
        until = event.at.monotonic + after.recording.policy.overlap_limit
        return replace(after, overlap_at=event.at.monotonic, rotation_until=until), told
    return after, told


def on_measure_due(recorder: Recorder, event: ev.MeasureDue) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.WRITING:
        return recorder, ()
    again = event.at.monotonic + recorder.recording.policy.stall_timeout / 3  # should the answer never come
    return put(recorder, segment, measure_at=again), (fx.Measure(segment.number),)


def on_size_measured(recorder: Recorder, event: ev.SizeMeasured) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.WRITING:
        return recorder, ()
    policy, now = recorder.recording.policy, event.at.monotonic
    if event.size <= segment.size and has_stalled(segment, policy, now):
        return _replace_stalled(recorder, segment, event)
    grown = now if event.size > segment.size else segment.grown_at
    measured = replace(_weighed(segment, event), size=max(event.size, segment.size), grown_at=grown)
    after = put(recorder, measured, measure_at=next_measure(measured, policy, now))
    if has_advanced(measured):
        after = replace(after, grace_until=None, silent_since=None)
    room = max(memory_limit(after, now), raised_limit(measured.memory_max or 0, policy))
    if is_memory_near(measured, now, room) and may_rotate(after, measured, now):
        return _rotate_for_memory(after, measured, event)
    return after, ()


def _weighed(segment: Segment, event: ev.SizeMeasured) -> Segment:
    if event.limit is not None:
        segment = replace(segment, memory_max=event.limit)
    if event.anon is None:
        return segment
    now, rate = event.at.monotonic, 0.0
    if segment.anon is not None and segment.anon_at is not None and now > segment.anon_at:
        rate = (event.anon - segment.anon) / (now - segment.anon_at)
    return replace(segment, anon=event.anon, anon_at=now, anon_rate=rate)


def _rotate_for_memory(recorder: Recorder, segment: Segment, event: ev.SizeMeasured) -> Step:
    """A new process before the kernel kills this one, with more room if that may be given."""
    after, raised = raise_memory(recorder, segment, event.at)
    after, effects = launch(after, event.at, State.ROTATING, rotate_retry_at=None)
    new, anon = f"{after.segments[-1].number:03d}", f"{(segment.anon or 0) >> 20}M"
    limit = f"{(segment.memory_max or 0) >> 20}M"
    return after, (*effects, *raised, tell(Notice.MEMORY_NEAR, segment, anon=anon, limit=limit, new=new))


def _replace_stalled(recorder: Recorder, segment: Segment, event: ev.SizeMeasured) -> Step:
    # It may hang, or the source stands still: the next one tells, and only the grace period can
    why = f"nothing was written for {recorder.recording.policy.stall_timeout:g} s"
    after, effects = ask_to_stop(recorder, segment, event.at, cause="stall")
    told = tell(Notice.STALLED, segment, "stall", why=why)
    if segment.grown_at is not None and has_lasted(segment, segment.grown_at):
        after = replace(after, failures=0)
    after, more = go_on_without(after, segment, event.at, Verdict("stall", Ending.SOURCE_LOST, why))
    return after, (*effects, told, *more)


def on_media_timed_out(recorder: Recorder, event: ev.MediaTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.WAITING:
        return recorder, ()
    why = f"no media came within {recorder.recording.policy.start_timeout:g} s"
    after, effects = ask_to_stop(recorder, segment, event.at, cause="start-timeout")
    verdict = Verdict("start-timeout", Ending.REFUSED, why)
    after, more = go_on_without(after, segment, event.at, verdict)
    return after, (*effects, tell(Notice.STALLED, segment, "start-timeout", why=why), *more)


def on_launch_timed_out(recorder: Recorder, event: ev.LaunchTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.LAUNCHING:
        return recorder, ()
    why = f"its scope did not start within {recorder.recording.policy.launch_timeout:g} s"
    after, effects = ask_to_stop(recorder, segment, event.at, cause="launch-failed")
    told = tell(Notice.LAUNCH_FAILED, segment, "launch-failed", why=why)
    after, more = go_on_without(after, segment, event.at, Verdict("launch-failed", Ending.BROKEN, why))
    return after, (*effects, told, *more)


def on_stop_timed_out(recorder: Recorder, event: ev.StopTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.STOPPING:
        return recorder, ()
    told = tell(Notice.STOP_OVERDUE, segment, tries=segment.stops)
    if segment.stops < STOPS_MAX:
        after, effects = ask_to_stop(recorder, segment, event.at)
        return after, (*effects, told)
    cause = (segment.cause or "stopped") if segment.started is None else "unkillable"
    known = Evidence(asked=cause).merged(segment.evidence or Evidence())
    after = move(recorder, segment, Phase.SEALING, event.at, ended=event.at, cause=cause, evidence=known, stops=0)
    return after, (fx.Seal(segment.number), told)


def on_exited(recorder: Recorder, event: ev.SegmentExited) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None:
        return recorder, ()
    if not segment.phase.is_live:
        return _on_late_exit(recorder, segment, event)
    asked = None
    if segment.phase is Phase.STOPPING:
        asked = segment.cause or "stopped"
    is_host_down = is_host_stopping(recorder, event.at.monotonic) or None
    known = Evidence(asked=asked, host_down=is_host_down)
    evidence = event.evidence.merged(segment.evidence or Evidence()).merged(known)
    verdict = judge(evidence, asked=asked)
    after = move(
        recorder, segment, Phase.SEALING, event.at, ended=event.at, cause=verdict.cause, stops=0,
        evidence=evidence, memory_peak=evidence.memory_peak, exit_status=evidence.status,
        quality=segment.quality or quality_in(evidence.log),
    )  # fmt: skip
    after, raised = learn_from_end(after, segment, event.at, verdict, evidence)
    effects: tuple[Effect, ...] = (fx.Seal(segment.number), _tell_end(segment, verdict), *raised)
    if asked is not None:
        return after, effects
    if has_lasted(segment, event.at.monotonic):
        after = replace(after, failures=0)
    after, more = go_on_without(after, segment, event.at, verdict)
    return after, (*effects, *more)


def _on_late_exit(recorder: Recorder, segment: Segment, event: ev.SegmentExited) -> Step:
    """It was given up, or this was told before: a witness like others; what it has left in the system goes."""
    witness = ev.EvidenceArrived(at=event.at, attempt=event.attempt, evidence=event.evidence)
    after, effects = on_evidence(recorder, witness)
    return after, ((*effects, fx.Seal(segment.number)) if segment.phase.is_over else effects)


def _tell_end(segment: Segment, verdict: Verdict) -> Effect:
    notice = Notice.SEGMENT_DIED if is_death(verdict.cause) else Notice.SEGMENT_ENDED
    return tell(notice, segment, verdict.cause, why=verdict.why)


def on_sealed(recorder: Recorder, event: ev.SegmentSealed) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.SEALING:
        return recorder, ()
    after, effects = _after_seal(move(recorder, segment, Phase.ENDED, event.at, size=event.size), event)
    if event.size < segment.size:
        effects = (tell(Notice.MEDIA_GONE, segment, known=segment.size, size=event.size), *effects)
    return after, effects


def on_seal_timed_out(recorder: Recorder, event: ev.SealTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.SEALING:
        return recorder, ()
    if segment.stops < SEALS_MAX:
        return put(recorder, segment, since=event.at, stops=segment.stops + 1), (fx.Seal(segment.number),)
    return _after_seal(move(recorder, segment, Phase.ENDED, event.at), event)


def _after_seal(recorder: Recorder, event: ev.SegmentSealed | ev.SealTimedOut) -> Step:
    if recorder.state is State.STOPPING and all(segment.phase.is_over for segment in recorder.segments):
        return conclude(recorder, event.at)
    return recorder, ()


def on_retry_due(recorder: Recorder, event: ev.RetryDue) -> Step:
    return launch(recorder, event.at)


# --- the end -------------------------------------------------------------------------------------------------------


def on_join_ended(recorder: Recorder, event: ev.JoinEnded) -> Step:
    if event.join != recorder.joins or (event.why is not None and is_host_stopping(recorder, event.at.monotonic)):
        return recorder, ()  # a join that ended with the machine is begun anew by the next daemon
    if event.why is None:
        return discard(recorder, event) if is_too_short(recorder, event.duration) else _finish(recorder, event)
    told = tell(Notice.JOIN_FAILED, why=event.why, tries=recorder.joins)
    if recorder.joins < JOINS_MAX:
        after, effects = join(recorder, event.at)
        return after, (told, *effects)
    detail = f"cannot join: {event.why}"
    after = enter(recorder, State.FAILED, event.at, ended=event.at, detail=detail)
    return after, (told, tell(Notice.RECORDING_FAILED, why=detail))


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


def on_segments_removed(recorder: Recorder, event: ev.SegmentsRemoved) -> Step:
    if recorder.path is None:
        return recorder, ()
    for segment in recorder.segments:
        if segment.phase is Phase.ENDED:
            recorder = move(recorder, segment, Phase.REMOVED, event.at)
    return recorder, ()


# --- a new daemon --------------------------------------------------------------------------------------------------


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
