# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on streamers, streams, recordings and segments. Each function is one part of its caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import and_, desc, insert, select, update

from streamvaultd.core.model import Recorder, Recording, State
from streamvaultd.errors import AlreadyRecording, NoSuchRecording, RecordingUnreadable
from streamvaultd.store.broadcasts import insert_stream
from streamvaultd.store.rows import parse_recorder, parse_segment, recording_values, segment_values
from streamvaultd.store.schema import KEPT, recordings, segments, streamers, streams

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Table

    from streamvaultd.core.model import Broadcast, Segment
    from streamvaultd.store.rows import Present

_UNFINISHED = ("recording", "finalizing")
_JOINED = ("completed", "stopped")

RUNNING: ColumnElement[bool] = recordings.c.status.in_(_UNFINISHED)
"""Recordings with which something still has to happen."""

TO_CLEAN: ColumnElement[bool] = and_(
    recordings.c.status.in_(_JOINED),
    recordings.c.recording_path.is_not(None),
    recordings.c.id.in_(select(segments.c.recording_id).where(KEPT)),
)
"""Recordings that are joined, but whose segments are not removed yet."""


Unreadable: TypeAlias = tuple[int, str]
"""The number of a recording whose rows hold no recorder, and why."""

Readable: TypeAlias = tuple[list[Recorder], list[Unreadable]]

ROW_ERRORS: Final = (ValueError, TypeError)
"""What reading a value raises that its column cannot hold: ours are ValueErrors, the types' of SQLAlchemy are both."""


@dataclass(frozen=True, slots=True)
class RowContext:
    """Where rows are written: the boot, and where segments' files are."""

    boot: str
    paths: Callable[[Recording, int], str]


def insert_recording(
    connection: Connection, wanted: Recording, boot: str, broadcast: Broadcast | None = None
) -> Recorder:
    """A new stream and recording of a streamer, who is created or gets the new URL; the ids in `wanted` are ignored.

    Raises AlreadyRecording.
    """
    streamer = _put_streamer(connection, wanted)
    of_streamer = recordings.c.streamer_id == streamer
    running = connection.scalar(select(recordings.c.id).where(of_streamer, recordings.c.status == "recording"))
    if running is not None:
        raise AlreadyRecording(streamer=wanted.streamer, recording=running)
    stream = insert_stream(connection, streamer, broadcast, wanted.created.realtime)
    recorder = Recorder(recording=wanted, state=State.STARTING, since=wanted.created)
    keys = {"stream_id": stream, "streamer_id": streamer}
    recording = _insert(connection, recordings, **keys, **recording_values(recorder, boot))
    return replace(recorder, recording=replace(wanted, id=recording, stream=stream))


def update_recording(
    connection: Connection, recorder: Recorder, changed: tuple[Segment, ...], place: RowContext
) -> None:
    """Write a recorder's row and the rows of the changed segments, new ones included; raises NoSuchRecording."""
    wanted = recorder.recording
    row = update(recordings).where(recordings.c.id == wanted.id)
    if connection.execute(row, recording_values(recorder, place.boot)).rowcount == 0:
        raise NoSuchRecording(recording=str(wanted.id))
    for segment in changed:
        _put_segment(connection, wanted, segment, place)
    if recorder.ended is not None:
        stream = update(streams).where(streams.c.id == wanted.stream)
        connection.execute(stream.values(ended_at=recorder.ended.realtime))


def select_recorders(
    connection: Connection, which: ColumnElement[bool], present: Present, *, limit: int | None = None
) -> list[Recorder]:
    """Recorders with all their segments, newest first, in two statements however many there are.

    Raises one of ROW_ERRORS for a row that holds no recorder.
    """
    chosen = select(recordings.c.id).join(streamers).where(which).order_by(desc(recordings.c.id)).limit(limit)
    rows = connection.execute(
        select(recordings, streamers.c.username)
        .join(streamers)
        .where(recordings.c.id.in_(chosen))
        .order_by(desc(recordings.c.id))
    )
    parts = connection.execute(
        select(segments)
        .where(segments.c.recording_id.in_(chosen))
        .order_by(segments.c.recording_id, segments.c.number)
    )
    by_recording = {
        recording: tuple(parse_segment(part, present) for part in group)
        for recording, group in groupby(parts.mappings(), key=lambda part: part["recording_id"])
    }
    return [parse_recorder(row, by_recording.get(row["id"], ()), present) for row in rows.mappings()]


def select_readable(
    connection: Connection, which: ColumnElement[bool], present: Present, *, limit: int | None = None
) -> Readable:
    """As select_recorders(), but rows that hold no recorder are left out and told of."""
    try:
        return select_recorders(connection, which, present, limit=limit), []
    except ROW_ERRORS:
        return _select_singly(connection, which, present, limit)


def _select_singly(
    connection: Connection, which: ColumnElement[bool], present: Present, limit: int | None
) -> Readable:
    chosen = select(recordings.c.id).join(streamers).where(which).order_by(desc(recordings.c.id)).limit(limit)
    found: list[Recorder] = []
    unreadable: list[Unreadable] = []
    for recording in connection.scalars(chosen).all():
        try:
            found += select_recorders(connection, recordings.c.id == recording, present)
        except ROW_ERRORS as error:
            unreadable.append((recording, str(error)))
    return found, unreadable


def select_recorder(connection: Connection, which: ColumnElement[bool], present: Present) -> Recorder | None:
    """The newest of these recorders; raises RecordingUnreadable."""
    found, unreadable = select_readable(connection, which, present, limit=1)
    for recording, why in unreadable:
        raise RecordingUnreadable(recording=recording, why=why)
    return found[0] if found else None


def _put_streamer(connection: Connection, wanted: Recording) -> int:
    known = connection.scalar(
        update(streamers)
        .where(streamers.c.username == wanted.streamer)
        .values(url=wanted.url)
        .returning(streamers.c.id)
    )
    if known is not None:
        return int(known)
    return _insert(connection, streamers, username=wanted.streamer, url=wanted.url, created_at=wanted.created.realtime)


def _put_segment(connection: Connection, wanted: Recording, segment: Segment, place: RowContext) -> None:
    path = place.paths(wanted, segment.number)
    values = segment_values(segment, recording=wanted.id, path=path, boot=place.boot)
    keys = {"recording_id": wanted.id, "number": segment.number}
    row = update(segments).where(segments.c.recording_id == wanted.id, segments.c.number == segment.number)
    if connection.execute(row, values).rowcount == 0:
        _insert(connection, segments, **keys, **values)


def _insert(connection: Connection, table: Table, **values: Any) -> int:
    return int(connection.execute(insert(table).returning(table.c.id), values).scalar_one())
