# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies a store: from SQLite to PostgreSQL and back, and from and into dumps.

What is copied is one snapshot of the source, written in one transaction of the target, and read back in it: it is
committed only if both have equal rows. Ids are kept. A row that the target has already must be equal, so a copy can be
repeated and never overwrites; only a catalogue is replaced, by the store that it is the copy of.

Where the feeding of a catalogue goes on from afterwards: the store notes changes for one catalogue (store/outbox.py).
A copy between the two, while no daemon has the store, leaves nothing to feed. In every other case more is fed than
would be needed, to the same effect, and nothing is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Final, TypeAlias

from sqlalchemy import URL, Connection, Engine, Table, delete, func, insert, select, update
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError

from streamvaultd.config.addresses import check_catalogue
from streamvaultd.errors import StoreInUse, StoreUnavailable, TransferConflict
from streamvaultd.store import dump, outbox
from streamvaultd.store.engine import create_file, hold, open_engine, shown, sqlite_url, translated, unavailable
from streamvaultd.store.mending import mended
from streamvaultd.store.outbox import TABLES
from streamvaultd.store.portable import BATCH_MAX, Row, Rows, Tally, batches, checked
from streamvaultd.store.postgres import (
    FED_BY,
    arguments,
    claim_feeding,
    credential,
    lock_writers,
    read_meta,
    server_url,
)
from streamvaultd.store.recordings import ROW_ERRORS
from streamvaultd.store.schema import events, jobs, meta, recordings, streams

Where: TypeAlias = Path | URL
"""A store's SQLite file, or a database in a PostgreSQL server."""

INSTANCE: Final = "instance"

CHANGES_MAX: Final = 20


def parse_where(text: str) -> Where:
    """The store of a path, or of a URL such as postgresql://USER@HOST/DATABASE or sqlite:///PATH.

    ValueError, which does not show it, for what is none, or has a password in it.
    """
    scheme, is_url, rest = text.partition("://")
    if not is_url or scheme == "sqlite":
        return Path(rest if is_url else text).absolute()
    try:
        return server_url(check_catalogue(text))
    except ArgumentError as error:
        raise ValueError("it is none that SQLAlchemy understands") from error


@dataclass(frozen=True, slots=True)
class Copied:
    """What source and target have in common now: rows by table, and their checksum; `added` were not there before.

    `mended` says what could not be copied as it stands in the source.
    """

    rows: Mapping[str, int]
    added: int
    sha256: str
    mended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Opened:
    engine: Engine
    is_held: bool
    """It is a SQLite store, and no other program changes it meanwhile."""

    @property
    def is_server(self) -> bool:
        return self.engine.dialect.name != "sqlite"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One state of a database: who it is, whose rows it has (of a catalogue: the store's that feeds it), and which
    changes of it were noted for a catalogue."""

    connection: Connection
    own: str
    identity: str
    noted: int


def dump_to(source: Where, file: IO[bytes]) -> Copied:
    """Write a dump of a store. Raises StoreUnavailable, StoreTooNew, and OSError for the file."""
    tally, changes = Tally(), Changes()
    with _opened_source(source, alone=False) as store, _snapshot(store) as reading:
        dump.write(file, reading.identity, tally.over(_rows(reading.connection, changes.tell)))
    return Copied(tally.rows, sum(tally.rows.values()), tally.sha256, changes.told())


def load_from(file: IO[bytes], name: str, target: Where) -> Copied:
    """Copy a dump into a store. The file is read twice; `name` is what it is called in errors.

    Raises DumpInvalid, TransferConflict, StoreUnavailable, StoreTooNew, StoreInUse, and OSError for the file.
    """
    header = dump.verify(file, name)
    file.seek(0)
    with _opened_target(target) as store, _writing(store) as writing:
        _claim(writing, header.instance)
        return _fill(writing, dump.read(file, name))


def copy(source: Where, target: Where) -> Copied:
    """Copy a store into another database, and let the one feed the other from there on.

    Raises TransferConflict, StoreUnavailable, StoreTooNew and StoreInUse.
    """
    if source == target:
        raise TransferConflict(url=_shown(target), why="it is what is to be copied")
    with _opened_target(target) as there, _opened_source(source, alone=True) as here:
        # the target first: what feeds it waits, and what it has been fed is in the snapshot
        with _writing(there) as writing, _snapshot(here) as reading:
            is_known = _claim(writing, reading.identity)
            if is_known and there.is_server and not here.is_server:
                _empty(writing, reading.connection)
            changes = Changes()
            copied = replace(_fill(writing, _rows(reading.connection, changes.tell)), mended=changes.told())
            catalogue = reading.own if here.is_server else read_meta(writing)[INSTANCE]
            if here.is_server and not there.is_server:
                outbox.settle(writing, catalogue, None)
        if here.is_held and there.is_server:
            with translated(here.engine.url), here.engine.begin() as connection:
                outbox.settle(connection, catalogue, reading.noted)
    return copied


# --- opening -----------------------------------------------------------------------------------------------------


@contextmanager
def _opened_source(where: Where, *, alone: bool) -> Iterator[_Opened]:
    """A store that is there; while a daemon has it, it is not changed in any way.

    If none has it, one that starts waits: until the end if we want to be `alone`, or have to upgrade it.
    """
    with ExitStack() as stack:
        is_held = False
        if isinstance(where, Path) and (alone or not _is_present(where)):
            with suppress(StoreInUse):
                stack.callback(os.close, hold(where))
                is_held = True
        may_upgrade = is_held or not isinstance(where, Path)
        yield _Opened(stack.enter_context(_engine(where, create=False, upgrade=may_upgrade)), is_held)


@contextmanager
def _opened_target(where: Where) -> Iterator[_Opened]:
    """A store that may be new, and that no daemon has; a file that is made for it goes if the copy fails."""
    with ExitStack() as stack:
        if isinstance(where, Path):
            is_new = not where.exists()
            create_file(where)
            stack.callback(os.close, hold(where))
            if is_new:
                stack.push(partial(_remove_if_failed, where))
                _give(where)
        yield _Opened(stack.enter_context(_engine(where, create=True, upgrade=True)), isinstance(where, Path))


def _remove_if_failed(path: Path, kind: type[BaseException] | None, *_: object) -> None:
    if kind is not None:
        path.unlink(missing_ok=True)


def _is_present(where: Path) -> bool:
    """Whether a store has the present schema."""
    try:
        with _engine(where, create=False, upgrade=False):
            return True
    except StoreInUse:  # or would be, of who upgrades it
        return False


@contextmanager
def _engine(where: Where, *, create: bool, upgrade: bool) -> Iterator[Engine]:
    if isinstance(where, Path):
        if not create and not where.exists():  # SQLite would make it
            raise unavailable(sqlite_url(where), "there is no such file")
        engine = open_engine(sqlite_url(where), create=create, upgrade=upgrade)
    else:
        given = arguments(credential(), statement_timeout_ms=0)
        engine = open_engine(where, arguments=given, create=create, upgrade=upgrade)
    try:
        yield engine
    finally:
        engine.dispose()


def _give(path: Path) -> None:
    """A file that root made belongs to whom the folder belongs to, the daemon's user; SQLite does so with its log."""
    try:
        owner = path.parent.stat()
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise StoreUnavailable(url=str(sqlite_url(path)), why=str(error.strerror)) from error


@contextmanager
def _snapshot(store: _Opened) -> Iterator[_Snapshot]:
    """A transaction that reads one state of the store, whatever is written meanwhile."""
    options = {"isolation_level": "REPEATABLE READ"} if store.is_server else {"reads": True}
    with ExitStack() as stack:
        with translated(store.engine.url):  # and no more: what is done in the transaction may concern another database
            connection = stack.enter_context(store.engine.execution_options(**options).begin())
            known = read_meta(connection)
            noted = 0 if store.is_server else outbox.newest(connection)
        yield _Snapshot(connection, known[INSTANCE], known.get(FED_BY, known[INSTANCE]), noted)


@contextmanager
def _writing(store: _Opened) -> Iterator[Connection]:
    """A transaction that nobody else of us writes beside."""
    with translated(store.engine.url), store.engine.begin() as connection:
        if store.is_server:
            lock_writers(connection)
        yield connection


# --- identities --------------------------------------------------------------------------------------------------


def _claim(connection: Connection, identity: str) -> bool:
    """Make the target that of the store with this identity; whether it was so before. Raises TransferConflict."""
    if connection.dialect.name != "sqlite":
        owner = claim_feeding(connection, identity)
        if owner not in (None, identity):
            raise _conflict(connection, f"another store ({owner}) feeds it")
        return owner is not None
    known = read_meta(connection)
    if known[INSTANCE] == identity:
        return True
    if any(_count(connection, table) for table in TABLES):
        raise _conflict(connection, f"it is another store ({known[INSTANCE]}), and not empty")
    connection.execute(update(meta).where(meta.c.key == INSTANCE).values(value=identity))
    return False


# --- rows --------------------------------------------------------------------------------------------------------


class Changes:
    """What was mended in the rows of a source, CHANGES_MAX of it in words."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._count = 0

    def tell(self, what: str) -> None:
        """One more."""
        self._count += 1
        if self._count <= CHANGES_MAX:
            self._told.append(what)

    def told(self) -> tuple[str, ...]:
        """All of it."""
        further = self._count - len(self._told)
        return (*self._told, *([f"and {further} more"] if further else []))


def _rows(connection: Connection, tell: Callable[[str], None] = lambda _what: None) -> Rows:
    """All rows of a database, in their order and their one form, mended where numbers are outside of their ranges.

    Raises StoreUnavailable for one that has none.
    """
    try:
        with translated(connection.engine.url):
            for table in TABLES:
                query = select(table).order_by(table.c.id).execution_options(yield_per=BATCH_MAX)
                for row in connection.execute(query).mappings():
                    if (fit := mended(table, dict(row), tell)) is not None:
                        yield table, checked(table, fit)
    except ROW_ERRORS as error:  # a row that another hand wrote
        raise unavailable(connection.engine.url, str(error)) from error


def _fill(connection: Connection, rows: Rows) -> Copied:
    """Put rows into the target, and make sure that it has them, and no others."""
    tally, added = Tally(), 0
    for table, batch in batches(tally.over(rows)):
        added += _put(connection, table, batch)
    for table in TABLES:
        if more := _count(connection, table) - tally.rows[table.name]:
            raise _conflict(connection, f"it has {more} rows of {table.name} that are not in what is copied")
    copied = Tally()
    for _ in copied.over(_rows(connection)):
        pass
    if copied.sha256 != tally.sha256:
        raise _conflict(connection, "it does not give back what was written")
    if connection.dialect.name != "sqlite":
        _advance_numbers(connection)
    return Copied(tally.rows, added, tally.sha256)


def _put(connection: Connection, table: Table, batch: list[Row]) -> int:
    """Insert the rows that are not there; raises TransferConflict if one is there and differs."""
    same = select(table).where(table.c.id.in_([row["id"] for row in batch]))
    try:
        there = {row["id"]: checked(table, dict(row)) for row in connection.execute(same).mappings()}
    except ROW_ERRORS as error:
        raise _conflict(connection, str(error)) from error
    for row in batch:
        if row["id"] in there and there[row["id"]] != row:
            raise _conflict(connection, f"row {row['id']} of {table.name} differs from what is there")
    missing = [row for row in batch if row["id"] not in there]
    try:
        if missing:
            connection.execute(insert(table), missing)
    except (IntegrityError, DataError) as error:  # whose text may show values
        raise _conflict(connection, f"a row of {table.name} is refused") from error
    return len(missing)


def _empty(connection: Connection, source: Connection) -> None:
    """Make room for a later state of the very same store. Raises TransferConflict if what is there is the later one.

    That is so if the store was restored from an older dump. Rows of these tables are never deleted.
    """
    for table in (streams, recordings, jobs, events):
        if _highest(connection, table) > _highest(source, table):
            raise _conflict(connection, f"it has newer rows of {table.name} than what is copied; import it instead")
    for table in reversed(TABLES):
        connection.execute(delete(table))


def _highest(connection: Connection, table: Table) -> int:
    with translated(connection.engine.url):
        return int(connection.scalar(select(func.max(table.c.id))) or 0)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _advance_numbers(connection: Connection) -> None:
    """PostgreSQL's sequences know nothing of ids that were given: the next number is one that is free."""
    for table in TABLES:
        if highest := _highest(connection, table):
            sequence = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(select(func.setval(sequence, highest)))


def _conflict(connection: Connection, why: str) -> TransferConflict:
    return TransferConflict(url=_shown(connection.engine.url), why=why)


def _shown(where: Where) -> str:
    return shown(sqlite_url(where) if isinstance(where, Path) else where)
