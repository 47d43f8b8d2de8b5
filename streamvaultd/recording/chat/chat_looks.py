# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at what captures tell of themselves: for clients that ask, and for the events of holes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core import chatting
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.model import Instant, Moment
from streamvaultd.errors import StoreUnavailable
from streamvaultd.recording.chat.scoped import ChatFacts, ChatRuns
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import CHAT_GAP, CHAT_LOST, Journal

LONG: Final = 30.0
"""A chat that is not heard for so long (s) is an event before it is heard again."""

LIVE: Final = (ChatState.CAPTURING, ChatState.STOPPING)
"""A run that captures is there."""


class EventStore(Protocol):
    """Takes events; raises StoreUnavailable."""

    async def add_event(
        self, *, at: Moment, kind: str, priority: int, message: str, recording: int | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatView:
    """A chat as people see it. `rate` is messages in a minute, None where nothing is captured."""

    chat: Chat
    messages: int
    gaps: int
    away: float
    rate: float | None = None
    is_heard: bool = False


@dataclass(slots=True, kw_only=True)
class _Looked:
    """What was seen of a run at the last look."""

    run: int
    at: Instant
    facts: ChatFacts
    rate: float = 0.0
    is_told: bool = False


class ChatLooks:
    """What was seen last of each chat's run."""

    def __init__(self, *, runs: ChatRuns, store: EventStore, journal: Journal, clock: Clock) -> None:
        self._runs = runs
        self._store = store
        self._journal = journal
        self._clock = clock
        self._looked: dict[int, _Looked] = {}

    def view(self, chat: Chat) -> ChatView:
        """A chat that is not done."""
        looked = self._looked.get(chat.recording)
        if looked is None or looked.run != chat.run or chat.state not in LIVE:
            return over(chat)
        facts, hole = looked.facts, self._hole(chat, looked.facts)
        return ChatView(
            chat=chat, messages=chat.messages + facts.messages, gaps=chat.gaps + facts.gaps + (hole > 0),
            away=chat.away + facts.away + hole, rate=looked.rate, is_heard=facts.joined,
        )  # fmt: skip

    def _hole(self, chat: Chat, facts: ChatFacts) -> float:
        """For how long (s) the channel has not been heard now, if that is long."""
        since = chat.since.realtime if facts.since is None else facts.since
        away = 0.0 if facts.joined else (self._clock.now().realtime - since) / 1e6
        return away if away > LONG else 0.0

    def take_note(self, chat: Chat) -> None:
        """What a run has told of itself to an earlier daemon is not told again."""
        facts = self._runs.facts(chat.names)
        is_told = self._hole(chat, facts) > 0
        at = self._clock.now().monotonic
        self._looked[chat.recording] = _Looked(run=chat.run, at=at, facts=facts, is_told=is_told)

    async def look_at(self, chat: Chat) -> None:
        """Read what its run tells, and tell of holes."""
        now, facts = self._clock.now(), self._runs.facts(chat.names)
        before = self._looked.get(chat.recording)
        if before is None or before.run != chat.run:
            before = _Looked(run=chat.run, at=now.monotonic, facts=ChatFacts())
        elapsed = now.monotonic - before.at
        rate = (facts.messages - before.facts.messages) / elapsed * 60 if elapsed > 0 else 0.0
        looked = _Looked(run=chat.run, at=now.monotonic, facts=facts, rate=max(0.0, rate), is_told=before.is_told)
        self._looked[chat.recording] = looked
        if facts.gaps > before.facts.gaps:
            looked.is_told = False
            seconds = f"{facts.away - before.facts.away:.1f}"
            await self.tell(CHAT_GAP, chatting.GAP, chat, seconds=seconds)
        hole = self._hole(chat, facts)
        if hole > 0 and not looked.is_told:
            looked.is_told = True
            await self.tell(CHAT_LOST, chatting.LOST, chat, seconds=f"{hole:.0f}")

    async def tell(self, entry: Entry, kind: str, chat: Chat, **values: object) -> None:
        """Tell people of a chat, in the journal and as an event."""
        streamer = Path(chat.folder).name
        words = {"streamer": streamer, "recording": chat.recording, **values}
        self._journal.tell(entry, None, **words)
        message = entry.text.format_map(words)
        try:
            await self._store.add_event(
                at=self._clock.now(), kind=kind, priority=entry.priority, message=message, recording=chat.recording
            )
        except StoreUnavailable:
            return  # the journal has it

    def forget(self, recording: int) -> None:
        """Its chat is done."""
        self._looked.pop(recording, None)


def over(chat: Chat) -> ChatView:
    """A chat of which nothing runs, as far as is known."""
    return ChatView(chat=chat, messages=chat.messages, gaps=chat.gaps, away=chat.away)
