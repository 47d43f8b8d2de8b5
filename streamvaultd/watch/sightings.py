# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for streamers by the line, each with its own options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from streamvaultd.core.streamer import Streamer
from streamvaultd.core.watched import Sighting
from streamvaultd.watch.line import Answer, sighting_of

Options = Sequence[tuple[str, str]]


class Line(Protocol):
    """The one process; see line.py."""

    async def probe(self, url: str, quality: str, *, options: Options = (), secrets: Options = ()) -> Answer: ...


class Sightings:
    """Never raises; trouble is an answer. `on_refused` is told of streamers whose secrets the site does not want."""

    def __init__(
        self,
        *,
        line: Line,
        options: Callable[[Streamer], Options],
        secrets: Callable[[Streamer], Options],
        on_answer: Callable[[Streamer, bool], None],
    ) -> None:
        self._line = line
        self._options = options
        self._secrets = secrets
        self._on_answer = on_answer

    async def sight(self, streamer: Streamer) -> Sighting:
        """What the source offers now."""
        options, secrets = self._options(streamer), self._secrets(streamer)
        answer = await self._line.probe(streamer.url, streamer.quality or "best", options=options, secrets=secrets)
        if secrets:
            self._on_answer(streamer, answer.refused)
        return sighting_of(answer)
