# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a database: how it is connected, whether it is ours, and that its schema is the present one.

SQLite runs in WAL mode with synchronous=FULL, so a committed transaction survives power loss (sqlite.org/pragma.html
and sqlite.org/wal.html). Its driver would begin transactions late and commit before DDL; here every transaction is
begun explicitly, so that an upgrade of the schema is one of them.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DBAPIError, OperationalError

from streamvaultd.base.durable import sync_folder
from streamvaultd.errors import StoreInUse, StoreTooNew, StoreUnavailable
from streamvaultd.store.schema import HEAD, REVISIONS, meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_MS: Final = 5000
"""How long a transaction waits for another process that holds the database, such as an administrator's sqlite3."""


def sqlite_url(path: Path) -> URL:
    """The URL of the SQLite database in a file."""
    return URL.create("sqlite", database=str(path))


def open_engine(
    url: URL,
    *,
    arguments: Mapping[str, object] | None = None,
    create: bool = True,
    upgrade: bool = True,
    on_connect: Callable[[Any, object], None] | None = None,
) -> Engine:
    """An engine of one connection, for use in one thread, whose database has the present schema.

    Creates an empty database's tables if it may, and upgrades older ones if it may, all or nothing. `arguments` are
    for the driver, `on_connect` is given its connection. Raises StoreTooNew and StoreInUse, having changed nothing,
    and StoreUnavailable for what cannot be opened or is not a store.
    """
    with translated(url):
        # parameters may hold URLs with credentials: they stay out of error texts
        engine = create_engine(
            url, pool_size=1, max_overflow=0, hide_parameters=True, connect_args=dict(arguments or {})
        )
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        if on_connect is not None:
            event.listen(engine, "connect", on_connect)
        try:
            with engine.connect() as connection:
                prepare(connection, create=create, upgrade=upgrade)
        except BaseException:
            engine.dispose()
            raise
    return engine


def create_file(path: Path) -> None:
    """Create an empty database file that only its owner can read, durably; an existing one stays as it is.

    Not to be called while the database is open: closing the file would drop SQLite's locks (fcntl(2)).
    Raises StoreUnavailable.
    """
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_WRONLY, 0o600))
        sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(url=str(sqlite_url(path)), why=str(error.strerror)) from error


def hold(path: Path, *, wait: bool = False) -> int:
    """Lock a store's file for the one program that changes it: a descriptor that keeps the lock until it is closed.

    flock(2) on the file itself, which SQLite's own locks know nothing of. Take it before the database is opened, and
    close it after: closing a descriptor of the file drops SQLite's locks. Raises StoreUnavailable, and StoreInUse
    unless it is to wait for the other program.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreUnavailable(url=str(sqlite_url(path)), why=str(error.strerror)) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(fd)
        raise StoreInUse(url=str(sqlite_url(path))) from error
    if not (path.exists() and path.samefile(f"/proc/self/fd/{fd}")):  # an import that failed takes its new file away
        os.close(fd)
        raise StoreUnavailable(url=str(sqlite_url(path)), why="it was removed while it was waited for")
    return fd


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turns what the database's driver raises into StoreUnavailable."""
    try:
        yield
    except DBAPIError as error:
        raise unavailable(url, _words(error.orig)) from error


def _words(error: object) -> str:
    """What a driver says, in one line; what PostgreSQL tells besides (DETAIL) may show whole rows."""
    said = getattr(getattr(error, "diag", None), "message_primary", None) or error
    return " ".join(str(said).split())


def unavailable(url: URL, why: str) -> StoreUnavailable:
    """The error of a database."""
    return StoreUnavailable(url=shown(url), why=why)


def shown(url: URL) -> str:
    """As people write it, without the password that it may hold."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def schema_revision(connection: Connection) -> str | None:
    """The revision of the tables, None of an empty database; StoreUnavailable if they are somebody else's."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if not {"alembic_version", meta.name} <= tables:
        raise unavailable(connection.engine.url, "it is another program's database")
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    if len(found) != 1:
        raise unavailable(connection.engine.url, f"its schema has {len(found)} versions instead of one")
    return str(found[0])


def prepare(connection: Connection, *, create: bool = True, upgrade: bool = True) -> None:
    """Make sure that the database has the present schema. Raises StoreTooNew, StoreInUse and StoreUnavailable."""
    with connection.begin():
        found = schema_revision(connection)
    url = shown(connection.engine.url)
    if found is None and not create:
        raise unavailable(connection.engine.url, "it is empty")
    if found is not None and found not in REVISIONS:
        raise StoreTooNew(url=url, found=found, known=HEAD)
    if found != HEAD and not upgrade:
        raise StoreInUse(url=url)
    if found != HEAD:
        _upgrade(connection)
    if connection.dialect.name == "sqlite":
        _set_wal(connection)


def _upgrade(connection: Connection) -> None:
    # importing Alembic takes as long as all the rest of the start, which rarely needs it
    from streamvaultd.store.migrate import upgrade

    # a table that SQLite rebuilds is dropped, and with keys enforced its dependents' rows would go with it
    _pragma(connection, "foreign_keys = OFF")
    with connection.begin():
        upgrade(connection)
        if connection.execute(select(meta).where(meta.c.key == "instance")).first() is None:
            connection.execute(insert(meta).values(key="instance", value=str(uuid.uuid4())))
        _check_keys(connection)
    _pragma(connection, "foreign_keys = ON")


def _check_keys(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise unavailable(connection.engine.url, f"a row of {broken[0]} refers to nothing")


def _set_wal(connection: Connection) -> None:
    mode = _pragma(connection, "journal_mode = WAL")
    if mode != "wal":
        raise unavailable(connection.engine.url, f"it stays in journal mode {mode}: its file system cannot do WAL")


def _pragma(connection: Connection, text: str) -> Any:
    """Run a pragma that must not run inside a transaction; does nothing on other databases."""
    if connection.dialect.name != "sqlite":
        return None
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA {text}")
        row = cursor.fetchone()
    except connection.dialect.loaded_dbapi.Error as error:
        raise OperationalError(f"PRAGMA {text}", None, error) from error
    finally:
        cursor.close()
    return row[0] if row is not None else None


def _set_up_sqlite(driver: Any, _record: object) -> None:
    # the driver begins nothing by itself: _begin_sqlite does
    driver.isolation_level = None
    driver.text_factory = bytes.decode  # its own complains of the whole database when a text is none
    try:
        for pragma in ("synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {BUSY_TIMEOUT_MS}"):
            driver.execute(f"PRAGMA {pragma}")
    except BaseException:
        # SQLAlchemy before 2.1 would leave it open
        driver.close()
        raise


def _begin_sqlite(connection: Connection) -> None:
    # a transaction that reads first and writes then could meet another writer in between and fail at once
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads") else "BEGIN IMMEDIATE")
