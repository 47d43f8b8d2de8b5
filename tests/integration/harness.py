# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with streamvaultd installed, as integration tests use it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.testbed.frames import FrameCount, count_frames

if TYPE_CHECKING:
    from tests.fakes.livesource import LiveSource
    from tests.testbed.machine import Machine

CONFIG = "/etc/streamvaultd/conf.d/test.toml"
# Short spans, so that an end is an end within seconds; each is within what streamvaultd.toml(5) allows.
SETTINGS = """
[recording]
grace = "5s"
outage = "10s"
start_timeout = "30s"
stall_timeout = "25s"
"""
# What is saved of a machine when a test fails: name of the file → command.
REPORTS = {
    "journal.txt": ["journalctl", "--no-pager", "--all", "--output=short-precise"],
    "recordings.json": ["streamvaultctl", "list", "--all", "--json=pretty"],
    "status.txt": ["streamvaultctl", "status", "--no-pager"],
    "units.txt": ["systemctl", "list-units", "--all", "--no-pager", "streamvault*"],
    "failed.txt": ["systemctl", "--failed", "--no-pager"],
    "files.txt": ["ls", "-laR", "/var/lib/streamvaultd"],
    "processes.txt": ["ps", "-eo", "pid,ppid,uid,stat,etime,rss,cgroup:60,args"],
}


class Ctl:
    """streamvaultctl in a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __call__(self, *args: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run it; a failure raises, with `check`."""
        return self.machine.run(["streamvaultctl", *args], check=check, timeout=timeout)

    def json(self, *args: str, timeout: float = 60) -> Any:
        """The daemon's answer."""
        return json.loads(self(*args, "--json=short", timeout=timeout).stdout)

    def recording(self, name: str) -> Any:
        """A recording as the daemon tells it: {"id", "context", "runtime"}."""
        return self.json("status", name)

    def segments(self, name: str) -> Any:
        """Its segments, oldest first."""
        return self.json("segments", name)

    def state(self, name: str) -> str:
        """Its state: recording, finalizing, completed, …"""
        return str(self.recording(name)["runtime"]["state"])


def configure(machine: Machine, settings: str = SETTINGS) -> None:
    """Write the test settings; they hold from the next start of the daemon on."""
    machine.write_file(CONFIG, settings)


def scopes(machine: Machine) -> list[str]:
    """The running scopes of segments, by name."""
    shown = machine.run(
        ["systemctl", "list-units", "--plain", "--no-legend", "--type=scope", "--state=active", "streamvault-*"]
    )
    return [line.split()[0] for line in shown.stdout.splitlines()]


def count(
    machine: Machine,
    path: str,
    source: LiveSource,
    channel: str,
    *,
    first_segment: int | None = None,
    last_segment: int | None = None,
) -> FrameCount:
    """Compare a file in the machine with what the channel has offered up to now, from its first frame on."""
    if last_segment is None:
        last_segment = source.state(channel)["last"]
    media = source.channels[channel].media
    with tempfile.TemporaryDirectory() as folder:
        fetched = machine.fetch(path, Path(folder) / Path(path).name)
        return count_frames(fetched, media, first_segment=first_segment, last_segment=last_segment)


def save_reports(machine: Machine, folder: Path) -> None:
    """Everything that may explain a failure, as far as the machine still answers."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in machine.logs():
        if log.exists():
            shutil.copy(log, folder)
    if not machine.is_on:
        return
    for name, command in REPORTS.items():
        try:
            done = machine.run(command, check=False, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            (folder / name).write_text(f"{error}\n")
        else:
            (folder / name).write_text(done.stdout + done.stderr)


def folder_name(test: str) -> str:
    """A test's name as a file name."""
    return urllib.parse.quote(test.replace("/", "."), safe=" .[]-_:")


def streamlink_pid(machine: Machine, unit: str) -> int:
    """The process in a segment's scope that is not the shim, as the machine numbers it."""
    group = machine.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    for pid in machine.run(["cat", f"/sys/fs/cgroup{group}/cgroup.procs"]).stdout.split():
        if "shim.py" not in machine.run(["cat", f"/proc/{pid}/cmdline"]).stdout:
            return int(pid)
    raise AssertionError(f"no streamlink in {unit}")
