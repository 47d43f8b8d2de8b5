# SPDX-License-Identifier: GPL-3.0-or-later
"""The statements by which the incident was found, as docs/validation.md has them, on what recordings leave behind.

The rows are made by the core itself: simulated recordings, saved as the daemon saves them. On PostgreSQL the
statements run as they were written then; on SQLite with the one expression replaced for which it has no grammar.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.core.model import Moment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.store.local import LocalStore
from tests.component.catalogue_world import assert_equal, fed, store_in
from tests.component.store_world import start
from tests.testbed.postgres import Postgres
from tests.unit.broadcast import Air
from tests.unit.stories import KILLED, reach, recording
from tests.unit.world import World

pytestmark = pytest.mark.timeout(600)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "validation.md"
A_DAY_AGO = "NOW() - INTERVAL '24 hours'"
IN_SQLITE = "datetime('now', '-24 hours')"
HOUR = 3600.0

Rows = Sequence[Sequence[str]]
Ask = Callable[[str], Rows]


def statement(step: str) -> str:
    """The block of a step in the document, to the letter."""
    found = re.search(rf"<!-- step:{step} -->\n```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None, step
    return found[1]


STUCK_WITH_NAMES = statement("5-postgresql")
STUCK = statement("5-stuck")


def rotated() -> World:
    """A recording of many segments, one of which was killed."""
    world = recording(150.0)
    world.exit_run(max(world.scopes), KILLED)
    world.advance(100.0)
    assert len(world.recorder.segments) > 3
    assert world.recorder.state is State.RECORDING
    return world


def over(*, stopped: bool) -> World:
    world = recording(150.0)
    if stopped:
        world.ask(lambda at: ev.StopRequested(at=at))
    else:
        world.change_air(Air.ENDED)
    world.finish()
    return world


# name → how it is, and since how many hours
WORLDS: dict[str, tuple[World, float]] = {
    "live-for-days": (rotated(), 50.0),
    "just-a-day": (rotated(), 24.1),
    "not-yet-a-day": (rotated(), 23.9),
    "fresh": (reach(State.STARTING), 0.0),
    "in-backoff": (reach(State.BACKOFF), 30.0),
    "in-grace": (reach(State.GRACE), 30.0),
    "paused": (reach(State.PAUSED), 30.0),
    "stopping": (reach(State.STOPPING), 30.0),
    "finalizing": (reach(State.FINALIZING), 30.0),
    "completed": (over(stopped=False), 30.0),
    "stopped": (over(stopped=True), 30.0),
}
EXPECTED = ["in-backoff", "in-grace", "just-a-day", "live-for-days", "paused", "stopping"]
"""What is under way for more than a day: what has no process now, and waits for its next try, included."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Each of the worlds as a recording of a streamer of its name."""
    async with store_in(tmp_path) as opened:
        now = time.time()
        for name, (world, hours) in WORLDS.items():
            began = Moment(monotonic=1000.0, realtime=round((now - hours * HOUR) * 1e6))
            made = await start(opened, name, began)
            saved = replace(world.recorder, recording=made.recording)
            await opened.save(saved, saved.segments)
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
async def ask(request: pytest.FixtureRequest, store: LocalStore, tmp_path: Path) -> Ask:
    """Runs a statement on the store, or on the catalogue that it has fed."""
    if request.param == "sqlite":
        return lambda text: ask_sqlite(tmp_path / "store.db", text)
    server: Postgres = request.getfixturevalue("server")
    await fed(store, server)
    assert_equal(server, tmp_path)
    return server.sql


def ask_sqlite(file: Path, text: str) -> Rows:
    assert text.count(A_DAY_AGO) == 1
    database = sqlite3.connect(file)
    rows = database.execute(text.replace(A_DAY_AGO, IN_SQLITE)).fetchall()
    database.close()
    return [["" if value is None else str(value) for value in row] for row in rows]


def test_every_state_is_among_the_rows() -> None:
    states = {world.recorder.state.status for world, _ in WORLDS.values()}
    assert states == {"recording", "finalizing", "completed", "stopped"}


async def test_what_has_recorded_for_more_than_a_day(ask: Ask) -> None:
    rows = sorted(ask(STUCK_WITH_NAMES), key=lambda row: row[1])
    assert [row[1] for row in rows] == EXPECTED
    assert {row[2] for row in rows} == {"recording"}
    assert {row[3] for row in rows} == {""}  # a path is that of a joined file
    assert all(row[4] for row in rows)
    assert {row[5] for row in rows} == {""}


async def test_which_recordings_are_concerned(ask: Ask) -> None:
    wanted = {number for number, name in enumerate(WORLDS, 1) if name in EXPECTED}
    rows = ask(STUCK)
    assert {int(row[0]) for row in rows} == wanted
    assert all(row[1] and row[2] and row[3] for row in rows)


async def test_a_backup_is_all_of_it(store: LocalStore, server: Postgres, tmp_path: Path) -> None:
    """pg_dump of the catalogue, and what is made from it."""
    await fed(store, server)
    server.copy("restored")
    try:
        assert_equal(server, tmp_path, "restored")
        names = [row[1] for row in server.sql(STUCK_WITH_NAMES, "restored")]
        assert sorted(names) == EXPECTED
    finally:
        server.sql("DROP DATABASE restored")


def test_the_documented_statement_for_sqlite_is_the_same_but_for_the_time() -> None:
    plain = [line.rstrip() for line in STUCK_WITH_NAMES.replace(A_DAY_AGO, IN_SQLITE).splitlines()]
    assert statement("5-sqlite").splitlines() == plain
