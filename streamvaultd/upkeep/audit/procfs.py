# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of our user, as proc(5) shows them: their unit, their command line, and what they write to.

Blocking, a few short reads for each process. A process that ends meanwhile is left out.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from streamvaultd.core.names import ChatRun, Job, Run
from streamvaultd.core.upkeep.world import Process

PROC: Final = Path("/proc")
PROCESSES_MAX: Final = 4096
FDS_MAX: Final = 4096
ARGV_MAX: Final = 64 << 10

_UNIT: Final = re.compile(r"[^/]+\.(?:scope|service)", re.ASCII)
_START_FIELD: Final = 21
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def look_at_processes(proc: Path = PROC, *, uid: int | None = None) -> tuple[Process, ...]:
    """Every process of a user (of ours if None) except this one."""
    wanted = os.geteuid() if uid is None else uid
    own = os.getpid()
    home = _control_group(proc / "self")
    found: list[Process] = []
    for entry in proc.iterdir():
        if entry.name.isdecimal() and int(entry.name) != own and len(found) < PROCESSES_MAX:
            try:
                if entry.stat().st_uid == wanted:
                    found.append(_process(entry, home))
            except OSError:
                continue
    return tuple(found)


def _process(process: Path, home: str) -> Process:
    argv = tuple(
        word.decode(errors="replace") for word in (process / "cmdline").read_bytes()[:ARGV_MAX].split(b"\0") if word
    )
    # "PID (name) state ppid …": the name may hold anything, blanks and parentheses included
    fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    group = _control_group(process)
    unit = _unit(group)
    return Process(
        pid=int(process.name),
        parent=int(fields[1]),
        unit=unit,
        argv=argv or ("",),
        age=time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_START_FIELD - 2]) / _TICKS,
        run=Run.of(unit),
        job=Job.of(unit),
        chat=ChatRun.of(unit),
        is_ours=group == home,
        writes=_writes(process),
    )


def _control_group(process: Path) -> str:
    lines = (process / "cgroup").read_text(errors="replace").splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")


def _unit(group: str) -> str:
    """The innermost unit of a control group."""
    units = [part for part in group.split("/") if _UNIT.fullmatch(part)]
    return units[-1] if units else ""


def _writes(process: Path) -> frozenset[str]:
    """The regular files that a process may write to; none where we may not look."""
    found: set[str] = set()
    try:
        fds = sorted(entry.name for entry in (process / "fd").iterdir())[:FDS_MAX]
    except OSError:
        return frozenset()
    for fd in fds:
        try:
            target = str((process / "fd" / fd).readlink())
            if target.startswith("/") and not target.endswith(" (deleted)") and _is_writable(process, fd):
                found.add(target)
        except OSError:
            continue
    return frozenset(found)


def _is_writable(process: Path, fd: str) -> bool:
    lines = (process / "fdinfo" / fd).read_text().splitlines()
    flags = next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_RDONLY
