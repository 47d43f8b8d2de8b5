# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening: a new store, an old one, a newer one, and what is no store at all."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Recorder, SeamRecord, Segment, State
from streamvaultd.errors import StoreTooNew, StoreUnavailable
from streamvaultd.store.engine import open_engine
from streamvaultd.store.migrate import migrations, upgrade
from streamvaultd.store.schema import HEAD, REVISIONS, metadata
from tests.component.store_world import BOOT, DATABASES, NOW, later, move, open_store, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL
    from sqlalchemy.engine.interfaces import ReflectedIndex

SAMPLES: dict[str, tuple[str, ...]] = {
    "0001": (
        "INSERT INTO meta VALUES ('instance', 'before')",
        "INSERT INTO streamers (id, username, url, created_at)"
        " VALUES (1, 'demo', 'https://example.org/demo', '2026-11-23 09:28:30.740318')",
        "INSERT INTO streams (id, streamer_id, started_at) VALUES (5, 1, '2026-11-23 09:28:30.740318')",
        "INSERT INTO recordings (id, stream_id, streamer_id, status, state, start_time, start_time_monotonic, url,"
        " quality, directory, policy, boot_id, since, since_monotonic, failures, probe, probing, joins)"
        " VALUES (3, 5, 1, 'recording', 'recording', '2026-11-23 09:28:30.740318', 5000.25,"
        " 'https://example.org/demo', 'best', '/srv', '{}', :boot, '2026-11-23 09:28:40.740318', 5010.25,"
        " 0, 0, false, 0)",
        "INSERT INTO segments (id, recording_id, number, path, unit, status, boot_id, since, since_monotonic,"
        " bytes, stops, rotated) VALUES (8, 3, 1, '/srv/segment_001.ts', 'streamvault-3-001.scope', 'writing',"
        " :boot, '2026-11-23 09:28:40.740318', 5010.25, 4711, 0, false)",
    ),
}
SAMPLES["0002"] = (
    *SAMPLES["0001"],
    "UPDATE recordings SET memory_max = 402653184, memory_since_monotonic = 5009.5, silent_since_monotonic = 5008.5",
    """UPDATE segments SET memory_max = 268435456, evidence = '{"status"\\: -9, "log"\\: ["Killed"]}'""",
)
SAMPLES["0003"] = (
    *SAMPLES["0002"],
    "UPDATE segments SET quality = '720p60'",
    "UPDATE recordings SET fills = 2, filled_at_monotonic = 5007.5",
)
SAMPLES["0004"] = SAMPLES["0003"]
SAMPLES["0005"] = SAMPLES["0004"]
SAMPLES["0006"] = (*SAMPLES["0005"], "UPDATE recordings SET kept = true")
SAMPLES["0007"] = (
    *SAMPLES["0006"],
    "INSERT INTO chats (recording_id, site, channel, folder, state, since, run, messages, gaps, away)"
    " VALUES (3, 'twitch', 'demo', '/srv/demo', 'capturing', '2026-11-23 09:28:30.740318', 1, 0, 0, 0.0)",
)
SAMPLES["0008"] = (
    *SAMPLES["0007"],
    "INSERT INTO steps (id, recording_id, step, status, required, tries, losses, changed_at)"
    " VALUES (4, 3, 'thumbnail', 'due', false, 1, 0, '2026-11-23 09:28:40.740318')",
)
SAMPLES["0009"] = (
    *SAMPLES["0008"],
    "INSERT INTO hook_calls (id, recording_id, hook, event, number, status, tries, cleared, created_at, changed_at)"
    " VALUES (4, 3, 'nas', 'recording-started', 0, 'due', 0, false, '2026-11-23 09:28:40', '2026-11-23 09:28:40')",
)
"""Rows as each schema had them; every one tells of the same recording."""

NEW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "0001": ({}, {}),
    "0002": (
        {"memory_max": 384 << 20, "memory_since": 5_009.5, "silent_since": 5_008.5},
        {"memory_max": 256 << 20, "evidence": Evidence(status=-9, log=("Killed",))},
    ),
}
NEW["0003"] = (NEW["0002"][0] | {"fills": 2, "filled_at": 5_007.5}, NEW["0002"][1] | {"quality": "720p60"})
NEW["0004"] = NEW["0003"]
NEW["0005"] = NEW["0004"]
NEW["0006"] = (NEW["0005"][0] | {"kept": True}, NEW["0005"][1])
NEW["0007"] = NEW["0006"]
NEW["0008"] = NEW["0007"]
NEW["0009"] = NEW["0008"]
"""What each schema could say for the first time, of the recorder and of its segment."""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    return DATABASES[request.param](tmp_path)


async def open_and_close(where: Path | URL) -> None:
    await (await open_store(where)).close()


def refuse(path: Path) -> str:
    """Why the store at a path cannot be opened; nothing of it stays open."""
    with pytest.raises(StoreUnavailable) as refusal:
        asyncio.run(open_and_close(path))
    held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [file for file in held if file.is_relative_to(path.parent)] == []
    return str(refusal.value)


# --- schema and migrations -----------------------------------------------------------------------------------------


def test_the_migrations_make_the_schema_that_the_program_uses(url: URL) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_migrations_make_the_same_checks_and_partial_indexes(url: URL, tmp_path: Path) -> None:
    """Which Alembic does not compare."""
    engine = open_engine(url)
    (tmp_path / "plain").mkdir()
    plain = create_engine(DATABASES[url.get_backend_name()](tmp_path / "plain"))
    metadata.create_all(plain)
    assert constraints(engine) == constraints(plain)
    engine.dispose()
    plain.dispose()


def index_text(index: ReflectedIndex) -> str:
    conditions = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return f"{index['name']} {index['column_names']} {index['unique']} {conditions}"


def constraints(engine: Any) -> dict[str, Any]:
    found = inspect(engine)
    return {
        table: (
            [(check["name"], check["sqltext"]) for check in found.get_check_constraints(table)],
            sorted(map(index_text, found.get_indexes(table))),
            sorted((column["name"], column["nullable"]) for column in found.get_columns(table)),
        )
        for table in metadata.tables
    }


def test_every_migration_is_known_by_its_order(url: URL) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrations(connection))
        walked = [script.revision for script in scripts.walk_revisions()]
    engine.dispose()
    assert tuple(reversed(walked)) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_store_of_any_age_is_upgraded_with_its_recordings(url: URL, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, revision)
        for line in SAMPLES[revision]:
            connection.execute(text(line), {"boot": BOOT} if ":boot" in line else {})
    engine.dispose()
    store = await open_store(url)
    (recorder,), unreadable = await store.load_unfinished()
    await store.close()
    since = later(10)
    assert unreadable == []
    assert (recorder.state, recorder.since) == (State.RECORDING, since)
    assert (recorder.recording.id, recorder.recording.stream, recorder.recording.created) == (3, 5, NOW)
    fresh = Recorder(recording=recorder.recording, state=State.RECORDING, since=since)
    segment = Segment(number=1, phase=Phase.WRITING, since=since, size=4711)
    of_recorder, of_segment = NEW[revision]
    assert recorder.segments == (replace(segment, **of_segment),)
    assert recorder == replace(fresh, segments=recorder.segments, **of_recorder)


# --- a new store, and one that is there ----------------------------------------------------------------------------


async def test_a_missing_file_becomes_a_store_with_an_identity(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await open_and_close(path)
    first = instance(path)
    await open_and_close(path)
    assert instance(path) == first


def instance(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'instance'").fetchone()[0])


async def test_what_was_saved_is_there_after_reopening(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, media_at=Moment(5_001.5, NOW.realtime + 7))
    saved = await move(store, await start(store), State.RECORDING, segment)
    await store.close()
    reopened = await open_store(tmp_path / "store.db")
    loaded = await reopened.load_unfinished()
    await reopened.close()
    assert loaded == ([saved], [])


USE_WITHOUT_UPGRADE = """
import asyncio, pathlib, sys
from streamvaultd.store.local import LocalStore

async def use():
    store = await LocalStore.open(pathlib.Path(sys.argv[1]), paths=lambda recording, number: "")
    await store.list(all=True)
    await store.load_unfinished()
    await store.close()

asyncio.run(use())
sys.exit(sorted(name for name in sys.modules if name.startswith(("alembic", "mako"))) or 0)
"""


def test_an_up_to_date_store_opens_without_alembic(tmp_path: Path) -> None:
    """Its import takes as long as all the rest of the daemon's start."""
    asyncio.run(open_and_close(tmp_path / "store.db"))
    program = [sys.executable, "-c", USE_WITHOUT_UPGRADE, str(tmp_path / "store.db")]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_rows_that_refer_to_nothing_are_refused_by_a_new_store_and_an_old_one(url: URL) -> None:
    for _ in range(2):
        store = await open_store(url)
        with pytest.raises(StoreUnavailable, match=r"(?i)foreign key"):
            await store.add_seams(99, [SeamRecord(older=1, newer=2, kind="exact", method="", certainty="proven")])
        await store.close()


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(open_and_close(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew) as refusal:
        asyncio.run(open_and_close(path))
    assert refusal.value.fields == {"url": f"sqlite:///{path}", "found": "9999", "known": HEAD}
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["store.db"]


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


def _foreign_with_alembic(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [HEAD])


def _text(path: Path) -> None:
    path.write_text("these are notes, not a database. " * 40)


def _damaged(path: Path) -> None:
    asyncio.run(open_and_close(path))
    content = bytearray(path.read_bytes())
    # the first page after the file's header holds the list of tables
    content[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(content)


def _unversioned(path: Path) -> None:
    asyncio.run(open_and_close(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_foreign, "another program's"),
        (_foreign_with_alembic, "another program's"),
        (_text, "file is not a database"),
        (_damaged, "malformed"),
        (_unversioned, "0 versions"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    path = tmp_path / "store.db"
    spoil(path)
    before = path.read_bytes()
    assert why in refuse(path)
    assert path.read_bytes() == before


def test_a_store_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "No such file or directory" in refuse(tmp_path / "missing" / "store.db")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    assert "unable to open database file" in refuse(tmp_path / "store.db")


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in refuse(tmp_path / "file" / "store.db")
