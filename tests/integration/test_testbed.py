# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground that the other integration tests stand on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.testbed import layers
from tests.testbed.box import Box, BoxError
from tests.testbed.frames import count_frames
from tests.testbed.spaces import CGROUP_PREFIX, cgroup_mount

PID = os.getpid()


@pytest.fixture(scope="module")
def bare() -> Iterator[Box]:
    """A Debian without streamvaultd."""
    with Box(f"bare-{PID}", layers.base()) as booted:
        yield booted


def test_systemd_is_running(bare: Box) -> None:
    assert bare.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert bare.run(["systemctl", "show", "--property=NFailedUnits", "--value"]).stdout.strip() == "0"


def test_scopes_work(bare: Box) -> None:
    shown = bare.run(["systemd-run", "--scope", "--quiet", "--unit=probe.scope", "cat", "/proc/self/cgroup"])
    assert shown.stdout.strip().endswith("0::/system.slice/probe.scope")


def test_the_journal_is_the_boxes_own(bare: Box) -> None:
    bare.run(["systemd-cat", "--identifier=probe", "echo", "hello"])
    entry = bare.wait_journal("SYSLOG_IDENTIFIER=probe")
    assert entry["MESSAGE"] == "hello"
    assert entry["_HOSTNAME"] == bare.name


def test_a_box_leaves_nothing_behind() -> None:
    with Box(f"brief-{PID}", layers.base()) as brief:
        leader, folder = brief.leader, brief.root.folder
        assert folder.exists()
    assert not folder.exists()
    assert not (cgroup_mount() / f"{CGROUP_PREFIX}{brief.name}").exists()
    assert not Path(f"/proc/{leader}").exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    with pytest.raises(BoxError):
        brief.run(["true"])


def test_boxes_do_not_see_each_other(bare: Box) -> None:
    with Box(f"second-{PID}", layers.base()) as second:
        second.run(["touch", "/etc/mark"])
        assert second.path("/etc/mark").exists()
        assert not bare.path("/etc/mark").exists()


def test_streamlink_records_every_frame_of_a_broadcast(bare: Box, source: LiveSource, channel: str) -> None:
    recorder = bare.popen(
        ["streamlink", "--hls-live-edge", "99", "--output", "/root/out.ts", source.url(channel), "best"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    bare.wait_for(lambda: channel in source.channels and source.state(channel)["last"] >= 6, "14 s of broadcast")
    source.control(channel, end=True)
    assert recorder.wait(timeout=60) == 0
    frames = count_frames(
        bare.path("/root/out.ts"),
        source.channels[channel].media,
        first_segment=0,
        last_segment=source.state(channel)["last"],
    )
    assert frames.is_perfect, frames
    assert frames.expected >= 7 * 60


def test_the_package_installs_and_makes_its_user(deb: Path) -> None:
    with Box(f"package-{PID}", layers.installed(deb)) as installed:
        assert installed.run(["id", "--user", "--name", "_streamvault"]).stdout.strip() == "_streamvault"
        shown = installed.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "streamvaultd"])
        assert shown.stdout == "installed"
