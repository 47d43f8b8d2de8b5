# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue in PostgreSQL: the same tables as the local store, fed from its outbox, in order and idempotently.

It is never on the capture path (P9): the local store is the truth, and this feeds what has changed whenever the server
can be reached. One batch is one transaction there; only when it is committed are its notes forgotten here, so a crash
in between feeds the same rows once more, to the same effect. Each batch ends with NOTIFY streamvault and the changed
tables' names and ids, for who wants to LISTEN.

Everything that talks to the server blocks, in a thread that the daemon does not wait for when it ends: a server that
does not answer must not hold that up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from streamvaultd.base.threads import in_thread
from streamvaultd.errors import StoreTooNew, StoreUnavailable
from streamvaultd.store.feeder import Feeder, FeedTiming

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamvaultd.store.outbox import Batch

BATCH_MAX: Final = 500
"""Changes in one transaction: read in some milliseconds of the store's thread."""
SMALLER: Final = 8
"""After trouble this many times fewer are tried: a server may be too slow for as many. Each success doubles them."""

Result = TypeVar("Result")


class Outbox(Protocol):
    """The local store, as far as it is needed here; `written` is set by every change. Raises StoreUnavailable."""

    @property
    def written(self) -> asyncio.Event: ...
    async def instance(self) -> str: ...
    async def outbox_claim(self, catalogue: str) -> None: ...
    async def outbox_backlog(self) -> int: ...
    async def outbox_batch(self, limit: int) -> Batch | None: ...
    async def outbox_forget(self, last: int) -> None: ...


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """How the catalogue is: `backlog` changes are not in it yet; `trouble` says why, None while all is well."""

    backlog: int
    trouble: str | None


class Catalogue:
    """Feeds the catalogue. `on_trouble(why)` is called once when that fails, `on_well(backlog)` when it goes on."""

    def __init__(
        self,
        url: str,
        outbox: Outbox,
        *,
        passfile: Path | None,
        on_trouble: Callable[[str], None],
        on_well: Callable[[int], None],
        limits: FeedTiming | None = None,
    ) -> None:
        self._outbox = outbox
        self._on_trouble = on_trouble
        self._on_well = on_well
        self._limits = limits or FeedTiming()
        self._feeder = Feeder(url, passfile=passfile, limits=self._limits)
        self._batch = BATCH_MAX
        self._trouble: str | None = None

    async def state(self) -> CatalogueState:
        """How it is now."""
        return CatalogueState(await self._outbox.outbox_backlog(), self._trouble)

    async def run(self) -> None:
        """Feed whatever changes, for ever; a server that is away is tried again, later and later up to a minute."""
        tries = 0
        try:
            while True:
                try:
                    await self._feed_all()
                    tries = 0
                except (StoreUnavailable, StoreTooNew) as error:
                    self._note_trouble(str(error))
                    await asyncio.sleep(self._limits.pauses[min(tries, len(self._limits.pauses) - 1)])
                    tries += 1
                else:
                    await self._outbox.written.wait()
        finally:
            self._feeder.end()

    async def _feed_all(self) -> None:
        self._outbox.written.clear()
        instance = await self._outbox.instance()
        if (catalogue := await self._in_time(partial(self._feeder.connect, instance))) is not None:
            await self._outbox.outbox_claim(catalogue)
        while (batch := await self._outbox.outbox_batch(self._batch)) is not None:
            await self._in_time(partial(self._feeder.feed, batch))
            await self._outbox.outbox_forget(batch.last)
            self._batch = min(BATCH_MAX, 2 * self._batch)
        if self._trouble is not None:
            self._trouble = None
            self._on_well(await self._outbox.outbox_backlog())

    async def _in_time(self, work: Callable[[], Result]) -> Result:
        too_late = asyncio.get_running_loop().call_later(self._limits.batch, self._feeder.hang_up)
        try:
            return await in_thread("catalogue", work)
        finally:
            too_late.cancel()

    def _note_trouble(self, why: str) -> None:
        self._batch = max(1, self._batch // SMALLER)
        if self._trouble is None:
            self._on_trouble(why)
        self._trouble = why
