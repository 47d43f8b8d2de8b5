# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of dumps that were damaged, or made up: refused in words, and nothing is changed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.errors import DumpInvalid, TransferConflict, VaultError
from streamvaultd.store import dump
from streamvaultd.store.postgres import server_url
from tests.component.transfer_world import dumped, fill, load, open_and_close, raw, rows, sealed
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A dump with a few rows."""
    path = tmp_path_factory.mktemp("small") / "store.db"
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as local, local:
        local.execute("DELETE FROM events WHERE id > 3")
    return dumped(path)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A new store; what was refused has changed nothing in it."""
    path = tmp_path / "target.db"
    asyncio.run(open_and_close(path))
    before = rows(path)
    yield path
    assert rows(path) == before


COMMON = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@COMMON
@given(data=st.data())
def test_a_damaged_dump_is_refused(data: st.DataObject, small: bytes, target: Path) -> None:
    kind = data.draw(st.sampled_from(["cut", "flip", "insert", "drop", "foreign"]))
    at = data.draw(st.integers(0, len(small) - 1))
    some = data.draw(st.binary(min_size=1, max_size=20))
    text = {
        "cut": small[:at],
        "flip": small[:at] + bytes([small[at] ^ some[0] or small[at] ^ 1]) + small[at + 1 :],
        "insert": small[:at] + some + small[at:],
        "drop": small[:at] + small[at + len(some) :],
        "foreign": some,
    }[kind]
    with pytest.raises(DumpInvalid):
        load(text if text != small else b"", target)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@COMMON
@given(data=st.data())
def test_a_dump_that_was_made_up_gives_an_error_or_a_store(data: st.DataObject, small: bytes, template: Path) -> None:
    """Whoever can compute the checksum can write anything: it is refused in words, or it is a store."""
    lines = [json.loads(line) for line in small.splitlines()[:-1]]
    line = lines[data.draw(st.integers(0, len(lines) - 1))]
    inner = line["row"] if "row" in line and data.draw(st.booleans()) else line
    inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JSON_VALUES)
    if data.draw(st.booleans()):
        lines[1:] = data.draw(st.permutations(lines[1:]))
    path = template.with_name("target.db")
    path.write_bytes(template.with_name("empty.db").read_bytes())
    copied = None
    with suppress(VaultError):
        copied = load(sealed(lines), path)
    assert sum(map(len, raw(path).values())) == (0 if copied is None else len(lines) - 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "line 1: it is not JSON"),
        (b"[" * 100_000 + b"\n", "line 1: it is nested too deeply"),
        (b"PK\x03\x04\n", "line 1"),
        (b"\x80" * (dump.LINE_MAX + 5), "line 1"),
        (b"{}\n", "does not begin like one"),
    ],
)
def test_a_foreign_file_is_refused(target: Path, text: bytes, why: str) -> None:
    with pytest.raises(DumpInvalid, match=why):
        load(text, target)


@pytest.mark.parametrize("depth", [100, 500, 900, 950, 980, 990])
def test_what_is_nested_deeply_is_refused(small: bytes, target: Path, depth: int) -> None:
    """What can just be read, and not written again, too."""
    lines = small.splitlines(keepends=True)[:-1]
    job = next(number for number, line in enumerate(lines) if line.startswith(b'{"table":"jobs"'))
    lines[job] = lines[job].replace(b'"result":{}', b'"result":' + b"[" * depth + b"]" * depth)
    with pytest.raises(DumpInvalid, match="nested too deeply"):
        load(sealed(b"".join(lines)), target)


def test_rows_that_break_a_rule_are_refused(small: bytes, target: Path, server: Postgres) -> None:
    broken = [
        ("jobs", "recording_id", 99),
        ("recordings", "status", "secret"),
        ("streamers", "username", "bob"),
    ]
    for table, column, value in broken:
        lines = [json.loads(line) for line in small.splitlines()[:-1]]
        next(line for line in lines if line.get("table") == table)["row"][column] = value
        for where in (target, server_url(server.url)):
            with pytest.raises(TransferConflict, match=f"a row of {table} is refused") as told:
                load(sealed(lines), where)
            assert "secret" not in str(told.value)
    assert server.sql("SELECT count(*) FROM streamers") == [["0"]]
