# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's sockets: what each may be asked, by whom, and how much of it.

`varlink` is for those who act: root and the group of the socket. `varlink-readonly`, where the administrator has
enabled it, is for everybody, and answers what changes nothing. The two do not share their limits, so that everybody
cannot lock out those who act.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from streamvaultd import __version__
from streamvaultd.base.membership import is_in_scope
from streamvaultd.base.tasks import Tasks
from streamvaultd.errors import RECORDER
from streamvaultd.varlink.server import Handler, Info, Limits, ServedInterface, Server, read_definition
from streamvaultd.varlink.sockets import Members, Peer

ACTING: Final = "varlink"
READING: Final = "varlink-readonly"
SOCKET_NAMES: Final = frozenset({ACTING, READING})
"""FileDescriptorName= of the socket units."""

STREAMING: Final = frozenset({"Subscribe"})
"""Methods that need "more"."""

READ_METHODS: Final = frozenset({
    "List", "Get", "ListSegments", "GetSegment", "Why", "ListSeams", "GetSeam", "ListParts", "ListStreams",
    "GetStream", "ListStreamers", "GetStreamer", "ListJobs", "GetJob", "ListEvents", "GetEvent", "Subscribe",
    "GetSettings", "GetStatus",
})  # fmt: skip
"""What changes nothing and costs little: the methods of the read-only socket."""

LOOKING: Final = READ_METHODS | {"Check", "Verify"}
"""What changes nothing: what goes wrong in it unexpectedly is an answer, and not the end of the daemon."""

ACTING_LIMITS: Final = Limits(message_bytes=64 << 10, calls_ahead=2)
READING_LIMITS: Final = Limits(
    message_bytes=16 << 10,
    connections=64,
    connections_per_uid=8,
    connections_per_process=6,
    calls_ahead=1,
    unsent_bytes=16 << 20,
)
URL: Final = "man:streamvaultd(8)"

OnDefect = Callable[[str, Exception], None]
"""Gets the method, and what was raised in it."""


class Group(Protocol):
    """Some of the methods of the interface."""

    def handlers(self) -> Mapping[str, Handler]:
        """Method name -> handler."""


def all_handlers(*groups: Group) -> dict[str, Handler]:
    """Every method of these groups."""
    return {name: handler for group in groups for name, handler in group.handlers().items()}


class Sockets:
    """Serves the sockets that systemd has passed."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        tasks: Tasks,
        on_defect: OnDefect,
    ) -> None:
        self._handlers = handlers
        self._tasks = tasks
        self._on_defect = on_defect

    def serve(self, fds: Mapping[str, Sequence[int]]) -> None:
        """Answer on each of them from now on; the descriptors are owned from now on."""
        for fd in fds.get(ACTING, ()):
            listener = socket.socket(fileno=fd)
            members = Members.of_socket(listener)
            self._tasks.create_task(_serve(acting(self._handlers, members, on_defect=self._on_defect), listener))
        for fd in fds.get(READING, ()):
            server = reading(self._handlers, on_defect=self._on_defect)
            self._tasks.create_task(_serve(server, socket.socket(fileno=fd)))


async def _serve(server: Server, listener: socket.socket) -> None:
    with listener:
        await server.serve(listener)


def acting(
    handlers: Mapping[str, Handler], members: Members, *, on_defect: OnDefect, check_replies: bool = False
) -> Server:
    """A server for those who may do everything."""
    interface = ServedInterface(read_definition(RECORDER), handlers, STREAMING, contained=LOOKING)
    return Server(
        _info(), [interface], limits=ACTING_LIMITS, check_replies=check_replies, admits=partial(may_act, members),
        on_defect=on_defect,
    )  # fmt: skip


def may_act(members: Members, peer: Peer) -> bool:
    """Whether this peer may do everything: what runs in our own scopes has our uid, and may not."""
    return members.admit(peer) and not (peer.uid == os.geteuid() and is_in_scope(peer.pid))


def reading(handlers: Mapping[str, Handler], *, on_defect: OnDefect, check_replies: bool = False) -> Server:
    """A server for everybody, who may only look."""
    interface = ServedInterface(read_definition(RECORDER), handlers, STREAMING, READ_METHODS, LOOKING)
    return Server(_info(), [interface], limits=READING_LIMITS, check_replies=check_replies, on_defect=on_defect)


def _info() -> Info:
    return Info("StreamVault", "streamvaultd", __version__, URL)
