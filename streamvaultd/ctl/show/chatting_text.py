# SPDX-License-Identifier: GPL-3.0-or-later
"""The chat of a recording, as `status` and `list --long` show it."""

from __future__ import annotations

from streamvaultd.base.units import format_span
from streamvaultd.ctl.record import Record
from streamvaultd.ctl.records import Fields, Recording
from streamvaultd.ctl.show.text import plural


class Chat(Record):
    """`away` in microseconds; `per_minute` and `heard` while it is captured."""

    state: str
    channel: str
    messages: int
    gaps: int
    away: int
    heard: bool | None
    per_minute: int | None
    path: str | None


def chat_of(recording: Recording) -> Chat | None:
    """None if it has none; raises BadAnswer."""
    runtime = Fields(recording.answer, "recording").child("runtime")
    if not runtime.has("chat"):
        return None
    found = runtime.child("chat")
    return Chat(
        state=found.need("state", str),
        channel=found.need("channel", str),
        messages=found.need("messages", int),
        gaps=found.need("gaps", int),
        away=found.need("awayUSec", int),
        heard=found.truth("heard"),
        per_minute=found.integer("perMinute"),
        path=found.text("path"),
    )


def chat_text(chat: Chat | None) -> str:
    """How it is, how much there is of it, and what is missing; "" if there is none."""
    if chat is None:
        return ""
    state = "not heard" if chat.heard is False else chat.state
    rate = "" if chat.per_minute is None else f", {chat.per_minute} a minute"
    gaps = f"; not heard {plural(chat.gaps, 'time')}, {format_span(chat.away)} in all" if chat.gaps else ""
    return f"{state}, {plural(chat.messages, 'message')}{rate}{gaps}" + (f"; {chat.path}" if chat.path else "")


def chat_count(recording: Recording) -> str:
    """The number of messages, for a table."""
    chat = chat_of(recording)
    return "" if chat is None else str(chat.messages)
