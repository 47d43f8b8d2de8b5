# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's side of installing: one connection, and with it one process, for each installation.

The process may die, hang or talk nonsense: then nothing was installed, as far as anybody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from streamvaultd.core.names import INSTALL_SOCKET
from streamvaultd.recording.streamlink.installer import INSTALL_LIMIT, LINE_MAX, InstallAnswer, Question
from streamvaultd.scopes.shim import redact

SOCKET: Final = Path(INSTALL_SOCKET)
ANSWER_LIMIT: Final = INSTALL_LIMIT + 60
"""Seconds; the process has ended itself by then."""

WHY_MAX: Final = 500

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A new process that installs."""
    return await asyncio.open_unix_connection(SOCKET, limit=LINE_MAX)


async def ask_installer(connect: Connect, question: Question) -> str:
    """Have streamlink installed; why it could not be, or "". Cancelled, it ends the process."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            reader, writer = await connect()
            try:
                writer.write(msgspec.json.encode(question) + b"\n")
                answer = msgspec.json.decode(await reader.readuntil(b"\n"), type=InstallAnswer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"no answer within {ANSWER_LIMIT:.0f} s"
    except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
        return "the process that installs died, or took too long"
    except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError):
        return "the process that installs wrote what is no answer"
    except OSError as error:
        return f"the process that installs cannot be reached: {error.strerror or error}"
    return " ".join(redact(word) for word in answer.why.split())[:WHY_MAX]
