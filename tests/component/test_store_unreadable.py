# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that another hand, or a disk, has changed: nobody goes on with them, and the others do not suffer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.errors import RecordingUnreadable
from tests.component.store_world import NOW, move, open_store, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamvaultd.store.local import LocalStore

SEGMENT = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW, evidence=Evidence(status=0))

DAMAGES = {
    "a word of another language": ("recordings SET state = 'dreaming'", "dreaming"),
    "a text for a number": ("recordings SET failures = 'three'", "failures"),
    "half a moment": ("segments SET started_at_monotonic = NULL", "started_at"),
    "no date": ("recordings SET since = 'tomorrow'", "tomorrow"),
    "a number for a date": ("segments SET ended_at = 17", ""),
    "broken JSON": ("""segments SET evidence = '{"status":'""", "Expecting value"),
    "another JSON": ("recordings SET policy = '[]'", "policy"),
    "bytes that are no text": ("recordings SET directory = CAST(x'2fff' AS TEXT)", "utf-8"),
    "a phase that is none": ("segments SET status = 'asleep'", "segment 1"),
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    opened = await open_store(tmp_path / "store.db")
    yield opened
    await opened.close()


def damage(path: Path, change: str, recording: int) -> None:
    """Change a recording's row, or its segments'."""
    key = "id" if change.startswith("recordings") else "recording_id"
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(f"UPDATE {change} WHERE {key} = {recording}").rowcount == 1


def dump(path: Path) -> list[tuple[object, ...]]:
    """Every row of both tables, as bytes where they are no text."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        tables = ("SELECT * FROM recordings", "SELECT * FROM segments")
        return [row for table in tables for row in connection.execute(table)]


async def two(store: LocalStore) -> tuple[Recorder, Recorder]:
    """Two running recordings."""
    older = await move(store, await start(store, "older"), State.RECORDING, SEGMENT)
    return older, await move(store, await start(store, "newer"), State.RECORDING, SEGMENT)


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_recording_that_cannot_be_read_is_told_of_and_left_alone(
    store: LocalStore, tmp_path: Path, name: str
) -> None:
    change, told = DAMAGES[name]
    older, newer = await two(store)
    damage(tmp_path / "store.db", change, older.recording.id)
    before = dump(tmp_path / "store.db")
    readable, unreadable = await store.load_unfinished()
    assert readable == [newer]
    assert [recording for recording, _ in unreadable] == [older.recording.id]
    assert told in unreadable[0][1]
    assert dump(tmp_path / "store.db") == before


@pytest.mark.parametrize("name", DAMAGES)
async def test_lists_leave_it_out_and_a_look_at_it_says_why(store: LocalStore, tmp_path: Path, name: str) -> None:
    change, told = DAMAGES[name]
    older, newer = await two(store)
    damage(tmp_path / "store.db", change, older.recording.id)
    assert await store.list() == [newer]
    assert await store.list("older") == []
    for wanted in (str(older.recording.id), "older"):
        with pytest.raises(RecordingUnreadable) as refusal:
            await store.find(wanted)
        assert told in str(refusal.value)


async def test_many_unreadable_ones_hide_none_that_can_be_read(store: LocalStore, tmp_path: Path) -> None:
    recorders = [await start(store, f"streamer-{number}") for number in range(9)]
    for recorder in recorders[::2]:
        damage(tmp_path / "store.db", "recordings SET state = ''", recorder.recording.id)
    readable, unreadable = await store.load_unfinished()
    assert readable == recorders[-2::-2]
    assert [recording for recording, _ in unreadable] == [one.recording.id for one in reversed(recorders[::2])]
