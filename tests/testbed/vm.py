# SPDX-License-Identifier: GPL-3.0-or-later
"""A vm: a Debian with a kernel of its own under QEMU, where memory, disks and power are real."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.testbed import vm_client
from tests.testbed import vm_wire as wire
from tests.testbed.machine import Machine
from tests.testbed.spaces import cache, start_time
from tests.testbed.vm_image import Image, ensure_image

if TYPE_CHECKING:
    from types import TracebackType

BOOT_TIMEOUT = 400.0
STOP_TIMEOUT = 120.0
NICENESS = "-5"
"""It gets more than its share: it is ten times slower than what runs beside it, as it is."""
# The kernel's messages go to the journal; the console is slow.
APPEND = (
    "console=ttyS0 root=/dev/nvme0n1 rw loglevel=3 net.ifnames=0 mitigations=off"
    " systemd.getty_auto=no systemd.show_status=no panic=-1"
)
"""Two processors of an emulator that see each other's changes of code late make a kernel panic now and then while it
boots ("Oops: int3"): it boots again at once."""
HOST_ADDRESS = "10.0.2.2"
"""This host's loopback, as a vm sees it."""
CONSOLE_TAIL = 3000


class VmError(Exception):
    """A vm could not be booted or is not there."""


class Vm(Machine):
    """One vm; a context manager that boots it and leaves nothing of it behind.

    `layers` are the folders of its root, topmost first; they need the kernel's (layers.py). What is written goes
    to a disk of its own, which lasts from `boot()` to `close()`, through any number of power cuts. A tethered vm
    dies with the thread that started it; an untethered one stays until `close()` by whoever attaches to its name.
    """

    between_looks = 0.4  # a look costs a tenth of a second of one of its processors
    patience = 5.0

    def __init__(
        self, name: str, layers: tuple[Path, ...] = (), *, tethered: bool = True, cpus: int = 2, memory: int = 2048
    ) -> None:
        self.name = name
        self.layers = layers
        self.tethered = tethered
        self.cpus = cpus
        self.memory = memory
        """MiB"""
        self.folder = cache() / "vms" / name
        self.image: Image | None = None
        self.boot_id = ""
        self.state = ""
        """systemd's word for it after the boot: running, degraded, …"""
        self.hub: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        """QEMU's; -1: it is powered off"""
        self.watch: _Watch | None = None

    def __enter__(self) -> Vm:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # power

    def boot(self, *, strict: bool = True) -> None:
        """Make its disk, power it on and wait until systemd has started all; `strict`: a failed unit is an error."""
        if self.attach():
            raise VmError(f"cannot boot vm '{self.name}': it is running; 'stop {self.name}' ends it")
        self.image = ensure_image(self.layers)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        backing = ["-b", str(self.image.disk), "-F", "raw"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, self.disk], check=True)
        try:
            self.power_on(strict=strict)
        except BaseException:
            self.close()
            raise

    def power_on(self, *, strict: bool = True) -> None:
        """Boot it again after `power_off()` or `cut_power()`, with its disk as it is."""
        self._start()
        self._wait_up(since="")
        self._check_running(strict=strict)

    def reboot(self, *, strict: bool = True) -> None:
        """Reboot in order, from inside."""
        before = self.boot_id
        self.run(["systemctl", "--no-block", "reboot"])
        self._wait_up(since=before)
        self._check_running(strict=strict)

    def power_off(self) -> None:
        """Shut it down in order; `power_on()` or `close()` follows."""
        self.run(["systemctl", "--no-block", "poweroff"])
        self._wait_gone(STOP_TIMEOUT)

    def cut_power(self) -> None:
        """Stop it between two instructions; `power_on()` may follow.

        Its disk has a volatile cache: what the guest has flushed (fsync) survives, of the rest some does, some not.
        """
        if self.pidfd >= 0:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self._wait_gone(STOP_TIMEOUT)

    def close(self) -> None:
        """Kill it and remove its disk."""
        self.cut_power()
        shutil.rmtree(self.folder, ignore_errors=True)

    def plug(self, *, connected: bool) -> None:
        """Connect or disconnect its network cable."""
        self.monitor("set_link", name="network", up=connected)

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Tell QEMU (QMP): "stop" and "cont" make it pause, "system_reset" is its reset button, …"""
        with _Watch(self.folder / "hub.sock", wire.MONITOR, {"execute": command, "arguments": arguments}) as asked:
            answer = asked.next(time.monotonic() + STOP_TIMEOUT)
        if "return" not in answer:
            raise VmError(f"cannot {command} vm '{self.name}': {answer}")
        return answer["return"]

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def is_on(self) -> bool:
        return self.pidfd >= 0 and not select.select([self.pidfd], [], [], 0)[0]

    def _qemu(self, image: Image) -> list[str]:
        accel = os.environ.get("STREAMVAULTD_TESTBED_ACCEL", "tcg,thread=multi,tb-size=512")
        network = "user,id=network,ipv6=off"
        return [
            *("qemu-system-x86_64", "-M", "q35"),
            *("-accel", accel, "-cpu", "Nehalem,+rdrand", "-smp", str(self.cpus), "-m", str(self.memory)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:console.log"),
            *("-kernel", str(image.kernel), "-append", f"{APPEND} systemd.hostname={self.name}"),
            *("-drive", "id=disk,file=disk.qcow2,format=qcow2,if=none,cache=writeback"),
            *("-device", "nvme,drive=disk,serial=disk"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile="),
            *("-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off"),
            *("-device", "virtserialport,id=port,chardev=agent,name=testbed.agent"),
        ]

    def _start(self) -> None:
        image = self.image
        if image is None or self.is_on:
            raise VmError(f"cannot start vm '{self.name}': {'it is on' if image else 'it was never booted'}")
        tether = ["setpriv", "--pdeathsig", "KILL", "--"] if self.tethered else []
        here = str(Path(__file__).resolve().parents[2])
        command = [*tether, "nice", "-n", NICENESS, sys.executable, "-m", "tests.testbed.vm_hub", *self._qemu(image)]
        (self.folder / "hub.sock").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, (self.folder / "qemu.log").open("ab") as log:
            with vm_client.address(self.folder / "hub.sock") as short:
                listener.bind(short)
            listener.listen(64)
            self.hub = subprocess.Popen(
                command,
                stdin=listener.fileno(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": here},
                start_new_session=True,
            )
        with suppress(OSError):  # a kernel that shares processors out by process, not by session
            Path(f"/proc/{self.hub.pid}/autogroup").write_text(NICENESS)
        state = {"hub": self.hub.pid, "started": start_time(self.hub.pid), "image": str(image.folder)}
        (self.folder / "state.json").write_text(json.dumps(state))
        self._connect()

    def _connect(self) -> None:
        self.watch = _Watch(self.folder / "hub.sock", wire.WATCH, None)
        event = self._next_event(time.monotonic() + BOOT_TIMEOUT)
        self.pidfd = os.pidfd_open(event["qemu"])
        self.boot_id = event.get("boot", "")

    def _next_event(self, deadline: float) -> dict[str, Any]:
        assert self.watch is not None
        try:
            return self.watch.next(deadline)
        except (TimeoutError, EOFError) as error:
            raise VmError(f"vm '{self.name}' {error}\n{self._log_tail()}") from None

    def _wait_up(self, *, since: str) -> None:
        """Until the agent of another boot than `since` has said hello."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while self.boot_id in ("", since):
            self.boot_id = self._next_event(deadline).get("boot", self.boot_id)

    def _check_running(self, *, strict: bool) -> None:
        waited = self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=BOOT_TIMEOUT)
        self.state = waited.stdout.strip()
        if strict and self.state != "running":
            failed = self.run(["systemctl", "--no-pager", "--failed"], check=False).stdout
            raise VmError(f"cannot boot vm '{self.name}': it is {self.state}\n{failed}{self._log_tail()}")

    def _wait_gone(self, timeout: float) -> None:
        if not select.select([self.pidfd], [], [], timeout)[0]:
            raise VmError(f"cannot stop vm '{self.name}': it is on after {timeout} s\n{self._log_tail()}")
        os.close(self.pidfd)
        self.pidfd, self.boot_id = -1, ""
        assert self.watch is not None
        self.watch.wait_end()
        self.watch = None
        if self.hub is not None:
            self.hub.wait()
            self.hub = None

    def _log_tail(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-CONSOLE_TAIL:] for log in self.logs() if log.exists())

    def attach(self) -> bool:
        """Find the running vm of this name; what a dead one left behind is removed."""
        file = self.folder / "state.json"
        if not file.exists():
            return False
        state = json.loads(file.read_text())
        if start_time(state["hub"]) != state["started"]:
            shutil.rmtree(self.folder, ignore_errors=True)
            return False
        self.image = Image(Path(state["image"]))
        self._connect()
        return True

    # what every machine can do

    def logs(self) -> list[Path]:
        return [self.folder / name for name in ("qemu.log", "console.log")]

    def argv(self, command: list[str]) -> list[str]:
        return vm_client.argv(self.folder / "hub.sock", command)

    def path(self, inside: str) -> Path:
        raise VmError(f"cannot show {inside} of vm '{self.name}' on this host: use fetch()")

    def reach(self, url: str) -> str:
        return url.replace("//127.0.0.1:", f"//{HOST_ADDRESS}:")

    def pause(self, seconds: float) -> None:
        if self.pidfd < 0 or select.select([self.pidfd], [], [], seconds)[0]:
            raise VmError(f"vm '{self.name}' is gone\n{self._log_tail()}")


class _Watch:
    """A connection to the hub that is told what happens."""

    def __init__(self, hub: Path, kind: int, order: Any) -> None:
        self.socket = vm_client.connect(hub)
        self.socket.sendall(wire.text(0, kind, order))
        self.parser = wire.Parser()
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> _Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def next(self, deadline: float) -> dict[str, Any]:
        """The next event."""
        while not self.events:
            if not select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("does not come up")
            if not (chunk := self._receive()):
                raise EOFError("has ended")
            self.events += [json.loads(payload) for _, _, payload in self.parser.feed(chunk)]
        return self.events.pop(0)

    def wait_end(self) -> None:
        """Until the hub has hung up."""
        while self._receive():
            pass
        self.socket.close()

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(wire.CHUNK)
        except ConnectionResetError:
            return b""
