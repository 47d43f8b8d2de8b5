# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogue has not been told yet: which rows have changed, in order.

Triggers of the local database (sqlite.org/lang_createtrigger.html) note each change in the very transaction that
makes it, so nothing can be changed and not noted. A note names a row, not its content: who feeds the catalogue reads
the row as it is then, so a row that changed ten times is fed once, and feeding it twice does no harm. Each function is
one part of its caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select, text

from streamvaultd.store.schema import meta, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

TABLES: Final = tuple(table for table in metadata.sorted_tables if table.name != meta.name)
"""What the catalogue holds, each after those that its rows refer to."""

_CHANGES: Final = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"}
_NOTE: Final = 'INSERT INTO outbox ("table", "row")'
_CREATE: Final = (
    'CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, "table" TEXT NOT NULL, "row" INTEGER NOT NULL)'
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Changed rows as they are now, by table, and the ids of those that are gone; `last` is the newest note in it.

    Values are as the tables' columns give them in Python.
    """

    last: int
    rows: Mapping[str, list[dict[str, Any]]]
    gone: Mapping[str, list[int]]


def attach(connection: Connection) -> None:
    """Note changes from now on; the first time, everything that is there is noted as changed."""
    if _is_attached(connection):
        return
    connection.execute(text(_CREATE))
    for table in TABLES:
        connection.execute(text(f"{_NOTE} SELECT '{table.name}', id FROM {table.name}"))  # noqa: S608 - our own names
        for change, which in _CHANGES.items():
            head = f"CREATE TRIGGER {_trigger(table.name, change)} AFTER {change} ON {table.name}"
            connection.execute(text(f"{head} BEGIN {_NOTE} VALUES ('{table.name}', {which}.id); END"))


def detach(connection: Connection) -> None:
    """Note nothing any more, and forget what was noted."""
    if not _is_attached(connection):
        return
    for table in TABLES:
        for change in _CHANGES:
            connection.execute(text(f"DROP TRIGGER {_trigger(table.name, change)}"))
    connection.execute(text("DROP TABLE outbox"))


def backlog(connection: Connection) -> int:
    """How many changes the catalogue has not been told."""
    return int(connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())


def next_batch(connection: Connection, limit: int) -> Batch | None:
    """The oldest notes, at most `limit`; None when there are none."""
    query = text('SELECT seq, "table", "row" FROM outbox ORDER BY seq LIMIT :limit')
    notes = connection.execute(query, {"limit": limit}).all()
    wanted: dict[str, set[int]] = {}
    for _, table, row in notes:
        wanted.setdefault(table, set()).add(row)
    if not wanted:
        return None
    rows: dict[str, list[dict[str, Any]]] = {}
    gone: dict[str, list[int]] = {}
    for table in [each for each in TABLES if each.name in wanted]:
        ids = sorted(wanted[table.name])
        now = select(table).where(table.c.id.in_(bindparam("ids", expanding=True))).order_by(table.c.id)
        found = [dict(row) for row in connection.execute(now, {"ids": ids}).mappings()]
        rows[table.name] = found
        gone[table.name] = sorted(set(ids) - {row["id"] for row in found})
    return Batch(notes[-1].seq, rows, gone)


def forget(connection: Connection, last: int) -> None:
    """The catalogue has everything up to this note."""
    connection.execute(text("DELETE FROM outbox WHERE seq <= :last"), {"last": last})


def _trigger(table: str, change: str) -> str:
    return f"outbox_{table}_{change.lower()}"


def _is_attached(connection: Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'outbox'"
    return bool(connection.execute(text(query)).scalar_one())
