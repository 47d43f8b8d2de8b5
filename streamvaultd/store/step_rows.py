# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on the steps of recordings. Each function is one part of its caller's transaction.

What becomes of the rows core/after/machine.py decides, within the transaction: what it decides by cannot have changed
by the time that it is written.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, cast, exists, func, insert, select, update

from streamvaultd.core import ranges
from streamvaultd.core.after.graph import UPLOAD, wanted
from streamvaultd.core.after.machine import (
    Begun,
    Done,
    Failed,
    StepRow,
    StepStatus,
    media_gone,
    planned,
    step,
)
from streamvaultd.core.listing import STEP_DONE, STEP_FAILED
from streamvaultd.core.model import State
from streamvaultd.store.ledger import end_job, insert_event, insert_job
from streamvaultd.store.records import JobStatus
from streamvaultd.store.schema import UNFINISHED, recordings, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping, TextClause

    from streamvaultd.core.model import Recorder

JOINED: Final = (State.COMPLETED, State.STOPPED)
INFO, WARNING = 6, 4
_READ: Final = tuple(column for column in steps.c if column.name not in ("made", "changed_at"))
_OVER: Final = (StepStatus.DONE.value, StepStatus.SKIPPED.value)

HELD: ColumnElement[bool] = exists().where(
    steps.c.recording_id == recordings.c.id, steps.c.required, steps.c.status.not_in(_OVER)
)
"""Recordings of which a required step is not done."""

UNSENT: ColumnElement[bool] = exists().where(
    steps.c.recording_id == recordings.c.id, steps.c.step == UPLOAD, steps.c.status != StepStatus.DONE.value
)
"""Recordings that are to be uploaded, and are not."""


def follow(connection: Connection, recorder: Recorder) -> None:
    """A recording is saved: one that has just been joined gets its steps, one whose media are gone needs none."""
    recording, policy = recorder.recording.id, recorder.recording.policy
    if recorder.state not in JOINED or not wanted(policy):
        return
    if recorder.path is None:
        skip(connection, recording, recorder.since.realtime)
    elif not connection.scalar(select(exists().where(steps.c.recording_id == recording))):
        for row in planned(recording, policy):
            connection.execute(insert(steps).values(_values(row, recorder.since.realtime)))


def skip(connection: Connection, recording: int, at: int) -> None:
    """What is not over of the steps of a recording need not be, if it has no result any more."""
    has_result = select(recordings.c.recording_path.is_not(None)).where(recordings.c.id == recording)
    if not connection.scalar(has_result):
        _write(connection, media_gone(select_steps(connection, recording), at), at)


def select_steps(connection: Connection, recording: int) -> list[StepRow]:
    """The steps of a recording, in the order in which they were planned."""
    return _select(connection, steps.c.recording_id == recording)


def select_unfinished(connection: Connection) -> list[StepRow]:
    """All steps with which something still has to happen, the oldest first."""
    return _select(connection, UNFINISHED)


def select_made(connection: Connection, recording: int) -> list[tuple[str, Mapping[str, Any]]]:
    """What the steps of a recording made, each with the step's name; whatever another hand wrote there.

    Of one that is not done it is what it has uploaded.
    """
    which = steps.c.recording_id == recording, steps.c.made.is_not(None)
    # As text: what another hand wrote costs itself, and not all of them
    columns = steps.c.step, cast(steps.c.made, Text)
    rows = connection.execute(select(*columns).where(*which).order_by(steps.c.id)).all()
    return [(str(name), made) for name, text in rows if (made := _object(text)) is not None]


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "")
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def select_counts(connection: Connection) -> dict[str, int]:
    """Steps by status."""
    found = connection.execute(select(steps.c.status, func.count()).group_by(steps.c.status))
    return {str(status): int(count) for status, count in found}


def begin(connection: Connection, row: StepRow, spec: Mapping[str, object], at: int) -> int | None:
    """A job for a step that is due; its number, None if the step is not due any more."""
    rows = select_steps(connection, row.recording)
    if not any(known.step == row.step and known.status is StepStatus.DUE for known in rows):
        return None
    job = insert_job(connection, row.recording, row.step, spec, at)
    _write(connection, step(rows, row.step, Begun(at=at, job=job)), at)
    return job


def end(connection: Connection, row: StepRow, event: Done | Failed, result: Mapping[str, object]) -> StepRow | None:
    """A job is over, and its step goes on, with those behind it; the step's row, if this changed it.

    `result` is what the job made, or why it did not.
    """
    is_done = isinstance(event, Done)
    end_job(connection, event.job, JobStatus.DONE if is_done else JobStatus.FAILED, result, event.at)
    changed = step(select_steps(connection, row.recording), row.step, event)
    _write(connection, changed, event.at, made=(row.step, result) if is_done or "uploads" in result else None)
    mine = next((each for each in changed if each.step == row.step), None)
    if mine is not None and not (isinstance(event, Failed) and event.is_lost):
        _tell(connection, mine, event.at)
    return mine


def plan_again(connection: Connection, recorder: Recorder) -> None:
    """A recording that was found again, with what its steps had made, is sent all the same: only this says it was."""
    if recorder.state in JOINED and recorder.path is not None:
        known = {row.step for row in select_steps(connection, recorder.recording.id)}
        for row in planned(recorder.recording.id, recorder.recording.policy):
            if row.step not in known:
                connection.execute(insert(steps).values(_values(row, recorder.since.realtime)))


def insert_done(connection: Connection, recording: int, name: str, made: Mapping[str, object], at: int) -> None:
    """A step of a recording that was done before the store knew of it."""
    row = StepRow(recording=recording, step=name, status=StepStatus.DONE)
    connection.execute(insert(steps).values(_values(row, at) | {"made": dict(made)}))


def _select(connection: Connection, which: ColumnElement[bool] | TextClause) -> list[StepRow]:
    """Rows in order; what another hand has written is left out, and is no reason not to save a recording."""
    found = []
    for number in connection.scalars(select(steps.c.id).where(which).order_by(steps.c.recording_id, steps.c.id)).all():
        with suppress(ValueError, TypeError):  # a date that is none is found out while the row is read
            row = connection.execute(select(*_READ).where(steps.c.id == number)).mappings().first()
            if row is not None:
                found.append(parse_step(row))
    return found


def parse_step(row: RowMapping) -> StepRow:
    """A step from its row; raises ValueError and TypeError for one that another hand wrote."""
    if not isinstance(row["step"], str) or not all(map(ranges.COUNT.holds, (row["tries"], row["losses"]))):
        raise ValueError(f"step {row['id']} has no name, or no number of tries")
    return StepRow(
        recording=row["recording_id"],
        step=row["step"],
        status=StepStatus(row["status"]),
        is_required=bool(row["required"]),
        tries=row["tries"],
        losses=row["losses"],
        retry_at=row["retry_at"],
        job=row["job_id"],
        why=row["why"],
    )


def _write(
    connection: Connection, rows: Sequence[StepRow], at: int, made: tuple[str, Mapping[str, object]] | None = None
) -> None:
    for row in rows:
        values = _values(row, at)
        if made is not None and made[0] == row.step:
            values["made"] = dict(made[1])
        which = steps.c.recording_id == row.recording, steps.c.step == row.step
        connection.execute(update(steps).where(*which).values(values))


def _tell(connection: Connection, row: StepRow, at: int) -> None:
    """An event, in the transaction in which it happens: it comes once."""
    is_done = row.status is StepStatus.DONE
    insert_event(
        connection,
        {
            "at": at, "kind": STEP_DONE if is_done else STEP_FAILED, "priority": INFO if is_done else WARNING,
            "message": f"Step {row.step} is done" if is_done else f"Step {row.step} failed: {row.why}",
            "recording_id": row.recording, "fields": {"step": row.step},
        },
    )  # fmt: skip


def _values(row: StepRow, at: int) -> dict[str, Any]:
    return {
        "recording_id": row.recording,
        "step": row.step,
        "status": row.status.value,
        "required": row.is_required,
        "tries": row.tries,
        "losses": row.losses,
        "retry_at": row.retry_at,
        "job_id": row.job,
        "why": row.why,
        "changed_at": at,
    }
