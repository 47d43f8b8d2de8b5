# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: builds everything, takes over what runs, says READY=1, runs, says STOPPING=1.

Whatever fails unexpectedly ends the process: systemd starts it again within a moment, the segments record on in their
scopes meanwhile, and the next start takes them over (P4). There is no other recovery path, so it is the tested one.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from streamvaultd import __version__
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
from streamvaultd.api.sockets import SOCKET_NAMES, Sockets, all_handlers
from streamvaultd.api.status import StatusApi
from streamvaultd.api.streamers import StreamersApi
from streamvaultd.api.streamlink import StreamlinkApi
from streamvaultd.api.subscribe import SubscribeApi
from streamvaultd.base.clock import SystemClock
from streamvaultd.base.growth import MediaWatch
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.sd_notify import Notifier, watchdog_interval
from streamvaultd.base.threads import in_thread
from streamvaultd.config import settings as config
from streamvaultd.config.last_good import SETTINGS, LastGood, load_or_last
from streamvaultd.config.live import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Recorder, State
from streamvaultd.core.recording.events import JoinEnded, NetworkBack
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.reporting import Ledger
from streamvaultd.daemon.startup import WITNESS_LIMIT, Startup
from streamvaultd.daemon.upkeep import Upkeep
from streamvaultd.daemon.watching import Watching
from streamvaultd.errors import VaultError
from streamvaultd.jobs.joins import Joins
from streamvaultd.jobs.launching import JoinRuns
from streamvaultd.jobs.looks import Looks
from streamvaultd.jobs.progress import JoinProgress
from streamvaultd.recording.admission import Beginner
from streamvaultd.recording.asking import Asking
from streamvaultd.recording.books import Books
from streamvaultd.recording.cleaning import Cleaning
from streamvaultd.recording.disk_guard import DiskGuard
from streamvaultd.recording.disks import Disks
from streamvaultd.recording.executor import Executor
from streamvaultd.recording.files.discard import Discard
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.files.space import Space
from streamvaultd.recording.files.writeback import Writeback
from streamvaultd.recording.footage import Footage
from streamvaultd.recording.glance import Glance
from streamvaultd.recording.headroom import Headroom
from streamvaultd.recording.inbox import Inbox, Recorders
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal
from streamvaultd.recording.segments import Captures
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.recording.takeover import Takeover
from streamvaultd.recording.witnesses import Witnesses
from streamvaultd.reporting.defects import Defects
from streamvaultd.reporting.hub import Hub, JobNews, News, StreamerNews
from streamvaultd.reporting.notices import (
    BUS_LOST,
    CATALOGUE_AWAY,
    CATALOGUE_BACK,
    CONFINEMENT_LACKS,
    DAEMON_STARTED,
    DAEMON_STOPPED,
    DISK_HANGS,
    JOURNAL_GAP,
    SETTINGS_APPLIED,
    SETTINGS_REFUSED,
    STREAMLINK_OLD,
    WITNESS_MISSING,
    Entry,
    Journal,
)
from streamvaultd.scopes.broker import Scopes
from streamvaultd.scopes.lacks import Lacks
from streamvaultd.scopes.launcher import Launcher, clean_environment, own_roots
from streamvaultd.scopes.loaded import loaded_scopes
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.witnesses.bus import LiveScope, UnitBus
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.scopes.witnesses.journal import JournalWatch, Replay
from streamvaultd.scopes.witnesses.network import LinkWatch
from streamvaultd.scopes.witnesses.pidfd import ProcessWatch
from streamvaultd.store.catalogue import Catalogue
from streamvaultd.store.queries import QueryableStore
from streamvaultd.store.server import credential

STATE_DIR: Final = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/streamvaultd"))
RUNTIME_DIR: Final = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/streamvaultd"))
BROKER_SOCKET: Final = Path("/run/streamvault-brokerd/io.streamvault.Broker")

STUCK_LIMIT: Final = 20.0
"""The watchdog is not fed while one event has taken longer than this (s)."""

DRAIN_LIMIT: Final = 1.0
"""What is under way when the service is stopped may end first; not longer than this (s), for what it launches now
systemd starts only after it has gone: the scopes are ordered after the service."""

HOST_DRAIN_LIMIT: Final = 10.0
"""The same when the machine goes down: all segments have just ended, and are to be synced and stored."""


class Stop(Exception):
    """The service was asked to stop."""


class Daemon:
    """The composition root: the only place that constructs."""

    def __init__(
        self, settings: Settings, group: asyncio.TaskGroup, store: QueryableStore, files: SegmentFiles
    ) -> None:
        self._settings, self._group = LiveSettings(settings), group
        self.notifier = Notifier()
        self.journal = Journal()
        self._startup = Startup(self.notifier, self.journal)
        self._clock, self._hub = SystemClock(), Hub()
        self._inbox = Inbox()
        self._recorders = Recorders(self._inbox, self._clock)
        self._lanes = Lanes(on_overdue=self._on_overdue)
        self._store, self._files, self._lacks = store, files, Lacks()
        self._base = Base(
            settings=self._settings, clock=self._clock, tasks=group, lanes=self._lanes, inbox=self._inbox,
            recorders=self._recorders, journal=self.journal, store=store, files=files,
        )  # fmt: skip
        self._watcher: ProcessWatch[str] = ProcessWatch(asyncio.get_running_loop())
        self.streamlinks = Streamlinks(settings=self._settings, state_dir=STATE_DIR)
        self._held = HeldFiles(asyncio.get_running_loop(), fd_store=self.notifier)
        self._writeback = self._build_writeback()
        self.disk = self._build_disk_guard()
        self._writeback.listeners.append(self.disk.on_sync_failed)
        headroom = Headroom(disk=self.disk, memory=Memory())
        self._beginner = Beginner(
            inbox=self._inbox, recorders=self._recorders, store=store, headroom=headroom, clock=self._clock
        )
        self.watching = self._build_watching()
        self._runs = self._build_runs()
        self.link_watch = LinkWatch(
            on_back=self._on_network_back,
            on_trouble=partial(self._miss, "the network"),
        )
        self._media: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())
        witnesses = Witnesses(
            inbox=self._inbox, clock=self._clock, runs=self._runs, disk=self.disk, link=self.link_watch
        )
        self._held.on_taken = witnesses.on_file_taken
        self._progress = JoinProgress(folder=STATE_DIR / "jobs", watcher=self._media, on_change=self._on_progress)
        self._removal = Removal(store=store, files=files, media=Discard(), lanes=self._lanes)
        self._joins = self._build_joins()
        self._executor = self._build_executor(headroom, witnesses)
        self.manager = Manager(
            executor=self._executor, clock=self._clock, inbox=self._inbox, recorders=self._recorders
        )
        self.journal_watch = self._build_journal_watch(witnesses)
        self._catalogue = self._build_catalogue()
        self.bus = self._build_bus(witnesses)
        self.ledger = Ledger(
            self._base, outlook=self.disk.outlook, catalogue=self._catalogue, streamlinks=self.streamlinks
        )
        self.upkeep = self._build_upkeep()
        self._recorders.listeners += [
            self.ledger.on_change,
            self.upkeep.retention.on_change,
            self._publish,
            self.watching.watches.on_recorder,
            self._show_status,
        ]

    def _build_runs(self) -> Runs:
        return Runs(
            launcher=Launcher(
                environment=clean_environment(RUNTIME_DIR / "home"), read=own_roots(), scratch=self._lacks.scratch
            ),
            scopes=Scopes(BROKER_SOCKET),
            watcher=self._watcher,
            fd_store=self.notifier,
            clock=self._clock,
        )

    def _build_journal_watch(self, witnesses: Witnesses) -> JournalWatch:
        return JournalWatch(
            STATE_DIR / "journal.position",
            on_evidence=witnesses.on_evidence,
            on_line=witnesses.on_line,
            on_trouble=partial(self._miss, "the journal"),
        )

    def _build_bus(self, witnesses: Witnesses) -> UnitBus:
        return UnitBus(
            on_result=witnesses.on_unit_result,
            on_memory=witnesses.on_unit_memory,
            tasks=self._group,
            on_reconnect=lambda: self.journal.tell(BUS_LOST, why="it was restarted"),
            on_shutdown=self._recorders.on_shutdown,
            on_shutdown_cancelled=self._recorders.on_shutdown_cancelled,
        )

    def _build_watching(self) -> Watching:
        return Watching(self._base, state_dir=STATE_DIR, streamlinks=self.streamlinks, beginner=self._beginner)

    def _build_writeback(self) -> Writeback:
        return Writeback(
            asyncio.get_running_loop(),
            clock=self._clock,
            settings=self._settings,
            held=self._held,
        )

    def _build_disk_guard(self) -> DiskGuard:
        return DiskGuard(
            inbox=self._inbox,
            tasks=self._group,
            clock=self._clock,
            disks=Disks(lanes=self._lanes, files=self._files, space=Space()),
            journal=self.journal,
            recorders=self._recorders,
            writeback=self._writeback,
            settings=self._settings,
        )

    def _build_joins(self) -> Joins:
        return Joins(
            inbox=self,
            tasks=self._group,
            clock=self._clock,
            store=self._store,
            disk=self.disk,
            journal=self.journal,
            runs=JoinRuns(
                runs=self._runs,
                files=self._files,
                names=self.watching,
                progress=self._progress,
                reports=STATE_DIR / "jobs",
            ),
        )

    def _on_progress(self, recording: int) -> None:
        if (recorder := self._recorders.get(recording)) is not None:
            self._publish(recorder)

    def _build_catalogue(self) -> Catalogue | None:
        if not self._settings.now.catalogue:
            return None
        catalogue = Catalogue(
            self._settings.now.catalogue,
            self._store,
            passfile=credential(),
            on_trouble=lambda why: self.journal.tell(CATALOGUE_AWAY, why=why),
            on_well=lambda backlog: self.journal.tell(CATALOGUE_BACK, backlog=backlog),
        )
        self._store.on_write = catalogue.poke
        return catalogue

    def _build_executor(self, headroom: Headroom, witnesses: Witnesses) -> Executor:
        base: dict[str, Any] = {"inbox": self._inbox, "clock": self._clock}
        footage = Footage(
            **base, files=self._files, lanes=self._lanes, media=self._media, writeback=self._writeback,
            held=self._held,
            looks=Looks(),
        )  # fmt: skip
        captures = Captures(
            **base, capture=self.streamlinks, runs=self._runs, headroom=headroom, footage=footage,
            witnesses=witnesses, journal=self.journal,
        )  # fmt: skip
        return Executor(
            tasks=self._group,
            books=Books(store=self._store, journal=self.journal, hub=self._hub, clock=self._clock, tasks=self._group),
            captures=captures,
            footage=footage,
            disk=self.disk,
            joins=self._joins,
            cleaning=Cleaning(**base, removal=self._removal, journal=self.journal),
            asking=Asking(**base, prober=self.watching.probes),
        )

    def _build_upkeep(self) -> Upkeep:
        roster = self.watching.roster
        upkeep = Upkeep(
            self._base, manager=self.manager, runs=self._runs, joins=self._joins, removal=self._removal, bus=self.bus,
            notifier=self.notifier,
            rules=lambda name: None if self._settings.wrong else roster.retention_of(name),
        )  # fmt: skip
        roster.on_retention = upkeep.retention.hold
        return upkeep

    def _build_takeover(self) -> Takeover:
        return Takeover(
            manager=self.manager,
            store=self._store,
            files=self._files,
            runs=self._runs,
            journal=self.journal,
            clock=self._clock,
            lanes=self._lanes,
            tasks=self._group,
        )

    def _build_sockets(self) -> Sockets:
        clock, settings, recorders = self._clock, self._settings, self._recorders
        sizes = Glance(files=self._files, lanes=self._lanes, clock=clock)
        presenter = Presenter(clock=clock, sizes=sizes, joins=self._progress)
        segments = Segments(files=self._files, processes=self._watcher, memory=Memory())
        watching, upkeep = self.watching, self.upkeep
        handlers = all_handlers(
            RecordingsApi(
                manager=self.manager, store=self._store, clock=clock, presenter=presenter, segments=segments
            ),
            RecordApi(
                recorders=recorders, beginner=self._beginner, plugins=watching.plugins, hub=self._hub,
                presenter=presenter, settings=settings,
            ),
            StatusApi(
                recorders=recorders, streamlinks=self.streamlinks, catalogue=self._catalogue,
                targets=watching.telling, settings=settings, unconfined=self._lacks, clock=clock,
            ),
            StreamlinkApi(streamlinks=self.streamlinks, settings=settings),
            AuditApi(upkeep.audits),
            ResultApi(self._store),
            LookApi(store=self._store, clock=clock, presenter=presenter, recorders=recorders),
            SubscribeApi(
                store=self._store, hub=self._hub, clock=clock, presenter=presenter, recorders=recorders,
                watches=watching.watches, segments=segments,
            ),
            PruneApi(store=self._store, pruning=upkeep.pruning, retention=upkeep.retention, clock=clock),
            StreamersApi(roster=watching.roster, watches=watching.watches, plugins=watching.plugins, clock=clock),
            TellingApi(watching.telling),
            RescanApi(self.ledger.build_rescan(self.manager)),
            AdminApi(store=self._store, settings=settings, reloads=self, verifier=VERIFIER),
        )  # fmt: skip
        self._store.on_job = lambda job: self._hub.publish(JobNews(job))
        self.watching.watches.on_change = lambda who: self._hub.publish(StreamerNews(who))
        self.watching.watches.on_gone = lambda who: self._hub.publish(StreamerNews(who, is_gone=True))
        return Sockets(handlers, tasks=self._group, on_defect=Defects(self.journal).heard)

    def post(self, recording: int, event: JoinEnded) -> None:
        """A join has ended."""
        self.upkeep.repairs.on_join_ended(recording, event)
        self._inbox.post(recording, event)

    async def run(self, fds: Mapping[str, list[int]]) -> None:
        """Take over, listen, and work until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._group.create_task(self._on_hangup()))
        self._group.create_task(self.bus.run())
        if self._catalogue is not None:
            self._group.create_task(self._catalogue.run())
        self._group.create_task(self.link_watch.run())
        self._group.create_task(self._find_streamlink())
        self._held.inherit(fds)
        self.notifier.inherit(name for name in fds if name not in SOCKET_NAMES)
        adopted = await self._take_over(fds)
        self._held.release_all(self._recorders.values())
        self.ledger.start(self._recorders.values())
        self._group.create_task(self.manager.run())
        await self.watching.start()
        self._group.create_task(self.disk.run())
        self._group.create_task(self.upkeep.retention.run())
        self._build_sockets().serve(fds)
        self._group.create_task(self._feed_watchdog())
        # Until here they end the process at once, whatever it waits for: a crash, of which the rows say what is left
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self.notifier.ready(self.status())
        self.journal.tell(DAEMON_STARTED, version=__version__, adopted=adopted)
        for why in self._lacks.always:
            self.journal.tell(CONFINEMENT_LACKS, why=why)
        self._group.create_task(self.upkeep.audits.tell())
        await stop.wait()
        self.notifier.stopping("Stopping; segments record on")
        await self._drain()
        live = sum(len(recorder.live) for recorder in self._recorders.values())
        self.journal.tell(DAEMON_STOPPED, live=live)
        raise Stop

    async def _take_over(self, fds: Mapping[str, list[int]]) -> int:
        """Go on from what an earlier daemon left, and from what was said meanwhile; the number of segments adopted."""
        replay = asyncio.create_task(in_thread("journal", self.journal_watch.replay))
        scopes = await self._startup.wait("the system bus", self._loaded_scopes())
        await self._startup.wait("the journal", asyncio.wait([replay], timeout=WITNESS_LIMIT))
        if not replay.done():
            self._miss("the journal", f"it was not read within {WITNESS_LIMIT:g} s")
        told = replay.result().evidence() if replay.done() else {}
        adopted = await self._startup.wait(
            "the disks that are recorded to", self._build_takeover().run(scopes, fds, told)
        )
        self._group.create_task(self._hear_journal(replay))
        return adopted

    async def _loaded_scopes(self) -> Sequence[LiveScope]:
        return await loaded_scopes(self.bus, limit=WITNESS_LIMIT, on_missing=partial(self._miss, "the system bus"))

    async def _hear_journal(self, replay: asyncio.Task[Replay]) -> None:
        """What was said while there was no daemon, then what is said."""
        heard = await replay
        if heard.has_gap:
            self.journal.tell(JOURNAL_GAP)
        for item in heard.items:
            self.journal_watch.tell(item)
        await self.journal_watch.run()

    def _miss(self, witness: str, why: str) -> None:
        self.journal.tell(WITNESS_MISSING, witness=witness, why=why)

    async def _drain(self) -> None:
        """Deal with what has happened by now, and let what is under way end."""
        for _ in range(2):  # turns of the loop: what the kernel knows is read in one, and told in the next
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(HOST_DRAIN_LIMIT if self._recorders.is_host_stopping else DRAIN_LIMIT):
                while not (self.manager.is_idle and self._executor.is_idle):
                    await self.manager.settle()
                    await self._executor.finish()
        except TimeoutError:
            return  # the rows say what is left to do

    async def _on_hangup(self) -> None:
        await self.reload()

    async def reload(self) -> tuple[bool, Sequence[VaultError]]:
        """Read the settings again; bad ones leave the old ones in force. Whether they apply, and all mistakes."""
        self.notifier.reloading()
        self.upkeep.retention.hold()
        settings, mistakes = load_or_last(config.files(), LastGood(STATE_DIR / SETTINGS))
        self.tell_mistakes(SETTINGS_REFUSED, mistakes)
        if not mistakes:
            self._settings.now = settings
            await self._find_streamlink()
            self.journal.tell(SETTINGS_APPLIED)
        others = await self.watching.reload()
        self.notifier.ready(self.status())
        return not mistakes, (*mistakes, *others)

    def tell_mistakes(self, entry: Entry, mistakes: Sequence[VaultError]) -> None:
        """Tell of mistakes in the settings, in the journal now and in the status until they are gone."""
        self._settings.wrong = mistakes
        if mistakes:
            self.journal.tell(entry, why="; ".join(str(mistake) for mistake in mistakes))

    def status(self) -> str:
        """The line that systemctl status shows."""
        recorders = self._recorders.values()
        running = sum(recorder.state.status == "recording" for recorder in recorders)
        live = sum(len(recorder.live) for recorder in recorders)
        joining = sum(recorder.state is State.FINALIZING for recorder in recorders)
        wrong = len(self._settings.mistakes)
        trouble = f"; {wrong} mistakes in the settings, see 'streamvaultctl status'" if wrong else ""
        return f"{running} recordings, {live} segments, {joining} joins{trouble}"

    async def _find_streamlink(self) -> None:
        await self.streamlinks.refresh()
        if self.streamlinks.trouble is not None:
            self.journal.tell(STREAMLINK_OLD, why=self.streamlinks.trouble)

    async def _feed_watchdog(self) -> None:
        """The loop feeds it itself, and only while it makes progress."""
        interval = watchdog_interval()
        while interval is not None:
            if self.manager.stuck_for() < STUCK_LIMIT:
                self.notifier.feed_watchdog()
            await asyncio.sleep(interval)

    def _publish(self, recorder: Recorder) -> None:
        self._hub.publish(News(self._clock.now(), recorder))

    def _show_status(self, _recorder: Recorder) -> None:
        self.notifier.status(self.status())

    def _on_overdue(self, lane: str) -> None:
        self.journal.tell(DISK_HANGS, lane=lane)

    def _on_network_back(self) -> None:
        self.watching.watches.on_network_back()
        self._recorders.post_to_all(NetworkBack(at=self._clock.now()))
