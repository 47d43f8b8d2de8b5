# SPDX-License-Identifier: GPL-3.0-or-later
"""A store that feeds a catalogue in a real PostgreSQL, and the comparison of the two."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.store.catalogue import BATCH_MAX, Catalogue
from streamvaultd.store.feeder import FeedTiming
from streamvaultd.store.local import LocalStore
from streamvaultd.store.outbox import Batch
from tests.component.store_world import DATABASES, NOW, open_store
from tests.testbed.postgres import DATABASE, Postgres
from tests.testbed.tables import ASK_POSTGRESQL, ASK_SQLITE, NAMES, differences

IMPATIENT = FeedTiming(connect=2, statement=1.0, batch=3.0, pauses=(0.1,))


class Told:
    """The store as the catalogue sees it; tells when it has been fed, and keeps the sizes of the batches."""

    def __init__(self, store: LocalStore, fed: asyncio.Event, batch: int) -> None:
        self._store = store
        self._fed = fed
        self._batch = batch
        self.outbox_backlog = store.outbox_backlog
        self.outbox_claim = store.outbox_claim
        self.written = store.written
        self.sizes: list[int] = []
        self.tries = 0

    async def instance(self) -> str:
        self.tries += 1
        self._fed.set()
        return await self._store.instance()

    async def outbox_batch(self, limit: int) -> Batch | None:
        batch = await self._store.outbox_batch(min(limit, self._batch))
        if batch is not None:
            self._fed.set()
            self.sizes.append(sum(map(len, batch.rows.values())) + sum(map(len, batch.gone.values())))
        return batch

    async def outbox_forget(self, last: int) -> None:
        await self._store.outbox_forget(last)
        self._fed.set()


class Feeding:
    """A store, and the catalogue that it feeds."""

    def __init__(
        self,
        store: LocalStore,
        url: str,
        *,
        passfile: Path | None = None,
        limits: FeedTiming | None = None,
        batch: int = BATCH_MAX,
    ) -> None:
        self.store = store
        self.troubles: list[str] = []
        self.wells: list[int] = []
        self.changed = asyncio.Event()
        self.told = Told(store, self.changed, batch)
        self.catalogue = Catalogue(
            url, self.told, passfile=passfile, on_trouble=self.on_trouble, on_well=self.on_well, limits=limits
        )
        self.task = asyncio.get_running_loop().create_task(self.catalogue.run())

    def on_trouble(self, why: str) -> None:
        self.troubles.append(why)
        self.changed.set()

    def on_well(self, backlog: int) -> None:
        self.wells.append(backlog)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def settled(self) -> None:
        """Everything is fed."""
        async with asyncio.timeout(90):
            while await self.store.outbox_backlog():
                await self.changed.wait()
                self.changed.clear()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def feeding(
    store: LocalStore,
    url: str,
    *,
    passfile: Path | None = None,
    limits: FeedTiming | None = None,
    batch: int = BATCH_MAX,
) -> AsyncIterator[Feeding]:
    """The catalogue is fed meanwhile."""
    under_way = Feeding(store, url, passfile=passfile, limits=limits, batch=batch)
    try:
        yield under_way
    finally:
        await under_way.close()


@asynccontextmanager
async def store_in(folder: Path) -> AsyncIterator[LocalStore]:
    """A new store that notes what changes."""
    store = await open_store(DATABASES["sqlite"](folder))
    await store.feed_catalogue(wanted=True)
    yield store
    await store.close()


async def fed(store: LocalStore, server: Postgres) -> None:
    """Feed what there is."""
    async with feeding(store, server.url) as under_way:
        await under_way.settled()


def assert_equal(server: Postgres, folder: Path, database: str = DATABASE) -> None:
    """Every row of every table has the same values in both."""
    ask = [sys.executable, "-c", ASK_SQLITE, str(folder / "store.db"), *NAMES]
    store = json.loads(subprocess.run(ask, check=True, capture_output=True).stdout)
    assert any(store.values())
    assert differences(store, json.loads(server.psql(ASK_POSTGRESQL, database))) == []


def write_directly(folder: Path, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """As many rows as you like in one transaction."""
    with sqlite3.connect(folder / "store.db", timeout=10) as database:
        database.executemany(statement, rows)
    database.close()


async def finish(store: LocalStore, recorder: Recorder) -> Recorder:
    segment = Segment(number=1, phase=Phase.ENDED, since=NOW, started=NOW, ended=NOW, size=5, cause="oom")
    done = replace(recorder, state=State.COMPLETED, segments=(segment,), path="/x.ts", ended=NOW)
    await store.save(done, (segment,))
    return done
