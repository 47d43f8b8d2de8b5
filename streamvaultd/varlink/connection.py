# SPDX-License-Identifier: GPL-3.0-or-later
"""One client of a Varlink server: calls in, replies out in the same order, an end to everything it holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass

from streamvaultd.errors import MessageTooLarge, SubscriberTooSlow, VaultError
from streamvaultd.varlink import sockets
from streamvaultd.varlink.wire import (
    MESSAGE_BYTES_MAX,
    Decoder,
    MethodCall,
    Parameters,
    ProtocolError,
    Reply,
    encode,
    parse_call,
)


class _Over(Exception):
    """This connection has come to its end; nothing went wrong."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients can make the server hold."""

    message_bytes: int = MESSAGE_BYTES_MAX
    connections: int = 256
    connections_per_uid: int = 64
    connections_per_process: int = 48  # the rest of the share is for other programs of the same user
    exempt_uid: int = 0  # from both: the administrator gets in whatever the others do
    calls_ahead: int = 4  # read while an earlier call is answered; the rest waits in the kernel
    fds_per_message: int = 0
    write_seconds: float = 30.0  # within which a client must take a reply
    unsent_bytes: int = 64 << 20  # of replies that clients do not take at once, all clients together


class Unsent:
    """Counts what is held for clients that are slow to take it, all of a server's together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Count so many bytes for the length of the block; _Over if it is too much."""
        if self.held + count > self._limit:
            raise _Over
        self.held += count
        try:
            yield
        finally:
            self.held -= count


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as a handler gets it: the parameters fit the interface's definition.

    `fds` came with the message and are closed when the call has been answered: duplicate what is to be kept.
    """

    method: str
    parameters: Parameters
    more: bool
    oneway: bool
    peer: sockets.Peer
    fds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call as it was received."""

    call: MethodCall
    fds: tuple[int, ...]


Answer = Callable[[Incoming, sockets.Peer], AsyncGenerator[bytes, None]]
"""The replies to a call as they go over the wire."""


class Connection:
    """Serves one accepted socket, and owns it with all descriptors received, until `close()`."""

    def __init__(
        self, sock: socket.socket, *, answer: Answer, limits: Limits, hang_ups: sockets.HangUps, unsent: Unsent
    ) -> None:
        self._sock = sock
        self._peer = sockets.peer_of(sock)
        self._answer = answer
        self._limits = limits
        self._hang_ups = hang_ups
        self._unsent = unsent
        self._decoder = Decoder(limits.message_bytes)
        self._inbox: asyncio.Queue[Incoming | VaultError | None] = asyncio.Queue(limits.calls_ahead)
        self._fds: set[int] = set()
        self._unfinished_fds: list[int] = []
        self._is_ended = False
        self._idle_since: float | None = asyncio.get_running_loop().time()

    @property
    def idle_since(self) -> float | None:
        """Since when (the loop's clock) no call waits for its answer; None while one does."""
        return self._idle_since if self._inbox.empty() else None

    @property
    def is_ended(self) -> bool:
        """Whether it was ended from this side, and is about to close."""
        return self._is_ended

    def end(self) -> None:
        """Hang up: `run()` returns soon."""
        self._is_ended = True
        with suppress(OSError):  # the client was faster
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def peer(self) -> sockets.Peer:
        return self._peer

    async def run(self) -> None:
        """Return when the client has finished or is gone; raise (in a group) only what a handler raised."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive_all())
                group.create_task(self._answer_all())
        except* _Over:
            pass

    def close(self) -> None:
        """Close the socket and the descriptors of calls that were not answered; after `run()`."""
        sockets.close_all(self._fds)
        self._fds.clear()
        self._sock.close()

    async def _receive_all(self) -> None:
        try:
            while chunk := await self._receive():
                for incoming in chunk:
                    await self._inbox.put(incoming)
        except MessageTooLarge as error:
            await self._inbox.put(error)
        await self._inbox.put(None)

    async def _receive(self) -> list[Incoming]:
        """Wait for at least one call; none means that the client sends no more."""
        while True:
            try:
                data, fds = await sockets.receive(self._sock, self._limits.fds_per_message)
                self._fds.update(fds)
                if not data:
                    return []
                if calls := self._sort(self._decoder.feed(data), fds):
                    return calls
            except (ProtocolError, OSError) as error:
                raise _Over from error

    def _sort(self, messages: list[Parameters], fds: list[int]) -> list[Incoming]:
        """Give each message its descriptors.

        The kernel ends a read after the piece that carries descriptors: they belong to the last message
        in it, which may still be unfinished.
        """
        carried: list[list[int]] = [[] for _ in messages]
        if carried:
            carried[0], self._unfinished_fds = self._unfinished_fds, []
        if carried and self._decoder.is_empty:
            carried[-1] = carried[-1] + fds
        else:
            self._unfinished_fds += fds
        if max(map(len, [*carried, self._unfinished_fds])) > self._limits.fds_per_message:
            raise ProtocolError("too many file descriptors in a message")
        return [Incoming(parse_call(m), tuple(own)) for m, own in zip(messages, carried, strict=True)]

    async def _answer_all(self) -> None:
        while (item := await self._inbox.get()) is not None:
            self._idle_since = None
            if isinstance(item, VaultError):
                await self._send(encode(Reply.of_error(item)))
                break
            if item.call.oneway:
                await self._run(item)
            else:
                await self._run_while_connected(item)
            self._idle_since = asyncio.get_running_loop().time()
        raise _Over

    async def _run_while_connected(self, incoming: Incoming) -> None:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._hung_up())
            await self._run(incoming)
            watch.cancel()

    async def _hung_up(self) -> None:
        await self._hang_ups.wait(self._sock)
        raise _Over

    async def _run(self, incoming: Incoming) -> None:
        try:
            async with aclosing(self._answer(incoming, self._peer)) as replies:
                async for reply in replies:
                    if not incoming.call.oneway:
                        await self._send(reply)
        except VaultError as error:
            if not incoming.call.oneway:
                await self._send(encode(Reply.of_error(error)))
            if isinstance(error, SubscriberTooSlow):
                raise _Over from error
        finally:
            self._fds.difference_update(incoming.fds)
            sockets.close_all(incoming.fds)

    async def _send(self, data: bytes) -> None:
        """Write one reply. A client that does not take it in time is cut off, or when too much is held for all."""
        try:
            rest = sockets.send_now(self._sock, data)
            if rest:
                with self._unsent.hold(len(rest)):
                    async with asyncio.timeout(self._limits.write_seconds):
                        await sockets.send(self._sock, rest)
        except (OSError, TimeoutError) as error:
            raise _Over from error
