# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on events, jobs and seams. Each function is one part of its caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, desc, func, insert, select, update

from streamvaultd.core.model import JOIN, SeamRecord
from streamvaultd.core.names import Job
from streamvaultd.store.records import EventRecord, JobRecord, JobStatus
from streamvaultd.store.schema import events, jobs, recordings, seams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection, RowMapping

    from streamvaultd.store.rows import Values


def insert_event(connection: Connection, values: Values) -> None:
    """One more event; `values` are its columns."""
    connection.execute(insert(events).values(values))


def select_events(connection: Connection, recording: int, limit: int) -> list[EventRecord]:
    """The last events of a recording, oldest first."""
    newest = select(events).where(events.c.recording_id == recording).order_by(desc(events.c.id)).limit(limit)
    rows = connection.execute(newest).mappings().all()
    return [parse_event(row) for row in reversed(rows)]


def insert_job(connection: Connection, recording: int, kind: str, spec: Mapping[str, object], realtime: int) -> int:
    """A new running job; its id. Its attempts are those of the earlier jobs of this kind, and this one."""
    same = jobs.c.recording_id == recording, jobs.c.kind == kind
    before = connection.scalar(select(func.max(jobs.c.attempts)).where(*same)) or 0
    row = insert(jobs).values(
        recording_id=recording,
        kind=kind,
        status=JobStatus.RUNNING.value,
        attempts=before + 1,
        spec=dict(spec),
        created_at=realtime,
        started_at=realtime,
    )
    job = int(connection.execute(row.returning(jobs.c.id)).scalar_one())
    connection.execute(update(jobs).where(jobs.c.id == job).values(unit=Job(job).unit))
    return job


def select_jobs(connection: Connection, which: ColumnElement[bool]) -> list[JobRecord]:
    """These jobs, oldest first."""
    rows = connection.execute(select(jobs).where(which).order_by(jobs.c.id))
    return [parse_job(row) for row in rows.mappings()]


def end_job(connection: Connection, job: int, status: JobStatus, result: Mapping[str, object], realtime: int) -> bool:
    """Write how a job ended; False if there is no such job."""
    row = update(jobs).where(jobs.c.id == job)
    values = {"status": status.value, "result": dict(result), "ended_at": realtime}
    return connection.execute(row.values(values)).rowcount == 1


def replace_seams(connection: Connection, recording: int, found: Iterable[SeamRecord]) -> None:
    """The seams of a recording's latest join; those of an earlier one are forgotten."""
    connection.execute(delete(seams).where(seams.c.recording_id == recording))
    rows = [{name: getattr(seam, name) for name in _SEAM_COLUMNS} | {"recording_id": recording} for seam in found]
    if rows:
        connection.execute(insert(seams), rows)


def select_seams(connection: Connection, recording: int) -> list[SeamRecord]:
    """The seams of a recording, in order."""
    of_recording = select(seams).where(seams.c.recording_id == recording).order_by(seams.c.newer)
    rows = connection.execute(of_recording).mappings()
    return [SeamRecord(**{name: row[name] for name in _SEAM_COLUMNS}) for row in rows]


_SEAM_COLUMNS = tuple(name for name in seams.c.keys() if name not in ("id", "recording_id"))  # noqa: SIM118


def select_last_done(connection: Connection, recording: int, kind: str) -> JobRecord | None:
    """The latest job of this kind of a recording that did what it was to do."""
    which = (jobs.c.recording_id == recording) & (jobs.c.kind == kind) & (jobs.c.status == JobStatus.DONE.value)
    found = select_jobs(connection, which)
    return found[-1] if found else None


def select_outputs(connection: Connection, recording: int) -> tuple[str | None, tuple[str, ...]]:
    """Where the latest join of a recording was to put its result; where those of the streamer's others are or go."""
    streamer = select(recordings.c.streamer_id).where(recordings.c.id == recording).scalar_subquery()
    same = recordings.c.streamer_id == streamer
    planned = select(jobs.c.recording_id, jobs.c.spec["output"].as_string()).join(recordings).where(
        same, jobs.c.kind == JOIN
    )  # fmt: skip
    rows = connection.execute(planned.order_by(jobs.c.id)).all()
    made = select(recordings.c.recording_path).where(
        same, recordings.c.id != recording, recordings.c.recording_path.is_not(None)
    )  # fmt: skip
    mine = [output for of, output in rows if of == recording and output]
    others = {output for of, output in rows if of != recording and output} | set(connection.scalars(made))
    return (mine[-1] if mine else None), tuple(sorted(others))


def parse_event(row: RowMapping) -> EventRecord:
    """An event from its row."""
    return EventRecord(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        priority=row["priority"],
        message=row["message"],
        recording=row["recording_id"],
        segment=row["segment"],
        cause=row["cause"],
        fields=row["fields"] or {},
    )


def parse_job(row: RowMapping) -> JobRecord:
    """A job from its row."""
    return JobRecord(
        id=row["id"],
        recording=row["recording_id"],
        kind=row["kind"],
        status=JobStatus(row["status"]),
        attempts=row["attempts"],
        unit=row["unit"],
        spec=row["spec"],
        result=row["result"],
        created=row["created_at"],
        started=row["started_at"],
        ended=row["ended_at"],
    )
