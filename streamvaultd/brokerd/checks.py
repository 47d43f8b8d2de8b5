# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker allows. Pure functions: each returns what may be used, or raises the refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamvaultd.base.networks import Network, parse_network
from streamvaultd.core.names import DAEMON, JOBS_SLICE, RECORDINGS_SLICE, ChatRun, Job, Run
from streamvaultd.errors import InvalidParameter, LimitRefused, NameRefused, PeerRefused, ProcessRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

DESCRIPTION_CHARS_MAX = 200
PATH_BYTES_MAX = 4095  # PATH_MAX without its NUL
MEMORY_DEFAULT, MEMORY_MIN, MEMORY_MAX = 256 << 20, 32 << 20, 64 << 30
TASKS_DEFAULT, TASKS_MIN, TASKS_MAX = 64, 1, 4096
REACHABLE_MAX = 64
RUNTIME_MIN, RUNTIME_MAX = 60 * 1_000_000, 366 * 86_400 * 1_000_000

# Slices of the system, then the daemon's unit, then maybe groups below it: never below a user@.service
_DAEMON_GROUP = re.compile(rf"(/[^/]+\.slice)*/{re.escape(DAEMON)}(/.*)?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a scope: bytes, a number of tasks, and microseconds (None: for as long as it takes).

    `reachable` is what it may reach of the networks that are closed to scopes; a job reaches none at all unless it
    `has_network`.
    """

    memory_max: int
    tasks_max: int
    runtime_max_usec: int | None
    reachable: tuple[Network, ...] = ()
    has_network: bool = False


def check_peer(uid: int, service_uid: int, *, is_in_scope: bool) -> None:
    """What the broker has moved into a scope has the service's uid, too, and is not the service."""
    if uid != service_uid or is_in_scope:
        raise PeerRefused(uid=uid)


def slice_of(name: str) -> str:
    """Return the slice that a scope of this name belongs into; a name that is not ours is refused."""
    if Run.of(name) is not None or ChatRun.of(name) is not None:
        return RECORDINGS_SLICE
    if Job.of(name) is not None:
        return JOBS_SLICE
    raise NameRefused(value=name[:100], why="it is not the scope of a segment, a chat or a job")


def check_description(text: str) -> str:
    if not text or len(text) > DESCRIPTION_CHARS_MAX or not text.isprintable():
        raise InvalidParameter(parameter="description")
    return text


def check_limits(limits: Mapping[str, Any]) -> Bounds:
    memory_max = _bounded("memoryMax", limits.get("memoryMax"), MEMORY_MIN, MEMORY_MAX)
    tasks_max = _bounded("tasksMax", limits.get("tasksMax"), TASKS_MIN, TASKS_MAX)
    return Bounds(
        memory_max=MEMORY_DEFAULT if memory_max is None else memory_max,
        tasks_max=TASKS_DEFAULT if tasks_max is None else tasks_max,
        runtime_max_usec=_bounded("runtimeMaxUSec", limits.get("runtimeMaxUSec"), RUNTIME_MIN, RUNTIME_MAX),
        reachable=check_reachable(limits.get("reachable") or ()),
        has_network=bool(limits.get("hasNetwork")),
    )


def check_reachable(networks: Sequence[str]) -> tuple[Network, ...]:
    if len(networks) > REACHABLE_MAX:
        raise LimitRefused(limit="reachable", value=len(networks), why=f"more than {REACHABLE_MAX} networks")
    try:
        return tuple(parse_network(text) for text in networks)
    except ValueError:
        raise InvalidParameter(parameter="limits.reachable") from None


def _bounded(name: str, value: int | None, low: int, high: int) -> int | None:
    if value is not None and not low <= value <= high:
        raise LimitRefused(limit=name, value=value, why=f"it is not between {low} and {high}")
    return value


def check_path(path: str | None) -> str | None:
    """Return an absolute path in its shortest spelling, as systemd.unit(5) wants it, or None for none."""
    if path is None:
        return None
    parts = path.split("/")[1:]
    is_normal = path == "/" or not {"", ".", ".."} & set(parts)
    if not (path.startswith("/") and is_normal and path.isprintable()) or len(path.encode()) > PATH_BYTES_MAX:
        raise InvalidParameter(parameter="requiresMountsFor")
    return path


def mount_above(path: str, units: Iterable[str]) -> str | None:
    """The deepest mount point that the path is at or below, of these mount units; None if that is the root.

    A scope requires what is mounted already: named itself, the path would have systemd mount what fstab(5) holds back
    (noauto), at the wish of its caller. Names of units as in systemd.unit(5), "String Escaping".
    """
    found = [point for point in map(_mount_point, units) if path == point or path.startswith(f"{point}/")]
    return max(found, key=len, default=None)


def _mount_point(unit: str) -> str:
    name = unit.removesuffix(".mount")
    if name == "-":
        return "/"
    escaped = re.compile(rb"\\x([0-9a-f]{2})")
    path = escaped.sub(lambda match: bytes([int(match[1], 16)]), name.replace("-", "/").encode())
    return "/" + path.decode(errors="surrogateescape")


def check_fds(index: int, fds: Sequence[int]) -> int:
    """Return the one descriptor that came with the call."""
    if len(fds) != 1 or index != 0:
        raise ProcessRefused(pid=0, why="the call must carry one file descriptor, its index is 0")
    return fds[0]


def parse_pidfd(fdinfo: str) -> int:
    """Return the PID from /proc/self/fdinfo/N of a pidfd (pidfd_open(2)).

    Only a pidfd has a line "Pid:"; it is -1 after the end of the process, and 0 for one of another PID namespace.
    """
    match = re.search(r"^Pid:\t(-?[0-9]+)$", fdinfo, re.MULTILINE)
    if match is None:
        raise ProcessRefused(pid=0, why="the file descriptor is not a pidfd")
    pid = int(match[1])
    if pid <= 0:
        raise ProcessRefused(pid=pid, why="it has ended, or is not in this PID namespace")
    if pid == 1:
        raise ProcessRefused(pid=pid, why="it is the init process")
    return pid


def check_status(status: str, pid: int, service_uid: int) -> None:
    """Check /proc/PID/status (proc_pid_status(5)): a process, not a thread, all of whose uids are the service's."""
    fields = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
    if fields.get("Tgid") != str(pid) or fields.get("Pid") != str(pid):
        raise ProcessRefused(pid=pid, why="it is not a process")
    if set(fields.get("Uid", "").split()) != {str(service_uid)}:
        raise ProcessRefused(pid=pid, why=f"it does not belong to uid {service_uid} alone")


def check_cgroup(cgroup: str, pid: int) -> None:
    """Check /proc/PID/cgroup (cgroups(7)): the process must still be in the daemon's unit."""
    match = re.search(r"^0::(.*)$", cgroup, re.MULTILINE)
    if match is None or not _DAEMON_GROUP.fullmatch(match[1]):
        raise ProcessRefused(pid=pid, why=f"it is not in {DAEMON}")
