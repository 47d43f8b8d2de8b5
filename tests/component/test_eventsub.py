# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch's events through the probe's process, against a server that behaves as it is documented to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.sync.server import ServerConnection

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import TWITCH_SILENT
from streamvaultd.watching import twitch
from streamvaultd.watching.probe import helix as web
from streamvaultd.watching.twitch import Keys, TwitchEvents
from tests.component.test_probe_line import World, world
from tests.fakes.eventsub import EventSubServer
from tests.fakes.helix import CLIENT, REFRESH, SECRET, HelixServer
from tests.fakes.parts import Noted

TYPES = ("stream.online", "channel.update", "stream.offline")


@pytest.fixture(name="events")
def _events() -> Iterator[EventSubServer]:
    with EventSubServer(keepalive=2.0) as found:
        yield found


@pytest.fixture(name="helix")
def _helix(events: EventSubServer) -> Iterator[HelixServer]:
    with HelixServer() as found:
        found.events = events
        yield found


@pytest.fixture(name="there")
async def _there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


class Work(list[Coroutine[Any, Any, None]]):
    """Tasks that nobody runs."""

    def create_task(self, work: Coroutine[Any, Any, None], /) -> None:
        self.append(work)


class Listener:
    """Streamers of Twitch that are listened to, and what came of it."""

    def __init__(self, there: World, helix: HelixServer, *logins: str, **keys: str) -> None:
        assert helix.events is not None
        self.there, self.events = there, helix.events
        self.logins = list(logins)
        self.hinted: list[str] = []
        self.journal = Noted()
        self.seen: set[str] | None = None
        self.lines: list[tuple[str, str]] = []
        where = {"api": helix.address, "auth": helix.address, "events": helix.events.address}
        self.keys = Keys(CLIENT, SECRET, **{"token": helix.user_token, **where, **keys})
        self.twitch = TwitchEvents(
            line=there.line, keys=self.keys, hints=there.hints, watches=cast("Any", self), journal=self.journal,
            tasks=Work(), settings=LiveSettings(Settings()),
        )  # fmt: skip

    @property
    def troubles(self) -> list[str]:
        assert {entry for entry, _ in self.journal.told} <= {TWITCH_SILENT}
        return self.journal.whys

    # as the watcher

    def hint(self, name: str) -> None:
        self.hinted.append(name)

    def is_seen(self, name: str) -> bool:
        return self.seen is None or name in self.seen

    @property
    def streamers(self) -> list[Streamer]:
        return [Streamer(name=f"the-{login}", url=f"https://www.twitch.tv/{login}") for login in self.logins]

    async def listen(self, *types: str) -> None:
        """Until all of them are subscribed to."""
        await self.twitch.keep()
        wanted = {(kind, login) for kind in types or TYPES for login in self.logins}
        await self.until(lambda: self.events.held == wanted, f"{wanted} are subscribed to")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds of the server's sessions."""
        await asyncio.to_thread(self.events.wait, condition, what)

    async def hear(self, kind: str, login: str) -> None:
        """The server tells of this, and so does the process, as the next thing."""
        number = len(self.lines)
        await asyncio.to_thread(self.events.notify, kind, login)
        await self.heard(number + 1)
        assert self.lines[number:] == [(login, kind)]

    async def heard(self, number: int) -> None:
        """Until so many lines came."""
        async with asyncio.timeout(60):
            while len(self.lines) < number:
                self.lines.append(await self.there.hints.next())

    async def trouble(self) -> None:
        """Until there is trouble."""
        async with asyncio.timeout(60):
            while not self.troubles:
                await self.twitch.keep()
                await asyncio.sleep(0.05)

    async def again(self, welcomes: int) -> None:
        """Until there is another session, with all subscriptions."""
        wanted = {(kind, login) for kind in TYPES for login in self.logins}
        await self.until(lambda: self.events.welcomes >= welcomes, "another session")
        await self.until(lambda: self.events.held == wanted, "the subscriptions are made anew")
        await self.hear("stream.online", self.logins[0])


async def test_what_is_subscribed_to_and_heard(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice", "bob")
    await listener.listen()
    for kind in TYPES:
        await listener.hear(kind, "bob")
    assert [body["type"] for body in listener.events.attempts] == [kind for kind in TYPES for _ in range(2)]
    assert [body["version"] for body in listener.events.attempts] == ["1", "1", "2", "2", "1", "1"]
    await listener.twitch.keep()
    assert listener.troubles == []
    assert len(listener.events.attempts) == 6
    assert [session.heard for session in listener.events.sessions.values()] == [[]]


async def test_hints_become_looks_at_the_streamers_of_that_channel(
    there: World, helix: HelixServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twitch says "online" before there is a playlist: it is looked at again until something is seen."""
    monkeypatch.setattr(twitch, "LOOKS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(twitch, "HINT_REST", 0.0)
    listener = Listener(there, helix, "alice")
    listener.seen = seen = set()
    listener.twitch._tasks = works = Work()

    async def hints(*told: tuple[str, str]) -> int:
        before = len(listener.hinted)
        for login, kind in told:
            listener.twitch.heard(login, kind)
        while works:
            await works.pop(0)
        assert set(listener.hinted) <= {"the-alice"}
        return len(listener.hinted) - before

    online, update = ("alice", "stream.online"), ("alice", "channel.update")
    assert await hints(update) == 1
    assert await hints(update, update, update) == 2  # the others at the end of the rest
    assert await hints(("nobody", "stream.online")) == 0
    assert await hints(online) == 1 + 3
    seen.add("the-alice")
    assert await hints(online, online) == 2


async def test_a_message_that_is_sent_twice_is_heard_once(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    for message in ("one", "one", "two"):
        await asyncio.to_thread(listener.events.notify, "stream.online", "alice", message=message)
    await listener.heard(2)
    await listener.hear("stream.offline", "alice")
    assert len(listener.lines) == 3


async def test_silence_is_the_end_of_a_connection(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    for session in listener.events.sessions.values():
        session.is_silent = True
    await listener.again(2)


async def test_keepalives_are_enough(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    (session,) = listener.events.sessions.values()
    said = session.said_at
    await listener.until(lambda: session.said_at > said + 6.0 or listener.events.welcomes > 1, "keepalives")
    assert listener.events.welcomes == 1


@pytest.mark.parametrize("code", range(4000, 4008))
async def test_a_connection_that_is_closed_is_made_anew(there: World, helix: HelixServer, code: int) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    await asyncio.to_thread(listener.events.close, code)
    await listener.again(2)


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", '{"metadata": {}}', '{"metadata": {"message_type": "notification"}, "payload": {}}']
)
async def test_garbage_ends_the_connection_and_nothing_else(there: World, helix: HelixServer, text: str) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    await asyncio.to_thread(listener.events.say_raw, text)
    await listener.again(2)
    assert len(there.processes) == 1


async def test_messages_of_other_kinds_are_ignored(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    text = '{"metadata": {"message_type": "session_news"}, "payload": {}}'
    await asyncio.to_thread(listener.events.say_raw, text)
    await listener.hear("stream.online", "alice")
    assert listener.events.welcomes == 1


async def test_twitch_moves_a_session(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    (before,) = listener.events.sessions.values()
    await asyncio.to_thread(listener.events.reconnect)
    await listener.until(lambda: listener.events.welcomes == 2, "the new connection")
    await listener.hear("stream.online", "alice")
    (after,) = listener.events.sessions.values()
    assert after is not before
    assert len(listener.events.attempts) == 3  # its subscriptions came along


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/ws", "http://127.0.0.1:9/ws", "nonsense"])
async def test_where_there_is_nobody_nobody_goes(there: World, helix: HelixServer, url: str) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    await asyncio.to_thread(listener.events.reconnect, url)
    await listener.hear("stream.online", "alice")
    await asyncio.to_thread(listener.events.close, 4004)
    await listener.again(2)


async def test_those_over_the_limit_are_left_to_being_asked(there: World, helix: HelixServer) -> None:
    """A cost of 10; those who have authorised the application cost nothing. First of all it is heard who is on air."""
    logins = [f"l{number:02d}" for number in range(14)]
    assert helix.events is not None
    helix.events.authorized = {"l12", "l13"}
    listener = Listener(there, helix, *logins)
    await listener.twitch.keep()
    wanted = {("stream.online", login) for login in logins[:10]}
    wanted |= {(kind, login) for login in logins[12:] for kind in TYPES}
    await listener.until(lambda: len(listener.events.attempts) >= 28, "all was tried")
    await listener.until(lambda: listener.events.held == wanted, "who is heard")
    for login in ("l00", "l13"):
        await listener.hear("stream.online", login)
    await listener.twitch.keep()
    assert listener.troubles == []


async def test_when_nothing_is_allowed_it_is_told_once(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    listener.events.answers = [(403, {}, {})]
    await listener.trouble()
    assert listener.troubles == ["Twitch allows no subscription at all"]
    await listener.until(lambda: len(listener.events.held) == 3, "it is tried again")


async def test_a_revoked_subscription_is_not_missed(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice", "bob")
    await listener.listen()
    await asyncio.to_thread(listener.events.revoke, "stream.online", "alice")
    await listener.hear("stream.online", "bob")
    await listener.hear("channel.update", "alice")
    assert listener.events.welcomes == 1


async def test_whoever_is_watched_is_listened_to(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice", "bob")
    await listener.listen()
    listener.logins = ["bob", "carol"]
    await listener.listen()
    await listener.hear("stream.online", "carol")
    assert listener.events.welcomes == 1
    listener.logins = []
    await listener.listen()
    await listener.until(lambda: not listener.events.sessions, "the connection is closed")
    listener.logins = ["dora"]
    await listener.listen()


async def test_a_token_that_has_expired_is_renewed(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice", token="an-old-one", refresh=REFRESH)  # noqa: S106 - it is one
    await listener.listen()
    assert helix.user_tokens == 1
    await listener.twitch.keep()
    assert listener.troubles == []


def test_a_token_is_validated_at_first_and_every_hour(helix: HelixServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"client": CLIENT, "secret": SECRET, "token": helix.user_token, "auth": helix.address}
    account = web.Account(keys)
    for _ in range(3):
        account.keep_valid()
    assert helix.validated == [f"OAuth {helix.user_token}"]
    monkeypatch.setattr(web, "VALID", 0.0)
    account.keep_valid()
    helix.user_tokens += 1
    with pytest.raises(web.Refused, match="user's token"):
        account.keep_valid()
    assert len(helix.validated) == 3
    account.fresh = REFRESH
    account.keep_valid()
    assert account.token == helix.user_token
    helix.refuse()
    account.keep_valid()
    assert account.token == helix.user_token
    helix.serve()


@pytest.mark.parametrize("refresh", ["", "planted-refresh"])
async def test_a_token_that_is_refused_is_told_and_not_shown(there: World, helix: HelixServer, refresh: str) -> None:
    listener = Listener(there, helix, "alice", token="planted-token", refresh=refresh)  # noqa: S106 - it is one
    await listener.trouble()
    assert "user's token" in listener.troubles[0]
    assert "planted" not in listener.troubles[0]
    assert "planted" not in repr(listener.keys)


@pytest.mark.parametrize(
    "answer", [(429, {}, {"Ratelimit-Remaining": "0", "Ratelimit-Reset": "0"}), (409, {}, {}), (202, {}, {})]
)
async def test_answers_after_which_all_goes_on(there: World, helix: HelixServer, answer: Any) -> None:
    listener = Listener(there, helix, "alice")
    listener.events.answers = [answer]
    await listener.twitch.keep()
    number = 4 if answer[0] == 429 else 3
    await listener.until(lambda: len(listener.events.attempts) >= number, "the others are made")
    await listener.hear("channel.update", "alice")


async def test_what_twitch_could_not_make_is_made_later(there: World, helix: HelixServer, tmp_path: Path) -> None:
    """In the meantime the connection stays, and what is said on it is heard."""
    listener = Listener(there, helix, "alice")
    await listener.listen()
    listener.logins = ["alice", "bob"]
    listener.events.answers = [(500, {}, {})]
    await listener.twitch.keep()
    await listener.until(lambda: len(listener.events.attempts) == 4, "it was tried")
    await listener.hear("stream.online", "alice")
    assert listener.events.welcomes == 1


@pytest.mark.parametrize("opening", ["nothing", "no welcome", "half a welcome"])
async def test_a_connection_that_does_not_begin_well(there: World, helix: HelixServer, opening: str) -> None:
    texts = {"no welcome": "session_keepalive", "half a welcome": "session_welcome"}
    tries: list[str] = []

    def open_badly(socket: ServerConnection) -> bool:
        tries.append(opening)
        if len(tries) > 1:
            return False
        if opening in texts:
            socket.send(json.dumps({"metadata": {"message_type": texts[opening]}, "payload": {}}))
        return True

    listener = Listener(there, helix, "alice")
    listener.events.opening = open_badly
    await listener.listen()
    assert len(tries) == 2
    await listener.twitch.keep()
    assert listener.troubles == []


async def test_nobody_listens_at_twitch(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice", events="ws://127.0.0.1:9/ws")
    await listener.trouble()
    assert listener.troubles == ["Twitch's events cannot be reached (ConnectionRefusedError)"]
    assert listener.lines == []


async def test_a_new_process_listens_when_it_is_told(there: World, helix: HelixServer) -> None:
    listener = Listener(there, helix, "alice")
    await listener.listen()
    there.processes[0].kill()
    await there.processes[0].wait()
    await listener.until(lambda: not listener.events.sessions, "the connection went with it")
    await listener.listen()
    await listener.hear("stream.online", "alice")
    assert len(there.processes) == 2
