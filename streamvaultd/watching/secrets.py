# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of streamlink that are secrets: from the service's credentials, by name; and whose a site refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Final

from streamvaultd.config import credentials
from streamvaultd.config.credentials import Options
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import SECRETS_REFUSED, STREAMERS_REFUSED, Journal

PROXY: Final = "http-proxy"


class Secrets:
    """The credentials; there are none before load()."""

    def __init__(self, journal: Journal, options: Mapping[str, Options] | None = None) -> None:
        self._journal = journal
        self._options: Mapping[str, Options] = {} if options is None else options
        self._refused: set[str] = set()

    async def load(self, folder: Path | None) -> None:
        """Read them; mistakes are told."""
        self._options, mistakes = await asyncio.to_thread(credentials.load, folder)
        for mistake in mistakes:
            self._journal.tell(STREAMERS_REFUSED, why=mistake)

    @property
    def names(self) -> Set[str]:
        """Every credential that there is."""
        return self._options.keys()

    @property
    def proxies(self) -> Set[str]:
        """Those of them that have proxies in them."""
        return {name for name, options in self._options.items() if any(option[0] == PROXY for option in options)}

    def named(self, name: str) -> Options:
        """What is in a credential; nothing if there is none."""
        return self._options.get(name, ())

    def of(self, streamer: Streamer) -> Options:
        """What the credentials add that a streamer's file names."""
        return tuple(option for name in streamer.secrets for option in self.named(name))

    def are_refused(self, streamer: Streamer) -> bool:
        """Whether its site has refused them, the last time that it could be seen."""
        return streamer.name in self._refused

    def note_answer(self, streamer: Streamer, *, refused: bool) -> None:
        """Its site has taken or refused them; told when it begins."""
        if not refused:
            self._refused.discard(streamer.name)
        elif streamer.name not in self._refused:
            self._refused.add(streamer.name)
            self._journal.tell(SECRETS_REFUSED, streamer=streamer.name)
