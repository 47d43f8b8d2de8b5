# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is watched: the streamers' files, read again when told, changed when asked, and handed to the watcher.

A change is on disk before it holds. What cannot be read changes nothing, and is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from streamvaultd.config import streamers
from streamvaultd.config.last_good import LastGood, streamers_or_last
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.proxies import SECTION
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Policy
from streamvaultd.core.upkeep.retention import RetentionRules as Retention
from streamvaultd.core.watching.model import Past, WatchRules
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import (
    ConfigInvalid,
    DirectoryUnusable,
    NoSuchStreamer,
    StreamerExists,
    StreamerReadOnly,
    TooManyStreamers,
    VaultError,
)
from streamvaultd.reporting.notices import STREAMERS_REFUSED, Journal
from streamvaultd.watching.secrets import Secrets
from streamvaultd.watching.watcher import Watches


class OwnFiles(Protocol):
    """The folder of files that are the daemon's own. Blocking."""

    def path(self, name: str) -> Path: ...
    def write(self, name: str, document: Mapping[str, Mapping[str, Any]]) -> None: ...
    def change(self, name: str, section: str, key: str, value: Any) -> None: ...
    def remove(self, name: str) -> None: ...


class Reprieve(Protocol):
    """A time in which nothing is removed, so that somebody can look at what would go."""

    def begin(self) -> None: ...


class Roster:
    """The streamers. Changes are made one after the other; `reprieve` begins where a file changes what is kept."""

    def __init__(
        self,
        *,
        watches: Watches,
        folders: tuple[Path, Path],
        files: OwnFiles,
        last: LastGood,
        secrets: Secrets,
        reprieve: Reprieve,
        settings: LiveSettings,
        journal: Journal,
    ) -> None:
        self._watches = watches
        self._folders = folders
        self._files = files
        self._last = last
        self._secrets = secrets
        self._reprieve = reprieve
        self._settings = settings
        self._journal = journal
        self._changing = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._doubtful: Set[str] | None = None
        self.listeners: list[Callable[[int], None]] = []
        """Called with the number of streamers whenever the files have been read."""

    async def load(self, past: Mapping[str, Past] | None = None) -> Sequence[VaultError]:
        """Read all files; those with mistakes leave their streamers as they were. Tells and returns those."""
        async with self._loading:  # what was read last has to hold
            return await self._load(past)

    async def _load(self, past: Mapping[str, Past] | None) -> Sequence[VaultError]:
        before = {name: watched.streamer for name, watched in self._watches.watched.items()}
        settings, proxies = self._settings.now, self._secrets.proxies
        pools = {
            name: replace(pool, secrets=tuple(secret for secret in pool.secrets if secret in proxies))
            for name, pool in settings.pools.items()
        }
        found, mistakes = await asyncio.to_thread(streamers_or_last, self._folders, before, pools, self._last)
        self._doubtful = streamers.doubtful(mistakes)
        if _retentions(found) != _retentions(before):
            self._reprieve.begin()
        mistakes = (*mistakes, *self._missing_secrets(found.values()), *self._missing_proxies(settings))
        self._settings.wrong_streamers = mistakes
        if mistakes:
            self._journal.tell(STREAMERS_REFUSED, why="; ".join(str(mistake) for mistake in mistakes))
        rules = WatchRules(interval=settings.watch_interval, spacing=settings.watch_spacing)
        self._watches.configure(found, rules, past or {})
        for listener in self.listeners:
            listener(len(found))
        return mistakes

    def retention_of(self, name: str) -> Retention | None:
        """What is kept of a streamer's recordings; None while nobody can tell, for want of files without mistakes.

        A streamer without a file goes by the settings.
        """
        policy = self.policy_of(name)
        if policy is None:
            return None
        streamer, base = self._watches.streamer(name), self._settings.now.retention
        rules = base if streamer is None else streamer.retention_on(base)
        return replace(rules, require_upload=rules.require_upload and bool(policy.upload))

    def policy_of(self, name: str) -> Policy | None:
        """What recordings of a streamer go by now; None while nobody can tell, as retention_of()."""
        if self._settings.wrong or self._doubtful is None or name in self._doubtful:
            return None
        streamer, base = self._watches.streamer(name), self._settings.now.policy
        return base if streamer is None else streamer.policy_on(base)

    def _missing_secrets(self, found: Iterable[Streamer]) -> Iterator[VaultError]:
        """They are recorded all the same: without a token there may be advertisements, without a recording nothing."""
        why = "there is no such credential, see SECRETS in streamvaultd.streamer(5); it goes on without"
        for streamer in found:
            for name in streamer.secrets:
                if name not in self._secrets.names:
                    yield ConfigInvalid(file=streamer.file, section="streamlink", key="secrets", value=name, why=why)

    def _missing_proxies(self, settings: Settings) -> Iterator[VaultError]:
        why = "there is no such credential, see PROXIES in streamvaultd.streamer(5); the pool goes without"
        for pool, each in sorted(settings.pools.items()):
            for name in (name for name in each.secrets if name not in self._secrets.names):
                section = f"{SECTION}.{pool}"
                yield ConfigInvalid(file="streamvaultd.toml", section=section, key="secrets", value=name, why=why)

    async def add(self, name: str, url: str, quality: str | None) -> None:
        """Watch a streamer; raises StreamerExists, TooManyStreamers, ConfigInvalid, DirectoryUnusable.

        URL and quality have been checked.
        """
        content = {"url": url, "enabled": True} | ({} if quality is None else {"quality": quality.split(",")})
        async with self._changing:
            if name in self._watches.watched:
                raise StreamerExists(streamer=name)
            if len(self._watches.watched) >= streamers.STREAMERS_MAX:
                raise TooManyStreamers(limit=streamers.STREAMERS_MAX)
            _, mistakes = streamers.parse({"streamer": content}, f"{name}.toml", name)
            for mistake in mistakes:
                raise mistake
            await self._write(self._files.write, name, {"streamer": content})

    async def remove(self, name: str) -> None:
        """Watch a streamer no more; a recording goes on. Raises NoSuchStreamer, StreamerReadOnly."""
        async with self._changing:
            self._own(name)
            await self._write(self._files.remove, name)

    async def enable(self, name: str, *, enabled: bool) -> None:
        """Watch a streamer again, or for now no more; a recording goes on."""
        async with self._changing:
            streamer = self._own(name, unless_enabled=enabled)
            if streamer.enabled != enabled:
                await self._write(self._files.change, name, "streamer", "enabled", enabled)

    def _own(self, name: str, *, unless_enabled: bool | None = None) -> Streamer:
        streamer = self._watches.streamer(name)
        if streamer is None:
            raise NoSuchStreamer(streamer=name)
        if not streamer.is_ours and streamer.enabled != unless_enabled:
            raise StreamerReadOnly(streamer=name, file=streamer.file)
        return streamer

    async def _write(self, change: Callable[..., None], name: str, *more: Any) -> None:
        try:
            await asyncio.to_thread(change, name, *more)
        except (OSError, ValueError) as error:
            folder = str(self._files.path(name).parent)
            raise DirectoryUnusable(directory=folder, why=str(error)) from error
        await self.load()


def _retentions(found: Mapping[str, Streamer]) -> dict[str, tuple[tuple[str, Any], ...]]:
    return {name: streamer.retention for name, streamer in found.items() if streamer.retention}
