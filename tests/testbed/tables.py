# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the tables of a store, an SQLite file, with those of its catalogue in PostgreSQL: every row and column.

Each side is asked by a program of its own, for JSON. What the two write differently is brought to one form by the
column's type: dates, truth values, and JSON, which is text in SQLite.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, Boolean

from streamvaultd.store.outbox import TABLES
from streamvaultd.store.schema import Realtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Column, Table

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""By table, as JSON has them."""

NAMES: Final = tuple(table.name for table in TABLES)
ASK_SQLITE: Final = """
import json, sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=10)
database.row_factory = sqlite3.Row
database.execute("BEGIN")
print(json.dumps({name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in sys.argv[2:]}))
"""
"""A Python program that prints all rows; its arguments are the file and the tables."""
ASK_POSTGRESQL: Final = "SELECT json_build_object({})".format(
    ", ".join(f"'{name}', (SELECT coalesce(json_agg(t), '[]') FROM {name} t)" for name in NAMES)  # noqa: S608
)
"""A statement that gives all rows, in one value."""


def differences(store: Mapping[str, Sequence[Row]], catalogue: Mapping[str, Sequence[Row]]) -> list[str]:
    """Each row that is not the same in both, in words."""
    return [found for table in TABLES for found in _compare(table, store[table.name], catalogue[table.name])]


def _compare(table: Table, store: Sequence[Row], catalogue: Sequence[Row]) -> list[str]:
    ours = {row["id"]: {name: _of_sqlite(table.c.get(name), value) for name, value in row.items()} for row in store}
    theirs = {
        row["id"]: {name: _of_postgresql(table.c.get(name), value) for name, value in row.items()} for row in catalogue
    }
    found = [f"{table.name} {number}: not in the catalogue" for number in sorted(ours.keys() - theirs.keys())]
    found += [f"{table.name} {number}: only in the catalogue" for number in sorted(theirs.keys() - ours.keys())]
    for number in sorted(ours.keys() & theirs.keys()):
        mine, other = ours[number], theirs[number]
        columns = [name for name in sorted(mine.keys() | other.keys()) if mine.get(name) != other.get(name)]
        if mine.keys() != other.keys() or columns:
            told = [f"{name} is {mine.get(name)!r}, in the catalogue {other.get(name)!r}" for name in columns]
            found.append(f"{table.name} {number}: {'; '.join(told) or 'other columns'}")
    return found


def _of_sqlite(column: Column[Any] | None, value: Any) -> Any:
    if value is None or column is None:
        return value
    if isinstance(column.type, JSON):
        return json.loads(value)
    if isinstance(column.type, Boolean):
        return {0: False, 1: True}.get(value, value)
    return _date(value) if isinstance(column.type, Realtime) else value


def _of_postgresql(column: Column[Any] | None, value: Any) -> Any:
    if value is None or column is None:
        return value
    return _date(value) if isinstance(column.type, Realtime) else value


def _date(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
