# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on broadcasts: identity, title and category, and what a new daemon wants to know of earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import desc, insert, select, update

from streamvaultd.core.model import Broadcast
from streamvaultd.core.watched import Ended, Past
from streamvaultd.core.watching import USUAL_KEPT, minute_of_day
from streamvaultd.store.ledger import insert_event
from streamvaultd.store.schema import recordings, streamers, streams

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping


PAST_MAX: Final = 20_000
"""So many recordings are looked through for what is usual, the latest."""

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
    values = {"title": broadcast.title or None, "category": broadcast.category or None}
    if connection.execute(update(streams).where(streams.c.id == stream).values(values)).rowcount:
        told = f"'{broadcast.title}' ({broadcast.category})" if broadcast.category else f"'{broadcast.title}'"
        insert_event(
            connection,
            {
                "at": realtime, "kind": "stream-changed", "priority": INFO, "message": f"The stream is now {told}",
                "recording_id": recording, "fields": {"title": broadcast.title, "category": broadcast.category},
            },
        )  # fmt: skip


def select_broadcast(connection: Connection, recording: int) -> Broadcast:
    """What the site said about a recording's stream."""
    columns = streams.c.site_id, streams.c.title, streams.c.category
    query = (
        select(*columns).join(recordings, recordings.c.stream_id == streams.c.id).where(recordings.c.id == recording)
    )
    row = connection.execute(query.where(recordings.c.id == recording)).one_or_none()
    site_id, title, category = row or ("", "", "")
    return Broadcast(site_id=site_id or "", title=title or "", category=category or "")


def describe_stream(connection: Connection, stream: int, broadcast: Broadcast, ended: int) -> None:
    """What is known of a stream that is over."""
    values = {
        "site_id": broadcast.site_id or None, "title": broadcast.title or None,
        "category": broadcast.category or None, "ended_at": ended,
    }  # fmt: skip
    connection.execute(update(streams).where(streams.c.id == stream).values(values))


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
