# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part is built on, for tests: an inbox that remembers, and tasks that are begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from streamvaultd.core.model import Recorder
from streamvaultd.core.names import ChatRun
from streamvaultd.core.recording.events import Event
from streamvaultd.recording.chat.chat_looks import ChatView
from streamvaultd.recording.inbox import Inbox
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import Journal


class Posted(Inbox):
    """Nobody takes from it; `all` is what was posted, and `events` that without the recordings' numbers."""

    def __init__(self, on_post: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.all: list[tuple[int, Event]] = []
        self._on_post = on_post

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.all]

    def post(self, recording: int, event: Event) -> None:
        self.all.append((recording, event))
        self._on_post()


class Noted(Journal):
    """Keeps what it is told; `changed` is set with each."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Entry, dict[str, object]]] = []
        self.changed = asyncio.Event()

    @property
    def whys(self) -> list[str]:
        """Why, of each."""
        return [str(values["why"]) for _, values in self.told]

    def tell(self, entry: Entry, recorder: Recorder | None = None, **values: object) -> None:
        self.told.append((entry, values))
        self.changed.set()


class Begun(list[asyncio.Task[None]]):
    """The tasks that were begun."""

    def create_task(self, work: Coroutine[Any, Any, None], /) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.append(task)
        return task


class NoChats:
    """Nobody chats."""

    known: frozenset[ChatRun] = frozenset()
    is_taken_over = True

    def view(self, recording: int) -> ChatView | None:
        return None

    async def views(self, recordings: Sequence[int]) -> Mapping[int, ChatView]:
        return {}
