# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for audits: rows as they stand, and rows for recordings that were lost from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import desc, insert, select, update

from streamvaultd.core.model import JOIN, State
from streamvaultd.core.upkeep.world import Row, RowSegment
from streamvaultd.errors import NoSuchRecording
from streamvaultd.store.broadcasts import describe_stream
from streamvaultd.store.figures import Figures, select_figures
from streamvaultd.store.hooked import HookedStore
from streamvaultd.store.ledger import end_job, insert_event, insert_job
from streamvaultd.store.recordings import update_recording
from streamvaultd.store.records import JobStatus
from streamvaultd.store.rows import recording_values
from streamvaultd.store.schema import recordings, segments, streamers, streams
from streamvaultd.store.step_rows import insert_done, plan_again

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, RowMapping, Table

    from streamvaultd.core.model import Broadcast, Moment, Recorder, Segment

PAGE: Final = 500
"""Recordings that are read in one transaction: saves wait for it."""

NOTICE: Final = 5
STREAM_MAX: Final = 1_000_000_000
"""A greater number of a stream is not taken from a folder's name: new ones count on from the greatest."""


class RecoverableStore(HookedStore):
    """A store whose rows can be looked at as they stand, and that takes recordings back; made by open()."""

    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        """As ever; rows that another hand removed while the daemon has the recording are written anew, all of them."""
        try:
            await super().save(recorder, changed)
        except NoSuchRecording:
            await self._write(lambda connection: self._insert(connection, recorder, number=recorder.recording.id))

    async def directories(self) -> list[str]:
        """Every directory that recordings were made in."""
        found = await self._read(
            lambda connection: connection.scalars(select(recordings.c.directory).distinct()).all()
        )
        return [directory for directory in found if isinstance(directory, str)]

    async def rows(self, limit: int) -> tuple[list[Row], bool]:
        """The newest recordings as they stand in their rows, and whether these are all."""
        found: list[Row] = []
        below: int | None = None
        while len(found) < limit:
            page = await self._read(partial(_select_rows, below=below))
            found += page
            if len(page) < PAGE:
                return found, True
            below = page[-1].id
        return found, False

    async def claim_stream(self, streamer: str, url: str, stream: int, now: Moment) -> int:
        """A number for the stream of a recording that has no rows: `stream` itself unless another one has it.

        The streamer is created at need, with this URL. Claimed again, a stream without a recording is the same.
        """
        return await self._write(lambda connection: _claim_stream(connection, streamer, url, stream, now.realtime))

    async def insert_recovered(self, recorder: Recorder) -> Recorder:
        """A recording of a claimed stream with all its segments, in one transaction; its number is a new one."""
        return await self._write(lambda connection: self._insert(connection, recorder, number=None))

    async def forget_result(self, recording: int, path: str, now: Moment) -> bool:
        """Note that a joined file is not where its row says; False if the row says otherwise by now."""
        return await self._write(lambda connection: _forget_result(connection, recording, path, now.realtime))

    async def figures(self) -> Figures:
        """Sums over everything that was recorded."""
        return await self._read(select_figures)

    async def known_as(self, streamer: str, started: int) -> int | None:
        """The number of the recording of a streamer that began at this moment (realtime)."""
        same = select(recordings.c.id).join(streamers).where(streamers.c.username == streamer)
        query = same.where(recordings.c.start_time == started).limit(1)
        return await self._read(lambda connection: connection.scalar(query))

    async def is_stream_used(self, stream: int) -> bool:
        """Whether there is a recording of the stream of this number."""
        query = select(recordings.c.id).where(recordings.c.stream_id == stream).limit(1)
        return await self._read(lambda connection: connection.scalar(query) is not None)

    async def insert_rebuilt(
        self,
        recorder: Recorder,
        broadcast: Broadcast,
        made: Mapping[str, object] | None = None,
        steps: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Recorder:
        """A recording that is not in the store, under its own numbers as far as they are free; as it is then.

        `made`: what its join did, if one has; `steps`: what steps made, by their names.
        """

        def work(connection: Connection) -> Recorder:
            inserted = self._insert_rebuilt(connection, recorder, broadcast, made)
            for name, files in (steps or {}).items():
                insert_done(connection, inserted.recording.id, name, files, recorder.since.realtime)
            plan_again(connection, inserted)
            return inserted

        return await self._write(work)

    def _insert_rebuilt(
        self, connection: Connection, recorder: Recorder, broadcast: Broadcast, made: Mapping[str, object] | None
    ) -> Recorder:
        wanted = recorder.recording
        began = wanted.created.realtime
        stream = _claim_stream(connection, wanted.streamer, wanted.url, wanted.stream, began)
        describe_stream(connection, stream, broadcast, (recorder.ended or recorder.since).realtime)
        taken = connection.scalar(select(recordings.c.id).where(recordings.c.id == wanted.id))
        number = wanted.id if taken is None and 0 < wanted.id <= STREAM_MAX else None
        inserted = self._insert(connection, replace(recorder, recording=replace(wanted, stream=stream)), number)
        if made is not None:
            at = recorder.since.realtime
            job = insert_job(connection, inserted.recording.id, JOIN, {}, at)
            end_job(connection, job, JobStatus.DONE, made, at)
        return inserted

    def _insert(self, connection: Connection, recorder: Recorder, number: int | None) -> Recorder:
        wanted = recorder.recording
        streamer = _put_streamer(connection, wanted.streamer, wanted.url, wanted.created.realtime)
        if connection.scalar(select(streams.c.id).where(streams.c.id == wanted.stream)) is None:
            given = {"id": wanted.stream, "streamer_id": streamer, "started_at": wanted.created.realtime}
            _add(connection, streams, given)
        keys = {"stream_id": wanted.stream, "streamer_id": streamer} | ({} if number is None else {"id": number})
        recording = _add(connection, recordings, {**keys, **recording_values(recorder, self._place.boot)})
        inserted = replace(recorder, recording=replace(wanted, id=recording))
        update_recording(connection, inserted, inserted.segments, self._place)
        return inserted


def _select_rows(connection: Connection, below: int | None) -> list[Row]:
    columns = (
        recordings.c.id,
        recordings.c.stream_id,
        recordings.c.directory,
        recordings.c.status,
        recordings.c.state,
        recordings.c.recording_path,
        streamers.c.username,
    )
    page = select(*columns).outerjoin(streamers).order_by(desc(recordings.c.id)).limit(PAGE)
    found = connection.execute(page if below is None else page.where(recordings.c.id < below)).mappings().all()
    if not found:
        return []
    first, last = found[-1]["id"], found[0]["id"]
    parts = connection.execute(
        select(segments.c.recording_id, segments.c.number, segments.c.status, segments.c.bytes)
        .where(segments.c.recording_id.between(first, last))
        .order_by(segments.c.recording_id, segments.c.number)
    )
    of_recording: dict[int, list[RowSegment]] = {}
    for part in parts.mappings():
        segment = RowSegment(number=_int(part["number"]), phase=str(part["status"]), size=_int(part["bytes"]))
        of_recording.setdefault(part["recording_id"], []).append(segment)
    return [_row(row, tuple(of_recording.get(row["id"], ()))) for row in found]


def _row(row: RowMapping, parts: Sequence[RowSegment]) -> Row:
    """Whatever another hand wrote into it."""
    wanting = [name for name in ("directory", "username", "state", "status") if not isinstance(row[name], str)]
    path = row["recording_path"]
    return Row(
        id=row["id"],
        folder=(str(row["directory"]), str(row["username"]), _int(row["stream_id"])),
        status=str(row["status"]),
        state=str(row["state"]),
        path=path if isinstance(path, str) else None,
        segments=tuple(parts),
        fault=f"its {wanting[0]} is missing" if wanting else None,
    )


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _claim_stream(connection: Connection, streamer: str, url: str, wanted: int, realtime: int) -> int:
    owner = _put_streamer(connection, streamer, url, realtime)
    values = {"streamer_id": owner, "started_at": realtime}
    taken = connection.execute(select(streams.c.streamer_id).where(streams.c.id == wanted)).first()
    if taken is None and 0 < wanted <= STREAM_MAX:
        return _add(connection, streams, {"id": wanted, **values})
    used = connection.scalar(select(recordings.c.id).where(recordings.c.stream_id == wanted).limit(1))
    if taken is not None and taken[0] == owner and used is None:
        return wanted
    return _add(connection, streams, values)


def _put_streamer(connection: Connection, username: str, url: str, realtime: int) -> int:
    """A streamer's number; one who is known keeps the URL."""
    known = connection.scalar(select(streamers.c.id).where(streamers.c.username == username))
    if known is not None:
        return int(known)
    return _add(connection, streamers, {"username": username, "url": url, "created_at": realtime})


def _forget_result(connection: Connection, recording: int, path: str, realtime: int) -> bool:
    joined = recordings.c.status.in_([State.COMPLETED.value, State.STOPPED.value])
    row = update(recordings).where(recordings.c.id == recording, recordings.c.recording_path == path, joined)
    detail = f"its file {path} was removed"
    if connection.execute(row.values(recording_path=None, detail=detail)).rowcount == 0:
        return False
    event = {
        "at": realtime,
        "kind": "result-forgotten",
        "priority": NOTICE,
        "message": f"Recording {recording} has no file any more: {path} was removed",
        "recording_id": recording,
    }
    insert_event(connection, event)
    return True


def _add(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    return int(connection.execute(insert(table).returning(table.c.id), dict(values)).scalar_one())
