# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue in a real PostgreSQL: fed in order and idempotently, whatever the server does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.store.catalogue import BATCH_MAX, Catalogue
from streamvaultd.store.local import LocalStore
from streamvaultd.store.outbox import TABLES
from streamvaultd.store.records import SeamRecord
from streamvaultd.store.schema import HEAD
from tests.component.store_world import DATABASES, NOW, open_store, start
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(120)  # real programs, on whatever machine

SEED = """
    SELECT s.id, st.username, r.status, r.recording_path, r.start_time, r.end_time
    FROM recordings r JOIN streams s ON r.stream_id = s.id JOIN streamers st ON s.streamer_id = st.id
    WHERE r.status = 'recording' AND r.start_time < NOW() - INTERVAL '24 hours'
"""


class Told:
    """The store as the catalogue sees it; tells when it has been fed."""

    def __init__(self, store: LocalStore, fed: asyncio.Event) -> None:
        self._store = store
        self._fed = fed
        self.instance = store.instance
        self.outbox_backlog = store.outbox_backlog
        self.outbox_claim = store.outbox_claim
        self.outbox_batch = store.outbox_batch

    async def outbox_forget(self, last: int) -> None:
        await self._store.outbox_forget(last)
        self._fed.set()


class Feeding:
    """A store, and the catalogue that it feeds."""

    def __init__(self, store: LocalStore, url: str) -> None:
        self.store = store
        self.troubles: list[str] = []
        self.wells: list[int] = []
        self.changed = asyncio.Event()
        told = Told(store, self.changed)
        self.catalogue = Catalogue(url, told, passfile=None, on_trouble=self.on_trouble, on_well=self.on_well)
        store.on_write = self.catalogue.poke
        self.task = asyncio.get_running_loop().create_task(self.catalogue.run())

    def on_trouble(self, why: str) -> None:
        self.troubles.append(why)
        self.changed.set()

    def on_well(self, backlog: int) -> None:
        self.wells.append(backlog)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def settled(self) -> None:
        """Everything is fed."""
        async with asyncio.timeout(60):
            while await self.store.outbox_backlog():
                await self.changed.wait()
                self.changed.clear()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    opened = await open_store(DATABASES["sqlite"](tmp_path))
    await opened.feed_catalogue(wanted=True)
    yield opened
    await opened.close()


def rows_of(server: Postgres, table: str) -> list[str]:
    return [row[0] for row in server.sql(f"SELECT row_to_json(t)::text FROM (SELECT * FROM {table} ORDER BY id) t")]  # noqa: S608


def assert_equal(server: Postgres, folder: Path) -> None:
    """Every table has the same ids in both, and recordings and segments the same values where these are plain."""
    local = sqlite3.connect(folder / "store.db")
    for table in TABLES:
        query = f"SELECT id FROM {table.name} ORDER BY id"  # noqa: S608 - our own names
        assert [row[0] for row in server.sql(query)] == [str(row[0]) for row in local.execute(query)], table.name
    for columns, table_name in (("id,status,state,bytes", "recordings"), ("id,number,status,cause,bytes", "segments")):
        query = f"SELECT {columns} FROM {table_name} ORDER BY id"  # noqa: S608 - our own names
        found = [["" if value is None else str(value) for value in row] for row in local.execute(query)]
        assert server.sql(query) == found
    local.close()


async def finish(store: LocalStore, recorder: Recorder) -> Recorder:
    segment = Segment(number=1, phase=Phase.ENDED, since=NOW, started=NOW, ended=NOW, size=5, cause="oom")
    done = replace(recorder, state=State.COMPLETED, segments=(segment,), path="/x.ts", ended=NOW)
    await store.save(done, (segment,))
    return done


async def test_what_is_written_is_fed(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    feeding = Feeding(store, server.url)
    first = await start(store, "alice")
    await finish(store, first)
    await start(store, "alice")  # the second running one would break the unique index if it came first
    await store.add_event(at=NOW, kind="x", priority=5, message="it's done", recording=first.recording.id)
    await store.add_seams(first.recording.id, [seam(1), seam(2)])
    await store.add_seams(first.recording.id, [seam(1)])
    await feeding.settled()
    await feeding.close()
    assert_equal(server, tmp_path)
    assert server.sql("SELECT cause FROM segments") == [["oom"]]
    assert server.sql("SELECT count(*) FROM seams") == [["1"]]
    assert feeding.troubles == []


def seam(older: int) -> SeamRecord:
    return SeamRecord(older=older, newer=older + 1, kind="exact", method="bytes", certainty="proven")


async def test_what_was_there_before_is_fed_too(server: Postgres, tmp_path: Path) -> None:
    store = await open_store(DATABASES["sqlite"](tmp_path))
    for number in range(3):
        await finish(store, await start(store, f"streamer-{number}"))
    await store.feed_catalogue(wanted=True)
    feeding = Feeding(store, server.url)
    await feeding.settled()
    assert_equal(server, tmp_path)
    await feeding.close()
    await store.feed_catalogue(wanted=False)
    await finish(store, await start(store, "later"))
    await store.feed_catalogue(wanted=True)  # what happened in between is not lost
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    assert_equal(server, tmp_path)
    await store.close()


async def test_a_server_that_is_away_costs_nothing(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """Down from the start, killed on the way, restarted: captures' writes go on, the backlog drains by itself."""
    server.stop()
    feeding = Feeding(store, server.url)
    await finish(store, await start(store, "alice"))
    await feeding.until(lambda: bool(feeding.troubles))
    state = await feeding.catalogue.state()
    assert state.backlog > 0
    assert state.trouble is not None
    server.start()
    await feeding.until(lambda: bool(feeding.wells))
    await feeding.settled()
    assert_equal(server, tmp_path)
    server.kill()
    for number in range(20):
        await finish(store, await start(store, f"streamer-{number}"))
    await feeding.until(lambda: len(feeding.troubles) == 2)
    server.start()
    await feeding.settled()
    await feeding.close()
    assert_equal(server, tmp_path)
    assert len(feeding.troubles) == 2


async def test_a_backlog_of_many_batches_is_fed_in_order(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    for number in range(BATCH_MAX // 2):
        await finish(store, await start(store, f"streamer-{number % 7}"))
    assert await store.outbox_backlog() > 2 * BATCH_MAX
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    assert_equal(server, tmp_path)
    assert feeding.troubles == []


async def test_rows_fed_twice_do_no_harm(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """The server has committed, and the daemon died before it noted that."""
    await finish(store, await start(store, "alice"))
    batch = await store.outbox_batch(BATCH_MAX)
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    assert batch is not None
    before = [rows_of(server, table.name) for table in TABLES]
    with sqlite3.connect(tmp_path / "store.db") as local:
        local.execute('INSERT INTO outbox ("table", "row") SELECT \'recordings\', id FROM recordings')
        local.execute('INSERT INTO outbox ("table", "row") SELECT \'segments\', id FROM segments')
    again = Feeding(store, server.url)
    await again.settled()
    await again.close()
    assert [rows_of(server, table.name) for table in TABLES] == before


async def test_a_catalogue_has_one_owner(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    await start(store, "alice")
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    (tmp_path / "other").mkdir()
    other = await open_store(DATABASES["sqlite"](tmp_path / "other"))
    await other.feed_catalogue(wanted=True)
    await start(other, "bob")
    second = Feeding(other, server.url)
    await second.until(lambda: bool(second.troubles))
    assert "another store" in second.troubles[0]
    await second.close()
    await other.close()
    assert server.sql("SELECT username FROM streamers") == [["alice"]]


async def test_another_catalogue_is_fed_everything(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """Also if nothing has changed since the earlier one was fed."""
    await finish(store, await start(store, "alice"))
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    other = Feeding(store, server.url)
    await other.until(lambda: server.sql("SELECT to_regclass('recordings') IS NOT NULL") == [["t"]])
    await other.settled()
    assert_equal(server, tmp_path)
    before = server.sql("SELECT xmin FROM recordings")
    await other.close()
    again = Feeding(store, server.url)  # the same one is not fed anew
    await finish(store, await start(store, "bob"))
    await again.settled()
    await again.close()
    assert server.sql("SELECT xmin FROM recordings WHERE id = 1") == before


async def test_a_newer_schema_is_left_alone(store: LocalStore, server: Postgres) -> None:
    await start(store, "alice")
    feeding = Feeding(store, server.url)
    await feeding.settled()
    await feeding.close()
    server.sql("UPDATE alembic_version SET version_num = '9999'")
    await start(store, "bob")
    later = Feeding(store, server.url)
    await later.until(lambda: bool(later.troubles))
    assert "9999" in later.troubles[0]
    server.sql(f"UPDATE alembic_version SET version_num = '{HEAD}'")  # noqa: S608
    await later.settled()
    await later.close()
    assert server.sql("SELECT count(*) FROM streamers") == [["2"]]


async def test_the_seed_query_runs_unchanged(store: LocalStore, server: Postgres) -> None:
    feeding = Feeding(store, server.url)
    await start(store, "stuck")
    done = await start(store, "over")
    await finish(store, done)
    await feeding.settled()
    server.sql("UPDATE recordings SET start_time = NOW() - INTERVAL '25 hours'")
    assert [row[1] for row in server.sql(SEED.replace("\n", " "))] == ["stuck"]
    await feeding.close()


async def test_listeners_are_told(store: LocalStore, server: Postgres) -> None:
    import psycopg

    feeding = Feeding(store, server.url)
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as listener:
        await listener.execute("LISTEN streamvault")
        await start(store, "alice")
        async for notice in listener.notifies(timeout=20):
            if '"recordings"' in notice.payload:
                break
        else:
            pytest.fail("nobody was told")
    await feeding.close()
