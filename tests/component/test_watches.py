# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching with real files and a real loop: sources, recordings and the journal are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.api.streamers import StreamersApi
from streamvaultd.base.clock import SystemClock
from streamvaultd.base.tasks import Tasks
from streamvaultd.config.last_good import LastGood
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.config.streamer_files import StreamerFiles
from streamvaultd.core.model import Policy, Recorder, Recording, State, StopReason
from streamvaultd.core.recording.events import BroadcastOver, Event, Outcome
from streamvaultd.core.upkeep.retention import RetentionRules as Retention
from streamvaultd.core.watching.model import Mood, Sighting, Trouble
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import (
    AlreadyRecording,
    ConfigInvalid,
    InvalidQuality,
    InvalidUrl,
    NoSuchStreamer,
    StoreUnavailable,
    StreamerExists,
    StreamerReadOnly,
    UnsupportedUrl,
)
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.hub import Hub, JobNews, StreamerNews
from streamvaultd.reporting.notices import STORE_FAILED, STREAMERS_REFUSED
from streamvaultd.varlink.server import Call
from streamvaultd.watching.plugins import QUESTIONS_MAX
from streamvaultd.watching.roster import Roster
from streamvaultd.watching.secrets import Secrets
from streamvaultd.watching.watcher import SourceProbes, Watches

OFF = Sighting(outcome=Outcome.OFFLINE)
LIVE = Sighting(outcome=Outcome.LIVE, site_id="b1", title="one", streams=("best",))


class Known(dict[int, Recorder]):
    """Recorders, and what was posted to them."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[tuple[int, Event]] = []

    def post(self, recording: int, event: Event) -> None:
        self.posted.append((recording, event))


class Reprieve:
    """How often it was begun."""

    begun = 0

    def begin(self) -> None:
        self.begun += 1


class World:
    """Everything around the watcher. `air` is what sources answer, by name of the streamer."""

    def __init__(self, folder: Path, tasks: Tasks) -> None:
        self.clock = SystemClock()
        self.air: dict[str, Sighting] = {}
        self.recorders = Known()
        self.hub = Hub()
        self.credentials: dict[str, tuple[tuple[str, str], ...]] = {}
        self.reprieve = Reprieve()
        self.begun: list[tuple[str, Sighting]] = []
        self.noted: list[tuple[int, str]] = []
        self.told: list[tuple[Entry, str]] = []
        self.told_of: list[tuple[Entry, int | None, str | None]] = []
        self.store_trouble: StoreUnavailable | None = None
        self.refusals: list[Exception] = []
        self.changed = asyncio.Event()
        self.trouble: str | None = None
        self.settings = LiveSettings(replace(Settings(), watch_interval=5.0, watch_spacing=0.0))
        self.etc, self.own = folder / "etc", folder / "own"
        self.etc.mkdir()
        self.watches = Watches(
            asker=self, admission=self, recorders=cast("Any", self.recorders), tasks=tasks,
            journal=cast("Any", self), hub=self.hub, clock=self.clock, chance=lambda: 0.5,
        )  # fmt: skip
        self.roster = Roster(
            watches=self.watches, folders=(self.etc, self.own), files=StreamerFiles(self.own),
            last=LastGood(folder / "streamers.last-good"), secrets=Secrets(cast("Any", self), self.credentials),
            reprieve=self.reprieve, settings=self.settings, journal=cast("Any", self),
        )  # fmt: skip
        self.api = StreamersApi(roster=self.roster, watches=self.watches, plugins=self, clock=self.clock).handlers()

    async def sight(self, streamer: Streamer) -> Sighting:
        return self.air.get(streamer.name, OFF)

    async def can_handle(self, url: str) -> bool:
        return "unknown" not in url

    async def begin(self, streamer: Streamer, sighting: Sighting) -> Recorder:
        if self.refusals:
            raise self.refusals.pop()
        self.begun.append((streamer.name, sighting))
        recorder = recording(len(self.begun), streamer)
        self.recorders[recorder.recording.id] = recorder
        self.changed.set()
        return recorder

    def end(self, number: int, state: State = State.FINALIZING, stop: StopReason | None = None) -> None:
        ended = replace(self.recorders.pop(number), state=state, stop=stop)
        self.watches.on_recorder(ended)

    async def note_broadcast(self, recording: int, broadcast: Any, _now: Any) -> None:
        if self.store_trouble is not None:
            raise self.store_trouble
        self.noted.append((recording, broadcast.title))
        self.changed.set()

    def tell(self, entry: Entry, recorder: Recorder | None = None, **values: Any) -> None:
        self.told.append((entry, str(values.get("why", ""))))
        self.told_of.append((entry, None if recorder is None else recorder.recording.id, values.get("streamer")))
        self.changed.set()

    async def call(self, method: str, **parameters: Any) -> Any:
        call = cast("Call", SimpleNamespace(parameters=parameters, more=False))
        return await cast("Any", self.api[method])(call)

    async def probe(self, name: str) -> Mood:
        return (await self.watches.probe(name)).mood

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await self.changed.wait()
                self.changed.clear()


def recording(number: int, streamer: Streamer) -> Recorder:
    now = SystemClock().now()
    wanted = Recording(
        id=number, stream=number, streamer=streamer.name, url=streamer.url, quality="best", directory="/srv",
        created=now, duration=None, policy=Policy(),
    )  # fmt: skip
    return Recorder(recording=wanted, state=State.RECORDING, since=now)


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        there = World(folder, group)
        await there.roster.load()
        running = group.create_task(there.watches.run())
        try:
            yield there
        finally:
            running.cancel()


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    async with watching(tmp_path) as found:
        yield found


URL = "https://site.example/alice"


async def test_added_asked_and_recorded(world: World) -> None:
    world.air["alice"] = LIVE
    answer = await world.call("AddStreamer", url=URL, quality="720p,best")
    assert answer["streamer"]["name"] == "alice"
    assert "warning" not in answer
    assert (world.own / "alice.toml").exists()
    await world.until(lambda: bool(world.begun))
    assert world.begun == [("alice", LIVE)]
    assert (await world.call("ProbeStreamer", streamer="alice"))["streamer"]["runtime"]["state"] == "recording"
    (listed,) = (await world.call("ListStreamers"))["streamers"]
    assert (listed["runtime"]["recording"], listed["runtime"]["siteId"]) == (1, "b1")
    assert listed["context"]["quality"] == "720p,best"


async def test_whoever_adds_a_streamer_is_told_of_a_streamlink_that_is_too_old(world: World) -> None:
    world.trouble = "streamlink 7.3.0 is older than 8.6.0"
    assert (await world.call("AddStreamer", url=URL))["warning"] == world.trouble


async def test_who_looks_on_is_told_what_changes_and_who_goes(world: World) -> None:
    with world.hub.subscribe(with_streamers=True) as subscription:
        await world.call("AddStreamer", url=URL)
        await world.probe("alice")
        await world.probe("alice")  # nothing new
        await world.call("RemoveStreamer", streamer="alice")
        told = [cast("StreamerNews", await subscription.get()) for _ in range(3)]
        world.hub.publish(JobNews(cast("Any", None)))
        assert isinstance(await subscription.get(), JobNews)
    assert {news.watched.streamer.name for news in told} == {"alice"}
    assert [(news.watched.mood.value, news.is_gone) for news in told] == [
        ("waiting", False),
        ("offline", False),
        ("offline", True),
    ]


async def test_what_was_stopped_is_left_alone_and_the_next_broadcast_is_not(world: World) -> None:
    world.air["alice"] = LIVE
    await world.call("AddStreamer", url=URL)
    await world.until(lambda: bool(world.begun))
    await world.probe("alice")
    world.end(1, stop=StopReason.REQUESTED)
    assert await world.probe("alice") is Mood.LIVE
    world.air["alice"] = replace(LIVE, site_id="b2")
    await world.probe("alice")
    await world.until(lambda: len(world.begun) == 2)


async def test_a_hint_is_followed_by_a_look(world: World) -> None:
    await world.call("AddStreamer", url=URL)
    assert await world.probe("alice") is Mood.OFFLINE
    assert not world.watches.is_seen("alice")
    world.air["alice"] = LIVE
    world.watches.hint("nobody")
    world.watches.hint("alice")
    await world.until(lambda: bool(world.begun))
    assert world.watches.is_seen("alice")
    assert not world.watches.is_seen("nobody")


async def test_changes_of_a_broadcast(world: World) -> None:
    world.air["alice"] = LIVE
    await world.call("AddStreamer", url=URL)
    await world.until(lambda: bool(world.begun))
    await world.probe("alice")
    world.air["alice"] = replace(LIVE, title="two")
    await world.probe("alice")
    await world.until(lambda: world.noted == [(1, "two")])
    world.air["alice"] = replace(LIVE, site_id="b2")
    await world.probe("alice")
    ((number, event),) = world.recorders.posted
    assert (number, type(event)) == (1, BroadcastOver)


async def test_a_refused_recording_is_no_end_of_watching(world: World) -> None:
    await world.call("AddStreamer", url=URL)
    await world.probe("alice")
    world.air["alice"] = LIVE
    world.refusals = [ConfigInvalid(file="f", section="s", key="k", value="v", why="w")]
    await world.probe("alice")
    await world.probe("alice")
    await world.until(lambda: bool(world.begun))


async def test_a_change_that_the_store_does_not_take_is_told_with_streamer_and_recording(world: World) -> None:
    world.air["alice"] = LIVE
    await world.call("AddStreamer", url=URL)
    await world.until(lambda: bool(world.begun))
    await world.probe("alice")
    world.store_trouble = StoreUnavailable(url="sqlite:///x", why="disk I/O error")
    world.air["alice"] = replace(LIVE, title="two")
    await world.probe("alice")
    await world.until(lambda: (STORE_FAILED, 1, "alice") in world.told_of)


async def test_a_recording_that_somebody_else_began_is_taken_for_what_it_is(world: World) -> None:
    await world.call("AddStreamer", url=URL)
    await world.probe("alice")
    world.recorders[9] = recording(9, Streamer(name="alice", url=URL))
    world.air["alice"] = LIVE
    world.refusals = [AlreadyRecording(streamer="alice", recording=9)]
    await world.probe("alice")
    assert await world.probe("alice") is Mood.RECORDING
    assert world.watches.watched["alice"].recording == 9


async def test_enable_disable_remove(world: World) -> None:
    await world.call("AddStreamer", url=URL)
    answer = await world.call("DisableStreamer", streamer="alice")
    assert (answer["streamer"]["runtime"]["state"], answer["streamer"]["context"]["enabled"]) == ("disabled", False)
    answer = await world.call("EnableStreamer", streamer="alice")
    assert answer["streamer"]["context"]["enabled"]
    assert await world.call("RemoveStreamer", streamer="alice") == {}
    assert (await world.call("ListStreamers"))["streamers"] == []
    for method in ("RemoveStreamer", "EnableStreamer", "DisableStreamer", "ProbeStreamer"):
        with pytest.raises(NoSuchStreamer):
            await world.call(method, streamer="alice")


async def test_what_is_refused_leaves_nothing_behind(world: World) -> None:
    with pytest.raises(UnsupportedUrl):
        await world.call("AddStreamer", url="https://unknown.example/")
    with pytest.raises(InvalidQuality):
        await world.call("AddStreamer", url=URL, quality="best of all")
    for url in ("", " ", f"{URL}\n", "hls://file:///etc/passwd"):
        with pytest.raises(InvalidUrl):
            await world.call("AddStreamer", name="alice", url=url)
    await world.call("AddStreamer", url=URL)
    with pytest.raises(StreamerExists):
        await world.call("AddStreamer", url=URL)
    assert [file.name for file in world.own.iterdir()] == ["alice.toml"]
    told = await world.call("AddStreamer", url=URL, name="also")
    assert "'alice' is watched at this URL already, and both will be recorded" in told["warning"]


async def test_the_administrators_files_are_read_and_never_changed(world: World) -> None:
    file = world.etc / "bob.toml"
    file.write_text(f"[streamer]\nurl = '{URL}'\n")
    await world.roster.load()
    for method in ("RemoveStreamer", "DisableStreamer"):
        with pytest.raises(StreamerReadOnly):
            await world.call(method, streamer="bob")
    await world.call("EnableStreamer", streamer="bob")  # he is already
    file.write_text("[streamer\n")
    (mistake,) = await world.roster.load()
    assert mistake.fields["file"] == str(file)
    assert world.watches.watched["bob"].streamer.url == URL
    assert [entry for entry, _ in world.told] == [STREAMERS_REFUSED]
    assert str(file) in world.told[0][1]


async def test_a_secret_that_is_missing_is_told_and_no_reason_not_to_watch(world: World) -> None:
    (world.etc / "bob.toml").write_text(f"[streamer]\nurl = '{URL}'\n[streamlink]\nsecrets = ['token']\n")
    await world.roster.load()
    assert "no such credential" in world.told[0][1]
    assert await world.probe("bob") is Mood.OFFLINE


async def test_who_wants_a_proxy_that_is_missing_is_not_asked_without(world: World) -> None:
    world.settings.now = replace(world.settings.now, pools={"eu": Pool(secrets=("eu-proxies",))})
    file = world.etc / "bob.toml"
    for proxy in ("'eu'", "['eu', 'direct']", "'eu'"):
        file.write_text(f"[streamer]\nurl = '{URL}'\n[streamlink]\nproxy = {proxy}\n")
        await world.roster.load()
        assert ("bob" in world.watches.watched) is ("direct" in file.read_text())
        file.unlink()
        await world.roster.load()
    file.write_text(f"[streamer]\nurl = '{URL}'\n[streamlink]\nproxy = 'eu'\n")
    world.credentials["eu-proxies"] = (("http-proxy", "http://u:p@a:1"),)
    await world.roster.load()
    assert world.watches.watched["bob"].streamer.proxies == ("credential:eu-proxies",)


class Alone:
    """Asks without knowing the streamer."""

    async def probe(self, _url: str, _quality: str) -> Sighting:
        return replace(OFF, detail="asked alone")


async def test_a_recording_asks_for_its_source_as_the_streamers_file_has_it(world: World) -> None:
    probes = SourceProbes(
        watches=world.watches, asker=world, plugins=Alone(),
    )  # fmt: skip
    world.air["alice"] = LIVE
    await world.call("AddStreamer", url=URL)
    await world.until(lambda: bool(world.begun))
    await world.probe("alice")
    mine = world.recorders[1].recording
    assert (await probes.probe(mine)).outcome is Outcome.LIVE
    assert (await probes.probe(replace(mine, url="https://elsewhere.example/"))).detail == "asked alone"
    world.air["alice"] = Sighting(outcome=Outcome.TROUBLE, trouble=Trouble.PROBE)
    assert (await probes.probe(mine)).outcome is Outcome.TROUBLE
    assert not (await probes.probe(mine)).is_another
    world.air["alice"] = replace(LIVE, site_id="b2")
    found = await probes.probe(mine)
    assert (found.outcome, found.is_another) == (Outcome.ENDED, True)


class Slow(Alone):
    """Answers when it may; who asks is counted."""

    def __init__(self) -> None:
        self.may, self.full = asyncio.Event(), asyncio.Event()
        self.asked, self.most, self.now = 0, 0, 0

    async def probe(self, url: str, quality: str) -> Sighting:
        self.asked, self.now = self.asked + 1, self.now + 1
        self.most = max(self.most, self.now)
        if self.now == QUESTIONS_MAX:
            self.full.set()
        await self.may.wait()
        self.now -= 1
        return await super().probe(url, quality)


async def test_few_sources_are_asked_at_a_time_and_each_once(world: World) -> None:
    """Who asks again meanwhile gets the same answer: a site that is slow has no queue that grows."""
    slow = Slow()
    probes = SourceProbes(watches=world.watches, asker=world, plugins=slow)
    world.air["alice"] = LIVE
    await world.call("AddStreamer", url=URL)
    await world.until(lambda: bool(world.begun))
    mine = world.recorders[1].recording
    many = [replace(mine, id=number, url=f"https://elsewhere.example/{number}") for number in range(2, 22)]
    asking = asyncio.gather(*(probes.probe(each) for each in many * 2))
    await asyncio.wait_for(slow.full.wait(), 60)
    slow.may.set()
    assert {answer.detail for answer in await asking} == {"asked alone"}
    assert (slow.asked, slow.most) == (len(many), QUESTIONS_MAX)


def _unsent(**rules: Any) -> Retention:
    """Rules of a streamer whose results nobody uploads: none is held for that."""
    return Retention(**rules, require_upload=False)


async def test_retention_goes_by_the_file_and_not_by_one_with_mistakes(world: World) -> None:
    """Neither by the rules of before, nor by the defaults: what somebody wanted to write there, nobody knows."""
    retention = world.roster.retention_of
    world.settings.now = replace(world.settings.now, retention=Retention(keep_for=90.0, keep_recordings=9))
    assert retention("alice") == _unsent(keep_for=90.0, keep_recordings=9)
    head = f"[streamer]\nurl = '{URL}'\nenabled = false\n[retention]\n"
    for text, rules, held in (
        ("keep_for = 'infinity'", _unsent(keep_recordings=9), 1),
        ("keep_for = 'infinite'", None, 1),
        ("keep_for = 'infinity'\nkeep_recordings = 3", _unsent(keep_recordings=3), 2),
        ("", _unsent(keep_for=90.0, keep_recordings=9), 3),
        ("typo = 1", None, 3),
        ("[streamlink]\nsecrets = ['none']", _unsent(keep_for=90.0, keep_recordings=9), 3),
    ):
        (world.etc / "alice.toml").write_text(head + text)
        await world.roster.load()
        assert (retention("alice"), world.reprieve.begun) == (rules, held), text
        assert retention("bob") == _unsent(keep_for=90.0, keep_recordings=9)
    (world.etc.parent / "new").mkdir()
    async with watching(world.etc.parent / "new") as fresh:  # a daemon that has never seen the file without mistakes
        (fresh.etc / "alice.toml").write_text(head + "keep_for = '90 eons'")
        fresh.settings.now = world.settings.now
        await fresh.roster.load()
        assert (fresh.roster.retention_of("alice"), fresh.roster.retention_of("bob")) == (
            None,
            _unsent(keep_for=90.0, keep_recordings=9),
        )
        fresh.own.write_text("no folder")
        await fresh.roster.load()
        assert fresh.roster.retention_of("bob") is None


async def test_a_pattern_that_never_ends_is_trouble_of_its_streamer_alone(world: World) -> None:
    for name, more in (("alice", "[filters]\ntitle_exclude = '(a+)+$'\n"), ("bob", "")):
        (world.etc / f"{name}.toml").write_text(f"[streamer]\nurl = 'https://site.example/{name}'\n{more}")
    world.air = {"alice": replace(LIVE, title="a" * 100 + "!"), "bob": LIVE}
    await world.roster.load()
    assert await world.probe("alice") is Mood.TROUBLE
    assert "filters take too long" in world.watches.watched["alice"].detail
    await world.until(lambda: bool(world.begun))
    assert world.begun == [("bob", LIVE)]
