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
import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from sqlalchemy import delete, insert, select, text
from sqlalchemy.dialects import postgresql

from streamvaultd.errors import StoreTooNew, StoreUnavailable
from streamvaultd.store.engine import open_engine, translated, unavailable
from streamvaultd.store.outbox import TABLES, Batch
from streamvaultd.store.schema import meta
from streamvaultd.store.server import arguments, lock_writers, server_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection, Engine

CHANNEL: Final = "streamvault"
FED_BY: Final = "fed_by"
"""Key in a catalogue's meta: the identity of the store whose copy it is."""

BATCH_MAX: Final = 500
"""Changes in one transaction: read in some milliseconds of the store's thread."""

STATEMENT_TIMEOUT_MS: Final = 60_000
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
IDS_TOLD_MAX: Final = 100
"""In one NOTIFY, whose payload must be shorter than 8000 bytes (sql-notify)."""


Result = TypeVar("Result")


class Outbox(Protocol):
    """The local store, as far as it is needed here. Raises StoreUnavailable."""

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
    ) -> None:
        self._url = server_url(url)
        self._outbox = outbox
        self._passfile = passfile
        self._on_trouble = on_trouble
        self._on_well = on_well
        self._changed = asyncio.Event()
        self._engine: Engine | None = None
        self._has_ended = False
        self._lock = threading.Lock()
        """held while one of the two above changes hands between the loop and the feeding thread"""
        self._trouble: str | None = None

    def poke(self) -> None:
        """The local store has changed."""
        self._changed.set()

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
                    await self._wait(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                    tries += 1
                else:
                    await self._changed.wait()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._has_ended = True
            if self._engine is not None:
                self._engine.dispose()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()

    async def _feed_all(self) -> None:
        self._changed.clear()
        if self._engine is None:
            instance = await self._outbox.instance()
            await self._outbox.outbox_claim(await _in_thread(partial(self._connect, instance)))
        while (batch := await self._outbox.outbox_batch(BATCH_MAX)) is not None:
            await _in_thread(partial(self._feed, batch))
            await self._outbox.outbox_forget(batch.last)
        if self._trouble is not None:
            self._trouble = None
            self._on_well(await self._outbox.outbox_backlog())

    def _note_trouble(self, why: str) -> None:
        if self._trouble is None:
            self._on_trouble(why)
        self._trouble = why

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _connect(self, instance: str) -> str:
        """Connect, bring the schema up to date, and make sure that no other store feeds the same catalogue.

        Returns the catalogue's identity.
        """
        given = arguments(self._passfile, statement_timeout_ms=STATEMENT_TIMEOUT_MS)
        engine = open_engine(self._url, arguments=given)
        catalogue = self._with(engine, lambda connection: claim(connection, instance))
        self._keep(engine)
        return catalogue

    def _feed(self, batch: Batch) -> None:
        engine, self._engine = self._engine, None  # until this has gone well: after trouble, all is looked at anew
        if engine is not None:  # the daemon has not ended
            self._with(engine, lambda connection: _apply(connection, batch))
            self._keep(engine)

    def _with(self, engine: Engine, work: Callable[[Connection], Result]) -> Result:
        try:
            with translated(engine.url), engine.begin() as connection:
                return work(connection)
        except BaseException:
            engine.dispose()
            raise

    def _keep(self, engine: Engine) -> None:
        with self._lock:  # nobody may wait for this thread any more
            if self._has_ended:
                engine.dispose()
            else:
                self._engine = engine


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Run it in a thread that ends with the process, and wait for it; its errors are raised here."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def conclude(told: Callable[[], None]) -> None:
        if not done.done():  # somebody still waits
            told()

    def run() -> None:
        try:
            told = partial(done.set_result, work())
        except BaseException as error:
            told = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: the daemon has ended
            loop.call_soon_threadsafe(conclude, told)

    threading.Thread(target=run, name="catalogue", daemon=True).start()
    return await done


def claim(connection: Connection, instance: str) -> str:
    """The catalogue's identity. It belongs to the store that first fed it; another one's rows would overwrite it."""
    lock_writers(connection)
    known = {row.key: row.value for row in connection.execute(select(meta))}
    owner = known.get(FED_BY)
    if owner is None:
        connection.execute(insert(meta).values(key=FED_BY, value=instance))
    elif owner != instance:
        raise unavailable(connection.engine.url, f"another store ({owner}) feeds it; give this one its own database")
    return str(known["instance"])


def _apply(connection: Connection, batch: Batch) -> None:
    """Make the batch's rows in the catalogue what they are in the store, and tell listeners."""
    lock_writers(connection)
    for table in reversed(TABLES):
        if ids := batch.gone.get(table.name):
            connection.execute(delete(table).where(table.c.id.in_(ids)))
    for table in TABLES:
        if rows := batch.rows.get(table.name):
            upsert = postgresql.insert(table)
            changed = {column.name: upsert.excluded[column.name] for column in table.c if column.name != "id"}
            connection.execute(upsert.on_conflict_do_update(index_elements=[table.c.id], set_=changed), rows)
    for table in TABLES:
        ids = [row["id"] for row in batch.rows.get(table.name, ())] + list(batch.gone.get(table.name, ()))
        for start in range(0, len(ids), IDS_TOLD_MAX):
            payload = json.dumps({"table": table.name, "ids": ids[start : start + IDS_TOLD_MAX]})
            connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})
