# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever comes over the socket: the server answers or hangs up, holds little, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.api.sockets import ACTING_LIMITS, READ_METHODS, READING_LIMITS
from streamvaultd.core.model import State
from streamvaultd.varlink.connection import Unsent
from streamvaultd.varlink.server import Limits
from tests.component.socket_world import RECORDER, World, served
from tests.component.store_world import move, start
from tests.component.varlink_service import TEST, Service, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

GIGABYTE = 1 << 30
CHUNK = b"x" * (1 << 20)
SLACK = 48 << 20
"""How much more memory (bytes) may be resident after a test than before: buffers, and what the allocator keeps."""

GARBAGE = [
    b"\0", b"\0" * 10_000, b"{}\0", b"[]\0", b"null\0", b"GET / HTTP/1.1\r\n\r\n\0", b"\xff\xfe\0", b'{"method":1}\0',
    b'{"method":""}\0', b'{"method":"x"}\0', b'{"method":"io.streamvault.Recorder."}\0', b'{"method":".List"}\0',
    b'{"method":"io.streamvault.Recorder.List","parameters":[]}\0',
    b'{"method":"io.streamvault.Recorder.List","parameters":{"limit":"many"}}\0',
    b'{"method":"io.streamvault.Recorder.List","parameters":{"limit":1e999}}\0',
    b'{"method":"io.streamvault.Recorder.List","parameters":{"streamer":"\\ud800"}}\0',
    b'{"method":"io.streamvault.Recorder.List","parameters":{"streamer":"a\\u0000b"}}\0',
    b'{"method":"io.streamvault.Recorder.Get","parameters":{"recording":"' + b"9" * 5000 + b'"}}\0',
    b"[" * 50_000 + b"\0", b'{"a":' * 10_000 + b"\0", bytes(range(256)) * 100,
]  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as world:
        await move(world.store, await start(world.store), State.COMPLETED)
        yield world


def resident() -> int:
    """Bytes of this process, of which the server is a part."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(15)
    client.connect(str(path))
    return client


def answer_of(path: Path, data: bytes) -> bytes:
    """All that is answered to these bytes until the server hangs up; they are followed by an end of file."""
    with connect(path) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up already
        found = b""
        try:
            while data := client.recv(1 << 16):
                found += data
        except ConnectionResetError:
            pass
        return found


async def is_well(world: World) -> bool:
    """Both sockets answer."""
    answers = [await world.call("List", all=True), await world.look("List", all=True)]
    return [len(answer["recordings"]) for answer in answers] == [1, 1]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_answered_by_an_error_or_by_an_end(world: World, data: bytes) -> None:
    for path in (world.path, world.folder / "readonly"):
        answer = await asyncio.to_thread(answer_of, path, data)
        replies = [json.loads(message) for message in answer.split(b"\0") if message]
        assert all("error" in reply or reply["parameters"] == {"recordings": []} for reply in replies)
    assert await is_well(world)


VALUES = st.none() | st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.floats() | st.text(max_size=8)
NESTED = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
NAMES = st.sampled_from([
    "recording", "streamer", "segment", "older", "limit", "before", "after", "since", "until", "status", "state",
    "all", "stream", "job", "event", "kind", "priority", "phase", "live", "topics",
])  # fmt: skip
CALLS = st.lists(
    st.fixed_dictionaries(
        {"method": st.sampled_from([f"{RECORDER}.{name}" for name in sorted(READ_METHODS)]) | st.text(max_size=8)},
        optional={
            "parameters": st.dictionaries(NAMES, VALUES, max_size=4) | NESTED,
            "more": st.booleans() | VALUES,
            "oneway": st.booleans(),
            "upgrade": st.booleans(),
        },
    ),
    max_size=6,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(scripts=st.lists(st.tuples(CALLS, st.none() | st.integers(0, 400)), min_size=1, max_size=8))
def test_no_call_ends_the_server(tmp_path_factory: pytest.TempPathFactory, scripts: list[Any]) -> None:
    """What a handler raises that is no answer would come out of the block: it ends the daemon."""

    async def play() -> None:
        async with served(tmp_path_factory.mktemp("fuzz")) as world:
            await move(world.store, await start(world.store), State.COMPLETED)
            for calls, cut in scripts:
                data = b"".join(json.dumps(call).encode() + b"\0" for call in calls)
                with connect(world.folder / "readonly") as client:
                    await asyncio.to_thread(client.sendall, data[:cut])
                    client.shutdown(socket.SHUT_WR)
            await world.servers[1].idle(0)
            assert await is_well(world)

    asyncio.run(play())


async def test_a_message_of_a_gigabyte_is_refused_before_it_is_there(world: World) -> None:
    before = resident()

    def send() -> tuple[int, bytes]:
        sent = 0
        with connect(world.path) as client:
            try:
                while sent < GIGABYTE:
                    sent += client.send(CHUNK)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                return sent, client.recv(1 << 16)
            except ConnectionResetError:
                return sent, b""

    sent, answer = await asyncio.to_thread(send)
    assert sent < GIGABYTE // 100
    assert b"MessageTooLarge" in answer
    assert resident() - before < SLACK
    assert await is_well(world)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of all connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_connections_leave_room_for_nobody_else_and_then_for_all(world: World) -> None:
    before = resident()
    begun = b'{"method":"io.streamvault.Recorder.List","parameters":{"str'
    with ExitStack() as clients:
        for _ in range(1000):
            client = clients.enter_context(await asyncio.to_thread(connect, world.path))
            with suppress(BrokenPipeError):  # it was refused
                await asyncio.to_thread(client.send, begun)
        limit = ACTING_LIMITS.connections if os.geteuid() == 0 else ACTING_LIMITS.connections_per_uid
        refused = await asyncio.to_thread(answer_of, world.path, b"")
        assert json.loads(refused.rstrip(b"\0"))["parameters"] == {"limit": limit}
        assert await world.look("List", all=True)  # the other socket has limits of its own
        assert resident() - before < SLACK
    await world.servers[0].idle(0)
    assert await is_well(world)


async def test_half_closed_and_slow_clients_are_served_like_all_others(world: World) -> None:
    call = json.dumps({"method": f"{RECORDER}.List", "parameters": {"all": True}}).encode() + b"\0"
    assert b'"recordings"' in await asyncio.to_thread(answer_of, world.path, call)

    def dribble() -> bytes:
        with connect(world.path) as client:
            for at in range(len(call)):
                client.send(call[at : at + 1])
            return client.recv(1 << 16)

    slow = [asyncio.create_task(asyncio.to_thread(dribble)) for _ in range(8)]
    assert await is_well(world)
    assert all(b'"recordings"' in answer for answer in await asyncio.gather(*slow))


def test_what_is_held_is_counted_for_all_together() -> None:
    unsent = Unsent(100)
    with unsent.hold(60):
        with pytest.raises(Exception, match=r"^$"), unsent.hold(60):
            pass
        with unsent.hold(40):
            assert unsent.held == 100
    assert unsent.held == 0


async def test_slow_readers_are_cut_off_when_too_much_is_held_for_them(tmp_path: Path) -> None:
    service, path = Service(), tmp_path / TEST
    limits = Limits(unsent_bytes=1)
    async with serving(path, service, limits=limits) as server:
        call = json.dumps({"method": f"{TEST}.Endless", "more": True}).encode() + b"\0"
        lazy = []
        for _ in range(5):
            client = await asyncio.to_thread(connect, path)
            await asyncio.to_thread(client.sendall, call)
            lazy.append(client)
        assert await asyncio.to_thread(count_cut_off, lazy, 5) == 5
        for client in lazy:
            client.close()
        await server.idle(0)


def count_cut_off(clients: list[socket.socket], wanted: int) -> int:
    """Waits until the server has hung up on so many of them, without reading anything."""
    poll = select.poll()
    for client in clients:
        poll.register(client, 0)
    gone: set[int] = set()
    while len(gone) < wanted and (found := poll.poll(15_000)):
        for fd, _ in found:
            gone.add(fd)
            poll.unregister(fd)
    return len(gone)


def test_the_sockets_hold_little_whatever_clients_do() -> None:
    """Bytes that clients can make the daemon hold; its MemoryMax= is 1G."""
    held = [
        limits.connections * limits.message_bytes * (limits.calls_ahead + 2) + limits.unsent_bytes
        for limits in (ACTING_LIMITS, READING_LIMITS)
    ]
    assert sum(held) <= 192 << 20
