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

from sqlalchemy import bindparam, delete, insert, select, text

from streamvaultd.store.mending import mended
from streamvaultd.store.schema import meta, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table

TABLES: Final = tuple(table for table in metadata.sorted_tables if table.name != meta.name)
"""What the catalogue holds, each after those that its rows refer to."""

FEEDS: Final = "feeds"
"""Key in meta: the identity of the catalogue for which changes are noted, once it was reached."""

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
    """Note changes from now on; of a table whose changes were not noted, all rows are noted as changed.

    These are all tables the first time, and later those that an upgrade has made, or has made anew.
    """
    for table in _complete(connection):
        _note_all(connection, table)


def claim(connection: Connection, catalogue: str) -> None:
    """What is noted is for the catalogue of this identity; if it was for another one, everything is noted anew."""
    known = _catalogue(connection)
    if known == catalogue:
        return
    if known is not None:
        connection.execute(text("DELETE FROM outbox"))
        for table in TABLES:
            _note_all(connection, table)
    _remember(connection, catalogue)


def settle(connection: Connection, catalogue: str, last: int | None) -> None:
    """The catalogue of this identity has everything, or what was noted up to `last`: feeding goes on from there."""
    if not _is_attached(connection):
        _complete(connection)
    elif last is None:
        connection.execute(text("DELETE FROM outbox"))
    else:
        forget(connection, last)
    _remember(connection, catalogue)


def newest(connection: Connection) -> int:
    """The latest note; 0 if there is none."""
    if not _is_attached(connection):
        return 0
    return int(connection.execute(text("SELECT coalesce(max(seq), 0) FROM outbox")).scalar_one())


def _complete(connection: Connection) -> list[Table]:
    """Make what is missing; the tables of which changes were not noted."""
    if not _is_attached(connection):
        connection.execute(text(_CREATE))
    there = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars())
    unnoted = [table for table in TABLES if not {_trigger(table.name, change) for change in _CHANGES} <= there]
    for table in unnoted:
        for change, which in _CHANGES.items():
            head = f"CREATE TRIGGER IF NOT EXISTS {_trigger(table.name, change)} AFTER {change} ON {table.name}"
            connection.execute(text(f"{head} BEGIN {_NOTE} VALUES ('{table.name}', {which}.id); END"))
    return unnoted


def _note_all(connection: Connection, table: Table) -> None:
    connection.execute(text(f"{_NOTE} SELECT '{table.name}', id FROM {table.name}"))  # noqa: S608 - our own names


def _catalogue(connection: Connection) -> str | None:
    return connection.execute(select(meta.c.value).where(meta.c.key == FEEDS)).scalar_one_or_none()


def _remember(connection: Connection, catalogue: str) -> None:
    _forget_catalogue(connection)
    connection.execute(insert(meta).values(key=FEEDS, value=catalogue))


def _forget_catalogue(connection: Connection) -> None:
    connection.execute(delete(meta).where(meta.c.key == FEEDS))


def detach(connection: Connection) -> None:
    """Note nothing any more, and forget what was noted."""
    if not _is_attached(connection):
        return
    for table in TABLES:
        for change in _CHANGES:
            connection.execute(text(f"DROP TRIGGER IF EXISTS {_trigger(table.name, change)}"))
    connection.execute(text("DROP TABLE outbox"))
    _forget_catalogue(connection)


def backlog(connection: Connection) -> int:
    """How many changes the catalogue has not been told."""
    # nothing is missing in between: numbers are given in order, and the oldest go first
    query = "SELECT (SELECT max(seq) FROM outbox) - (SELECT min(seq) FROM outbox) + 1"
    return connection.execute(text(query)).scalar_one() or 0


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
        stored = [mended(table, dict(row), _tell_nobody) for row in connection.execute(now, {"ids": ids}).mappings()]
        found = rows[table.name] = [row for row in stored if row is not None]
        gone[table.name] = sorted(set(ids) - {row["id"] for row in found})
    return Batch(notes[-1].seq, rows, gone)


def _tell_nobody(_what: str) -> None:
    """An export tells once; a catalogue hears it again and again."""


def forget(connection: Connection, last: int) -> None:
    """The catalogue has everything up to this note."""
    connection.execute(text("DELETE FROM outbox WHERE seq <= :last"), {"last": last})


def _trigger(table: str, change: str) -> str:
    return f"outbox_{table}_{change.lower()}"


def _is_attached(connection: Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'outbox'"
    return bool(connection.execute(text(query)).scalar_one())
