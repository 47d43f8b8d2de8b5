# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots made of overlay layers, entered through namespaces (see enter.sh for what is mounted inside)."""

from __future__ import annotations

import os
import select
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ENTER = Path(__file__).with_name("enter.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
CGROUP_PREFIX = "streamvaultd-testbed-"


def cache() -> Path:
    """The folder of layers, media and boxes; its file system must carry an overlay's upper layer."""
    return Path(os.environ.get("STREAMVAULTD_TESTBED_CACHE", "/var/cache/streamvaultd-testbed"))


@dataclass(frozen=True, slots=True)
class Root:
    """One overlay: `lower` (topmost first) stay as they are, everything written goes to `folder`/upper."""

    folder: Path
    lower: tuple[Path, ...]

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    def create(self) -> None:
        """Make it empty; what an earlier user of the same folder left is removed."""
        self.remove()
        for name in ("root", "upper", "work"):
            (self.folder / name).mkdir(parents=True)
            # whatever the caller's umask: upper becomes "/"
            (self.folder / name).chmod(0o755)

    def remove(self) -> None:
        # nothing is mounted below: the mounts were private to namespaces that are gone
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, path: str, text: str) -> None:
        """Put a file into the upper layer, before the root is entered."""
        target = self.upper / path.lstrip("/")
        for parent in reversed(Path(path).parents[:-1]):
            folder = self.upper / str(parent).lstrip("/")
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        target.write_text(text)
        target.chmod(0o644)


def enter_argv(command: list[str], *, tethered: bool) -> list[str]:
    """argv that runs `command` as PID 1 inside; `tethered`: it all dies with the calling thread."""
    tether = ["setpriv", "--pdeathsig", "KILL"] if tethered else []
    spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    return [*tether, *spaces, "sh", str(ENTER), *command]


def enter_environment(
    root: Root, *, name: str, bind: tuple[Path, str] | None = None, cgroup: Path | None = None
) -> dict[str, str]:
    """What enter.sh reads."""
    environment = {
        "PATH": PATH,
        "ROOT": str(root.folder / "root"),
        "LOWER": ":".join(map(str, root.lower)),
        "UPPER": str(root.upper),
        "WORK": str(root.folder / "work"),
        "NAME": name,
    }
    if bind is not None:
        environment["BIND"] = f"{bind[0]}:{bind[1]}"
    if cgroup is not None:
        environment["CGROUP"] = str(cgroup)
    return environment


def cgroup_mount() -> Path:
    """Where this machine has its cgroup2 hierarchy (beside v1 controllers it is /sys/fs/cgroup/unified)."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise FileNotFoundError("cannot boot a box: no cgroup2 is mounted, see cgroups(7)")


def make_cgroup(name: str) -> Path:
    """A fresh cgroup with every controller that the hierarchy can pass on.

    In a container the top may have processes of its own, and passes none on: then the box works without limits.
    """
    top = cgroup_mount()
    for controller in (top / "cgroup.controllers").read_text().split():
        with suppress(OSError):
            (top / "cgroup.subtree_control").write_text(f"+{controller}")
    made = top / f"{CGROUP_PREFIX}{name}"
    made.mkdir(exist_ok=True)
    return made


def kill_cgroup(cgroup: Path, *, timeout: float = 30) -> None:
    """Kill whatever runs in it or below, wait until it is empty, and remove it."""
    if not cgroup.exists():
        return
    (cgroup / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + timeout
    with (cgroup / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while "populated 1" in events.read() and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            events.seek(0)
    for folder, _, _ in os.walk(cgroup, topdown=False):
        Path(folder).rmdir()


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: with the PID it names one process for ever; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
