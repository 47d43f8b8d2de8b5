# SPDX-License-Identifier: GPL-3.0-or-later
"""What captures a chat, and what packs it, each in its scope: started, taken over, asked to end; and what it tells.

The programs inherit the files that they may use. They have no file of their own to open: what captures reads the
system's certificates, or those of [chat] authority, and reaches the network; what packs reaches nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec

from streamvaultd.base.lanes import Lanes
from streamvaultd.base.memory_file import memfd_with
from streamvaultd.base.networks import reachable
from streamvaultd.base.threads import in_thread
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core import ranges
from streamvaultd.core.chatting import Chat
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import ScopeLimits
from streamvaultd.core.names import ChatRun
from streamvaultd.errors import MemoryFull
from streamvaultd.recording.chat.chat_files import ChatFiles, close_all, part_name
from streamvaultd.recording.ports import Memory
from streamvaultd.recording.streamlink.commands import resolv_conf
from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.runs import OnExit, Place, Runs

T = TypeVar("T")

CAPTURE: Final = (sys.executable, "-I", "-m", "streamvaultd.recording.chat.capture.program")
PACK: Final = (sys.executable, "-I", "-m", "streamvaultd.recording.chat.capture.pack")

MEMORY_MAX: Final = 128 << 20
TASKS_MAX: Final = 16
FACTS_MAX: Final = 512

_Count = Annotated[int, msgspec.Meta(ge=0, le=ranges.COUNT.high)]
_Date = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Away = Annotated[float, msgspec.Meta(ge=0, le=ranges.SECONDS.high)]


class ChatFacts(msgspec.Struct, frozen=True):
    """What a capture tells of itself: see capture/program.py. `since` is when `joined` last changed."""

    messages: _Count = 0
    gaps: _Count = 0
    away: _Away = 0.0
    joined: bool = False
    since: _Date | None = None


class ChatRuns:
    """Runs of the two programs. In `folder`, which does not outlast a boot, they tell of themselves and take turns."""

    def __init__(
        self, *, runs: Runs, memory: Memory, files: ChatFiles, lanes: Lanes, settings: LiveSettings, folder: Path
    ) -> None:
        self._runs = runs
        self._memory = memory
        self._files = files
        self._lanes = lanes
        self._settings = settings
        self._folder = folder

    async def capture(self, chat: Chat, on_exit: OnExit) -> None:
        """Start it; raises VaultError and OSError, and then nothing of it runs."""
        self._require_memory(chat)
        settings, run = self._settings.now, chat.names
        fds = [await self._open(chat, self._files.create, late=os.close)]
        try:
            self._folder.mkdir(mode=0o750, exist_ok=True)
            fds.append(os.open(self._facts_path(run), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640))
            fds.append(os.open(self._folder / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
            host, _, port = settings.chat_server.rpartition(":")
            spec = {
                "host": host, "port": int(port), "channel": chat.channel, "ca": settings.chat_authority,
                "status": fds[1], "turn": fds[2],
            }  # fmt: skip
            named = reachable([f"https://{host}"], (), await in_thread("resolv.conf", resolv_conf))
            read = (settings.chat_authority,) if settings.chat_authority else ()
            rules = Access(read=read, network=True, spare=True)
            await self._launch(chat, CAPTURE, spec, fds, rules, _limits(named), on_exit)
        finally:
            close_all(fds)

    async def pack(self, chat: Chat, on_exit: OnExit) -> None:
        """Start it; as capture()."""
        self._require_memory(chat)
        fds = await self._open(chat, self._files.parts, late=close_all)
        parts = list(fds)
        try:
            if chat.messages and not parts:
                raise OSError(0, "nothing of what was captured is there; is its disk mounted?", chat.folder)
            fds.insert(0, await self._open(chat, self._files.create_draft, late=os.close))
            await self._launch(chat, PACK, {"parts": parts}, fds, Access(spare=True), _limits(()), on_exit)
        finally:
            close_all(fds)

    def _require_memory(self, chat: Chat) -> None:
        """What is short of memory is not to be a segment, so a chat comes after all of them."""
        why = self._memory.refusal(MEMORY_MAX)
        if why is not None:
            raise MemoryFull(streamer=Path(chat.folder).name, why=why)

    async def _open(
        self, chat: Chat, work: Callable[[Path, int, int], T], late: Callable[[T], object] = lambda _result: None
    ) -> T:
        folder = Path(chat.folder)
        return await self._lanes.call(str(folder.parent), partial(work, folder, chat.recording, chat.run), late=late)

    async def _launch(
        self,
        chat: Chat,
        argv: tuple[str, ...],
        spec: Mapping[str, object],
        fds: list[int],
        rules: Access,
        limits: ScopeLimits,
        on_exit: OnExit,
    ) -> None:
        run, folder = chat.names, Path(chat.folder)
        stdin = memfd_with("chat-spec", json.dumps(spec))
        try:
            command = Command(
                argv=argv, fields=fields_of_chat(chat), label=run.label, stdin_fd=stdin, stdout_fd=fds[0],
                extra_fds=tuple(fds[1:]), rules=rules,
            )  # fmt: skip
            description = f"Chat of recording {chat.recording} ({folder.name})"
            place = Place(unit=run.unit, pipe=run.pipe, description=description, limits=limits, mounts_for=folder)
            await self._runs.launch(command, place, on_exit)
        finally:
            os.close(stdin)

    def adopt(self, run: ChatRun, on_exit: OnExit) -> bool:
        """See Runs.adopt()."""
        return self._runs.adopt(run.unit, on_exit)

    def last_words(self, run: ChatRun) -> Evidence:
        """See Runs.last_words()."""
        return self._runs.last_words(run.unit)

    async def stop(self, run: ChatRun) -> bool:
        """Ask it to end; False if there is none. Raises VaultError."""
        return await self._runs.stop(run.unit) or self._runs.is_busy(run.unit)

    async def forget(self, run: ChatRun) -> None:
        """Make sure that nothing is left of a run that is over. Raises VaultError."""
        await self._runs.forget(run.unit, run.pipe)

    def facts(self, run: ChatRun) -> ChatFacts:
        """What it has told of itself last; nothing if it has told nothing that makes sense."""
        try:
            with self._facts_path(run).open("rb") as file:
                return msgspec.json.decode(file.read(FACTS_MAX), type=ChatFacts)
        except (OSError, ValueError, RecursionError):
            return ChatFacts()

    def forget_facts(self, run: ChatRun) -> None:
        """They are in the row."""
        self._facts_path(run).unlink(missing_ok=True)

    async def finish(self, chat: Chat) -> tuple[Path, int] | None:
        """Give what was packed its name; see ChatFiles.finish(). Raises OSError."""
        return await self._open(chat, self._files.finish)

    async def drop_empty(self, chat: Chat) -> None:
        """Remove the file of a run that wrote nothing. Raises OSError."""
        folder, name = Path(chat.folder), part_name(chat.recording, chat.run)
        await self._lanes.run(str(folder.parent), self._files.drop, folder, name)

    async def drop_draft(self, chat: Chat) -> None:
        """Remove what a run that failed has packed. Raises OSError."""
        await self._open(chat, self._files.drop_draft)

    async def clear(self, chat: Chat, *, is_kept: bool) -> None:
        """Remove what the runs have captured, for it is packed; and that, too, unless it is kept. Raises OSError."""
        folder = Path(chat.folder)
        packed = () if is_kept or chat.path is None else (Path(chat.path).name,)
        work = partial(self._files.clear, folder, chat.recording, chat.run, *packed)
        await self._lanes.run(str(folder.parent), work)

    def _facts_path(self, run: ChatRun) -> Path:
        return self._folder / run.label


def fields_of_chat(chat: Chat) -> dict[str, str]:
    """The journal fields of what a chat's programs say."""
    return {
        "SYSLOG_IDENTIFIER": "streamvault-chat",
        "STREAMVAULT_STREAMER": Path(chat.folder).name,
        "STREAMVAULT_RECORDING": str(chat.recording),
    }


def _limits(named: tuple[str, ...]) -> ScopeLimits:
    return ScopeLimits(memory_max=MEMORY_MAX, tasks_max=TASKS_MAX, reachable=named)
