# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: takes over what runs, says READY=1, runs, says STOPPING=1.

Whatever fails unexpectedly ends the process: systemd starts it again within a moment, the segments record on in their
scopes meanwhile, and the next start takes them over (P4). There is no other recovery path, so it is the tested one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamvaultd import __version__
from streamvaultd.api.sockets import SOCKET_NAMES, Sockets
from streamvaultd.base.sd_notify import watchdog_interval
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.outside import Outside, ask_witnesses, hear_journal, start_outside
from streamvaultd.daemon.recording import RecordingParts, Storage
from streamvaultd.daemon.reload import Reloads
from streamvaultd.daemon.reporting import Ledger
from streamvaultd.daemon.upkeep import Upkeep
from streamvaultd.daemon.watching import Watching, start_watching
from streamvaultd.errors import VaultError
from streamvaultd.recording.takeover import DEAD
from streamvaultd.reporting.notices import CONFINEMENT_LACKS, DAEMON_STARTED, DAEMON_STOPPED, SETTINGS_MISTAKEN

STUCK_LIMIT: Final = 20.0
"""The watchdog is not fed while one event has taken longer than this (s)."""

DRAIN_LIMIT: Final = 1.0
"""What is under way when the service is stopped may end first; not longer than this (s), for what it launches now
systemd starts only after it has gone: the scopes are ordered after the service."""

HOST_DRAIN_LIMIT: Final = 10.0
"""The same when the machine goes down: all segments have just ended, and are to be synced and stored."""


class Stop(Exception):
    """The service was asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs."""

    storage: Storage
    recording: RecordingParts
    watching: Watching
    outside: Outside
    upkeep: Upkeep
    ledger: Ledger
    reloads: Reloads
    sockets: Sockets


class Service:
    """Runs the parts; `unconfined` says what of the confinement of segments this machine lacks."""

    def __init__(self, base: Base, parts: Parts, *, unconfined: Sequence[str]) -> None:
        self._base = base
        self._parts = parts
        self._unconfined = unconfined

    async def run(self, fds: Mapping[str, list[int]], mistakes: Sequence[VaultError]) -> None:
        """Take over, listen, and work until told to stop; `mistakes` are those in the settings' files."""
        base, parts, loop = self._base, self._parts, asyncio.get_running_loop()
        parts.reloads.tell_mistakes(SETTINGS_MISTAKEN, mistakes)
        loop.add_signal_handler(signal.SIGHUP, parts.reloads.on_hangup)
        start_outside(base, parts.outside)
        base.tasks.create_task(parts.reloads.find_streamlink())
        parts.storage.held.inherit(fds)
        base.notifier.inherit(name for name in fds if name not in SOCKET_NAMES)
        adopted = await self._take_over(fds)
        parts.storage.held.release_all(base.recorders.values())
        parts.ledger.start(base.recorders.values())
        base.tasks.create_task(parts.recording.manager.run())
        await start_watching(base, parts.watching)
        base.tasks.create_task(parts.storage.guard.run())
        base.tasks.create_task(parts.upkeep.retention.run())
        for recorder in base.recorders.values():
            parts.upkeep.steps.on_recorder(recorder)
            parts.upkeep.hooks.on_recorder(recorder)
        base.tasks.create_task(parts.upkeep.steps.run())
        base.tasks.create_task(parts.upkeep.hooks.run())
        parts.sockets.serve(fds)
        base.tasks.create_task(self._feed_watchdog())
        # Until here they end the process at once, whatever it waits for: a crash, of which the rows say what is left
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        base.notifier.ready(base.status.text)
        parts.reloads.begin()
        base.journal.tell(DAEMON_STARTED, version=__version__, adopted=adopted)
        for why in self._unconfined:
            base.journal.tell(CONFINEMENT_LACKS, why=why)
        base.tasks.create_task(parts.upkeep.audits.tell())
        await stop.wait()
        await self._stop()
        raise Stop

    async def _take_over(self, fds: Mapping[str, list[int]]) -> int:
        """Go on from what an earlier daemon left, and from what was said meanwhile; the number of segments adopted."""
        base, outside = self._base, self._parts.outside
        found = await ask_witnesses(base, outside)
        takeover = self._parts.recording.takeover.run(found.scopes, fds, found.told)
        adopted = await base.startup.wait("the disks that are recorded to", takeover)
        live = [scope.unit for scope in found.scopes if scope.active_state not in DEAD]
        base.tasks.create_task(self._parts.recording.chats.run(live, list(fds)))
        base.tasks.create_task(hear_journal(base, outside, found.replay))
        return adopted

    async def _stop(self) -> None:
        self._base.notifier.stopping("Stopping; segments record on")
        await self._drain()
        self._parts.upkeep.steps.let_go()
        live = sum(len(recorder.live) for recorder in self._base.recorders.values())
        self._base.journal.tell(DAEMON_STOPPED, live=live)

    async def _drain(self) -> None:
        """Deal with what has happened by now, and let what is under way end."""
        manager, executor = self._parts.recording.manager, self._parts.recording.executor
        for _ in range(2):  # turns of the loop: what the kernel knows is read in one, and told in the next
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(HOST_DRAIN_LIMIT if self._base.recorders.is_host_stopping else DRAIN_LIMIT):
                while not (manager.is_idle and executor.is_idle):
                    await manager.settle()
                    await executor.finish()
        except TimeoutError:
            return  # the rows say what is left to do

    async def _feed_watchdog(self) -> None:
        """The loop feeds it itself, and only while it makes progress."""
        interval = watchdog_interval()
        while interval is not None:
            if self._parts.recording.manager.stuck_for() < STUCK_LIMIT:
                self._base.notifier.feed_watchdog()
            await asyncio.sleep(interval)
