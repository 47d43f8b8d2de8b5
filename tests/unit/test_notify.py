# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service manager gets to hear; a socket plays its part."""

from __future__ import annotations

import array
import os
import socket
import tempfile
import time
from collections.abc import Iterator

import pytest

from streamvaultd.base.sd_notify import STATUS_MAX, Notifier, stored_fds, watchdog_interval


@pytest.fixture(name="manager")
def _manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with (
        tempfile.TemporaryDirectory(prefix="notify-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found,
    ):
        found.bind(f"{folder}/socket")
        found.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/socket")
        yield found


def told(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


@pytest.fixture(name="notifier")
def _notifier(manager: socket.socket) -> Iterator[Notifier]:
    found = Notifier()
    yield found
    found.close()


def test_states(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("2 recordings")
    assert told(manager) == "READY=1\nSTATUS=2 recordings"
    notifier.status("3 recordings")
    assert told(manager) == "STATUS=3 recordings"
    notifier.feed_watchdog()
    assert told(manager) == "WATCHDOG=1"
    notifier.stopping("bye")
    assert told(manager) == "STOPPING=1\nSTATUS=bye"


def test_a_reload_says_when_it_began(manager: socket.socket, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = told(manager).splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line_of_any_script(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("Aufnahme läuft\nREADY=1 録画 🙂 \udcff")
    assert told(manager) == "STATUS=Aufnahme läuft READY=1 録画 🙂 ?"
    notifier.status("x" * 5000)
    assert len(told(manager)) == len("STATUS=") + STATUS_MAX


def test_descriptors_are_stored_and_removed(manager: socket.socket, notifier: Notifier) -> None:
    reader, writer = os.pipe()
    notifier.store_fd("exit-348-2", reader)
    message, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(4))
    assert message == b"FDSTORE=1\nFDNAME=exit-348-2\nFDPOLL=0"
    copy = array.array("i", ancillary[0][2])[0]
    os.write(writer, b"record")
    assert os.read(copy, 100) == b"record"
    notifier.remove_fd("exit-348-2")
    assert told(manager) == "FDSTOREREMOVE=1\nFDNAME=exit-348-2"
    for fd in (reader, writer, copy):
        os.close(fd)


def test_without_a_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("nobody listens")
    notifier.store_fd("exit-1-1", 0)
    notifier.close()
    assert stored_fds() == {}


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [("30000000", None, 15.0), ("30000000", "1", None), (None, None, None), ("nonsense", None, None)],
)
def test_the_watchdog_wants_to_be_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, interval: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_interval() == interval
