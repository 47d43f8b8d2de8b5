# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Varlink service on a real socket, and a client that says exactly the bytes it is told to say."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamvaultd.errors import NoSuchRecording, VaultError
from streamvaultd.varlink.server import Call, Final, Handler, Info, Limits, ServedInterface, Server
from streamvaultd.varlink.sockets import listen

TEST = "org.example.Test"
SERVICE = "org.varlink.service"
DEFINITION = f"""interface {TEST}
method Echo(text: string, count: ?int) -> (text: string)
# Streams with more, else gives the first number
method Count(to: int) -> (n: int)
method Watch() -> (n: int)
method Endless() -> (text: string)
method Wait() -> ()
method Fail(where: string) -> (n: int)
method Fds() -> (texts: []string)
method Broken() -> ()
method WrongReply() -> (n: int)
method Unwritten() -> ()
"""
INFO = Info("streamvault", "test", "1", "https://example.org/")


class Service:
    """What the handlers did, for tests to wait for, and what they wait for."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[int | VaultError] = asyncio.Queue()
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.echoed: list[str] = []

    def interface(self) -> ServedInterface:
        handlers: dict[str, Handler] = {
            "Echo": self.echo,
            "Count": self.count,
            "Watch": self.watch,
            "Endless": self.endless,
            "Wait": self.wait,
            "Fail": self.fail,
            "Fds": self.fds,
            "Broken": self.broken,
            "WrongReply": self.wrong_reply,
        }
        return ServedInterface(DEFINITION, handlers, streaming=frozenset({"Watch", "Endless"}))

    async def echo(self, call: Call) -> dict[str, Any]:
        self.echoed.append(call.parameters["text"])
        return {"text": call.parameters["text"] * call.parameters.get("count", 1)}

    async def count(self, call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        for n in range(1, call.parameters["to"]):
            yield {"n": n}
        yield Final({"n": call.parameters["to"]})

    async def watch(self, _call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        self.started.set()
        try:
            while not isinstance(item := await self.items.get(), VaultError):
                yield {"n": item}
            raise item
        finally:
            self.cancelled.set()

    async def endless(self, _call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        try:
            while True:
                yield {"text": "x" * 60_000}
        finally:
            self.cancelled.set()

    async def wait(self, _call: Call) -> dict[str, Any]:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {}

    async def fail(self, call: Call) -> AsyncGenerator[dict[str, Any] | Final, None]:
        if call.parameters["where"] == "later":
            yield {"n": 1}
        raise NoSuchRecording(recording="x")

    async def fds(self, call: Call) -> dict[str, Any]:
        return {"texts": [os.read(fd, 100).decode() for fd in call.fds]}

    async def broken(self, _call: Call) -> dict[str, Any]:
        raise ZeroDivisionError

    async def wrong_reply(self, _call: Call) -> dict[str, Any]:
        return {"n": "one"}


@asynccontextmanager
async def serving(
    path: Path, service: Service, *, limits: Limits | None = None, check_replies: bool = True
) -> AsyncIterator[Server]:
    """Serve at `path` for the length of the block; what a handler breaks comes out of it."""
    server = Server(INFO, [service.interface()], limits=limits, check_replies=check_replies)
    with listen(path, 0o600) as listener:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(listener))
            yield server
            task.cancel()


class RawClient:
    """A connection that can be used wrongly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *messages: dict[str, Any]) -> None:
        self.writer.write(b"".join(json.dumps(each).encode() + b"\0" for each in messages))

    def call(self, method: str, **parameters: Any) -> None:
        self.say({"method": f"{TEST}.{method}", "parameters": parameters})

    def more(self, method: str, **parameters: Any) -> None:
        self.say({"method": f"{TEST}.{method}", "parameters": parameters, "more": True})

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads((await self.reader.readuntil(b"\0"))[:-1])
        return message

    async def hear_the_end(self) -> bytes:
        """What is left until the service closes the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:  # it closed without reading everything
            return b""


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
