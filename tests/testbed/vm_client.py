# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one command in a vm: this process looks to its caller like the command itself.

Its stdin, stdout, stderr, environment and exit status are the command's, and whoever kills it kills the command.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.testbed import vm_wire as wire

PROJECT = Path(__file__).resolve().parents[2]
START = "import sys; sys.path[0] = sys.argv.pop(1); from tests.testbed.vm_client import main; main()"
GONE = 255
"""The exit status when the vm stops, reboots or cannot start the command."""


def argv(hub: Path, command: list[str]) -> list[str]:
    """The client as a command of this host."""
    return [sys.executable, "-S", "-E", "-c", START, str(PROJECT), str(hub), *command]


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """A socket's address, which must be shorter than a path may be."""
    folder = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(hub: Path) -> socket.socket:
    """A connection to a hub."""
    made = socket.socket(socket.AF_UNIX)
    with address(hub) as short:
        made.connect(short)
    return made


class Client:
    """Relays between the hub and our own streams."""

    def __init__(self, hub: socket.socket) -> None:
        self.hub = hub
        self.room = wire.WINDOW
        self.is_input_over = False
        self.parser = wire.Parser()

    def relay(self) -> int:
        """Until the command has ended: its exit status, or minus the signal that has ended it."""
        while True:
            wanted = [self.hub] if self.is_input_over or self.room <= 0 else [self.hub, sys.stdin.fileno()]
            ready, _, _ = select.select(wanted, [], [])
            if self.hub in ready:
                chunk = self.hub.recv(wire.CHUNK)
                if not chunk:
                    return self.gone("the vm is gone")
                for _, kind, payload in self.parser.feed(chunk):
                    if (status := self.take(kind, payload)) is not None:
                        return status
            if sys.stdin.fileno() in ready:
                self.send_input()

    def send_input(self) -> None:
        content = os.read(sys.stdin.fileno(), min(wire.CHUNK, self.room))
        self.room -= len(content)
        self.is_input_over = not content
        self.hub.sendall(wire.data(0, 0, content))

    def take(self, kind: int, payload: bytes) -> int | None:
        """Do what a frame says; the exit status when that is what it is about."""
        if kind == wire.DATA and len(payload) > 1:
            self.write(payload[0], payload[1:])
        elif kind == wire.ACK:
            self.room += wire.ACK_BODY.unpack(payload)[1]
        elif kind == wire.EXIT:
            answer = json.loads(payload)
            return int(answer["status"]) if "status" in answer else self.gone(answer["error"])
        return None

    def write(self, stream: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(stream, view) :]
        # it may have ended by now
        with contextlib.suppress(BrokenPipeError):
            self.hub.sendall(wire.ack(0, stream, len(content)))

    def gone(self, why: str) -> int:
        print(f"cannot run this in the vm: {why}", file=sys.stderr, flush=True)
        return GONE


def die_like(status: int) -> None:
    """End this process as the command has ended."""
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def main() -> None:
    """HUB COMMAND…: run it."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    hub, command = Path(sys.argv[1]), sys.argv[2:]
    with connect(hub) as connection:
        connection.sendall(wire.text(0, wire.START, {"argv": command, "env": dict(os.environ)}))
        status = Client(connection).relay()
    die_like(status)
