# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of processes, as events: a pidfd becomes readable when its process is gone, whatever its parent is.

pidfd_open(2), and the exit record that the shim leaves in a pipe (shim.py tells its format).
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from streamvaultd.core import ranges
from streamvaultd.core.evidence import Evidence

Key = TypeVar("Key")
OnExit = Callable[[Key, bytes | None, int | None], None]

RECORD_MAX: Final = select.PIPE_BUF
CGROUP_ROOT: Final = Path("/sys/fs/cgroup")


class _ExitRecord(msgspec.Struct, rename="camel", frozen=True):
    status: int | None = None
    error: str | None = None
    oom_kills: int | None = None
    memory_peak: int | None = None
    memory_max: int | None = None
    max_rss: int | None = None
    user_usec: int | None = msgspec.field(default=None, name="userUSec")
    system_usec: int | None = msgspec.field(default=None, name="systemUSec")
    log: tuple[str, ...] = ()


def parse_exit_record(data: bytes | None) -> Evidence:
    """What a shim told; nothing, a torn record or garbage tell nothing, nor does a number that cannot be."""
    try:
        record = msgspec.json.decode(data or b"", type=_ExitRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Evidence()
    times = [usec for usec in (record.user_usec, record.system_usec) if usec is not None]
    found = Evidence(
        status=record.status,
        error=record.error,
        oom_kills=record.oom_kills,
        memory_peak=record.memory_peak,
        memory_max=record.memory_max,
        max_rss=record.max_rss,
        cpu_usec=sum(times) if times else None,
        log=record.log,
    )
    return ranges.told_by(found)


def take_record(exit_fd: int) -> bytes | None:
    """What is in the pipe now, without waiting; None when there is nothing. The descriptor stays open."""
    os.set_blocking(exit_fd, False)
    try:
        return os.read(exit_fd, RECORD_MAX) or None
    except BlockingIOError:
        return None


def last_words(exit_fd: int) -> Evidence:
    """What is in the pipe of a run that is over."""
    return parse_exit_record(take_record(exit_fd))


class ProcessWatch(Generic[Key]):
    """Calls back once, from the event loop, for each watched process that ends.

    Owns the descriptors it is given: they are closed once the end was told, or by forget() and close().
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[Key, tuple[int, int | None]] = {}

    def watch(self, key: Key, pidfd: int, exit_fd: int | None, on_exit: OnExit[Key]) -> None:
        """Call `on_exit(key, exit record or None, status or None)` when the process is gone.

        A child of ours is reaped, and `status` is how it ended; that of another's child cannot be known.
        """
        if key in self._watched:
            raise ValueError(f"{key} is watched already")
        self._watched[key] = (pidfd, exit_fd)
        self._loop.add_reader(pidfd, self._on_gone, key, on_exit)

    def pidfd(self, key: Key) -> int | None:
        """The pidfd of a watched process; still ours."""
        return self._watched[key][0] if key in self._watched else None

    def pid(self, key: Key) -> int | None:
        """The number of a watched process that lives."""
        pidfd = self.pidfd(key)
        return None if pidfd is None else pid_of(pidfd)

    def adopt(self, control_group: str) -> tuple[int, int] | None:
        """See adopt_pidfd()."""
        return adopt_pidfd(control_group)

    def forget(self, key: Key) -> None:
        """Stop watching; nothing is called back any more."""
        if (fds := self._watched.pop(key, None)) is not None:
            self._loop.remove_reader(fds[0])
            _close(fds)

    def close(self) -> None:
        """Forget everything."""
        for key in list(self._watched):
            self.forget(key)

    def _on_gone(self, key: Key, on_exit: OnExit[Key]) -> None:
        pidfd, exit_fd = self._watched[key]
        status = reap(pidfd)
        record = None if exit_fd is None else take_record(exit_fd)
        self.forget(key)
        on_exit(key, record, status)


def reap(pidfd: int) -> int | None:
    """Take the zombie away if it is a child of ours: its exit code, or minus the signal.

    None for a process that we adopted: it has another parent.
    """
    try:
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def adopt_pidfd(control_group: str, root: Path = CGROUP_ROOT) -> tuple[int, int] | None:
    """(pid, pidfd) of the shim that runs in a control group such as ``/a.slice/b.scope``; None if there is none."""
    try:
        pids = (root / control_group.lstrip("/") / "cgroup.procs").read_text().split()
    except OSError:
        return None
    for pid in pids:
        if (pidfd := _open_shim(pid, control_group, among=pids)) is not None:
            return int(pid), pidfd
    return None


def _open_shim(pid: str, control_group: str, among: list[str]) -> int | None:
    try:
        pidfd = os.pidfd_open(int(pid))
    except OSError:
        return None
    # The number may have gone to another process: what /proc tells counts only if the pidfd's process still lives.
    if _is_shim(Path("/proc") / pid, control_group, among) and not _has_ended(pidfd):
        return pidfd
    os.close(pidfd)
    return None


def _is_shim(process: Path, control_group: str, among: list[str]) -> bool:
    try:
        memberships = (process / "cgroup").read_text().splitlines()
        argv = (process / "cmdline").read_bytes().split(b"\0")
        status = (process / "status").read_text()
    except OSError:
        return False
    # Until its exec, a shim's child looks like the shim.
    parent = status.partition("\nPPid:")[2].split("\n", 1)[0].strip()
    is_shim = argv[1:3] == [b"-I", b"-S"] and argv[3].endswith(b"/shim.py")
    return is_shim and f"0::{control_group}" in memberships and parent not in among


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _close(fds: tuple[int, int | None]) -> None:
    for fd in fds:
        if fd is not None:
            os.close(fd)


def pid_of(pidfd: int) -> int | None:
    """The process of a pidfd (proc_pid_fdinfo(5)), None once it is gone."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    pids = [int(line.split()[1]) for line in lines if line.startswith("Pid:")]
    return pids[0] if pids and pids[0] > 0 else None
