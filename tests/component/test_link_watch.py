# SPDX-License-Identifier: GPL-3.0-or-later
"""Links and routes as a witness, in a network namespace of the test's own."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from streamvaultd.scopes.witnesses.network import Link, LinkWatch, Network

CLONE_NEWNET = 0x40000000
NEVER = 3600.0
MANY = 300
"""Links; what the kernel tells of so many is more than a socket keeps."""

Scenario: TypeAlias = Callable[["World"], Awaitable[None]]


class World:
    """A watcher, and what it told. What happens is heard in its order, so a count holds once a later thing is seen."""

    def __init__(self, interval: float) -> None:
        self.backs = 0
        self.watcher = LinkWatch(on_trouble=pytest.fail, interval=interval)
        self.watcher.listeners.append(self._on_back)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the watcher has seen what there is; a link that has no carrier must be among it."""
        self._running = asyncio.create_task(self.watcher.run())
        await self.until(is_down=True)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def until(self, *, is_down: bool | None = None, backs: int | None = None) -> None:
        def is_so() -> bool:
            return is_down in (None, self.watcher.is_down) and (backs is None or self.backs >= backs)

        while not is_so():  # noqa: ASYNC110 - a moment, while the socket is read
            await asyncio.sleep(0)

    def _on_back(self) -> None:
        self.backs += 1


def ip(*commands: str) -> None:
    """Run commands of ip(8)."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def add_link(name: str) -> None:
    """A link that is up; it has a carrier while its far end is up too."""
    ip(f"link add {name} type veth peer name {name}-far", f"addr add 192.0.2.1/24 dev {name}", f"link set {name} up")


def add_containers() -> None:
    """A bridge, and ten links to it."""
    ip("link add docker0 type bridge", "addr add 192.0.2.1/24 dev docker0", "link set docker0 up")
    for number in range(10):
        add_link(f"c{number}")
        ip(f"link set c{number}-far master docker0 up")


async def runs(name: str) -> None:
    """Wait until the kernel has told that a link runs, which it does some time after both of its ends are up.

    A route that is set before that is followed by one more thing by which the network may be back.
    """
    while "state UP" not in await asyncio.to_thread(_show, name):
        pass
    ip("link set lo up")  # waits for the lock under which it is told


def _show(name: str) -> str:
    return subprocess.run(["ip", "link", "show", name], capture_output=True, text=True, check=True).stdout


def play(scenario: Scenario, *, interval: float = 0.0) -> None:
    """Run it in a thread with a network namespace of its own, which has nothing but loopback."""
    failures: list[BaseException] = []

    async def main() -> None:
        world = World(interval)
        try:
            async with asyncio.timeout(60):
                await scenario(world)
        finally:
            await world.stop()

    def run() -> None:
        try:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0, "not root?"
            ip("link set lo up")
            asyncio.run(main())
        except BaseException as error:  # raised again where it fails the test
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for failure in failures:
        raise failure


def test_a_way_out_that_comes_and_goes() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()  # somebody wants it up, and there is no carrier
        ip("link set wan-far up")
        await world.until(is_down=False)
        assert world.backs == 0  # it might lead into a container
        ip("route add default via 192.0.2.254")
        await world.until(backs=1)

        ip("link set wan-far down")
        await world.until(is_down=True)
        ip("link set wan-far up")
        await world.until(is_down=False, backs=2)

        ip("route del default")
        await world.until(is_down=True)
        ip("route add default via 192.0.2.254")
        await world.until(is_down=False, backs=3)

        ip("link set wan down")  # takes the route along, of which the kernel says nothing
        ip("link set wan up")
        await runs("wan")
        await world.until(is_down=True)
        ip("route add default via 192.0.2.254")
        await world.until(is_down=False, backs=4)
        ip("link del wan")
        await world.until(is_down=True)
        assert world.backs == 4

    play(scenario)


def test_what_is_there_at_the_start_is_no_news() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        ip("route add default via 192.0.2.254")
        await world.start()
        assert world.backs == 0
        ip("link set wan-far up")
        await world.until(is_down=False, backs=1)
        ip("route del default")
        await world.until(is_down=True)
        ip("route add ::/0 dev wan metric 4000")
        await world.until(is_down=False)
        assert world.backs == 2

    play(scenario)


def test_containers_that_come_and_go_are_no_news() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()
        await asyncio.to_thread(add_containers)  # the watcher reads meanwhile: the kernel keeps little for it
        ip("link del c3", "link set c4-far nomaster", "route add 198.51.100.0/24 via 192.0.2.254 dev docker0")
        ip("route add default via 192.0.2.254 dev docker0 table 77", "route add unreachable default metric 9000")
        await runs("docker0")
        ip("route add default via 192.0.2.254 dev docker0")
        await world.until(backs=1)
        ip("route del default via 192.0.2.254 dev docker0")
        await world.until(is_down=True)
        assert world.backs == 1

    play(scenario)


async def flap(world: World, times: int) -> None:
    for _ in range(times):
        ip("route add default via 192.0.2.254")
        await world.until(is_down=False)
        ip("route del default")
        await world.until(is_down=True)


def test_what_flaps_is_told_once_in_a_while() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()
        ip("link set wan-far up")
        await flap(world, 5)
        assert world.backs == 1

    play(scenario, interval=NEVER)


def test_the_last_of_many_changes_is_told() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()
        ip("link set wan-far up")
        await flap(world, 5)
        await world.until(backs=2)

    play(scenario, interval=1.0)


def test_more_than_the_socket_keeps() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()
        ip("link set wan-far up", "route add default via 192.0.2.254")
        await world.until(backs=1)
        ip("link set wan-far down", *(f"link add c{number} type veth" for number in range(MANY)))
        await world.until(is_down=True, backs=2)  # it may be back, says who does not know
        ip("link set wan-far up")
        await world.until(is_down=False)

    play(scenario)


def test_a_machine_with_loopback_alone_is_not_down() -> None:
    async def scenario(world: World) -> None:
        add_link("wan")
        await world.start()
        ip("link del wan")
        await world.until(is_down=False)
        assert world.backs == 0

    play(scenario)


def test_a_link_that_works_again() -> None:
    """Not in a namespace: a link that is not virtual cannot be made."""
    network = Network()
    assert network.on_link(Link(2, is_virtual=False, is_up=True, is_running=True))
    assert not network.on_link(Link(2, is_virtual=False, is_up=True, is_running=True))
    assert not network.on_link(Link(2, is_virtual=False, is_up=True, is_running=False))
    assert network.is_down()
    assert network.on_link(Link(2, is_virtual=False, is_up=True, is_running=True))
    assert not network.is_down()
