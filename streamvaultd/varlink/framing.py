# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one Varlink message ends and the next begins: each is JSON text followed by one NUL byte.

Standard library only: streamvaultctl imports this at every start.
"""

from __future__ import annotations

from streamvaultd.errors import MessageTooLarge

MESSAGE_BYTES_MAX = 1 << 20  # of one call; larger ones are refused
REPLY_BYTES_MAX = 16 << 20  # of one reply, at the client: what systemd's own clients accept


def reason(error: OSError) -> str:
    """What the operating system says, as a part of a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


class ProtocolError(Exception):
    """The peer does not speak Varlink; the connection cannot be used any more."""


class Splitter:
    """Cuts a byte stream into messages; holds at most one unfinished message of `limit` bytes."""

    def __init__(self, limit: int = MESSAGE_BYTES_MAX) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def is_empty(self) -> bool:
        """True between two messages: nothing of the next one has arrived."""
        return not self._buffer

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes, without their NUL; MessageTooLarge ends the stream."""
        *ends, rest = data.split(b"\0")
        messages = []
        for end in ends:
            self._keep(end)
            messages.append(bytes(self._buffer))
            self._buffer.clear()
        self._keep(rest)
        return messages

    def _keep(self, data: bytes) -> None:
        if len(self._buffer) + len(data) > self._limit:
            raise MessageTooLarge(limit=self._limit)
        self._buffer += data
