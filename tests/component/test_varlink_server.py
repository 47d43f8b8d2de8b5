# SPDX-License-Identifier: GPL-3.0-or-later
"""The Varlink server on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.errors import SubscriberTooSlow
from streamvaultd.varlink.idl import ReplyMismatch
from streamvaultd.varlink.server import Limits, ServedInterface, read_definition
from streamvaultd.varlink.sockets import listen
from tests.component.varlink_service import SERVICE, TEST, Service, connected, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TEST


@pytest.fixture
def service() -> Service:
    return Service()


def error(name: str, **parameters: Any) -> dict[str, Any]:
    return {"error": name, "parameters": parameters}


def of_service(name: str, **parameters: Any) -> dict[str, Any]:
    return error(f"{SERVICE}.{name}", **parameters)


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        ({"method": f"{TEST}.Echo", "parameters": {"text": "a", "count": 2}}, {"parameters": {"text": "aa"}}),
        ({"method": f"{TEST}.Nothing"}, of_service("MethodNotFound", method=f"{TEST}.Nothing")),
        ({"method": "org.example.Other.Echo"}, of_service("InterfaceNotFound", interface="org.example.Other")),
        ({"method": "nonsense"}, of_service("InterfaceNotFound", interface="")),
        ({"method": f"{TEST}.Echo"}, of_service("InvalidParameter", parameter="text")),
        ({"method": f"{TEST}.Echo", "parameters": {"text": 5}}, of_service("InvalidParameter", parameter="text")),
        (
            {"method": f"{TEST}.Echo", "parameters": {"text": "a", "size": 5}},
            of_service("InvalidParameter", parameter="size"),
        ),
        ({"method": f"{TEST}.Unwritten"}, of_service("MethodNotImplemented", method=f"{TEST}.Unwritten")),
        (
            {"method": f"{TEST}.Wait", "upgrade": True},
            of_service("MethodNotImplemented", method=f"{TEST}.Wait"),
        ),
        ({"method": f"{TEST}.Watch"}, of_service("ExpectedMore")),
        ({"method": f"{TEST}.Count", "parameters": {"to": 3}}, {"parameters": {"n": 1}}),
        (
            {"method": f"{TEST}.Fail", "parameters": {"where": "first"}},
            error("io.streamvault.Recorder.NoSuchRecording", recording="x"),
        ),
        (
            {"method": f"{SERVICE}.GetInfo"},
            {
                "parameters": {
                    "vendor": "streamvault",
                    "product": "test",
                    "version": "1",
                    "url": "https://example.org/",
                    "interfaces": [SERVICE, TEST],
                }
            },
        ),
        (
            {"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": SERVICE}},
            {"parameters": {"description": read_definition(SERVICE)}},
        ),
        (
            {"method": f"{SERVICE}.GetInterfaceDescription", "parameters": {"interface": "a.b"}},
            of_service("InterfaceNotFound", interface="a.b"),
        ),
    ],
)
async def test_one_call_one_reply(path: Path, service: Service, call: dict[str, Any], reply: dict[str, Any]) -> None:
    async with serving(path, service), connected(path) as client:
        client.say(call)
        assert await client.hear() == reply | ({"parameters": {}} if "parameters" not in reply else {})


async def test_a_stream_gives_each_item_at_once_and_marks_the_last(path: Path, service: Service) -> None:
    async with serving(path, service), connected(path) as client:
        client.more("Count", to=3)
        assert [await client.hear() for _ in range(3)] == [
            {"parameters": {"n": 1}, "continues": True},
            {"parameters": {"n": 2}, "continues": True},
            {"parameters": {"n": 3}},
        ]
        client.more("Watch")
        for n in (1, 2):  # the handler has no second item while the first is heard
            service.items.put_nowait(n)
            assert await client.hear() == {"parameters": {"n": n}, "continues": True}


async def test_a_stream_may_end_with_an_error(path: Path, service: Service) -> None:
    async with serving(path, service), connected(path) as client:
        client.more("Fail", where="later")
        assert await client.hear() == {"parameters": {"n": 1}, "continues": True}
        assert (await client.hear())["error"] == "io.streamvault.Recorder.NoSuchRecording"
        client.call("Echo", text="still here")
        assert await client.hear() == {"parameters": {"text": "still here"}}


async def test_pipelined_calls_are_answered_in_order(path: Path, service: Service) -> None:
    async with serving(path, service), connected(path) as client:
        client.call("Wait")
        for n in range(200):
            client.call("Echo", text=str(n))
        await service.started.wait()
        assert service.echoed == []
        service.go.set()
        assert await client.hear() == {"parameters": {}}
        assert [(await client.hear())["parameters"]["text"] for _ in range(200)] == [str(n) for n in range(200)]


async def test_oneway_calls_are_carried_out_and_not_answered(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        async with connected(path) as client:
            echo = {"method": f"{TEST}.Echo", "oneway": True}
            client.say({**echo, "parameters": {"text": "one"}}, {**echo, "parameters": {}}, {"method": "a.B"})
            assert await client.hear() == of_service("InterfaceNotFound", interface="a")
            client.say({**echo, "parameters": {"text": "two"}})
        await server.idle(0)
        assert service.echoed == ["one", "two"]


async def test_a_client_that_hangs_up_cancels_its_call(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        async with connected(path) as client:
            client.call("Wait")
            client.call("Echo", text="never")
            await service.started.wait()
        await service.cancelled.wait()
        await server.idle(0)
        assert service.echoed == []


async def test_a_client_that_sends_no_more_still_gets_its_answers(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        async with connected(path) as client:
            client.more("Count", to=2)
            client.more("Watch")
            client.writer.write_eof()
            assert [(await client.hear())["parameters"]["n"] for _ in range(2)] == [1, 2]
            await service.started.wait()
            service.items.put_nowait(3)
            assert (await client.hear())["parameters"]["n"] == 3
        await service.cancelled.wait()
        await server.idle(0)


@pytest.mark.parametrize("garbage", [b"hello\0", b"[]\0", b"\0", b'{"method":5}\0', b"{}\0", b"\xff\xfe\0"])
async def test_garbage_ends_the_connection(path: Path, service: Service, garbage: bytes) -> None:
    async with serving(path, service) as server, connected(path) as client:
        client.writer.write(garbage)
        assert await client.hear_the_end() == b""
        await server.idle(0)


async def test_a_message_beyond_the_limit_is_answered_and_ends_the_connection(path: Path, service: Service) -> None:
    async with serving(path, service, limits=Limits(message_bytes=1000)), connected(path) as client:
        client.call("Echo", text="x" * 900)
        assert (await client.hear())["parameters"]["text"] == "x" * 900
        client.call("Echo", text="x" * 1000)
        assert await client.hear() == error("io.streamvault.Recorder.MessageTooLarge", limit=1000)
        assert await client.hear_the_end() == b""


@pytest.mark.parametrize(
    "limits", [Limits(connections=2), Limits(connections_per_uid=2, exempt_uid=-1)], ids=["all", "uid"]
)
async def test_connections_are_limited(path: Path, service: Service, limits: Limits) -> None:
    async with serving(path, service, limits=limits) as server:
        async with connected(path) as first, connected(path) as second:
            for client in (first, second):
                service.started.clear()
                client.call("Wait")
                await service.started.wait()
            async with connected(path) as third:
                assert await third.hear() == error("io.streamvault.Recorder.TooManyConnections", limit=2)
                assert await third.hear_the_end() == b""
            assert server.connections == 2
        await server.idle(0)
        async with connected(path) as fourth:
            fourth.call("Echo", text="in")
            assert await fourth.hear() == {"parameters": {"text": "in"}}


async def test_a_subscriber_who_is_too_slow_is_told_so_and_closed(path: Path, service: Service) -> None:
    async with serving(path, service), connected(path) as client:
        client.more("Watch")
        service.items.put_nowait(1)
        service.items.put_nowait(SubscriberTooSlow(backlog=3))
        assert await client.hear() == {"parameters": {"n": 1}, "continues": True}
        assert await client.hear() == error("io.streamvault.Recorder.SubscriberTooSlow", backlog=3)
        assert await client.hear_the_end() == b""


async def test_a_client_that_does_not_read_is_cut_off(path: Path, service: Service) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        async with serving(path, service, limits=Limits(write_seconds=0.05)) as server:
            sock.settimeout(0)
            await asyncio.get_running_loop().sock_connect(sock, str(path))
            sock.send(b'{"method":"org.example.Test.Endless","more":true}\0')
            await service.cancelled.wait()
            await server.idle(0)


async def call_until_the_service_ends(path: Path, service: Service, method: str) -> None:
    async with serving(path, service), connected(path) as client:
        client.call(method)
        await client.hear_the_end()
        await asyncio.get_running_loop().create_future()


async def test_a_defect_of_a_handler_ends_the_service(path: Path, service: Service) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await call_until_the_service_ends(path, service, "Broken")
    assert caught.group_contains(ZeroDivisionError)


async def test_a_wrong_reply_is_a_defect(path: Path, service: Service) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await call_until_the_service_ends(path, service, "WrongReply")
    assert caught.group_contains(ReplyMismatch)


def test_an_interface_has_no_handler_that_it_does_not_define() -> None:
    with pytest.raises(ValueError, match="Unheard"):
        ServedInterface(read_definition(SERVICE), {}, streaming=frozenset({"Unheard"}))


async def test_idle_is_the_time_without_a_connection(path: Path, service: Service) -> None:
    async with serving(path, service) as server:
        await server.idle(0)
        async with connected(path) as client:
            client.call("Echo", text="a")
            await client.hear()
            idle = asyncio.create_task(server.idle(0))
            client.call("Echo", text="b")
            await client.hear()
            assert not idle.done()
        await idle


def test_a_socket_left_behind_is_replaced_with_the_right_mode(path: Path) -> None:
    listen(path, 0o666).close()
    with listen(path, 0o660):
        assert path.stat().st_mode & 0o777 == 0o660


def pipe_with(text: str) -> int:
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    return reader


def send_with(sock: socket.socket, message: bytes, *texts: str) -> None:
    fds = [pipe_with(text) for text in texts]
    socket.send_fds(sock, [message], fds)
    for fd in fds:
        os.close(fd)


FDS_CALL = b'{"method":"org.example.Test.Fds"}\0'
WITH_FDS = Limits(fds_per_message=2)


async def heard(sock: socket.socket, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\0") < count:
        data += await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
    return data.split(b"\0")[:-1]


async def connected_socket(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(0)
    await asyncio.get_running_loop().sock_connect(sock, str(path))
    return sock


async def test_descriptors_belong_to_the_message_they_came_with(path: Path, service: Service) -> None:
    async with serving(path, service, limits=WITH_FDS) as server:
        with await connected_socket(path) as sock:
            sock.send(FDS_CALL)
            await heard(sock, 1)
            before = open_fds()
            sock.send(FDS_CALL)
            send_with(sock, FDS_CALL, "a", "b")
            send_with(sock, FDS_CALL[:10], "c")
            sock.send(FDS_CALL[10:] + FDS_CALL)
            send_with(sock, FDS_CALL, "d")
            texts = [b"[]", b'["a","b"]', b'["c"]', b"[]", b'["d"]']
            assert await heard(sock, 5) == [b'{"parameters":{"texts":%s}}' % each for each in texts]
            assert open_fds() == before
        await server.idle(0)


@pytest.mark.parametrize(("limit", "texts"), [(0, ["a"]), (1, ["a", "b"]), (1, ["a", "b", "c"]), (2, ["a", "b", "c"])])
async def test_surplus_descriptors_are_closed_and_end_the_connection(
    path: Path, service: Service, limit: int, texts: list[str]
) -> None:
    async with serving(path, service, limits=Limits(fds_per_message=limit)) as server:
        with await connected_socket(path) as sock:
            sock.send(FDS_CALL)
            await heard(sock, 1)
            before = open_fds()
            send_with(sock, FDS_CALL, *texts)
            assert await asyncio.get_running_loop().sock_recv(sock, 10) == b""
            await server.idle(0)
            assert open_fds() == before - 1  # the connection


async def test_descriptors_do_not_pile_up_in_an_unfinished_message(path: Path, service: Service) -> None:
    async with serving(path, service, limits=WITH_FDS) as server:
        with await connected_socket(path) as sock:
            sock.send(FDS_CALL)
            await heard(sock, 1)
            before = open_fds()
            for piece in (b"{", b'"', b"m"):
                send_with(sock, piece, "x")
            assert await asyncio.get_running_loop().sock_recv(sock, 10) == b""
            await server.idle(0)
            assert open_fds() == before - 1  # the connection
