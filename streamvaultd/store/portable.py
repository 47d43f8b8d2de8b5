# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows as they travel: every table in order of references and ids, each value of its column's type, as JSON lines.

A row has one form, whichever database it comes from, so two stores are equal if the lines of their rows are. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NoReturn, TypeAlias

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, Table, Text, TypeDecorator
from sqlalchemy.sql.elements import True_

from streamvaultd.store.mending import misfit
from streamvaultd.store.outbox import TABLES
from streamvaultd.store.schema import Realtime, storable

Row: TypeAlias = dict[str, Any]
"""The values of a row by its columns, in their order, as the columns give them in Python."""

Rows: TypeAlias = Iterable[tuple[Table, Row]]

BATCH_MAX: Final = 500
"""Rows that are held at a time."""

DEPTH_MAX: Final = 100
"""What is nested in more levels is nobody's row, and may not be written again: that takes the stack."""

REALTIME_MIN: Final = -62_135_596_800_000_000
REALTIME_MAX: Final = 253_402_300_799_999_999
"""The years 1 to 9999."""


def checked(table: Table, values: Mapping[str, Any]) -> Row:
    """A row in its one form, of values by column; ValueError, which shows no text, if they do not make one.

    A column that an older schema did not have has its default.
    """
    if unknown := set(values) - set(table.c.keys()):
        raise ValueError(f"{table.name} has no column {min(unknown)!r}")
    row = {column.name: _value(column, values) for column in table.c}
    why = misfit(table, row)
    if why is not None:
        raise ValueError(why)
    return row


def line(table: Table, row: Row) -> bytes:
    """A row as a line; ValueError for what JSON cannot hold."""
    return json_line({"table": table.name, "row": row})


def json_line(content: Mapping[str, Any]) -> bytes:
    """One line of JSON, all of it ASCII."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def parse_json_line(text: bytes) -> dict[str, Any]:
    """What a line holds; ValueError if that is no JSON object."""
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg})") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - of what was read, not of a caller's mistake
    if not _is_shallow(found, DEPTH_MAX):
        raise ValueError("it is nested too deeply")
    return found


def batches(rows: Rows) -> Iterator[tuple[Table, list[Row]]]:
    """Rows in their order, a few hundred of one table at a time."""
    for table, group in groupby(rows, key=itemgetter(0)):
        of_table = map(itemgetter(1), group)
        while batch := list(islice(of_table, BATCH_MAX)):
            yield table, batch


class Tally:
    """Counts rows by table, and makes one checksum of all: equal for stores of equal content."""

    def __init__(self) -> None:
        self.rows = {table.name: 0 for table in TABLES}
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The checksum of the rows so far."""
        return self._hash.hexdigest()

    def over(self, rows: Rows) -> Iterator[tuple[Table, Row]]:
        """The same rows, counted as they pass."""
        for table, row in rows:
            self._hash.update(line(table, row))
            self.rows[table.name] += 1
            yield table, row


def _value(column: Column[Any], values: Mapping[str, Any]) -> Any:
    default: Any = column.server_default
    if column.name not in values and default is not None:
        return _default(column, default.arg)
    value = values.get(column.name)
    if value is None:
        if column.nullable:
            return None
        raise ValueError(f"{column.table.name} has a row without {column.name}")
    if isinstance(column.type, Double) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not _fits(column, value):
        raise ValueError(f"row {values.get('id')!r} of {column.table.name} has a wrong {column.name}")
    return value


def _default(column: Column[Any], default: Any) -> Any:
    """What a column has by its default: a text, or the clause true() or false()."""
    return isinstance(default, True_) if isinstance(column.type, Boolean) else column.type.python_type(default)


def _fits(column: Column[Any], value: Any) -> bool:
    kind = column.type
    if isinstance(kind, JSON):
        return True
    if isinstance(kind, Boolean):
        return isinstance(value, bool)
    if isinstance(kind, Realtime):
        return _is_int(value) and REALTIME_MIN <= value <= REALTIME_MAX
    if isinstance(kind, Integer):
        bits = 63 if isinstance(kind, BigInteger) else 31
        return _is_int(value) and (0 if column.primary_key else -(1 << bits)) <= value < 1 << bits
    if isinstance(kind, Double):
        return isinstance(value, float) and math.isfinite(value)
    assert isinstance(kind, (Text, TypeDecorator)), kind  # noqa: S101 - the schema has no other types
    return isinstance(value, str) and storable(value) == value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(each, depth - 1) for each in inner)


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant[:20]} is no number of JSON")
