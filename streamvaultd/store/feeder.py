# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue's server: connects to it, brings its schema up to date, and makes rows what they are in the store.

All of this blocks; it is called in one thread at a time, which only `hang_up()` may be called beside. The server ends
statements that take too long by itself (statement_timeout); one that has stopped, or a network that swallows all, does
not, so that who waits for it has to hang up.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import UniqueConstraint, delete, text, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streamvaultd.errors import StoreUnavailable
from streamvaultd.store.engine import open_engine, translated, unavailable
from streamvaultd.store.outbox import TABLES, Batch
from streamvaultd.store.postgres import CONNECT_TIMEOUT, arguments, claim_feeding, lock_writers, read_meta, server_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine, Table

CHANNEL: Final = "streamvault"
IDS_TOLD_MAX: Final = 100
"""In one NOTIFY, whose payload must be shorter than 8000 bytes (sql-notify)."""
UNFORESEEN: Final = (SQLAlchemyError, ImportError, UnicodeError)
"""What else may be amiss, such as a driver that is not installed: the catalogue's trouble only."""

for _library in ("psycopg", "sqlalchemy.pool"):
    # what they warn of is in the errors that they raise, and each of those is told once
    logging.getLogger(_library).setLevel(logging.CRITICAL)

REFERRED_TO: Final = frozenset(key.column.table for table in TABLES for key in table.foreign_keys)
"""Tables whose rows are never replaced by others: what refers to them would go with them."""


@dataclass(frozen=True, slots=True)
class FeedTiming:
    """How long (s) the server may take, and the pauses between two tries, the last of which is repeated."""

    connect: int = CONNECT_TIMEOUT
    statement: float = 60.0
    batch: float = 180.0
    pauses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Feeder:
    """Feeds batches to a database. Each new connection, after trouble or a restart there, looks at all anew."""

    def __init__(self, url: str, *, passfile: Path | None, limits: FeedTiming) -> None:
        self._url = server_url(url)
        self._passfile = passfile
        self._limits = limits
        self._lock = threading.Lock()
        """held while one of the following changes hands between threads"""
        self._engine: Engine | None = None
        self._line: socket.socket | None = None
        self._was_hung_up = False
        self._has_ended = False

    def connect(self, instance: str) -> str | None:
        """Be connected: the schema is the present one, and no store but `instance` feeds the same catalogue.

        Returns the catalogue's identity; None if the earlier connection is still there. Raises StoreUnavailable and
        StoreTooNew.
        """
        with self._held() as engine:
            if engine is not None and _is_alive(engine):
                self._keep(engine)
                return None
            self._dispose(engine)
        with self._held():
            engine = open_engine(self._url, arguments=self._arguments(), on_connect=self._note_line)
            try:
                with translated(self._url), engine.begin() as connection:
                    catalogue = claim(connection, instance)
            except BaseException:
                engine.dispose()
                raise
            self._keep(engine)
        return catalogue

    def feed(self, batch: Batch) -> None:
        """Make the batch's rows there what they are in the store: all of them, or none if it raises.

        Raises StoreUnavailable.
        """
        with self._held() as engine:
            if engine is not None:  # it has not ended
                with translated(self._url), engine.begin() as connection:
                    apply(connection, batch)
                self._keep(engine)

    @contextmanager
    def _held(self) -> Iterator[Engine | None]:
        """What there is, for one piece of work, which keeps it when all has gone well."""
        with self._lock:
            engine, self._engine, self._was_hung_up = self._engine, None, False
        try:
            yield engine
        except BaseException as error:
            self._dispose(engine)
            if self._was_hung_up and isinstance(error, StoreUnavailable):
                raise unavailable(self._url, f"a batch was not through in {self._limits.batch:g} s") from error
            if isinstance(error, UNFORESEEN):
                raise unavailable(self._url, f"{type(error).__name__}: {error}") from error
            raise

    def _keep(self, engine: Engine) -> None:
        with self._lock:  # nobody may wait for this thread any more
            if not self._has_ended:
                self._engine = engine
                return
        self._dispose(engine)

    def hang_up(self) -> None:
        """End what `feed()` waits for: it raises."""
        with self._lock:
            self._was_hung_up = True
            self._cut()

    def end(self) -> None:
        """Disconnect, at once or when the present batch is through; nothing may be fed any more."""
        with self._lock:
            self._has_ended = True
            engine, self._engine = self._engine, None
        if engine is not None:
            self._dispose(engine)

    def _dispose(self, engine: Engine | None) -> None:
        if engine is not None:
            engine.dispose()
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def _note_line(self, driver: Any, _record: object) -> None:
        with self._lock:
            if self._line is not None:
                self._line.close()
            # a descriptor of our own: its number cannot become another connection's before it is closed
            self._line = socket.socket(fileno=os.dup(driver.fileno()))
            if self._was_hung_up:
                self._cut()

    def _cut(self) -> None:
        if self._line is not None:
            with suppress(OSError):  # it is not connected any more
                self._line.shutdown(socket.SHUT_RDWR)

    def _arguments(self) -> dict[str, object]:
        timeout = round(self._limits.statement * 1000)
        return arguments(self._passfile, statement_timeout_ms=timeout, connect_timeout=self._limits.connect)


def _is_alive(engine: Engine) -> bool:
    """Whether the connection of an earlier batch is still there: that a server was restarted is no trouble."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        return False
    return True


def claim(connection: Connection, instance: str) -> str:
    """The catalogue's identity. It belongs to the store that first fed it; another one's rows would overwrite it."""
    lock_writers(connection)
    owner = claim_feeding(connection, instance)
    if owner not in (None, instance):
        raise unavailable(connection.engine.url, f"another store ({owner}) feeds it; give this one its own database")
    return read_meta(connection)["instance"]


def apply(connection: Connection, batch: Batch) -> None:
    """Make the batch's rows in the catalogue what they are in the store, and tell listeners."""
    lock_writers(connection)
    for table in reversed(TABLES):
        if ids := batch.gone.get(table.name):
            connection.execute(delete(table).where(table.c.id.in_(ids)))
    for table in TABLES:
        if rows := batch.rows.get(table.name):
            if table not in REFERRED_TO:
                _make_way(connection, table, rows)
            upsert = postgresql.insert(table)
            changed = {column.name: upsert.excluded[column.name] for column in table.c if column.name != "id"}
            connection.execute(upsert.on_conflict_do_update(index_elements=[table.c.id], set_=changed), rows)
    for table in TABLES:
        ids = [row["id"] for row in batch.rows.get(table.name, ())] + list(batch.gone.get(table.name, ()))
        for start in range(0, len(ids), IDS_TOLD_MAX):
            payload = json.dumps({"table": table.name, "ids": ids[start : start + IDS_TOLD_MAX]})
            connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def _make_way(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Remove rows that now have another key, or are gone, and stand where one of these belongs.

    The store gives numbers of removed rows to new ones, such as a later join's seams, and what became of the others
    may be told by a later batch: it inserts them again.
    """
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            key = [*constraint.columns]
            places = [tuple(row[column.name] for column in key) for row in rows]
            owners = [(*place, row["id"]) for place, row in zip(places, rows, strict=True)]
            wrong = tuple_(*key).in_(places) & tuple_(*key, table.c.id).not_in(owners)
            connection.execute(delete(table).where(wrong))
