# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for audits: rows as they stand, numbers of streams, recovered recordings, rows that were removed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.core.model import Phase, Policy, Segment, State
from streamvaultd.core.upkeep.recovery import recovered
from streamvaultd.core.upkeep.world import SegmentFile
from streamvaultd.store import audit_rows
from streamvaultd.store.audit_rows import RecoverableStore
from tests.component.store_world import BOOT, NOW, SetClock, move, segment_path, start


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RecoverableStore]:
    opened = await RecoverableStore.open(tmp_path / "store.db", paths=segment_path, clock=SetClock(), boot=BOOT)
    yield opened
    await opened.close()


def by_hand(tmp_path: Path, statement: str, *values: object) -> None:
    """What an administrator with sqlite3 does: foreign keys are not looked at."""
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute(statement, values)
    database.close()


def files(stream: int, *sizes: int) -> list[SegmentFile]:
    folder = ("/srv/recordings", "demo", stream)
    return [
        SegmentFile(folder=folder, number=number, path=f"/{number}", size=size, modified=NOW.realtime - 1)
        for number, size in enumerate(sizes, 1)
    ]


async def test_rows_as_they_stand(store: RecoverableStore) -> None:
    recorder = await start(store)
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, size=77)
    await move(store, recorder, State.RECORDING, segment)
    [row], are_all = await store.rows(10)
    assert are_all
    assert (row.id, row.folder) == (recorder.recording.id, ("/srv/recordings", "demo", recorder.recording.stream))
    assert (row.status, row.state, row.path, row.fault) == ("recording", "recording", None, None)
    assert [(one.number, one.phase, one.size) for one in row.segments] == [(1, "writing", 77)]
    assert await store.directories() == ["/srv/recordings"]


async def test_rows_that_make_no_sense(store: RecoverableStore, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        await start(store, name)
    by_hand(tmp_path, "UPDATE recordings SET state = 'nonsense' WHERE id = 1")
    by_hand(tmp_path, "UPDATE recordings SET directory = x'00ff' WHERE id = 2")
    by_hand(tmp_path, "DELETE FROM streamers WHERE username = 'c'")
    rows, _ = await store.rows(10)
    assert [(row.id, row.state, row.fault) for row in rows] == [
        (3, "starting", "its username is missing"),
        (2, "starting", "its directory is missing"),
        (1, "nonsense", None),
    ]


async def test_rows_in_pages(store: RecoverableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        await start(store, f"streamer{number}")
    monkeypatch.setattr(audit_rows, "PAGE", 3)
    rows, are_all = await store.rows(100)
    assert ([row.id for row in rows], are_all) == ([7, 6, 5, 4, 3, 2, 1], True)
    rows, are_all = await store.rows(6)
    assert ([row.id for row in rows], are_all) == ([7, 6, 5, 4, 3, 2], False)


async def test_a_stream_keeps_its_number_if_nobody_has_it(store: RecoverableStore) -> None:
    taken = (await start(store, "other")).recording.stream
    assert await store.claim_stream("demo", "file:///x", 4711, NOW) == 4711
    assert await store.claim_stream("demo", "file:///x", 4711, NOW) == 4711  # after a crash, again
    assert await store.claim_stream("demo", "file:///x", taken, NOW) == 4712
    assert await store.claim_stream("demo", "file:///x", 10**15, NOW) == 4713
    assert await store.claim_stream("another", "file:///x", 4711, NOW) == 4714
    assert (await start(store, "later")).recording.stream == 4715


async def test_a_recovered_recording(store: RecoverableStore) -> None:
    known = await start(store, "demo")
    await move(store, known, State.FAILED)
    stream = await store.claim_stream("demo", "file:///x", 50, NOW)
    made = recovered(files(50, 100, 200), stream=stream, url="file:///x", policy=Policy(), at=NOW)
    inserted = await store.insert_recovered(made)
    assert inserted.recording.id == known.recording.id + 1
    assert await store.get(inserted.recording.id) == replace(
        inserted, recording=replace(inserted.recording, id=known.recording.id + 1)
    )
    unfinished, _ = await store.load_unfinished()
    assert [(one.state, one.size) for one in unfinished] == [(State.FINALIZING, 300)]
    # who is known keeps the URL
    assert (await start(store, "demo")).recording.url == "https://example.org/demo"
    # the stream is in use now
    assert await store.claim_stream("demo", "file:///x", 50, NOW) == 52


async def test_rows_that_somebody_removed_are_written_again(store: RecoverableStore, tmp_path: Path) -> None:
    recorder = await start(store)
    first = Segment(number=1, phase=Phase.ENDED, since=NOW, size=5)
    recorder = await move(store, recorder, State.RECORDING, first, Segment(number=2, phase=Phase.WRITING, since=NOW))
    for table in ("recordings", "segments", "streams", "streamers"):
        by_hand(tmp_path, f"DELETE FROM {table}")  # noqa: S608 - names of our own
    await store.save(recorder, recorder.segments[1:])
    assert await store.get(recorder.recording.id) == recorder


async def test_a_result_is_forgotten_once(store: RecoverableStore) -> None:
    recorder = await start(store)
    await move(store, recorder, State.COMPLETED, path="/srv/x.ts")
    number = recorder.recording.id
    assert not await store.forget_result(number, "/srv/other.ts", NOW)
    assert await store.forget_result(number, "/srv/x.ts", NOW)
    assert not await store.forget_result(number, "/srv/x.ts", NOW)
    after = await store.get(number)
    assert after is not None
    assert (after.state, after.path) == (State.COMPLETED, None)
    assert [event.kind for event in await store.events(number)] == ["result-forgotten"]
