# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a machine that lacks a part of what confines recordings."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from streamvaultd.scopes import confine, lacks
from streamvaultd.scopes.scratch import Scratch


def test_outside_of_a_unit_that_closes_networks_they_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "landlock_abi", lambda: confine.SIGNALS_SINCE)
    assert not lacks.are_networks_closed()
    assert lacks.Lacks().now == [lacks.NETWORKS_OPEN]


def test_a_unit_that_closes_networks_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(confine, "landlock_abi", lambda: confine.SIGNALS_SINCE)
    monkeypatch.setattr(socket.socket, "sendto", refuse)
    assert lacks.Lacks().now == []


def test_too_few_scratch_folders_are_told_while_it_is_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(confine, "landlock_abi", lambda: confine.SIGNALS_SINCE)
    found = lacks.Lacks(Scratch(tmp_path))
    found.scratch.give("streamvault-1-001", is_browser=False)
    assert found.now == [*found.always, *found.scratch.trouble()]
    assert len(found.now) == 2
    found.scratch.take_back("streamvault-1-001")
    assert found.now == found.always == [lacks.NETWORKS_OPEN]


def test_the_datagram_stays_on_this_machine() -> None:
    """Whoever listens to the group on another interface gets nothing; on loopback it comes by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(lacks.GROUP)
        member = socket.inet_aton(lacks.GROUP[0]) + socket.inet_aton("127.0.0.1")
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        listener.setblocking(False)
        assert not lacks.are_networks_closed()
        data, (sender, _) = listener.recvfrom(16)
    assert (data, sender) == (b"", "127.0.0.1")


def test_a_kernel_without_landlock_and_old_control_groups_are_seen_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confine, "landlock_abi", lambda: 0)
    landlock, groups = lacks.seen_from_outside(tmp_path / "none")
    assert "no Landlock" in landlock
    assert groups == lacks.OLD_GROUPS
    (tmp_path / "controllers").write_text("memory")
    monkeypatch.setattr(confine, "landlock_abi", lambda: confine.SIGNALS_SINCE)
    assert lacks.seen_from_outside(tmp_path / "controllers") == []
