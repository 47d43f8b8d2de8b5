# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the composition root that builds watching: the files, the watcher, and the line to the probe."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from streamvaultd.config import credentials, streamers
from streamvaultd.config.filename import check_template
from streamvaultd.config.last_good import STREAMERS, LastGood
from streamvaultd.config.settings import Settings
from streamvaultd.config.streamer_files import StreamerFiles
from streamvaultd.core.model import Recording
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.telling import build_telling, named_targets
from streamvaultd.errors import VaultError
from streamvaultd.recording.admission import Admission, Beginner
from streamvaultd.recording.streamlink.current import Options, Streamlinks
from streamvaultd.reporting.notices import (
    PROBE_LOST,
    SECRETS_REFUSED,
    STREAMERS_REFUSED,
    TWITCH_AWAY,
    TWITCH_SILENT,
)
from streamvaultd.watching.asker import PROXY, Sightings, proxies_in, proxy_options
from streamvaultd.watching.plugins import Plugins
from streamvaultd.watching.probe_line import LINE_MAX, ProbeLine
from streamvaultd.watching.roster import Roster
from streamvaultd.watching.twitch import Keys, TwitchEvents, TwitchRounds
from streamvaultd.watching.watcher import SourceProbes, Watches

PROBE_SOCKET: Final = Path("/run/streamvault-probe/socket")
ETC: Final = Path("/etc/streamvaultd")


class Watching:
    """Everything about who is watched; `start()` once recordings are taken over."""

    def __init__(self, base: Base, *, state_dir: Path, streamlinks: Streamlinks, beginner: Beginner) -> None:
        settings, store, journal, clock, tasks = base.settings, base.store, base.journal, base.clock, base.tasks
        self._settings, self._store, self._clock, self._tasks = settings, store, clock, tasks
        self._journal = journal
        self._credentials: Mapping[str, Options] = {}
        self._refused: set[str] = set()
        self._events: TwitchEvents | None = None
        self._streamlinks = streamlinks
        streamlinks.options_for = self.options_for
        streamlinks.secrets_for = self.secrets_for
        self.line = ProbeLine(
            connect=_connect, python=self._python, tasks=tasks, settings=settings,
            on_loss=lambda why: journal.tell(PROBE_LOST, why=why), on_hint=self._on_hint,
        )  # fmt: skip
        self._asker = asker = Sightings(
            line=self.line,
            options=lambda streamer: (*settings.now.streamlink_options, *streamer.options),
            secrets=self._secrets_of,
            credential=lambda name: self._credentials.get(name, ()),
            on_answer=self._on_secrets_answered,
            clock=clock,
        )
        self.watches = Watches(
            asker=asker,
            admission=Admission(beginner, store, settings),
            inbox=base.inbox,
            tasks=tasks,
            recorders=base.recorders,
            journal=journal,
            clock=clock,
            chance=random.random,
        )
        self.plugins = Plugins(line=self.line, streamlinks=streamlinks, settings=settings)
        self.probes = SourceProbes(watches=self.watches, asker=asker, plugins=self.plugins)
        own = state_dir / streamers.FOLDER
        self.roster = Roster(
            watches=self.watches,
            folders=(ETC / streamers.FOLDER, own),
            files=StreamerFiles(own),
            last=LastGood(state_dir / STREAMERS),
            settings=settings,
            journal=journal,
        )
        self.telling = build_telling(settings, self.watches.streamer, tasks=tasks, journal=journal, clock=clock)

    async def start(self) -> None:
        """Read the files, learn from the store what was, and watch."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        self._credentials, mistakes = await asyncio.to_thread(credentials.load, Path(directory) if directory else None)
        self.roster.known_secrets = frozenset(self._credentials)
        self.roster.known_proxies = frozenset(n for n, options in self._credentials.items() if proxies_in(options))
        for mistake in mistakes:
            self._journal.tell(STREAMERS_REFUSED, why=mistake)
        await self.roster.load(await self._store.past())
        self._check_targets()
        self._tasks.create_task(self.telling.run())
        await self._start_twitch(Path(directory) if directory else None)
        self._tasks.create_task(self.watches.run())

    async def reload(self) -> Sequence[VaultError]:
        """Read the files again; their mistakes."""
        mistakes = await self.roster.load()
        self._check_targets()
        return mistakes

    def _check_targets(self) -> None:
        self._tasks.create_task(self.telling.check(named_targets(self._settings.now, self._watched_streamers())))

    async def _start_twitch(self, directory: Path | None) -> None:
        keys, mistakes = await asyncio.to_thread(credentials.load_helix, directory)
        for mistake in mistakes:
            self._journal.tell(STREAMERS_REFUSED, why=mistake)
        if not keys:
            return
        rounds = TwitchRounds(
            line=self.line,
            keys=Keys(**keys),
            streamers=self._watched_streamers,
            push=self.watches.push,
            on_trouble=lambda why: self._journal.tell(TWITCH_AWAY, why=why),
            settings=self._settings,
        )
        self._tasks.create_task(rounds.run())
        if "token" not in keys:
            return
        self._events = TwitchEvents(
            line=self.line,
            keys=Keys(**keys),
            streamers=self._watched_streamers,
            hint=self.watches.hint,
            is_seen=self.watches.is_seen,
            on_trouble=lambda why: self._journal.tell(TWITCH_SILENT, why=why),
            tasks=self._tasks,
            settings=self._settings,
        )
        self._tasks.create_task(self._events.run())

    def _watched_streamers(self) -> list[Streamer]:
        return [watched.streamer for watched in self.watches.watched.values()]

    def _on_hint(self, login: str, kind: str) -> None:
        if self._events is not None:
            self._events.heard(login, kind)

    def options_for(self, recording: Recording) -> Options:
        """What the streamer's file adds to streamlink's options."""
        streamer = self._streamer_of(recording)
        if streamer is None:
            return ()
        proxy = self._asker.proxy_of(streamer)
        return (*streamer.options, *proxy_options(None if proxy in self._asker.hidden_of(streamer) else proxy))

    def secrets_for(self, recording: Recording) -> Options:
        """What its credentials add, unless its site refuses them."""
        streamer = self._streamer_of(recording)
        if streamer is None:
            return ()
        proxy = self._asker.proxy_of(streamer)
        secrets = () if streamer.name in self._refused else self._secrets_of(streamer)
        others = tuple(option for option in secrets if option[0] != PROXY)
        return (*others, *proxy_options(proxy if proxy in self._asker.hidden_of(streamer) else None))

    def _secrets_of(self, streamer: Streamer) -> Options:
        return tuple(option for name in streamer.secrets for option in self._credentials.get(name, ()))

    def _on_secrets_answered(self, streamer: Streamer, refused: bool) -> None:  # noqa: FBT001 - what was answered
        if not refused:
            self._refused.discard(streamer.name)
        elif streamer.name not in self._refused:
            self._refused.add(streamer.name)
            self._journal.tell(SECRETS_REFUSED, streamer=streamer.name)

    def template_for(self, recording: Recording) -> str:
        """How the joined file is called: as it was said when the recording began, if that is a template still."""
        with suppress(ValueError):
            return check_template(recording.policy.filename)
        streamer = self._streamer_of(recording)
        return (streamer.filename if streamer else "") or self._settings.now.filename

    def _streamer_of(self, recording: Recording) -> Streamer | None:
        """The streamer whose file a recording goes by: the one of its name, if it is of the same source."""
        streamer = self.watches.streamer(recording.streamer)
        return streamer if streamer is not None and streamer.url == recording.url else None

    async def _python(self) -> str:
        return (await self._streamlinks.usable()).python


def check_files(state_dir: Path, settings: Settings) -> tuple[VaultError, ...]:
    """Every mistake in the files of streamers."""
    return streamers.load((ETC / streamers.FOLDER, state_dir / streamers.FOLDER), {}, settings.pools)[1]


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(PROBE_SOCKET, limit=LINE_MAX)
