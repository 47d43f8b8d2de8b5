# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks on a real systemd: each call is one run of its unit, whatever the hook does, and whenever the daemon dies."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure
from tests.testbed.box import Box

FOLDER = "/var/lib/hooks"
# Boxes cannot mount credentials: these run as root, and read the file itself
UNIT = """
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=STREAMVAULT_FACTS=/run/streamvault-hooks/%i.json
ExecStart=/bin/sh -c '{command}'
TimeoutStartSec=8s
"""
COMMANDS = {
    "facts": f'echo %i >> {FOLDER}/runs; cp "$$STREAMVAULT_FACTS" {FOLDER}/%i.json; sleep 1',
    "bad": f"echo %i >> {FOLDER}/runs; exit 3",
    "hang": f"echo %i >> {FOLDER}/runs; sleep 1000",
    "flood": f"echo %i >> {FOLDER}/runs; yes no | head -c 2000000",
}
SAID = re.compile(r"Hook ([a-z]+) for ([a-z-]+) ")
HOOKS = """
[hooks]
recording_started = ["facts", "bad", "hang", "flood", "absent"]
segment_complete = ["facts"]
recording_complete = ["facts"]
before_prune = ["veto"]
"""


@pytest.fixture(scope="module", autouse=True)
def _hooked(box: Box) -> None:
    box.run(["mkdir", "-p", FOLDER])
    for name, command in COMMANDS.items():
        box.write_file(f"/etc/systemd/system/streamvault-hook-{name}@.service", UNIT.format(command=command))
    veto = UNIT.format(command=f"echo %i >> {FOLDER}/runs; test -e {FOLDER}/agreed")
    box.write_file("/etc/systemd/system/streamvault-hook-veto@.service", veto)
    box.run(["systemctl", "daemon-reload"])
    configure(box, SETTINGS + HOOKS)
    box.run(["systemctl", "restart", "streamvaultd"])


def runs(box: Box) -> list[str]:
    """The calls that ran, once for each run."""
    return box.run(["cat", f"{FOLDER}/runs"], check=False).stdout.split()


def ends(ctl: Ctl, name: str) -> list[tuple[str, str, str]]:
    """Hook, event and end of each call that is over."""
    found = [each for each in ctl.json("events", name) if each["kind"].startswith("hook-")]
    said = [(SAID.match(each["message"]), each["kind"]) for each in found]
    return sorted((match[1], match[2], kind) for match, kind in said if match is not None)


def facts(box: Box, call: str) -> Any:
    return json.loads(box.run(["cat", f"{FOLDER}/{call}.json"]).stdout)


def kill_daemon(box: Box) -> None:
    box.run(["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "streamvaultd"])


STARTED = [
    ("absent", "recording-started", "hook-failed"),
    ("bad", "recording-started", "hook-failed"),
    ("facts", "recording-started", "hook-done"),
    ("flood", "recording-started", "hook-done"),
    ("hang", "recording-started", "hook-failed"),
]


def test_each_call_runs_once_though_the_daemon_is_killed_and_hooks_misbehave(
    box: Box, ctl: Ctl, source: LiveSource
) -> None:
    source.go_live("hooked")
    ctl("record", source.url("hooked"), "--name", "hooked")
    for _ in range(4):  # before the first call, beside it, and after it
        box.wait_for(lambda: ctl("list", check=False).returncode == 0, "the daemon is there")
        kill_daemon(box)
    box.wait_for(lambda: ends(ctl, "hooked") == STARTED, "all have ended", timeout=60)
    assert ctl.state("hooked") == "recording"
    ctl("rotate", "hooked", "--wait")
    kill_daemon(box)
    box.wait_for(lambda: ("facts", "segment-complete", "hook-done") in ends(ctl, "hooked"), "one segment", timeout=90)
    source.control("hooked", end=True)
    whole = ("facts", "recording-complete", "hook-done")
    box.wait_for(lambda: whole in ends(ctl, "hooked"), "the whole", timeout=90)
    segments = [("facts", "segment-complete", "hook-done")] * len(ctl.segments("hooked"))
    assert ends(ctl, "hooked") == sorted([*STARTED, whole, *segments])
    told = runs(box)
    assert len(told) == len(set(told)) == len(STARTED) - 1 + 1 + len(segments)
    last = facts(box, told[-1])
    path = ctl.recording("hooked")["runtime"]["path"]
    assert (last["event"], last["streamer"], last["path"]) == ("recording-complete", "hooked", path)
    listed = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "streamvault-hook-*"]
    box.wait_for(lambda: box.run(listed).stdout == "", "all units are forgotten")
    assert box.run(["ls", "-A", "/run/streamvault-hooks"]).stdout == ""


def test_a_hook_before_a_removal_keeps_the_media_until_it_agrees(box: Box, ctl: Ctl) -> None:
    path = ctl.recording("hooked")["runtime"]["path"]
    refused = ctl("prune", "hooked", check=False)
    assert "hook veto before it failed" in refused.stdout + refused.stderr
    assert box.path(path).exists()
    box.run(["sed", "-i", "s/test -e .*agreed/true/", "/etc/systemd/system/streamvault-hook-veto@.service"])
    box.run(["systemctl", "daemon-reload"])
    again = ctl("prune", "hooked", check=False)
    assert "hook veto before it failed" in again.stdout + again.stderr  # what it said holds for five minutes
    assert box.path(path).exists()
