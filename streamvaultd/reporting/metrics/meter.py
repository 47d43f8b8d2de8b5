# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the figures for metrics, and keeps those who ask for them from being a burden.

Sums over the store are taken at most every FRESH seconds, however often is asked, and never waited for longer than
STORE_LIMIT: captures use the same thread. Providing metrics may fail: the journal says so once, and it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

from streamvaultd import __version__
from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Instant, Recorder
from streamvaultd.core.watching.model import Mood
from streamvaultd.errors import StoreUnavailable
from streamvaultd.reporting.metrics.figures import Catalogue, DiskFigures, Snapshot, Stored, snapshot
from streamvaultd.reporting.notices import METRICS_FAILED, Journal

FRESH: Final = 5.0
STORE_LIMIT: Final = 5.0
TEXTFILE_INTERVAL: Final = 15.0
RETRY_INTERVAL: Final = 60.0


class FiguresStore(Protocol):
    """Raises StoreUnavailable."""

    async def figures(self) -> Stored: ...


class Disks(Protocol):
    """The disks that are recorded to."""

    def outlook(self) -> Iterable[tuple[str, int, float]]:
        """A folder on each, its free bytes, and in how many seconds it is full."""


class Feeding(Protocol):
    """What feeds the catalogue."""

    async def state(self) -> Catalogue:
        """Raises StoreUnavailable."""


class Streamlinks(Protocol):
    """The streamlink that is used."""

    @property
    def trouble(self) -> str | None: ...


class Watched(Protocol):
    """One who is watched."""

    @property
    def mood(self) -> Mood: ...


class Watches(Protocol):
    """Who is watched."""

    @property
    def watched(self) -> Mapping[str, Watched]: ...


class Meter:
    """Takes a snapshot of everything that metrics tell."""

    def __init__(
        self,
        *,
        store: FiguresStore,
        recorders: Mapping[int, Recorder],
        disks: Disks,
        catalogue: Feeding | None,
        streamlinks: Streamlinks,
        watches: Watches,
        clock: Clock,
    ) -> None:
        self._store = store
        self._recorders = recorders
        self._disks = disks
        self._catalogue = catalogue
        self._streamlinks = streamlinks
        self._watches = watches
        self._clock = clock
        self._turn = asyncio.Lock()
        self._taken_at: Instant | None = None
        self._stored: Stored | None = None
        self._backlog: Catalogue | None = None
        self._is_store_up = False

    async def snapshot(self) -> Snapshot:
        """The figures now."""
        async with self._turn:
            now = self._clock.now().monotonic
            if self._taken_at is None or now - self._taken_at >= FRESH:
                await self._ask_store()
                self._taken_at = self._clock.now().monotonic
        return snapshot(
            version=__version__,
            stored=self._stored,
            store_up=self._is_store_up,
            recorders=self._recorders.values(),
            disks=[DiskFigures(place=place, free=free, left=left) for place, free, left in self._disks.outlook()],
            catalogue=self._backlog,
            streamlink_trouble=self._streamlinks.trouble is not None,
            moods=[each.mood for each in self._watches.watched.values()],
        )

    async def _ask_store(self) -> None:
        try:
            async with asyncio.timeout(STORE_LIMIT):
                self._stored = await self._store.figures()
                self._backlog = None if self._catalogue is None else await self._catalogue.state()
        except (StoreUnavailable, TimeoutError):
            self._is_store_up = False
        else:
            self._is_store_up = True


async def provide(what: str, work: Callable[[], Awaitable[None]], pause: float, journal: Journal) -> None:
    """Do `work` for ever, again `pause` seconds after it is done. A failure is told once, until it goes well again."""
    is_told = False
    while True:
        wait = pause
        try:
            await work()
        except OSError as error:
            if not is_told:
                journal.tell(METRICS_FAILED, what=what, why=error.strerror or error)
            is_told, wait = True, max(pause, RETRY_INTERVAL)
        else:
            is_told = False
        await asyncio.sleep(wait)
