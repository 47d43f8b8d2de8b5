# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue in a real PostgreSQL: fed in order and idempotently, and told to who listens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from streamvaultd.core.model import SeamRecord
from streamvaultd.store.catalogue import BATCH_MAX
from streamvaultd.store.local import LocalStore
from streamvaultd.store.outbox import TABLES
from tests.component.catalogue_world import assert_equal, fed, feeding, finish, store_in
from tests.component.store_world import DATABASES, NOW, open_store, start
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with store_in(tmp_path) as opened:
        yield opened


def seam(older: int) -> SeamRecord:
    return SeamRecord(older=older, newer=older + 1, kind="exact", method="bytes", certainty="proven")


async def test_what_is_written_is_fed(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    async with feeding(store, server.url) as under_way:
        first = await start(store, "alice")
        await finish(store, first)
        await start(store, "alice")  # the second running one would break the unique index if it came first
        await store.add_event(at=NOW, kind="x", priority=5, message="it's done", recording=first.recording.id)
        await under_way.settled()
    assert_equal(server, tmp_path)
    assert server.sql("SELECT cause FROM segments") == [["oom"]]
    assert under_way.troubles == []


@pytest.mark.parametrize("later", [(1,), (2,), (2, 3, 4), (4, 3, 1), ()])
async def test_seams_of_a_later_join_replace_those_of_the_earlier(
    store: LocalStore, server: Postgres, tmp_path: Path, later: tuple[int, ...]
) -> None:
    """They get the numbers of those that are gone, and stand where others of these stood."""
    recording = (await start(store, "alice")).recording.id
    await store.add_seams(recording, [seam(1), seam(2), seam(3)])
    await fed(store, server)
    await store.add_seams(recording, [seam(number) for number in later])
    async with feeding(store, server.url) as under_way:
        await under_way.settled()
    assert under_way.troubles == []
    assert_equal(server, tmp_path)
    assert server.sql("SELECT older FROM seams ORDER BY older") == [[str(number)] for number in sorted(later)]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_a_batch_may_end_anywhere(store: LocalStore, server: Postgres, tmp_path: Path, size: int) -> None:
    """Even where rows have taken each other's places and only some of them are in the batch."""
    recorder = await start(store, "alice")
    await store.add_seams(recorder.recording.id, [seam(1), seam(2), seam(3)])
    await fed(store, server)
    await store.add_seams(recorder.recording.id, [seam(3), seam(1), seam(4)])
    await finish(store, recorder)
    await start(store, "alice")
    async with feeding(store, server.url, batch=size) as under_way:
        await under_way.settled()
    assert under_way.troubles == []
    assert under_way.told.sizes[0] <= size
    assert_equal(server, tmp_path)


async def test_what_was_there_before_is_fed_too(server: Postgres, tmp_path: Path) -> None:
    store = await open_store(DATABASES["sqlite"](tmp_path))
    for number in range(3):
        await finish(store, await start(store, f"streamer-{number}"))
    await store.feed_catalogue(wanted=True)
    await fed(store, server)
    assert_equal(server, tmp_path)
    await store.feed_catalogue(wanted=False)
    await finish(store, await start(store, "later"))
    await store.feed_catalogue(wanted=True)  # what happened in between is not lost
    await fed(store, server)
    assert_equal(server, tmp_path)
    await store.close()


async def test_a_table_that_an_upgrade_has_made_anew_is_fed_again(
    store: LocalStore, server: Postgres, tmp_path: Path
) -> None:
    """Triggers go with the table that SQLite drops when it is rebuilt."""
    recorder = await start(store, "alice")
    await fed(store, server)
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("DROP TRIGGER outbox_segments_insert")
        database.execute("DROP TRIGGER outbox_segments_update")
        database.execute("DROP TRIGGER outbox_segments_delete")
    database.close()
    await finish(store, recorder)
    await store.feed_catalogue(wanted=True)
    await fed(store, server)
    assert_equal(server, tmp_path)
    before = await store.outbox_backlog()
    await store.feed_catalogue(wanted=True)
    assert await store.outbox_backlog() == before == 0


async def test_rows_fed_twice_do_no_harm(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """The server has committed, and the daemon died before it noted that."""
    await finish(store, await start(store, "alice"))
    await fed(store, server)
    with sqlite3.connect(tmp_path / "store.db") as local:
        local.execute('INSERT INTO outbox ("table", "row") SELECT \'recordings\', id FROM recordings')
        local.execute('INSERT INTO outbox ("table", "row") SELECT \'segments\', id FROM segments')
    local.close()
    assert await store.outbox_backlog() == 2
    await fed(store, server)
    assert_equal(server, tmp_path)


async def test_a_catalogue_has_one_owner(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    await start(store, "alice")
    await fed(store, server)
    (tmp_path / "other").mkdir()
    async with store_in(tmp_path / "other") as other:
        await start(other, "bob")
        async with feeding(other, server.url) as second:
            await second.until(lambda: bool(second.troubles))
        assert "another store" in second.troubles[0]
    assert server.sql("SELECT username FROM streamers") == [["alice"]]


async def test_another_catalogue_is_fed_everything(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """Also if nothing has changed since the earlier one was fed; the same one is not fed anew."""
    await finish(store, await start(store, "alice"))
    await fed(store, server)
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with feeding(store, server.url) as other:
        await other.until(lambda: server.sql("SELECT to_regclass('recordings') IS NOT NULL") == [["t"]])
        await other.settled()
        assert_equal(server, tmp_path)
    before = server.sql("SELECT xmin FROM recordings")
    await finish(store, await start(store, "bob"))
    await fed(store, server)
    assert server.sql("SELECT xmin FROM recordings WHERE id = 1") == before


async def test_listeners_are_told(store: LocalStore, server: Postgres) -> None:
    """LISTEN streamvault: the table and the ids of its rows, when they can be read."""
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as listener:
        await listener.execute("LISTEN streamvault")
        async with feeding(store, server.url):
            recorder = await start(store, "alice")
            async for notice in listener.notifies(timeout=60):
                told = json.loads(notice.payload)
                if told["table"] == "recordings":
                    break
            else:
                pytest.fail("nobody was told")
        assert told == {"table": "recordings", "ids": [recorder.recording.id]}
        rows = await listener.execute("SELECT status FROM recordings WHERE id = ANY(%s)", [told["ids"]])
        assert await rows.fetchall() == [("recording",)]


async def test_listeners_are_told_of_many_rows_in_messages_that_fit(store: LocalStore, server: Postgres) -> None:
    """A payload of 8000 bytes or more would be refused, and with it the batch."""
    for _ in range(BATCH_MAX):
        await store.add_event(at=NOW, kind="x", priority=5, message="")
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as listener:
        await listener.execute("LISTEN streamvault")
        async with feeding(store, server.url) as under_way:
            await under_way.settled()
        told: list[int] = []
        async for notice in listener.notifies(timeout=60):
            told += json.loads(notice.payload)["ids"]
            if len(told) == BATCH_MAX:
                break
    assert told == list(range(1, BATCH_MAX + 1))


def test_tables_of_which_rows_are_replaced_are_few() -> None:
    from streamvaultd.store.feeder import REFERRED_TO

    assert {table.name for table in TABLES} - {table.name for table in REFERRED_TO} == {
        "segments", "seams", "events", "jobs", "chats", "steps", "hook_calls",
    }  # fmt: skip
