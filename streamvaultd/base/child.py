# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks another program a question: with a limit on its time and its output, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

OUTPUT_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """`status` is the exit code, or minus the signal; `output` the first OUTPUT_MAX bytes of stdout."""

    status: int
    output: bytes


class _Child(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.output = bytearray()
        self.silent: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output += data[: OUTPUT_MAX - len(self.output)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1 and not self.silent.done():
            self.silent.set_result(None)

    def process_exited(self) -> None:
        self.exited.set_result(None)


async def ask(
    argv: Sequence[str], *, time_limit: float, question: bytes = b"", environment: Mapping[str, str] | None = None
) -> ProgramEnd:
    """Run a program in a session of its own, with `question` on its stdin; wait for its end and the end of its output.

    OSError: it cannot be started. TimeoutError: it took longer than `time_limit` seconds; it was killed, with
    everything it had started in its session's first process group.
    """
    transport, child = await asyncio.get_running_loop().subprocess_exec(
        _Child, *argv, stderr=asyncio.subprocess.DEVNULL, env=environment, cwd="/", start_new_session=True
    )
    try:
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)  # noqa: S101 - what subprocess_exec() makes of PIPE
        stdin.write(question)
        stdin.close()
        async with asyncio.timeout(time_limit):
            await child.silent
            await child.exited
        return ProgramEnd(transport.get_returncode() or 0, bytes(child.output))
    finally:
        if transport.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError):  # reaped, but the loop does not know yet
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await child.exited
        transport.close()
