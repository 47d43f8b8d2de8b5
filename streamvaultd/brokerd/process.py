# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc says about the process behind a pidfd."""

from __future__ import annotations

import select
from pathlib import Path

from streamvaultd.brokerd import checks
from streamvaultd.errors import ProcessRefused


def inspect(pidfd: int, service_uid: int) -> int:
    """Return the PID of a process that may be moved, or raise ProcessRefused."""
    pid = checks.parse_pidfd(Path(f"/proc/self/fdinfo/{pidfd}").read_text("utf-8"))
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        cgroup = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace")
    except OSError as error:
        raise ProcessRefused(pid=pid, why="it has ended") from error
    # What was read is about this process only if it has not ended since, and its PID cannot have been reused
    require_alive(pidfd, pid)
    checks.check_status(status, pid, service_uid)
    checks.check_cgroup(cgroup, pid)
    return pid


def require_alive(pidfd: int, pid: int) -> None:
    """Raise ProcessRefused once the process has ended: its pidfd is readable then (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(0):
        raise ProcessRefused(pid=pid, why="it has ended")
