# SPDX-License-Identifier: GPL-3.0-or-later
"""Links and routes of this machine: the moment the network is back; rtnetlink(7).

The socket is Python's own and pyroute2 reads the messages: its sockets of 0.7 (Debian 13) and of 0.9 have no way in
common of being used from a running event loop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from pyroute2.netlink import NETLINK_ROUTE, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, rtnl
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from streamvaultd.base.fds import persist, readable

BACK_INTERVAL: Final = 10.0
"""At most once in this time (s) is the network said to be back; a machine with containers changes all day."""
READS_MAX: Final = 16
"""Datagrams that are read before the event loop has its turn again."""

GROUPS: Final = rtnl.RTMGRP_LINK | rtnl.RTMGRP_IPV4_ROUTE | rtnl.RTMGRP_IPV6_ROUTE
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_RUNNING: Final = 0x40
RTN_UNICAST: Final = 1
TABLE_MAIN: Final = 254
_READ_SIZE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Link:
    """`is_up`: somebody wants it to work; `is_running`: it does."""

    index: int
    is_virtual: bool
    is_up: bool
    is_running: bool


@dataclass(frozen=True, slots=True)
class Route:
    """A default route; `links` is empty where the kernel does not name any."""

    key: tuple[object, ...]
    links: frozenset[int]


@dataclass
class Network:
    """What is known of links and routes. Loopback does not count."""

    links: dict[int, Link] = field(default_factory=dict)
    routes: dict[tuple[object, ...], Route] = field(default_factory=dict)
    has_had_route: bool = False

    def on_link(self, link: Link) -> bool:
        """Note a link; whether the network may be back by that.

        A virtual link leads into some container, or upon another link, unless a default route goes by it.
        """
        before = self.links.get(link.index)
        self.links[link.index] = link
        if not link.is_up:
            self._drop_routes(link.index)
        is_new = link.is_running and not (before is not None and before.is_running)
        return is_new and not (
            link.is_virtual and all(link.index not in route.links for route in self.routes.values())
        )

    def on_link_gone(self, index: int) -> None:
        """Note that a link is gone."""
        self.links.pop(index, None)
        self._drop_routes(index)

    def on_route(self, route: Route) -> bool:
        """Note a default route that was set, perhaps again: the network may be back by that."""
        self.routes[route.key] = route
        self.has_had_route = True
        return True

    def on_route_gone(self, route: Route) -> None:
        """Note that a default route is gone."""
        self.routes.pop(route.key, None)

    def is_down(self) -> bool:
        """Whether nothing leads out of this machine although something should.

        What leads out is a default route by a link that runs; on a machine that never had a default route, any link
        that runs, and that is missed only while a link is up and does not run. So a machine that has nothing but
        loopback is not down.
        """
        running = {link.index for link in self.links.values() if link.is_running}
        if self.has_had_route:
            return not any(not route.links or route.links & running for route in self.routes.values())
        return not running and any(link.is_up for link in self.links.values())

    def _drop_routes(self, index: int) -> None:
        # The kernel does not tell of IPv4 routes that go with their link (fib_table_flush() in net/ipv4/fib_trie.c).
        for key in [key for key, route in self.routes.items() if route.links == {index}]:
            del self.routes[key]


class LinkWatch:
    """Follows links and routes.

    `listeners` are called when the network may be back: a default route was set, or a link works that did not; at
    once, but at most every BACK_INTERVAL; of several changes in between, the last one comes at its end.
    `on_trouble(why)` is called once if the kernel does not tell; that is tried again.
    """

    def __init__(self, *, on_trouble: Callable[[str], None], interval: float = BACK_INTERVAL) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._on_trouble = on_trouble
        self._interval = interval
        self._marshal = MarshalRtnl()
        self._network = Network()
        self._is_down = False
        self._dumps: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_back_again = False

    @property
    def is_down(self) -> bool:
        """See Network.is_down(); False as long as that is not known."""
        return self._is_down

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            await persist(self._follow, self._on_trouble)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _follow(self) -> NoReturn:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE) as netlink:
            netlink.bind((0, GROUPS))
            self._look_anew(netlink)
            while True:
                await readable(netlink.fileno())
                for _ in range(READS_MAX):
                    if not self._read(netlink):
                        break

    def _look_anew(self, netlink: socket.socket) -> None:
        """Ask for all links and routes. What changes meanwhile comes in between, in the right order."""
        self._network = Network(has_had_route=self._network.has_had_route)
        self._dumps = [_dump(rtmsg(), rtnl.RTM_GETROUTE), _dump(ifinfmsg(), rtnl.RTM_GETLINK)]
        netlink.send(self._dumps[-1])

    def _read(self, netlink: socket.socket) -> bool:
        """Take one datagram; False when there is none."""
        try:
            data = netlink.recv(_READ_SIZE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._look_anew(netlink)  # there was more than fits: anything may have changed
            self._come_back()
            return True
        for message in self._marshal.parse(data):
            if message["header"]["type"] in (NLMSG_DONE, NLMSG_ERROR):
                self._end_dump(netlink, message)
            elif self._apply(message) and not self._dumps:
                self._come_back()
        if not self._dumps:
            self._is_down = self._network.is_down()
        return True

    def _end_dump(self, netlink: socket.socket, message: Any) -> None:
        if message["header"]["type"] == NLMSG_ERROR and message["error"]:
            raise OSError(abs(message["error"]), os.strerror(abs(message["error"])))
        self._dumps.pop()
        if self._dumps:
            netlink.send(self._dumps[-1])

    def _apply(self, message: Any) -> bool:
        """Note what a message tells; whether the network may be back by it."""
        kind = message["header"]["type"]
        if kind in (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK):
            # A bridge tells of its ports in the same way, with another family.
            if message["family"] != socket.AF_UNSPEC or message["flags"] & IFF_LOOPBACK:
                return False
            if kind == rtnl.RTM_NEWLINK:
                return self._network.on_link(_link_of(message))
            self._network.on_link_gone(message["index"])
        elif kind in (rtnl.RTM_NEWROUTE, rtnl.RTM_DELROUTE) and _is_default(message):
            if kind == rtnl.RTM_NEWROUTE:
                return self._network.on_route(_route_of(message))
            self._network.on_route_gone(_route_of(message))
        return False

    def _come_back(self) -> None:
        if self._timer is not None:
            self._is_back_again = True
            return
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_interval)
        for listener in self.listeners:
            listener()

    def _on_interval(self) -> None:
        self._timer = None
        if self._is_back_again:
            self._is_back_again = False
            self._come_back()


def _dump(message: Any, kind: int) -> bytes:
    """The request for all links or routes, of all address families."""
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    message["family"] = socket.AF_UNSPEC
    message.encode()
    return bytes(message.data)


def _link_of(message: Any) -> Link:
    flags = message["flags"]
    return Link(
        index=message["index"],
        is_virtual=message.get_attr("IFLA_LINKINFO") is not None,
        is_up=bool(flags & IFF_UP),
        is_running=bool(flags & IFF_RUNNING),
    )


def _is_default(message: Any) -> bool:
    table = message.get_attr("RTA_TABLE") or message["table"]
    return (message["dst_len"], table, message["type"]) == (0, TABLE_MAIN, RTN_UNICAST)


def _route_of(message: Any) -> Route:
    hops = message.get_attr("RTA_MULTIPATH") or []
    links = frozenset(link for link in (message.get_attr("RTA_OIF"), *(hop["oif"] for hop in hops)) if link)
    gateway = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PRIORITY")
    return Route((message["family"], message["tos"], *gateway, links), links)
