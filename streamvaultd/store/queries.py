# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for those who look: pages of what it holds. A page costs what is on it, however much there is besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import and_, case, desc, exists, func, or_, select

from streamvaultd.core import ranges
from streamvaultd.core.cause import PLANNED
from streamvaultd.core.listing import (
    EventQuery,
    JobQuery,
    Page,
    Query,
    RecordingQuery,
    StreamQuery,
    StreamRow,
    Summary,
)
from streamvaultd.core.model import Moment
from streamvaultd.core.upkeep.retention import Result
from streamvaultd.store.audit_rows import RecoverableStore
from streamvaultd.store.ledger import parse_event, parse_job
from streamvaultd.store.recordings import ROW_ERRORS
from streamvaultd.store.rows import Present, parse_recorder
from streamvaultd.store.schema import KEPT, WANTED, events, jobs, recordings, segments, streamers, streams
from streamvaultd.store.step_rows import HELD, UNSENT

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table

    from streamvaultd.store.records import EventRecord, JobRecord

T = TypeVar("T")

FINAL = ("completed", "stopped", "failed")

_HAS_RESULT = and_(
    recordings.c.status.in_(("completed", "stopped")),
    recordings.c.recording_path.is_not(None),
    recordings.c.end_time.is_not(None),
)


class QueryableStore(RecoverableStore):
    """A store that answers in pages; made by open(). Its listener hears of every job that begins or ends."""

    async def create_job(self, recording: int, kind: str, spec: Mapping[str, object], now: Moment) -> int:
        """As ever."""
        job = await super().create_job(recording, kind, spec, now)
        await self._tell_job(job)
        return job

    async def finish_job(self, job: int, *, ok: bool, result: Mapping[str, object], now: Moment) -> None:
        """As ever."""
        await super().finish_job(job, ok=ok, result=result, now=now)
        await self._tell_job(job)

    async def page_recordings(self, query: RecordingQuery) -> Page[Summary]:
        """Recordings; those whose rows cannot be read are left out."""
        return await self._read(lambda connection: _recordings(connection, query, self._present()))

    async def page_streams(self, query: StreamQuery) -> Page[StreamRow]:
        """Streams."""
        return await self._read(lambda connection: _streams(connection, query))

    async def stream(self, stream: int) -> StreamRow | None:
        """The stream of this number."""
        found = await self.page_streams(StreamQuery(limit=1, before=stream + 1))
        return next((row for row in found.items if row.id == stream), None)

    async def page_jobs(self, query: JobQuery) -> Page[JobRecord]:
        """Jobs."""
        return await self._read(lambda connection: _jobs(connection, query))

    async def page_events(self, query: EventQuery) -> Page[EventRecord]:
        """Events."""
        return await self._read(lambda connection: _events(connection, query))

    async def event(self, event: int) -> EventRecord | None:
        """The event of this number."""
        found = await self.page_events(EventQuery(limit=1, before=event + 1))
        return next((row for row in found.items if row.id == event), None)

    async def prunable(
        self, streamer: str | None, ended_before: int, *, failed: bool, kept: bool, limit: int
    ) -> Sequence[int]:
        """The numbers of recordings that are over since then and have media, oldest first.

        `failed`: also those that nobody has joined; `kept`: also those that are marked.
        """
        found = partial(_prunable, streamer=streamer, ended_before=ended_before, failed=failed, kept=kept, limit=limit)
        return await self._read(found)

    async def streamer_names(self) -> Sequence[str]:
        """Everybody who was ever recorded, by name."""
        query = select(streamers.c.username).order_by(streamers.c.username)
        return await self._read(lambda connection: [str(name) for name in connection.scalars(query)])

    async def results(self, streamer: str) -> Sequence[Result]:
        """The joined files of a streamer; those whose rows cannot be read are left out."""
        return await self._read(lambda connection: _results(connection, streamer))


def _page(
    connection: Connection, table: Table, statement: Select[Any], which: list[ColumnElement[bool]], query: Query
) -> tuple[list[RowMapping], int | None]:
    """The rows of a page, and the number that the next one goes on below."""
    if query.before is not None:
        which = [*which, table.c.id < query.before]
    chosen = statement.where(*which).order_by(desc(table.c.id)).limit(query.limit + 1)
    try:
        rows = list(connection.execute(chosen).mappings())
    except ROW_ERRORS:
        return _page_singly(connection, table, statement, chosen.with_only_columns(table.c.id), query)
    has_more = len(rows) > query.limit
    rows = rows[: query.limit]
    return rows, int(rows[-1]["id"]) if has_more else None


def _page_singly(
    connection: Connection, table: Table, statement: Select[Any], chosen: Select[Any], query: Query
) -> tuple[list[RowMapping], int | None]:
    """As _page(), without the rows that have a value which their column cannot hold."""
    ids = [int(number) for number in connection.scalars(chosen)]
    rows: list[RowMapping] = []
    for number in ids[: query.limit]:
        with suppress(*ROW_ERRORS):
            rows += connection.execute(statement.where(table.c.id == number)).mappings().all()
    return rows, ids[query.limit - 1] if len(ids) > query.limit else None


def _readable(parse: Callable[[RowMapping], T], rows: Sequence[RowMapping]) -> tuple[T, ...]:
    """What these rows hold; those that hold nothing of the kind are left out."""
    found: list[T] = []
    for row in rows:
        with suppress(*ROW_ERRORS):
            found.append(parse(row))
    return tuple(found)


def _in_time(column: ColumnElement[Any], since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    return [*([] if since is None else [column >= since]), *([] if until is None else [column < until])]


def _of_streamer(column: ColumnElement[Any], streamer: str | None) -> list[ColumnElement[bool]]:
    if streamer is None:
        return []
    # a scalar, so that the index on the streamer gives the rows in the order in which they are wanted
    return [column == select(streamers.c.id).where(streamers.c.username == streamer).scalar_subquery()]


def _recordings(connection: Connection, query: RecordingQuery, present: Present) -> Page[Summary]:
    which = _of_streamer(recordings.c.streamer_id, query.streamer)
    which += _in_time(recordings.c.start_time, query.since, query.until)
    if query.statuses is not None:
        which.append(recordings.c.status.in_(query.statuses))
    if query.state is not None:
        which.append(recordings.c.state == query.state)
    if query.kept:
        which.append(recordings.c.kept & WANTED)
    named = select(recordings, streamers.c.username).join(streamers, streamers.c.id == recordings.c.streamer_id)
    rows, further = _page(connection, recordings, named, which, query)
    totals = _totals(connection, [row["id"] for row in rows])
    found = [_summary(row, totals.get(row["id"], (0, 0, 0)), present) for row in rows]
    return Page(tuple(summary for summary in found if summary is not None), further)


def _totals(connection: Connection, ids: list[int]) -> dict[int, tuple[int, int, int]]:
    if not ids:
        return {}
    is_death = and_(segments.c.cause.is_not(None), segments.c.cause.not_in(sorted(PLANNED)))
    totals = (
        select(
            segments.c.recording_id, func.count(), func.sum(case((is_death, 1), else_=0)), func.total(segments.c.bytes)
        )
        .where(segments.c.recording_id.in_(ids))
        .group_by(segments.c.recording_id)
    )
    return {row[0]: (int(row[1]), int(row[2]), _bytes(row[3])) for row in connection.execute(totals)}


def _bytes(total: float) -> int:
    """A sum of SQLite's total(), which unlike sum() always gives one, exact up to 8 PiB."""
    return int(ranges.BYTES.nearest(total))


def _summary(row: RowMapping, totals: tuple[int, int, int], present: Present) -> Summary | None:
    try:
        recorder = parse_recorder(row, (), present)
    except ROW_ERRORS:
        return None
    return Summary(recorder=recorder, segments=totals[0], deaths=totals[1], bytes=totals[2])


def _streams(connection: Connection, query: StreamQuery) -> Page[StreamRow]:
    which = _of_streamer(streams.c.streamer_id, query.streamer)
    which += _in_time(streams.c.started_at, query.since, query.until)
    if query.live is not None:
        which.append(streams.c.ended_at.is_(None) if query.live else streams.c.ended_at.is_not(None))
    named = select(streams, streamers.c.username).join(streamers, streamers.c.id == streams.c.streamer_id)
    rows, further = _page(connection, streams, named, which, query)
    of_streams = (
        select(recordings.c.stream_id, recordings.c.id)
        .where(recordings.c.stream_id.in_([row["id"] for row in rows]))
        .order_by(recordings.c.id)
    )
    recorded: dict[int, list[int]] = {}
    for stream, recording in connection.execute(of_streams):
        recorded.setdefault(stream, []).append(recording)
    return Page(tuple(_stream_row(row, recorded.get(row["id"], [])) for row in rows), further)


def _stream_row(row: RowMapping, recorded: Sequence[int]) -> StreamRow:
    return StreamRow(
        id=row["id"],
        streamer=row["username"],
        site_id=row["site_id"],
        title=row["title"],
        category=row["category"],
        started=row["started_at"],
        ended=row["ended_at"],
        recordings=tuple(recorded),
    )


def _jobs(connection: Connection, query: JobQuery) -> Page[JobRecord]:
    given = {jobs.c.recording_id: query.recording, jobs.c.kind: query.kind, jobs.c.status: query.status}
    which = [column == value for column, value in given.items() if value is not None]
    rows, further = _page(connection, jobs, select(jobs), which, query)
    return Page(_readable(parse_job, rows), further)


def _events(connection: Connection, query: EventQuery) -> Page[EventRecord]:
    which = _in_time(events.c.at, query.since, query.until)
    if query.recording is not None:
        which.append(events.c.recording_id == query.recording)
    if query.streamer is not None:
        of_streamer = select(recordings.c.id).where(*_of_streamer(recordings.c.streamer_id, query.streamer))
        which.append(events.c.recording_id.in_(of_streamer))
    if query.kind is not None:
        which.append(events.c.kind == query.kind)
    if query.priority is not None:
        which.append(events.c.priority <= query.priority)
    rows, further = _page(connection, events, select(events), which, query)
    return Page(_readable(parse_event, rows), further)


def _prunable(
    connection: Connection, *, streamer: str | None, ended_before: int, failed: bool, kept: bool, limit: int
) -> list[int]:
    unjoined = exists().where(segments.c.recording_id == recordings.c.id, segments.c.bytes > 0, KEPT)
    has_media: ColumnElement[bool] = recordings.c.recording_path.is_not(None)
    if failed:
        has_media = or_(has_media, and_(recordings.c.status == "failed", unjoined))
    chosen = (
        select(recordings.c.id)
        .where(*_of_streamer(recordings.c.streamer_id, streamer))
        .where(recordings.c.status.in_(FINAL), recordings.c.end_time < ended_before, has_media)
        .where(*([] if kept else [recordings.c.kept.is_(False)]))
        .order_by(recordings.c.id)
        .limit(limit)
    )
    return [int(recording) for recording in connection.scalars(chosen)]


def _results(connection: Connection, streamer: str) -> list[Result]:
    which = [_HAS_RESULT, *_of_streamer(recordings.c.streamer_id, streamer)]
    columns = select(
        recordings.c.id, recordings.c.end_time, recordings.c.bytes, recordings.c.kept,
        HELD.label("held"), UNSENT.label("unsent"),
    )  # fmt: skip
    try:
        return [_result(row) for row in connection.execute(columns.where(*which)).mappings()]
    except ROW_ERRORS:
        found = []
        for recording in connection.scalars(select(recordings.c.id).where(*which)).all():
            with suppress(*ROW_ERRORS):
                of_one = columns.where(recordings.c.id == recording)
                found += [_result(row) for row in connection.execute(of_one).mappings()]
        return found


def _result(row: RowMapping) -> Result:
    size = 0 if row["bytes"] is None else row["bytes"]  # a rebuilt row may not know it
    if not isinstance(size, int):
        raise TypeError(size)
    return Result(
        recording=row["id"], ended=row["end_time"], size=size, kept=row["kept"],
        has_steps=bool(row["held"]), is_unsent=bool(row["unsent"]),
    )  # fmt: skip
