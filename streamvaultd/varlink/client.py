# SPDX-License-Identifier: GPL-3.0-or-later
"""A blocking Varlink client for command line programs.

Standard library only: a command line program pays for every import at every start.
"""

from __future__ import annotations

import json
import socket
import struct

from streamvaultd.errors import ConnectionLost, DaemonNotRunning, MessageTooLarge, from_wire
from streamvaultd.varlink.framing import REPLY_BYTES_MAX, Splitter, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

READ_BYTES = 1 << 16
TIMEOUT_SECONDS = 90.0  # a call may start the daemon, whose start systemd gives as long


class Client:
    """Calls methods of the service at a socket; each call has its own connection.

    Errors: DaemonNotRunning when nobody can be reached, ConnectionLost when the answer does not come or is
    none, and whatever error the service answers, as its own class.
    """

    def __init__(self, path: Path | str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._path = path
        self._timeout = timeout

    def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters of the reply; the timeout is for each step of the way."""
        with self._connect() as sock:
            self._send(sock, {"method": method, "parameters": dict(parameters or {})})
            reply = next(self._replies(sock))
        return _parameters(reply)

    def more(self, method: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the parameters of each reply as it comes; closing the iterator ends the call.

        The timeout covers the connection only: events may be days apart.
        """
        with self._connect() as sock:
            self._send(sock, {"method": method, "parameters": dict(parameters or {}), "more": True})
            sock.settimeout(None)
            for reply in self._replies(sock):
                yield _parameters(reply)
                if reply.get("continues") is not True:
                    return

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Not settimeout(): a non-blocking connect() to a full queue does not wait (EAGAIN)
        seconds, fraction = divmod(self._timeout, 1)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(fraction * 1_000_000))
        )
        try:
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            why = "no answer in time" if isinstance(error, BlockingIOError) else reason(error)
            raise DaemonNotRunning(address=str(self._path), why=why) from error
        sock.settimeout(self._timeout)
        return sock

    def _send(self, sock: socket.socket, call: dict[str, Any]) -> None:
        try:
            sock.sendall(json.dumps(call).encode() + b"\0")
        except (BrokenPipeError, ConnectionResetError):
            return  # a service that refuses a call says so before it closes: the answer is there to be read
        except OSError as error:
            raise self._lost(reason(error)) from error

    def _replies(self, sock: socket.socket) -> Iterator[dict[str, Any]]:
        splitter = Splitter(REPLY_BYTES_MAX)
        while True:
            try:
                data = sock.recv(READ_BYTES)
                messages = splitter.feed(data)
            except TimeoutError as error:
                raise self._lost(f"nothing came within {self._timeout:g} s") from error
            except MessageTooLarge as error:
                raise self._lost("it is too large") from error
            except OSError as error:
                raise self._lost(reason(error)) from error
            if not data:
                raise self._lost("the connection was closed")
            for message in messages:
                yield self._parse(message)

    def _parse(self, message: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise self._lost("it is not JSON") from error
        if not isinstance(reply, dict) or not isinstance(reply.get("parameters") or {}, dict):
            raise self._lost("it is no Varlink reply")
        return reply

    def _lost(self, why: str) -> ConnectionLost:
        return ConnectionLost(address=str(self._path), why=why)


def _parameters(reply: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = reply.get("parameters") or {}
    if reply.get("error") is not None:
        raise from_wire(str(reply["error"]), parameters)
    return parameters
