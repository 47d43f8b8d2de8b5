# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on the calls of hooks. Each function is one part of its caller's transaction.

What becomes of a call core/after/hook_calls.py decides, within the transaction.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, exists, func, insert, or_, select, update

from streamvaultd.core.after.hook_calls import (
    CallStatus,
    HookCall,
    HookEvent,
    Occurrence,
    has_hooks,
    hooks_of,
    must_wait,
    occurred,
    step,
)
from streamvaultd.core.listing import HOOK_DONE, HOOK_FAILED
from streamvaultd.store.ledger import insert_event
from streamvaultd.store.schema import UNCLEARED, hook_calls, steps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, RowMapping, TextClause

    from streamvaultd.core.after.hook_calls import Event
    from streamvaultd.core.model import Recorder

INFO, WARNING = 6, 4
_UNFINISHED: Final = ("waiting", "due", "running")

_WAITS: Final = and_(
    hook_calls.c.event == HookEvent.RECORDING_COMPLETE.value,
    exists().where(steps.c.recording_id == hook_calls.c.recording_id, steps.c.status.in_(_UNFINISHED)),
)
"""Steps come first: the hook is called for what they have made, too."""


def follow(connection: Connection, recorder: Recorder) -> None:
    """A recording is saved: what has happened to it and was not seen before gets its calls."""
    if has_hooks(recorder.recording.policy):
        _plan(connection, recorder, occurred(recorder), recorder.since.realtime)


def plan_prune(connection: Connection, recorder: Recorder, at: int) -> list[HookCall]:
    """The calls for which a removal of media waits, or the latest answer; new ones if there is neither."""
    recording = recorder.recording.id
    which = hook_calls.c.recording_id == recording, hook_calls.c.event == HookEvent.BEFORE_PRUNE.value
    last = connection.scalar(select(func.max(hook_calls.c.number)).where(*which)) or 0
    calls = _select(connection, and_(*which, hook_calls.c.number == last))
    changed = connection.scalar(select(func.max(hook_calls.c.changed_at)).where(*which)) or 0
    if not must_wait(calls, at - changed):
        last += 1
        _plan(connection, recorder, [Occurrence(HookEvent.BEFORE_PRUNE, last)], at)
        calls = _select(connection, and_(*which, hook_calls.c.number == last))
    return calls


def select_calls(connection: Connection, recording: int) -> list[HookCall]:
    """The calls of a recording, oldest first."""
    return _select(connection, hook_calls.c.recording_id == recording)


def select_open(connection: Connection) -> list[HookCall]:
    """All calls with which something still has to happen and may, oldest first."""
    return _select(connection, and_(UNCLEARED, or_(hook_calls.c.status != CallStatus.DUE.value, ~_WAITS)))


def advance(connection: Connection, call: int, event: Event, at: int) -> HookCall | None:
    """Something has happened to a call; the call as it is now, None if there is none."""
    found = _select(connection, hook_calls.c.id == call)
    if not found:
        return None
    after = step(found[0], event)
    if after != found[0]:
        connection.execute(update(hook_calls).where(hook_calls.c.id == call).values(_values(after, at)))
        if after.status.is_over and not found[0].status.is_over:
            _tell(connection, after, at)
    return after


def _plan(connection: Connection, recorder: Recorder, happened: Iterable[Occurrence], at: int) -> None:
    recording, policy = recorder.recording.id, recorder.recording.policy
    columns = hook_calls.c.event, hook_calls.c.number, hook_calls.c.hook
    known = {tuple(row) for row in connection.execute(select(*columns).where(hook_calls.c.recording_id == recording))}
    for each in happened:
        for hook in hooks_of(policy, each.event):
            if (each.event.value, each.number, hook) not in known:
                call = HookCall(
                    id=0, recording=recording, hook=hook, event=each.event, number=each.number, status=CallStatus.DUE
                )
                keys = {"recording_id": recording, "hook": hook, "event": each.event.value, "number": each.number}
                connection.execute(insert(hook_calls).values(_values(call, at) | keys | {"created_at": at}))


def _select(connection: Connection, which: ColumnElement[bool] | TextClause) -> list[HookCall]:
    """Rows in order; what another hand has written is left out, and is no reason not to save a recording."""
    found = []
    for number in connection.scalars(select(hook_calls.c.id).where(which).order_by(hook_calls.c.id)).all():
        with suppress(ValueError, TypeError):
            row = connection.execute(select(hook_calls).where(hook_calls.c.id == number)).mappings().first()
            if row is not None:
                found.append(_parse(row))
    return found


def _parse(row: RowMapping) -> HookCall:
    return HookCall(
        id=row["id"],
        recording=row["recording_id"],
        hook=row["hook"],
        event=HookEvent(row["event"]),
        number=row["number"],
        status=CallStatus(row["status"]),
        tries=int(row["tries"]),
        retry_at=row["retry_at"],
        boot=row["boot_id"],
        invocation=row["invocation"],
        why=row["why"],
        is_cleared=bool(row["cleared"]),
    )


def _values(call: HookCall, at: int) -> dict[str, Any]:
    return {
        "status": call.status.value,
        "tries": call.tries,
        "retry_at": call.retry_at,
        "boot_id": call.boot,
        "invocation": call.invocation,
        "why": call.why,
        "cleared": call.is_cleared,
        "changed_at": at,
    }


def _tell(connection: Connection, call: HookCall, at: int) -> None:
    """An event, in the transaction in which it happens: it comes once."""
    is_done = call.status is CallStatus.DONE
    what = f"Hook {call.hook} for {call.event}"
    insert_event(
        connection,
        {
            "at": at, "kind": HOOK_DONE if is_done else HOOK_FAILED, "priority": INFO if is_done else WARNING,
            "message": f"{what} is done" if is_done else f"{what} failed: {call.why}",
            "recording_id": call.recording, "fields": {"hook": call.hook, "event": call.event.value, "call": call.id},
        },
    )  # fmt: skip
