# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process that asks hears by itself of Twitch's channels, until it is taken up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

HINTS_MAX: Final = 1000
"""More that wait are left out: a hint only hastens the next look."""


class Hints:
    """One queue of them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(HINTS_MAX)

    def put(self, login: str, kind: str) -> None:
        """There is something to be seen of a channel; never waits."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait((login, kind))

    async def next(self) -> tuple[str, str]:
        """The login of a channel, and what there is to be seen."""
        return await self._queue.get()
