# SPDX-License-Identifier: GPL-3.0-or-later
"""A Varlink client for asyncio that can pass file descriptors along with a call."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from streamvaultd.errors import ConnectionLost, DaemonNotRunning, MessageTooLarge, from_wire
from streamvaultd.varlink import sockets
from streamvaultd.varlink.framing import reason
from streamvaultd.varlink.wire import (
    REPLY_BYTES_MAX,
    Decoder,
    MethodCall,
    Parameters,
    ProtocolError,
    encode,
    parse_reply,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IDLE_SECONDS = 10.0  # for which a connection waits for the next call: a service may exit when it has none


class AsyncClient:
    """Calls methods of the service at a socket; calls at the same time do not wait for each other.

    Every call has a connection to itself; one is kept open for a while afterwards. A lost connection fails
    the call on it with ConnectionLost (whether it was carried out is unknown); the next call connects again.
    """

    def __init__(self, path: Path, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._path = path
        self._idle_seconds = idle_seconds
        self._idle: socket.socket | None = None
        self._expiry: asyncio.TimerHandle | None = None

    async def call(
        self,
        method: str,
        parameters: Parameters | None = None,
        *,
        fds: Sequence[int] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - part of the call's contract, turned into ConnectionLost
    ) -> Parameters:
        """Return the parameters of the reply; `timeout` in seconds covers everything.

        `fds` stay the caller's and must stay open until this returns. Errors as in `client.Client`.
        """
        sock = self._take_idle()
        try:
            async with asyncio.timeout(timeout):
                if sock is None:
                    sock = await self._connect()
                message = await self._exchange(sock, MethodCall(method=method, parameters=parameters or {}), fds)
                reply = parse_reply(message)
        except TimeoutError as error:
            _close(sock)
            raise self._lost(f"nothing came within {timeout} s") from error
        except (ProtocolError, MessageTooLarge) as error:
            _close(sock)
            raise self._lost(str(error)) from error
        except BaseException:
            # What comes over this connection later would be taken for the reply to another call
            _close(sock)
            raise
        self._keep_idle(sock)
        if reply.error is not None:
            raise from_wire(reply.error, reply.parameters or {})
        return reply.parameters or {}

    def close(self) -> None:
        """Close the idle connection; calls under way go on."""
        _close(self._take_idle())

    async def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(self._path))
        except OSError as error:
            sock.close()
            raise DaemonNotRunning(address=str(self._path), why=reason(error)) from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def _exchange(self, sock: socket.socket, call: MethodCall, fds: Sequence[int]) -> Parameters:
        try:
            await sockets.send(sock, encode(call), fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a service that refuses a call says so before it closes: the answer is there to be read
        except OSError as error:
            raise self._lost(reason(error)) from error
        decoder = Decoder(REPLY_BYTES_MAX)
        while True:
            try:
                data, _ = await sockets.receive(sock, 0)
            except OSError as error:
                raise self._lost(reason(error)) from error
            if not data:
                raise self._lost("the connection was closed")
            if messages := decoder.feed(data):
                return messages[0]

    def _take_idle(self) -> socket.socket | None:
        sock, self._idle = self._idle, None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if sock is not None and not _is_quiet(sock):
            sock.close()
            return None
        return sock

    def _keep_idle(self, sock: socket.socket) -> None:
        _close(self._take_idle())
        self._idle = sock
        self._expiry = asyncio.get_running_loop().call_later(self._idle_seconds, self.close)

    def _lost(self, why: str) -> ConnectionLost:
        return ConnectionLost(address=str(self._path), why=why)


def _is_quiet(sock: socket.socket) -> bool:
    """True while the service has neither closed the connection nor sent what nobody asked for."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()
