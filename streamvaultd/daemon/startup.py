# SPDX-License-Identifier: GPL-3.0-or-later
"""The start says what it waits for: in the STATUS line at once, in the journal if it takes longer than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from streamvaultd.base.sd_notify import Notifier
from streamvaultd.reporting.notices import START_WAITS, Journal

T = TypeVar("T")

MOMENT: Final = 2.0
"""The journal names what takes longer than this (s)."""

WITNESS_LIMIT: Final = 5.0
"""A witness of how segments ended is waited for no longer (s): what it knows is heard when it answers."""


class Startup:
    """Waits for what the start needs."""

    def __init__(self, notifier: Notifier, journal: Journal) -> None:
        self._notifier = notifier
        self._journal = journal

    async def wait(self, what: str, work: Awaitable[T]) -> T:
        """What `work` returns or raises, and meanwhile that the start waits for `what`."""
        self._notifier.status(f"Starting: waiting for {what}")
        timer = asyncio.get_running_loop().call_later(MOMENT, self._tell, what)
        try:
            return await work
        finally:
            timer.cancel()

    def _tell(self, what: str) -> None:
        self._journal.tell(START_WAITS, what=what)
