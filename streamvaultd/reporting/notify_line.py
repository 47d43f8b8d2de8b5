# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's side of notifying: one connection, and with it one process, for each message to one target.

The process may die, hang or talk nonsense: that is a message that was not sent, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from streamvaultd.core.notifying import Message
from streamvaultd.scopes.shim import redact

LINE_MAX: Final = 64 << 10
ANSWER_LIMIT: Final = 35.0
"""Seconds that one message may take; the process has ended itself by then."""

PROCESSES_MAX: Final = 4
"""Processes at once, at 50M each; what is more waits."""

CHECKED_AT_ONCE: Final = 100
"""Targets that one process is asked about: question and answer are one line each."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class SendAnswer(msgspec.Struct, frozen=True):
    """Of sending: `why` it was not sent, "" if it was; `final` if it is of no use to try again."""

    why: str
    final: bool = False


class Checked(msgspec.Struct, frozen=True):
    """Of checking: what is wrong with which target."""

    troubles: Mapping[str, str]


_Answer = TypeVar("_Answer", SendAnswer, Checked)


class NotifyLine:
    """Sends; `connect` gives a new process each time."""

    def __init__(self, connect: Connect, *, answer_limit: float = ANSWER_LIMIT) -> None:
        self._connect = connect
        self._answer_limit = answer_limit
        self._free = asyncio.Semaphore(PROCESSES_MAX)

    async def send(self, target: str, message: Message) -> SendAnswer:
        """Notify a target; never raises for what the process does."""
        question = {"target": target, "title": message.title, "body": message.body, "kind": message.kind}
        try:
            answer = await self._ask(question, SendAnswer)
        except _Unanswered as error:
            return SendAnswer(why=str(error))
        return msgspec.structs.replace(answer, why=_readable(answer.why))

    async def check(self, targets: Sequence[str]) -> Mapping[str, str]:
        """What is wrong with these targets; nothing if it cannot be told. Never raises for what the process does."""
        found: dict[str, str] = {}
        for begin in range(0, len(targets), CHECKED_AT_ONCE):
            asked = targets[begin : begin + CHECKED_AT_ONCE]
            with contextlib.suppress(_Unanswered):
                answer = await self._ask({"targets": asked}, Checked)
                found |= {target: _readable(why) for target, why in answer.troubles.items() if target in asked}
        return found

    async def _ask(self, question: dict[str, Any], kind: type[_Answer]) -> _Answer:
        async with self._free:
            try:
                async with asyncio.timeout(self._answer_limit):
                    return await self._ask_one(question, kind)
            except TimeoutError:
                raise _Unanswered(f"no answer within {self._answer_limit:g} s") from None
            except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
                raise _Unanswered("the process that sends died, or took too long") from None
            except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise _Unanswered("the process that sends wrote what is no answer") from None
            except OSError as error:
                raise _Unanswered(f"the process that sends cannot be reached: {error.strerror or error}") from None

    async def _ask_one(self, question: dict[str, Any], kind: type[_Answer]) -> _Answer:
        reader, writer = await self._connect()
        try:
            writer.write(msgspec.json.encode(question) + b"\n")
            return msgspec.json.decode(await reader.readuntil(b"\n"), type=kind)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Unanswered(Exception):
    """Nobody knows whether it was sent."""


def _readable(why: str) -> str:
    """Without what may be secret in a URL."""
    return " ".join(redact(word) for word in why.split())
