# SPDX-License-Identifier: GPL-3.0-or-later
"""A Varlink server for asyncio (https://varlink.org), which systemd's varlinkctl(1) understands.

A handler answers in one of two ways:

- `async def get(call: Call) -> Parameters` gives the one reply;
- `async def watch(call: Call) -> AsyncGenerator[Parameters | Final, None]` gives a stream: every item goes
  out at once with "continues", and `Final(parameters)` ends it (a generator that just returns ends it with
  an empty reply). Called without "more", its first item is the only reply and the generator is closed;
  methods named in `ServedInterface.streaming` answer ExpectedMore instead.

A VaultError becomes the error reply of its name. Anything else that a handler raises is a defect of this program. In
a method of `ServedInterface.contained`, which only looks, it becomes an InternalError, and `on_defect` gets it. In any
other it ends `Server.serve()` and reaches whatever runs that: nobody knows what it has left half done. A client that
hangs up cancels its handler, except for a oneway call, whose client need not wait.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

from streamvaultd.errors import (
    ExpectedMore,
    InterfaceNotFound,
    InternalError,
    MethodNotFound,
    MethodNotImplemented,
    PermissionDenied,
    TooManyConnections,
    VaultError,
)
from streamvaultd.varlink import idl
from streamvaultd.varlink.connection import Call, Connection, Incoming, Limits, Unsent
from streamvaultd.varlink.guests import Guests
from streamvaultd.varlink.sockets import HangUps, Peer, peer_of, readable
from streamvaultd.varlink.wire import Parameters, Reply, encode

if TYPE_CHECKING:
    import socket

__all__ = ["Call", "Final", "Handler", "Info", "Limits", "Peer", "ServedInterface", "Server", "read_definition"]

SERVICE = "org.varlink.service"
ACCEPT_RETRY_SECONDS = 1.0  # after the process or the system ran out of file descriptors
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Final:
    """The last item of a stream."""

    parameters: Parameters


Stream = AsyncGenerator[Parameters | Final, None]
Handler = Callable[[Call], Awaitable[Parameters] | Stream]


@dataclass(frozen=True, slots=True)
class Info:
    """What org.varlink.service.GetInfo tells."""

    vendor: str
    product: str
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class ServedInterface:
    """An interface definition and what answers its methods; without a handler: MethodNotImplemented.

    With `permitted`, all other methods are answered by PermissionDenied. A defect in a `contained` one is an answer.
    """

    description: str
    handlers: Mapping[str, Handler]
    streaming: frozenset[str] = frozenset()
    permitted: frozenset[str] | None = None
    contained: frozenset[str] = frozenset()
    definition: idl.Interface = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", idl.parse(self.description))
        if unknown := self._named - set(self.definition.methods):
            raise ValueError(f"{self.definition.name} does not define {', '.join(sorted(unknown))}")

    @property
    def _named(self) -> frozenset[str]:
        return self.streaming | self.contained | (self.permitted or frozenset()) | frozenset(self.handlers)


def read_definition(name: str) -> str:
    """Return the text of an interface definition that is shipped with this package."""
    return resources.files(__package__).joinpath(f"{name}.varlink").read_text("utf-8")


class Server:
    """Answers on any number of listening sockets; `serve()` once for each."""

    def __init__(
        self,
        info: Info,
        interfaces: Sequence[ServedInterface],
        *,
        limits: Limits | None = None,
        check_replies: bool = False,
        admits: Callable[[Peer], bool] = lambda _peer: True,
        on_defect: Callable[[str, Exception], None] = lambda _method, _error: None,
    ) -> None:
        """With `check_replies`, a reply that does not fit its definition is a defect like any other.

        Peers that `admits` does not let in are answered by PermissionDenied, whatever they want.
        """
        self._info = info
        self._limits = limits or Limits()
        self._unsent = Unsent(self._limits.unsent_bytes)
        self._admits = admits
        self._check_replies = check_replies
        self._on_defect = on_defect
        own = ServedInterface(
            read_definition(SERVICE),
            {"GetInfo": self._get_info, "GetInterfaceDescription": self._get_interface_description},
        )
        self._interfaces = {each.definition.name: each for each in (own, *interfaces)}
        self._guests = Guests(self._limits)
        self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._guests)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled, or until a handler raises what is no VaultError (in an ExceptionGroup)."""
        listener.settimeout(0)
        with HangUps() as hang_ups:
            async with asyncio.TaskGroup() as group:
                while True:
                    await readable(listener)
                    try:
                        sock, _ = listener.accept()
                    except (BlockingIOError, ConnectionAbortedError):
                        continue
                    except OSError as error:
                        if error.errno not in _OUT_OF_RESOURCES:
                            raise
                        # The connection stays in the queue: look again later instead of spinning on it
                        await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                        continue
                    self._admit(sock, group, hang_ups)

    async def idle(self, seconds: float) -> None:
        """Return once there has been no connection for this long."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(None if self.connections else seconds):
                    await self._changed.wait()
            except TimeoutError:
                if not self.connections:
                    return

    def _admit(self, sock: socket.socket, group: asyncio.TaskGroup, hang_ups: HangUps) -> None:
        sock.settimeout(0)
        peer = peer_of(sock)
        if not self._admits(peer):
            _refuse(sock, PermissionDenied())
            return
        if (limit := self._guests.make_room(peer)) is not None:
            _refuse(sock, TooManyConnections(limit=limit))
            return
        connection = Connection(sock, answer=self._answer, limits=self._limits, hang_ups=hang_ups, unsent=self._unsent)
        self._guests.enter(connection)
        self._changed.set()
        # A callback and not a try: a task that is cancelled before its first step never enters one
        group.create_task(connection.run()).add_done_callback(partial(self._on_end, connection))

    def _on_end(self, connection: Connection, _task: asyncio.Task[None]) -> None:
        connection.close()
        self._guests.leave(connection)
        self._changed.set()

    async def _answer(self, incoming: Incoming, peer: Peer) -> AsyncGenerator[bytes, None]:
        interface, method = self._find(incoming.call.method)
        try:
            async with aclosing(self._replies(interface, method, incoming, peer)) as replies:
                async for reply in replies:
                    yield encode(reply)
        except VaultError:
            raise
        except Exception as error:
            if method not in interface.contained:
                raise
            self._on_defect(method, error)
            raise InternalError(method=method, why=type(error).__name__) from error

    async def _replies(
        self, interface: ServedInterface, method: str, incoming: Incoming, peer: Peer
    ) -> AsyncGenerator[Reply, None]:
        call = incoming.call
        given = call.parameters or {}
        interface.definition.validate_parameters(method, given)
        parameters = {name: value for name, value in given.items() if value is not None}  # null is absent
        if interface.permitted is not None and method not in interface.permitted:
            raise PermissionDenied
        if call.upgrade or method not in interface.handlers:
            raise MethodNotImplemented(method=call.method)
        more = call.more and not call.oneway
        if method in interface.streaming and not more:
            raise ExpectedMore
        result = interface.handlers[method](
            Call(
                method=call.method,
                parameters=parameters,
                more=more,
                oneway=call.oneway,
                peer=peer,
                fds=incoming.fds,
            )
        )
        async with aclosing(_replies(result, more=more)) as replies:
            async for reply in replies:
                if self._check_replies:
                    interface.definition.validate_reply(method, reply.parameters or {})
                yield reply

    def _find(self, full_name: str) -> tuple[ServedInterface, str]:
        name, _, method = full_name.rpartition(".")
        interface = self._interfaces.get(name)
        if interface is None:
            raise InterfaceNotFound(interface=name)
        if method not in interface.definition.methods:
            raise MethodNotFound(method=full_name)
        return interface, method

    async def _get_info(self, _call: Call) -> Parameters:
        return {
            "vendor": self._info.vendor,
            "product": self._info.product,
            "version": self._info.version,
            "url": self._info.url,
            "interfaces": list(self._interfaces),
        }

    async def _get_interface_description(self, call: Call) -> Parameters:
        name = call.parameters["interface"]
        if name not in self._interfaces:
            raise InterfaceNotFound(interface=name)
        return {"description": self._interfaces[name].description}


async def _replies(result: Awaitable[Parameters] | Stream, *, more: bool) -> AsyncGenerator[Reply, None]:
    """Yield what the handler's result means on the wire; the last reply does not continue."""
    if not isinstance(result, AsyncGenerator):
        yield Reply(parameters=await result)
        return
    async with aclosing(result):
        async for item in result:
            if isinstance(item, Final):
                yield Reply(parameters=item.parameters)
                return
            yield Reply(parameters=item, continues=more)
            if not more:
                return
    yield Reply(parameters={})


def _refuse(sock: socket.socket, error: VaultError) -> None:
    """Answer before the first call: the client reads it as that call's reply."""
    with sock:
        try:
            sock.send(encode(Reply.of_error(error)))
        except OSError:
            return
