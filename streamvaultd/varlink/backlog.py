# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for one subscriber, bounded: whoever produces never waits for whoever reads."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from streamvaultd.errors import SubscriberTooSlow

BACKLOG_MAX = 1024

T = TypeVar("T")


class Backlog(Generic[T]):
    """Iterate over it to take items in order.

    SubscriberTooSlow is raised once more than `limit` were waiting.
    """

    def __init__(self, limit: int = BACKLOG_MAX) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._ready = asyncio.Event()
        self._overrun = False

    @property
    def is_overrun(self) -> bool:
        """True when an item was lost: nothing more is kept, the subscription has failed."""
        return self._overrun

    def put(self, item: T) -> None:
        """Keep the item, or give up the subscription."""
        if len(self._items) >= self._limit:
            self._overrun = True
            self._items.clear()
        if not self._overrun:
            self._items.append(item)
        self._ready.set()

    def __aiter__(self) -> Backlog[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items and not self._overrun:
            self._ready.clear()
            await self._ready.wait()
        if self._overrun:
            raise SubscriberTooSlow(backlog=self._limit)
        return self._items.popleft()
