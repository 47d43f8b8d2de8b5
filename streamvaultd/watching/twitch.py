# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch at scale: all its streamers in as few requests as there are hundreds of them, once an interval.

What is learnt is pushed to the watcher, who then asks none of them by itself. When it cannot be learnt nothing is
pushed, and they are asked one by one: that is all there is to falling back.

With a user's token Twitch also tells by itself when somebody goes on air or changes the title. That only hastens the
next look: nothing is asked less often for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from streamvaultd.base.tasks import Tasks
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import TWITCH_AWAY, TWITCH_SILENT, Journal
from streamvaultd.watching.hints import Hints
from streamvaultd.watching.probe_line import Answer

BATCH: Final = 100
RETRY_MIN: Final = 5.0
RETRY_MAX: Final = 300.0
LOGIN: Final = re.compile(r"(?:https?://)?(?:www\.|m\.)?twitch\.tv/([A-Za-z0-9_]{1,25})/?(?:\?.*)?", re.ASCII)


FOLLOWED_MAX: Final = 300
"""How many subscriptions Twitch allows on a connection: more channels need not be named."""

KEPT_FOR: Final = 60.0
"""The most time (s) before the process hears again whom to listen to: it may be another one meanwhile."""

ONLINE: Final = "stream.online"
LOOKS: Final = (5.0, 10.0, 15.0)
"""Twitch says "online" before there is a playlist: seconds from one further look to the next."""

HINT_REST: Final = 1.0
"""The least time (s) between two hints at the same streamer, however much there is to tell."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Of the application that Twitch knows, and of a user; `api`, `auth` and `events` are where it is asked."""

    client: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)
    api: str = "https://api.twitch.tv"
    auth: str = "https://id.twitch.tv"
    events: str = "wss://eventsub.wss.twitch.tv/ws"


class Line(Protocol):
    """The one process; see line.py."""

    async def ask_helix(self, logins: Sequence[str], keys: Keys) -> Answer: ...
    async def listen_to(self, logins: Sequence[str], keys: Keys) -> Answer: ...


class Watches(Protocol):
    """The watcher."""

    @property
    def streamers(self) -> Sequence[Streamer]: ...
    def push(self, streamer: Streamer, sighting: Sighting) -> None:
        """Something was learnt of a streamer."""

    def hint(self, name: str) -> None:
        """There is something to be seen of it."""

    def is_seen(self, name: str) -> bool:
        """Whether a broadcast of it is known of."""


class TwitchRounds:
    """Asks for all of them again and again, and pushes what was seen; trouble is told when it begins."""

    def __init__(self, *, line: Line, keys: Keys, watches: Watches, journal: Journal, settings: LiveSettings) -> None:
        self._line = line
        self._keys = keys
        self._watches = watches
        self._journal = journal
        self._settings = settings
        self._failures = 0

    async def run(self) -> None:
        """One round after the other, until cancelled."""
        while True:  # noqa: ASYNC110 - the interface tells nothing by itself
            await asyncio.sleep(await self.round())

    async def round(self) -> float:
        """Ask for all of them; seconds until the next round."""
        by_login = logins_of(self._watches.streamers)
        for batch in batches(sorted(by_login)):
            answer = await self._line.ask_helix(batch, self._keys)
            if answer.outcome is Outcome.TROUBLE:
                return self._later(answer)
            for login in batch:
                for streamer in by_login[login]:
                    self._watches.push(streamer, sighting_of(answer.live.get(login), answer.tags.get(login)))
        self._failures = 0
        return self._settings.now.watch_interval

    def _later(self, answer: Answer) -> float:
        self._failures += 1
        if self._failures == 1:
            self._journal.tell(TWITCH_AWAY, why=answer.detail)
        return retry_after(self._failures, answer.retry)


class TwitchEvents:
    """Has all of them listened to, and takes up what `hints` bring; trouble is told when it begins."""

    def __init__(
        self,
        *,
        line: Line,
        keys: Keys,
        hints: Hints,
        watches: Watches,
        journal: Journal,
        tasks: Tasks,
        settings: LiveSettings,
    ) -> None:
        self._line = line
        self._keys = keys
        self._hints = hints
        self._watches = watches
        self._journal = journal
        self._tasks = tasks
        self._settings = settings
        self._is_well = True
        self._resting: dict[str, bool] = {}
        """Who has just been hinted at, and whether there is more to hint at."""
        self._looking: set[str] = set()

    async def run(self) -> None:
        """Say again and again whom to listen to, and take up what is heard, until cancelled."""
        self._tasks.create_task(self._hear())
        while True:
            await self.keep()
            await asyncio.sleep(min(self._settings.now.watch_interval, KEPT_FOR))

    async def keep(self) -> None:
        """Say whom to listen to, and hear how it stands."""
        answer = await self._line.listen_to(sorted(logins_of(self._watches.streamers))[:FOLLOWED_MAX], self._keys)
        is_well = answer.outcome is not Outcome.TROUBLE
        if self._is_well and not is_well:
            self._journal.tell(TWITCH_SILENT, why=answer.detail)
        self._is_well = is_well

    async def _hear(self) -> None:
        while True:
            self.heard(*await self._hints.next())

    def heard(self, login: str, kind: str) -> None:
        """Twitch has told something of a channel."""
        for streamer in logins_of(self._watches.streamers).get(login, ()):
            name = streamer.name
            if name in self._resting:
                self._resting[name] = True
            else:
                self._resting[name] = False
                self._watches.hint(name)
                self._tasks.create_task(self._rest(name))
            if kind == ONLINE and name not in self._looking:
                self._looking.add(name)
                self._tasks.create_task(self._look_again(name))

    async def _rest(self, name: str) -> None:
        """Reports about it meanwhile make one further hint."""
        await asyncio.sleep(HINT_REST)
        while self._resting[name]:
            self._resting[name] = False
            self._watches.hint(name)
            await asyncio.sleep(HINT_REST)
        del self._resting[name]

    async def _look_again(self, name: str) -> None:
        for wait in LOOKS:
            await asyncio.sleep(wait)
            if self._watches.is_seen(name):
                break
            self._watches.hint(name)
        self._looking.remove(name)


def retry_after(failures: int, wanted: float) -> float:
    """Seconds until the next round after so many failures in a row, and not before the interface wants it."""
    return max(min(RETRY_MIN * 2.0 ** min(failures - 1, 16), RETRY_MAX), wanted)


def logins_of(streamers: Iterable[Streamer]) -> dict[str, list[Streamer]]:
    """The streamers whose URL is a channel of Twitch, by its login."""
    found: dict[str, list[Streamer]] = {}
    for streamer in streamers:
        match = LOGIN.fullmatch(streamer.url)
        if streamer.enabled and match is not None:
            found.setdefault(match[1].lower(), []).append(streamer)
    return found


def batches(logins: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many as one request may name."""
    for start in range(0, len(logins), BATCH):
        yield logins[start : start + BATCH]


def sighting_of(stream: tuple[str, str, str] | None, tags: tuple[str, ...] | None = None) -> Sighting:
    """What the watcher is told of a channel."""
    if stream is None:
        return Sighting(outcome=Outcome.OFFLINE, detail="Twitch lists no stream")
    site_id, title, category = stream
    return Sighting(outcome=Outcome.LIVE, site_id=site_id, title=title, category=category, tags=tags)
