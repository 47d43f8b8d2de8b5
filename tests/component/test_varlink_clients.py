# SPDX-License-Identifier: GPL-3.0-or-later
"""Both clients, and the varlink package's, against the server; then against services that misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import varlink

from streamvaultd.errors import (
    ConnectionLost,
    DaemonNotRunning,
    ExpectedMore,
    InvalidParameter,
    MessageTooLarge,
    NoSuchRecording,
    RemoteError,
    TooManyConnections,
)
from streamvaultd.varlink.aclient import AsyncClient
from streamvaultd.varlink.client import Client
from streamvaultd.varlink.server import Limits
from tests.component.varlink_service import SERVICE, TEST, Service, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TEST


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(path: Path) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(path)
    yield client
    client.close()


@asynccontextmanager
async def answering(path: Path, *answers: bytes) -> AsyncIterator[None]:
    """A service that reads one piece of each connection, sends the answer whose turn it is, and closes."""
    turns = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(next(turns))
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield


# --- the blocking client -------------------------------------------------------------------------------------------


async def test_a_blocking_call(path: Path, service: Service) -> None:
    async with serving(path, service):
        blocking = Client(path)
        reply = await asyncio.to_thread(blocking.call, f"{TEST}.Echo", {"text": "ü\0"})
        assert reply == {"text": "ü\0"}
        info = await asyncio.to_thread(blocking.call, f"{SERVICE}.GetInfo")
        assert info["product"] == "test"


async def test_a_blocking_stream(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        numbers = await asyncio.to_thread(list, Client(path).more(f"{TEST}.Count", {"to": 1000}))
        assert numbers == [{"n": n} for n in range(1, 1001)]

        def first_of(stream: Iterator[dict[str, Any]]) -> dict[str, Any]:
            return next(stream)

        assert await asyncio.to_thread(first_of, Client(path).more(f"{TEST}.Endless"))
        await service.cancelled.wait()  # the iterator is gone, the connection with it
        await server.idle(0)


async def test_errors_of_the_service_are_raised_as_their_own_class(path: Path, service: Service) -> None:
    async with serving(path, service):
        blocking = Client(path)
        with pytest.raises(NoSuchRecording) as caught:
            await asyncio.to_thread(blocking.call, f"{TEST}.Fail", {"where": "first"})
        assert caught.value.fields == {"recording": "x"}
        with pytest.raises(ExpectedMore):
            await asyncio.to_thread(blocking.call, f"{TEST}.Watch")
        with pytest.raises(InvalidParameter):
            await asyncio.to_thread(blocking.call, f"{TEST}.Echo", {})
        with pytest.raises(NoSuchRecording):
            await asyncio.to_thread(list, blocking.more(f"{TEST}.Fail", {"where": "later"}))


async def test_a_refusal_is_read_although_the_call_could_not_be_sent(
    path: Path, service: Service, client: AsyncClient
) -> None:
    async with serving(path, service, limits=Limits(message_bytes=1000)):
        with pytest.raises(MessageTooLarge):
            await asyncio.to_thread(Client(path).call, f"{TEST}.Echo", {"text": "x" * (1 << 22)})
        with pytest.raises(MessageTooLarge):
            await client.call(f"{TEST}.Echo", {"text": "x" * (1 << 22)})
    async with serving(path, service, limits=Limits(connections=0)):
        with pytest.raises(TooManyConnections):
            await asyncio.to_thread(Client(path).call, f"{TEST}.Echo", {"text": "x"})
        with pytest.raises(TooManyConnections):
            await client.call(f"{TEST}.Echo", {"text": "x"})


def leave_nothing(path: Path) -> None:
    """No socket at all."""


def leave_a_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def leave_a_file_for_a_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize(
    ("leave", "why"),
    [
        (leave_nothing, "no such file or directory"),
        (leave_a_dead_socket, "connection refused"),
        (leave_a_file_for_a_folder, "not a directory"),
    ],
)
async def test_nobody_there(path: Path, client: AsyncClient, leave: Callable[[Path], None], why: str) -> None:
    leave(path)
    with pytest.raises(DaemonNotRunning) as caught:
        await asyncio.to_thread(Client(path).call, f"{TEST}.Echo", {"text": "x"})
    assert caught.value.fields == {"address": str(path), "why": why}
    with pytest.raises(DaemonNotRunning):
        await client.call(f"{TEST}.Echo", {"text": "x"})


GARBAGE = [b"", b'{"parameters":', b"hello\0", b"[]\0", b'{"parameters":5}\0', b"[" * 100_000 + b"\0", b"\xff\0"]


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
async def test_an_answer_that_is_none_is_a_lost_connection(path: Path, client: AsyncClient, answer: bytes) -> None:
    async with answering(path, answer, answer, answer):
        with pytest.raises(ConnectionLost):
            await asyncio.to_thread(Client(path).call, f"{TEST}.Echo", {"text": "x"})
        with pytest.raises(ConnectionLost):
            await asyncio.to_thread(list, Client(path).more(f"{TEST}.Watch"))
        with pytest.raises(ConnectionLost):
            await client.call(f"{TEST}.Echo", {"text": "x"})


@pytest.mark.parametrize("parameters", [b"{}", b'{"self":1}', b'{"uid":1,"self":1}', b'{"recording":"a","x":1}'])
async def test_errors_of_a_newer_service_keep_their_name(path: Path, client: AsyncClient, parameters: bytes) -> None:
    answer = b'{"error":"org.example.New","parameters":%s}\0' % parameters
    async with answering(path, answer, answer):
        with pytest.raises(RemoteError, match=r"org\.example\.New"):
            await asyncio.to_thread(Client(path).call, f"{TEST}.Echo", {"text": "x"})
        with pytest.raises(RemoteError, match=r"org\.example\.New"):
            await client.call(f"{TEST}.Echo", {"text": "x"})


async def test_a_silent_service_is_given_up(path: Path, service: Service, client: AsyncClient) -> None:
    async with serving(path, service):
        with pytest.raises(ConnectionLost, match="nothing came"):
            await asyncio.to_thread(Client(path, timeout=0.05).call, f"{TEST}.Wait")
        with pytest.raises(ConnectionLost, match="nothing came"):
            await client.call(f"{TEST}.Wait", timeout=0.05)
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as first:
        deaf.bind(str(path) + "2")
        deaf.listen(0)
        first.connect(str(path) + "2")  # fills the queue
        with pytest.raises(DaemonNotRunning, match="no answer in time"):
            await asyncio.to_thread(Client(Path(f"{path}2"), timeout=0.05).call, f"{TEST}.Wait")


def test_the_blocking_client_imports_next_to_nothing() -> None:
    """streamvaultctl pays for what this imports at each start."""
    code = "import sys, streamvaultd.varlink.client; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncio", "msgspec", "dataclasses", "inspect", "dbus_fast"} & set(modules)


# --- the asyncio client --------------------------------------------------------------------------------------------


async def test_calls_do_not_wait_for_each_other(path: Path, service: Service, client: AsyncClient) -> None:
    async with serving(path, service) as server:
        slow = asyncio.create_task(client.call(f"{TEST}.Wait"))
        await service.started.wait()
        assert await client.call(f"{TEST}.Echo", {"text": "quick"}) == {"text": "quick"}
        assert not slow.done()
        service.go.set()
        assert await slow == {}
        client.close()
        await server.idle(0)


async def test_one_connection_serves_calls_after_each_other(path: Path, service: Service, client: AsyncClient) -> None:
    async with serving(path, service) as server:
        for n in range(20):
            assert await client.call(f"{TEST}.Echo", {"text": str(n)}) == {"text": str(n)}
            assert server.connections == 1
        with pytest.raises(NoSuchRecording):
            await client.call(f"{TEST}.Fail", {"where": "first"})
        assert server.connections == 1


async def test_an_idle_connection_is_closed_after_its_time(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        client = AsyncClient(path, idle_seconds=0)
        await client.call(f"{TEST}.Echo", {"text": "x"})
        await server.idle(0)


async def test_the_next_call_after_a_restart_connects_again(path: Path, service: Service, client: AsyncClient) -> None:
    for _ in range(2):
        async with serving(path, service):
            assert await client.call(f"{TEST}.Echo", {"text": "x"}) == {"text": "x"}
    with pytest.raises(DaemonNotRunning):
        await client.call(f"{TEST}.Echo", {"text": "x"})


async def test_a_call_under_way_when_the_service_ends_is_lost(
    path: Path, service: Service, client: AsyncClient
) -> None:
    async with serving(path, service):
        call = asyncio.create_task(client.call(f"{TEST}.Wait"))
        await service.started.wait()
    with pytest.raises(ConnectionLost):
        await call


async def test_a_cancelled_call_hangs_up_and_leaves_the_client_usable(
    path: Path, service: Service, client: AsyncClient
) -> None:
    async with serving(path, service):
        call = asyncio.create_task(client.call(f"{TEST}.Wait"))
        await service.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await service.cancelled.wait()
        assert await client.call(f"{TEST}.Echo", {"text": "x"}) == {"text": "x"}


async def test_descriptors_travel_with_the_call_and_stay_the_callers(
    path: Path, service: Service, client: AsyncClient
) -> None:
    async with serving(path, service, limits=Limits(fds_per_message=1)):
        for text in ("one", "two"):  # on a fresh connection, then on the kept one
            reader, writer = os.pipe()
            os.write(writer, text.encode())
            assert await client.call(f"{TEST}.Fds", fds=[reader]) == {"texts": [text]}
            os.close(reader)
            os.close(writer)


# --- the varlink package, as an independent client -----------------------------------------------------------------


async def test_the_varlink_package_understands_the_server(path: Path, service: Service) -> None:
    def use() -> list[Any]:
        with varlink.Client(f"unix:{path}") as client, client.open(TEST, namespaced=False) as interface:
            found: list[Any] = [interface.Echo("hello", 2)["text"]]
            found += [reply["n"] for reply in interface.Count(3, _more=True)]
            with pytest.raises(varlink.VarlinkError) as caught:
                interface.Fail("first")
            return [*found, caught.value.error()]

    async with serving(path, service):
        expected = ["hellohello", 1, 2, 3, "io.streamvault.Recorder.NoSuchRecording"]
        assert await asyncio.to_thread(use) == expected
