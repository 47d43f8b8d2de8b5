# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recorder waits for in time. Recomputed from its state whenever asked; nobody keeps a timer.

I4: every state that is not final has a deadline, so nothing is ever stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamvaultd.core.model import Instant, Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.policy import PROBE_LIMIT, rotation_due, seal_limit

Deadline = tuple[Instant, Callable[[Moment], ev.Event]]


def next_deadline(recorder: Recorder) -> Instant | None:
    """The earliest instant at which `due()` will have something; None only in a final state."""
    return min((instant for instant, _ in _deadlines(recorder)), default=None)


def due(recorder: Recorder, now: Moment) -> ev.Event | None:
    """The event of the earliest deadline that has passed, None when none has."""
    passed = [deadline for deadline in _deadlines(recorder) if deadline[0] <= now.monotonic]
    return min(passed, key=lambda deadline: deadline[0])[1](now) if passed else None


def _deadlines(recorder: Recorder) -> Iterator[Deadline]:
    if recorder.state.is_final:
        return
    for segment in recorder.segments:
        if not segment.phase.is_over:
            yield _of_segment(recorder, segment)
    yield from _OF_STATE.get(recorder.state, _of_nothing)(recorder)
    started = recorder.media_started
    is_ending = recorder.state in (State.STOPPING, State.FINALIZING, State.UNJOINED, State.DISCARDING)
    if recorder.recording.duration is not None and started is not None and not is_ending:
        yield started.monotonic + recorder.recording.duration, lambda now: ev.DurationReached(at=now)


def _of_segment(recorder: Recorder, segment: Segment) -> Deadline:
    policy, since, attempt = recorder.recording.policy, segment.since.monotonic, segment.number
    match segment.phase:
        case Phase.LAUNCHING:
            return since + policy.launch_timeout, lambda now: ev.LaunchTimedOut(at=now, attempt=attempt)
        case Phase.WAITING:
            return since + policy.start_timeout, lambda now: ev.MediaTimedOut(at=now, attempt=attempt)
        case Phase.WRITING:
            look = since if segment.measure_at is None else segment.measure_at
            return look, lambda now: ev.MeasureDue(at=now, attempt=attempt)
        case Phase.STOPPING:
            return since + policy.stop_timeout, lambda now: ev.StopTimedOut(at=now, attempt=attempt)
        case _:
            return since + seal_limit(segment), lambda now: ev.SealTimedOut(at=now, attempt=attempt)


def _of_nothing(recorder: Recorder) -> Iterator[Deadline]:
    yield from ()


def _of_starting(recorder: Recorder) -> Iterator[Deadline]:
    if not recorder.segments:
        limit = recorder.since.monotonic + recorder.recording.policy.launch_timeout
        yield limit, lambda now: ev.RecordRequested(at=now)


def _of_recording(recorder: Recorder) -> Iterator[Deadline]:
    current = recorder.current
    if current is None or current.phase is not Phase.WRITING:
        return
    instant = rotation_due(current, recorder.recording.policy, recorder.rotate_retry_at)
    if instant is not None:
        attempt, held = current.number, recorder.host_stopping or instant
        yield max(instant, held), lambda now: ev.RotationDue(at=now, attempt=attempt)


def _of_rotating(recorder: Recorder) -> Iterator[Deadline]:
    attempt = recorder.segments[-1].number
    if recorder.overlap_at is not None:
        yield recorder.overlap_at, lambda now: ev.OverlapDue(at=now, attempt=attempt)
    if recorder.rotation_until is not None:
        yield recorder.rotation_until, lambda now: ev.OverlapTimedOut(at=now, attempt=attempt)


def _of_waiting(recorder: Recorder) -> Iterator[Deadline]:
    yield recorder.retry_at or recorder.since.monotonic, lambda now: ev.RetryDue(at=now)


def _of_paused(recorder: Recorder) -> Iterator[Deadline]:
    yield recorder.retry_at or recorder.since.monotonic, lambda now: ev.DiskDue(at=now)


def _of_grace(recorder: Recorder) -> Iterator[Deadline]:
    since = recorder.since.monotonic
    ask = since if recorder.probe_at is None else recorder.probe_at
    over = since if recorder.grace_until is None else recorder.grace_until
    if recorder.probing:  # an answer is waited for, even if it comes after the end
        ask += PROBE_LIMIT
        over = max(over, ask)
    if ask < over or not recorder.probing:
        yield ask, lambda now: ev.ProbeDue(at=now)
    yield over, lambda now: ev.GraceOver(at=now)


def _of_joining(recorder: Recorder) -> Iterator[Deadline]:
    yield recorder.retry_at or recorder.since.monotonic, lambda now: ev.JoinOverdue(at=now)


def _of_discarding(recorder: Recorder) -> Iterator[Deadline]:
    yield recorder.retry_at or recorder.since.monotonic, lambda now: ev.DiscardOverdue(at=now)


_OF_STATE: dict[State, Callable[[Recorder], Iterator[Deadline]]] = {
    State.STARTING: _of_starting,
    State.RECORDING: _of_recording,
    State.ROTATING: _of_rotating,
    State.BACKOFF: _of_waiting,
    State.GRACE: _of_grace,
    State.PAUSED: _of_paused,
    State.FINALIZING: _of_joining,
    State.UNJOINED: _of_joining,
    State.DISCARDING: _of_discarding,
}
