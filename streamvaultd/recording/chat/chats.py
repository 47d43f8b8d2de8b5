# SPDX-License-Identifier: GPL-3.0-or-later
"""Owns the chats of recordings: takes their events one at a time, asks the core, and does what it says.

It hears of recordings, and is never waited for by any. What fails here is tried again, later and later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

from streamvaultd.base.clock import Clock
from streamvaultd.base.tasks import Tasks
from streamvaultd.core import chat_wanted, chatting
from streamvaultd.core.chatting import Chat, ChatEvent, ChatState
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Recorder
from streamvaultd.core.names import ChatRun
from streamvaultd.errors import StoreUnavailable, VaultError
from streamvaultd.recording.chat.chat_looks import LIVE, ChatLooks, ChatView, over
from streamvaultd.recording.chat.scoped import ChatRuns
from streamvaultd.recording.inbox import Recorders
from streamvaultd.reporting.notices import CHAT_DIED, CHAT_UNKNOWN, SCOPE_TROUBLE, Journal
from streamvaultd.scopes.runs import OnExit

T = TypeVar("T")

STORE_PAUSE: Final = 2.0
FORGET_PAUSES: Final = (0.5, 2.0, 10.0)
LOOK_INTERVAL: Final = 10.0
"""How often (s) what captures tell of themselves is read."""

DONE_KEPT: Final = 100
"""How many of the chats that were done last are still shown without a look into the store."""


class ChatStore(Protocol):
    """The rows of chats; durable when a call returns, raises StoreUnavailable."""

    async def save_chat(self, chat: Chat) -> None: ...
    async def unfinished_chats(self) -> Sequence[Chat]: ...
    async def get(self, recording: int) -> Recorder | None: ...
    async def chats(self, recordings: Iterable[int]) -> Mapping[int, Chat]: ...
    async def forget_chat_file(self, recording: int) -> None: ...
    async def add_event(
        self, *, at: Moment, kind: str, priority: int, message: str, recording: int | None = None
    ) -> None: ...


class Chats:
    """Every chat that is not done, by the recording's number.

    A run is `launching` until it is in its scope, and `ending` from its end until the row has what it told.
    """

    def __init__(
        self,
        *,
        runs: ChatRuns,
        store: ChatStore,
        recorders: Recorders,
        journal: Journal,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._looks = ChatLooks(runs=runs, store=store, journal=journal, clock=clock)
        self._runs = runs
        self._store = store
        self._recorders = recorders
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._queue: asyncio.Queue[tuple[int, ChatEvent | Recorder]] = asyncio.Queue()
        self._chats: dict[int, Chat] = {}
        self._begun: set[int] = set()
        self._over: set[int] = set()
        self._done: dict[int, ChatView] = {}
        self._launching: set[ChatRun] = set()
        self._ending: set[ChatRun] = set()
        self.is_taken_over = False

    # --- what others ask ---

    @property
    def known(self) -> frozenset[ChatRun]:
        """Runs of which something may be there."""
        return frozenset(chat.names for chat in self._chats.values()) | self._launching | self._ending

    def view(self, recording: int) -> ChatView | None:
        """The chat of a recording, if it is not done, or was lately."""
        chat = self._chats.get(recording)
        return self._done.get(recording) if chat is None else self._looks.view(chat)

    async def views(self, recordings: Sequence[int]) -> Mapping[int, ChatView]:
        """The chats of these recordings, of those that have one. Raises StoreUnavailable."""
        here = {each: view for each in recordings if (view := self.view(each)) is not None}
        others = [each for each in recordings if each not in here]
        stored = await self._store.chats(others) if others else {}
        return {each: over(chat) for each, chat in stored.items()} | here

    # --- what happens ---

    def on_recorder(self, recorder: Recorder) -> None:
        """A recording has changed; never waits."""
        recording = recorder.recording.id
        if recording not in self._begun and chat_wanted.wants_chat(recorder):
            self._begun.add(recording)
            self._queue.put_nowait((recording, recorder))
        elif recording in self._begun and recording not in self._over and recorder.state not in chat_wanted.RUNNING:
            self._over.add(recording)
            self._queue.put_nowait((recording, chatting.RecordingEnded(at=self._clock.now())))
        elif recorder.recording.policy.chat and recorder.state.is_final and chat_wanted.is_unwanted(recorder):
            self._queue.put_nowait((recording, recorder))

    async def _takeover(self, live: Iterable[str], pipes: Iterable[str]) -> None:
        """Go on from the rows, as soon as the store has them. Scopes and pipes that no row claims are given up."""
        runs = {run for unit in live if (run := ChatRun.of(unit)) is not None}
        found = await self._insist(self._store.unfinished_chats)
        now = self._clock.now()
        for chat in found:
            self._chats[chat.recording] = chat
            self._begun.add(chat.recording)
            self._looks.take_note(chat)
            self._post(chat.recording, chatting.TakenOver(at=now, is_live=chat.names in runs))
            recorder = self._recorders.get(chat.recording)
            if recorder is None or recorder.state not in chat_wanted.RUNNING:
                self._over.add(chat.recording)
                self._post(chat.recording, chatting.RecordingEnded(at=now))
        for run in (runs | {run for name in pipes if (run := ChatRun.of_pipe(name)) is not None}) - self.known:
            self._runs.last_words(run)
            self._tasks.create_task(self._forget(run))
        for recorder in self._recorders.values():
            self.on_recorder(recorder)
        self.is_taken_over = True

    async def run(self, live: Iterable[str] = (), pipes: Iterable[str] = ()) -> None:
        """Take over, and deal with events and deadlines until cancelled.

        `live`: the scopes that are active; `pipes`: the names of what an earlier daemon has left open.
        """
        await self._takeover(live, pipes)
        self._tasks.create_task(self._look())
        while True:
            try:
                async with asyncio.timeout(self._wait()):
                    recording, what = await self._queue.get()
            except TimeoutError:
                now = self._clock.now()
                for recording in list(self._chats):
                    await self._handle(recording, chatting.DueNow(at=now))
                continue
            if isinstance(what, Recorder) and what.state in chat_wanted.RUNNING:
                await self._begin(what)
            elif isinstance(what, Recorder):
                await self._forget_file(recording)
            else:
                await self._handle(recording, what)

    def _wait(self) -> float | None:
        due = [chat.retry_at for chat in self._chats.values() if chat.retry_at is not None]
        return max(0.0, min(due) - self._clock.now().monotonic) if due else None

    def _post(self, recording: int, event: ChatEvent) -> None:
        self._queue.put_nowait((recording, event))

    async def _begin(self, recorder: Recorder) -> None:
        recording, now = recorder.recording, self._clock.now()
        if recording.id in await self._insist(lambda: self._store.chats([recording.id])):
            return  # it is over already
        folder = Path(recording.directory) / recording.streamer
        chat = chat_wanted.new_chat(recording, str(folder), now)
        if chat is None:
            self._journal.tell(CHAT_UNKNOWN, recorder, recording=recording.id, streamer=recording.streamer)
            return
        self._chats[recording.id] = chat
        await self._handle(recording.id, chatting.Began(at=now))

    async def _forget_file(self, recording: int) -> None:
        """The media of a recording are gone, and its chat with them. One that is not done finds that out itself."""
        self._done.pop(recording, None)
        await self._insist(lambda: self._store.forget_chat_file(recording))

    async def _handle(self, recording: int, event: ChatEvent) -> None:
        before = self._chats.get(recording)
        if before is not None:
            await self._step(before, event)
        elif isinstance(event, chatting.RunStarted):  # of a chat that is done
            self._tasks.create_task(self._forget(ChatRun(recording, event.run)))
        if isinstance(event, chatting.RunStarted | chatting.RunEnded):
            self._launching.discard(ChatRun(recording, event.run))
        if isinstance(event, chatting.RunEnded | chatting.ChatPacked):
            self._runs.forget_facts(ChatRun(recording, event.run))
            self._ending.discard(ChatRun(recording, event.run))

    async def _step(self, before: Chat, event: ChatEvent) -> None:
        recording = before.recording
        after, effects = chatting.step(before, event)
        self._chats[recording] = after
        for effect in effects:
            if isinstance(effect, chatting.SaveChat):
                await self._insist(lambda: self._store.save_chat(after))
            elif isinstance(effect, chatting.TellChat):
                if not self._recorders.is_host_stopping:
                    await self._looks.tell(CHAT_DIED, chatting.DIED, after, why=effect.why)
            else:
                if isinstance(effect, chatting.StartRun | chatting.Pack):
                    self._launching.add(after.names)
                self._tasks.create_task(self._perform(after, effect))
        if after.state is ChatState.DONE:
            del self._chats[recording]
            self._looks.forget(recording)
            self._done[recording] = over(after)
            if len(self._done) > DONE_KEPT:
                del self._done[next(iter(self._done))]

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it again until the store does it."""
        while True:
            try:
                return await work()
            except StoreUnavailable:
                await asyncio.sleep(STORE_PAUSE)  # that it is away, the recordings tell

    # --- what is done ---

    async def _perform(self, chat: Chat, effect: chatting.ChatEffect) -> None:
        match effect:
            case chatting.StartRun():
                await self._launch(chat, self._runs.capture)
            case chatting.Pack():
                await self._launch(chat, self._runs.pack)
            case chatting.WatchRun():
                if not self._runs.adopt(chat.names, self._exit_handler(chat)):
                    await self._conclude(chat, self._runs.last_words(chat.names), self._clock.now())
            case chatting.StopRun(run):
                await self._stop(replace(chat, run=run))
            case chatting.ClearParts():
                await self._clear(chat)
            case _:
                raise TypeError(f"{type(effect).__name__} is not performed as a task")

    async def _launch(self, chat: Chat, start: Callable[[Chat, OnExit], Awaitable[None]]) -> None:
        try:
            await start(chat, self._exit_handler(chat))
        except (VaultError, OSError) as error:
            await self._drop_empty(chat)
            self._post(chat.recording, chatting.RunEnded(at=self._clock.now(), run=chat.run, why=str(error)))
        else:
            self._post(chat.recording, chatting.RunStarted(at=self._clock.now(), run=chat.run))

    def _exit_handler(self, chat: Chat) -> OnExit:
        def on_exit(told: Evidence, at: Moment) -> None:
            self._tasks.create_task(self._conclude(chat, told, at))

        return on_exit

    async def _stop(self, chat: Chat) -> None:
        """What is being launched is there, and is asked again; what is ending tells so itself."""
        is_launching = chat.names in self._launching
        try:
            is_there = await self._runs.stop(chat.names)
        except VaultError as error:
            self._journal.tell(SCOPE_TROUBLE, unit=chat.names.unit, why=error)  # it is asked again
            return
        if not is_there and not is_launching:
            await self._conclude(chat, Evidence(), self._clock.now())

    async def _conclude(self, chat: Chat, told: Evidence, at: Moment) -> None:
        """A run is over: nothing of it is left by then."""
        if chat.names in self._ending:
            return
        self._ending.add(chat.names)
        await self._forget(chat.names)
        present = self._chats.get(chat.recording)
        if present is not None and present.state is ChatState.PACKING and present.run == chat.run:
            await self._conclude_pack(chat, told, at)
            return
        facts = self._runs.facts(chat.names)
        await self._drop_empty(chat)
        ended = chatting.RunEnded(
            at=at, run=chat.run, why=why_of(told), messages=facts.messages, gaps=facts.gaps, away=facts.away
        )
        self._post(chat.recording, ended)

    async def _conclude_pack(self, chat: Chat, told: Evidence, at: Moment) -> None:
        why = why_of(told)
        if told.status == 0:
            try:
                packed = await self._runs.finish(chat)
            except OSError as error:
                why = str(error)
            else:
                path, size = (None, None) if packed is None else (str(packed[0]), packed[1])
                self._post(chat.recording, chatting.ChatPacked(at=at, run=chat.run, path=path, size=size))
                return
        with suppress(OSError):  # the next try removes it
            await self._runs.drop_draft(chat)
        self._post(chat.recording, chatting.RunEnded(at=at, run=chat.run, why=why))

    async def _clear(self, chat: Chat) -> None:
        try:
            recorder = self._recorders.known(chat.recording) or await self._store.get(chat.recording)
            is_kept = recorder is None or not chat_wanted.is_unwanted(recorder)
            await self._runs.clear(chat, is_kept=is_kept)
        except (VaultError, OSError) as error:
            self._post(chat.recording, chatting.NotCleared(at=self._clock.now(), why=str(error)))
        else:
            self._post(chat.recording, chatting.Cleared(at=self._clock.now(), is_kept=is_kept))

    async def _drop_empty(self, chat: Chat) -> None:
        """Runs that fail for hours leave no trail of empty files."""
        with suppress(OSError):  # they go when the chat is packed, at the latest
            await self._runs.drop_empty(chat)

    async def _forget(self, run: ChatRun) -> None:
        """End what is left of a run; a broker that is away is asked some times. What is left then, the audit finds."""
        for pause in (*FORGET_PAUSES, None):
            try:
                return await self._runs.forget(run)
            except VaultError as error:
                if pause is None:
                    self._journal.tell(SCOPE_TROUBLE, unit=run.unit, why=error)
                else:
                    await asyncio.sleep(pause)

    # --- what is seen ---

    async def _look(self) -> None:
        while True:
            for chat in list(self._chats.values()):
                if chat.state in LIVE and chat.names not in self._ending:
                    await self._looks.look_at(chat)
            await asyncio.sleep(LOOK_INTERVAL)


def why_of(told: Evidence) -> str:
    """How a run ended, for people."""
    if told.oom_kills:
        return "it was killed for want of memory"
    if told.error is not None:
        return told.error
    last = f": {told.log[-1]}" if told.log else ""
    if told.status is None:
        return "nobody knows how it ended"
    return f"it was killed by signal {-told.status}" if told.status < 0 else f"it ended with {told.status}{last}"
