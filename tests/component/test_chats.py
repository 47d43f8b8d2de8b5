# SPDX-License-Identifier: GPL-3.0-or-later
"""What owns the chats, with runs that are slow, lost, or from before: whatever happens, no run is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.api.present import Presenter
from streamvaultd.base.clock import SystemClock
from streamvaultd.core import chatting
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.names import ChatRun
from streamvaultd.errors import StoreUnavailable
from streamvaultd.recording.chat import chats as module
from streamvaultd.recording.chat.chats import Chats
from streamvaultd.recording.chat.scoped import ChatFacts
from streamvaultd.scopes.runs import OnExit
from tests.component.api_world import AsMeasured

CLOCK = SystemClock()
LIMIT = 30.0


def recorder(state: State, url: str = "https://twitch.tv/alice", **more: Any) -> Recorder:
    recording = Recording(
        id=7, stream=7, streamer="alice", url=url, quality="best", directory="/srv", created=CLOCK.now(),
        duration=None, policy=Policy(chat=True),
    )  # fmt: skip
    return Recorder(recording=recording, state=state, since=CLOCK.now(), **more)


def row(state: ChatState, run: int = 1, **more: Any) -> Chat:
    return Chat(
        recording=7, site="twitch", channel="alice", folder="/srv/alice", state=state, since=CLOCK.now(), run=run,
        **more,
    )  # fmt: skip


@dataclass
class Store:
    """Rows; `failing` is how many calls fail before the others."""

    rows: dict[int, Chat] = field(default_factory=dict)
    failing: int = 0
    events: list[tuple[str, str]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    saved: Callable[[Chat], None] = lambda _chat: None

    def _try(self) -> None:
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable(url="sqlite:///x", why="busy")

    async def save_chat(self, chat: Chat) -> None:
        self._try()
        self.saved(chat)
        self.rows[chat.recording] = chat

    async def unfinished_chats(self) -> Sequence[Chat]:
        self._try()
        return [chat for chat in self.rows.values() if chat.state is not ChatState.DONE]

    async def get(self, recording: int) -> Recorder | None:
        return None

    async def chats(self, recordings: Iterable[int]) -> Mapping[int, Chat]:
        self._try()
        return {number: self.rows[number] for number in recordings if number in self.rows}

    async def forget_chat_file(self, recording: int) -> None:
        self.forgotten.append(recording)

    async def add_event(
        self, *, at: Moment, kind: str, priority: int, message: str, recording: int | None = None
    ) -> None:
        self.events.append((kind, message))


@dataclass
class Runs:
    """Scopes and files. A launch waits for `gate`; what packs ends by itself."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    live: dict[ChatRun, OnExit] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)
    told: dict[int, ChatFacts] = field(default_factory=dict)
    clear_error: OSError | None = None
    adoptable: bool = False
    words: Evidence = field(default_factory=Evidence)

    async def capture(self, chat: Chat, on_exit: OnExit) -> None:
        self.started.append(chat.run)
        await self.gate.wait()
        self.live[chat.names] = on_exit

    async def pack(self, chat: Chat, on_exit: OnExit) -> None:
        self.started.append(chat.run)
        asyncio.get_running_loop().call_soon(on_exit, Evidence(status=0), CLOCK.now())

    def end(self, run: ChatRun, told: Evidence) -> None:
        self.live.pop(run)(told, CLOCK.now())

    async def stop(self, run: ChatRun) -> bool:
        if run not in self.live:
            return False
        self.end(run, Evidence(status=0))
        return True

    async def forget(self, run: ChatRun) -> None:
        assert run not in self.live

    def facts(self, run: ChatRun) -> ChatFacts:
        return self.told.get(run.number, ChatFacts())

    def forget_facts(self, run: ChatRun) -> None:
        self.told.pop(run.number, None)

    async def finish(self, chat: Chat) -> tuple[Path, int]:
        return Path("/srv/alice/chat_7.jsonl.gz"), 5

    async def drop_empty(self, chat: Chat) -> None: ...
    async def drop_draft(self, chat: Chat) -> None: ...

    async def clear(self, chat: Chat, *, is_kept: bool) -> None:
        if self.clear_error is not None:
            raise self.clear_error

    def adopt(self, run: ChatRun, on_exit: OnExit) -> bool:
        if self.adoptable:
            self.live[run] = on_exit
        return self.adoptable

    def last_words(self, run: ChatRun) -> Evidence:
        return self.words


class Recorders(dict[int, Recorder]):
    is_host_stopping = False

    def known(self, number: int) -> Recorder | None:
        return self.get(number)


@dataclass
class World:
    store: Store = field(default_factory=Store)
    runs: Runs = field(default_factory=Runs)
    recorders: Recorders = field(default_factory=Recorders)
    entries: list[str] = field(default_factory=list)

    def _tell(self, entry: Any, *_: object, **__: object) -> None:
        self.entries.append(entry.text)

    @asynccontextmanager
    async def running(self, live: Sequence[str] = (), pipes: Sequence[str] = ()) -> AsyncIterator[Chats]:
        async with asyncio.TaskGroup() as tasks:
            self.chats = Chats(
                runs=cast("Any", self.runs), store=self.store, recorders=cast("Any", self.recorders),
                journal=cast("Any", SimpleNamespace(tell=self._tell)), clock=CLOCK, tasks=cast("Any", tasks),
            )  # fmt: skip
            main = tasks.create_task(self.chats.run(live, pipes))
            try:
                yield self.chats
            finally:
                main.cancel()
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()

    def change(self, state: State, **more: Any) -> None:
        """The recording is in this state from now on."""
        self.recorders[7] = recorder(state, **more)
        self.chats.on_recorder(self.recorders[7])

    async def until(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not what():  # noqa: ASYNC110 - of several parts
                await asyncio.sleep(0.005)

    async def until_state(self, state: ChatState) -> None:
        await self.until(lambda: 7 in self.store.rows and self.store.rows[7].state is state)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_PAUSE", 0.01)
    monkeypatch.setattr(module, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(chatting, "STOP_AGAIN", 0.02)


async def test_a_chat_from_its_beginning_to_its_end() -> None:
    world = World()
    world.runs.gate.set()
    async with world.running() as chats:
        world.change(State.STARTING)
        await world.until_state(ChatState.CAPTURING)
        world.change(State.FINALIZING)
        await world.until_state(ChatState.DONE)
        assert (world.runs.live, world.runs.started) == ({}, [1, 2])
        assert chats.known == frozenset()
        view = chats.view(7)  # it does not vanish from what is shown
        assert view is not None
        assert view.chat.path == "/srv/alice/chat_7.jsonl.gz"


async def test_a_recording_that_ends_while_its_run_is_launched_leaves_no_run() -> None:
    world = World()
    async with world.running() as chats:
        world.change(State.STARTING)
        await world.until(lambda: world.runs.started == [1])
        world.change(State.FINALIZING)
        await world.until_state(ChatState.STOPPING)
        for _ in range(20):  # it is asked to end, and is not there
            await world.until(lambda: world.store.rows[7].state is ChatState.STOPPING)
            await asyncio.sleep(0.005)
        assert chats.known == {ChatRun(7, 1)}
        world.runs.gate.set()
        await world.until_state(ChatState.DONE)
        assert world.runs.live == {}


async def test_a_disk_that_hangs_for_longer_than_a_launch_may_take_gets_one_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chatting, "LAUNCH_LIMIT", 0.01)
    world = World()
    async with world.running():
        world.change(State.RECORDING)
        await world.until(lambda: world.runs.started)
        await asyncio.sleep(0.1)  # ten times
        assert world.runs.started == [1]
        monkeypatch.setattr(chatting, "LAUNCH_LIMIT", 60.0)
        world.runs.gate.set()
        await world.until(lambda: world.runs.live or len(world.runs.started) > 1)
        world.change(State.FINALIZING)
        await world.until_state(ChatState.DONE)
        assert world.runs.live == {}


async def test_a_run_that_is_found_after_its_chat_was_done_is_ended() -> None:
    world = World()
    async with world.running() as chats:
        world.runs.live[ChatRun(7, 1)] = lambda _told, _at: None
        forgotten: list[ChatRun] = []

        async def forget(run: ChatRun) -> None:
            forgotten.append(run)

        world.runs.forget = forget  # type: ignore[method-assign]
        chats._post(7, chatting.RunStarted(at=CLOCK.now(), run=1))
        await world.until(lambda: forgotten == [ChatRun(7, 1)])


async def test_a_store_that_is_away_at_the_start_is_waited_for_beside_the_start() -> None:
    world = World(store=Store(rows={7: row(ChatState.PACKING)}, failing=3), runs=Runs(words=Evidence(status=0)))
    async with world.running() as chats:
        assert not chats.is_taken_over
        await world.until_state(ChatState.DONE)
        assert chats.is_taken_over
        assert world.runs.started == []  # what has packed while nobody was there is not packed again
        assert world.store.events == []


async def test_what_no_row_claims_is_given_up() -> None:
    world, forgotten = World(), list[ChatRun]()

    async def forget(run: ChatRun) -> None:
        forgotten.append(run)

    world.runs.forget = forget  # type: ignore[method-assign]
    async with world.running(["streamvault-8-chat-1.scope", "streamvault-8-001.scope"], ["exit-9-chat-2", "exit-9-2"]):
        await world.until(lambda: len(forgotten) == 2)
        assert set(forgotten) == {ChatRun(8, 1), ChatRun(9, 2)}


async def test_holes_that_were_told_are_not_told_again_by_the_next_daemon() -> None:
    world = World(store=Store(rows={7: row(ChatState.CAPTURING)}), runs=Runs(adoptable=True))
    world.runs.told[1] = ChatFacts(messages=100, gaps=3, away=100.0, joined=True, since=1)
    world.recorders[7] = recorder(State.RECORDING)
    async with world.running(["streamvault-7-chat-1.scope"]) as chats:
        await world.until(lambda: (view := chats.view(7)) is not None and view.messages == 100)
        await asyncio.sleep(0.1)  # some looks
        assert world.store.events == []
        world.runs.told[1] = ChatFacts(messages=101, gaps=4, away=107.5, joined=True, since=1)
        await world.until(lambda: world.store.events)
        assert [(kind, "for 7.5 s" in text) for kind, text in world.store.events] == [("chat-gap", True)]


async def test_what_a_run_told_is_kept_until_the_row_has_it() -> None:
    world = World()
    world.runs.gate.set()
    async with world.running() as chats:
        world.change(State.RECORDING)
        await world.until_state(ChatState.CAPTURING)
        world.runs.told[1] = ChatFacts(messages=10, joined=True, since=1)
        await world.until(lambda: (view := chats.view(7)) is not None and view.messages == 10)
        there: list[bool] = []
        world.store.saved = lambda chat: there.append(1 in world.runs.told)
        world.change(State.FINALIZING)
        await world.until(lambda: world.store.rows[7].messages == 10)
        assert there[:2] == [True, True]
        await world.until_state(ChatState.DONE)
        assert world.store.rows[7].messages == 10
        assert 1 not in world.runs.told
        assert [kind for kind, _ in world.store.events] == []  # no word of a chat that is not heard


async def test_files_that_cannot_be_removed_are_told_of_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatting, "PACK_DELAYS", (0.01,))
    world = World(store=Store(rows={7: row(ChatState.CLEARING, path="/srv/alice/chat_7.jsonl.gz")}))
    world.runs.clear_error = FileNotFoundError("its disk is away")
    async with world.running():
        await world.until(lambda: len(world.store.events) == 4)  # the first, second, fourth and eighth time
        world.runs.clear_error = None
        await world.until_state(ChatState.DONE)


async def test_a_channel_that_is_not_known_is_told_once() -> None:
    world = World()
    async with world.running():
        for _ in range(3):
            world.change(State.RECORDING, url="https://example.org/live")
        await world.until(lambda: world.entries)
        assert [text for text in world.entries if "names no channel" in text] == world.entries
        assert len(world.entries) == 1
        assert world.store.rows == {}


async def test_a_failed_recording_that_lost_its_media_has_no_chat_file() -> None:
    world = World(store=Store(rows={7: row(ChatState.DONE, path="/srv/alice/chat_7.jsonl.gz")}))
    kept = Segment(number=1, phase=Phase.ENDED, since=CLOCK.now())
    async with world.running():
        world.change(State.FAILED, segments=(kept,))
        world.change(State.FAILED, segments=(replace(kept, phase=Phase.REMOVED),))
        await world.until(lambda: 7 in world.store.forgotten)


async def test_whoever_looks_sees_the_same_chat_with_the_store_and_without() -> None:
    world = World()
    world.runs.gate.set()
    idle = cast("Any", SimpleNamespace(of=lambda _number: None))
    async with world.running() as chats:
        presenter = Presenter(clock=CLOCK, sizes=AsMeasured(), joins=idle, chats=chats)
        world.change(State.RECORDING)
        await world.until_state(ChatState.CAPTURING)
        world.change(State.FINALIZING)
        await world.until_state(ChatState.DONE)
        await world.until(lambda: (view := chats.view(7)) is not None and view.chat.state is ChatState.DONE)
        known = presenter.known(world.recorders[7])["runtime"]["chat"]
        assert known["path"] == "/srv/alice/chat_7.jsonl.gz"
        world.store.failing = 10**9
        assert (await presenter.recording(world.recorders[7]))["runtime"]["chat"] == known
    async with World(store=world.store).running() as others:  # a daemon that has not seen it
        presenter = Presenter(clock=CLOCK, sizes=AsMeasured(), joins=idle, chats=others)
        assert "chat" not in (await presenter.recording(world.recorders[7]))["runtime"]
        world.store.failing = 0
        assert (await presenter.recording(world.recorders[7]))["runtime"]["chat"] == known
