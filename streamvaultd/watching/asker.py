# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for streamers by the line, each with its own options, secrets and proxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.config.credentials import Options
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting, Trouble
from streamvaultd.core.watching.proxies import CREDENTIAL, DIRECT, Health, choose, learn
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.watching.probe_line import Answer, sighting_of
from streamvaultd.watching.secrets import PROXY, Secrets

TRIES: Final = 3
"""How many proxies are tried in one question."""


class Line(Protocol):
    """The one process; see line.py."""

    async def probe(
        self,
        url: str,
        quality: str,
        *,
        options: Sequence[tuple[str, str]] = (),
        secrets: Sequence[tuple[str, str]] = (),
    ) -> Answer: ...


class Sightings:
    """Never raises; trouble is an answer. `secrets` hear whether a site refuses those of a streamer."""

    def __init__(self, *, line: Line, settings: LiveSettings, secrets: Secrets, clock: Clock) -> None:
        self._line = line
        self._settings = settings
        self._secrets = secrets
        self._clock = clock
        self._health: Mapping[str, Health] = {}

    def proxy_of(self, streamer: Streamer, tried: Sequence[str] = ()) -> str | None:
        """The proxy that is used for a streamer now: of its file, and of its secrets."""
        listed = [proxy for item in streamer.proxies for proxy in self._proxies_of(item)]
        own = proxies_in(self._secrets.of(streamer))
        return choose(list(dict.fromkeys([*listed, *own])), self._health, self._clock.now().monotonic, tried)

    def hidden_of(self, streamer: Streamer) -> frozenset[str]:
        """Those of its proxies that are secrets."""
        pooled = (
            proxy for item in streamer.proxies if item.startswith(CREDENTIAL) for proxy in self._proxies_of(item)
        )
        return frozenset([*pooled, *proxies_in(self._secrets.of(streamer))])

    def _proxies_of(self, item: str) -> Sequence[str]:
        if not item.startswith(CREDENTIAL):
            return (item,)
        return proxies_in(self._secrets.named(item.removeprefix(CREDENTIAL)))

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
        options = [*self._settings.now.streamlink_options, *streamer.options, *proxy_options(proxy)]
        secrets = [option for option in self._secrets.of(streamer) if option[0] != PROXY]
        answer = await self._line.probe(streamer.url, streamer.quality or "best", options=options, secrets=secrets)
        if secrets and (answer.refused or answer.outcome is not Outcome.TROUBLE):  # trouble says nothing of them
            self._secrets.note_answer(streamer, refused=answer.refused)
        return sighting_of(answer)


def proxies_in(options: Sequence[tuple[str, str]]) -> Sequence[str]:
    """The proxies among options."""
    return [value for name, value in options if name == PROXY]


def proxy_options(proxy: str | None) -> Options:
    """streamlink's options for a proxy that was chosen."""
    return () if proxy in (None, DIRECT) else ((PROXY, str(proxy)),)
