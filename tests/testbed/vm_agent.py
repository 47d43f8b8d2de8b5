# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a vm: starts the commands that the host sends over a virtio port, and relays their streams.

One thread, one poll: nothing here may wait. When the host hangs up this ends, and its unit takes all commands along.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.testbed import vm_wire as wire

PORT = "testbed.agent"
CWD = "/root"


def find_port() -> str:
    """The device of the port; the kernel has made it before there is a PID 1."""
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == PORT:
            return f"/dev/{name.parent.name}"
    raise FileNotFoundError(f"no virtio port '{PORT}'")


class Command:
    """One process, its pipes, and how much of them is on its way."""

    def __init__(self, channel: int, order: dict[str, Any]) -> None:
        self.channel = channel
        self.process = subprocess.Popen(
            order["argv"],
            env=order["env"],
            cwd=CWD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # the agent itself is never to be chosen when memory runs out; what it starts is
        Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("0")
        self.stdin = self.process.stdin.fileno()
        self.outputs = {self.process.stdout.fileno(): 1, self.process.stderr.fileno(): 2}
        self.room = {1: wire.WINDOW, 2: wire.WINDOW}
        self.pidfd = os.pidfd_open(self.process.pid)
        self.pending = bytearray()
        self.is_input_over = False
        self.has_exited = False
        for fd in (self.stdin, *self.outputs):
            os.set_blocking(fd, False)

    def interests(self) -> dict[int, int]:
        """What to poll for: descriptor → events."""
        wanted = {fd: select.POLLIN for fd, stream in self.outputs.items() if self.room[stream] > 0}
        if not self.has_exited:
            wanted[self.pidfd] = select.POLLIN
        if self.pending:
            wanted[self.stdin] = select.POLLOUT
        return wanted

    def take(self, content: bytes) -> None:
        """Something for its stdin, or the end of it."""
        self.is_input_over = self.is_input_over or not content
        self.pending += content
        self._close_if_over()

    def write(self) -> bytes:
        """Give stdin what it takes; the frame that says so."""
        try:
            count = os.write(self.stdin, self.pending[: wire.CHUNK])
        except BlockingIOError:
            return b""
        except BrokenPipeError:
            # nobody reads: it vanishes, as it would if it were in the pipe already
            count = len(self.pending)
        del self.pending[:count]
        self._close_if_over()
        return wire.ack(self.channel, 0, count)

    def _close_if_over(self) -> None:
        assert self.process.stdin is not None
        if self.is_input_over and not self.pending:
            self.process.stdin.close()

    def read(self, fd: int) -> bytes:
        """What one of its outputs has, as a frame; its end is one, too; b"" when there is nothing now."""
        stream = self.outputs[fd]
        try:
            chunk = os.read(fd, min(wire.CHUNK, self.room[stream]))
        except BlockingIOError:
            return b""
        self.room[stream] -= len(chunk)
        if not chunk:
            del self.outputs[fd]
        return wire.data(self.channel, stream, chunk)

    def drain(self) -> tuple[bytes, bool]:
        """After its exit: frames with what its outputs have now, and whether that is all.

        What it has left behind in the background may hold its pipes open: nobody waits for that.
        """
        sent = b""
        for fd, stream in list(self.outputs.items()):
            while fd in self.outputs:
                if self.room[stream] <= 0:
                    return sent, False
                if not (part := self.read(fd)):
                    break
                sent += part
        return sent, True

    def exit_frame(self) -> bytes:
        """Reap it; how it has ended."""
        return wire.text(self.channel, wire.EXIT, {"status": self.process.wait()})

    def kill(self) -> None:
        """Kill it and what it has started, as far as that is in its process group, and reap it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Let go of all descriptors."""
        os.close(self.pidfd)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Agent:
    """The port, and the commands by channel."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.out = bytearray()
        self.parser = wire.Parser()
        self.commands: dict[int, Command] = {}

    def serve(self) -> None:
        """Work until the host hangs up."""
        while self.turn():
            pass

    def turn(self) -> bool:
        """Wait for something and answer it; false when the host has hung up."""
        owners = {fd: command for command in self.commands.values() for fd in command.interests()}
        poll = select.poll()
        poll.register(self.port, select.POLLIN | (select.POLLOUT if self.out else 0))
        for command in self.commands.values():
            for fd, events in command.interests().items():
                poll.register(fd, events)
        for fd, events in poll.poll():
            if fd != self.port:
                self.serve_command(owners[fd], fd)
            elif not self.serve_port(events):
                return False
        for command in [command for command in self.commands.values() if command.has_exited]:
            self.finish(command)
        return True

    def serve_port(self, events: int) -> bool:
        if events & select.POLLIN:
            chunk = os.read(self.port, wire.CHUNK)
            if not chunk:
                return False
            for channel, kind, payload in self.parser.feed(chunk):
                self.obey(channel, kind, payload)
        elif events & select.POLLHUP:
            return False
        if events & select.POLLOUT and self.out:
            del self.out[: os.write(self.port, self.out[: wire.CHUNK])]
        return True

    def serve_command(self, command: Command, fd: int) -> None:
        if command.channel not in self.commands:
            return  # killed earlier in this turn
        if fd == command.pidfd:
            command.has_exited = True
        elif fd in command.outputs:
            self.out += command.read(fd)
        elif command.pending:
            self.out += command.write()

    def obey(self, channel: int, kind: int, payload: bytes) -> None:
        if kind == wire.START:
            self.start(channel, json.loads(payload))
            return
        command = self.commands.get(channel)
        if command is None:
            return  # it has ended meanwhile
        if kind == wire.DATA:
            command.take(payload[1:])
        elif kind == wire.ACK:
            stream, count = wire.ACK_BODY.unpack(payload)
            command.room[stream] += count
        elif kind == wire.END:
            command.kill()
            self.forget(command)

    def start(self, channel: int, order: dict[str, Any]) -> None:
        try:
            self.commands[channel] = Command(channel, order)
        except (OSError, ValueError) as error:
            self.out += wire.text(channel, wire.EXIT, {"error": str(error)})

    def finish(self, command: Command) -> None:
        sent, is_all = command.drain()
        self.out += sent
        if is_all:
            self.out += command.exit_frame()
            self.forget(command)

    def forget(self, command: Command) -> None:
        command.close()
        del self.commands[command.channel]


def main() -> None:
    """Say hello, which waits for the host to connect, and serve it."""
    port = os.open(find_port(), os.O_RDWR)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    os.write(port, wire.text(0, wire.HELLO, {"boot": boot}))
    os.set_blocking(port, False)
    Agent(port).serve()


if __name__ == "__main__":
    main()
