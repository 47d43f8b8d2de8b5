# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/migration.md, run as it stands there: another recorder's database becomes ours, on PostgreSQL and SQLite."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from streamvaultd.config.inputs import check_name
from streamvaultd.core.model import State
from streamvaultd.store import transfer
from streamvaultd.store.audit_rows import RecoverableStore
from streamvaultd.store.postgres import server_url
from tests.component.store_world import BOOT, NOW, SetClock, segment_path
from tests.component.transfer_world import content, open_and_close
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

DOCS = Path(__file__).resolve().parents[2] / "docs"

OLD = """
    CREATE TABLE old.streamers (id INTEGER PRIMARY KEY, twitch_id TEXT NOT NULL, username TEXT NOT NULL);
    CREATE TABLE old.streams (
        id INTEGER PRIMARY KEY, streamer_id INTEGER NOT NULL, title TEXT, category_name TEXT,
        started_at {date}, ended_at {date}, twitch_stream_id TEXT
    );
    CREATE TABLE old.recordings (
        id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, streamer_id INTEGER, status TEXT NOT NULL,
        recording_path TEXT, start_time {date} NOT NULL, end_time {date}
    );
    INSERT INTO old.streamers VALUES (12, '1001', 'bonny'), (31, '1002', 'Carnage_7');
    INSERT INTO old.streams VALUES
        (345, 31, 'it''s late', NULL, '2025-10-30 20:00:00.500000', NULL, '999'),
        (348, 12, NULL, 'Chess', '2025-10-30 21:04:15.802000', NULL, NULL),
        (350, 12, 'done', 'Chess', '2025-10-31 21:00:00', '2025-11-01 02:00:00.250000', '1000'),
        (351, 31, 'a bad day', 'Talk', '2025-11-01 21:00:00', '2025-11-01 21:00:09', '1001'),
        (352, 31, 'who knows when', NULL, NULL, NULL, NULL);
    INSERT INTO old.recordings VALUES
        (1, 345, 31, 'recording', NULL, '2025-10-30 20:00:01', NULL),
        (2, 348, 12, 'recording', '/recordings/bonny/x.ts', '2025-10-30 21:04:16', NULL),
        (3, 350, 12, 'completed', '/recordings/bonny/done.mp4', '2025-10-31 21:00:01.000001', '2025-11-01 02:00:00'),
        (4, 351, 31, 'error', NULL, '2025-11-01 21:00:02', NULL),
        (5, 350, 12, 'stopped', '/recordings/bonny/half.ts', '2025-10-31 21:00:01', '2025-10-31 22:00:00');
"""


def block(step: str, document: str = "migration.md") -> str:
    """The statements of a step."""
    found = re.search(rf"<!-- step:{step} -->\n```sql\n(.*?)```", (DOCS / document).read_text(), re.DOTALL)
    assert found is not None, step
    return found[1]


Rows = list[tuple[Any, ...]]


def check(stuck: Rows, compared: Rows, watched: Rows) -> None:
    assert [row[:2] for row in stuck] == [(345, "Carnage_7"), (348, "bonny")]
    assert compared == [("streamers", 2, 2), ("streams", 4, 4), ("recordings", 3, 3)]
    assert watched == [
        ("streamvaultctl add https://www.twitch.tv/bonny --name bonny",),
        ("streamvaultctl add https://www.twitch.tv/Carnage_7 --name Carnage_7",),
    ]


def on_sqlite(store: Path, folder: Path) -> None:
    """The document's steps with sqlite3."""
    with closing(sqlite3.connect(store, isolation_level=None)) as local:
        local.execute("ATTACH ? AS old", [str(folder / "old.db")])
        local.executescript(OLD.format(date="DATETIME"))
        stuck = local.execute(block("stuck")).fetchall()
        local.executescript(block("copy"))
        check(stuck, local.execute(block("compare")).fetchall(), local.execute(block("watch")).fetchall())
        assert local.execute(block("5-sqlite", "validation.md")).fetchall() == []


def on_postgresql(store: Path, server: Postgres) -> None:
    """The document's steps with psql, and back into the store."""
    there = server_url(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SET timezone TO 'UTC'")
        connection.execute("DROP SCHEMA IF EXISTS old CASCADE")
        connection.execute("CREATE SCHEMA old")
        connection.execute(OLD.format(date="TIMESTAMPTZ").encode())
        transfer.copy(store, there)
        stuck = connection.execute(block("stuck").encode()).fetchall()
        connection.execute(block("copy").encode())
        compared = connection.execute(block("compare").encode()).fetchall()
        check(stuck, compared, connection.execute(block("watch").encode()).fetchall())
        assert connection.execute(block("5-postgresql", "validation.md").encode()).fetchall() == []
        transfer.copy(there, store)
        connection.execute("DROP SCHEMA old CASCADE")
    assert content(store) == content(there)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_another_recorders_database_becomes_ours(kind: str, tmp_path: Path, server: Postgres) -> None:
    store = tmp_path / "store.db"
    await open_and_close(store)
    if kind == "sqlite":
        on_sqlite(store, tmp_path)
    else:
        on_postgresql(store, server)
    opened = await RecoverableStore.open(store, paths=segment_path, clock=SetClock(), boot=BOOT)
    try:
        await check_store(opened)
    finally:
        await opened.close()


async def check_store(store: RecoverableStore) -> None:
    """What the daemon makes of it."""
    assert await store.load_unfinished() == ([], [])
    found = {recorder.recording.id: recorder for recorder in await store.list(all=True)}
    assert {number: recorder.state for number, recorder in found.items()} == {
        3: State.COMPLETED,
        4: State.FAILED,
        5: State.STOPPED,
    }
    done = found[3]
    assert (done.recording.streamer, done.recording.stream, done.path) == ("bonny", 350, "/recordings/bonny/done.mp4")
    assert done.recording.created.realtime == 1_761_944_401_000_001  # 2025-10-31 21:00:01.000001 UTC
    assert done.ended is not None
    assert done.ended.realtime == 1_761_962_400_000_000
    assert found[4].ended is None
    for recorder in found.values():
        check_name(recorder.recording.streamer)
    # what was stuck is recovered from its segments, under its own number
    assert await store.claim_stream("bonny", "https://x", 348, NOW) == 348
    # and new numbers go on behind the old ones
    assert await store.claim_stream("bonny", "https://x", 0, NOW) > 351
