# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on broadcasts: identity, title and category, and what a new daemon wants to know of earlier ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, cast, desc, insert, select, update

from streamvaultd.core.listing import STREAM_CHANGED
from streamvaultd.core.model import JOIN, Broadcast, Titled
from streamvaultd.core.watching.model import Ended, Past
from streamvaultd.core.watching.usual_hours import USUAL_KEPT, minute_of_day
from streamvaultd.store.ledger import insert_event, select_last_done
from streamvaultd.store.schema import events, recordings, storable, streamers, streams

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping


PAST_MAX: Final = 20_000
"""How many recordings are looked through for what is usual, the latest."""

TITLES_MAX: Final = 10_000
"""How many changes of one broadcast's title are looked at, the first."""

INFO: Final = 6


def insert_stream(connection: Connection, streamer: int, broadcast: Broadcast | None, realtime: int) -> int:
    """A new stream. One of the same identity that is still open is over: what resumes is a part of its own."""
    values: dict[str, Any] = {"streamer_id": streamer, "started_at": realtime}
    if broadcast is not None:
        values |= {
            "site_id": broadcast.site_id or None, "title": broadcast.title or None,
            "category": broadcast.category or None,
        }  # fmt: skip
    if values.get("site_id"):
        same = update(streams).where(streams.c.streamer_id == streamer, streams.c.site_id == values["site_id"])
        connection.execute(same.where(streams.c.ended_at.is_(None)).values(ended_at=realtime))
    return int(connection.execute(insert(streams).returning(streams.c.id), values).scalar_one())


def note_broadcast(connection: Connection, recording: int, broadcast: Broadcast, realtime: int) -> None:
    """Title and category of a recording's stream have changed; an event says when."""
    stream = select(recordings.c.stream_id).where(recordings.c.id == recording).scalar_subquery()
    was = select_broadcast(connection, recording)
    values = {"title": broadcast.title or None, "category": broadcast.category or None}
    if connection.execute(update(streams).where(streams.c.id == stream).values(values)).rowcount:
        told = f"'{broadcast.title}' ({broadcast.category})" if broadcast.category else f"'{broadcast.title}'"
        insert_event(
            connection,
            {
                "at": realtime, "kind": STREAM_CHANGED, "priority": INFO, "message": f"The stream is now {told}",
                "recording_id": recording,
                "fields": {
                    "title": broadcast.title, "category": broadcast.category,
                    "was_title": was.title, "was_category": was.category,
                },
            },
        )  # fmt: skip


def select_broadcast(connection: Connection, recording: int) -> Broadcast:
    """What the site said about a recording's stream."""
    columns = streams.c.site_id, streams.c.title, streams.c.category
    query = select(*columns).join(recordings, recordings.c.stream_id == streams.c.id)
    row = connection.execute(query.where(recordings.c.id == recording)).one_or_none()
    site_id, title, category = row or ("", "", "")
    return Broadcast(site_id=site_id or "", title=title or "", category=category or "")


def select_titles(connection: Connection, recording: int) -> list[Titled]:
    """What a recording's broadcast was called, in order; the first since 0, with nothing where that is not known."""
    # As text: what another hand wrote costs itself, and not all of them
    columns = events.c.at, cast(events.c.fields, Text).label("fields")
    query = select(*columns).where(events.c.recording_id == recording, events.c.kind == STREAM_CHANGED)
    rows = connection.execute(query.order_by(events.c.id).limit(TITLES_MAX)).all()
    changes = [(at, fields) for at, text in rows if (fields := _object(text)) is not None and isinstance(at, int)]
    if not changes:
        now = select_broadcast(connection, recording)
        return [Titled(0, now.title, now.category)]
    first = changes[0][1]
    found = [Titled(0, _text(first, "was_title"), _text(first, "was_category"))]
    return found + [Titled(at, _text(fields, "title"), _text(fields, "category")) for at, fields in changes]


def _object(text: str | None) -> dict[str, Any] | None:
    """The fields of an event; None where another hand wrote something else."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return storable(value) if isinstance(value, str) else ""


def describe_stream(connection: Connection, stream: int, broadcast: Broadcast, ended: int) -> None:
    """What is known of a stream that is over."""
    values = {
        "site_id": broadcast.site_id or None, "title": broadcast.title or None,
        "category": broadcast.category or None, "ended_at": ended,
    }  # fmt: skip
    connection.execute(update(streams).where(streams.c.id == stream).values(values))


def select_result_before(connection: Connection, recording: int) -> tuple[int, str] | None:
    """The latest earlier recording of the same source that has a result, and the last file of that.

    None if it is of the same broadcast, or may hold the beginning of this one: it did not end with its broadcast.
    """
    columns = recordings.c.streamer_id, recordings.c.url, streams.c.site_id
    mine = connection.execute(select(*columns).join(streams).where(recordings.c.id == recording)).mappings().first()
    if mine is None:
        return None
    wanted = (
        recordings.c.id, recordings.c.status, recordings.c.stop_reason, recordings.c.recording_path, streams.c.site_id,
    )  # fmt: skip
    same = recordings.c.streamer_id == mine["streamer_id"], recordings.c.url == mine["url"]
    earlier = select(*wanted).join(streams).where(
        *same, recordings.c.id < recording, recordings.c.recording_path.is_not(None)
    )  # fmt: skip
    found = connection.execute(earlier.order_by(desc(recordings.c.id)).limit(1)).mappings().first()
    if found is None or found["status"] != "completed" or found["stop_reason"] not in (None, "over"):
        return None
    if found["site_id"] is not None and found["site_id"] == mine["site_id"]:
        return None
    return found["id"], _last_part(connection, found["id"]) or found["recording_path"]


def _last_part(connection: Connection, recording: int) -> str | None:
    done = select_last_done(connection, recording, JOIN)
    parts = (done.result or {}).get("parts") if done else None
    whole = (
        [part for part in parts if isinstance(part, dict) and not part.get("is_kept")]
        if isinstance(parts, list)
        else []
    )
    path = whole[-1].get("path") if whole else None
    return path if isinstance(path, str) else None


def select_past(connection: Connection, realtime: int) -> dict[str, Past]:
    """What is known of each streamer, by name."""
    columns = (
        streamers.c.username, streams.c.site_id, streams.c.started_at, recordings.c.id, recordings.c.status,
        recordings.c.stop_reason, recordings.c.end_time, recordings.c.since,
    )  # fmt: skip
    query = select(*columns).select_from(recordings).join(streams).join(
        streamers, streamers.c.id == recordings.c.streamer_id
    )  # fmt: skip
    rows = connection.execute(query.order_by(desc(recordings.c.id)).limit(PAST_MAX)).mappings().all()
    latest: dict[str, RowMapping] = {}
    usual: dict[str, list[int]] = {}
    for row in rows:
        latest.setdefault(row["username"], row)
        minutes = usual.setdefault(row["username"], [])
        if len(minutes) < USUAL_KEPT:
            minutes.insert(0, minute_of_day(row["started_at"]))
    return {name: _past(row, tuple(usual[name]), realtime) for name, row in latest.items()}


def _past(row: RowMapping, usual: tuple[int, ...], realtime: int) -> Past:
    site_id = row["site_id"] or ""
    if row["status"] == "recording":
        return Past(site_id=site_id, recording=row["id"], usual=usual)
    ended = _ENDED.get(row["stop_reason"], Ended.BROADCAST)
    over = row["since"] if row["end_time"] is None else row["end_time"]
    return Past(site_id=site_id, ended=ended, ago=max(0, realtime - over) / 1e6, usual=usual)


_ENDED: Final = {
    "requested": Ended.REQUESTED, "duration": Ended.DURATION, "changed": Ended.CHANGED, "unwanted": Ended.CHANGED,
}  # fmt: skip
