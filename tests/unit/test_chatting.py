# SPDX-License-Identifier: GPL-3.0-or-later
"""The chat of a recording, replayed: a crash after every effect ends the same, and the recording never hears of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.core import chat_wanted, chatting
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.model import Moment, Policy, Recorder, Recording, State
from streamvaultd.core.names import ChatRun, Job, Run, unit_of_pipe


def moment(second: float) -> Moment:
    return Moment(second, round(second * 1e6))


CHAT = Chat(
    recording=7, site="twitch", channel="alice", folder="/srv/alice", state=ChatState.STARTING, since=moment(0)
)


def recorder_of(url: str, *, state: State = State.RECORDING, chat: bool = True, channel: str = "") -> Recorder:
    recording = Recording(
        id=7, stream=7, streamer="alice", url=url, quality="best", directory="/srv", created=moment(0), duration=None,
        policy=Policy(chat=chat, chat_channel=channel),
    )  # fmt: skip
    return Recorder(recording=recording, state=state, since=moment(0))


@dataclass
class World:
    """What a chat's effects do: rows, scopes and files; and a daemon that may end between any two of them."""

    row: Chat | None = None
    live: set[int] = field(default_factory=set)
    files: set[int] = field(default_factory=set)
    packed: set[int] = field(default_factory=set)
    is_packed: bool = False
    at: float = 100.0
    crash_in: int = -1
    started: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chat = self.row or CHAT
        self.queue: list[chatting.ChatEvent] = []

    def tell(self, event: chatting.ChatEvent) -> None:
        """Deal with it, and with all that comes of it; a crash on the way is followed by a new daemon."""
        self.queue.append(event)
        while self.queue:
            self.chat, effects = chatting.step(self.chat, self.queue.pop(0))
            for effect in effects:
                if self.crash_in == 0:
                    self.crash()
                    break
                self.crash_in -= 1
                self.perform(effect)

    def crash(self) -> None:
        self.crash_in = -1
        self.at += 1
        self.chat = CHAT if self.row is None else replace(self.row, failures=0, retry_at=None)
        self.queue = [chatting.TakenOver(at=moment(self.at), is_live=self.chat.run in self.live)]
        if self.is_over:
            self.queue.append(chatting.RecordingEnded(at=moment(self.at)))

    is_over = False

    def perform(self, effect: chatting.ChatEffect) -> None:
        at = moment(self.at)
        match effect:
            case chatting.SaveChat(chat):
                self.row = chat
            case chatting.StartRun(run):
                assert self.row is not None
                assert self.row.run == run  # I1
                assert run not in self.files  # I7
                self.started.append(run)
                self.files.add(run)
                self.live.add(run)
                self.queue.append(chatting.RunStarted(at=at, run=run))
            case chatting.StopRun(run) if run in self.live:
                self.end(run)
            case chatting.StopRun(run):
                self.queue.append(chatting.RunEnded(at=at, run=run, why="it is not there"))
            case chatting.WatchRun(run) if run not in self.live:
                self.queue.append(chatting.RunEnded(at=at, run=run, why="it is gone"))
            case chatting.Pack(run):
                assert self.live == set()
                self.packed.add(run)
                self.is_packed = True
                self.queue.append(chatting.ChatPacked(at=at, run=run, path="/srv/alice/chat_7.jsonl.gz", size=1))
            case chatting.ClearParts():
                assert self.is_packed
                assert self.row is not None
                assert self.row.path is not None  # I8
                self.files.clear()
                self.queue.append(chatting.Cleared(at=at))
            case _:
                pass

    def end(self, run: int, why: str = "killed") -> None:
        self.live.discard(run)
        self.queue.append(chatting.RunEnded(at=moment(self.at), run=run, why=why, messages=10, gaps=1, away=2.5))

    def wait(self) -> None:
        while self.chat.retry_at is not None and self.chat.state is not ChatState.DONE:
            self.at = max(self.at, self.chat.retry_at)
            before = self.chat
            self.tell(chatting.DueNow(at=moment(self.at)))
            assert self.chat != before


def play(crash_in: int = -1) -> World:
    """A broadcast whose capture dies once."""
    world = World(crash_in=crash_in)
    world.tell(chatting.Began(at=moment(world.at)))
    world.wait()
    world.at += 5
    (run,) = world.live
    world.live.clear()
    world.tell(chatting.RunEnded(at=moment(world.at), run=run, why="killed", messages=10))
    world.wait()
    assert len(world.live) == 1
    world.is_over = True
    world.tell(chatting.RecordingEnded(at=moment(world.at)))
    world.wait()
    return world


def test_a_broadcast_whose_capture_dies_once() -> None:
    world = play()
    assert world.started == [1, 2]
    assert world.packed == {3}
    assert world.chat.state is ChatState.DONE
    assert (world.chat.messages, world.chat.gaps, world.chat.away) == (20, 2, 2.5)  # one of them between the two runs
    assert (world.chat.path, world.chat.size) == ("/srv/alice/chat_7.jsonl.gz", 1)


@pytest.mark.parametrize("crash_in", range(14))
def test_a_crash_after_any_effect_ends_the_same(crash_in: int) -> None:
    world = play(crash_in)
    assert world.row is not None
    assert (world.row.state, world.row.path) == (ChatState.DONE, "/srv/alice/chat_7.jsonl.gz")
    assert world.is_packed
    assert (world.live, world.files) == (set(), set())


def test_runs_that_fail_come_later_and_later_and_for_ever() -> None:
    world, pauses = World(), []
    world.tell(chatting.Began(at=moment(world.at)))
    for _ in range(10):
        world.end(world.chat.run)
        world.queue, last = [], world.queue[-1]
        before = world.at
        world.tell(last)
        world.wait()
        pauses.append(world.at - before)
    assert pauses == sorted(pauses)
    assert pauses[-1] == chatting.RETRY_DELAYS[-1]
    world.at += chatting.LASTING
    world.end(world.chat.run)
    world.queue, last = [], world.queue[-1]
    before = world.at
    world.tell(last)
    world.wait()
    assert world.at - before == chatting.RETRY_DELAYS[0]


def test_what_cannot_be_packed_is_tried_again_and_keeps_its_files() -> None:
    packing = replace(CHAT, state=ChatState.PACKING, run=3)
    failed, effects = chatting.step(packing, chatting.RunEnded(at=moment(5), run=3, why="no room"))
    assert effects == (chatting.SaveChat(failed), chatting.TellChat("no room"))
    again, effects = chatting.step(failed, chatting.DueNow(at=moment(5 + chatting.PACK_DELAYS[0])))
    assert effects == (chatting.SaveChat(again), chatting.Pack(4))


@pytest.mark.parametrize("state", [ChatState.BACKOFF, ChatState.CLEARING, ChatState.DONE])
def test_a_run_that_nobody_waits_for_is_ended(state: ChatState) -> None:
    chat = replace(CHAT, state=state, run=2)
    for run in (1, 2):
        assert chatting.step(chat, chatting.RunStarted(at=moment(9), run=run)) == (chat, (chatting.StopRun(run),))
    for busy in (ChatState.STARTING, ChatState.CAPTURING, ChatState.STOPPING, ChatState.PACKING):
        later = replace(CHAT, state=busy, run=2)
        assert chatting.step(later, chatting.RunStarted(at=moment(9), run=1)) == (later, (chatting.StopRun(1),))


def test_what_fails_for_ever_is_told_first_and_then_rarely() -> None:
    for chat, failure, state in (
        (replace(CHAT, run=1), chatting.RunEnded(at=moment(5), run=1, why="no"), ChatState.STARTING),
        (replace(CHAT, run=1), chatting.RunEnded(at=moment(5), run=1, why="no"), ChatState.PACKING),
        (replace(CHAT, run=1), chatting.NotCleared(at=moment(5), why="no"), ChatState.CLEARING),
    ):
        told = []
        for number in range(1, 300):
            chat, effects = chatting.step(replace(chat, state=state), failure)
            told += [number for each in effects if isinstance(each, chatting.TellChat)]
        assert told == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_the_time_between_two_runs_counts() -> None:
    chat, _ = chatting.step(CHAT, chatting.Began(at=moment(0)))
    chat, _ = chatting.step(chat, chatting.RunStarted(at=moment(1), run=1))
    chat, _ = chatting.step(chat, chatting.RunEnded(at=moment(100), run=1, why="killed", gaps=1, away=2.0))
    for run in (2, 3):
        chat, _ = chatting.step(chat, chatting.DueNow(at=moment(1000 * run)))
        chat, _ = chatting.step(chat, chatting.RunEnded(at=moment(1000 * run + 1), run=run, why="killed"))
    chat, _ = chatting.step(chat, chatting.DueNow(at=moment(5000)))
    chat, _ = chatting.step(chat, chatting.RunStarted(at=moment(5100), run=4))
    assert (chat.gaps, chat.away) == (2, 2.0 + 5000)
    chat, _ = chatting.step(chat, chatting.RunEnded(at=moment(6000), run=4, why="killed"))
    over, _ = chatting.step(chat, chatting.RecordingEnded(at=moment(6500)))
    assert (over.gaps, over.away) == (3, 2.0 + 5000 + 500)


def test_what_a_run_says_of_itself_stays_within_what_a_row_can_hold() -> None:
    ended = chatting.RunEnded(at=moment(5), run=1, why="x", messages=2**31, gaps=2**31, away=1e300)
    chat, _ = chatting.step(replace(CHAT, state=ChatState.CAPTURING, run=1, messages=2**31 - 1), ended)
    assert (chat.messages, chat.gaps, chat.away) == (2**31 - 1, 2**31 - 1, 315360000.0)


EVENTS = st.sampled_from(
    [
        chatting.Began(at=moment(9)), chatting.RecordingEnded(at=moment(9)), chatting.RunStarted(at=moment(9), run=1),
        chatting.RunStarted(at=moment(9), run=2), chatting.RunEnded(at=moment(9), run=1, why="x"),
        chatting.RunEnded(at=moment(9), run=2, why="x"), chatting.ChatPacked(at=moment(9), run=2, path=None),
        chatting.ChatPacked(at=moment(9), run=3, path="/p"), chatting.Cleared(at=moment(9)),
        chatting.DueNow(at=moment(9)), chatting.DueNow(at=moment(1e6)), chatting.TakenOver(at=moment(9), is_live=True),
        chatting.TakenOver(at=moment(9), is_live=False),
    ]
)  # fmt: skip


@given(st.lists(EVENTS, max_size=30))
def test_in_whatever_order_things_happen(events: list[chatting.ChatEvent]) -> None:
    chat, over = CHAT, False
    for event in events:
        before = chat
        chat, effects = chatting.step(chat, event)
        over = over or isinstance(event, chatting.RecordingEnded)
        runs = [each.run for each in effects if isinstance(each, chatting.StartRun | chatting.Pack)]
        assert runs in ([], [before.run + 1])  # a number is used once
        assert all(isinstance(effects[0], chatting.SaveChat) for _ in runs)  # I1
        assert chat.run in (before.run, before.run + 1)
        if before.state is ChatState.DONE:
            assert chat == before
        if any(isinstance(each, chatting.ClearParts) for each in effects):
            assert chat.state is ChatState.CLEARING
        waits = (ChatState.BACKOFF, ChatState.STOPPING, ChatState.CLEARING)
        assert chat.retry_at is not None or chat.state not in waits  # I4


@pytest.mark.parametrize(
    ("url", "channel"),
    [
        ("https://www.twitch.tv/Alice", "alice"),
        ("https://twitch.tv/alice/?x=1", "alice"),
        ("https://m.twitch.tv/al_ice9", "al_ice9"),
        ("https://www.twitch.tv/videos/123", None),
        ("https://www.twitch.tv/videos", None),
        ("twitch.tv/alice", "alice"),
        ("www.twitch.tv/alice", "alice"),
        ("https://de.twitch.tv/alice", "alice"),
        ("HTTPS://TWITCH.TV/Alice", "alice"),
        ("https://player.twitch.tv/?channel=alice", "alice"),
        ("https://player.twitch.tv/?muted=true&channel=Alice&parent=x", "alice"),
        ("https://www.twitch.tv/subs", None),
        ("https://www.twitch.tv/moderator", None),
        ("https://twitch.tv/alice/videos", None),
        ("https://twitch.tv/alice\n", None),
        ("https://player.twitch.tv/?channel=alice\r\nQUIT", None),
        ("https://eviltwitch.tv/alice", None),
        ("https://twitch.tv.example.org/alice", None),
        ("https://example.org/twitch.tv/alice", None),
        ("https://twitch.tv/alice\r\nQUIT", None),
        ("https://twitch.tv/alice%0aQUIT", None),
    ],
)
def test_which_channel_a_url_names(url: str, channel: str | None) -> None:
    found = chat_wanted.channel_of(recorder_of(url).recording)
    assert found == (None if channel is None else ("twitch", channel))


def test_a_chat_is_wanted_only_where_it_is_asked_for() -> None:
    twitch = "https://twitch.tv/alice"
    assert chat_wanted.wants_chat(recorder_of(twitch))
    assert not chat_wanted.wants_chat(recorder_of(twitch, chat=False))
    assert not chat_wanted.wants_chat(recorder_of(twitch, state=State.FINALIZING))
    assert chat_wanted.new_chat(recorder_of("https://example.org/live").recording, "/srv/alice", moment(0)) is None
    other = chat_wanted.new_chat(recorder_of("https://example.org/live", channel="alice").recording, "/srv", moment(0))
    assert other is not None
    assert other.channel == "alice"
    assert Policy().chat is False


def test_its_names_are_nobody_elses() -> None:
    run = ChatRun(348, 2)
    assert (run.unit, run.pipe) == ("streamvault-348-chat-2.scope", "exit-348-chat-2")
    assert ChatRun.of(run.unit) == ChatRun.of_pipe(run.pipe) == run
    assert [Run.of(run.unit), Run.of_pipe(run.pipe)] == [None, None]
    assert [Job.of(run.unit), Job.of_pipe(run.pipe)] == [None, None]
    others = (ChatRun.of(Run(348, 2).unit), ChatRun.of(Job(348).unit), ChatRun.of_pipe(Run(348, 2).pipe))
    assert others == (None, None, None)
    assert unit_of_pipe(run.pipe) == run.unit
    for name in ("streamvault-0-chat-1.scope", "streamvault-1-chat-0.scope", "streamvault-1-chat-01.scope",
                 "streamvault-1-chat-1.scope\n", "streamvault-1-chat-1234567.scope"):  # fmt: skip
        assert ChatRun.of(name) is None
