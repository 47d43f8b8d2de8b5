# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in a file, for any database: JSON lines.

The first line names the format, its version, the schema and the store; each further one is a row, in order of
references and ids; the last one has their number and a checksum of all lines above. So a file that was cut off,
damaged or mixed up is found out before anything is done with it, in memory that does not depend on its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final, TypeVar

from sqlalchemy import Table

from streamvaultd import __version__
from streamvaultd.errors import DumpInvalid
from streamvaultd.store.outbox import TABLES
from streamvaultd.store.portable import Row, Rows, checked, json_line, line, parse_json_line
from streamvaultd.store.schema import HEAD, REVISIONS

FORMAT: Final = "streamvaultd-dump"
VERSION: Final = 1
LINE_MAX: Final = 16 << 20
"""Longer lines are nobody's row."""

Parsed = TypeVar("Parsed")

_BY_NAME: Final = {table.name: table for table in TABLES}
_PLACES: Final = {table.name: place for place, table in enumerate(TABLES)}


@dataclass(frozen=True, slots=True)
class Header:
    """What a dump says of itself: the schema of its rows, and the identity of their store."""

    schema: str
    instance: str


def write(file: IO[bytes], instance: str, rows: Rows) -> None:
    """Write a dump. Raises OSError."""
    digest, count = hashlib.sha256(), 0

    def put(text: bytes) -> None:
        file.write(text)
        digest.update(text)

    about = {"format": FORMAT, "version": VERSION, "schema": HEAD, "instance": instance, "program": __version__}
    put(json_line(about))
    for table, row in rows:
        put(line(table, row))
        count += 1
    file.write(json_line({"end": {"rows": count, "sha256": digest.hexdigest()}}))
    file.flush()


def verify(file: IO[bytes], name: str) -> Header:
    """Read a dump from its beginning to its end, whether it is whole; its header. Raises DumpInvalid and OSError."""
    text = file.readline(LINE_MAX)
    header = _parsed(name, 1, text, _parse_header)
    digest, count = hashlib.sha256(text), 0
    while True:
        text = file.readline(LINE_MAX)
        if not text.endswith(b"\n"):
            raise DumpInvalid(file=name, why=f"it ends too early, after {count} rows")
        if text.startswith(b'{"end":'):
            break
        digest.update(text)
        count += 1
    end = _parsed(name, count + 2, text, parse_json_line)
    if end != {"end": {"rows": count, "sha256": digest.hexdigest()}}:
        raise DumpInvalid(file=name, why="its checksum is wrong")
    if file.read(1):
        raise DumpInvalid(file=name, why="something follows its end")
    return header


def read(file: IO[bytes], name: str) -> Iterator[tuple[Table, Row]]:
    """The rows of a verified dump, from its beginning. Raises DumpInvalid and OSError."""
    file.readline(LINE_MAX)
    number, last = 2, (-1, -1)
    while not (text := file.readline(LINE_MAX)).startswith(b'{"end":'):
        table, row = _parsed(name, number, text, _parse_row)
        place = (_PLACES[table.name], row["id"])
        if place <= last:
            raise DumpInvalid(file=name, why=f"line {number}: it is not in its place")
        yield table, row
        number, last = number + 1, place


def _parsed(name: str, number: int, text: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise DumpInvalid(file=name, why=f"line {number}: {error}") from error


def _parse_header(text: bytes) -> Header:
    found = parse_json_line(text)
    if found.get("format") != FORMAT:
        raise ValueError("it does not begin like one")
    if found.get("version") != VERSION:
        raise ValueError(f"its format is {found.get('version')!r}, this program knows {VERSION}")
    schema, instance = found.get("schema"), found.get("instance")
    if schema not in REVISIONS:
        raise ValueError(f"its schema is {schema!r}, this program knows up to {HEAD}")
    if not isinstance(instance, str) or not instance:
        raise ValueError("it does not say which store it is of")
    return Header(schema, instance)


def _parse_row(text: bytes) -> tuple[Table, Row]:
    found = parse_json_line(text)
    table, values = found.get("table"), found.get("row")
    if set(found) != {"table", "row"} or not isinstance(table, str) or not isinstance(values, dict):
        raise ValueError("it is not a row")
    if table not in _BY_NAME:
        raise ValueError(f"there is no table {table!r}")
    return _BY_NAME[table], checked(_BY_NAME[table], values)
