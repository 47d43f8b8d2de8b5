# SPDX-License-Identifier: GPL-3.0-or-later
"""The building blocks of transitions: small pure changes of a recorder, with the effects that belong to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamvaultd.core.cause import Cause
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Moment, Phase, Recorder, Segment, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording.asking import (
    PROBE_LAST,
    PROBE_MAX,
    PROBE_SOON,
    is_too_often,
    next_probe,
    trouble_pause,
)
from streamvaultd.core.recording.effects import Announce, Effect, Notice
from streamvaultd.core.recording.policy import (
    DISK_CHECK,
    JOIN_CHECK,
    beside_pause,
    is_host_stopping,
    is_in_vain,
    is_suspect,
    memory_limit,
    raised_limit,
    retry_delay,
)
from streamvaultd.core.recording.verdict import Ending, Verdict, is_of_own_limit

Step = tuple[Recorder, tuple[Effect, ...]]


def put(recorder: Recorder, segment: Segment, **changes: Any) -> Recorder:
    """The recorder with this segment, changed so, in place of the one of the same number."""
    changed = replace(segment, **changes)
    segments = tuple(changed if old.number == changed.number else old for old in recorder.segments)
    return replace(recorder, segments=segments)


def move(recorder: Recorder, segment: Segment, phase: Phase, at: Moment, **changes: Any) -> Recorder:
    """The recorder with this segment in another phase."""
    return put(recorder, segment, phase=phase, since=at, **changes)


def enter(recorder: Recorder, state: State, at: Moment, **changes: Any) -> Recorder:
    """The recorder in another state; what belonged to waiting in the old one is forgotten."""
    cleared: dict[str, Any] = {"retry_at": None, "probe_at": None, "probing": False}
    if state is not State.ROTATING:
        cleared |= {"overlap_at": None, "rotation_until": None}
    values: dict[str, Any] = {"state": state, "since": at} | cleared | changes
    return replace(recorder, **values)


def tell(notice: Notice, segment: Segment | None = None, cause: str | None = None, **fields: object) -> Announce:
    """An announcement about the recording, or one segment of it."""
    texts = tuple((name, str(value)) for name, value in fields.items())
    return Announce(notice, segment.number if segment else None, cause, texts)


def launch(recorder: Recorder, at: Moment, state: State = State.STARTING, **changes: Any) -> Step:
    """Start the next segment; not on a machine that is going down, which would end it at once."""
    if is_host_stopping(recorder, at.monotonic):
        return hold(recorder, at)
    number = recorder.next_number
    limit = memory_limit(recorder, at.monotonic)
    pace = recorder.segments[-1].pace if recorder.segments else None
    segment = Segment(number=number, phase=Phase.LAUNCHING, since=at, memory_max=limit, pace=pace)
    after = enter(recorder, state, at, segments=(*recorder.segments, segment), **changes)
    return after, (fx.Launch(number),)


def may_rotate(recorder: Recorder, segment: Segment, now: Instant) -> bool:
    """Whether the next segment may be started beside this one now, for a reason that the core has itself."""
    is_current = recorder.current is not None and recorder.current.number == segment.number
    is_time = recorder.rotate_retry_at is None or recorder.rotate_retry_at <= now
    return recorder.state is State.RECORDING and is_current and is_time and not is_host_stopping(recorder, now)


def ask_to_stop(recorder: Recorder, segment: Segment, at: Moment, cause: str | None = None) -> Step:
    """Ask one live segment to end; `cause` is noted unless something worse turns out."""
    stopping = move(recorder, segment, Phase.STOPPING, at, stops=segment.stops + 1, cause=cause or segment.cause)
    return stopping, (fx.StopScope(segment.number),)


def wind_up(recorder: Recorder, at: Moment) -> Step:
    """End the recording: stop whatever lives, and conclude once nothing does."""
    effects: tuple[Effect, ...] = ()
    for segment in recorder.live:
        if segment.phase is not Phase.STOPPING:
            recorder, more = ask_to_stop(recorder, segment, at)
            effects += more
    if all(segment.phase.is_over for segment in recorder.segments):
        after, more = conclude(recorder, at)
        return after, effects + more
    return (recorder if recorder.state is State.STOPPING else enter(recorder, State.STOPPING, at)), effects


def conclude(recorder: Recorder, at: Moment) -> Step:
    """Nothing runs any more: join what there is, or end without a file."""
    if recorder.size > 0:
        return join(replace(recorder, failures=0), at)
    state, notice = State.FAILED, Notice.RECORDING_FAILED
    detail = recorder.detail or "no media arrived"
    if recorder.stop not in (None, StopReason.OVER):
        state, notice, detail = State.STOPPED, Notice.RECORDING_STOPPED, "stopped before media arrived"
    after = enter(recorder, state, at, ended=at, detail=detail)
    return after, (fx.DiscardFolder(), tell(notice, why=detail, path="-"))


def join(recorder: Recorder, at: Moment) -> Step:
    """Start the next join job."""
    number = recorder.joins + 1
    after = enter(recorder, State.FINALIZING, at, joins=number, retry_at=at.monotonic + JOIN_CHECK)
    return after, (fx.Join(number), tell(Notice.JOIN_STARTED, segments=len(recorder.segments)))


def last_end(recorder: Recorder, at: Moment) -> Moment:
    """When the last segment of a recording ended; `at` if nobody knows."""
    return max((each.ended for each in recorder.segments if each.ended), key=lambda one: one.realtime, default=at)


def back_off(recorder: Recorder, at: Moment, why: str) -> Step:
    """Start the next segment after a delay that grows with every failure in a row; the first time at once."""
    delay = retry_delay(recorder.failures, recorder.recording.id)
    counted = replace(recorder, failures=recorder.failures + 1, detail=why)
    if delay <= 0:
        return launch(counted, at)
    return enter(counted, State.BACKOFF, at, retry_at=at.monotonic + delay), ()


def begin_grace(recorder: Recorder, at: Moment, why: str) -> Step:
    """The source seems to be over: look whether it is, and whether it comes back."""
    grace = recorder.recording.policy.grace
    counted = replace(recorder, failures=recorder.failures + 1, detail=why)
    after = enter(counted, State.GRACE, at, probe_at=probe_instant(counted, at), gone=False)
    return after, (tell(Notice.SOURCE_SILENT, why=why, grace=f"{grace:g}s"),)


def probe_instant(recorder: Recorder, at: Moment, took: float = 0.0, trouble: str | None = None) -> Instant:
    """When to ask the source next, in the grace period that is under way; the last answer `took` so long (s).

    `trouble` is why it told nothing, if it did not.
    """
    until = at.monotonic if recorder.grace_until is None else recorder.grace_until
    since = until - recorder.recording.policy.grace if recorder.silent_since is None else recorder.silent_since
    longest = PROBE_SOON if trouble is None else trouble_pause(at.monotonic, since=since)
    took = PROBE_MAX if trouble is not None and is_too_often(trouble) else took
    return next_probe(at.monotonic, since=since, until=until, took=took, longest=longest)


def grace_after_trouble(recorder: Recorder, now: Instant) -> Instant | None:
    """The grace period begins anew while nobody can tell whether the source is there; an outage has an end, too."""
    if recorder.grace_until is None or recorder.silent_since is None:
        return recorder.grace_until
    policy = recorder.recording.policy
    longer = max(policy.grace, PROBE_MAX + PROBE_LAST)  # time for a question that is asked as seldom as any
    return max(recorder.grace_until, min(now + longer, recorder.silent_since + policy.outage))


_UNWATCHED: dict[str, Any] = {"grace_until": None, "silent_since": None}
"""Nobody can look after the source meanwhile, so its silence is not counted."""


def pause(recorder: Recorder, at: Moment, why: str) -> Step:
    """There is no room to record: end what runs, and wait for room."""
    effects: tuple[Effect, ...] = ()
    for segment in recorder.live:
        if segment.phase is not Phase.STOPPING:
            recorder, more = ask_to_stop(recorder, segment, at, cause=Cause.DISK_FULL)
            effects += more
    after = enter(recorder, State.PAUSED, at, retry_at=at.monotonic + DISK_CHECK, detail=why, **_UNWATCHED)
    return after, (*effects, tell(Notice.DISK_LOW, why=why))


def hold(recorder: Recorder, at: Moment) -> Step:
    """The machine is going down: start nothing more, unless it stays up after all."""
    detail = "the machine is going down"
    return enter(recorder, State.BACKOFF, at, retry_at=recorder.host_stopping, detail=detail, **_UNWATCHED), ()


def learn_from_end(recorder: Recorder, segment: Segment, at: Moment, verdict: Verdict, evidence: Evidence) -> Step:
    """A run that reached its own memory limit had too little."""
    if verdict.cause == Cause.OOM and is_of_own_limit(evidence):
        return raise_memory(recorder, segment, at)
    return recorder, ()


def raise_memory(recorder: Recorder, segment: Segment, at: Moment) -> Step:
    """The limit that this segment had was too low, or nearly so: the next ones get more."""
    limit = segment.memory_max or recorder.recording.policy.memory_max
    raised, present = raised_limit(limit, recorder.recording.policy), memory_limit(recorder, at.monotonic)
    after = replace(recorder, memory_max=max(raised, present), memory_since=at.monotonic)
    if present >= raised:
        return after, ()
    return after, (tell(Notice.MEMORY_RAISED, segment, limit=f"{raised >> 20}M", before=f"{limit >> 20}M"),)


def go_on_without(recorder: Recorder, lost: Segment, at: Moment, verdict: Verdict) -> Step:
    """A segment that was to go on is lost; `lost` is as it was before. Decide how the recording goes on."""
    if recorder.state in (State.STOPPING, State.PAUSED) or recorder.state.is_final:
        return recorder, ()
    others = [segment for segment in recorder.live if segment.phase is not Phase.STOPPING]
    if others:
        return _go_on_with(recorder, lost, others[-1], at, verdict)
    if is_host_stopping(recorder, at.monotonic):
        return hold(recorder, at)
    if verdict.ending is Ending.HOST:
        return back_off(recorder, at, verdict.why)
    if verdict.ending is Ending.UNSUPPORTED:
        return wind_up(replace(recorder, detail=verdict.why), at)
    if verdict.ending is Ending.DISK:
        return pause(recorder, at, verdict.why)
    if recorder.media_started is None:
        return _try_again_from_nothing(recorder, at, verdict)
    if verdict.ending not in _SILENT and is_in_vain(recorder, at.monotonic):
        verdict = replace(verdict, ending=Ending.UNREACHABLE)  # streamlink is broken, say: it tells nothing
    if verdict.ending in _SILENT:
        return _wait_for_source(recorder, lost, at, verdict)
    return back_off(recorder, at, verdict.why)


_LOST = frozenset({Ending.SOURCE_LOST, Ending.UNREACHABLE})
_SILENT = _LOST | {Ending.SOURCE_ENDED, Ending.REFUSED}


def _wait_for_source(recorder: Recorder, lost: Segment, at: Moment, verdict: Verdict) -> Step:
    """The source gives nothing now. The grace period runs from the first time, until media advance again."""
    now, until = at.monotonic, recorder.grace_until
    if until is None:
        recorder = replace(recorder, grace_until=now + recorder.recording.policy.grace, silent_since=now)
    elif verdict.ending is Ending.UNREACHABLE:
        recorder = replace(recorder, grace_until=grace_after_trouble(recorder, now))
    elif until <= now:
        if not recorder.mark:
            return wind_up(replace(recorder, detail=verdict.why), at)
        asked = enter(recorder, State.GRACE, at, detail=verdict.why, gone=False)
        return ask_source(asked, at)  # once more: a playlist that has advanced meanwhile is not over
    if verdict.ending in _LOST and lost.media_at is not None:
        after, effects = back_off(recorder, at, verdict.why)  # at once: what is in the window can still be fetched
        after = replace(after, probe=after.probe + 1)  # meanwhile: does its playlist advance?
        return after, (*effects, fx.Probe(after.probe))
    return begin_grace(recorder, at, verdict.why)


def ask_source(recorder: Recorder, at: Moment) -> Step:
    """Ask the source whether there is something to record."""
    number = recorder.probe + 1
    return replace(recorder, probe=number, probing=True, probe_at=at.monotonic), (fx.Probe(number),)


def _try_again_from_nothing(recorder: Recorder, at: Moment, verdict: Verdict) -> Step:
    """There never were any media: a few tries, then it has failed. Without a scope it was no try, within `outage`."""
    recorder = replace(recorder, detail=verdict.why)
    waited = at.monotonic - recorder.recording.created.monotonic
    if verdict.ending is Ending.UNPLACED and waited < recorder.recording.policy.outage:  # says nothing of the source
        delay = retry_delay(len(recorder.segments), recorder.recording.id)
        return enter(recorder, State.BACKOFF, at, retry_at=at.monotonic + delay), ()
    if recorder.failures + 1 >= recorder.recording.policy.start_attempts:
        return wind_up(recorder, at)
    failures = recorder.failures + 1
    delay = retry_delay(failures + 2, recorder.recording.id)
    return enter(recorder, State.BACKOFF, at, failures=failures, retry_at=at.monotonic + delay), ()


def _go_on_with(recorder: Recorder, lost: Segment, other: Segment, at: Moment, verdict: Verdict) -> Step:
    """One of the two segments of a rotation is lost, the other one goes on."""
    if other.number < lost.number:  # the successor failed: the old one records on, and is rotated again later
        if is_suspect(other, at.monotonic):  # says nothing of the old one's end
            again = at.monotonic + beside_pause(other, at.monotonic)
            after = enter(replace(recorder, rotate_retry_at=again), State.RECORDING, at)
            return after, (
                tell(Notice.BESIDE_FAILED, lost, verdict.cause, why=verdict.why, old=f"{other.number:03d}"),
            )
        retry = at.monotonic + max(retry_delay(recorder.failures + 3), 1.0)
        failed = replace(recorder, failures=recorder.failures + 1, rotate_retry_at=retry)
        after = enter(failed, State.RECORDING, at)
        return after, (tell(Notice.ROTATION_FAILED, lost, verdict.cause, why=verdict.why, old=f"{other.number:03d}"),)
    state = State.RECORDING if other.phase is Phase.WRITING else State.STARTING
    told = tell(Notice.ROTATION_GONE_ON, other, verdict.cause, old=f"{lost.number:03d}")
    return enter(recorder, state, at), (told,)
