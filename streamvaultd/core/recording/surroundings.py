# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from events about the source and the machine, and from witnesses that come early or late."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Recorder, Segment, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.policy import (
    DISK_CHECK,
    HOST_HOLD,
    HOST_WINDOW,
    PAUSE_MAX,
    disk_delay,
    idle_since,
    next_disk_check,
)
from streamvaultd.core.recording.steps import (
    Step,
    enter,
    grace_after_trouble,
    launch,
    learn_from_end,
    pause,
    probe_instant,
    put,
    tell,
    wind_up,
)
from streamvaultd.core.recording.verdict import judge

# --- witnesses -----------------------------------------------------------------------------------------------------


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


_OF_MEMORY = frozenset({"oom", "oomd"})

# --- the source ----------------------------------------------------------------------------------------------------


def on_probe_due(recorder: Recorder, event: ev.ProbeDue) -> Step:
    if recorder.probing:  # nobody answered the last time
        recorder = replace(recorder, grace_until=grace_after_trouble(recorder, event.at.monotonic))
    number = recorder.probe + 1
    asked = replace(recorder, probe=number, probing=True, probe_at=event.at.monotonic)
    return asked, (fx.Probe(number),)


def on_probed(recorder: Recorder, event: ev.SourceProbed) -> Step:
    if event.probe != recorder.probe or not recorder.probing:
        return recorder, ()
    if event.outcome is ev.Outcome.LIVE:
        after, effects = launch(recorder, event.at)  # the grace period goes on until media prove it right
        return after, (*effects, tell(Notice.SOURCE_BACK))
    if event.outcome is ev.Outcome.UNSUPPORTED:
        return wind_up(replace(recorder, detail=event.detail), event.at)
    if event.outcome is ev.Outcome.TROUBLE:
        recorder = replace(recorder, grace_until=grace_after_trouble(recorder, event.at.monotonic))
    took = 0.0 if recorder.probe_at is None else event.at.monotonic - recorder.probe_at
    again = probe_instant(recorder, event.at, took)
    is_gone = event.outcome in (ev.Outcome.ENDED, ev.Outcome.OFFLINE)
    return replace(recorder, probing=False, probe_at=again, gone=is_gone, detail=event.detail), ()


def on_grace_over(recorder: Recorder, event: ev.GraceOver) -> Step:
    if not recorder.probing:
        is_said = recorder.gone and recorder.stop is None
        return wind_up(replace(recorder, stop=StopReason.OVER) if is_said else recorder, event.at)
    until = grace_after_trouble(recorder, event.at.monotonic)  # the last question was not answered either
    if until is None or until <= event.at.monotonic:
        return wind_up(recorder, event.at)
    return on_probe_due(recorder, ev.ProbeDue(at=event.at))


def on_network_back(recorder: Recorder, event: ev.NetworkBack) -> Step:
    """What waits because of the network need not wait any longer; a question that was asked without it is void."""
    if recorder.state is State.GRACE:
        return replace(recorder, probing=False, probe_at=event.at.monotonic), ()
    if not recorder.segments or recorder.segments[-1].cause not in _OF_NETWORK:
        return recorder, ()
    return launch(recorder, event.at)


_OF_NETWORK = frozenset({"network", "source-refused", "start-timeout", "stall"})

# --- the disk ------------------------------------------------------------------------------------------------------


def on_disk_low(recorder: Recorder, event: ev.DiskLow) -> Step:
    return pause(recorder, event.at, event.why)


def on_disk_still_low(recorder: Recorder, event: ev.DiskLow) -> Step:
    again = next_disk_check(event.at.monotonic, since=recorder.since.monotonic)
    return replace(recorder, retry_at=again, detail=event.why), ()


def on_disk_due(recorder: Recorder, event: ev.DiskDue) -> Step:
    if event.at.monotonic - min(recorder.since.monotonic, idle_since(recorder)) >= PAUSE_MAX:
        return wind_up(recorder, event.at)
    again = event.at.monotonic + 2 * DISK_CHECK  # should the answer never come
    return replace(recorder, retry_at=again), (fx.CheckDisk(),)


def on_disk_freed(recorder: Recorder, event: ev.DiskFreed) -> Step:
    """Go on; later and later if that was said before and there was no room all the same, say because of a quota."""
    delay = disk_delay(recorder)
    if delay > 0:
        waiting = enter(recorder, State.BACKOFF, event.at, retry_at=event.at.monotonic + delay)
        return waiting, (tell(Notice.DISK_FREED),)
    after, effects = launch(recorder, event.at)
    return after, (*effects, tell(Notice.DISK_FREED))


# --- the machine ---------------------------------------------------------------------------------------------------


def on_host_stopping(recorder: Recorder, event: ev.HostStopping) -> Step:
    """What ended shortly before this was known is corrected: systemd had told it to somebody else first."""
    after = replace(recorder, host_stopping=event.at.monotonic + HOST_HOLD)
    effects: tuple[Effect, ...] = ()
    for segment in recorder.segments:
        if _was_ended_by_host(segment, event.at.monotonic):
            known = ev.EvidenceArrived(at=event.at, attempt=segment.number, evidence=Evidence(host_down=True))
            after, more = on_evidence(after, known)
            effects += more
    return after, effects


def on_host_stays(recorder: Recorder, event: ev.HostStays) -> Step:
    """What was held back, or ended and was not begun anew, is due now."""
    if recorder.host_stopping is None:
        return recorder, ()
    is_held = recorder.state in (State.BACKOFF, State.FINALIZING)
    retry_at = event.at.monotonic if is_held else recorder.retry_at
    return replace(recorder, host_stopping=None, retry_at=retry_at), ()


def _was_ended_by_host(segment: Segment, now: Instant) -> bool:
    """As systemd begins with it; SIGKILL comes only later."""
    is_recent = segment.ended is not None and now - segment.ended.monotonic <= HOST_WINDOW
    return is_recent and segment.cause in ("signal:15", "unknown")
