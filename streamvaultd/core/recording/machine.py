# SPDX-License-Identifier: GPL-3.0-or-later
"""The recording state machine: one table, and the step that goes by it.

Theory of operation. A recorder is the whole state of one recording. Whatever happens to it is an event; `step()` looks
up the one row for (state, event), lets the row's function change the recorder, and returns it with the effects that
are now due. Nothing else changes a recorder. If anything changed, the first effect is to save it: the intent is on
disk before it is acted on, so a crash after any effect leaves rows from which `Restarted` takes up the work.

A row names the states it may lead to; leading elsewhere is a bug and raises. Pairs without a rule do nothing, on
purpose: they are late or repeated events (the table still has a row for each, so that "nothing" is a decision).
docs/design/002-state-machine.md has a diagram of RULES; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamvaultd.core.model import Recorder, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording import (
    on_end,
    on_file,
    on_host,
    on_request,
    on_restart,
    on_rotation,
    on_run,
    on_source,
    on_suspicion,
)
from streamvaultd.core.recording.effects import Save
from streamvaultd.core.recording.steps import Step

Handler = Callable[[Recorder, Any], Step]

(
    STARTING, RECORDING, ROTATING, BACKOFF, GRACE, PAUSED, STOPPING, FINALIZING, UNJOINED, DISCARDING, COMPLETED,
    STOPPED, FAILED,
) = State  # fmt: skip
RUNNING: Final = frozenset({STARTING, RECORDING, ROTATING, BACKOFF, GRACE, PAUSED})
ACTIVE: Final = RUNNING | {STOPPING}
EVERY: Final = frozenset(State)

WAITING: Final = frozenset({BACKOFF, GRACE, PAUSED})
CAPTURING: Final = frozenset({STARTING, RECORDING, ROTATING})
ENDINGS: Final = frozenset({FINALIZING, STOPPED, FAILED})


class IllegalTransition(Exception):
    """A handler led to a state that its row does not name: a bug in the table or the handler."""


@dataclass(frozen=True, slots=True)
class Rule:
    """In each of `states`, `event` is handled by `handler` and leads to one of `targets` (or stays)."""

    states: frozenset[State]
    event: type[ev.Event]
    handler: Handler
    targets: frozenset[State]


def _rule(states: frozenset[State] | State, event: type[ev.Event], handler: Handler, *targets: State) -> Rule:
    return Rule(frozenset({states}) if isinstance(states, State) else states, event, handler, frozenset(targets))


RULES: Final[tuple[Rule, ...]] = (
    # asked for by people
    _rule(STARTING, ev.RecordRequested, on_request.on_begin, BACKOFF),
    _rule(STARTING, ev.StopRequested, on_request.on_stop_requested, STOPPING, STOPPED),
    _rule(frozenset({RECORDING, ROTATING}), ev.StopRequested, on_request.on_stop_requested, STOPPING),
    _rule(WAITING, ev.StopRequested, on_request.on_stop_requested, STOPPING, FINALIZING, STOPPED),
    _rule(STARTING, ev.BroadcastOver, on_request.on_broadcast_over, STOPPING, STOPPED),
    _rule(frozenset({RECORDING, ROTATING}), ev.BroadcastOver, on_request.on_broadcast_over, STOPPING),
    _rule(WAITING, ev.BroadcastOver, on_request.on_broadcast_over, STOPPING, FINALIZING, STOPPED),
    _rule(CAPTURING, ev.DurationReached, on_request.on_duration_reached, STOPPING),
    _rule(WAITING, ev.DurationReached, on_request.on_duration_reached, STOPPING, FINALIZING, STOPPED),
    _rule(RECORDING, ev.RotateRequested, on_rotation.on_rotate, ROTATING),
    _rule(BACKOFF, ev.RetryRequested, on_request.on_retry_requested, STARTING),
    _rule(frozenset({GRACE, PAUSED}), ev.RetryRequested, on_request.on_retry_requested),
    _rule(frozenset({UNJOINED, FAILED}), ev.RetryRequested, on_request.on_retry_requested, FINALIZING),
    _rule(UNJOINED, ev.StopRequested, on_end.on_given_up, FAILED),
    _rule(EVERY, ev.KeepRequested, on_request.on_keep_requested),
    _rule(frozenset({COMPLETED, STOPPED, FAILED}), ev.MediaPruned, on_request.on_media_pruned),
    # rotation
    _rule(RECORDING, ev.RotationDue, on_rotation.on_rotate, ROTATING),
    _rule(ROTATING, ev.OverlapDue, on_rotation.on_overlap_due),
    _rule(ROTATING, ev.OverlapChecked, on_rotation.on_overlap_checked, RECORDING),
    _rule(ROTATING, ev.OverlapTimedOut, on_rotation.on_overlap_timed_out, RECORDING),
    # a run's life
    _rule(EVERY, ev.ScopeStarted, on_run.on_scope_started),
    _rule(STARTING, ev.LaunchFailed, on_run.on_launch_failed, BACKOFF, GRACE, PAUSED, STOPPING),
    _rule(ROTATING, ev.LaunchFailed, on_run.on_launch_failed, RECORDING),
    _rule(ACTIVE - {STARTING, ROTATING}, ev.LaunchFailed, on_run.on_launch_failed),
    _rule(STARTING, ev.LaunchTimedOut, on_run.on_launch_timed_out, BACKOFF, GRACE, STOPPING),
    _rule(ROTATING, ev.LaunchTimedOut, on_run.on_launch_timed_out, RECORDING),
    _rule(STARTING, ev.MediaArrived, on_run.on_media_arrived, RECORDING),
    _rule(ROTATING, ev.MediaArrived, on_run.on_media_arrived),
    _rule(STARTING, ev.MediaTimedOut, on_run.on_media_timed_out, BACKOFF, GRACE, STOPPING),
    _rule(ROTATING, ev.MediaTimedOut, on_run.on_media_timed_out, RECORDING),
    _rule(CAPTURING, ev.MeasureDue, on_run.on_measure_due),
    _rule(RECORDING, ev.SizeMeasured, on_run.on_size_measured, STARTING, BACKOFF, ROTATING, STOPPING),
    _rule(ROTATING, ev.SizeMeasured, on_run.on_size_measured, RECORDING, STARTING),
    _rule(ACTIVE, ev.StopTimedOut, on_run.on_stop_timed_out),
    _rule(STARTING, ev.SegmentExited, on_run.on_exited, BACKOFF, GRACE, PAUSED, STOPPING),
    _rule(RECORDING, ev.SegmentExited, on_run.on_exited, STARTING, BACKOFF, GRACE, PAUSED, STOPPING),
    _rule(ROTATING, ev.SegmentExited, on_run.on_exited, RECORDING, STARTING),
    _rule(EVERY - CAPTURING, ev.SegmentExited, on_run.on_exited),
    _rule(EVERY, ev.EvidenceArrived, on_run.on_evidence),
    _rule(RECORDING, ev.SegmentSpoke, on_suspicion.on_spoke, ROTATING),
    _rule(STARTING, ev.SegmentSpoke, on_suspicion.on_spoke, BACKOFF),
    _rule(ROTATING, ev.SegmentSpoke, on_suspicion.on_spoke, RECORDING),
    _rule(CAPTURING - {RECORDING, STARTING, ROTATING}, ev.SegmentSpoke, on_suspicion.on_spoke),
    _rule(RECORDING, ev.FileTaken, on_file.on_file_taken, ROTATING),
    _rule(ACTIVE - {RECORDING}, ev.FileTaken, on_file.on_file_taken),
    _rule(RUNNING, ev.SegmentSealed, on_run.on_sealed),
    _rule(STOPPING, ev.SegmentSealed, on_run.on_sealed, *ENDINGS),
    _rule(RUNNING, ev.SealTimedOut, on_run.on_seal_timed_out),
    _rule(STOPPING, ev.SealTimedOut, on_run.on_seal_timed_out, *ENDINGS),
    # the source, and waiting for it
    _rule(BACKOFF, ev.RetryDue, on_source.on_retry_due, STARTING),
    _rule(GRACE, ev.ProbeDue, on_source.on_probe_due),
    _rule(GRACE, ev.SourceProbed, on_source.on_probed, STARTING, BACKOFF, STOPPING, FINALIZING, FAILED),
    _rule(RECORDING, ev.SourceProbed, on_suspicion.on_source_looked_at),
    _rule(RUNNING - {GRACE, RECORDING}, ev.SourceProbed, on_source.on_looked_at),
    _rule(GRACE, ev.GraceOver, on_source.on_grace_over, STOPPING, FINALIZING, FAILED),
    _rule(BACKOFF, ev.NetworkBack, on_source.on_network_back, STARTING),
    _rule(GRACE, ev.NetworkBack, on_source.on_network_back),
    # the machine
    _rule(CAPTURING | {BACKOFF}, ev.DiskLow, on_host.on_disk_low, PAUSED),
    _rule(PAUSED, ev.DiskLow, on_host.on_disk_still_low),
    _rule(PAUSED, ev.DiskDue, on_host.on_disk_due, STOPPING, FINALIZING, FAILED),
    _rule(PAUSED, ev.DiskFreed, on_host.on_disk_freed, STARTING, BACKOFF),
    _rule(ACTIVE | {FINALIZING, UNJOINED, DISCARDING}, ev.HostStopping, on_host.on_host_stopping),
    _rule(ACTIVE | {FINALIZING, UNJOINED, DISCARDING}, ev.HostStays, on_host.on_host_stays),
    # the end
    _rule(FINALIZING, ev.JoinEnded, on_end.on_join_ended, UNJOINED, DISCARDING, COMPLETED, STOPPED, FAILED),
    _rule(FINALIZING, ev.JoinOverdue, on_end.on_join_overdue),
    _rule(UNJOINED, ev.JoinOverdue, on_end.on_next_join_due, FINALIZING),
    _rule(DISCARDING, ev.MediaDiscarded, on_end.on_media_discarded, COMPLETED),
    _rule(DISCARDING, ev.DiscardOverdue, on_end.on_discard_overdue),
    _rule(frozenset({COMPLETED, STOPPED}), ev.SegmentsRemoved, on_end.on_segments_removed),
    # a new daemon
    _rule(STARTING, ev.Restarted, on_restart.on_restarted, BACKOFF),
    _rule(EVERY - {STARTING}, ev.Restarted, on_restart.on_restarted),
)


def _nothing(recorder: Recorder, event: ev.Event) -> Step:
    return recorder, ()


def _table() -> Mapping[State, Mapping[type[ev.Event], Rule]]:
    table = {state: {event: _rule(state, event, _nothing) for event in ev.EVENTS} for state in State}
    for rule in RULES:
        for state in rule.states:
            if table[state][rule.event].handler is not _nothing:
                raise IllegalTransition(f"two rules for {state} and {rule.event.__name__}")
            table[state][rule.event] = rule
    return table


TRANSITIONS: Final = _table()


def step(recorder: Recorder, event: ev.Event) -> Step:
    """The recorder after the event, and the effects that are now due, in order.

    If the recorder changed, the first effect saves it. Raises IllegalTransition, and changes nothing, if the row does
    not name the state that the handler led to.
    """
    rule = TRANSITIONS[recorder.state][type(event)]
    after, effects = rule.handler(recorder, event)
    if after.state is not recorder.state and after.state not in rule.targets:
        raise IllegalTransition(f"{recorder.state} may not become {after.state} by {type(event).__name__}")
    if after == recorder:
        return after, effects
    return after, (Save(after, _changed(recorder.segments, after.segments)), *effects)


def _changed(before: tuple[Segment, ...], after: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Those that are not as they were, and the new ones; none ever leaves its place (I3)."""
    others = tuple(new for old, new in zip(before, after, strict=False) if new is not old and new != old)
    return others + after[len(before) :]
