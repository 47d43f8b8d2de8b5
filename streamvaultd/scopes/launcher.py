# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts commands behind the shim's gate: nothing of a command runs before its scope holds the shim.

Blocking, for a few milliseconds (fork and exec of the shim); no asyncio. The executor runs it in a thread.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamvaultd.base.memory_file import memfd_with
from streamvaultd.core.names import PREFIX
from streamvaultd.scopes.ports import Command
from streamvaultd.scopes.scratch import Scratch

SHIM: Final = Path(__file__).resolve().with_name("shim.py")
JOURNAL: Final = "/run/systemd/journal/socket"
FIELD_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
CONTROLS: Final = dict.fromkeys([*range(0x20), 0x7F], " ")
ABANDON_LIMIT_MS: Final = 2000
UMASK: Final = 0o027


@dataclass(slots=True, kw_only=True)
class Spawned:
    """A shim that waits at its gate. Its holder owns the three descriptors and reaps the process by pidfd.

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

    `python` runs the shim and needs no packages; `journal` is the socket that gets the command's stderr; `scratch` has
    a folder for each command, `read` is what all of them may read besides the system.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        scratch: Scratch,
        read: Sequence[str] = (),
        python: str = sys.executable,
        journal: str = JOURNAL,
    ) -> None:
        self._environment = dict(environment)
        self._scratch = scratch
        self._read = tuple(read)
        self._python = python
        self._journal = journal

    def spawn(self, command: Command) -> Spawned:
        """Start a shim that will run the command once its gate opens.

        The command gets `stdin_fd` and `stdout_fd` (absent: /dev/null), and `extra_fds` under the same numbers; the
        caller keeps its own copies of all of them. `fields` go with each line of its stderr into the journal,
        `secrets` are struck out there. `label` shows in ps(1). OSError when no process or descriptor can be had.
        """
        try:
            return self._spawn(command)
        except BaseException:
            self._scratch.take_back(f"{PREFIX}{command.label}")
            raise

    def _spawn(self, command: Command) -> Spawned:
        context = memfd_with("streamvault-context", encode_context(self._journal, command.fields, command.secrets))
        rules = memfd_with("streamvault-rules", self._rules(command))
        gate, gate_fd = os.pipe()
        exit_fd, report = os.pipe()
        ours = [gate, report, context, rules]
        try:
            keep = ",".join(str(fd) for fd in command.extra_fds) or "-"
            numbers = [str(gate), str(report), str(context), keep, str(rules)]
            argv = [self._python, "-I", "-S", str(SHIM), command.label, *numbers, "--", *command.argv]
            pid, pidfd = self._start(argv, command, [*ours, *command.extra_fds])
        except BaseException:
            os.close(gate_fd)
            os.close(exit_fd)
            raise
        finally:
            for fd in ours:
                os.close(fd)
        return Spawned(pid=pid, pidfd=pidfd, gate_fd=gate_fd, exit_fd=exit_fd)

    def tidy(self, unit: str) -> None:
        """Take back the scratch folder of a unit of which nothing runs any more: its shim may have been killed."""
        self._scratch.take_back(unit.removesuffix(".scope"))

    def _rules(self, command: Command) -> str:
        """What the shim reads from RULES_FD."""
        rules = command.rules
        return json.dumps({
            "scratch": str(self._scratch.give(f"{PREFIX}{command.label}", is_browser=rules.browser)),
            "read": [*self._read, *rules.read],
            "write": rules.write,
            "network": rules.network,
            "browser": rules.browser,
            "spare": rules.spare,
        })  # fmt: skip

    def _start(self, argv: list[str], command: Command, fds: list[int]) -> tuple[int, int]:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if command.stdin_fd is None else command.stdin_fd,
            stdout=subprocess.DEVNULL if command.stdout_fd is None else command.stdout_fd,
            pass_fds=fds,
            start_new_session=True,
            cwd="/",
            umask=UMASK,
            env={**self._environment, **command.environment},
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
        "PYTHONUNBUFFERED": "1",  # what streamlink has written is in the file, no matter what kills it
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


def roots_of(programs: Iterable[str]) -> tuple[str, ...]:
    """What programs outside of the system's folders need to be read: themselves, and the Python they belong to.

    A Python installation or virtual environment is known by its pyvenv.cfg or lib/python3*; its `bin` holds the
    program, or what the program links to.
    """
    found: dict[str, None] = {}
    for program in programs:
        path = Path(shutil.which(program) or program)
        for each in {path, Path(os.path.realpath(path))}:
            prefix = each.parent.parent
            is_python = (prefix / "pyvenv.cfg").exists() or any(prefix.glob("lib/python3*"))
            found[str(prefix if is_python and prefix != Path("/") else each)] = None
    return tuple(path for path in found if not path.startswith("/usr/") and path != "/usr")


def own_roots() -> tuple[str, ...]:
    """Where this program and its Python are, unless in the system's folders."""
    package = str(Path(__file__).resolve().parents[2])
    return (*roots_of([sys.executable]), *(() if package.startswith("/usr/") else (package,)))


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
