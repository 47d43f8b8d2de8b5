# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames in which a vm's agent, its hub and the hub's clients talk.

A frame is a header (channel, kind, length) and a payload. Each command has a channel of its own between agent and
hub; a client has one command, and its channel is 0. Of each stream of a command at most WINDOW bytes are on their
way: who consumes them says so in an ACK.

Runs inside the vm, too: standard library only, and little of it, because Python starts slowly there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

HEADER = struct.Struct("!IBI")
ACK_BODY = struct.Struct("!BI")
WINDOW = 256 << 10
CHUNK = 64 << 10

HELLO = 1
"""agent → hub, JSON: {"boot": boot ID}"""
START = 2
"""client → agent, JSON: {"argv": […], "env": {…}}"""
DATA = 3
"""one byte, which names the stream (0, 1, 2), and what it carries; nothing means its end"""
ACK = 4
"""ACK_BODY: stream, bytes consumed"""
EXIT = 5
"""agent → client, JSON: {"status": exit status, or minus the signal} or {"error": why it did not start}"""
END = 6
"""hub → agent: the client is gone, kill the command"""
WATCH = 7
"""client → hub: answer with an EVENT for what is, and for each change"""
EVENT = 8
"""hub → client, JSON"""
MONITOR = 9
"""client → hub, JSON: a command for QEMU's monitor (QMP); the answer is an EVENT"""

Frame = tuple[int, int, bytes]


def frame(channel: int, kind: int, payload: bytes = b"") -> bytes:
    """One frame, as it is sent."""
    return HEADER.pack(channel, kind, len(payload)) + payload


def text(channel: int, kind: int, value: Any) -> bytes:
    """A frame with JSON in it."""
    return frame(channel, kind, json.dumps(value).encode())


def data(channel: int, stream: int, content: bytes = b"") -> bytes:
    """A frame with what a stream carries, or with its end."""
    return frame(channel, DATA, bytes([stream]) + content)


def ack(channel: int, stream: int, count: int) -> bytes:
    """A frame that makes room in a stream's window."""
    return frame(channel, ACK, ACK_BODY.pack(stream, count))


class Parser:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that this chunk completes."""
        self.buffer += chunk
        while len(self.buffer) >= HEADER.size:
            channel, kind, length = HEADER.unpack_from(self.buffer)
            end = HEADER.size + length
            if len(self.buffer) < end:
                return
            payload = bytes(self.buffer[HEADER.size : end])
            del self.buffer[:end]
            yield channel, kind, payload
