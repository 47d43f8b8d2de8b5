# SPDX-License-Identifier: GPL-3.0-or-later
"""The only mutable state: the recorders, one queue of events, one deadline.

Events are taken one at a time; each goes through core.step(), and the effects are handed to the executor in order.
What they lead to comes back as another event. Waiting is one timer for the earliest deadline of all recorders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Instant, Phase, Recorder
from streamvaultd.core.recording.deadlines import due, next_deadline
from streamvaultd.core.recording.effects import Effect
from streamvaultd.core.recording.events import Event, HostStays, HostStopping
from streamvaultd.core.recording.machine import step

SETTLED_KEPT: Final = 100
"""So many recordings that were settled last are still listened to: a scope of theirs may start too late."""


class Executor(Protocol):
    """Performs effects, in order; returns when the saves among them are durable and the rest is under way."""

    async def perform(self, recorder: Recorder, effects: tuple[Effect, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    recording: int
    event: Event
    done: asyncio.Future[Recorder | None] | None = None


class Manager:
    """Owns every recorder that is not settled, and listens to the latest that are."""

    def __init__(self, *, executor: Executor, clock: Clock, on_change: Callable[[Recorder], None]) -> None:
        self._executor = executor
        self._clock = clock
        self._on_change = on_change
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue()
        self._recorders: dict[int, Recorder] = {}
        self._settled: dict[int, Recorder] = {}
        self._deadlines: dict[int, Instant] = {}
        self._busy_since: Instant | None = None
        self.is_host_stopping = False

    @property
    def recorders(self) -> Mapping[int, Recorder]:
        """Every recorder that is not settled, by the recording's number."""
        return self._recorders

    def known(self, recording: int) -> Recorder | None:
        """The recorder of this number, if it is not settled, or was settled lately."""
        return self._recorders.get(recording) or self._settled.get(recording)

    def take(self, recorder: Recorder) -> None:
        """Own this recorder from now on."""
        self._remember(recorder)
        if self.is_host_stopping:
            self.post(recorder.recording.id, HostStopping(at=self._clock.now()))

    def on_shutdown(self) -> None:
        """The machine goes down: tell all recorders, and those that are taken from now on."""
        self.is_host_stopping = True
        self._post_to_all(HostStopping(at=self._clock.now()))

    def on_shutdown_cancelled(self) -> None:
        """It stays up after all."""
        self.is_host_stopping = False
        self._post_to_all(HostStays(at=self._clock.now()))

    def _post_to_all(self, event: Event) -> None:
        for recording in self._recorders:
            self.post(recording, event)

    def post(self, recording: int, event: Event) -> None:
        """Queue an event; one for a recording that is neither owned nor was settled lately is dropped."""
        self._queue.put_nowait(_Entry(recording, event))

    async def submit(self, recording: int, event: Event) -> Recorder | None:
        """Queue an event and wait until it is dealt with and saved; the recorder after it, None if it is not known."""
        done: asyncio.Future[Recorder | None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Entry(recording, event, done))
        return await done

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
                self._queue.task_done()
            await self._fire_deadlines()
            self._busy_since = None

    async def drain(self) -> None:
        """Deal with everything that is queued now; not while run() does."""
        while not self._queue.empty():
            await self._handle(self._queue.get_nowait())
            self._queue.task_done()

    @property
    def is_idle(self) -> bool:
        """Nothing is queued, and nothing is being dealt with."""
        return self._queue.empty() and self._busy_since is None

    async def settle(self) -> None:
        """Wait until run() has dealt with everything that is queued."""
        await self._queue.join()

    async def _next_entry(self) -> _Entry | None:
        """The next event, None when a deadline passes first."""
        earliest = min(self._deadlines.values(), default=None)
        wait = None if earliest is None else max(0.0, earliest - self._clock.now().monotonic)
        try:
            async with asyncio.timeout(wait):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def _fire_deadlines(self) -> None:
        now = self._clock.now()
        for recording in [r for r, instant in self._deadlines.items() if instant <= now.monotonic]:
            recorder = self._recorders.get(recording)
            event = due(recorder, now) if recorder else None
            if event is not None:
                await self._handle(_Entry(recording, event))

    async def _handle(self, entry: _Entry) -> None:
        before = self.known(entry.recording)
        after = None
        if before is not None:
            after, effects = step(before, entry.event)
            self._remember(after)
            await self._executor.perform(after, effects)
            if after != before:
                self._on_change(after)
        if entry.done is not None and not entry.done.done():
            entry.done.set_result(after)

    def _remember(self, recorder: Recorder) -> None:
        """Keep a recorder as long as something may still happen to it."""
        recording = recorder.recording.id
        self._settled.pop(recording, None)
        if _is_settled(recorder):
            self._recorders.pop(recording, None)
            self._deadlines.pop(recording, None)
            self._settled[recording] = recorder
            if len(self._settled) > SETTLED_KEPT:
                del self._settled[next(iter(self._settled))]
            return
        self._recorders[recording] = recorder
        instant = next_deadline(recorder)
        if instant is None:
            self._deadlines.pop(recording, None)
        else:
            self._deadlines[recording] = instant


def _is_settled(recorder: Recorder) -> bool:
    """Whether a recording is over and nothing is left to tidy up."""
    if not recorder.state.is_final:
        return False
    return recorder.path is None or all(segment.phase is Phase.REMOVED for segment in recorder.segments)
