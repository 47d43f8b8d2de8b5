# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifies people of what goes to the journal: runs core/notifying.py. Nothing waits for it.

What is said is taken up by Heard.hear(), which returns at once. What waits when the daemon ends is not sent any more;
the journal has all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.core import notifying as core
from streamvaultd.core.model import Broadcast
from streamvaultd.core.notifying import Desk, Message, Tiding, Worth
from streamvaultd.core.topic import Topic
from streamvaultd.errors import NotificationFailed, StoreUnavailable
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.notices import (
    JOIN_WAITS,
    REMARKS,
    SECRETS_REFUSED,
    STORE_FAILED,
    SYNC_FAILED,
    TARGETS,
    Journal,
    Said,
)

HEARD_MAX: Final = 1000
"""What was said and is not looked at yet; more is left out, the journal has it."""

TITLE_LIMIT: Final = 5.0
"""A store that takes longer (s) is not waited for: the message goes without a title."""

TOPICS: Final[Mapping[str, Topic]] = {
    **{{**ENTRIES, **REMARKS}[notice].message_id: topic for notice, topic in core.TOPICS.items()},
    **{entry.message_id: Topic.DISK for entry in (SYNC_FAILED, JOIN_WAITS, STORE_FAILED)},
    SECRETS_REFUSED.message_id: Topic.TROUBLE,
}
"""By MESSAGE_ID: what of the journal somebody may be notified of."""

EXPECTED: Final = 5
"""A death of this level or a lower one surprises nobody, and nobody is notified of it."""


class Sent(Protocol):
    """`why` it was not sent, "" if it was; `final`: it is of no use to try again."""

    @property
    def why(self) -> str: ...
    @property
    def final(self) -> bool: ...


class Sender(Protocol):
    """Sends; never raises."""

    async def send(self, target: str, message: Message) -> Sent: ...
    async def check(self, targets: Sequence[str]) -> Mapping[str, str]: ...


Choice = tuple[Sequence[str], Sequence[Topic]]
"""The targets of a streamer, and the topics that they hear of."""


class Choices(Protocol):
    """What the settings say; asked each time, for a reload may change it."""

    @property
    def hourly(self) -> int:
        """Messages about one event of one streamer, at most."""

    def of(self, streamer: str) -> Choice: ...


class Broadcasts(Protocol):
    """Raises StoreUnavailable."""

    async def broadcast(self, recording: int) -> Broadcast: ...


class Heard:
    """What the journal was told and somebody may be notified of, until it is looked at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[Tiding] = asyncio.Queue(HEARD_MAX)
        self.changed = asyncio.Event()
        """There is something to look at, or to send."""

    def hear(self, said: Said) -> None:
        """The journal was told this; returns at once."""
        topic = TOPICS.get(said.message_id)
        is_expected = topic is Topic.DEATH and said.priority >= EXPECTED
        if topic is None or is_expected or not said.streamer or self._queue.full():
            return
        message = said.message
        if said.title:
            message = message.removesuffix(said.title) + core.harmless(said.title, core.TITLE_MAX)
        text = core.printable(message).translate(core.CALLS)
        self._queue.put_nowait(
            Tiding(
                topic=topic, streamer=said.streamer, text=text, priority=said.priority,
                realtime=self._clock.now().realtime, recording=said.recording,
            )
        )  # fmt: skip
        self.changed.set()

    def take(self) -> Iterator[Tiding]:
        """All that waits."""
        while not self._queue.empty():
            yield self._queue.get_nowait()


class Telling:
    """Owns what waits to be sent."""

    def __init__(
        self,
        *,
        sender: Sender,
        choices: Choices,
        heard: Heard,
        broadcasts: Broadcasts,
        tasks: Tasks,
        journal: Journal,
        clock: Clock,
        host: str,
    ) -> None:
        self._sender = sender
        self._choices = choices
        self._heard = heard
        self._broadcasts = broadcasts
        self._tasks = tasks
        self._journal = journal
        self._clock = clock
        self._host = host
        self._desk = Desk()
        self._refused: dict[str, str] = {}

    @property
    def unreachable(self) -> tuple[str, ...]:
        """The targets that cannot be notified, as far as it is known."""
        tried = {name for name, target in self._desk.targets.items() if target.is_troubled}
        return tuple(sorted(tried | set(self._refused)))

    async def run(self) -> None:
        """Send what is heard, until cancelled."""
        while True:
            await self._take_heard()
            self._perform(core.close_windows(self._desk, self._now()))
            for name in core.ready(self._desk, self._now()):
                self._desk, message = core.begin(self._desk, name, self._host)
                self._tasks.create_task(self._send(name, message))
            deadline = core.next_deadline(self._desk)
            try:
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - self._now())):
                    await self._heard.changed.wait()
            except TimeoutError:
                continue
            self._heard.changed.clear()

    async def test(self, target: str) -> None:
        """Send a message that tells that messages arrive; raises NotificationFailed."""
        body = "Notifications of streamvaultd arrive here."
        sent = await self._sender.send(target, Message(title=f"Test ({self._host})", body=body, kind="info"))
        if sent.why:
            raise NotificationFailed(target=target, why=sent.why)
        self._refused.pop(target, None)

    async def check(self, targets: Sequence[str]) -> None:
        """The settings name these: tell what is wrong with them, as far as it shows without sending anything."""
        self._desk = core.forget_others(self._desk, targets)
        found = await self._sender.check(targets) if targets else {}
        for target in targets:
            if target in found and self._refused.get(target) != found[target]:
                self._journal.tell(TARGETS[Worth.FAILED], target=target, why=found[target])
        self._refused = dict(found)

    def _now(self) -> float:
        return self._clock.now().monotonic

    async def _take_heard(self) -> None:
        for tiding in self._heard.take():
            targets, topics = self._choices.of(tiding.streamer)
            if targets and tiding.topic in topics:
                tiding = await self._titled(tiding)
                self._perform(core.take(self._desk, tiding, targets, self._choices.hourly, self._now()))

    async def _titled(self, tiding: Tiding) -> Tiding:
        """With what its broadcast is called; a store that does not tell keeps no message back."""
        if tiding.recording is None or tiding.topic not in core.TITLED:
            return tiding
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(TITLE_LIMIT):
                return core.titled(tiding, await self._broadcasts.broadcast(tiding.recording))
        return tiding

    def _perform(self, step: core.Step) -> None:
        self._desk, words = step
        for word in words:
            if word.worth is Worth.FAILED and word.target in self._refused:
                continue  # it was told by check()
            self._journal.tell(TARGETS[word.worth], target=word.target, why=word.why, lost=word.lost)

    async def _send(self, name: str, message: Message) -> None:
        answer = await self._sender.send(name, message)
        if answer.why:
            self._perform(core.failed(self._desk, name, answer.why, self._now(), is_final=answer.final))
        else:
            self._refused.pop(name, None)
            self._perform(core.sent(self._desk, name))
        self._heard.changed.set()
