# SPDX-License-Identifier: GPL-3.0-or-later
"""Export and import: SQLite, a real PostgreSQL and dumps, there and back, equal in every table."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert

from streamvaultd.core.model import SeamRecord, State
from streamvaultd.errors import DumpInvalid, StoreInUse, StoreTooNew, StoreUnavailable, TransferConflict
from streamvaultd.store import outbox, transfer
from streamvaultd.store.engine import create_file, hold, sqlite_url
from streamvaultd.store.local import LocalStore
from streamvaultd.store.postgres import server_url
from streamvaultd.store.schema import HEAD, metadata
from tests.component.catalogue_world import Feeding
from tests.component.store_world import NOW, open_store, segment_path, start
from tests.component.transfer_world import ROWS, content, dumped, known, load, raw, rows, sealed
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

# --- there and back --------------------------------------------------------------------------------------------------


def test_to_postgresql_and_back(filled: Path, fresh: Path, server: Postgres) -> None:
    there = server_url(server.url)
    copied = transfer.copy(filled, there)
    assert copied.added == sum(copied.rows.values()) > ROWS
    assert all(copied.rows.values())
    assert content(there) == content(filled)
    back = transfer.copy(there, fresh)
    assert raw(fresh) == raw(filled)
    assert back.sha256 == copied.sha256
    assert known(fresh)["instance"] == known(filled)["instance"]


def test_to_a_dump_and_back(filled: Path, fresh: Path, server: Postgres) -> None:
    text = dumped(filled)
    load(text, fresh)
    assert raw(fresh) == raw(filled)
    load(text, server_url(server.url))
    assert content(server_url(server.url)) == content(filled)
    assert dumped(server_url(server.url)) == dumped(fresh) == text


def test_a_dump_is_read_without_our_program(filled: Path) -> None:
    lines = [json.loads(line) for line in dumped(filled).splitlines()]
    assert lines[0]["format"] == "streamvaultd-dump"
    assert (lines[0]["version"], lines[0]["schema"]) == (1, HEAD)
    names = [line["row"]["username"] for line in lines if line.get("table") == "streamers"]
    assert names == ["alice", "bob"]
    assert lines[-1]["end"]["rows"] == len(lines) - 2


def test_a_copy_can_be_repeated(filled: Path, fresh: Path, server: Postgres) -> None:
    there = server_url(server.url)
    assert transfer.copy(filled, there).added > 0
    before = server.sql("SELECT xmin FROM events LIMIT 1")
    assert transfer.copy(there, fresh).added > 0
    assert transfer.copy(there, fresh).added == 0
    assert load(dumped(filled), there).added == 0
    assert server.sql("SELECT xmin FROM events LIMIT 1") == before


def test_what_is_there_already_and_equal_is_left(filled: Path, fresh: Path) -> None:
    text = dumped(filled)
    load(text, fresh)
    with closing(sqlite3.connect(fresh)) as local, local:
        local.execute("DELETE FROM events WHERE id > 10")
    assert load(text, fresh).added == ROWS - 10 + 2  # note_broadcast() and the step told of events, too
    assert raw(fresh) == raw(filled)


def test_numbers_go_on_in_postgresql(filled: Path, server: Postgres) -> None:
    transfer.copy(filled, server_url(server.url))
    server.sql("INSERT INTO streamers (username, url, created_at) VALUES ('carol', 'https://x', now())")
    assert server.sql("SELECT id FROM streamers WHERE username = 'carol'") == [["3"]]


async def test_numbers_go_on_in_sqlite(filled: Path, fresh: Path) -> None:
    load(dumped(filled), fresh)
    opened = await open_store(fresh)
    third = await start(opened, "carol")
    await opened.close()
    assert third.recording.id == 3


def test_an_older_dump_has_the_defaults_of_what_it_lacks(filled: Path, fresh: Path) -> None:
    lines = [json.loads(line) for line in dumped(filled).splitlines()[:-1]]
    lines[0]["schema"] = "0001"
    for line in lines:
        if line.get("table") == "recordings":
            del line["row"]["fills"], line["row"]["filled_at_monotonic"], line["row"]["kept"]
    load(sealed(lines), fresh)
    assert raw(fresh) == raw(filled)


def test_a_store_of_an_older_schema_is_upgraded_as_by_the_daemon(filled: Path, fresh: Path) -> None:
    with closing(sqlite3.connect(filled)) as local, local:
        for table in ("chats", "steps", "hook_calls"):
            local.execute(f"DROP TABLE {table}")
        local.execute("DROP INDEX ix_recordings_kept")
        local.execute("ALTER TABLE recordings DROP COLUMN kept")
        local.execute("DROP INDEX uq_streams_under_way")
        local.execute("UPDATE alembic_version SET version_num = '0004'")
    transfer.copy(filled, fresh)
    assert raw(fresh) == raw(filled)
    assert (raw(filled)["chats"], raw(filled)["steps"]) == ([], [])


# --- who feeds whom --------------------------------------------------------------------------------------------------


async def backlog(path: Path) -> int:
    """What a daemon that has a catalogue would feed."""
    opened = await open_store(path)
    await opened.feed_catalogue(wanted=True)
    left = await opened.outbox_backlog()
    await opened.close()
    return left


async def fed(path: Path, server: Postgres) -> tuple[int, list[str]]:
    """Feed, after one more recording: how many rows were written, and what went wrong."""
    opened = await open_store(path)
    await opened.feed_catalogue(wanted=True)
    feeding = Feeding(opened, server.url)
    last = server.sql("SELECT txid_current()")[0][0]
    await start(opened, "carol")
    await feeding.settled()
    await feeding.close()
    await opened.close()
    written = server.sql(f"SELECT count(*) FROM events WHERE xmin::text::bigint > {last}")[0][0]  # noqa: S608
    return int(written), feeding.troubles


async def test_the_daemon_goes_on_from_an_export(filled: Path, server: Postgres) -> None:
    transfer.copy(filled, server_url(server.url))
    assert await backlog(filled) == 0
    assert await fed(filled, server) == (0, [])
    assert content(server_url(server.url)) == content(filled)


async def test_the_daemon_goes_on_from_an_import(filled: Path, fresh: Path, server: Postgres) -> None:
    transfer.copy(filled, server_url(server.url))
    transfer.copy(server_url(server.url), fresh)
    assert await backlog(fresh) == 0
    assert await fed(fresh, server) == (0, [])
    assert content(server_url(server.url)) == content(fresh)


async def test_another_catalogue_than_that_of_the_export_is_fed_everything(filled: Path, server: Postgres) -> None:
    transfer.copy(filled, server_url(server.url))
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    opened = await open_store(filled)
    await opened.feed_catalogue(wanted=True)
    feeding = Feeding(opened, server.url)
    await feeding.until(lambda: server.sql("SELECT to_regclass('events') IS NOT NULL") == [["t"]])
    await feeding.settled()
    await feeding.close()
    await opened.close()
    assert content(server_url(server.url)) == content(filled)


async def test_an_import_from_a_dump_is_fed(filled: Path, fresh: Path, server: Postgres) -> None:
    load(dumped(filled), fresh)
    assert await backlog(fresh) > ROWS


async def test_a_catalogue_that_is_behind_is_brought_up_by_its_store(filled: Path, server: Postgres) -> None:
    """Seams that are gone, recordings that went on, and others that are new."""
    there = server_url(server.url)
    transfer.copy(filled, there)
    opened = await open_store(filled)
    bob = await opened.find("bob")
    await opened.save(replace(bob, state=State.COMPLETED, ended=NOW), ())
    await start(opened, "bob")
    await opened.add_seams(1, [SeamRecord(older=1, newer=2, kind="exact", method="bytes", certainty="proven")])
    await opened.close()
    transfer.copy(filled, there)
    assert content(there) == content(filled)
    assert await backlog(filled) == 0


async def test_a_catalogue_that_is_newer_is_kept(filled: Path, template: Path, server: Postgres) -> None:
    """The store was restored from an older copy."""
    there = server_url(server.url)
    opened = await open_store(filled)
    await start(opened, "carol")
    await opened.close()
    transfer.copy(filled, there)
    before = rows(there)
    with pytest.raises(TransferConflict, match="newer rows of streams"):
        transfer.copy(template, there)
    assert rows(there) == before


async def test_an_export_beside_a_daemon_leaves_its_notes_alone(filled: Path, server: Postgres) -> None:
    opened = await open_store(filled)
    await opened.feed_catalogue(wanted=True)
    noted = await opened.outbox_backlog()
    transfer.copy(filled, server_url(server.url))
    assert await opened.outbox_backlog() == noted > 0
    feeding = Feeding(opened, server.url)
    await feeding.settled()
    await feeding.close()
    await opened.close()
    assert content(server_url(server.url)) == content(filled)


async def test_exports_while_a_daemon_feeds_the_same_catalogue(filled: Path, server: Postgres) -> None:
    opened = await open_store(filled)
    await opened.feed_catalogue(wanted=True)
    transfer.copy(filled, server_url(server.url))
    feeding = Feeding(opened, server.url)

    def export() -> None:
        for _ in range(4):
            transfer.copy(filled, server_url(server.url))

    exports = asyncio.create_task(asyncio.to_thread(export))
    number = 0
    while not exports.done():
        await start(opened, f"streamer-{number}")
        number += 1
    await exports
    await feeding.settled()
    await feeding.close()
    await opened.close()
    assert content(server_url(server.url)) == content(filled)
    assert feeding.troubles == []


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_a_store_that_a_daemon_has_is_not_imported_into(filled: Path, fresh: Path) -> None:
    text = dumped(filled)
    opened = await open_store(fresh)
    with pytest.raises(StoreInUse) as refusal:
        load(text, fresh)
    assert "systemctl stop" in refusal.value.advice
    await opened.close()
    assert content(fresh)["streamers"] == []
    load(text, fresh)


async def test_a_store_has_one_daemon(filled: Path) -> None:
    opened = await open_store(filled)
    with pytest.raises(StoreInUse):
        await open_store(filled)
    waiting = asyncio.create_task(LocalStore.open(filled, paths=segment_path, wait=True))
    await opened.add_event(at=NOW, kind="x", priority=6, message="still there")
    assert not waiting.done()
    await opened.close()
    await (await waiting).close()


async def test_a_store_that_an_import_takes_away_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    create_file(path)
    held = hold(path)
    waiting = asyncio.create_task(LocalStore.open(path, paths=segment_path, wait=True))
    while not is_waited_for(path):  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0)
    path.unlink()
    os.close(held)
    with pytest.raises(StoreUnavailable, match="it was removed"):
        await waiting


def is_waited_for(path: Path) -> bool:
    """Whether somebody waits for the lock: proc_locks(5)."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


async def test_a_daemon_can_start_while_a_dump_is_written(filled: Path) -> None:
    started: list[int] = []

    class Slow(io.BytesIO):
        def write(self, text: Any) -> int:
            if not started:
                started.append(hold(filled))
            return super().write(text)

    with closing(Slow()) as file:
        transfer.dump_to(filled, file)
    os.close(started[0])


def test_a_row_that_differs_is_told_and_kept(filled: Path, fresh: Path, server: Postgres) -> None:
    text = dumped(filled)
    load(text, fresh)
    there = server_url(server.url)
    load(text, there)
    with closing(sqlite3.connect(fresh)) as local, local:
        local.execute("UPDATE recordings SET bytes = 7 WHERE id = 2")
        local.execute("DELETE FROM events")
    server.sql("UPDATE recordings SET bytes = 7 WHERE id = 2; DELETE FROM events")
    for target in (fresh, there):
        before = rows(target)
        with pytest.raises(TransferConflict, match="row 2 of recordings differs"):
            load(text, target)
        assert rows(target) == before


def test_rows_that_the_source_has_not_are_told_and_kept(filled: Path, fresh: Path) -> None:
    load(dumped(filled), fresh)
    with closing(sqlite3.connect(filled)) as local, local:
        local.execute("DELETE FROM events WHERE id > 5")
    before = rows(fresh)
    with pytest.raises(TransferConflict, match=r"it has \d+ rows of events that"):
        load(dumped(filled), fresh)
    assert rows(fresh) == before


async def test_another_store_is_refused(filled: Path, fresh: Path, server: Postgres) -> None:
    opened = await open_store(fresh)
    await start(opened, "mallory")
    await opened.close()
    before = rows(fresh)
    with pytest.raises(TransferConflict, match="it is another store"):
        load(dumped(filled), fresh)
    assert rows(fresh) == before
    there = server_url(server.url)
    transfer.copy(filled, there)
    before = rows(there)
    with pytest.raises(TransferConflict, match=r"another store .* feeds it"):
        transfer.copy(fresh, there)
    assert rows(there) == before


def test_a_newer_schema_is_refused(filled: Path, fresh: Path, server: Postgres) -> None:
    there = server_url(server.url)
    transfer.copy(filled, there)
    server.sql("UPDATE alembic_version SET version_num = '9999'")
    for source, target in ((filled, there), (there, fresh)):
        with pytest.raises(StoreTooNew, match="9999"):
            transfer.copy(source, target)
    assert not fresh.exists()
    lines = [json.loads(line) for line in dumped(filled).splitlines()[:-1]]
    with pytest.raises(DumpInvalid, match="its schema is '9999'"):
        load(sealed([lines[0] | {"schema": "9999"}, *lines[1:]]), fresh)
    with pytest.raises(DumpInvalid, match="its format is 2"):
        load(sealed([lines[0] | {"version": 2}, *lines[1:]]), fresh)
    assert not fresh.exists()


def test_sources_that_are_none(tmp_path: Path, fresh: Path, server: Postgres) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    (tmp_path / "empty").touch()
    for source in (tmp_path / "nothing", tmp_path / "text", tmp_path / "empty", server_url(server.url)):
        with pytest.raises(StoreUnavailable):
            transfer.copy(source, fresh)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "text"]
    with pytest.raises(TransferConflict):
        transfer.copy(fresh, fresh)


def test_a_server_that_is_away(filled: Path, server: Postgres) -> None:
    server.stop()
    with pytest.raises(StoreUnavailable):
        transfer.copy(filled, server_url(server.url))
    server.start()
    assert transfer.copy(filled, server_url(server.url)).added


def test_a_row_that_another_hand_wrote(filled: Path, fresh: Path, server: Postgres) -> None:
    with closing(sqlite3.connect(filled)) as local, local:
        local.execute("UPDATE segments SET bytes = 'secret-many'")
    for target in (fresh, server_url(server.url)):
        with pytest.raises(StoreUnavailable, match="row 1 of segments has a wrong bytes") as told:
            transfer.copy(filled, target)
        assert "secret" not in str(told.value)
    assert server.sql("SELECT count(*) FROM streamers") == [["0"]]


def test_the_outbox_is_no_part_of_a_dump(filled: Path, fresh: Path) -> None:
    engine = create_engine(sqlite_url(filled))
    with engine.begin() as connection:
        outbox.attach(connection)
    engine.dispose()
    load(dumped(filled), fresh)
    with closing(sqlite3.connect(fresh)) as local:
        assert local.execute("SELECT count(*) FROM sqlite_master WHERE name = 'outbox'").fetchone() == (0,)


def test_memory_does_not_depend_on_the_size(filled: Path, fresh: Path, server: Postgres) -> None:
    """Ten times as many rows do not take much more memory."""
    import tracemalloc

    def peak() -> int:
        tracemalloc.start()
        transfer.copy(filled, server_url(server.url))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak()
    engine = create_engine(sqlite_url(filled))
    event = {"at": 0, "kind": "x", "priority": 6, "message": "m" * 200}
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables["events"]), [event for _ in range(10 * ROWS)])
    engine.dispose()
    assert peak() < 2 * few
