# SPDX-License-Identifier: GPL-3.0-or-later
"""A box: a Debian root with systemd as PID 1, in namespaces, on the host's network; boots in a second."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testbed import host
from tests.testbed.machine import Machine
from tests.testbed.spaces import PATH, Root, cache, enter_argv, enter_environment, kill_cgroup, make_cgroup, start_time

if TYPE_CHECKING:
    from types import TracebackType

BOOT_TIMEOUT = 180.0
STOP_TIMEOUT = 120.0
# Joins a cgroup first: what is run in a box must be part of its tree and not of ours.
JOIN = ["/bin/sh", "-c", 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"', "sh"]


class BoxError(Exception):
    """A box could not be booted or is not there."""


class Box(Machine):
    """One box; a context manager that boots it and leaves nothing of it behind.

    `layers` are the folders of the root, topmost first (see layers.py). A tethered box dies with the thread
    that booted it, whatever ends that; an untethered one stays until `close()` by any process that attaches
    to its name.
    """

    def __init__(self, name: str, layers: tuple[Path, ...] = (), *, tethered: bool = True) -> None:
        self.name = name
        self.root = Root(folder=cache() / "boxes" / name, lower=layers)
        self.tethered = tethered
        self.leader = 0
        self.pidfd = -1
        self.cgroup = Path()
        self.state = ""
        """systemd's word for it after the boot: running, degraded, …"""
        self.outer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Box:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def boot(self, *, strict: bool = True) -> None:
        """Boot it and wait until systemd has started all; `strict`: a unit that failed is an error."""
        if self.attach():
            raise BoxError(f"cannot boot box '{self.name}': it is running; 'stop {self.name}' ends it")
        self.root.create()
        for path, text in host.settings().items():
            self.root.write(path, text)
        self.root.write("/etc/machine-id", "")
        self.root.write("/etc/hostname", f"{self.name}\n")
        self._boot(strict=strict)

    def power_on(self) -> None:
        """Boot it again after `power_off()`: other namespaces and another boot ID, on the same files."""
        kill_cgroup(self.cgroup)
        self._boot(strict=True)

    def _boot(self, *, strict: bool) -> None:
        try:
            self._start()
            if strict:
                self._check_running()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.cgroup = make_cgroup(self.name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            # systemd tells its container manager that it is up; an abstract address is the same in the box,
            # because the network namespace is
            notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            notify.bind(f"\0{self.cgroup.name}")
            self.outer = self._spawn(f"@{self.cgroup.name}")
            self._wait_until_ready(notify, self.outer)
        self._save()
        self.state = self.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip()

    def _spawn(self, notify: str) -> subprocess.Popen[bytes]:
        environment = [f"PATH={PATH}", "container=streamvaultd-testbed", f"NOTIFY_SOCKET={notify}"]
        systemd = ["/usr/bin/env", "-i", *environment, "/usr/lib/systemd/systemd"]
        command = enter_argv(systemd, tethered=self.tethered)
        with (self.root.folder / "console.log").open("wb") as console:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=enter_environment(self.root, name=self.name, cgroup=self.cgroup),
                start_new_session=True,
            )

    def _wait_until_ready(self, notify: socket.socket, outer: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT
        outer_fd = os.pidfd_open(outer.pid)
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready, _, _ = select.select([notify.fileno(), outer_fd], [], [], left)
                if outer_fd in ready:
                    raise BoxError(f"cannot boot box '{self.name}': {self._console()}")
                if notify.fileno() in ready and self._read_notice(notify):
                    return
        finally:
            os.close(outer_fd)
        raise BoxError(f"cannot boot box '{self.name}': not ready after {BOOT_TIMEOUT} s: {self._console()}")

    def _read_notice(self, notify: socket.socket) -> bool:
        data, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(12))
        if self.leader == 0:
            # struct ucred: the kernel gives the sender's PID as we see it
            self.leader = int.from_bytes(control[0][2][:4], "little")
            self.pidfd = os.pidfd_open(self.leader)
        return b"READY=1" in data.split(b"\n")

    def _console(self) -> str:
        log = self.root.folder / "console.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "nothing was started"

    def _check_running(self) -> None:
        if self.state != "running":
            failed = self.run(["systemctl", "--no-pager", "--failed"], check=False).stdout
            raise BoxError(f"cannot boot box '{self.name}': it is {self.state}\n{failed}")

    def close(self) -> None:
        """Kill its PID 1, and with it everything inside; remove its cgroup and its files."""
        if self.pidfd >= 0:
            # PID 1 first: then unshare, its parent, reaps it, and no zombie is left to this host
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self._wait_gone()
        elif self.outer is not None:
            # it never told its PID 1: --kill-child takes that along
            self.outer.kill()
            self.outer.wait()
        if self.cgroup != Path():
            kill_cgroup(self.cgroup)
        self.root.remove()

    def power_off(self) -> None:
        """Shut it down in order, so that its root's upper layer is complete; `power_on()` or `close()` must follow."""
        self.run(["systemctl", "--no-block", "poweroff"])
        self._wait_gone()

    def _wait_gone(self) -> None:
        if not select.select([self.pidfd], [], [], STOP_TIMEOUT)[0]:
            raise BoxError(f"cannot stop box '{self.name}': its PID 1 is there after {STOP_TIMEOUT} s")
        os.close(self.pidfd)
        self.pidfd, self.leader = -1, 0
        if self.outer is not None:
            self.outer.wait()

    def _save(self) -> None:
        state = {
            "leader": self.leader,
            "started": start_time(self.leader),
            "cgroup": str(self.cgroup),
            "layers": [str(layer) for layer in self.root.lower],
        }
        new = self.root.folder / "state.new"
        new.write_text(json.dumps(state))
        new.replace(self.root.folder / "state.json")  # others read it while boxes come and go

    def attach(self) -> bool:
        """Find the running box of this name; what a dead one left behind is removed."""
        file = self.root.folder / "state.json"
        if not file.exists():
            return False
        state = json.loads(file.read_text())
        self.cgroup = Path(state["cgroup"])
        if start_time(state["leader"]) != state["started"]:
            self.close()
            self.cgroup = Path()
            return False
        self.leader = state["leader"]
        self.pidfd = os.pidfd_open(self.leader)
        return True

    @property
    def is_on(self) -> bool:
        return self.leader != 0

    def logs(self) -> list[Path]:
        return [self.root.folder / "console.log"]

    def argv(self, command: list[str]) -> list[str]:
        if not self.is_on:
            raise BoxError(f"cannot use box '{self.name}': it is not running")
        nsenter = ["nsenter", "--target", str(self.leader), "--all", "--wdns=/root"]
        # nsenter is the process that our caller knows: who kills it means the command
        tether = ["setpriv", "--pdeathsig", "KILL"]
        return [*JOIN, str(self.cgroup / "init.scope"), *nsenter, "--", *tether, "--", *command]

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self.leader}/root") / inside.lstrip("/")

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **host.environment()}

    def pause(self, seconds: float) -> None:
        if select.select([self.pidfd], [], [], seconds)[0]:
            raise BoxError(f"box '{self.name}' died")
