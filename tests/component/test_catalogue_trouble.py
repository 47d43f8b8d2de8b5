# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the catalogue's server does: writes of captures go on, the backlog is known, and drains by itself."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from streamvaultd.store.catalogue import BATCH_MAX
from streamvaultd.store.feeder import FeedTiming
from streamvaultd.store.local import LocalStore
from streamvaultd.store.migrate import upgrade
from streamvaultd.store.schema import HEAD, REVISIONS
from tests.component.catalogue_world import (
    IMPATIENT,
    Feeding,
    assert_equal,
    fed,
    feeding,
    finish,
    store_in,
    write_directly,
)
from tests.component.small_disk import MIB, small_disk
from tests.component.store_world import NOW, start
from tests.testbed.postgres import DATABASE, USER, Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

EVENT = "INSERT INTO events (at, kind, priority, message) VALUES ('2026-11-23 09:00:00.000000', 'x', 6, ?)"
ANSWER = 60.0
"""Seconds within which what does not need the server is done, on a machine that has much else to do."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with store_in(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nobody_else_speaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What libraries log would reach the journal for each try."""
    yield
    assert caplog.get_records("call") == []


async def capture(store: LocalStore, streamer: str) -> None:
    """What a recording writes; and it need not wait for anybody."""
    async with asyncio.timeout(ANSWER):
        await finish(store, await start(store, streamer))


async def shown(under_way: Feeding) -> tuple[int, str | None]:
    """What status shows."""
    async with asyncio.timeout(ANSWER):
        state = await under_way.catalogue.state()
    return state.backlog, state.trouble


async def well_again(under_way: Feeding) -> None:
    """It was told once that something is wrong, and once that it is not any more; nothing is left."""
    await under_way.until(lambda: bool(under_way.wells))
    await under_way.settled()
    assert (len(under_way.troubles), len(under_way.wells)) == (1, 1)
    assert await shown(under_way) == (0, None)


@contextmanager
def locked(server: Postgres, table: str) -> Iterator[None]:
    """Another session holds a table, as an administrator's does who forgot to commit."""
    with suppress(psycopg.OperationalError), psycopg.connect(server.url) as session:  # the server may end it
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def waits_for_lock(server: Postgres) -> None:
    """Until the feeder stands before somebody's lock, in the middle of its transaction."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'streamvaultd' AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(60):
        while await asyncio.to_thread(server.sql, query) != [["1"]]:
            pass


async def test_down_for_long(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """Much is kept for it; it drains in order, and in batches that fit into memory."""
    await capture(store, "alice")
    await fed(store, server)
    server.sql(
        "CREATE TABLE seen (turn bigserial, id bigint);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen (id) VALUES (NEW.id); RETURN NULL; END $$;"
        "CREATE TRIGGER see AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION see()"
    )
    server.stop()
    many = 40 * BATCH_MAX
    write_directly(tmp_path, EVENT, [(f"event {number}",) for number in range(many)])
    async with feeding(store, server.url, limits=FeedTiming(pauses=(0.5,))) as under_way:
        await under_way.until(lambda: bool(under_way.troubles))
        await capture(store, "bob")
        backlog, trouble = await shown(under_way)
        assert backlog > many
        assert trouble is not None
        server.start()
        await well_again(under_way)
    assert max(under_way.told.sizes) <= BATCH_MAX
    assert [int(row[0]) for row in server.sql("SELECT id FROM seen ORDER BY turn")] == list(range(1, many + 1))
    assert_equal(server, tmp_path)


async def test_away_from_the_start_and_killed_on_the_way(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    server.stop()
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        await capture(store, "alice")
        await under_way.until(lambda: bool(under_way.troubles))
        server.start()
        await well_again(under_way)
        assert_equal(server, tmp_path)
        server.kill()
        for number in range(20):
            await capture(store, f"streamer-{number}")
        await under_way.until(lambda: len(under_way.troubles) == 2)
        server.start()
        await under_way.until(lambda: len(under_way.wells) == 2)
        await under_way.settled()
    assert_equal(server, tmp_path)
    assert len(under_way.troubles) == 2


async def test_restarted_while_nothing_happens(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """It is nobody's business: the next batch finds the connection gone, and makes another one."""
    async with feeding(store, server.url) as under_way:
        await capture(store, "alice")
        await under_way.settled()
        server.restart()
        await capture(store, "bob")
        await under_way.settled()
        assert under_way.troubles == []
    assert_equal(server, tmp_path)


async def test_another_session_holds_a_lock(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """A statement that waits for too long is ended by the server, and said to be."""
    await capture(store, "alice")
    await fed(store, server)
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        with locked(server, "segments"):
            await capture(store, "bob")
            await waits_for_lock(server)
            await capture(store, "carol")
            assert (await shown(under_way))[0] > 0
            await under_way.until(lambda: bool(under_way.troubles))
            await capture(store, "dora")
            backlog, trouble = await shown(under_way)
            assert backlog > 0
            assert "statement timeout" in str(trouble)
        await well_again(under_way)
    assert_equal(server, tmp_path)


async def test_too_slow_for_a_large_batch(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """What is not through in time is tried in smaller parts, and so it does get through."""
    await capture(store, "alice")
    await fed(store, server)
    server.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    write_directly(tmp_path, EVENT, [("slowly",)] * 250)  # five seconds in one batch
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        await under_way.until(lambda: bool(under_way.troubles))
        assert "not through in 3 s" in under_way.troubles[0]
        await capture(store, "bob")
        await well_again(under_way)
    assert_equal(server, tmp_path)


@pytest.mark.parametrize("is_connected", [False, True])
async def test_frozen(store: LocalStore, server: Postgres, tmp_path: Path, is_connected: bool) -> None:
    """It is there and says nothing: not even the timeout of a statement, which is the server's own."""
    await capture(store, "alice")
    if is_connected:
        await fed(store, server)
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        if is_connected:
            await start(store, "bob")
            await under_way.settled()
        server.freeze()
        try:
            await capture(store, "carol")
            await under_way.until(lambda: bool(under_way.troubles))
            await capture(store, "dora")
            backlog, trouble = await shown(under_way)
            assert backlog > 0
            assert trouble is not None
        finally:
            server.thaw()
        await well_again(under_way)
    assert_equal(server, tmp_path)


def wait_for_thread() -> None:
    """Until somebody waits for the server's answer."""
    deadline = time.monotonic() + 60
    while not any(thread.name == "catalogue" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_the_daemon_ends_while_it_is_frozen(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """A server that does not answer holds nothing up; the next daemon feeds what this one could not."""
    await capture(store, "alice")
    under_way = Feeding(store, server.url)
    await under_way.settled()
    server.freeze()
    try:
        await capture(store, "bob")
        await asyncio.to_thread(wait_for_thread)
        async with asyncio.timeout(ANSWER):
            await under_way.close()
    finally:
        server.thaw()
    await capture(store, "carol")
    await fed(store, server)
    assert_equal(server, tmp_path)


@pytest.mark.parametrize("table", ["streamers", "recordings", "segments"])
async def test_restarted_in_mid_transaction(store: LocalStore, server: Postgres, tmp_path: Path, table: str) -> None:
    """Nothing is lost, and nothing is there twice."""
    await capture(store, "alice")
    await fed(store, server)
    async with feeding(store, server.url, limits=FeedTiming(pauses=(0.1,))) as under_way:
        with locked(server, table):
            await capture(store, "bob")
            await waits_for_lock(server)
            server.restart()
        await capture(store, "carol")
        await well_again(under_way)
    assert_equal(server, tmp_path)


async def test_restarted_again_and_again_while_much_is_written(
    store: LocalStore, server: Postgres, tmp_path: Path
) -> None:
    async def write() -> None:
        for number in range(150):
            await capture(store, f"streamer-{number % 7}")

    async with feeding(store, server.url, limits=FeedTiming(pauses=(0.1,))) as under_way:
        writing = asyncio.create_task(write())
        for _ in range(6):
            await asyncio.to_thread(server.restart)
        await writing
        await under_way.settled()
    assert_equal(server, tmp_path)


async def test_a_newer_schema_is_left_alone(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """It is told once, however often it is tried; feeding goes on when the catalogue is as it should be."""
    await capture(store, "alice")
    await fed(store, server)
    before = server.psql("SELECT * FROM streamers")
    server.sql("UPDATE alembic_version SET version_num = '9999'")
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        await capture(store, "bob")
        await under_way.until(lambda: bool(under_way.troubles))
        assert "9999" in under_way.troubles[0]
        enough = under_way.told.tries + 3
        await under_way.until(lambda: under_way.told.tries > enough)
        await capture(store, "carol")
        assert (await shown(under_way))[0] > 0
        assert server.psql("SELECT * FROM streamers") == before
        server.sql(f"UPDATE alembic_version SET version_num = '{HEAD}'")  # noqa: S608
        await well_again(under_way)
    assert_equal(server, tmp_path)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_an_older_schema_is_migrated(store: LocalStore, server: Postgres, tmp_path: Path, revision: str) -> None:
    engine = create_engine(server.url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        upgrade(connection, revision)
        connection.exec_driver_sql(
            "INSERT INTO streamers (id, username, url, created_at) VALUES (1, 'alice', 'https://old', now())"
        )
    engine.dispose()
    await capture(store, "alice")
    async with feeding(store, server.url) as under_way:
        await under_way.settled()
    assert under_way.troubles == []
    assert server.sql("SELECT version_num FROM alembic_version") == [[HEAD]]
    assert_equal(server, tmp_path)


async def test_its_disk_is_full(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """What does not fit is kept here until it does."""
    database = "small"
    with small_disk(server.folder / "small.img", 32 * MIB) as disk:
        place = disk.point / "tablespace"
        place.mkdir()
        owner = pwd.getpwnam(USER)
        os.chown(place, owner.pw_uid, owner.pw_gid)
        server.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.create_database(database, "-D", "small")
        try:
            await capture(store, "alice")
            url = server.url_for(database=database)
            async with feeding(store, url, limits=IMPATIENT) as under_way:
                await under_way.settled()
                filler = disk.fill()
                large = [(os.urandom(50_000).hex(),) for _ in range(40)]
                write_directly(tmp_path, EVENT, large)
                await capture(store, "bob")
                await under_way.until(lambda: bool(under_way.troubles))
                assert "No space left on device" in under_way.troubles[0]
                await capture(store, "carol")
                assert (await shown(under_way))[0] > 0
                filler.unlink()
                await well_again(under_way)
            assert_equal(server, tmp_path, database)
        finally:
            server.sql(f"DROP DATABASE {database} WITH (FORCE)")
            server.sql("DROP TABLESPACE small")


def refuse_writing(server: Postgres) -> Callable[[], None]:
    """As a standby does."""
    server.sql(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on")
    return lambda: mend(server, f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only")


def rename_database(server: Postgres) -> Callable[[], None]:
    server.sql(f"ALTER DATABASE {DATABASE} RENAME TO elsewhere", "postgres")
    return lambda: mend(server, f"ALTER DATABASE elsewhere RENAME TO {DATABASE}")


def mend(server: Postgres, statement: str) -> None:
    """Also where transactions are read-only unless one says otherwise."""
    server.sql(f"SET default_transaction_read_only = off; {statement}", "postgres")


REFUSALS = {
    "no such database": (rename_database, f'database "{DATABASE}" does not exist'),
    "read-only": (refuse_writing, "read-only transaction"),
}


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("case", REFUSALS)
async def test_refused(store: LocalStore, server: Postgres, tmp_path: Path, case: str, is_new: bool) -> None:
    """From the start on, or later: the server's words are shown, and it goes on when it is mended."""
    refuse, words = REFUSALS[case]
    await capture(store, "alice")
    if not is_new:
        await fed(store, server)
    with ExitStack() as mended:
        mended.callback(refuse(server))
        async with feeding(store, server.url, limits=IMPATIENT) as under_way:
            await capture(store, "bob")
            await under_way.until(lambda: bool(under_way.troubles))
            assert words in under_way.troubles[0]
            await capture(store, "carol")
            assert (await shown(under_way))[0] > 0
            mended.close()
            await well_again(under_way)
    assert_equal(server, tmp_path)


async def test_the_password_is_wrong(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """It is never told; the file is read anew for each try, so a right one is found in it later."""
    server.sql("CREATE ROLE feeder LOGIN PASSWORD 'right'; GRANT ALL ON SCHEMA public TO feeder")
    server.allow("local all feeder scram-sha-256")
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:feeder:mistaken\n")
    passfile.chmod(0o600)
    try:
        url = server.url_for("feeder")
        async with feeding(store, url, passfile=passfile, limits=IMPATIENT) as under_way:
            await capture(store, "alice")
            await under_way.until(lambda: bool(under_way.troubles))
            assert "password authentication failed" in under_way.troubles[0]
            assert "mistaken" not in under_way.troubles[0]
            passfile.write_text("*:*:*:feeder:right\n")
            await well_again(under_way)
        assert_equal(server, tmp_path)
    finally:
        server.allow("")
        server.sql("DROP OWNED BY feeder; DROP ROLE feeder")


async def test_no_such_option_or_port(store: LocalStore, server: Postgres) -> None:
    """What only the driver can find wrong with the URL is trouble of the catalogue, and not the daemon's."""
    await capture(store, "alice")
    async with feeding(store, server.url + "&no_such_option=1", limits=IMPATIENT) as under_way:
        await under_way.until(lambda: bool(under_way.troubles))
        assert "no_such_option" in under_way.troubles[0]


async def test_trouble_shows_no_values(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """S7: what cannot be written there may hold what is nobody's business."""
    await fed_once(store, server)
    server.sql("ALTER TABLE events ADD CHECK (message <> 'https://user:secret@example.org')")
    write_directly(tmp_path, EVENT, [("https://user:secret@example.org",)])
    async with feeding(store, server.url, limits=IMPATIENT) as under_way:
        await under_way.until(lambda: bool(under_way.troubles))
    assert "secret" not in under_way.troubles[0]
    assert "events_message_check" in under_way.troubles[0]


async def fed_once(store: LocalStore, server: Postgres) -> None:
    await store.add_event(at=NOW, kind="x", priority=6, message="")
    await fed(store, server)
