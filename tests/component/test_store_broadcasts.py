# SPDX-License-Identifier: GPL-3.0-or-later
"""Broadcasts in the store: identities, titles, and what a new daemon learns of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from streamvaultd.core.model import Broadcast, Policy, Recorder, State, StopReason, Titled
from streamvaultd.core.watching.model import Ended, Past
from streamvaultd.core.watching.usual_hours import minute_of_day
from streamvaultd.store.local import LocalStore
from streamvaultd.store.schema import events
from tests.component.store_world import DATABASES, NOW, SetClock, later, move, open_store


@pytest.fixture(name="store", params=DATABASES)
async def _store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = await open_store(DATABASES[request.param](tmp_path), clock=SetClock(later(600)))
    yield store
    await store.close()


async def begin(store: LocalStore, site_id: str, seconds: float = 0, streamer: str = "alice") -> Recorder:
    return await store.create_recording(
        streamer=streamer, url="https://a.example/", quality="best", directory="/srv", duration=None, policy=Policy(),
        now=later(seconds), broadcast=Broadcast(site_id=site_id, title="first", category="chess"),
    )  # fmt: skip


async def rows(store: LocalStore, query: str) -> list[tuple[Any, ...]]:
    return await store._read(lambda connection: [tuple(row) for row in connection.execute(sa.text(query))])


async def test_a_stream_has_its_identity_title_and_category(store: LocalStore) -> None:
    await begin(store, "b1")
    assert await rows(store, "SELECT site_id, title, category FROM streams") == [("b1", "first", "chess")]


async def test_what_a_site_says_may_be_no_text(store: LocalStore) -> None:
    await begin(store, "b\0")
    await begin(store, "b\0", streamer="bob")
    assert await rows(store, "SELECT site_id FROM streams") == [("b\ufffd",)] * 2


async def test_a_changed_title_is_kept_with_its_time(store: LocalStore) -> None:
    recorder = await begin(store, "b1")
    await store.note_broadcast(recorder.recording.id, Broadcast(title="second", category="go"), later(60))
    assert await rows(store, "SELECT site_id, title, category FROM streams") == [("b1", "second", "go")]
    (event,) = await store.events(recorder.recording.id)
    assert (event.at, event.kind, event.message) == (
        later(60).realtime,
        "stream-changed",
        "The stream is now 'second' (go)",
    )


async def test_each_title_is_known_with_its_moment(store: LocalStore) -> None:
    recorder = await begin(store, "b1")
    number = recorder.recording.id
    other = await begin(store, "b2", streamer="bob")
    await store.note_broadcast(other.recording.id, Broadcast(title="another's", category=""), later(30))
    assert await store.titles(number) == [Titled(0, "first", "chess")]
    await store.note_broadcast(number, Broadcast(title="second", category="go"), later(60))
    await store.note_broadcast(number, Broadcast(title="", category="go"), later(70))
    assert await store.titles(number) == [
        Titled(0, "first", "chess"), Titled(later(60).realtime, "second", "go"), Titled(later(70).realtime, "", "go"),
    ]  # fmt: skip
    assert await store.titles(99) == [Titled(0, "", "")]


async def test_a_change_that_another_version_noted_does_not_say_what_was_before(store: LocalStore) -> None:
    recorder = await begin(store, "b1")
    await store.note_broadcast(recorder.recording.id, Broadcast(title="second", category="go"), later(60))
    with store._engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE events SET fields = :fields"), {"fields": '{"title": "second", "category": 5}'}
        )
    assert await store.titles(recorder.recording.id) == [Titled(0, "", ""), Titled(later(60).realtime, "second", "")]


async def test_a_title_that_no_program_can_be_told_is_replaced(store: LocalStore) -> None:
    recorder = await begin(store, "b1")
    await store.note_broadcast(recorder.recording.id, Broadcast(title="second", category="go"), later(60))
    with store._engine.begin() as connection:
        lone = sa.update(events).where(events.c.kind == "stream-changed")
        connection.execute(lone.values(fields=sa.cast('{"title": "a\\ud800", "category": "b\\u0000"}', sa.Text)))
    [_, found] = await store.titles(recorder.recording.id)
    assert (found.title, found.category) == ("a\ufffd", "b\ufffd")


@pytest.mark.parametrize("fields", ["{broken", "[1]", '"x"', "5", None])
async def test_a_change_that_another_hand_wrote_costs_no_other(store: LocalStore, fields: str | None) -> None:
    recorder = await begin(store, "b1")
    for seconds, title in ((60, "second"), (70, "third")):
        await store.note_broadcast(recorder.recording.id, Broadcast(title=title, category="go"), later(seconds))
    with store._engine.begin() as connection:
        first = sa.select(sa.func.min(events.c.id)).where(events.c.kind == "stream-changed").scalar_subquery()
        spoil = sa.update(events).where(events.c.id == first)
        connection.execute(spoil.values(fields=sa.cast(fields, sa.Text) if fields else sa.null()))
    assert (await store.titles(recorder.recording.id))[1:] == [Titled(later(70).realtime, "third", "go")]


async def test_what_resumes_is_never_refused_though_its_identity_is_known(store: LocalStore) -> None:
    first = await begin(store, "b1")
    await move(store, first, State.FINALIZING)
    second = await begin(store, "b1", 60)
    assert second.recording.stream != first.recording.stream
    assert len(await rows(store, "SELECT id FROM streams WHERE site_id = 'b1'")) == 2


async def test_two_streams_of_one_identity_under_way_are_refused_by_the_database(store: LocalStore) -> None:
    await begin(store, "b1")
    with pytest.raises(sa.exc.IntegrityError), store._engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO streams (streamer_id, site_id, started_at) VALUES (1, 'b1', '2026-01-01 00:00:00')")
        )
    await begin(store, "b1", streamer="somebody else")


async def test_the_past(store: LocalStore) -> None:
    running = await begin(store, "b1")
    stopped = await begin(store, "b2", streamer="bob")
    await move(store, stopped, State.STOPPED, stop=StopReason.REQUESTED, ended=later(300))
    joined = await begin(store, "", streamer="carol")
    await move(store, joined, State.FINALIZING, since=later(540))
    minute = (minute_of_day(NOW.realtime),)
    assert await store.past() == {
        "alice": Past(site_id="b1", recording=running.recording.id, usual=minute),
        "bob": Past(site_id="b2", ended=Ended.REQUESTED, ago=300.0, usual=minute),
        "carol": Past(ended=Ended.BROADCAST, ago=60.0, usual=minute),
    }


PARTS = {"parts": [{"path": "/srv/1.ts"}, {"path": "/srv/1.part2.mp4"}]}


@pytest.mark.parametrize(
    ("state", "stop", "sites", "result", "expected"),
    [
        (State.COMPLETED, StopReason.OVER, ("b1", "b2"), None, "/srv/1.ts"),
        (State.COMPLETED, None, ("", ""), None, "/srv/1.ts"),
        (State.COMPLETED, StopReason.OVER, ("", ""), PARTS, "/srv/1.part2.mp4"),
        (State.COMPLETED, StopReason.OVER, ("b1", "b1"), None, None),  # it goes on: this is a part of it
        (State.COMPLETED, StopReason.CHANGED, ("b1", "b2"), None, None),  # it has the beginning of this one
        (State.STOPPED, StopReason.REQUESTED, ("b1", "b2"), None, None),  # somebody stopped it before its end
    ],
)
async def test_the_result_before(
    store: LocalStore, state: State, stop: StopReason | None, sites: tuple[str, str],
    result: dict[str, Any] | None, expected: str | None,
) -> None:  # fmt: skip
    first = await begin(store, sites[0])
    await move(store, first, state, stop=stop, path="/srv/1.ts", ended=later(60))
    if result is not None:
        job = await store.create_job(first.recording.id, "join", {}, later(60))
        await store.finish_job(job, ok=True, result=result, now=later(60))
    second = await begin(store, sites[1], 90)
    number = first.recording.id
    assert await store.result_before(second.recording.id) == (None if expected is None else (number, expected))
    assert await store.result_before(number) is None
    other = await begin(store, "", 90, streamer="bob")
    assert await store.result_before(other.recording.id) is None
    assert await store.result_before(999) is None
