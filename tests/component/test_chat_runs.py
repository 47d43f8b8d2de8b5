# SPDX-License-Identifier: GPL-3.0-or-later
"""How runs of chats are started: what they get, what they may reach, and what is left when they cannot be started."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.chatting import Chat, ChatState
from streamvaultd.core.model import Moment
from streamvaultd.core.names import ChatRun
from streamvaultd.errors import MemoryFull
from streamvaultd.recording.chat.chat_files import ChatFiles, part_name
from streamvaultd.recording.chat.scoped import MEMORY_MAX, ChatFacts, ChatRuns
from streamvaultd.scopes.ports import Command
from streamvaultd.scopes.runs import OnExit, Place

HOSTILE = (
    b"", b"{", b"[1]", b'{"messages":-1}', b'{"since":' + b"9" * 400 + b"}", b'{"since":-' + b"9" * 400 + b"}",
    b'{"since":1e300}', b'{"away":1e400}', b"[" * 512, b"\xff", b'{"away":-1}', b'{"messages":9223372036854775807}',
)  # fmt: skip


@dataclass
class Runs:
    """Starts nothing."""

    launched: list[tuple[Command, Place]] = field(default_factory=list)

    async def launch(self, command: Command, place: Place, on_exit: OnExit) -> None:
        self.launched.append((command, place))


@dataclass
class Memory:
    why: str | None = None
    asked: list[int] = field(default_factory=list)

    def refusal(self, wanted: int) -> str | None:
        self.asked.append(wanted)
        return self.why


class World:
    def __init__(self, folder: Path, *, files: ChatFiles | None = None, lanes: Lanes | None = None) -> None:
        self.folder = folder / "disk" / "alice"
        self.folder.mkdir(parents=True)
        self.runs, self.memory = Runs(), Memory()
        now = SimpleNamespace(chat_server="127.0.0.1:6697", chat_authority="", network_allow=("10.0.0.0/8",))
        self.chats = ChatRuns(
            runs=cast("Any", self.runs), memory=self.memory, files=files or ChatFiles(), lanes=lanes or Lanes(),
            settings=cast("Any", SimpleNamespace(now=now)), folder=folder / "run",
        )  # fmt: skip
        self.chat = Chat(
            recording=7, site="twitch", channel="alice", folder=str(self.folder), state=ChatState.STARTING,
            since=Moment(0, 0), run=1,
        )  # fmt: skip

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def on_exit(_told: object, _at: object) -> None:
    """Nobody hears of it."""


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").exists()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_capture_reaches_its_server_and_nothing_else_that_is_guarded(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = open_files()
    await world.chats.capture(world.chat, on_exit)
    ((command, place),) = world.runs.launched
    assert "127.0.0.1/32" in place.limits.reachable
    assert "10.0.0.0/8" not in place.limits.reachable
    assert command.rules.network
    assert command.rules.spare  # it is killed before any segment
    assert world.names == [part_name(7, 1)]
    assert open_files() == before


async def test_without_memory_nothing_is_made(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.memory.why = "it is full"
    for start in (world.chats.capture, world.chats.pack):
        with pytest.raises(MemoryFull, match="it is full"):
            await start(world.chat, on_exit)
    assert world.memory.asked == [MEMORY_MAX] * 2
    assert world.names == []
    assert world.runs.launched == []


async def test_what_was_captured_and_is_not_there_is_not_packed(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(OSError, match="is its disk mounted"):
        await world.chats.pack(replace(world.chat, run=2, messages=5), on_exit)
    assert world.names == []
    await world.chats.pack(replace(world.chat, run=2), on_exit)  # positive control: nothing was ever said
    assert len(world.runs.launched) == 1


async def test_a_disk_that_answers_too_late_leaves_no_file_open(tmp_path: Path) -> None:
    gate, made = threading.Event(), list[int]()

    class Slow(ChatFiles):
        def create(self, folder: Path, recording: int, run: int) -> int:
            gate.wait(60)
            made.append(super().create(folder, recording, run))
            return made[-1]

    world = World(tmp_path, files=Slow(), lanes=Lanes(deadline=0.05))
    with pytest.raises(TimeoutError):
        await world.chats.capture(world.chat, on_exit)
    gate.set()
    async with asyncio.timeout(30):  # it is closed where the loop is
        while not made or is_open(made[0]):  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("page", HOSTILE)
async def test_a_page_of_facts_that_lies_is_none(tmp_path: Path, page: bytes) -> None:
    world, run = World(tmp_path), ChatRun(7, 1)
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / run.label
    path.write_bytes(b'{"messages": 5, "last": 1, "joined": true, "gaps": 1, "away": 2.5, "since": 1795426110740318}')
    assert world.chats.facts(run) == ChatFacts(messages=5, gaps=1, away=2.5, joined=True, since=1795426110740318)
    path.write_bytes(page)
    assert world.chats.facts(run) == ChatFacts()
