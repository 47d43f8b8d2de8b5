# SPDX-License-Identifier: GPL-3.0-or-later
"""The line to the process that asks for all streamers. Its death, a hang, garbage and a leak are answers too.

The process may be another user's: it is ended by closing the line, and another one comes with the next line. What was
asked of one that died is asked once more of the next; after that it is trouble, of the probe and of nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec

from streamvaultd.base.networks import GUARDED, named_by
from streamvaultd.base.tasks import Tasks
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting, Trouble
from streamvaultd.errors import VaultError
from streamvaultd.recording.streamlink.commands import PROXIES
from streamvaultd.reporting.notices import PROBE_LOST, Journal
from streamvaultd.scopes.shim import redact
from streamvaultd.watching.hints import Hints

LINE_MAX: Final = 1 << 20
"""Bytes of a question, and of an answer. Twitch's about a hundred channels has up to 120K."""

ANSWER_LIMIT: Final = 25.0
"""A question that takes longer (s) has hung."""

READY_LIMIT: Final = 20.0
"""A process that takes longer (s) to begin is given up."""

HUNG_MAX: Final = 4
"""Half of the process's threads: a process with this many that hang is replaced."""

RSS_MAX: Final = 160 << 20
"""A process that holds more bytes is replaced after it has answered; systemd's own limit is higher."""

RETRY_MAX: Final = 86_400
"""A site that wants to be left alone for longer (s) than a day is taken for one whose answer is none."""

TRIES: Final = 2
REST: Final = 2.0
"""After a line that could not be had, the next try is made so long (s) later; what is asked meanwhile is trouble."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Answer(msgspec.Struct, frozen=True):
    """One line of the process."""

    ready: bool = False
    id: Annotated[int, msgspec.Meta(ge=0)] = 0
    outcome: Outcome = Outcome.TROUBLE
    detail: str = ""
    plugin: str = ""
    metadata: dict[str, str] = {}
    streams: tuple[str, ...] = ()
    mark: str = ""
    trouble: Trouble | None = None
    refused: bool = False
    live: dict[str, tuple[str, str, str]] = {}
    tags: dict[str, tuple[str, ...]] = {}
    retry: Annotated[float, msgspec.Meta(ge=0, le=RETRY_MAX)] = 0.0
    hint: tuple[str, str] | None = None
    rss: Annotated[int, msgspec.Meta(ge=0)] = 0


class Keys(Protocol):
    """What Twitch knows the application and a user by; see twitch.py."""

    @property
    def client(self) -> str: ...
    @property
    def secret(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def refresh(self) -> str: ...
    @property
    def api(self) -> str: ...
    @property
    def auth(self) -> str: ...
    @property
    def events(self) -> str: ...


class Programs(Protocol):
    """The streamlink that is used."""

    async def python(self) -> str:
        """The interpreter that it runs with; raises StreamlinkUnusable."""


class _Lost(Exception):
    """The process is gone, or says what nobody understands."""


class _Line:
    """One connection, and what waits for answers on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, python: str) -> None:
        self.reader, self.writer, self.python = reader, writer, python
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.hung: set[int] = set()
        self.is_over = False

    async def read_answer(self) -> Answer:
        """The next line; raises _Lost."""
        try:
            line = await self.reader.readuntil(b"\n")
            return msgspec.json.decode(line, type=Answer)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _Lost("the probe died") from error
        except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Lost("the probe wrote what is no answer") from error

    def close(self, why: str) -> None:
        """End the process; those who wait for an answer hear of it."""
        self.is_over = True
        self.writer.close()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(_Lost(why))
        self.waiting.clear()

    def close_if_idle(self) -> None:
        """End a process that was replaced, once it has answered all that it was asked."""
        if not self.waiting:
            self.close("it was replaced")


class ProbeLine:
    """Asks the one process. `connect` gives a new one, `programs` the interpreter that it is to run with.

    `hints` get what it hears of Twitch's channels by itself; `settings` say which networks a site may lead to besides
    the internet.
    """

    def __init__(
        self,
        *,
        connect: Connect,
        programs: Programs,
        hints: Hints,
        settings: LiveSettings,
        tasks: Tasks,
        journal: Journal,
        answer_limit: float = ANSWER_LIMIT,
        rss_max: int = RSS_MAX,
    ) -> None:
        self._connect = connect
        self._programs = programs
        self._hints = hints
        self._settings = settings
        self._tasks = tasks
        self._journal = journal
        self._answer_limit = answer_limit
        self._rss_max = rss_max
        self._line: _Line | None = None
        self._opening = asyncio.Lock()
        self._rest_until = 0.0
        self._rest_why = ""
        self._last = 0

    async def probe(
        self,
        url: str,
        quality: str,
        *,
        options: Sequence[tuple[str, str]] = (),
        secrets: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """What the source offers now; never raises for what the process does."""
        question = {"verb": "probe", "url": url, "quality": quality, "options": options, "secrets": secrets}
        proxies = [value for name, value in (*options, *secrets) if name in PROXIES]
        return await self._ask_twice(question | self._reach_of(url, *proxies))

    async def resolve(self, url: str) -> Answer:
        """UNSUPPORTED if no plugin knows this URL; as probe()."""
        return await self._ask_twice({"verb": "resolve", "url": url, "quality": ""} | self._reach_of(url))

    def _reach_of(self, *urls: str) -> dict[str, list[str]]:
        """What a site may not lead to; see probe/reach.py."""
        opened = [network for url in urls for network in named_by(url)]
        return {"closed": [str(network) for network in GUARDED], "open": [*opened, *self._settings.now.network_allow]}

    async def ask_helix(self, logins: Sequence[str], keys: Keys) -> Answer:
        """Which of these channels of Twitch are live; as probe()."""
        told = {"client": keys.client, "secret": keys.secret, "api": keys.api, "auth": keys.auth}
        return await self._ask_twice({"verb": "helix", "logins": logins, **told})

    async def listen_to(self, logins: Sequence[str], keys: Keys) -> Answer:
        """Listen to these channels of Twitch from now on, for as long as the process lives; as probe()."""
        told = {"client": keys.client, "secret": keys.secret, "token": keys.token, "refresh": keys.refresh}
        where = {"api": keys.api, "auth": keys.auth, "events": keys.events}
        return await self._ask_twice({"verb": "eventsub", "logins": logins, **told, **where})

    async def _ask_twice(self, question: dict[str, Any]) -> Answer:
        why = ""
        for _ in range(TRIES):
            try:
                return _readable(await self._ask(question))
            except _Lost as error:
                why = str(error)
        return Answer(outcome=Outcome.TROUBLE, detail=why, trouble=Trouble.PROBE)

    def close(self) -> None:
        """End the process."""
        if self._line is not None:
            self._line.close("the daemon stops")
            self._line = None

    async def _ask(self, question: dict[str, Any]) -> Answer:
        self._last += 1
        number = self._last
        text = msgspec.json.encode({**question, "id": number}) + b"\n"
        if len(text) > LINE_MAX:  # the process would take it for what is no question, and end
            detail = f"the options and secrets are more than {LINE_MAX} bytes"
            return Answer(outcome=Outcome.TROUBLE, detail=detail, trouble=Trouble.SITE)
        line = await self._open_line()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        line.waiting[number] = future
        line.writer.write(text)
        try:
            async with asyncio.timeout(self._answer_limit):
                return await future
        except TimeoutError:
            line.hung.add(number)
            if len(line.hung) >= HUNG_MAX:
                self._drop(line, f"{len(line.hung)} questions hang")
            detail = f"no answer within {self._answer_limit:g} s"
            return Answer(outcome=Outcome.TROUBLE, detail=detail, trouble=Trouble.SITE)
        finally:
            line.waiting.pop(number, None)
            if line is not self._line:
                line.close_if_idle()

    async def _open_line(self) -> _Line:
        async with self._opening:
            python = await self._interpreter()
            line = self._line
            if line is not None and line.python != python:
                self._line = None  # another streamlink was installed: this one answers what it was asked, and ends
                line.close_if_idle()
            if self._line is not None and not self._line.is_over:
                return self._line
            loop = asyncio.get_running_loop()
            if loop.time() < self._rest_until:
                raise _Lost(self._rest_why)
            try:
                self._line = await self._new_line(python)
            except (_Lost, OSError, TimeoutError) as error:
                self._rest_until = loop.time() + REST
                self._rest_why = f"the probe cannot be started: {str(error) or 'it does not begin'}"
                self._journal.tell(PROBE_LOST, why=self._rest_why)
                raise _Lost(self._rest_why) from error
            self._tasks.create_task(self._listen(self._line))
            return self._line

    async def _interpreter(self) -> str:
        try:
            return await self._programs.python()
        except VaultError as error:
            raise _Lost(str(error)) from error

    async def _new_line(self, python: str) -> _Line:
        async with asyncio.timeout(READY_LIMIT):
            line = _Line(*await self._connect(), python)
            line.writer.write(msgspec.json.encode({"python": python}) + b"\n")
            try:
                is_ready = (await line.read_answer()).ready
            except BaseException:
                line.writer.close()
                raise
        if not is_ready:
            line.close("it says what is no answer")
            raise _Lost("it says what is no answer")
        return line

    async def _listen(self, line: _Line) -> None:
        try:
            while not line.is_over:
                answer = await line.read_answer()
                if answer.hint is not None:
                    self._hints.put(*answer.hint)
                line.hung.discard(answer.id)  # it was slow, no more
                future = line.waiting.get(answer.id)
                if future is not None and not future.done():
                    future.set_result(answer)
                if answer.rss > self._rss_max:
                    self._retire(line, answer.rss)
        except _Lost as error:
            if not line.is_over:
                self._drop(line, str(error))
        finally:
            line.close("the probe was replaced")
            with contextlib.suppress(OSError):
                await line.writer.wait_closed()

    def _retire(self, line: _Line, rss: int) -> None:
        """Ask another process from now on; this one ends when it has answered."""
        if line is self._line:
            self._line = None
            self._journal.tell(PROBE_LOST, why=f"it holds {rss >> 20}M")
            line.close_if_idle()

    def _drop(self, line: _Line, why: str) -> None:
        if line is self._line:
            self._line = None
        line.close(why)
        self._journal.tell(PROBE_LOST, why=why)


def _readable(answer: Answer) -> Answer:
    """The answer without what may be secret: errors quote URLs."""
    return msgspec.structs.replace(answer, detail=" ".join(redact(word) for word in answer.detail.split()))


def sighting_of(answer: Answer) -> Sighting:
    """What the watcher is told."""
    told = answer.metadata
    trouble = answer.trouble or (Trouble.SITE if answer.outcome is Outcome.TROUBLE else None)
    return Sighting(
        outcome=answer.outcome, detail=answer.detail, site_id=told.get("id", ""), title=told.get("title", ""),
        category=told.get("category", ""), mark=answer.mark, streams=answer.streams, trouble=trouble,
    )  # fmt: skip
