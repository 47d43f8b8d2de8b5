# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's life: what its scope, its file, its log lines and the witnesses of its end tell.

Events of a run first look at their segment's phase: a late or repeated one finds it changed and does nothing, except
that a scope which turns out to run for a segment that is over is stopped, so that nothing leaks.
"""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.cause import Cause, is_death
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.loglines import quality_in
from streamvaultd.core.recording.on_request import end_at_duration
from streamvaultd.core.recording.on_suspicion import (
    ask_about_silence,
    is_beside_wanted,
    on_looked_at,
    replace_left_behind,
    start_beside,
)
from streamvaultd.core.recording.policy import (
    SEALS_MAX,
    STOPS_MAX,
    has_advanced,
    has_lasted,
    has_stalled,
    is_host_stopping,
    is_memory_near,
    is_rested,
    last_growth,
    memory_limit,
    next_measure,
    raised_limit,
)
from streamvaultd.core.recording.steps import (
    Step,
    ask_to_stop,
    conclude,
    enter,
    go_on_without,
    launch,
    learn_from_end,
    may_rotate,
    move,
    put,
    raise_memory,
    tell,
)
from streamvaultd.core.recording.verdict import Ending, Verdict, judge


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
    cause = segment.cause or (Cause.STOPPED if asked else Cause.LAUNCH_FAILED)
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
        after, more = go_on_without(after, segment, event.at, Verdict(Cause.LAUNCH_FAILED, Ending.HOST, event.why))
        return after, (*effects, *more)
    told = tell(Notice.LAUNCH_FAILED, segment, Cause.LAUNCH_FAILED, why=event.why)
    ending = Ending.UNPLACED
    if event.disk:
        ending = Ending.DISK
    elif event.permanent and recorder.media_started is None:
        ending = Ending.UNSUPPORTED
    after, more = go_on_without(after, segment, event.at, Verdict(Cause.LAUNCH_FAILED, ending, event.why))
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
    seen, told = on_looked_at(recorder, _grown(segment, event), event)
    after = put(recorder, _weighed(seen, event))
    if has_advanced(seen):
        after = replace(after, grace_until=None, silent_since=None)
    after, effects = _decide(after, event, has_grown=event.size > segment.size)
    measured = after.segment(event.attempt) or seen
    return put(after, measured, measure_at=next_measure(measured, policy, now)), (*told, *effects)


def _decide(recorder: Recorder, event: ev.SizeMeasured, *, has_grown: bool) -> Step:
    """What follows from the size, memory and streams of a segment that writes."""
    segment, now = recorder.segment(event.attempt), event.at.monotonic
    if segment is None:
        return recorder, ()
    if has_grown and segment.suspect is not None and is_beside_wanted(recorder, segment, now):
        return start_beside(recorder, segment, event.at)
    if segment.left_behind and is_rested(recorder, segment, now) and may_rotate(recorder, segment, now):
        return replace_left_behind(recorder, segment, event.at)
    room = max(memory_limit(recorder, now), raised_limit(segment.memory_max or 0, recorder.recording.policy))
    if is_memory_near(segment, now, room) and may_rotate(recorder, segment, now):
        return _rotate_for_memory(recorder, segment, event)
    return ask_about_silence(recorder, segment, event.at)


def _grown(segment: Segment, event: ev.SizeMeasured) -> Segment:
    """The segment with the size that it has now; a silence is over once something came."""
    now = event.at.monotonic
    grown = last_growth(segment, event.size, event.written, now)
    if event.size <= segment.size:
        return replace(segment, grown_at=grown, looked_at=now)
    pause = segment.pause
    if segment.asked_mark and grown is not None and segment.grown_at is not None:  # its source was there all the time
        pause = max(pause, grown - segment.grown_at)
    return replace(
        segment, size=event.size, grown_at=grown, looked_at=now, pause=pause, asked_at=None, asked_mark="",
        left_behind=False,
    )  # fmt: skip


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
    after, effects = ask_to_stop(recorder, segment, event.at, cause=Cause.STALL)
    told = tell(Notice.STALLED, segment, Cause.STALL, why=why)
    if segment.grown_at is not None and has_lasted(segment, segment.grown_at):
        after = replace(after, failures=0)
    after, more = go_on_without(after, segment, event.at, Verdict(Cause.STALL, Ending.SOURCE_LOST, why))
    return after, (*effects, told, *more)


def on_media_timed_out(recorder: Recorder, event: ev.MediaTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.WAITING:
        return recorder, ()
    why = f"no media came within {recorder.recording.policy.start_timeout:g} s"
    after, effects = ask_to_stop(recorder, segment, event.at, cause=Cause.START_TIMEOUT)
    verdict = Verdict(Cause.START_TIMEOUT, Ending.REFUSED, why)
    after, more = go_on_without(after, segment, event.at, verdict)
    return after, (*effects, tell(Notice.STALLED, segment, Cause.START_TIMEOUT, why=why), *more)


def on_launch_timed_out(recorder: Recorder, event: ev.LaunchTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.LAUNCHING:
        return recorder, ()
    why = f"its scope did not start within {recorder.recording.policy.launch_timeout:g} s"
    after, effects = ask_to_stop(recorder, segment, event.at, cause=Cause.LAUNCH_FAILED)
    told = tell(Notice.LAUNCH_FAILED, segment, Cause.LAUNCH_FAILED, why=why)
    after, more = go_on_without(after, segment, event.at, Verdict(Cause.LAUNCH_FAILED, Ending.UNPLACED, why))
    return after, (*effects, told, *more)


def on_stop_timed_out(recorder: Recorder, event: ev.StopTimedOut) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase is not Phase.STOPPING:
        return recorder, ()
    told = tell(Notice.STOP_OVERDUE, segment, tries=segment.stops)
    if segment.stops < STOPS_MAX:
        after, effects = ask_to_stop(recorder, segment, event.at)
        return after, (*effects, told)
    cause = (segment.cause or Cause.STOPPED) if segment.started is None else Cause.UNKILLABLE
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
        asked = segment.cause or Cause.STOPPED
    is_host_down = is_host_stopping(recorder, event.at.monotonic) or None
    known = Evidence(asked=asked, host_down=is_host_down)
    evidence = event.evidence.merged(segment.evidence or Evidence()).merged(known)
    verdict = judge(evidence, asked=asked)
    after = move(
        recorder, segment, Phase.SEALING, event.at, ended=event.ended or event.at, cause=verdict.cause, stops=0,
        evidence=evidence, memory_peak=evidence.memory_peak, exit_status=evidence.status,
        quality=segment.quality or quality_in(evidence.log),
    )  # fmt: skip
    after, raised = learn_from_end(after, segment, event.at, verdict, evidence)
    effects: tuple[Effect, ...] = (fx.Seal(segment.number), _tell_end(segment, verdict), *raised)
    if asked is not None:
        return after, effects
    if has_lasted(segment, event.at.monotonic):
        after = replace(after, failures=0)
    if verdict.ending is Ending.ENOUGH:
        after = _with_media(after, segment, event)
        after, more = end_at_duration(after, event.at)
    else:
        after, more = go_on_without(after, segment, event.at, verdict)
    return after, (*effects, *more)


def _with_media(recorder: Recorder, segment: Segment, event: ev.SegmentExited) -> Recorder:
    """It has recorded all that was asked for, even if it ended before its file was seen to grow."""
    ended = recorder.segment(segment.number)
    if ended is None or ended.media_at is not None:
        return recorder
    return put(recorder, ended, media_at=event.ended or event.at)


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


# --- witnesses -------------------------------------------------------------------------------------------------------


def on_evidence(recorder: Recorder, event: ev.EvidenceArrived) -> Step:
    """Evidence is collected; once the run has ended it may correct the cause, and never makes another death of it."""
    segment = recorder.segment(event.attempt)
    if segment is None:
        return recorder, ()
    if segment.phase.is_live:
        early = (segment.evidence or Evidence()).merged(event.evidence.of_the_run)
        return (recorder, ()) if early == Evidence() else (put(recorder, segment, evidence=early), ())
    evidence = (segment.evidence or Evidence()).merged(event.evidence)
    verdict = judge(evidence, asked=evidence.asked)
    if evidence == segment.evidence or (segment.evidence is None and verdict.cause not in _OF_MEMORY):
        return recorder, ()  # of an end that an earlier version judged, only the cause is known
    peak = segment.memory_peak if evidence.memory_peak is None else evidence.memory_peak
    noted = replace(segment, evidence=evidence, memory_peak=peak, exit_status=evidence.status)
    if verdict.cause == segment.cause:
        return put(recorder, noted), ()
    after = put(recorder, noted, cause=verdict.cause)
    after, raised = learn_from_end(after, segment, event.at, verdict, evidence)
    return after, (*raised, tell(Notice.CAUSE_CORRECTED, segment, verdict.cause, before=segment.cause))


_OF_MEMORY = frozenset({Cause.OOM, Cause.OOMD})
