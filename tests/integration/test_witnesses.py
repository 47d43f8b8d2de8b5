# SPDX-License-Identifier: GPL-3.0-or-later
"""Witnesses of deaths in the daemon as it is installed: the journal, and this machine's network.

A box has no memory controller, so the journal's witness is heard by what systemd-oomd leaves behind: it marks the
control group that it kills, and systemd says so when the group has ended. Nobody else tells this from another kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.notices import WITNESS_MISSING
from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl
from tests.integration.stories import causes, ends_well, kill, main_pid, wait_segments, wait_up, wait_writing
from tests.testbed.box import Box
from tests.testbed.machine import Machine

STORE = "/var/lib/streamvaultd/streamvaultd.sqlite"
# oomd/oomd-util.c: the marks, and then every process of the group, the shim included
OOMD_KILL = """
import os, pathlib, sys
group = "/sys/fs/cgroup" + sys.argv[1]
for mark in ("user.oomd_ooms", "user.oomd_kill"):
    os.setxattr(group, mark, b"1")
pathlib.Path(group, "cgroup.kill").write_text("1")
"""
# A neighbour, until it is stopped: far more lines than streamlinks say in a day.
FLOOD = """
while True:
    print("\\n".join(f"line {number} of a neighbour that has much to say" for number in range(1000)), flush=True)
"""


def oomd_kill(machine: Machine, recording: int, segment: int) -> None:
    unit = f"streamvault-{recording}-{segment:03d}.scope"
    group = machine.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    machine.run(["python3", "-c", OOMD_KILL, group])


@contextmanager
def flood(machine: Machine) -> Iterator[None]:
    # journald keeps the connections of its clients for its successor, if it had the time before it died
    for_ever = ["--property=Restart=always", "--property=RestartSec=100ms", "--property=StartLimitIntervalSec=0"]
    machine.run(["systemd-run", "--quiet", "--collect", "--unit=flood", *for_ever, "python3", "-c", FLOOD])
    try:
        yield
    finally:
        machine.run(["systemctl", "stop", "flood"])


@contextmanager
def drop_in(machine: Machine, text: str) -> Iterator[None]:
    """The daemon, restarted with other settings of its unit."""
    folder = "/run/systemd/system/streamvaultd.service.d"
    machine.run(["sh", "-c", f"mkdir -p {folder} && printf '[Service]\\n{text}\\n' > {folder}/test.conf"])
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "streamvaultd"])
    try:
        yield
    finally:
        machine.run(["rm", f"{folder}/test.conf"])
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "restart", "streamvaultd"])


def evidence_of(ctl: Ctl, name: str, segment: int) -> Any:
    """What is known of the end of a segment."""
    [end] = [end for end in ctl.json("why", name) if end["segment"] == segment]
    return end["evidence"]


def deaths(machine: Machine, recording: int) -> int:
    """How many were recorded; the store knows, the journal may be cut."""
    query = f"SELECT count(*) FROM events WHERE recording_id = {recording} AND kind = '{Notice.SEGMENT_DIED}'"  # noqa: S608
    return int(machine.run(["sqlite3", STORE, query]).stdout)


@pytest.fixture
def record(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> Callable[[str], int]:
    """Begins a recording that writes; its number."""

    def begin(name: str) -> int:
        ctl("record", source.url(channel), "--name", name)
        wait_writing(box, ctl, name, 1)
        return int(ctl.recording(name)["id"])

    return begin


def test_the_journal_tells_who_killed(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, record: Callable[[str], int]
) -> None:
    recording = record("told")
    oomd_kill(box, recording, 1)
    wait_segments(box, ctl, "told", ["oomd", None])
    evidence = evidence_of(ctl, "told", 1)
    assert (evidence["journalOOMD"], evidence["unitResult"]) == (True, "oom-kill")
    assert deaths(box, recording) == 1
    ends_well(box, ctl, source, channel, "told")


ROTATE = "journalctl --rotate"


def test_nothing_is_missed_while_the_journal_is_rotated_and_vacuumed(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, record: Callable[[str], int]
) -> None:
    recording = record("rotating")
    known: list[str | None] = []
    with flood(box):
        for command in (ROTATE, f"{ROTATE} && journalctl --vacuum-size=1", ROTATE):
            trouble = box.popen(["sh", "-c", command])
            oomd_kill(box, recording, len(known) + 1)
            _, errors = trouble.communicate(timeout=60)
            assert trouble.returncode == 0, errors
            known.append("oomd")
            wait_segments(box, ctl, "rotating", [*known, None])
    assert deaths(box, recording) == len(known)
    ends_well(box, ctl, source, channel, "rotating")


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_another_journald_is_heard(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, record: Callable[[str], int], signal: str
) -> None:
    """What systemd says while there is none that is ready goes to the kernel's log, which a box has not."""
    name = f"after-{signal.lower()}"
    recording = record(name)
    before = main_pid(box, "systemd-journald")
    with flood(box):
        kill(box, signal, before)
        box.wait_for(lambda: main_pid(box, "systemd-journald") not in (0, before), "journald is back")
        is_active = ["systemctl", "is-active", "systemd-journald"]
        box.wait_for(lambda: box.run(is_active, check=False).stdout == "active\n", "journald is ready")
        oomd_kill(box, recording, 1)
        wait_segments(box, ctl, name, ["oomd", None])
    assert deaths(box, recording) == 1
    ends_well(box, ctl, source, channel, name)


def test_what_was_said_while_there_was_no_daemon_is_heard(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, record: Callable[[str], int]
) -> None:
    recording = record("away")
    unit = f"streamvault-{recording}-001.scope"
    box.run(["systemctl", "stop", "streamvaultd.socket", "streamvaultd.service"])
    oomd_kill(box, recording, 1)
    box.wait_journal("MESSAGE_ID=d989611b15e44c9dbf31e3c81256e4ed", f"UNIT={unit}")
    # systemd, too, has forgotten it, and its shim was killed: only the journal knows
    box.run(["systemctl", "reset-failed", unit])
    box.run(["sh", "-c", ROTATE])
    box.run(["systemctl", "start", "streamvaultd.socket", "streamvaultd.service"])
    wait_up(box, ctl)
    wait_segments(box, ctl, "away", ["oomd", None])
    evidence = evidence_of(ctl, "away", 1)
    assert evidence["journalOOMD"]
    assert "unitResult" not in evidence
    assert deaths(box, recording) == 1
    ends_well(box, ctl, source, channel, "away")


def test_without_a_journal_recordings_go_on(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, record: Callable[[str], int]
) -> None:
    recording = record("deaf")
    with drop_in(box, "InaccessiblePaths=-/var/log/journal -/run/log/journal"):
        wait_up(box, ctl)
        invocation = box.run(
            ["systemctl", "show", "--property=InvocationID", "--value", "streamvaultd"]
        ).stdout.strip()
        ours = (f"MESSAGE_ID={WITNESS_MISSING.message_id}", f"_SYSTEMD_INVOCATION_ID={invocation}")
        box.wait_journal(*ours)
        oomd_kill(box, recording, 1)
        wait_segments(box, ctl, "deaf", ["oom", None])  # as far as systemd's result goes
        assert len(box.journal(*ours)) == 1
    # and it is heard in the end
    wait_up(box, ctl)
    box.wait_for(lambda: causes(ctl, "deaf")[0] == "oomd", "the journal is heard")
    assert deaths(box, recording) == 1
    ends_well(box, ctl, source, channel, "deaf")


def test_an_end_without_a_network_is_known_as_such(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """In a network of the daemon's own, which is loopback, and a link without a carrier."""
    with drop_in(box, "PrivateNetwork=yes"):
        wait_up(box, ctl)
        pid = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd"]).stdout.strip()
        own_network = ["nsenter", f"--target={pid}", "--net", "ip"]
        box.run([*own_network, "link", "add", "wan", "type", "veth"])
        box.run([*own_network, "link", "set", "wan", "up"])
        ctl("record", source.url(channel), "--name", "offline", check=False)
        box.wait_for(lambda: causes(ctl, "offline")[0] is not None, "it has failed")
        assert causes(ctl, "offline")[0] == "network"
        assert evidence_of(ctl, "offline", 1)["linkDown"]
