# SPDX-License-Identifier: GPL-3.0-or-later
"""One user's connections leave room for another program of the same user."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.varlink.server import Limits
from tests.component.varlink_service import TEST, RawClient, Service, connected, serving

ECHO = f"""
import contextlib, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(60)
    sock.connect(sys.argv[1])
    with contextlib.suppress(BrokenPipeError):  # refused already
        sock.sendall(b'{{"method": "{TEST}.Echo", "parameters": {{"text": "in"}}}}' + bytes(1))
    print(sock.recv(4096).rstrip(bytes(1)).decode())
"""
ANSWERED = {"parameters": {"text": "in"}}
SHARE = Limits(connections_per_uid=4, connections_per_process=4, exempt_uid=-1)
PART = Limits(connections_per_uid=4, connections_per_process=3, exempt_uid=-1)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "varlink"


@pytest.fixture(name="service")
def _service() -> Service:
    return Service()


async def another_program(path: Path) -> Any:
    """What a second process of the same user is answered."""
    command = (sys.executable, "-I", "-c", ECHO, str(path))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return json.loads(out)


def refusal(limit: int) -> dict[str, Any]:
    """What a connection beyond a limit is answered."""
    return {"error": "io.streamvault.Recorder.TooManyConnections", "parameters": {"limit": limit}}


async def busy(client: RawClient, service: Service) -> None:
    """Make a call that is not answered yet."""
    service.started.clear()
    client.call("Wait")
    await service.started.wait()


async def test_idle_connections_keep_nobody_of_the_same_user_out(path: Path, service: Service) -> None:
    async with serving(path, service, limits=SHARE) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(path)) for _ in range(4)]
        for client in clients[1:]:  # the first one has never asked for anything
            client.call("Echo", text="in")
            assert await client.hear() == ANSWERED
        assert await another_program(path) == ANSWERED
        assert await clients[0].hear_the_end() == b""
        for client in clients[1:]:
            client.call("Echo", text="in")
            assert await client.hear() == ANSWERED
        assert server.connections <= 4


async def test_one_that_waits_for_an_answer_is_not_closed_for_it(path: Path, service: Service) -> None:
    """The control: where none is idle, there is no room."""
    async with serving(path, service, limits=SHARE), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(path)) for _ in range(4)]
        for client in clients:
            await busy(client, service)
        assert await another_program(path) == refusal(4)


async def test_one_process_gets_a_part_of_the_share(path: Path, service: Service) -> None:
    async with serving(path, service, limits=PART), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(path)) for _ in range(3)]
        for client in clients:
            await busy(client, service)
        async with connected(path) as fourth:
            assert await fourth.hear() == refusal(3)
        assert await another_program(path) == ANSWERED


async def test_a_flood_of_one_process_ends_its_own_connections(path: Path, service: Service) -> None:
    """And none of another program, as long as it has its part."""
    async with serving(path, service, limits=PART) as server:
        async with connected(path) as patient, AsyncExitStack() as stack:
            await busy(patient, service)
            for _ in range(40):
                await stack.enter_async_context(connected(path))
            assert await another_program(path) == ANSWERED
            service.go.set()
            assert await patient.hear() == {"parameters": {}}
        await server.idle(0)
