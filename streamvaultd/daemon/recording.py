# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording: from the disks that are written to, to the manager that owns the recorders."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from streamvaultd.base.growth import MediaWatch
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.watching import Watching
from streamvaultd.jobs.joins import Joins
from streamvaultd.jobs.launching import JoinRuns
from streamvaultd.jobs.looks import Looks
from streamvaultd.jobs.naming import ResultNames
from streamvaultd.jobs.progress import JoinProgress
from streamvaultd.recording.asking import Asking
from streamvaultd.recording.books import Books
from streamvaultd.recording.chat.chat_files import ChatFiles
from streamvaultd.recording.chat.chats import Chats
from streamvaultd.recording.chat.scoped import ChatRuns
from streamvaultd.recording.cleaning import Cleaning
from streamvaultd.recording.disk_guard import DiskGuard
from streamvaultd.recording.disks import Disks
from streamvaultd.recording.executor import Executor
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.files.held import HeldFiles
from streamvaultd.recording.files.space import Space
from streamvaultd.recording.files.writeback import Writeback
from streamvaultd.recording.footage import Footage
from streamvaultd.recording.headroom import Headroom
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal
from streamvaultd.recording.segments import Captures
from streamvaultd.recording.streamlink.commands import Commands
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.recording.takeover import Takeover
from streamvaultd.recording.witnesses import Witnesses
from streamvaultd.reporting.hub import Publisher
from streamvaultd.scopes.broker import Scopes
from streamvaultd.scopes.launcher import Launcher, clean_environment, own_roots
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.scratch import Scratch
from streamvaultd.scopes.witnesses.cgroups import Memory
from streamvaultd.scopes.witnesses.network import LinkWatch
from streamvaultd.scopes.witnesses.pidfd import ProcessWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The files that are written to, and their disks."""

    held: HeldFiles
    writeback: Writeback
    guard: DiskGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingParts:
    """Everything about recordings."""

    processes: ProcessWatch[str]
    media: MediaWatch[str]
    runs: Runs
    witnesses: Witnesses
    progress: JoinProgress
    joins: Joins
    removal: Removal
    executor: Executor
    manager: Manager
    takeover: Takeover
    chats: Chats


def build_storage(base: Base) -> Storage:
    """The guard hears of each sync that fails."""
    loop, clock, settings = asyncio.get_running_loop(), base.clock, base.settings
    held = HeldFiles(loop, fd_store=base.notifier, inbox=base.inbox, clock=clock)
    writeback = Writeback(loop, clock=clock, settings=settings, held=held)
    guard = DiskGuard(
        inbox=base.inbox, tasks=base.tasks, clock=clock, journal=base.journal, recorders=base.recorders,
        disks=Disks(lanes=base.lanes, files=base.files, space=Space()), writeback=writeback, settings=settings,
    )  # fmt: skip
    writeback.listeners.append(guard.on_sync_failed)
    return Storage(held=held, writeback=writeback, guard=guard)


def _build_runs(base: Base, processes: ProcessWatch[str], scratch: Scratch) -> Runs:
    environment = clean_environment(base.places.runtime / "home")
    launcher = Launcher(environment=environment, read=own_roots(), scratch=scratch)
    scopes = Scopes(base.places.broker)
    return Runs(launcher=launcher, scopes=scopes, watcher=processes, fd_store=base.notifier, clock=base.clock)


def _build_chats(base: Base, runs: Runs) -> Chats:
    folder = base.places.runtime / "chat"
    return Chats(
        runs=ChatRuns(
            runs=runs, memory=Memory(), files=ChatFiles(), lanes=base.lanes, settings=base.settings, folder=folder
        ),
        store=base.store, recorders=base.recorders, journal=base.journal, clock=base.clock, tasks=base.tasks,
    )  # fmt: skip


def build_recording(
    base: Base,
    *,
    storage: Storage,
    headroom: Headroom,
    streamlinks: Streamlinks,
    watching: Watching,
    network: LinkWatch,
    publisher: Publisher,
    scratch: Scratch,
) -> RecordingParts:
    """From the processes that run upwards."""
    processes: ProcessWatch[str] = ProcessWatch(asyncio.get_running_loop())
    runs = _build_runs(base, processes, scratch)
    media: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())
    witnesses = Witnesses(inbox=base.inbox, clock=base.clock, runs=runs, disk=storage.guard, link=network)
    jobs = base.places.state / "jobs"
    progress = JoinProgress(folder=jobs, watcher=media, listener=publisher)
    joins = Joins(
        inbox=base.inbox, tasks=base.tasks, clock=base.clock, store=base.store, disk=storage.guard,
        journal=base.journal, runs=JoinRuns(runs=runs, files=base.files, progress=progress, reports=jobs),
        names=ResultNames(store=base.store, files=base.files, lanes=base.lanes, templates=watching.profiles),
    )  # fmt: skip
    removal = Removal(store=base.store, files=base.files, media=MediaRemover(), lanes=base.lanes)
    common: dict[str, Any] = {"inbox": base.inbox, "clock": base.clock}
    footage = Footage(
        **common, files=base.files, lanes=base.lanes, media=media, writeback=storage.writeback, held=storage.held,
        looks=Looks(),
    )  # fmt: skip
    captures = Captures(
        **common, runs=runs, headroom=headroom, footage=footage, witnesses=witnesses, journal=base.journal,
        capture=Commands(streamlinks=streamlinks, settings=base.settings, profiles=watching.profiles),
    )  # fmt: skip
    executor = Executor(
        tasks=base.tasks,
        books=Books(store=base.store, journal=base.journal, hub=base.hub, clock=base.clock, tasks=base.tasks),
        captures=captures, footage=footage, disk=storage.guard, joins=joins,
        cleaning=Cleaning(**common, removal=removal, journal=base.journal),
        asking=Asking(**common, prober=watching.probes),
    )  # fmt: skip
    manager = Manager(executor=executor, recorders=base.recorders, **common)
    takeover = Takeover(
        manager=manager, store=base.store, files=base.files, runs=runs, journal=base.journal, clock=base.clock,
        lanes=base.lanes, tasks=base.tasks,
    )  # fmt: skip
    return RecordingParts(
        processes=processes, media=media, runs=runs, witnesses=witnesses, progress=progress, joins=joins,
        removal=removal, executor=executor, manager=manager, takeover=takeover, chats=_build_chats(base, runs),
    )  # fmt: skip
