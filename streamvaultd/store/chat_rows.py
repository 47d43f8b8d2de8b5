# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on chats, and what a row of one means. Each function is one part of its caller's transaction."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select, update

from streamvaultd.core import ranges
from streamvaultd.core.chat_wanted import CHANNEL
from streamvaultd.core.chatting import NUMBER_MAX, Chat, ChatState
from streamvaultd.core.ranges import Range
from streamvaultd.store.recordings import ROW_ERRORS
from streamvaultd.store.schema import CHAT_UNFINISHED, chats, recordings, streamers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection, TextClause

    from streamvaultd.core.model import Moment


_CHATS: Final = (
    select(chats, recordings.c.directory, streamers.c.username)
    .join(recordings, recordings.c.id == chats.c.recording_id)
    .join(streamers, streamers.c.id == recordings.c.streamer_id)
)
_RANGES: Final = {
    "run": Range(0, NUMBER_MAX - 1), "messages": ranges.COUNT, "gaps": ranges.COUNT, "away": ranges.SECONDS,
    "bytes": ranges.BYTES,
}  # fmt: skip


def save_chat(connection: Connection, chat: Chat) -> None:
    """Write the row of a recording's chat, of which there is one at most."""
    values = {
        "site": chat.site,
        "channel": chat.channel,
        "folder": chat.folder,
        "state": chat.state.value,
        "since": chat.since.realtime,
        "run": chat.run,
        "messages": chat.messages,
        "gaps": chat.gaps,
        "away": chat.away,
        "path": chat.path,
        "bytes": chat.size,
        "detail": chat.detail,
    }
    known = update(chats).where(chats.c.recording_id == chat.recording).values(**values)
    if connection.execute(known).rowcount == 0:
        connection.execute(insert(chats).values(recording_id=chat.recording, **values))


def forget_chat_file(connection: Connection, recording: int) -> None:
    """A chat that is done has no file any more."""
    of_recording = update(chats).where(chats.c.recording_id == recording, chats.c.state == ChatState.DONE.value)
    connection.execute(of_recording.values(path=None, bytes=None))


def select_unfinished_chats(connection: Connection, now: Moment) -> list[Chat]:
    """Those with which something still has to happen; a row that means nothing is left out."""
    return _readable(connection, CHAT_UNFINISHED, now)


def select_chats(connection: Connection, numbers: Iterable[int], now: Moment) -> dict[int, Chat]:
    """The chats of these recordings, as far as they have one."""
    return {chat.recording: chat for chat in _readable(connection, chats.c.recording_id.in_(list(numbers)), now)}


def _readable(connection: Connection, which: ColumnElement[bool] | TextClause, now: Moment) -> list[Chat]:
    chosen = select(chats.c.id).where(which)
    try:
        return _of(connection, chats.c.id.in_(chosen), now)
    except ROW_ERRORS:
        found: list[Chat] = []
        for number in connection.scalars(chosen.order_by(chats.c.id)).all():
            with suppress(*ROW_ERRORS):
                found += _of(connection, chats.c.id == number, now)
        return found


def _of(connection: Connection, which: ColumnElement[bool], now: Moment) -> list[Chat]:
    """Raises one of ROW_ERRORS."""
    return [_parsed(row, now) for row in connection.execute(_CHATS.where(which).order_by(chats.c.id)).mappings()]


def _parsed(row: Mapping[Any, Any], now: Moment) -> Chat:
    """Raises one of ROW_ERRORS for a row that another hand has written."""
    folder = f"{row['directory']}/{row['username']}"
    for name, allowed in _RANGES.items():
        is_whole = name == "away" or isinstance(row[name], int)
        if not (name == "bytes" and row[name] is None) and not (is_whole and allowed.holds(row[name])):
            raise ValueError(name)
    if not CHANNEL.fullmatch(row["channel"]) or str(Path(row["folder"])) != str(Path(folder)):
        raise ValueError(row["channel"], row["folder"])
    if row["path"] is not None and str(Path(row["path"]).parent) != str(Path(folder)):
        raise ValueError(row["path"])
    return Chat(
        recording=row["recording_id"],
        site=_text(row["site"]),
        channel=row["channel"],
        folder=row["folder"],
        state=ChatState(row["state"]),
        since=now.dated(row["since"]),
        run=row["run"],
        messages=row["messages"],
        gaps=row["gaps"],
        away=float(row["away"]),
        path=row["path"],
        size=row["bytes"],
        detail=None if row["detail"] is None else _text(row["detail"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
