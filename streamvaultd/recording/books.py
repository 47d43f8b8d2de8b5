# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of recordings: their rows, and what was announced.

A save that fails does not stop a capture: it is an event, kept, and tried again until the store takes it, whole.
"""

from __future__ import annotations

import asyncio
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.model import Recorder, Segment
from streamvaultd.core.recording import effects as fx
from streamvaultd.errors import StoreUnavailable
from streamvaultd.recording.ports import RecordingStore
from streamvaultd.reporting.hub import Hub, News
from streamvaultd.reporting.notices import STORE_FAILED, Journal

SAVE_RETRY: Final = 2.0
"""Seconds between tries to save what the store did not take."""


class Books:
    """Saves and announces."""

    def __init__(self, *, store: RecordingStore, journal: Journal, hub: Hub, clock: Clock, tasks: Tasks) -> None:
        self._store = store
        self._journal = journal
        self._hub = hub
        self._clock = clock
        self._tasks = tasks
        self._unsaved: dict[int, Recorder] = {}

    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        """Durable when this returns, unless the store is away; then it is tried again until it is."""
        recording = recorder.recording.id
        whole = recorder.segments if recording in self._unsaved else changed
        try:
            await self._store.save(recorder, whole)
        except StoreUnavailable as error:
            if recording not in self._unsaved:
                self._journal.tell(STORE_FAILED, recorder, why=error)
                self._tasks.create_task(self._save_later(recording))
            self._unsaved[recording] = recorder
        else:
            self._unsaved.pop(recording, None)

    async def _save_later(self, recording: int) -> None:
        while recording in self._unsaved:
            await asyncio.sleep(SAVE_RETRY)
            recorder = self._unsaved.get(recording)
            if recorder is not None:
                await self.save(recorder, recorder.segments)

    async def announce(self, recorder: Recorder, announce: fx.Announce) -> None:
        """Tell the journal and subscribers; then the store."""
        at = self._clock.now()
        told = self._journal.announce(recorder, announce)
        self._hub.publish(News(at, recorder, told))
        try:
            await self._store.add_event(
                at=at,
                kind=told.kind,
                priority=told.priority,
                message=told.message,
                recording=recorder.recording.id,
                segment=told.attempt,
                cause=told.cause,
            )
        except StoreUnavailable:
            return  # the journal has it; the save says that the store fails
