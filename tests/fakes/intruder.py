# SPDX-License-Identifier: GPL-3.0-or-later
"""What a streamlink that was taken over would try. Standard library only; it runs in place of streamlink.

    intruder.py JSON

The argument names what there is to reach: secret (a file), folder (of others' files), victim (a process of the same
user), sockets (Unix sockets, by name), own (a folder that may be written), group (the folder of its control group).
Prints one JSON object: for each attempt "reached", or the error that stopped it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """The attempt came to nothing, for this reason."""


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel; raises OSError."""
    result = int(LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def attach(pid: int) -> None:
    """ptrace(PTRACE_SEIZE)."""
    if LIBC.ptrace(0x4206, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_memory(pid: int) -> None:
    """Open the memory of another process."""
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))


def connect(address: str, family: socket.AddressFamily = socket.AF_UNIX) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.connect(address)


def send_journal() -> None:
    """A forged line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"MESSAGE=forged\n", "/run/systemd/journal/socket")


def notify_manager() -> None:
    """Tell systemd something."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"STATUS=forged\n", "/run/systemd/notify")


def read_by_vm(pid: int) -> None:
    """process_vm_readv(2) of a byte of its first mapping; where that cannot be known, of any address."""
    try:
        start = int(Path(f"/proc/{pid}/maps").read_text().split("-")[0], 16)
    except OSError:
        start = 1 << 22
    mine = ctypes.create_string_buffer(1)
    local, remote = struct.pack("QQ", ctypes.addressof(mine), 1), struct.pack("QQ", start, 1)
    syscall(310, pid, local, 1, remote, 1, 0)


def handle_of(path: str) -> None:
    """name_to_handle_at(2)."""
    syscall(303, -100, path.encode(), struct.pack("Ii", 128, 0) + bytes(128), ctypes.create_string_buffer(8), 0)


def watch(folder: Path) -> None:
    """inotify(7): the names of what comes and goes."""
    fd = syscall(294, 0)
    try:
        syscall(254, fd, str(folder).encode(), 0x100)
    finally:
        os.close(fd)


def forge_record() -> None:
    """Write an exit record into whatever pipe it may have inherited."""
    for fd in range(3, 1024):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b'{"status":0}\n')
                return
        except OSError:
            continue
    raise Stopped("it has no pipe")


def limit(pid: int) -> None:
    """Take another process's descriptors away."""
    import resource

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))


def have_descriptors() -> None:
    """As many as the daemon may pass at a time: its user's count is one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.close(os.dup2(0, 4999))


def open_own(folder: str) -> int:
    """A file as the one is that a segment writes to."""
    return os.open(f"{folder}/own", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def write_anywhere(folder: str) -> None:
    """Not at the end alone: over what is there, or far behind it."""
    import fcntl

    fcntl.fcntl(open_own(folder), fcntl.F_SETFL, 0)


def follow_link(link: Path, target: str) -> None:
    link.symlink_to(target)
    link.read_bytes()


def attempts(there: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Everything that is tried, by name."""
    secret, folder, victim = there["secret"], Path(there["folder"]), int(there["victim"])
    return {
        "read a file of the service": lambda: Path(secret).read_bytes(),
        "list a folder": lambda: os.listdir(folder),  # noqa: PTH208 - what is tried is the call
        "overwrite a file": lambda: os.close(os.open(secret, os.O_WRONLY)),
        "truncate a file": lambda: os.truncate(secret, 0),
        "make a file": lambda: (folder / "new").write_bytes(b""),
        "link a file into its own folder": lambda: os.link(secret, f"{there['own']}/linked"),
        "follow a link of its own": lambda: follow_link(Path(there["own"], "link"), secret),
        "set an attribute": lambda: os.setxattr(secret, "user.x", b"x"),
        "change a file's mode": lambda: Path(secret).chmod(0),
        "change a file's times": lambda: os.utime(secret),
        "write to /dev/shm": lambda: Path("/dev/shm/intruder").write_bytes(b"x"),
        "write to /tmp": lambda: Path("/tmp/intruder").write_bytes(b"x"),
        "write to /run": lambda: Path("/run/intruder").write_bytes(b"x"),
        "write to /run/lock": lambda: Path("/run/lock/intruder").write_bytes(b"x"),
        "write to /var/tmp": lambda: Path("/var/tmp/intruder").write_bytes(b"x"),
        "watch a folder": lambda: watch(folder),
        "take a file's handle": lambda: handle_of(secret),
        "signal another process": lambda: os.kill(victim, signal.SIGCONT),
        "signal another process by its pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(victim), signal.SIGCONT),
        "read another process's memory": lambda: read_by_vm(victim),
        "compare itself with another process": lambda: syscall(312, os.getpid(), victim, 1, 0, 0),
        "renice another process": lambda: os.setpriority(os.PRIO_PROCESS, victim, 5),
        "choose another process's processors": lambda: os.sched_setaffinity(victim, os.sched_getaffinity(victim)),
        "make another process the first to be killed": lambda: Path(f"/proc/{victim}/oom_score_adj").write_text("999"),
        "limit another process": lambda: limit(victim),
        "trace another process": lambda: attach(victim),
        "open another process's memory": lambda: read_memory(victim),
        "read another process's environment": lambda: Path(f"/proc/{victim}/environ").read_bytes(),
        "read another process's command line": lambda: Path(f"/proc/{victim}/cmdline").read_bytes(),
        "reach another process's files": lambda: os.listdir(f"/proc/{victim}/fd"),  # noqa: PTH208
        "take another process's descriptor": lambda: syscall(438, os.pidfd_open(victim), 0, 0),
        "move a process into its group": lambda: Path("/sys/fs/cgroup/cgroup.procs").write_text(str(victim)),
        **{f"reach {name}": partial(connect, path) for name, path in there["sockets"].items()},
        "tell systemd something": notify_manager,
        "write a line into the journal": send_journal,
        "reach the system bus": lambda: connect("/run/dbus/system_bus_socket"),
        "make a keyring": lambda: syscall(250, 0, -1, 1),
        "have thousands of descriptors": have_descriptors,
        "cut a file that it writes": lambda: os.ftruncate(open_own(there["own"]), 0),
        "give a file that it writes a size": lambda: syscall(285, open_own(there["own"]), 0, 0, 4096),
        "write elsewhere than at the end": lambda: write_anywhere(there["own"]),
        "set up io_uring": lambda: syscall(425, 1, ctypes.create_string_buffer(256)),
        "mount a file system": lambda: syscall(165, b"none", there["own"].encode(), b"tmpfs", 0, None),
        "enter another's namespaces": lambda: syscall(308, os.pidfd_open(victim), 0x00020000),
        "make a shared memory segment": lambda: syscall(29, 0, 4096, 0o1600),
        "make a semaphore": lambda: syscall(64, 0, 1, 0o1600),
        "make a message queue": lambda: syscall(68, 0, 0o1600),
        "make a POSIX queue": lambda: syscall(240, b"intruder", os.O_CREAT | os.O_RDWR, 0o600, 0),
        "make a user namespace": lambda: syscall(272, 0x10000000),
        "raise its own memory limit": lambda: Path(there["group"], "memory.max").write_text("max"),
        "forge an exit record": forge_record,
        "execute a file of its own": lambda: execute_own(there["own"]),
        "remove a file": lambda: Path(secret).unlink(),
    }  # fmt: skip


def execute_own(folder: str) -> None:
    """Bring a program and run it; one needs the right to execute in a folder that may be written."""
    program = Path(folder, "program")
    fd = os.open(program, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)  # its mode it could not change
    os.write(fd, b"#!/bin/sh\nexit 0\n")
    os.close(fd)
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"exec {program}"], {})
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise Stopped(f"status {status}")


def result_of(attempt: Callable[[], object]) -> str:
    """What became of it."""
    try:
        attempt()
    except (OSError, ValueError, Stopped) as error:
        return str(error)
    return "reached"


def main() -> None:
    """Try everything, and say what was reached."""
    there = json.loads(sys.argv[1])
    there["own"] = there["own"] or os.environ["HOME"]
    print(json.dumps({name: result_of(attempt) for name, attempt in attempts(there).items()}))


if __name__ == "__main__":
    main()
