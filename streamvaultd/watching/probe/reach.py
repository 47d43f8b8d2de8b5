# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a question from addresses that it does not name, wherever a site sends its answer; probed.py calls it.

A question says "closed", networks that are refused, and "open", those among them that may be reached all the same.
Python tells an audit hook of each connection before it is made; what the hook raises comes out where the connection
was wanted. It knows nothing of name servers, which the C library asks by itself. A process that was taken over is not
held by this: for it there is what the unit closes.
"""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")

Networks = list[IPv4Network | IPv6Network]


class Reach(threading.local):
    """What the question that this thread answers may not reach, and may."""

    closed: Networks
    open: Networks

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.open = [], []

    def watch(self) -> None:
        """Look at each connection of this process from now on."""
        sys.addaudithook(self.look)

    @contextmanager
    def only(self, question: dict[str, Any]) -> Iterator[None]:
        """For this thread, and until the question is answered."""
        self.closed, self.open = [[ip_network(text) for text in question.get(key, ())] for key in ("closed", "open")]
        try:
            yield
        finally:
            self.closed, self.open = [], []

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        """The hook; raises PermissionError for a connection that is not to be."""
        if event not in CONNECTIONS or not self.closed:
            return
        target = args[1]
        if isinstance(target, tuple) and target and self.is_closed(str(target[0])):
            why = f"the site leads to {target[0]}, which neither the URL nor '[network] allow' names"
            raise PermissionError(errno.EPERM, why)

    def is_closed(self, host: str) -> bool:
        """Whether an address may not be reached. A name is none: it is looked up before."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.closed) and not any(
            address in network for network in self.open
        )
