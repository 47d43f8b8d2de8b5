# SPDX-License-Identifier: GPL-3.0-or-later
"""Reloads: the settings are read again, and every part that goes by them gets them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streamvaultd.base.threads import in_thread
from streamvaultd.config import settings as config
from streamvaultd.config.last_good import SETTINGS, LastGood, load_or_last
from streamvaultd.config.settings import Settings
from streamvaultd.daemon.base import Base
from streamvaultd.daemon.watching import Watching, check_targets
from streamvaultd.errors import VaultError
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import SETTINGS_APPLIED, SETTINGS_REFUSED, STREAMLINK_OLD
from streamvaultd.upkeep.retention import Reprieve


class Reloads:
    """Reads them one after the other: what was read last has to hold. A disk that hangs holds up reloads alone."""

    def __init__(self, base: Base, *, watching: Watching, streamlinks: Streamlinks, reprieve: Reprieve) -> None:
        self._base = base
        self._watching = watching
        self._streamlinks = streamlinks
        self._reprieve = reprieve
        self._last = LastGood(base.places.state / SETTINGS)
        self._turn = asyncio.Lock()
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """The service has started up: what was asked for meanwhile is done now."""
        self._begun.set()

    def on_hangup(self) -> None:
        """SIGHUP."""
        self._base.tasks.create_task(self._obey())

    async def _obey(self) -> None:
        await self.reload()

    async def reload(self) -> tuple[bool, Sequence[VaultError]]:
        """Read the settings again; bad ones leave the old ones in force. Whether they apply, and all mistakes."""
        await self._begun.wait()  # a reload before would say READY=1, and load streamers without what was
        async with self._turn:
            return await self._reload()

    async def _reload(self) -> tuple[bool, Sequence[VaultError]]:
        base = self._base
        base.notifier.reloading()
        self._reprieve.begin()
        settings, mistakes = await in_thread("settings", self._read)
        self.tell_mistakes(SETTINGS_REFUSED, mistakes)
        if not mistakes:
            base.settings.apply(settings)
            await self.find_streamlink()
            base.journal.tell(SETTINGS_APPLIED)
        others = await self._watching.roster.load()
        check_targets(base, self._watching)
        base.notifier.ready(base.status.text)
        return not mistakes, (*mistakes, *others)

    def _read(self) -> tuple[Settings, tuple[VaultError, ...]]:
        """What the files say now. Blocking."""
        return load_or_last(config.files(self._base.places.root), self._last)

    def tell_mistakes(self, entry: Entry, mistakes: Sequence[VaultError]) -> None:
        """Tell of mistakes in the settings, in the journal now and in the status until they are gone."""
        self._base.settings.note_mistakes(mistakes)
        if mistakes:
            self._base.journal.tell(entry, why="; ".join(str(mistake) for mistake in mistakes))

    async def find_streamlink(self) -> None:
        """Look for the one to use, and say what is wrong with it."""
        await self._streamlinks.refresh()
        if self._streamlinks.trouble is not None:
            self._base.journal.tell(STREAMLINK_OLD, why=self._streamlinks.trouble)
