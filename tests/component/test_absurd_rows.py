# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows with numbers that cannot be: whoever looks gets an answer, and what leaves the store can be used."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.api.sockets import READ_METHODS
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import JOIN, Phase, SeamRecord, Segment, State
from streamvaultd.errors import DumpInvalid, InternalError, VaultError
from streamvaultd.store.transfer import dump_to, load_from
from tests.component.socket_world import World, served
from tests.component.store_world import NOW, later, move, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SEGMENT = Segment(
    number=1, phase=Phase.ENDED, since=NOW, started=NOW, ended=later(9), media_at=NOW, size=10, cause="stopped",
    evidence=Evidence(status=0),
)  # fmt: skip
NUMBERS = ("1e308", "-1e308", "9e999", "-9e999", "9223372036854775807", "-9223372036854775808", "1000000000000", "-1")
COLUMNS = {
    "recordings": (
        "duration", "failures", "probe", "joins", "fills", "memory_max", "bytes", "start_time_monotonic",
        "end_time_monotonic", "since_monotonic", "retry_at_monotonic", "status", "state", "start_time", "policy",
    ),
    "segments": (
        "number", "bytes", "stops", "memory_max", "memory_peak", "exit_status", "started_at_monotonic",
        "ended_at_monotonic", "since_monotonic", "grown_at_monotonic", "ended_at", "status", "evidence", "cause",
    ),
    "seams": ("older", "newer", "overlap_bytes", "overlap_ms", "gap_ms", "kind"),
    "events": ("at", "priority", "segment", "message", "fields"),
    "jobs": ("attempts", "created_at", "result", "spec", "status", "unit"),
    "streams": ("started_at", "ended_at", "title"),
    "chats": (
        "site", "channel", "folder", "state", "since", "run", "messages", "gaps", "away", "path", "bytes", "detail",
    ),
}  # fmt: skip
VALUES = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(["NULL", "''", "'x'", "x'ff00'", "CAST(x'ff' AS TEXT)", "'{\"a\": 1e999}'", "'[]'"])
    | st.integers(-(1 << 63), (1 << 63) - 1).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
PLACES = st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns])
PARAMETERS: dict[str, dict[str, Any]] = {
    "GetSegment": {"segment": 1}, "GetSeam": {"older": 1}, "GetStream": {"stream": 1}, "GetJob": {"job": 1},
    "GetEvent": {"event": 1}, "List": {"all": True},
}  # fmt: skip
OF_RECORDING = ("Get", "ListSegments", "GetSegment", "Why", "ListSeams", "GetSeam", "ListParts")
LOOKS = sorted(READ_METHODS - {"Subscribe", "GetStatus", "ListStreamers", "GetStreamer", "GetSettings"})


async def fill(world: World) -> None:
    """One recording with all there is about it, and another one."""
    first = await move(world.store, await start(world.store, "first"), State.COMPLETED, SEGMENT, ended=later(9))
    number = first.recording.id
    await world.store.add_seams(
        number, [SeamRecord(older=1, newer=2, kind="gap", method="pts", gap_ms=5.0, certainty="exact")]
    )
    job = await world.store.create_job(number, JOIN, {"a": 1}, NOW)
    await world.store.finish_job(job, ok=True, result={"parts": [], "bytes": 1}, now=NOW)
    await world.store.add_event(at=NOW, kind="x", priority=5, message="m", recording=number, segment=1, cause=None)
    await move(world.store, await start(world.store, "second"), State.COMPLETED, ended=later(9))
    for each in (1, 2):
        await world.store.save_chat(await chat_of(world, each))


async def chat_of(world: World, number: int) -> Chat:
    found = await world.store.get(number)
    assert found is not None
    folder = f"{found.recording.directory}/{found.recording.streamer}"
    return Chat(
        recording=number, site="twitch", channel="alice", folder=folder, state=ChatState.CAPTURING, since=NOW, run=3,
        messages=5, path=f"{folder}/chat_{number}.jsonl.gz", size=9,
    )  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as found:
        await fill(found)
        yield found


def damage(path: Path, table: str, column: str, value: str) -> bool:
    """Write a value into the first row of a table by hand; whether the database took it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        try:
            connection.execute(f"UPDATE {table} SET {column} = {value} WHERE id = 1")  # noqa: S608 - our own names
        except sqlite3.IntegrityError:
            return False
    return True


async def look_at_all(world: World) -> dict[str, object]:
    """The answer of each method that looks, on both sockets; what it raised for an error."""
    answers: dict[str, object] = {}
    for method in LOOKS:
        given = PARAMETERS.get(method, {}) | ({"recording": "1"} if method in OF_RECORDING else {})
        for ask in (world.call, world.look):
            try:
                answers[method] = await ask(method, **given)
            except VaultError as error:
                answers[method] = error
    return answers


@pytest.mark.parametrize("value", NUMBERS[:6])
async def test_an_absurd_duration_kills_no_list(world: World, tmp_path: Path, value: str) -> None:
    assert damage(tmp_path / "store.db", "recordings", "duration", value)
    for ask in (world.call, world.look):
        found = (await ask("List", all=True))["recordings"]
        assert [one["id"] for one in found] == [2, 1]
        assert 0 <= found[1]["context"]["durationUSec"] <= 10 * 365 * 86400 * 10**6
    assert not any(isinstance(answer, VaultError) for answer in (await look_at_all(world)).values())
    assert world.defects == []


async def test_the_numbers_of_a_manifest_of_an_older_version_can_be_looked_at(world: World, tmp_path: Path) -> None:
    """What an earlier version took from manifests: each of these ended it."""
    store = tmp_path / "store.db"
    for table, column, value in (
        ("recordings", "duration", "1e308"), ("seams", "gap_ms", "1e308"), ("segments", "memory_peak", "-5"),
        ("segments", "bytes", str((1 << 63) - 1)),
    ):  # fmt: skip
        assert damage(store, table, column, value)
    assert [name for name, answer in (await look_at_all(world)).items() if isinstance(answer, VaultError)] == []
    assert world.defects == []


async def test_what_nobody_foresaw_is_an_answer_and_is_told_with_its_place(world: World) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    world.store.page_streams = broken  # type: ignore[method-assign, assignment]
    for ask in (world.call, world.look):
        with pytest.raises(InternalError) as told:
            await ask("ListStreams")
        assert told.value.fields == {"method": "ListStreams", "why": "ZeroDivisionError"}
    assert [(method, type(error)) for method, error in world.defects] == [("ListStreams", ZeroDivisionError)] * 2
    assert len((await world.call("List", all=True))["recordings"]) == 2


CHAT_DAMAGES = (
    ("since", "'junk'"), ("since", "12.5"), ("since", "'9999-99-99'"), ("away", "9e999"), ("away", "'x'"),
    ("bytes", "'x'"), ("bytes", "-4"), ("detail", "x'80'"), ("messages", str(1 << 40)), ("messages", "1.5"),
    ("run", "2147483647"), ("run", "999999"), ("channel", "'x' || char(13, 10) || 'QUIT'"), ("channel", "'Alice'"),
    ("channel", "x'61'"), ("path", "'/etc/passwd'"), ("folder", "'/etc'"), ("state", "'x'"), ("site", "x'ff'"),
)  # fmt: skip


@pytest.mark.parametrize(("column", "value"), CHAT_DAMAGES)
async def test_a_chat_that_cannot_be_read_hides_no_other(
    world: World, tmp_path: Path, column: str, value: str
) -> None:
    both = await world.store.unfinished_chats()
    assert [chat.recording for chat in both] == [1, 2]
    assert both[0] == await chat_of(world, 1)
    assert damage(tmp_path / "store.db", "chats", column, value)
    assert await world.store.unfinished_chats() == [both[1]]
    assert await world.store.chats([1, 2]) == {2: both[1]}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(PLACES, VALUES), min_size=1, max_size=3))
def test_whatever_a_row_holds_every_look_is_answered(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[tuple[str, str], str]]
) -> None:
    async def story(folder: Path) -> None:
        async with served(folder) as world:
            await fill(world)
            for (table, column), value in damages:
                damage(folder / "store.db", table, column, value)
            await look_at_all(world)
            found = (await world.look("List", all=True, streamer="second"))["recordings"]
            assert [one["id"] for one in found] == [2]

    asyncio.run(story(tmp_path_factory.mktemp("rows")))


async def test_a_store_with_absurd_numbers_is_exported_and_taken_back(world: World, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    for table, column, value in (
        ("recordings", "duration", "1e308"), ("segments", "number", "1000000000000"), ("seams", "gap_ms", "1e308"),
        ("recordings", "policy", "json_set(policy, '$.grace', 1e300)"), ("segments", "memory_peak", "-5"),
    ):  # fmt: skip
        assert damage(store, table, column, value)
    file = io.BytesIO()
    copied = await asyncio.to_thread(dump_to, store, file)
    assert copied.rows["recordings"] == 2
    assert copied.rows["segments"] == 0
    assert [text for text in copied.mended if "row 1 of segments is left out: number is 1000000000000" in text]
    assert [text for text in copied.mended if "duration is taken for 315360000" in text]
    assert [text for text in copied.mended if "policy.grace is taken for 315360000" in text]
    file.seek(0)
    back = await asyncio.to_thread(load_from, file, "the dump", tmp_path / "other.db")
    assert back.sha256 == copied.sha256


@pytest.mark.parametrize(
    ("table", "column", "value", "told"),
    [
        ("recordings", "duration", 1e308, "row 1 of recordings: duration is 1e+308, and must be a number from 0 to"),
        ("recordings", "duration", -1, "duration is -1.0"),
        ("segments", "number", 10**6, "row 1 of segments: number is 1000000, and must be a number from 1 to 999999"),
        ("seams", "gap_ms", 1e300, "row 1 of seams: gap_ms is 1e+300"),
        ("recordings", "policy", {"grace": 1e300}, "row 1 of recordings: policy.grace is 1e+300"),
        ("recordings", "bytes", 1 << 63, "wrong bytes"),
    ],
)
async def test_an_import_refuses_what_is_outside_of_its_range(
    world: World, tmp_path: Path, table: str, column: str, value: object, told: str
) -> None:
    file = io.BytesIO()
    await asyncio.to_thread(dump_to, tmp_path / "store.db", file)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    for line in lines:
        if line.get("table") == table and line["row"]["id"] == 1:
            line["row"][column] = value
    forged = io.BytesIO(resealed(lines))
    with pytest.raises(DumpInvalid) as refusal:
        await asyncio.to_thread(load_from, forged, "forged.dump", tmp_path / "other.db")
    assert told in str(refusal.value)
    assert "forged.dump" in str(refusal.value)


def resealed(lines: list[dict[str, Any]]) -> bytes:
    """A dump of these lines with a checksum that is right."""
    import hashlib

    texts = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines[:-1]]
    end = {"end": {"rows": len(texts) - 1, "sha256": hashlib.sha256(b"".join(texts)).hexdigest()}}
    return b"".join(texts) + json.dumps(end, separators=(",", ":")).encode() + b"\n"
