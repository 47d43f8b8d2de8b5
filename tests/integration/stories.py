# SPDX-License-Identifier: GPL-3.0-or-later
"""What stories about recordings in a box have in common: what they wait for, what they do to it, and how they end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.harness import Ctl, count, scopes

if TYPE_CHECKING:
    from tests.fakes.livesource import LiveSource
    from tests.testbed.machine import Machine


def wait_up(machine: Machine, ctl: Ctl) -> None:
    """Until the daemon answers."""
    machine.wait_for(lambda: ctl("list", check=False).returncode == 0, "the daemon is there", timeout=30)


def wait_segments(machine: Machine, ctl: Ctl, name: str, causes: list[str | None], *, timeout: float = 40) -> None:
    """Until the segments of a recording have ended so, and the last one writes; if not, the error tells how it was."""
    seen: list[dict[str, Any]] = []

    def is_so() -> bool:
        seen[:] = ctl.segments(name)
        *ended, newest = seen
        are_over = all("endedAt" in segment for segment in ended) and newest["phase"] == "writing"
        return are_over and [segment.get("cause") for segment in (*ended, newest)] == causes

    machine.wait_for(is_so, f"{name} has segments {causes}", timeout=timeout, seen=seen)


def wait_writing(machine: Machine, ctl: Ctl, name: str, number: int, *, timeout: float = 40) -> None:
    """Until this segment is the newest and writes."""

    def is_so() -> bool:
        newest = ctl.segments(name)[-1]
        return bool(newest["number"] == number and newest["phase"] == "writing")

    machine.wait_for(is_so, f"segment {number} of {name} writes", timeout=timeout)


def rotation_due(ctl: Ctl, name: str) -> float:
    """When the running segment is as old as it may become: CLOCK_MONOTONIC, seconds."""
    due: int = ctl.recording(name)["runtime"]["rotationDueAt"]["monotonic"]
    return due / 1e6


def wait_instant(machine: Machine, instant: float) -> None:
    """Until CLOCK_MONOTONIC, which boxes share with this host, is past an instant."""
    machine.wait_for(lambda: time.monotonic() > instant, "time goes on", timeout=instant - time.monotonic() + 5)


def ends_well(machine: Machine, ctl: Ctl, source: LiveSource, channel: str, name: str) -> None:
    """The broadcast ends, its segments are joined, and every frame of it is there once."""
    source.control(channel, end=True)
    machine.wait_for(lambda: ctl.state(name) == "completed", f"{name} is complete", timeout=60)
    frames = count(machine, ctl.recording(name)["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def causes(ctl: Ctl, name: str) -> list[str | None]:
    """Why its segments ended; None is one that has not."""
    return [segment.get("cause") for segment in ctl.segments(name)]


def kill(machine: Machine, signal: str, *pids: int) -> None:
    """Send a signal to processes, as the machine numbers them."""
    machine.run(["kill", f"-{signal}", *map(str, pids)])


def process_state(machine: Machine, pid: int) -> str:
    """R, S, T, Z … (proc_pid_stat(5)); "" when there is no such process."""
    shown = machine.run(["cat", f"/proc/{pid}/stat"], check=False).stdout
    return shown.rpartition(")")[2].split()[0] if shown else ""


def wait_process_state(machine: Machine, pid: int, state: str) -> None:
    """Until a process is in this state."""
    machine.wait_for(lambda: process_state(machine, pid) == state, f"process {pid} is {state!r}")


def wait_gone(machine: Machine, *pids: int) -> None:
    """Until there are no such processes, zombies included."""
    machine.wait_for(lambda: not any(process_state(machine, pid) for pid in pids), f"processes {pids} are gone")


def wait_scopes(machine: Machine, *units: str) -> None:
    """Until these, in this order, are the scopes that run: systemd hears of an empty control group a moment later."""
    machine.wait_for(lambda: scopes(machine) == [*units], f"{units or 'none'} are the scopes that run")


def main_pid(machine: Machine, unit: str = "streamvaultd") -> int:
    """The main process of a service."""
    return int(machine.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout)


def told(machine: Machine, entry: Any, recording: int) -> list[str]:
    """The messages of one kind about a recording."""
    found = machine.journal(f"MESSAGE_ID={entry.message_id}", f"STREAMVAULT_RECORDING={recording}")
    return [each["MESSAGE"] for each in found]


def files_of(machine: Machine, folder: str) -> dict[str, int]:
    """Files below a folder, by name, with their sizes; manifests are left out."""
    which = ["-type", "f", "-not", "-name", ".stream_*.json*", "-printf", "%p %s\n"]
    lines = machine.run(["find", folder, *which], check=False).stdout.splitlines()
    return {Path(path).name: int(size) for path, _, size in (line.rpartition(" ") for line in lines)}
