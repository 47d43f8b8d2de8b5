# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for streamers by the line, each with its own options, secrets and proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting, Trouble
from streamvaultd.core.watching.proxies import CREDENTIAL, DIRECT, Health, choose, learn
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.watching.probe_line import Answer, sighting_of

Options = Sequence[tuple[str, str]]

TRIES: Final = 3
"""So many proxies are tried in one question."""

PROXY: Final = "http-proxy"


class Line(Protocol):
    """The one process; see line.py."""

    async def probe(self, url: str, quality: str, *, options: Options = (), secrets: Options = ()) -> Answer: ...


class Sightings:
    """Never raises; trouble is an answer. `on_answer` is told whether a site refuses a streamer's secrets."""

    def __init__(
        self,
        *,
        line: Line,
        options: Callable[[Streamer], Options],
        secrets: Callable[[Streamer], Options],
        credential: Callable[[str], Options],
        on_answer: Callable[[Streamer, bool], None],
        clock: Clock,
    ) -> None:
        self._line = line
        self._options = options
        self._secrets = secrets
        self._credential = credential
        self._on_answer = on_answer
        self._clock = clock
        self._health: Mapping[str, Health] = {}

    def proxy_of(self, streamer: Streamer, tried: Sequence[str] = ()) -> str | None:
        """The proxy that is used for a streamer now: of its file, and of its secrets."""
        listed = [proxy for item in streamer.proxies for proxy in self._proxies_of(item)]
        own = proxies_in(self._secrets(streamer))
        return choose(list(dict.fromkeys([*listed, *own])), self._health, self._clock.now().monotonic, tried)

    def hidden_of(self, streamer: Streamer) -> frozenset[str]:
        """Those of its proxies that are secrets."""
        pooled = (
            proxy for item in streamer.proxies if item.startswith(CREDENTIAL) for proxy in self._proxies_of(item)
        )
        return frozenset([*pooled, *proxies_in(self._secrets(streamer))])

    def _proxies_of(self, item: str) -> Sequence[str]:
        if not item.startswith(CREDENTIAL):
            return (item,)
        return proxies_in(self._credential(item.removeprefix(CREDENTIAL)))

    async def sight(self, streamer: Streamer) -> Sighting:
        """What the source offers now; where a proxy does not lead to it, by the next one."""
        tried: list[str] = []
        while True:
            proxy = self.proxy_of(streamer, tried)
            sighting = await self._ask(streamer, proxy)
            if proxy is None or sighting.trouble is Trouble.PROBE:
                return sighting
            worked = sighting.trouble is not Trouble.NETWORK
            self._health = learn(self._health, proxy, self._clock.now().monotonic, worked=worked)
            tried.append(proxy)
            if worked or len(tried) >= TRIES or self.proxy_of(streamer, tried) is None:
                return sighting

    async def _ask(self, streamer: Streamer, proxy: str | None) -> Sighting:
        options = [*self._options(streamer), *proxy_options(proxy)]
        secrets = [option for option in self._secrets(streamer) if option[0] != PROXY]
        answer = await self._line.probe(streamer.url, streamer.quality or "best", options=options, secrets=secrets)
        if secrets and (answer.refused or answer.outcome is not Outcome.TROUBLE):  # trouble says nothing of them
            self._on_answer(streamer, answer.refused)
        return sighting_of(answer)


def proxies_in(options: Options) -> Sequence[str]:
    """The proxies among options."""
    return [value for name, value in options if name == PROXY]


def proxy_options(proxy: str | None) -> Options:
    """streamlink's options for a proxy that was chosen."""
    return () if proxy in (None, DIRECT) else ((PROXY, str(proxy)),)
