# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders as they are when somebody looks: with the sizes of now, and with how far their joins are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from streamvaultd.api.views import View, chat_view, recording_view, segment_view
from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.errors import StoreUnavailable
from streamvaultd.jobs.progress import Headway
from streamvaultd.recording.chat.chat_looks import ChatView
from streamvaultd.recording.glance import Sizes
from streamvaultd.recording.ports import RecordingFiles


class Joins(Protocol):
    """The joins that run."""

    def of(self, recording: int) -> Headway | None:
        """How far the join of a recording is, if one runs."""


class Processes(Protocol):
    """Who runs in which unit."""

    def pid(self, key: str) -> int | None: ...


class Memory(Protocol):
    """How much memory a unit uses, and how much it may: bytes, if they are known."""

    def used(self, unit: str) -> tuple[int | None, int | None]: ...


class Segments:
    """Makes Segments of the segments of recorders."""

    def __init__(self, *, files: RecordingFiles, processes: Processes, memory: Memory) -> None:
        self._files = files
        self._processes = processes
        self._memory = memory

    def view(self, recorder: Recorder, index: int) -> View:
        """A Segment."""
        segment = recorder.segments[index]
        path = str(self._files.segment_path(recorder.recording, segment.number))
        unit = recorder.run(segment.number).unit
        memory = self._memory.used(unit) if segment.phase.is_live else (None, None)
        return segment_view(recorder, segment, path, self._processes.pid(unit), memory)


class Chats(Protocol):
    """The chats of recordings."""

    def view(self, recording: int) -> ChatView | None: ...
    async def views(self, recordings: Sequence[int]) -> Mapping[int, ChatView]: ...


class Presenter:
    """Makes Recordings of recorders."""

    def __init__(self, *, clock: Clock, sizes: Sizes, joins: Joins, chats: Chats) -> None:
        self._clock = clock
        self._sizes = sizes
        self._joins = joins
        self._chats = chats

    async def fresh(self, recorder: Recorder) -> Recorder:
        """The recorder with the sizes that its files have now."""
        return await self._sizes.fresh(recorder)

    async def recording(self, recorder: Recorder) -> View:
        """A Recording of what the files hold now."""
        view = self.known(await self._sizes.fresh(recorder))
        if recorder.recording.policy.chat and "chat" not in view["runtime"]:
            await self.with_chats([view])
        return view

    async def recordings(self, recorders: Sequence[Recorder]) -> list[View]:
        """Recordings, all looked at side by side."""
        return await asyncio.gather(*map(self.recording, recorders))

    async def with_chats(self, views: Sequence[View]) -> Sequence[View]:
        """These Recordings, each with its chat if it has one."""
        try:
            chats = await self._chats.views([view["id"] for view in views])
        except StoreUnavailable:  # what is known without it is shown
            return views
        for view in views:
            if (chat := chats.get(view["id"])) is not None:
                runtime = view["runtime"]
                is_gone = runtime["state"] in ("completed", "stopped") and "path" not in runtime
                runtime["chat"] = chat_view(chat, is_gone=is_gone)
        return views

    def known(self, recorder: Recorder) -> View:
        """A Recording of what is known without a look."""
        number = recorder.recording.id
        view, chat = recording_view(recorder, self._clock.now(), self._joins.of(number)), self._chats.view(number)
        view["runtime"] |= {} if chat is None else {"chat": chat_view(chat)}
        return view
