# SPDX-License-Identifier: GPL-3.0-or-later
"""All methods of the socket, on a real store, a real manager and real files, with nothing behind them that records."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from streamvaultd.api.admin import VERIFIER, AdminApi
from streamvaultd.api.audit import AuditApi
from streamvaultd.api.lists import LookApi
from streamvaultd.api.notify import TellingApi
from streamvaultd.api.present import Presenter, Segments
from streamvaultd.api.prune import PruneApi
from streamvaultd.api.record import RecordApi
from streamvaultd.api.recordings import RecordingsApi
from streamvaultd.api.rescan import RescanApi
from streamvaultd.api.results import ResultApi
from streamvaultd.api.sockets import acting, all_handlers, reading
from streamvaultd.api.status import StatusApi
from streamvaultd.api.streamers import StreamersApi
from streamvaultd.api.streamlink import StreamlinkApi
from streamvaultd.api.subscribe import SubscribeApi
from streamvaultd.base.lanes import Lanes
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.core.watching.model import Mood, Watched
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import VaultError
from streamvaultd.jobs.progress import Headway
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.glance import Glance
from streamvaultd.recording.removal import Removal
from streamvaultd.recording.streamlink.command import Installation, Version
from streamvaultd.reporting.hub import Hub, News
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.store.queries import QueryableStore
from streamvaultd.upkeep.pruning import Pruning
from streamvaultd.upkeep.retention import Reprieve, Retention
from streamvaultd.varlink.client import Client
from streamvaultd.varlink.sockets import Members, listen
from tests.component.store_world import BOOT, NOW, SetClock, later, move, segment_path, start
from tests.fakes.managing import new_manager
from tests.fakes.no_hooks import NoHooks
from tests.fakes.parts import NoChats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from streamvaultd.core.model import Told
    from streamvaultd.varlink.server import Handler, Server

RECORDER = "io.streamvault.Recorder"


class Executor:
    """Saves, and notes what else would be done."""

    def __init__(self, store: QueryableStore) -> None:
        self.done: list[fx.Effect] = []
        self._store = store

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Save):
                await self._store.save(effect.recorder, effect.changed)
            else:
                self.done.append(effect)


class Joins(dict[int, Headway]):
    """How far joins are."""

    def of(self, recording: int) -> Headway | None:
        return self.get(recording)


@dataclass
class World:
    """`mistakes` are what a reload finds."""

    store: QueryableStore
    folder: Path
    hub: Hub
    settings: LiveSettings = field(default_factory=lambda: LiveSettings(Settings()))
    mistakes: Sequence[VaultError] = ()
    servers: Sequence[Server] = ()
    rules: dict[str, RetentionRules] = field(default_factory=dict)
    watched: dict[str, Watched] = field(default_factory=dict)
    progress: Joins = field(default_factory=lambda: Joins())
    defects: list[tuple[str, Exception]] = field(default_factory=list)
    installed: list[tuple[str | None, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = Executor(self.store)
        self.clock = SetClock(later(120))
        self.manager = new_manager(
            self.executor, self.clock, lambda recorder: self.hub.publish(News(self.clock.now(), recorder))
        )

    def tell(self, recorder: Recorder, told: Told) -> None:
        self.hub.publish(News(self.clock.now(), recorder, told))

    def handlers(self) -> dict[str, Handler]:
        idle = cast("Any", SimpleNamespace(pid=_nothing, unreachable=(), now=()))
        files, recorders = SegmentFiles(), self.manager.recorders
        streamlinks = cast("Any", SimpleNamespace(settled=_settled, install=self._install, trouble=None))
        watches = cast("Any", SimpleNamespace(watched=self.watched))
        removal = Removal(store=self.store, files=files, media=MediaRemover(), lanes=Lanes())
        pruning = Pruning(
            store=self.store, manager=self.manager, removal=removal, clock=self.clock, limits=self, hooks=NoHooks()
        )
        self.reprieve = Reprieve(self.clock)
        self.retention = Retention(
            store=self.store, pruning=pruning, clock=self.clock, journal=idle, limits=self, reprieve=self.reprieve,
        )  # fmt: skip
        sizes = Glance(files=files, lanes=Lanes(), clock=self.clock)
        presenter = Presenter(clock=self.clock, sizes=sizes, joins=self.progress, chats=NoChats())
        segments = Segments(files=files, processes=idle, memory=Memory())
        return all_handlers(
            RecordingsApi(
                manager=self.manager, store=self.store, clock=self.clock, presenter=presenter, segments=segments
            ),
            RecordApi(
                recorders=recorders, beginner=idle, plugins=idle, hub=self.hub, presenter=presenter,
                settings=self.settings,
            ),
            StatusApi(
                recorders=recorders, streamlinks=streamlinks, catalogue=None, targets=idle, settings=self.settings,
                unconfined=idle, clock=self.clock,
            ),
            StreamlinkApi(streamlinks=streamlinks, settings=self.settings),
            AuditApi(idle),
            ResultApi(self.store, self.progress),
            LookApi(store=self.store, clock=self.clock, presenter=presenter, recorders=recorders),
            SubscribeApi(
                store=self.store, hub=self.hub, clock=self.clock, presenter=presenter, recorders=recorders,
                watches=watches, segments=segments,
            ),
            PruneApi(
                store=self.store, pruning=pruning, retention=self.retention, reprieve=self.reprieve,
                presenter=presenter, clock=self.clock,
            ),
            StreamersApi(roster=idle, watches=watches, plugins=idle, clock=self.clock),
            TellingApi(idle),
            RescanApi(idle),
            AdminApi(store=self.store, settings=self.settings, reloads=self, verifier=VERIFIER),
        )  # fmt: skip

    def retention_of(self, name: str) -> RetentionRules | None:
        return self.rules.get(name)

    def defect(self, method: str, error: Exception) -> None:
        self.defects.append((method, error))

    async def _install(self, version: str | None, *, hashes: bool) -> Installation:
        self.installed.append((version, hashes))
        return Installation(command=("/x/streamlink",), version=Version(8, 6), python="/x/python", managed=True)

    async def reload(self) -> tuple[bool, Sequence[VaultError]]:
        return not self.mistakes, self.mistakes

    @property
    def path(self) -> Path:
        return self.folder / "socket"

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One reply of the main socket."""
        return await asyncio.to_thread(Client(self.path).call, f"{RECORDER}.{method}", parameters)

    async def look(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One reply of the read-only socket."""
        client = Client(self.folder / "readonly")
        return await asyncio.to_thread(client.call, f"{RECORDER}.{method}", parameters)

    @asynccontextmanager
    async def subscribed(self, **parameters: Any) -> AsyncIterator[Feed]:
        """A subscription for the length of the block."""
        replies = Client(self.path).more(f"{RECORDER}.Subscribe", parameters)
        feed = Feed(replies)
        try:
            yield feed
        finally:
            await feed.close()


class Feed:
    """The answers of a subscription."""

    def __init__(self, replies: Iterator[dict[str, Any]]) -> None:
        self._replies = replies

    async def next(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._next)

    def _next(self) -> dict[str, Any]:
        return next(self._replies)

    async def close(self) -> None:
        await asyncio.to_thread(cast("Any", self._replies).close)


def _nothing(_unit: str) -> None:
    """Nothing runs here."""


async def _settled() -> None:
    """There is no streamlink here."""


def somebody(name: str, mood: Mood = Mood.OFFLINE) -> Watched:
    """Who is watched."""
    streamer = Streamer(name=name, url=f"https://example.org/{name}?token=hidden")
    return Watched(streamer=streamer, site="example.org", mood=mood, since=NOW)


async def open_queryable(where: Path, hub: Hub | None = None) -> QueryableStore:
    return await QueryableStore.open(where, paths=segment_path, clock=SetClock(), boot=BOOT, listener=hub)


@asynccontextmanager
async def served(folder: Path, members: Members | None = None) -> AsyncIterator[World]:
    """Both sockets in a folder."""
    hub = Hub()
    store = await open_queryable(folder / "store.db", hub)
    world = World(store, folder, hub)
    with listen(folder / "socket", 0o600) as main, listen(folder / "readonly", 0o666) as readonly:
        handlers = world.handlers()
        servers: list[tuple[Server, Any]] = [
            (acting(handlers, members or Members.of_socket(main), check_replies=True, on_defect=world.defect), main),
            (reading(handlers, check_replies=True, on_defect=world.defect), readonly),
        ]
        world.servers = [server for server, _ in servers]
        tasks = [asyncio.create_task(server.serve(listener)) for server, listener in servers]
        tasks.append(asyncio.create_task(world.manager.run()))
        try:
            yield world
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await store.close()


def ended(number: int = 1, phase: Phase = Phase.REMOVED, **more: Any) -> Segment:
    values: dict[str, Any] = {"size": 188, "cause": "stopped", "started": NOW, "media_at": NOW, "ended": later(9)}
    return Segment(number=number, phase=phase, since=NOW, **(values | more))


async def over(world: World, state: State, streamer: str = "demo", **more: Any) -> Recorder:
    """A recording that is over."""
    parts = more.pop("segments", (ended(1), ended(2, cause="oom")))
    return await move(world.store, await start(world.store, streamer), state, *parts, ended=later(10), **more)


async def joined(world: World, folder: Path, streamer: str = "demo") -> tuple[Recorder, list[Path]]:
    """A recording with a result of two parts."""
    recorder = await start(world.store, streamer)
    home = folder / streamer
    home.mkdir(exist_ok=True)
    number = recorder.recording.id
    parts = [home / f"{number}.ts", home / f"{number}.part2.ts"]
    for path in parts:
        path.write_bytes(b"x" * 100)
    world_recorder = Recorder(
        recording=recorder.recording.__class__(
            **{name: getattr(recorder.recording, name) for name in recorder.recording.__dataclass_fields__}
            | {"directory": str(folder)}
        ),
        state=State.COMPLETED,
        since=NOW,
        segments=(ended(1),),
        path=str(parts[0]),
        ended=later(10),
    )
    await world.store.save(world_recorder, world_recorder.segments)
    job = await world.store.create_job(number, "join", {}, NOW)
    result = {"path": str(parts[0]), "parts": [{"path": str(path), "bytes": 100} for path in parts]}
    await world.store.finish_job(job, ok=True, result=result, now=NOW)
    return world_recorder, parts
