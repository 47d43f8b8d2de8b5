# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists before the manager: the events that wait for it, and the recorders, which others read and it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Instant, Phase, Recorder
from streamvaultd.core.recording.deadlines import next_deadline
from streamvaultd.core.recording.events import Event, HostStays, HostStopping, NetworkBack

SETTLED_KEPT: Final = 100
"""How many of the recordings that were settled last are still listened to: a scope of theirs may start too late."""


@dataclass(frozen=True, slots=True)
class Queued:
    """An event of a recording; `done` gets what came of it."""

    recording: int
    event: Event
    done: asyncio.Future[Recorder | None] | None = None


class Inbox:
    """Events that wait, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Queued] = asyncio.Queue()

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return self._queue.empty()

    def post(self, recording: int, event: Event) -> None:
        """Queue an event; one for a recording that is neither owned nor was settled lately is dropped."""
        self._queue.put_nowait(Queued(recording, event))

    async def submit(self, recording: int, event: Event) -> Recorder | None:
        """Queue an event and wait until it is dealt with and saved; the recorder after it, None if it is not known."""
        done: asyncio.Future[Recorder | None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Queued(recording, event, done))
        return await done

    async def next(self) -> Queued:
        """The next event; `is_done()` is to be called when it is dealt with."""
        return await self._queue.get()

    def is_done(self) -> None:
        """One of those that were handed out is dealt with."""
        self._queue.task_done()

    async def settle(self) -> None:
        """Wait until all are dealt with."""
        await self._queue.join()


class Recorders(Mapping[int, Recorder]):
    """Every recorder that is not settled, by the recording's number; `listeners` hear of each change."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock
        self._unsettled: dict[int, Recorder] = {}
        self._settled: dict[int, Recorder] = {}
        self.deadlines: dict[int, Instant] = {}
        self.listeners: list[Callable[[Recorder], None]] = []
        self.is_host_stopping = False

    def __getitem__(self, recording: int) -> Recorder:
        return self._unsettled[recording]

    def __iter__(self) -> Iterator[int]:
        return iter(self._unsettled)

    def __len__(self) -> int:
        return len(self._unsettled)

    def known(self, recording: int) -> Recorder | None:
        """The recorder of this number, if it is not settled, or was settled lately."""
        return self._unsettled.get(recording) or self._settled.get(recording)

    def take(self, recorder: Recorder) -> None:
        """Have this recorder from now on."""
        self.keep(recorder)
        if self.is_host_stopping:
            self._inbox.post(recorder.recording.id, HostStopping(at=self._clock.now()))

    def on_shutdown(self) -> None:
        """The machine goes down: tell all recorders, and those that are taken from now on."""
        self.is_host_stopping = True
        self.post_to_all(HostStopping(at=self._clock.now()))

    def on_shutdown_cancelled(self) -> None:
        """It stays up after all."""
        self.is_host_stopping = False
        self.post_to_all(HostStays(at=self._clock.now()))

    def post(self, recording: int, event: Event) -> None:
        """See Inbox.post()."""
        self._inbox.post(recording, event)

    def on_network_back(self) -> None:
        """A link or a route is there that was not."""
        self.post_to_all(NetworkBack(at=self._clock.now()))

    def post_to_all(self, event: Event) -> None:
        """Queue an event for each of them."""
        for recording in self:
            self._inbox.post(recording, event)

    def keep(self, recorder: Recorder) -> None:
        """Keep a recorder as it is now, as long as something may still happen to it."""
        recording = recorder.recording.id
        self._settled.pop(recording, None)
        if _is_settled(recorder):
            self._unsettled.pop(recording, None)
            self.deadlines.pop(recording, None)
            self._settled[recording] = recorder
            if len(self._settled) > SETTLED_KEPT:
                del self._settled[next(iter(self._settled))]
            return
        self._unsettled[recording] = recorder
        instant = next_deadline(recorder)
        if instant is None:
            self.deadlines.pop(recording, None)
        else:
            self.deadlines[recording] = instant

    def tell(self, recorder: Recorder) -> None:
        """Tell the listeners that this one has changed."""
        for listener in self.listeners:
            listener(recorder)


def _is_settled(recorder: Recorder) -> bool:
    """Whether a recording is over and nothing is left to tidy up."""
    if not recorder.state.is_final:
        return False
    return recorder.path is None or all(segment.phase is Phase.REMOVED for segment in recorder.segments)
