# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose connections are open, and which one has to go for another of the same user.

A user's share is not used up by what asks for nothing: the connection without a call that has been so for longest is
closed for a new one. And one process gets a part of the share only, whatever it does, so that another program of the
same user still gets in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.varlink.connection import Connection, Limits

if TYPE_CHECKING:
    from streamvaultd.varlink.sockets import Peer


class Guests:
    """The open connections of a server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Connection) -> None:
        """Count it from now on."""
        self._open.add(connection)

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)

    def make_room(self, peer: Peer) -> int | None:
        """The limit that keeps another connection of a peer out; None if there is room, or is now."""
        limits = self._limits
        if len(self) >= limits.connections:
            return limits.connections
        if peer.uid == limits.exempt_uid:
            return None
        own = [each for each in self._open if each.peer.uid == peer.uid and not each.is_ended]
        of_process = [each for each in own if each.peer.pid == peer.pid]
        if len(of_process) >= limits.connections_per_process and not _end_idle(of_process):
            return limits.connections_per_process
        if len(own) >= limits.connections_per_uid and not _end_idle(own):
            return limits.connections_per_uid
        return None


def _end_idle(connections: list[Connection]) -> bool:
    """End the one that has asked for nothing for longest; False if each has a call that is not answered yet."""
    idle = [each for each in connections if each.idle_since is not None and not each.is_ended]
    if not idle:
        return False
    min(idle, key=lambda each: each.idle_since or 0.0).end()
    return True
