# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks streamlink's plugins about a URL that belongs to no streamer's file: in the one isolated process, as all do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting
from streamvaultd.recording.streamlink.current import Streamlinks
from streamvaultd.watching.probe_line import Answer, sighting_of

QUESTIONS_MAX: Final = 4
"""Questions at a time: half of the process's threads, so that clients and lost sources leave room for watching."""


class Line(Protocol):
    """The connection to the process; see probe_line.py."""

    async def probe(self, url: str, quality: str, *, options: Sequence[tuple[str, str]] = ()) -> Answer: ...
    async def resolve(self, url: str) -> Answer: ...


class Plugins:
    """What streamlink knows; further questions than QUESTIONS_MAX wait."""

    def __init__(self, *, line: Line, streamlinks: Streamlinks, settings: LiveSettings) -> None:
        self._line = line
        self._streamlinks = streamlinks
        self._settings = settings
        self._turns = asyncio.Semaphore(QUESTIONS_MAX)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the streamlink that is used: it is old, or cannot be used."""
        return self._streamlinks.trouble

    async def can_handle(self, url: str) -> bool:
        """Whether a plugin knows this URL; raises StreamlinkUnusable. Trouble does not count against the URL."""
        await self._streamlinks.usable()
        async with self._turns:
            return (await self._line.resolve(url)).outcome is not Outcome.UNSUPPORTED

    async def probe(self, url: str, quality: str) -> Sighting:
        """What the source offers now, with the options of streamvaultd.toml; trouble is an answer."""
        async with self._turns:
            answer = await self._line.probe(url, quality, options=self._settings.now.streamlink_options)
        return sighting_of(answer)
