# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from events about the machine rather than the recording: late witnesses, network, disk, shutdown."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core import effects as fx
from streamvaultd.core import events as ev
from streamvaultd.core.effects import Effect, Notice
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Recorder, Segment, State
from streamvaultd.core.policy import DISK_CHECK, HOST_WINDOW
from streamvaultd.core.steps import Step, hold, launch, pause, put, raise_memory, tell
from streamvaultd.core.verdict import judge


def on_evidence(recorder: Recorder, event: ev.EvidenceArrived) -> Step:
    """A later witness is noted, and may correct the cause; it never makes another death of it."""
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase.is_live or segment.cause is None:
        return recorder, ()
    evidence = (segment.evidence or Evidence()).merged(event.evidence)
    if evidence == segment.evidence:
        return recorder, ()
    verdict = judge(evidence, asked=evidence.asked)
    after = put(recorder, segment, evidence=evidence)
    if verdict.cause == segment.cause or (segment.evidence is None and verdict.cause not in _OF_MEMORY):
        return after, ()
    after, raised = raise_memory(after, segment, event.at) if verdict.cause == "oom" else (after, ())
    told = tell(Notice.CAUSE_CORRECTED, segment, verdict.cause, before=segment.cause)
    return put(after, replace(segment, evidence=evidence), cause=verdict.cause), (*raised, told)


_OF_MEMORY = frozenset({"oom", "oomd"})


def on_network_back(recorder: Recorder, event: ev.NetworkBack) -> Step:
    """What waits because of the network need not wait any longer."""
    if recorder.state is State.GRACE:
        return (recorder if recorder.probing else replace(recorder, probe_at=event.at.monotonic)), ()
    if recorder.host_stopping or not recorder.segments or recorder.segments[-1].cause not in _OF_NETWORK:
        return recorder, ()
    return launch(recorder, event.at)


_OF_NETWORK = frozenset({"network", "source-refused", "start-timeout"})


def on_disk_low(recorder: Recorder, event: ev.DiskLow) -> Step:
    return pause(recorder, event.at, event.why)


def on_disk_still_low(recorder: Recorder, event: ev.DiskLow) -> Step:
    return replace(recorder, retry_at=event.at.monotonic + DISK_CHECK, detail=event.why), ()


def on_disk_due(recorder: Recorder, event: ev.DiskDue) -> Step:
    again = event.at.monotonic + 2 * DISK_CHECK  # should the answer never come
    return replace(recorder, retry_at=again), (fx.CheckDisk(),)


def on_disk_freed(recorder: Recorder, event: ev.DiskFreed) -> Step:
    after, effects = launch(recorder, event.at)
    return after, (*effects, tell(Notice.DISK_FREED))


def on_host_stopping(recorder: Recorder, event: ev.HostStopping) -> Step:
    """What ended shortly before this was known is corrected: systemd had told it to somebody else first."""
    after = replace(recorder, host_stopping=True)
    if recorder.state is State.BACKOFF:
        after, _ = hold(after, event.at)
    effects: tuple[Effect, ...] = ()
    for segment in recorder.segments:
        if _was_ended_by_host(segment, event.at.monotonic):
            known = ev.EvidenceArrived(at=event.at, attempt=segment.number, evidence=Evidence(host_down=True))
            after, more = on_evidence(after, known)
            effects += more
    return after, effects


def on_host_stays(recorder: Recorder, event: ev.HostStays) -> Step:
    """What was held back, or ended and was not begun anew, is due now."""
    if not recorder.host_stopping:
        return recorder, ()
    is_held = recorder.state in (State.BACKOFF, State.FINALIZING)
    retry_at = event.at.monotonic if is_held else recorder.retry_at
    return replace(recorder, host_stopping=False, retry_at=retry_at), ()


def _was_ended_by_host(segment: Segment, now: Instant) -> bool:
    is_recent = segment.ended is not None and now - segment.ended.monotonic <= HOST_WINDOW
    return is_recent and segment.cause in ("signal:15", "signal:9", "unknown")
