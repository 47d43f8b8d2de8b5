# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs QEMU for one vm, from power-on to power-off, and connects many clients with the one agent inside.

`python3 -m tests.testbed.vm_hub QEMU…`, in the folder of the vm and with the socket for clients as stdin. It ends
when QEMU does. See vm_wire.py for what clients say; the events that they can watch are:

{"event": "down", "qemu": PID}               the agent cannot be reached: not yet booted, shutting down
{"event": "up", "qemu": PID, "boot": ID}     the agent has said hello
{"return": …} or {"error": …}                what QEMU's monitor has answered
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
from typing import Any

from tests.testbed import vm_wire as wire

AGENT_SOCKET = "agent.sock"
LISTENER = 0
TETHER = ["setpriv", "--pdeathsig", "KILL", "--"]
NO_AGENT = "it has not booted, or is going down"


class Client:
    """One connection of somebody on this host."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.channel = 0
        """of its command; 0: it has none"""

    def send(self, frame: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(frame)


class Hub:
    """What is connected with what."""

    def __init__(self, qemu: int) -> None:
        self.qemu = qemu
        self.agent: asyncio.StreamWriter | None = None
        self.commands: dict[int, Client] = {}
        self.watchers: set[Client] = set()
        self.numbers = itertools.count(1)
        self.state: dict[str, Any] = {"event": "down", "qemu": qemu}
        self.monitor: Monitor | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def tell(self) -> None:
        """The state, to all watchers."""
        for watcher in self.watchers:
            watcher.send(wire.text(0, wire.EVENT, self.state))

    # the agent

    def on_port(self, *, is_open: bool) -> None:
        """The agent has opened its end of the port, or closed it, by whatever means."""
        self.drop_agent()
        if is_open:
            task = asyncio.create_task(self.serve_agent())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def drop_agent(self) -> None:
        """Nothing that ran in there runs any more."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None
        for client in self.commands.values():
            client.send(wire.text(0, wire.EXIT, {"error": "it went down meanwhile"}))
        self.commands.clear()
        if self.state["event"] != "down":
            self.state = {"event": "down", "qemu": self.qemu}
            self.tell()

    async def serve_agent(self) -> None:
        reader, writer = await asyncio.open_unix_connection(AGENT_SOCKET)
        self.agent, parser = writer, wire.Parser()
        while chunk := await reader.read(wire.CHUNK):
            if self.agent is not writer:
                return  # what comes now was said before it went down
            for channel, kind, payload in parser.feed(chunk):
                self.from_agent(channel, kind, payload)

    def from_agent(self, channel: int, kind: int, payload: bytes) -> None:
        if kind == wire.HELLO:
            self.state = {"event": "up", "qemu": self.qemu, "boot": json.loads(payload)["boot"]}
            self.tell()
        elif (client := self.commands.get(channel)) is not None:
            client.send(wire.frame(0, kind, payload))
            if kind == wire.EXIT:
                del self.commands[channel]

    # the clients

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, parser = Client(writer), wire.Parser()
        try:
            while chunk := await reader.read(wire.CHUNK):
                for _, kind, payload in parser.feed(chunk):
                    await self.from_client(client, kind, payload)
        except ConnectionError:
            pass  # it was killed: the same as an end
        finally:
            self.watchers.discard(client)
            if self.commands.pop(client.channel, None) is not None and self.agent is not None:
                self.agent.write(wire.frame(client.channel, wire.END))
            writer.close()

    async def from_client(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == wire.WATCH:
            self.watchers.add(client)
            client.send(wire.text(0, wire.EVENT, self.state))
        elif kind == wire.MONITOR:
            assert self.monitor is not None
            answer = await self.monitor.command(json.loads(payload))
            client.send(wire.text(0, wire.EVENT, answer))
        elif kind == wire.START and (self.agent is None or self.state["event"] != "up"):
            client.send(wire.text(0, wire.EXIT, {"error": NO_AGENT}))
        elif self.agent is not None:
            if kind == wire.START:
                client.channel = next(self.numbers)
                self.commands[client.channel] = client
            if client.channel in self.commands:
                self.agent.write(wire.frame(client.channel, kind, payload))


class Monitor:
    """QEMU's monitor protocol, QMP: commands, answers, and events in between."""

    def __init__(self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hub = hub
        self.reader = reader
        self.writer = writer
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.lock = asyncio.Lock()

    async def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Execute it; {"return": …} or {"error": …}."""
        async with self.lock:
            self.writer.write(json.dumps(command).encode())
            return await self.answers.get()

    async def listen(self) -> None:
        """Until QEMU ends."""
        while line := await self.reader.readline():
            said = json.loads(line)
            if "return" in said or "error" in said:
                self.answers.put_nowait(said)
            elif said.get("event") == "VSERPORT_CHANGE":
                self.hub.on_port(is_open=said["data"]["open"])


async def work(hub: Hub, monitor: socket.socket) -> None:
    """Let QEMU start the vm, and serve, until QEMU hangs up."""
    hub.monitor = Monitor(hub, *await asyncio.open_connection(sock=monitor))
    server = await asyncio.start_unix_server(hub.serve_client, sock=socket.socket(fileno=LISTENER))
    async with server:
        listening = asyncio.create_task(hub.monitor.listen())
        # -S: QEMU waits with everything until this is said
        await hub.monitor.command({"execute": "qmp_capabilities"})
        await hub.monitor.command({"execute": "cont"})
        await listening


async def main(qemu: list[str]) -> int:
    """Until QEMU ends; its exit status."""
    ours, theirs = socket.socketpair()
    monitor = ["-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control", "-S"]
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *TETHER, *qemu, *monitor, stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
    working = asyncio.create_task(work(Hub(process.pid), ours))
    status = await process.wait()
    if working.done():
        await working
    working.cancel()
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
