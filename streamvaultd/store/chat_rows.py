# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements on chats, and what a row of one means. Each function is one part of its caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from streamvaultd.core import ranges
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.store.schema import CHAT_UNFINISHED, chats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from streamvaultd.core.model import Moment


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


def select_unfinished_chats(connection: Connection, now: Moment) -> list[Chat]:
    """Those with which something still has to happen; a row that means nothing is left out."""
    found = connection.execute(select(chats).where(CHAT_UNFINISHED).order_by(chats.c.id)).mappings()
    return [chat for row in found if (chat := _parsed(row, now)) is not None]


def select_chats(connection: Connection, recordings: Iterable[int], now: Moment) -> dict[int, Chat]:
    """The chats of these recordings, as far as they have one."""
    found = connection.execute(select(chats).where(chats.c.recording_id.in_(list(recordings)))).mappings()
    parsed = [_parsed(row, now) for row in found]
    return {chat.recording: chat for chat in parsed if chat is not None}


def _parsed(row: Mapping[Any, Any], now: Moment) -> Chat | None:
    """None for a row that another hand has written."""
    texts = (row["site"], row["channel"], row["folder"])
    numbers = ((row["run"], ranges.COUNT), (row["messages"], ranges.COUNT), (row["gaps"], ranges.COUNT))
    is_sound = all(isinstance(text, str) for text in texts) and row["state"] in set(ChatState)
    if not is_sound or not all(type(value) is int and allowed.holds(value) for value, allowed in numbers):
        return None
    if not isinstance(row["away"], int | float) or not isinstance(row["path"], str | None):
        return None
    return Chat(
        recording=row["recording_id"],
        site=row["site"],
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
        detail=row["detail"],
    )
