# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hooks are called, and how a call goes on: one table.

A hook is a unit that the administrator installed. A call is a row, written in the transaction that says what happened,
and the number of the call is in the name of its unit. So whoever finds the row asks systemd what became of the unit,
and starts none that is there already. Nothing here knows a process, and nothing waits for a hook but its own row, and
who wants to remove media.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from streamvaultd.core.after.pauses import USEC, again, due_at
from streamvaultd.core.model import Policy, Recorder, State

GIVEN_UP_AFTER: Final = 5
"""Starts in a row that systemd or the broker refuses; then the call has failed."""

PAUSES: Final = (10, 60, 300, 1800)
SUCCESS_HOLDS: Final = 3600 * USEC
FAILURE_HOLDS: Final = 300 * USEC
"""For so long what hooks said before a removal is the answer to the next try; later they are called again."""


class HookEvent(StrEnum):
    """What hooks are called for."""

    RECORDING_STARTED = "recording-started"  # its first media have arrived
    SEGMENT_COMPLETE = "segment-complete"  # a segment is over, and its file is on disk
    RECORDING_COMPLETE = "recording-complete"  # it is joined, and its steps are over
    RECORDING_FAILED = "recording-failed"
    BEFORE_PRUNE = "before-prune"  # its media are about to be removed


class CallStatus(StrEnum):
    """Of a call."""

    DUE = "due"  # its unit is started as soon as it may
    RUNNING = "running"  # its unit has been asked for, and may be there
    DONE = "done"
    FAILED = "failed"  # its unit was, or could not be started

    @property
    def is_over(self) -> bool:
        """The unit is not needed any more."""
        return self in (CallStatus.DONE, CallStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened to a recording, once; `number` is the segment's, or counts what may happen again."""

    event: HookEvent
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """A call of a hook. `boot` is the one in which its unit was asked for, `invocation` what systemd called the run.

    `is_cleared`: its unit and its facts are forgotten, and nothing will happen to the row any more.
    """

    id: int
    recording: int
    hook: str
    event: HookEvent
    number: int
    status: CallStatus
    tries: int = 0
    retry_at: int | None = None
    boot: str | None = None
    invocation: str | None = None
    why: str | None = None
    is_cleared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Its unit is about to be asked for, in this boot."""

    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """systemd has started its unit."""

    invocation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """Its unit is over; `why` says what it failed of."""

    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Its unit was not started. `for_good`: it would not be another time."""

    at: int
    why: str
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """systemd knows nothing of its unit, in this boot."""

    boot: str


@dataclass(frozen=True, slots=True)
class CallCleared:
    """Its unit and its facts are forgotten."""


Event: TypeAlias = Asked | Started | CallEnded | Refused | Gone | CallCleared
Handler: TypeAlias = Callable[[HookCall, Any], HookCall]


def _on_asked(call: HookCall, event: Asked) -> HookCall:
    return replace(call, status=CallStatus.RUNNING, boot=event.boot, invocation=None, retry_at=None)


def _on_started(call: HookCall, event: Started) -> HookCall:
    return replace(call, invocation=event.invocation)


def _on_ended(call: HookCall, event: CallEnded) -> HookCall:
    return replace(call, status=CallStatus.FAILED if event.why else CallStatus.DONE, why=event.why)


def _on_refused(call: HookCall, event: Refused) -> HookCall:
    tries = call.tries + 1
    if event.for_good or tries >= GIVEN_UP_AFTER:
        return replace(call, status=CallStatus.FAILED, tries=tries, why=event.why)
    retry_at = again(event.at, tries, PAUSES)
    return replace(call, status=CallStatus.DUE, tries=tries, retry_at=retry_at, why=event.why)


def _on_gone(call: HookCall, event: Gone) -> HookCall:
    """A unit that was started in this boot stays until it is cleared; one that never was may be asked for again.

    What a reboot has ended may have done its work, or not: it is called again.
    """
    if call.invocation is not None and call.boot == event.boot:
        return replace(call, status=CallStatus.FAILED, why="its unit was stopped by another hand")
    return replace(call, status=CallStatus.DUE, boot=None, invocation=None)


def _on_cleared(call: HookCall, _event: CallCleared) -> HookCall:
    return replace(call, is_cleared=True)


TABLE: Final[Mapping[tuple[CallStatus, type[Event]], Handler]] = {
    (CallStatus.DUE, Asked): _on_asked,
    (CallStatus.RUNNING, Started): _on_started,
    (CallStatus.RUNNING, CallEnded): _on_ended,
    (CallStatus.RUNNING, Refused): _on_refused,
    (CallStatus.RUNNING, Gone): _on_gone,
    (CallStatus.DONE, CallCleared): _on_cleared,
    (CallStatus.FAILED, CallCleared): _on_cleared,
}
"""What is not here changes nothing: it is late, or comes again."""


def step(call: HookCall, event: Event) -> HookCall:
    """The call after the event."""
    handler = TABLE.get((call.status, type(event)))
    return call if handler is None else handler(call, event)


def hooks_of(policy: Policy, event: HookEvent) -> tuple[str, ...]:
    """Those that are called for an event of a recording with this policy.

    One that was found again (rescan) is old news, and is asked about all the same before its media are removed.
    """
    if not policy.has_steps and event is not HookEvent.BEFORE_PRUNE:
        return ()
    named = {
        HookEvent.RECORDING_STARTED: policy.hooks_started,
        HookEvent.SEGMENT_COMPLETE: policy.hooks_segment,
        HookEvent.RECORDING_COMPLETE: policy.hooks_complete,
        HookEvent.RECORDING_FAILED: policy.hooks_failed,
        HookEvent.BEFORE_PRUNE: policy.hooks_prune,
    }
    return named[event]


def has_hooks(policy: Policy) -> bool:
    """Whether anything is called for it."""
    return any(hooks_of(policy, event) for event in HookEvent)


def occurred(recorder: Recorder) -> tuple[Occurrence, ...]:
    """All that has happened to a recording by now that its own state tells, oldest first."""
    found = [Occurrence(HookEvent.RECORDING_STARTED)] if recorder.media_started is not None else []
    for segment in recorder.segments:
        if segment.phase.is_over and segment.size > 0:
            found.append(Occurrence(HookEvent.SEGMENT_COMPLETE, segment.number))
    if recorder.state in (State.COMPLETED, State.STOPPED) and recorder.path is not None:
        found.append(Occurrence(HookEvent.RECORDING_COMPLETE))
    elif recorder.state is State.FAILED:
        found.append(Occurrence(HookEvent.RECORDING_FAILED))
    return tuple(found)


def must_wait(calls: Sequence[HookCall], age: int) -> bool:
    """Whether these calls before a removal stand: some are under way, or all ended so recently (µs) that it holds."""
    if not all(call.status.is_over for call in calls):
        return True
    is_failed = any(call.status is CallStatus.FAILED for call in calls)
    return bool(calls) and 0 <= age < (FAILURE_HOLDS if is_failed else SUCCESS_HOLDS)


def startable(calls: Iterable[HookCall], now: int, busy: Iterable[str]) -> tuple[HookCall, ...]:
    """Of the calls that are not over, those to begin now: of each hook one at a time, the oldest first."""
    taken, found = set(busy), []
    for call in sorted(calls, key=lambda call: call.id):
        if call.status is CallStatus.DUE and call.hook not in taken and due_at(call.retry_at, now, PAUSES[-1]) <= now:
            taken.add(call.hook)
            found.append(call)
    return tuple(found)
