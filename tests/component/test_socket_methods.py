# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods of the socket against a real store: pages and filters, what is subscribed to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import varlink

from streamvaultd.api.sockets import READ_METHODS
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Phase, SeamRecord, State, Told
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.errors import (
    ConfigInvalid,
    ConfigUnreadable,
    InvalidParameter,
    NoSuchEvent,
    NoSuchJob,
    NoSuchRecording,
    NoSuchSeam,
    NoSuchSegment,
    NoSuchStream,
    NothingToRetry,
    NothingToVerify,
    PermissionDenied,
    VerifyFailed,
)
from streamvaultd.varlink import idl
from streamvaultd.varlink.server import read_definition
from streamvaultd.varlink.sockets import Members, Peer
from tests.component.socket_world import RECORDER, World, ended, joined, over, served, somebody
from tests.component.store_world import NOW, later, move, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400.0
DEFINED = idl.parse(read_definition(RECORDER))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as world:
        yield world


def ids(answer: dict[str, Any], name: str = "recordings") -> list[int]:
    return [item["id"] for item in answer[name]]


# --- the contract --------------------------------------------------------------------------------------------------


async def test_every_method_has_a_handler_and_there_is_no_other(world: World) -> None:
    assert set(world.handlers()) == set(DEFINED.methods)
    assert set(DEFINED.methods) >= READ_METHODS


async def test_the_read_only_socket_answers_what_changes_nothing(world: World) -> None:
    await over(world, State.COMPLETED)
    assert ids(await world.look("List", all=True)) == [1]
    named = ("Stop", "Rotate", "Retry", "Keep", "Unkeep", "Verify")
    for method in sorted(set(DEFINED.methods) - READ_METHODS):
        parameters = {"recording": "demo"} if method in named else {}
        parameters |= {"url": "hls://x"} if method in ("Record", "AddStreamer") else {}
        parameters |= {"streamer": "demo"} if method.endswith("Streamer") and method != "AddStreamer" else {}
        parameters |= {"verb": "status"} if method == "ManageStreamlink" else {}
        parameters |= {"target": "phone"} if method == "Notify" else {}
        with pytest.raises(PermissionDenied):
            await world.look(method, **parameters)


def test_members_are_root_the_owner_and_the_group_of_the_socket() -> None:
    members = Members(frozenset({0, 990}), 991)
    allowed = [Peer(1, 0, 0), Peer(1, 990, 5), Peer(1, 1000, 991), Peer(1, 1000, 5, frozenset({4, 991}))]
    assert all(members.admit(peer) for peer in allowed)
    assert not members.admit(Peer(1, 1000, 1000, frozenset({4, 24})))
    assert not Members(frozenset({0}), None).admit(Peer(1, 1000, 1000))


async def test_others_are_refused_whatever_they_want(tmp_path: Path) -> None:
    async with served(tmp_path, Members(frozenset(), None)) as world:
        with pytest.raises(PermissionDenied):
            await world.call("List")
        assert await world.look("List") == {"recordings": []}


async def test_null_is_as_good_as_absent(world: World) -> None:
    await over(world, State.COMPLETED)
    nothing = dict.fromkeys(("streamer", "status", "state", "since", "until", "limit", "before"))
    assert ids(await world.call("List", all=True, **nothing)) == [1]
    assert len((await world.call("ListSegments", recording="1", after=None, limit=None))["segments"]) == 2
    assert (await world.call("ListSeams", recording="1", after=None, limit=None)) == {"seams": []}


async def test_the_varlink_package_calls_every_method_that_looks(world: World) -> None:
    """An independent client: it reads the interface from the socket, and refuses what does not fit it."""
    await over(world, State.COMPLETED)
    world.watched["eve"] = somebody("eve")
    await world.store.create_job(1, "join", {}, NOW)
    await world.store.add_event(at=NOW, kind="adopted", priority=5, message="m", recording=1)
    await world.store.add_seams(1, [SeamRecord(older=1, newer=2, kind="exact", method="bytes", certainty="proven")])
    given: dict[str, dict[str, Any]] = {
        "GetStream": {"stream": 1}, "GetJob": {"job": 1}, "GetEvent": {"event": 1}, "GetStreamer": {"streamer": "eve"},
        "GetSegment": {"recording": "1", "segment": 2}, "GetSeam": {"recording": "1", "older": 1},
    }  # fmt: skip
    of_recording = {name: {"recording": "1"} for name in ("Get", "ListSegments", "Why", "ListSeams", "ListParts")}

    def use() -> set[str]:
        answered = set()
        with varlink.Client(f"unix:{world.path}") as client, client.open(RECORDER, namespaced=False) as interface:
            for method in sorted(READ_METHODS - {"Subscribe"}):
                parameters = (of_recording | given).get(method, {})
                assert getattr(interface, method)(**parameters), method
                answered.add(method)
        return answered

    assert await asyncio.to_thread(use) == READ_METHODS - {"Subscribe"}


# --- pages and filters ---------------------------------------------------------------------------------------------


async def test_recordings_come_in_pages_newest_first(world: World) -> None:
    for _ in range(5):
        await over(world, State.COMPLETED)
    first = await world.call("List", all=True, limit=2)
    assert (ids(first), first["next"]) == ([5, 4], 4)
    second = await world.call("List", all=True, limit=2, before=first["next"])
    assert (ids(second), second["next"]) == ([3, 2], 2)
    last = await world.call("List", all=True, limit=2, before=second["next"])
    assert ids(last) == [1]
    assert "next" not in last
    for limit in (0, -1):
        with pytest.raises(InvalidParameter):
            await world.call("List", limit=limit)
    with pytest.raises(InvalidParameter):
        await world.call("List", before=-1)


async def test_recordings_are_filtered_by_all_that_is_given(world: World) -> None:
    await over(world, State.COMPLETED, "alice")
    await over(world, State.FAILED, "alice")
    await over(world, State.STOPPED, "bob")
    await start(world.store, "alice", later(DAY))
    assert ids(await world.call("List")) == [4]
    assert ids(await world.call("List", all=True)) == [4, 3, 2, 1]
    assert ids(await world.call("List", streamer="alice")) == [4, 2, 1]
    assert ids(await world.call("List", streamer="nobody")) == []
    assert ids(await world.call("List", status="failed")) == [2]
    assert ids(await world.call("List", status="recording", streamer="alice")) == [4]
    assert ids(await world.call("List", state="starting")) == [4]
    assert ids(await world.call("List", since=later(DAY).realtime)) == [4]
    assert ids(await world.call("List", until=later(DAY).realtime, streamer="alice")) == [2, 1]
    with pytest.raises(InvalidParameter):
        await world.call("List", since=1 << 62)
    with pytest.raises(InvalidParameter):
        await world.call("List", status="odd")


async def test_a_listed_recording_is_as_one_that_is_got(world: World) -> None:
    await over(world, State.COMPLETED, path="/srv/recordings/demo/x.ts", result_bytes=300)
    await over(world, State.FAILED, detail="because")
    await start(world.store, "bob")
    listed = (await world.call("List", all=True))["recordings"]
    assert listed == [(await world.call("Get", recording=str(number)))["recording"] for number in (3, 2, 1)]
    assert (listed[1]["runtime"]["deaths"], listed[1]["runtime"]["bytes"]) == (1, 376)


async def test_what_runs_is_listed_as_the_daemon_knows_it(world: World) -> None:
    recorder = await start(world.store)
    world.manager.take(await move(world.store, recorder, State.RECORDING, ended(1, Phase.WRITING, ended=None)))
    await world.store.save(recorder, ())
    assert (await world.call("List"))["recordings"][0]["runtime"]["state"] == "recording"


async def test_segments_and_seams_come_in_pages_oldest_first(world: World) -> None:
    parts = tuple(ended(number, Phase.ENDED if number == 3 else Phase.REMOVED) for number in (1, 2, 3))
    await over(world, State.COMPLETED, segments=parts)
    seams = [SeamRecord(older=n, newer=n + 1, kind="exact", method="bytes", certainty="proven") for n in (1, 2)]
    await world.store.add_seams(1, seams)
    page = await world.call("ListSegments", recording="1", limit=2)
    assert ([each["number"] for each in page["segments"]], page["next"]) == ([1, 2], 2)
    page = await world.call("ListSegments", recording="1", limit=2, after=2)
    assert [each["number"] for each in page["segments"]] == [3]
    page = await world.call("ListSegments", recording="1", phase="ended")
    assert [each["number"] for each in page["segments"]] == [3]
    assert (await world.call("GetSegment", recording="1", segment=3))["segment"] == page["segments"][0]
    page = await world.call("ListSeams", recording="1", limit=1)
    assert ([seam["older"] for seam in page["seams"]], page["next"]) == ([1], 1)
    page = await world.call("ListSeams", recording="1", after=1)
    assert "next" not in page
    assert (await world.call("GetSeam", recording="1", older=2))["seam"] == page["seams"][0]


async def test_streams_jobs_and_events(world: World) -> None:
    recorder = await over(world, State.COMPLETED, "alice")
    await start(world.store, "bob")
    job = await world.store.create_job(1, "join", {}, NOW)
    await world.store.finish_job(job, ok=False, result={"why": "no space"}, now=later(5))
    await world.store.create_job(2, "join", {}, later(6))
    for priority, recording in ((4, 1), (5, 1), (6, 2), (3, None)):
        await world.store.add_event(
            at=later(priority), kind=f"kind-{priority}", priority=priority, message="m", recording=recording
        )
    streams = await world.call("ListStreams")
    assert [(each["id"], each["streamer"], each["recordings"]) for each in streams["streams"]] == [
        (2, "bob", [2]),
        (1, "alice", [1]),
    ]
    assert ids(await world.call("ListStreams", live=True), "streams") == [2]
    assert ids(await world.call("ListStreams", streamer="alice", live=False), "streams") == [1]
    assert (await world.call("GetStream", stream=recorder.recording.stream))["stream"]["endedAt"] == {
        "realtime": later(10).realtime
    }
    jobs = await world.call("ListJobs")
    assert [(each["id"], each["status"], each.get("why")) for each in jobs["jobs"]] == [
        (2, "running", None),
        (1, "failed", "no space"),
    ]
    assert ids(await world.call("ListJobs", recording="alice"), "jobs") == [1]
    assert ids(await world.call("ListJobs", status="running", kind="join"), "jobs") == [2]
    assert (await world.call("GetJob", job=1))["job"] == jobs["jobs"][1]
    assert ids(await world.call("ListEvents"), "events") == [4, 3, 2, 1]
    assert ids(await world.call("ListEvents", recording="alice", limit=1), "events") == [2]
    assert ids(await world.call("ListEvents", streamer="bob"), "events") == [3]
    assert ids(await world.call("ListEvents", priority=4), "events") == [4, 1]
    assert ids(await world.call("ListEvents", kind="kind-6"), "events") == [3]
    assert ids(await world.call("ListEvents", since=later(5).realtime), "events") == [3, 2]
    assert (await world.call("GetEvent", event=2))["event"]["kind"] == "kind-5"


async def test_what_is_not_there_has_an_error_of_its_own(world: World) -> None:
    await over(world, State.COMPLETED)
    for method, parameters, error in (
        ("GetStream", {"stream": 9}, NoSuchStream),
        ("GetJob", {"job": 9}, NoSuchJob),
        ("GetEvent", {"event": 9}, NoSuchEvent),
        ("GetSegment", {"recording": "1", "segment": 9}, NoSuchSegment),
        ("GetSeam", {"recording": "1", "older": 1}, NoSuchSeam),
        ("ListJobs", {"recording": "x"}, NoSuchRecording),
        ("ListEvents", {"recording": "x"}, NoSuchRecording),
        ("GetJob", {"job": 1 << 62}, InvalidParameter),
    ):
        with pytest.raises(error):
            await world.call(method, **parameters)


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": -1}, {"after": -1}, {"after": 1 << 62}])
@pytest.mark.parametrize("method", ["ListSegments", "ListSeams"])
async def test_what_is_no_page_is_refused(world: World, method: str, parameters: dict[str, int]) -> None:
    await over(world, State.COMPLETED)
    with pytest.raises(InvalidParameter):
        await world.call(method, recording="1", **parameters)


@pytest.mark.parametrize("priority", [-1, 8])
async def test_what_is_no_priority_is_refused(world: World, priority: int) -> None:
    with pytest.raises(InvalidParameter):
        await world.call("ListEvents", priority=priority)


# --- subscriptions -------------------------------------------------------------------------------------------------


async def test_a_subscriber_gets_the_topics_that_it_wants(world: World) -> None:
    recorder = await start(world.store)
    world.manager.take(recorder)
    topics = ["streams", "recordings", "segments", "seams", "jobs", "events"]
    async with (
        world.subscribed(topics=topics) as everything,
        world.subscribed(topics=["recordings", "jobs"], streamer="demo") as jobs,
    ):
        first = await everything.next()
        assert (await jobs.next())["recording"]["id"] == 1
        assert (first["recording"]["id"], first["stream"]["id"]) == (1, 1)
        after = await move(world.store, recorder, State.RECORDING, ended(1, Phase.WRITING, ended=None))
        world.manager.take(after)
        world.tell(after, Told("media-arrived", 5, "Segment 001 records", None, 1))
        assert (await everything.next())["event"]["kind"] == "media-arrived"
        await world.store.add_seams(
            1, [SeamRecord(older=1, newer=2, kind="exact", method="bytes", certainty="proven")]
        )
        job = await world.store.create_job(1, "join", {}, NOW)
        assert (await everything.next())["job"]["status"] == "running"
        await world.store.finish_job(job, ok=True, result={"path": "/x", "bytes": 5}, now=NOW)
        done = await everything.next()
        assert (done["job"]["path"], done["seams"][0]["kind"]) == ("/x", "exact")
        assert [(await jobs.next())["job"]["status"] for _ in range(2)] == ["running", "done"]


async def test_changed_segments_are_told_once(world: World) -> None:
    recorder = await move(world.store, await start(world.store), State.BACKOFF, ended(1, Phase.ENDED))
    world.manager.take(recorder)
    async with world.subscribed(topics=["segments"], streamer="demo") as feed:
        assert [each["number"] for each in (await feed.next())["segments"]] == [1]
        await world.call("Retry", recording="demo")
        assert [(each["number"], each["phase"]) for each in (await feed.next())["segments"]] == [(2, "launching")]


# --- retry, prune, verify, settings --------------------------------------------------------------------------------


async def test_retry_joins_what_failed_to_be_joined(world: World) -> None:
    await over(world, State.FAILED, segments=(ended(1, Phase.ENDED),))
    answer = await world.call("Retry", recording="1")
    assert answer["recording"]["runtime"]["state"] == "finalizing"
    assert fx.Join(1) in world.executor.done
    found = await world.store.get(1)
    assert found is not None
    assert found.state is State.FINALIZING
    with pytest.raises(NothingToRetry) as refused:
        await world.call("Retry", recording="1")
    assert refused.value.fields == {"recording": 1, "why": "it is busy already"}


async def test_a_recording_whose_join_failed_says_when_it_is_tried_again_and_can_be_given_up(world: World) -> None:
    waiting = await move(
        world.store, await start(world.store), State.UNJOINED, ended(1, Phase.ENDED), retry_at=NOW.monotonic + 60.0,
        joins=1, detail="the last join failed: no room",
    )  # fmt: skip
    world.manager.take(waiting)
    runtime = (await world.call("Get", recording="demo"))["recording"]["runtime"]
    assert (runtime["state"], runtime["detail"]) == ("unjoined", "the last join failed: no room")
    assert runtime["retryAt"]["monotonic"] == round((NOW.monotonic + 60.0) * 1e6)
    runtime = (await world.call("Stop", recording="demo"))["recording"]["runtime"]
    assert (runtime["state"], "retryAt" in runtime) == ("failed", False)
    answer = await world.call("Retry", recording="demo")
    assert answer["recording"]["runtime"]["state"] == "finalizing"
    assert fx.Join(2) in world.executor.done


async def test_verify_looks_into_the_joined_file(world: World, tmp_path: Path) -> None:
    _, parts = await joined(world, tmp_path)
    packet = bytes([0x47, 0x1F, 0xFF, 0x10]) + bytes(184)  # a null packet
    parts[0].write_bytes(packet * 100 + b"torn")
    found = await world.call("Verify", recording="1")
    assert (found["verdict"], found["format"], found["bytes"]) == ("damaged", "ts", 18_804)
    assert [(each["kind"], each["offset"]) for each in found["problems"]] == [("untimed", 0), ("torn", 18_800)]
    parts[0].write_bytes(b"")
    assert (await world.call("Verify", recording="1"))["problemCount"] == 1
    parts[0].unlink()
    with pytest.raises(VerifyFailed):
        await world.call("Verify", recording="1")
    await over(world, State.FAILED, "bob", detail="no media arrived")
    with pytest.raises(NothingToVerify, match="no media arrived"):
        await world.call("Verify", recording="bob")


async def test_settings_are_shown_without_secrets_and_reloaded(world: World) -> None:
    pool = Pool(urls=("http://a:1", "direct"))
    world.settings.now = Settings(streamlink_options=(("http-cookie", "token=s3cret"),), pools={"eu": pool})
    settings = {(each["section"], each["key"]): each for each in (await world.look("GetSettings"))["settings"]}
    assert settings["rotation", "age"]["value"] == "23h 58min 48s"
    assert settings["limits", "memory_max"]["value"] == settings["limits", "memory_max"]["default"] == "256M"
    assert settings["streamlink", "options"]["value"] == '{ http-cookie = "***" }'
    assert settings["proxies.eu", "urls"]["value"] == "http://a:1 direct"
    assert "s3cret" not in json.dumps(list(settings.values()))
    assert await world.call("Reload") == {"applied": True, "mistakes": []}
    world.mistakes = (
        ConfigInvalid(file="/etc/x.toml", section="disk", key="floor", value="-1", why="too small"),
        ConfigUnreadable(file="/etc/y.toml", why="not TOML"),
    )
    assert await world.call("Reload") == {
        "applied": False,
        "mistakes": [
            {"file": "/etc/x.toml", "section": "disk", "key": "floor", "value": "-1", "why": "too small"},
            {"file": "/etc/y.toml", "why": "not TOML"},
        ],
    }
