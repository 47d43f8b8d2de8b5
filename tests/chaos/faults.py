# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults themselves: how each is done to a machine or a source, and which death it must be recorded as."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.schedule import Fault
    from tests.fakes.livesource import LiveSource
    from tests.testbed.machine import Machine

SMALL_DISK: Final = "/var/lib/streamvaultd/small"
"""Where the last recording goes: a file system of its own."""
SLOW_RATE: Final = 15_000
"""Bytes a second; the media have about twice as many."""

# Strikes a segment that surely runs: its scope has a shim and a streamlink. Arguments: recording, head or tail,
# what to do, signal, units to leave alone. Prints the unit; 3 when there is nothing to strike.
STRIKE: Final = r"""
cd /sys/fs/cgroup/streamvault.slice/streamvault-recordings.slice 2>/dev/null || exit 3
recording=$1 end=$2 verb=$3 signal=$4
shift 4
unit=$(ls -d streamvault-"$recording"-*.scope 2>/dev/null | "$end" -n 1)
[ -n "$unit" ] || exit 3
for spared in "$@"; do [ "$spared" != "$unit" ] || exit 3; done
for pid in $(cat "$unit/cgroup.procs"); do
    case "$(tr '\0' ' ' < "/proc/$pid/cmdline")" in
        *shim.py*) shim=$pid ;;
        ?*) streamlink=$pid ;;
    esac
done
[ -n "$shim" ] && [ -n "$streamlink" ] || exit 3
case "$verb" in
    streamlink) kill -s "$signal" "$streamlink" ;;
    shim) kill -s "$signal" "$shim" ;;
    scope-kill) systemctl kill --signal=KILL "$unit" ;;
    memory) systemctl set-property --runtime "$unit" MemoryMax=20M ;;
    scope-stop) systemctl stop --no-block "$unit" ;;
esac || exit 3
echo "$unit"
"""

# kind → what STRIKE does, the signal, and the cause that the death must be recorded with
DEATHS: Final = {
    "streamlink-kill": ("streamlink", "KILL", "signal:9"),
    "streamlink-term": ("streamlink", "TERM", "signal:15"),
    "streamlink-segv": ("streamlink", "SEGV", "signal:11"),
    "streamlink-abrt": ("streamlink", "ABRT", "signal:6"),
    "streamlink-stop": ("streamlink", "STOP", "stall"),
    "shim-kill": ("shim", "KILL", "signal:9"),
    "scope-kill": ("scope-kill", "KILL", "signal:9"),
    "scope-stop": ("scope-stop", "TERM", "signal:15"),
    # what streamlink holds cannot be written anywhere: the kernel kills it within a second
    "segment-oom": ("memory", "KILL", "oom"),
}
SHIM_DEATHS: Final = frozenset({"shim-kill", "scope-kill"})

# systemd watches over a service that has started; for the start itself there is TimeoutStartSec=.
FREEZE: Final = """
systemctl is-active --quiet streamvaultd.service &&
systemctl kill --signal=STOP --kill-whom=main streamvaultd.service
"""
POSTGRESQL: Final = "postgresql@17-main.service"
# One of the server's processes that is killed makes it end all connections and recover, by itself.
COMMANDS: Final = {
    "daemon-kill": ("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "streamvaultd.service"),
    "daemon-freeze": ("sh", "-c", FREEZE),
    "daemon-restart": ("systemctl", "restart", "--no-block", "streamvaultd.service"),
    "daemon-stop": ("systemctl", "stop", "--no-block", "streamvaultd.service"),
    "daemon-reload": ("systemctl", "reload", "--no-block", "streamvaultd.service"),
    "manager-reexec": ("systemctl", "daemon-reexec"),
    "broker-kill": ("systemctl", "kill", "--signal=KILL", "streamvault-brokerd.service"),
    "bus-restart": ("systemctl", "restart", "--no-block", "dbus.service"),
    "journal-restart": ("systemctl", "restart", "--no-block", "systemd-journald.service"),
    "postgresql-kill": ("systemctl", "kill", "--signal=KILL", POSTGRESQL),
    "postgresql-crash": ("pkill", "-KILL", "-f", "^postgres: .* _streamvault "),
    "postgresql-stop": ("systemctl", "stop", "--no-block", POSTGRESQL),
    "postgresql-restart": ("systemctl", "restart", "--no-block", POSTGRESQL),
    "postgresql-freeze": ("systemctl", "kill", "--signal=STOP", POSTGRESQL),
}
MAY_MISS: Final = frozenset(
    {
        *("daemon-kill", "daemon-freeze", "daemon-reload", "broker-kill"),
        *("postgresql-kill", "postgresql-crash", "postgresql-freeze"),
    }
)
"""What cannot be done to something that is not there at the moment."""
# A file system cannot promise its last blocks: what is left after a large file is written.
FILL_DISK: Final = r"""
cd "$1"
fallocate -l "$(($(df --output=avail --block-size=1 . | tail -n 1) - 2000000))" filler
cat /dev/zero > filler-2
"""
FREE_DISK: Final = ("rm", "-f", f"{SMALL_DISK}/filler", f"{SMALL_DISK}/filler-2")
ORDER_LIMIT: Final = "20"
UNANSWERED: Final = (3, 124)
"""Exit codes of an order that may or may not have arrived."""
START_POSTGRESQL: Final = ("systemctl", "start", "--no-block", POSTGRESQL)
UNDO: Final = {
    "daemon-stop": ("systemctl", "start", "--no-block", "streamvaultd.service"),
    "postgresql-kill": START_POSTGRESQL,
    "postgresql-stop": START_POSTGRESQL,
    "postgresql-freeze": ("systemctl", "kill", "--signal=CONT", POSTGRESQL),
}
"""What undoes a command that lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault as it happened, between two moments of this host's monotonic clock.

    `segment` and `cause` name the death that it must bring about, if any; `until` is when it was over.
    """

    kind: str
    recording: int | None
    before: float
    after: float
    until: float
    on: str = "all"
    segment: int | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One recording of the campaign."""

    name: str
    id: int


Undo = tuple[float, "Callable[[], None]"]
"""When it is due, and what to do."""


@dataclass(slots=True)
class Faults:
    """Does faults to a machine and its sources, and remembers what it did."""

    machine: Machine
    source: LiveSource
    targets: tuple[Target, ...]
    strikes: list[Strike] = field(default_factory=list)
    undo: list[Undo] = field(default_factory=list)
    injured: list[str] = field(default_factory=list)

    def do(self, fault: Fault) -> bool:
        """Do it; False when there was nothing to do it to, and it may be tried again."""
        before = time.monotonic()
        if fault.kind in DEATHS:
            return self._strike_segment(fault, before)
        if fault.kind == "rotate":
            return self._rotate(fault, before)
        if fault.kind == "disk-fill":
            return self._fill_disk(fault, before)
        if fault.kind.startswith("source-"):
            self._disturb(fault, before)
            return True
        return self._command(fault, before)

    def _note(self, fault: Fault, before: float, *, segment: int | None = None, cause: str | None = None) -> None:
        after = time.monotonic()
        self.strikes.append(
            Strike(
                kind=fault.kind,
                recording=fault.recording,
                before=before,
                after=after,
                until=before + fault.lasts if fault.lasts else after,
                on=fault.on,
                segment=segment,
                cause=cause,
            )
        )

    def _target(self, fault: Fault) -> Target:
        assert fault.recording is not None
        return self.targets[fault.recording]

    def _strike_segment(self, fault: Fault, before: float) -> bool:
        verb, signal, cause = DEATHS[fault.kind]
        end = "head" if fault.which == "oldest" else "tail"
        words = [str(self._target(fault).id), end, verb, signal, *self.injured]
        done = self.machine.run(["sh", "-c", STRIKE, "sh", *words], check=False)
        if done.returncode != 0:
            return False
        unit = done.stdout.strip()
        self.injured.append(unit)
        self._note(fault, before, segment=int(unit.removesuffix(".scope").rpartition("-")[2]), cause=cause)
        return True

    def _rotate(self, fault: Fault, before: float) -> bool:
        order = ["timeout", ORDER_LIMIT, "streamvaultctl", "rotate", self._target(fault).name]
        done = self.machine.run(order, check=False)
        if done.returncode in UNANSWERED:
            self._note(replace(fault, kind="rotate-unanswered"), before)
        elif done.returncode == 0:
            self._note(fault, before)
        return done.returncode in (0, *UNANSWERED)

    def _fill_disk(self, fault: Fault, before: float) -> bool:
        self.machine.run(["sh", "-c", FILL_DISK, "sh", SMALL_DISK], check=False)
        self.undo.append((before + fault.lasts, lambda: self._run(FREE_DISK)))
        self._note(fault, before)
        return True

    def _disturb(self, fault: Fault, before: float) -> None:
        kind = fault.kind.removeprefix("source-")
        order = {"fault": "404" if kind in ("flap", "gone") else kind, "on": fault.on, "rate": SLOW_RATE}
        self.source.control(self._target(fault).name, **order, for_=fault.lasts)
        self._note(fault, before)

    def _command(self, fault: Fault, before: float) -> bool:
        done = self.machine.run(list(COMMANDS[fault.kind]), check=fault.kind not in MAY_MISS)
        if done.returncode != 0:
            return False
        if fault.kind in UNDO:
            self.undo.append((before + fault.lasts, lambda: self._run(UNDO[fault.kind])))
        self._note(fault, before)
        return True

    def _run(self, command: tuple[str, ...]) -> None:
        self.machine.run(list(command))
