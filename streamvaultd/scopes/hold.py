# SPDX-License-Identifier: GPL-3.0-or-later
"""Holding the processes of a scope, and letting them go on: SIGSTOP and SIGCONT to all that are in its control group.

The freezer of control groups is systemd's, and freezing a unit needs root; these are our own processes. One that is
stopped all the same comes to its end: systemd lets those go on that it has sent a TERM (systemd.kill(5)).
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from streamvaultd.scopes.witnesses.cgroups import CGROUP_ROOT

ROUNDS: Final = 3
"""How often the group is looked at: a process may begin another one meanwhile."""


def hold(control_group: str, root: Path = CGROUP_ROOT) -> None:
    """Let no process of a control group go on. Those that are gone, or somebody else's, are left alone."""
    _send(control_group, signal.SIGSTOP, root)


def let_go(control_group: str, root: Path = CGROUP_ROOT) -> None:
    """Let all of them go on."""
    _send(control_group, signal.SIGCONT, root)


def _send(control_group: str, number: signal.Signals, root: Path) -> None:
    told: set[int] = set()
    for _ in range(ROUNDS):
        fresh = _members(control_group, root) - told
        if not fresh:
            return
        for pid in fresh:
            _send_one(pid, control_group, number, root)
        told |= fresh


def _send_one(pid: int, control_group: str, number: signal.Signals, root: Path) -> None:
    """By a pidfd, and only if it is in the group still: its number may have gone to another process."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if pid in _members(control_group, root):
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def _members(control_group: str, root: Path) -> set[int]:
    try:
        words = (root / control_group.lstrip("/") / "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return set()
    return {int(word) for word in words}
