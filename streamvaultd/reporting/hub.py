# SPDX-License-Identifier: GPL-3.0-or-later
"""Subscribers: each gets what happens through a queue of its own, which has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Moment, Recorder, Told
from streamvaultd.core.watching.model import Watched
from streamvaultd.errors import SubscriberTooSlow

SUBSCRIBER_BACKLOG_MAX: Final = 256
"""News that may wait for one subscriber; one that reads more slowly gets an error and is closed."""


@dataclass(frozen=True, slots=True)
class News:
    """Something was told about a recording, or its state changed (then `told` is None)."""

    at: Moment
    recorder: Recorder
    told: Told | None = None


class WholeJob(Protocol):
    """All that the store knows of a job."""

    @property
    def id(self) -> int: ...
    @property
    def recording(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def unit(self) -> str: ...
    @property
    def result(self) -> Mapping[str, object] | None: ...
    @property
    def created(self) -> int: ...
    @property
    def ended(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class JobNews:
    """A job has begun or ended."""

    job: WholeJob


@dataclass(frozen=True, slots=True)
class StreamerNews:
    """A streamer is another one to look at; or (`is_gone`) is not watched any more."""

    watched: Watched
    is_gone: bool = False


AnyNews = News | JobNews | StreamerNews


class Subscription:
    """The news for one subscriber; of streamers only `with_streamers`, for a reload may have much to tell of them."""

    def __init__(self, *, with_streamers: bool = False) -> None:
        self._with_streamers = with_streamers
        self._queue: asyncio.Queue[AnyNews] = asyncio.Queue(SUBSCRIBER_BACKLOG_MAX)
        self._overrun = False

    def put(self, news: AnyNews) -> None:
        """Queue, or remember that there was no room."""
        if isinstance(news, StreamerNews) and not self._with_streamers:
            return
        try:
            self._queue.put_nowait(news)
        except asyncio.QueueFull:
            self._overrun = True

    async def get(self) -> AnyNews:
        """The next news; raises SubscriberTooSlow once any was lost."""
        if self._overrun:
            raise SubscriberTooSlow(backlog=SUBSCRIBER_BACKLOG_MAX)
        return await self._queue.get()


class Hub:
    """Passes news on to every subscription."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, news: AnyNews) -> None:
        """Tell every subscriber, without waiting for any."""
        for subscription in self._subscriptions:
            subscription.put(news)

    def on_job(self, job: WholeJob) -> None:
        """A job has begun or ended."""
        self.publish(JobNews(job))

    @contextmanager
    def subscribe(self, *, with_streamers: bool = False) -> Iterator[Subscription]:
        """A subscription that ends with the block."""
        subscription = Subscription(with_streamers=with_streamers)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)


class Publisher:
    """Publishes how recordings are, whenever that changes."""

    def __init__(self, hub: Hub, *, recorders: Mapping[int, Recorder], clock: Clock) -> None:
        self._hub = hub
        self._recorders = recorders
        self._clock = clock

    def on_recorder(self, recorder: Recorder) -> None:
        """A recording has changed."""
        self._hub.publish(News(self._clock.now(), recorder))

    def on_progress(self, recording: int) -> None:
        """The join of a recording has come further."""
        if (recorder := self._recorders.get(recording)) is not None:
            self.on_recorder(recorder)
