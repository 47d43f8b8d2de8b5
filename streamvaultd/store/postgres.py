# SPDX-License-Identifier: GPL-3.0-or-later
"""How a PostgreSQL server is reached: libpq's ways, and a password only from a file that others cannot read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, make_url, select

from streamvaultd.store.schema import meta

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

PASSFILE: Final = "pgpass"
"""The credential with the password, in the format of libpq-pgpass."""

FED_BY: Final = "fed_by"
"""Key in a catalogue's meta: the identity of the store whose copy it is."""

WRITERS: Final = 0x73747265616D76
"""Number of the lock: "streamv"."""

CONNECT_TIMEOUT: Final = 10
KEEPALIVE_IDLE: Final = 30
SILENCE_TIMEOUT_MS: Final = 60_000
"""A server that acknowledges nothing for so long is away."""
CHECK_INTERVAL_MS: Final = 10_000
"""A server gives up what it does for a connection that is gone at most so long after (PostgreSQL 14)."""


def server_url(url: str) -> URL:
    """The URL of a setting or a command line, for our driver."""
    return make_url(url).set(drivername="postgresql+psycopg")


def lock_writers(connection: Connection) -> None:
    """Wait until nobody else of us writes there, and keep them waiting until the end of this transaction.

    One lock for all tables: who feeds takes them in another order than who copies, and each would wait for the other.
    """
    connection.execute(select(func.pg_advisory_xact_lock(WRITERS)))


def read_meta(connection: Connection) -> dict[str, str]:
    """What a database says of itself, a store's as well as a catalogue's."""
    return {row.key: row.value for row in connection.execute(select(meta))}


def claim_feeding(connection: Connection, store: str) -> str | None:
    """A catalogue that nobody feeds is the store's from now on; who fed it up to now, None for nobody."""
    owner = read_meta(connection).get(FED_BY)
    if owner is None:
        connection.execute(insert(meta).values(key=FED_BY, value=store))
    return owner


def credential() -> Path | None:
    """The service's credential with the password; None if it has none, and libpq looks where it always does."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / PASSFILE if folder else None
    return file if file is not None and file.exists() else None


def arguments(
    passfile: Path | None, *, statement_timeout_ms: int, connect_timeout: int = CONNECT_TIMEOUT
) -> dict[str, object]:
    """What the driver is given to connect; a statement's timeout of 0 is none."""
    check_interval = min(CHECK_INTERVAL_MS, statement_timeout_ms or CHECK_INTERVAL_MS)
    options = {
        "statement_timeout": statement_timeout_ms,
        "client_connection_check_interval": check_interval,
        "timezone": "UTC",
    }
    found: dict[str, object] = {
        "connect_timeout": connect_timeout,
        "keepalives_idle": KEEPALIVE_IDLE,
        "tcp_user_timeout": SILENCE_TIMEOUT_MS,
        "application_name": "streamvaultd",
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    return found | ({"passfile": str(passfile)} if passfile is not None else {})
