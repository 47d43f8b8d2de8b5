# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts commands behind the shim's gate: nothing of a command runs before its scope holds the shim.

Blocking, for a few milliseconds (fork and exec of the shim); no asyncio. The executor runs it in a thread.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHIM: Final = Path(__file__).resolve().with_name("shim.py")
JOURNAL: Final = "/run/systemd/journal/socket"
FIELD_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
CONTROLS: Final = dict.fromkeys([*range(0x20), 0x7F], " ")
ABANDON_LIMIT_MS: Final = 2000
UMASK: Final = 0o027


@dataclass(slots=True, kw_only=True)
class Spawned:
    """A shim that waits at its gate. Whoever holds this owns the three descriptors and reaps the process by pidfd.

    `exit_fd` is the read end of the pipe that gets the exit record.
    """

    pid: int
    pidfd: int
    gate_fd: int
    exit_fd: int

    def open_gate(self) -> None:
        """Let the command start. BrokenPipeError: the shim is gone already; its pidfd tells so too."""
        try:
            os.write(self.gate_fd, b"1")
        finally:
            os.close(self.gate_fd)
            self.gate_fd = -1

    def abandon(self) -> None:
        """End the shim before it started anything, reap it and close all descriptors."""
        os.close(self.gate_fd)
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if not poller.poll(ABANDON_LIMIT_MS):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        os.close(self.exit_fd)


class Launcher:
    """Spawns gated shims, with nothing of the daemon's own environment, descriptors, folder or session.

    `python` runs the shim and needs no packages; `journal` is the socket that gets the command's stderr.
    """

    def __init__(
        self, *, environment: Mapping[str, str], python: str = sys.executable, journal: str = JOURNAL
    ) -> None:
        self._environment = dict(environment)
        self._python = python
        self._journal = journal

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdin_fd: int | None = None,
        stdout_fd: int | None = None,
        extra_fds: Sequence[int] = (),
        fields: Mapping[str, str],
        label: str,
        secrets: Sequence[str] = (),
    ) -> Spawned:
        """Start a shim that will run `command` once its gate opens.

        The command gets `stdin_fd` and `stdout_fd` (absent: /dev/null), and `extra_fds` under the same numbers; the
        caller keeps its own copies of all of them. `fields` go with each line of its stderr into the journal,
        `secrets` are struck out there. `label` shows in ps(1). OSError when no process or descriptor can be had.
        """
        context = _memfd("streamvault-context", encode_context(self._journal, fields, secrets))
        gate, gate_fd = os.pipe()
        exit_fd, report = os.pipe()
        try:
            keep = ",".join(str(fd) for fd in extra_fds) or "-"
            argv = [self._python, "-I", "-S", str(SHIM), label, str(gate), str(report), str(context), keep]
            pid, pidfd = self._start([*argv, "--", *command], stdin_fd, stdout_fd, [gate, report, context, *extra_fds])
        except BaseException:
            os.close(gate_fd)
            os.close(exit_fd)
            raise
        finally:
            for fd in (gate, report, context):
                os.close(fd)
        return Spawned(pid=pid, pidfd=pidfd, gate_fd=gate_fd, exit_fd=exit_fd)

    def _start(self, argv: list[str], stdin_fd: int | None, stdout_fd: int | None, fds: list[int]) -> tuple[int, int]:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin_fd is None else stdin_fd,
            stdout=subprocess.DEVNULL if stdout_fd is None else stdout_fd,
            pass_fds=fds,
            start_new_session=True,
            cwd="/",
            umask=UMASK,
            env=self._environment,
        )
        pidfd = os.pidfd_open(process.pid)
        # The pidfd's holder reaps it; subprocess must neither wait for it nor miss it.
        process.returncode = 0
        return process.pid, pidfd


def clean_environment(home: Path) -> dict[str, str]:
    """What a command gets to see: nothing of ours. `home` is a private folder, which need not exist."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # what streamlink has written is in the file, whoever kills it
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


def memfd_with(name: str, text: str) -> int:
    """A descriptor of an anonymous file that holds `text`, at offset 0: how secrets reach a child."""
    return _memfd(name, text.encode())


def encode_context(journal: str, fields: Mapping[str, str], secrets: Sequence[str]) -> bytes:
    """What the shim reads from CONTEXT_FD; control characters in values become spaces.

    ValueError for a name that journald would refuse.
    """
    lines = []
    for name, value in fields.items():
        if not FIELD_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not the name of a journal field")
        lines.append(f"{name}={value.translate(CONTROLS)}\n")
    return "\0".join([journal, "".join(lines), *(secret for secret in secrets if secret)]).encode()


def _memfd(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd
