# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from events about the disk and the machine."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.cause import Cause
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.on_run import on_evidence
from streamvaultd.core.recording.policy import (
    DISK_CHECK,
    HOST_HOLD,
    HOST_WINDOW,
    PAUSE_MAX,
    disk_delay,
    idle_since,
    next_disk_check,
)
from streamvaultd.core.recording.steps import Step, enter, launch, pause, tell, wind_up


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


# --- the machine -----------------------------------------------------------------------------------------------------


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
    is_held = recorder.state in (State.BACKOFF, State.FINALIZING, State.UNJOINED)
    retry_at = event.at.monotonic if is_held else recorder.retry_at
    return replace(recorder, host_stopping=None, retry_at=retry_at), ()


def _was_ended_by_host(segment: Segment, now: Instant) -> bool:
    """As systemd begins with it; SIGKILL comes only later."""
    is_recent = segment.ended is not None and now - segment.ended.monotonic <= HOST_WINDOW
    return is_recent and segment.cause in (Cause.SIGNAL.numbered(15), Cause.UNKNOWN)
