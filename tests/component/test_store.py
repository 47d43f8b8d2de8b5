# SPDX-License-Identifier: GPL-3.0-or-later
"""The store on a real database: what is written comes back, nothing is half written, the loop is never held up."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from streamvaultd.base.clock import SystemClock
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, SeamRecord, Segment, State
from streamvaultd.errors import AlreadyRecording, NoSuchRecording, StoreUnavailable
from streamvaultd.store.local import LocalStore
from streamvaultd.store.records import JobRecord, JobStatus
from tests.component.store_world import (
    DATABASES,
    HOUR,
    LATER_BOOT,
    NOW,
    RECORDERS,
    SetClock,
    later,
    move,
    open_store,
    segment_path,
    start,
    statements,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy import URL


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    return DATABASES[request.param](tmp_path)


@pytest.fixture
async def store(url: URL) -> AsyncIterator[LocalStore]:
    opened = await open_store(url)
    yield opened
    await opened.close()


@pytest.fixture(params=DATABASES, scope="module")
def long_lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store, a way to run its calls, and names of streamers, for many examples of one property."""
    url = DATABASES[request.param](tmp_path_factory.mktemp("store"))
    with asyncio.Runner() as runner:
        opened = runner.run(open_store(url))
        yield opened, runner.run, count()
        runner.run(opened.close())


def query(url: URL, statement: str) -> list[Any]:
    """Rows as an administrator's own connection sees them."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def part(number: int, phase: Phase = Phase.WRITING, **more: Any) -> Segment:
    return Segment(number=number, phase=phase, since=NOW, **more)


# --- recordings ----------------------------------------------------------------------------------------------------


async def test_a_new_recording_is_starting_and_has_no_segments(store: LocalStore) -> None:
    recorder = await start(store)
    assert (recorder.state, recorder.since, recorder.segments) == (State.STARTING, NOW, ())
    assert recorder.recording.created == NOW
    assert await store.get(recorder.recording.id) == recorder


async def test_a_streamer_has_one_row_and_a_stream_for_each_recording(store: LocalStore, url: URL) -> None:
    first = await start(store)
    await move(store, first, State.COMPLETED, ended=NOW)
    second = await start(store)
    assert second.recording.stream != first.recording.stream
    assert query(url, "SELECT username FROM streamers") == [("demo",)]


async def test_a_streamer_is_recorded_once_at_a_time(store: LocalStore, url: URL) -> None:
    running = await start(store)
    with pytest.raises(AlreadyRecording) as refusal:
        await store.create_recording(
            streamer="demo",
            url="https://example.org/other",
            quality="best",
            directory="/srv",
            duration=None,
            policy=Policy(),
            now=NOW,
        )
    assert refusal.value.fields == {"streamer": "demo", "recording": running.recording.id}
    assert query(url, "SELECT st.url, s.id FROM streamers st JOIN streams s ON s.streamer_id = st.id") == [
        ("https://example.org/demo", running.recording.stream)
    ]


async def test_a_streamer_is_recorded_again_while_the_last_recording_is_joined(store: LocalStore) -> None:
    await move(store, await start(store), State.FINALIZING)
    assert (await start(store)).state is State.STARTING


async def test_the_database_itself_refuses_a_second_running_recording(store: LocalStore, url: URL) -> None:
    await move(store, await start(store), State.COMPLETED, ended=NOW)
    await start(store)
    with pytest.raises(IntegrityError):
        query(url, "UPDATE recordings SET status = 'recording'")


async def test_the_database_itself_refuses_an_unknown_status(store: LocalStore, url: URL) -> None:
    await start(store)
    with pytest.raises(IntegrityError):
        query(url, "UPDATE recordings SET status = 'zombie'")


@settings(deadline=None)
@given(recorder=RECORDERS)
def test_every_recorder_comes_back_as_it_was_saved(long_lived: Any, recorder: Recorder) -> None:
    store, run, names = long_lived
    wanted = recorder.recording
    created = run(
        store.create_recording(
            streamer=str(next(names)),
            url=wanted.url,
            quality=wanted.quality,
            directory=wanted.directory,
            duration=wanted.duration,
            policy=wanted.policy,
            now=wanted.created,
        )
    )
    saved = replace(recorder, recording=created.recording)
    run(store.save(saved, saved.segments))
    assert run(store.get(created.recording.id)) == saved


async def test_only_the_changed_segments_are_written(store: LocalStore) -> None:
    recorder = await move(store, await start(store), State.ROTATING, part(1), part(2))
    grown = replace(recorder, segments=(part(1, size=5), part(2, size=7)))
    await store.save(grown, (grown.segments[1],))
    assert await store.get(recorder.recording.id) == replace(recorder, segments=(part(1), part(2, size=7)))


async def test_saving_a_recording_that_does_not_exist_is_an_error_and_writes_nothing(
    store: LocalStore, url: URL
) -> None:
    recorder = await start(store)
    foreign = replace(recorder, recording=replace(recorder.recording, id=99))
    with pytest.raises(NoSuchRecording):
        await store.save(foreign, (part(1),))
    assert query(url, "SELECT count(*) FROM segments") == [(0,)]


async def test_a_recording_that_ends_ends_its_stream(store: LocalStore, url: URL) -> None:
    recorder = await start(store)
    assert query(url, "SELECT ended_at IS NULL FROM streams") == [(1,)]
    await move(store, recorder, State.STOPPED, ended=later(HOUR))
    assert query(url, "SELECT s.ended_at = r.end_time FROM streams s JOIN recordings r ON r.stream_id = s.id") == [
        (1,)
    ]


async def test_segments_carry_their_unit_and_their_path(store: LocalStore, url: URL) -> None:
    recorder = await move(store, await start(store), State.RECORDING, part(2, cause="oom", memory_peak=31_457_280))
    wanted = recorder.recording
    assert query(url, "SELECT unit, path, status, cause, memory_peak FROM segments") == [
        (f"streamvault-{wanted.id}-002.scope", segment_path(wanted, 2), "writing", "oom", 31_457_280)
    ]


# --- finding -------------------------------------------------------------------------------------------------------


async def test_a_number_finds_its_recording(store: LocalStore) -> None:
    recorder = await start(store)
    assert await store.find(str(recorder.recording.id)) == recorder


async def test_a_name_finds_the_running_recording_before_a_later_one(store: LocalStore) -> None:
    running = await start(store)
    ended = await move(store, running, State.COMPLETED, ended=NOW)
    latest = await start(store)
    assert await store.find("demo") == latest
    latest = await move(store, latest, State.FAILED, ended=NOW)
    assert await store.find("demo") == latest
    await store.save(replace(ended, state=State.RECORDING, ended=None), ())
    found = await store.find("demo")
    assert found.recording == ended.recording


async def test_a_name_may_consist_of_digits(store: LocalStore) -> None:
    recorder = await start(store, "20261123")
    assert await store.find("20261123") == recorder


@pytest.mark.parametrize("name", ["7", "nobody", "9" * 30, "٣", ""])
async def test_nothing_is_found_where_nothing_is(store: LocalStore, name: str) -> None:
    await start(store)
    with pytest.raises(NoSuchRecording):
        await store.find(name)


async def test_lists_are_newest_first(store: LocalStore) -> None:
    ended = await move(store, await start(store, "a"), State.COMPLETED, ended=NOW)
    joined = await move(store, await start(store, "b"), State.FINALIZING)
    running = await move(store, await start(store, "a"), State.RECORDING, part(1), part(2))
    assert await store.list() == [running, joined]
    assert await store.list(all=True) == [running, joined, ended]
    assert await store.list(all=True, limit=2) == [running, joined]
    assert await store.list("a") == [running, ended]
    assert await store.list("nobody") == []


async def test_a_list_takes_the_same_number_of_statements_however_long_it_is(store: LocalStore) -> None:
    counts = []
    for name in ("a", "b", "c"):
        await move(store, await start(store, name), State.RECORDING, part(1), part(2))
        with statements() as seen:
            await store.list()
        counts.append(len(seen))
    assert len(set(counts)) == 1


# --- a new daemon, a new boot --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "path", "phase", "loaded"),
    [
        (State.RECORDING, None, Phase.WRITING, True),
        (State.GRACE, None, Phase.ENDED, True),
        (State.FINALIZING, None, Phase.ENDED, True),
        (State.COMPLETED, "/srv/a.ts", Phase.ENDED, True),
        (State.STOPPED, "/srv/a.ts", Phase.ENDED, True),
        (State.STOPPED, None, Phase.ENDED, False),
        (State.COMPLETED, "/srv/a.ts", Phase.REMOVED, False),
        (State.FAILED, None, Phase.ENDED, False),
    ],
)
async def test_what_is_unfinished_is_loaded(
    store: LocalStore, state: State, path: str | None, phase: Phase, *, loaded: bool
) -> None:
    ended = NOW if state.is_final else None
    recorder = await move(store, await start(store), state, part(1, phase), path=path, ended=ended)
    assert await store.load_unfinished() == ([recorder] if loaded else [], [])


async def test_a_later_boot_sees_the_same_dates_on_its_own_scale(store: LocalStore, url: URL) -> None:
    recorder = await move(store, await start(store), State.BACKOFF, part(1, Phase.ENDED), retry_at=5_004.0)
    booted = Moment(monotonic=20.0, realtime=later(HOUR).realtime)
    rebooted = await open_store(url, boot=LATER_BOOT, clock=SetClock(booted))
    (loaded,), _ = await rebooted.load_unfinished()
    await rebooted.close()
    then = Moment(20.0 - HOUR, NOW.realtime)
    assert loaded == replace(
        recorder,
        recording=replace(recorder.recording, created=then),
        since=then,
        retry_at=20.0,
        segments=(replace(recorder.segments[0], since=then, earlier_boot=True),),
    )


async def test_segments_that_a_later_boot_leaves_alone_keep_their_scale(store: LocalStore, url: URL) -> None:
    """The recording's row is rewritten in the new boot, the row of its first segment is not."""
    await move(store, await start(store), State.RECORDING, part(1, Phase.ENDED))
    booted = Moment(monotonic=20.0, realtime=later(HOUR).realtime)
    rebooted = await open_store(url, boot=LATER_BOOT, clock=SetClock(booted))
    (loaded,), _ = await rebooted.load_unfinished()
    second = Segment(number=2, phase=Phase.WAITING, since=booted)
    continued = replace(loaded, segments=(*loaded.segments, second))
    await rebooted.save(continued, (second,))
    assert await rebooted.get(loaded.recording.id) == continued
    await rebooted.close()


# --- the seed's SQL ------------------------------------------------------------------------------------------------

DAY_AGO = {"sqlite": "datetime('now', '-24 hours')", "postgresql": "NOW() - INTERVAL '24 hours'"}
STUCK = """
    SELECT s.id, st.username, r.status, r.recording_path, r.start_time, r.end_time
    FROM recordings r
    JOIN streams s ON r.stream_id = s.id
    JOIN streamers st ON s.streamer_id = st.id
    WHERE r.status = 'recording'
      AND r.start_time < {day_ago}
"""
"""As administrators know it; SQLite has its own way to say NOW() - INTERVAL '24 hours'."""


async def test_the_query_for_stuck_recordings_finds_those_that_run_for_a_day(store: LocalStore, url: URL) -> None:
    now = SystemClock().now()
    old, new = later(-24 * HOUR - 60, now), later(-24 * HOUR + 60, now)
    stuck = await start(store, "stuck", old)
    await start(store, "fine", new)
    await move(store, await start(store, "ended", old), State.COMPLETED, path="/srv/ended.ts", ended=new)
    found = query(url, STUCK.format(day_ago=DAY_AGO[url.get_backend_name()]))
    assert [row[:4] for row in found] == [(stuck.recording.stream, "stuck", "recording", None)]
    columns = "SELECT id, stream_id, streamer_id, start_time FROM recordings WHERE status = 'recording'"
    assert len(query(url, columns)) == 2


async def test_path_and_end_of_a_finished_recording_are_in_its_row(store: LocalStore, url: URL) -> None:
    await move(store, await start(store), State.COMPLETED, path="/srv/demo.ts", ended=later(HOUR))
    (row,) = query(url, "SELECT status, recording_path, start_time, end_time FROM recordings")
    assert row[:2] == ("completed", "/srv/demo.ts")
    assert [str(date)[:19] for date in row[2:]] == ["2026-11-23 09:28:30", "2026-11-23 10:28:30"]


# --- events, jobs, seams -------------------------------------------------------------------------------------------


async def test_events_of_a_recording_are_told_oldest_first(store: LocalStore) -> None:
    recorder = await start(store)
    recording = recorder.recording.id
    await store.add_event(at=NOW, kind="daemon-started", priority=6, message="ready")
    for number in (1, 2, 3):
        await store.add_event(
            at=later(number),
            kind="segment-died",
            priority=5,
            message=f"segment {number} died",
            recording=recording,
            segment=number,
            cause="signal:9",
            fields={"bytes": number},
        )
    told = await store.events(recording)
    assert [(one.segment, one.at, one.cause, one.fields) for one in told] == [
        (number, later(number).realtime, "signal:9", {"bytes": number}) for number in (1, 2, 3)
    ]
    assert [one.segment for one in await store.events(recording, limit=2)] == [2, 3]


async def test_an_event_may_quote_bytes_that_are_no_text(store: LocalStore) -> None:
    recorder = await start(store)
    await store.add_event(at=NOW, kind="x", priority=6, message="a\udce9\0", recording=recorder.recording.id)
    assert [one.message for one in await store.events(recorder.recording.id)] == ["a\ufffd\ufffd"]


async def test_a_job_is_unfinished_until_it_is_told_how_it_ended(store: LocalStore) -> None:
    recording = (await start(store)).recording.id
    number = await store.create_job(recording, "join", {"segments": [1, 2]}, NOW)
    job = JobRecord(
        id=number,
        recording=recording,
        kind="join",
        status=JobStatus.RUNNING,
        attempts=1,
        unit=f"streamvault-job-{number}.scope",
        spec={"segments": [1, 2]},
        result=None,
        created=NOW.realtime,
        started=NOW.realtime,
        ended=None,
    )
    assert await store.unfinished_jobs() == [job]
    await store.finish_job(number, ok=False, result={"why": "no space"}, now=later(5))
    assert await store.unfinished_jobs() == []
    assert await store.job(number) == replace(
        job, status=JobStatus.FAILED, result={"why": "no space"}, ended=later(5).realtime
    )


async def test_every_try_at_the_same_work_is_counted(store: LocalStore) -> None:
    recording, other = (await start(store)).recording.id, (await start(store, "other")).recording.id
    for work in (
        (recording, "join"),
        (recording, "join"),
        (recording, "verify"),
        (other, "join"),
        (recording, "join"),
    ):
        await store.create_job(*work, {}, NOW)
    assert [job.attempts for job in await store.unfinished_jobs()] == [1, 2, 1, 1, 3]


async def test_numbers_of_jobs_are_not_used_again(store: LocalStore, url: URL) -> None:
    recording = (await start(store)).recording.id
    number = await store.create_job(recording, "join", {}, NOW)
    query(url, "DELETE FROM jobs")
    assert await store.create_job(recording, "join", {}, NOW) > number


async def test_a_job_that_does_not_exist_cannot_end(store: LocalStore) -> None:
    assert await store.job(7) is None
    with pytest.raises(KeyError):
        await store.finish_job(7, ok=True, result={}, now=NOW)


async def test_a_later_join_replaces_the_seams_of_an_earlier_one(store: LocalStore) -> None:
    recording = (await start(store)).recording.id
    exact = SeamRecord(older=1, newer=2, kind="exact", method="bytes", overlap_bytes=188_000, certainty="proven")
    gap = SeamRecord(older=2, newer=3, kind="gap", method="clock", gap_ms=1_999.5, certainty="likely", note="?")
    await store.add_seams(recording, [exact])
    await store.add_seams(recording, [gap, exact])
    assert await store.seams(recording) == [exact, gap]
    await store.add_seams(recording, [])
    assert await store.seams(recording) == []


# --- the disk and the loop -----------------------------------------------------------------------------------------


async def test_the_loop_runs_on_while_a_save_waits_for_the_database(tmp_path: Path) -> None:
    """Were the loop held up, nobody would let the other process's lock go, and the save would fail."""
    store = await open_store(tmp_path / "store.db")
    recorder = await start(store)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    saving = asyncio.create_task(store.save(replace(recorder, failures=1), ()))
    await asyncio.sleep(0)
    other.execute("COMMIT")
    other.close()
    await saving
    assert await store.get(recorder.recording.id) == replace(recorder, failures=1)
    await store.close()


async def test_calls_take_effect_in_the_order_they_were_made(store: LocalStore) -> None:
    recorder = await start(store)
    saves = [store.save(replace(recorder, failures=number), ()) for number in range(20)]
    await asyncio.gather(*saves)
    assert await store.get(recorder.recording.id) == replace(recorder, failures=19)


async def test_a_committed_save_survives_power_loss(tmp_path: Path) -> None:
    """FULL (2) makes SQLite sync the log at every commit; see sqlite.org/pragma.html."""
    store = await open_store(tmp_path / "store.db")
    modes: list[Any] = []

    def look(driver: sqlite3.Connection) -> None:
        modes.extend(driver.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode"))

    with statements(look):
        await start(store)
    await store.close()
    assert modes[:2] == [2, "wal"]


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """URLs in it may hold credentials."""
    with asyncio.Runner() as runner:
        store = runner.run(open_store(tmp_path / "store.db"))
        runner.run(start(store))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        runner.run(store.close())
    assert modes == {"store.db": 0o600, "store.db-shm": 0o600, "store.db-wal": 0o600}


async def test_an_error_does_not_show_what_was_to_be_written(store: LocalStore, url: URL) -> None:
    recorder = await start(store)
    query(url, "DROP TABLE segments")
    with pytest.raises(StoreUnavailable) as refusal:
        await store.save(replace(recorder, detail="token=secret"), (part(1, cause="token=secret"),))
    assert "secret" not in str(refusal.value)
    assert "secret" not in str(refusal.value.__cause__)
