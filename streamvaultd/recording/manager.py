# SPDX-License-Identifier: GPL-3.0-or-later
"""The only mutable state: the recorders, one queue of events, one deadline.

Events are taken one at a time; each goes through core.step(), and the effects are handed to the executor in order.
What they lead to comes back as another event. Waiting is one timer for the earliest deadline of all recorders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Instant, Recorder
from streamvaultd.core.recording.deadlines import due
from streamvaultd.core.recording.effects import Effect
from streamvaultd.core.recording.events import Event
from streamvaultd.core.recording.machine import step
from streamvaultd.recording.inbox import Inbox, Queued, Recorders


class Executor(Protocol):
    """Performs effects, in order; returns when the saves among them are durable and the rest is under way."""

    async def perform(self, recorder: Recorder, effects: tuple[Effect, ...]) -> None: ...


class Manager:
    """Owns every recorder that is not settled, and listens to the latest that are."""

    def __init__(self, *, executor: Executor, clock: Clock, inbox: Inbox, recorders: Recorders) -> None:
        self._executor = executor
        self._clock = clock
        self._inbox = inbox
        self._recorders = recorders
        self._busy_since: Instant | None = None

    @property
    def recorders(self) -> Mapping[int, Recorder]:
        """Every recorder that is not settled, by the recording's number."""
        return self._recorders

    def known(self, recording: int) -> Recorder | None:
        """See Recorders.known()."""
        return self._recorders.known(recording)

    def take(self, recorder: Recorder) -> None:
        """See Recorders.take()."""
        self._recorders.take(recorder)

    def post(self, recording: int, event: Event) -> None:
        """See Inbox.post()."""
        self._inbox.post(recording, event)

    async def submit(self, recording: int, event: Event) -> Recorder | None:
        """See Inbox.submit()."""
        return await self._inbox.submit(recording, event)

    def stuck_for(self) -> float:
        """Seconds since the manager took up the event that it still deals with; 0 while it waits for one."""
        return 0.0 if self._busy_since is None else self._clock.now().monotonic - self._busy_since

    async def run(self) -> None:
        """Deal with events and deadlines until cancelled."""
        while True:
            entry = await self._next_entry()
            self._busy_since = self._clock.now().monotonic
            if entry is not None:
                await self._handle(entry)
                self._inbox.is_done()
            await self._fire_deadlines()
            self._busy_since = None

    async def drain(self) -> None:
        """Deal with everything that is queued now; not while run() does."""
        while not self._inbox.is_empty:
            await self._handle(await self._inbox.next())
            self._inbox.is_done()

    @property
    def is_idle(self) -> bool:
        """Nothing is queued, and nothing is being dealt with."""
        return self._inbox.is_empty and self._busy_since is None

    async def settle(self) -> None:
        """Wait until run() has dealt with everything that is queued."""
        await self._inbox.settle()

    async def _next_entry(self) -> Queued | None:
        """The next event, None when a deadline passes first."""
        earliest = min(self._recorders.deadlines.values(), default=None)
        wait = None if earliest is None else max(0.0, earliest - self._clock.now().monotonic)
        try:
            async with asyncio.timeout(wait):
                return await self._inbox.next()
        except TimeoutError:
            return None

    async def _fire_deadlines(self) -> None:
        now = self._clock.now()
        for recording in [r for r, instant in self._recorders.deadlines.items() if instant <= now.monotonic]:
            recorder = self._recorders.get(recording)
            event = due(recorder, now) if recorder else None
            if event is not None:
                await self._handle(Queued(recording, event))

    async def _handle(self, entry: Queued) -> None:
        before = self.known(entry.recording)
        after = None
        if before is not None:
            after, effects = step(before, entry.event)
            self._recorders.keep(after)
            await self._executor.perform(after, effects)
            if after != before:
                self._recorders.tell(after)
        if entry.done is not None and not entry.done.done():
            entry.done.set_result(after)
