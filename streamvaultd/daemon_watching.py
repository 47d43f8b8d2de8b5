# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that builds watching: the files, the watcher, and the line to the probe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from streamvaultd import streamers
from streamvaultd.api_streamers import StreamersApi
from streamvaultd.clock import Clock
from streamvaultd.config import Settings
from streamvaultd.core.events import Event
from streamvaultd.core.model import Recorder, Recording
from streamvaultd.core.streamer import Streamer
from streamvaultd.core.watched import Sighting
from streamvaultd.manager import Manager
from streamvaultd.notices import PROBE_LOST, Journal
from streamvaultd.ports import Disk, Store
from streamvaultd.roster import Beginner, Roster
from streamvaultd.streamer_files import StreamerFiles
from streamvaultd.streamlinks import Streamlinks
from streamvaultd.watch.line import LINE_MAX, ProbeLine
from streamvaultd.watch.sightings import Sightings
from streamvaultd.watches import SourceProbes, Watches

PROBE_SOCKET: Final = Path("/run/streamvault-probe/socket")
ETC: Final = Path("/etc/streamvaultd")


class Watching:
    """Everything about who is watched; `start()` once recordings are taken over."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        state_dir: Path,
        streamlinks: Streamlinks,
        manager: Callable[[], Manager],
        disk: Callable[[], Disk],
        memory_refusal: Callable[[int], str | None],
        post: Callable[[int, Event], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        store: Store,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._settings, self._store, self._clock, self._spawn = settings, store, clock, spawn
        self._manager, self._disk, self._memory_refusal = manager, disk, memory_refusal
        self._streamlinks = streamlinks
        streamlinks.options_for = self.options_for
        self.line = ProbeLine(
            connect=_connect,
            python=self._python,
            spawn=spawn,
            on_loss=lambda why: journal.tell(PROBE_LOST, why=why),
        )
        asker = Sightings(
            line=self.line,
            options=lambda streamer: (*settings().streamlink_options, *streamer.options),
            secrets=lambda streamer: (),
            on_answer=lambda streamer, refused: None,
        )
        self.watches = Watches(
            asker=asker,
            begin=self._begin,
            post=post,
            spawn=spawn,
            recorders=lambda: manager().recorders,
            store=store,
            journal=journal,
            clock=clock,
            chance=random.random,
        )
        self.probes = SourceProbes(watches=self.watches, asker=asker, fallback=streamlinks, post=post, clock=clock)
        own = state_dir / streamers.FOLDER
        self.roster = Roster(
            watches=self.watches,
            folders=(ETC / streamers.FOLDER, own),
            files=StreamerFiles(own),
            settings=settings,
            journal=journal,
        )

    async def start(self) -> None:
        """Read the files, learn from the store what was, and watch."""
        await self.roster.load(await self._store.past())
        self._spawn(self.watches.run())

    def api(self) -> StreamersApi:
        """The methods about streamers."""
        return StreamersApi(roster=self.roster, watches=self.watches, plugins=self._streamlinks, clock=self._clock)

    def options_for(self, recording: Recording) -> tuple[tuple[str, str], ...]:
        """What the streamer's file adds to streamlink's options."""
        streamer = self._streamer_of(recording)
        return streamer.options if streamer else ()

    def template_for(self, recording: Recording) -> str:
        """How the joined file is called."""
        streamer = self._streamer_of(recording)
        return (streamer.filename if streamer else "") or self._settings().filename

    def _streamer_of(self, recording: Recording) -> Streamer | None:
        """The streamer whose file a recording goes by: the one of its name, if it is of the same source."""
        streamer = self.watches.streamer(recording.streamer)
        return streamer if streamer is not None and streamer.url == recording.url else None

    async def _python(self) -> str:
        return (await self._streamlinks.usable()).python

    async def _begin(self, streamer: Streamer, sighting: Sighting) -> Recorder:
        beginner = Beginner(
            manager=self._manager(),
            store=self._store,
            disk=self._disk(),
            clock=self._clock,
            settings=self._settings,
            memory_refusal=self._memory_refusal,
        )
        return await beginner.begin(streamer, sighting)


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(PROBE_SOCKET, limit=LINE_MAX)
