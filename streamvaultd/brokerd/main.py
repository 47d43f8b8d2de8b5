# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvault-brokerd: started by its socket, ends when nobody has been connected for a while.

When the bus is lost it fails, and the next call starts it again with a new connection.
"""

from __future__ import annotations

import argparse
import asyncio
import pwd
import socket

from streamvaultd import __version__
from streamvaultd.base.systemd1 import BusError
from streamvaultd.brokerd import service
from streamvaultd.brokerd.notices import FAILED, tell
from streamvaultd.brokerd.systemd_manager import SystemdManager
from streamvaultd.varlink.server import Info, Limits, Server
from systemd import daemon

IDLE_SECONDS = 60.0
SOCKET_NAME = "varlink"  # FileDescriptorName= of the socket unit
LIMITS = Limits(
    message_bytes=1 << 16, connections=512, connections_per_uid=448, connections_per_process=448, fds_per_message=1
)


class BusLost(Exception):
    """The system bus has closed the connection."""


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="streamvault-brokerd", description="Scope broker of streamvaultd")
    parser.add_argument("--user", default="_streamvault", help="the only user who may call (default: %(default)s)")
    parser.add_argument("--version", action="version", version=__version__)
    arguments = parser.parse_args()
    try:
        uid = pwd.getpwnam(arguments.user).pw_uid
    except KeyError:
        return _fail(f"cannot start: there is no user '{arguments.user}'")
    fds = [fd for fd, name in daemon.listen_fds_with_names().items() if name == SOCKET_NAME]
    if len(fds) != 1:
        return _fail("cannot start by hand: systemctl start streamvault-brokerd.socket")
    status = 0
    try:
        asyncio.run(_serve(socket.socket(fileno=fds[0]), uid))
    except* (BusLost, BusError) as group:
        status = _fail(f"cannot go on without the system bus: {group.exceptions[0]}")
    return status


async def _serve(listener: socket.socket, uid: int) -> None:
    manager = await SystemdManager.connect()
    info = Info("streamvault", "streamvault-brokerd", __version__, "man:streamvaultd(8)")
    server = Server(info, [service.interface(manager, uid)], limits=LIMITS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.serve(listener)), group.create_task(_fail_when_lost(manager))]
        daemon.notify("READY=1")
        await server.idle(IDLE_SECONDS)
        daemon.notify("STOPPING=1")
        for task in tasks:
            task.cancel()


async def _fail_when_lost(manager: SystemdManager) -> None:
    await manager.lost()
    raise BusLost("the bus has closed the connection")


def _fail(text: str) -> int:
    tell(FAILED, text)
    return 1
