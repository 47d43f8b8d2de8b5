# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's service and the daemon's adapter for it, over a real socket with real pidfds; systemd is a fake."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.brokerd import checks, process, service
from streamvaultd.brokerd.systemd_manager import Properties
from streamvaultd.core.model import ScopeLimits
from streamvaultd.core.names import HookUnit
from streamvaultd.errors import (
    InvalidParameter,
    JobFailed,
    LimitRefused,
    NameRefused,
    NoSuchUnit,
    PeerRefused,
    ProcessRefused,
    ScopeFailed,
    UnitExists,
    VaultError,
)
from streamvaultd.scopes.broker import Scopes, StartedScope
from streamvaultd.varlink.server import Info, Limits, Server
from streamvaultd.varlink.sockets import listen

UNIT = "streamvault-7-001.scope"


class FakeSystemd:
    """Knows scopes by name; a job ends at once, or when `go` is set."""

    def __init__(self) -> None:
        self.scopes: dict[str, tuple[Properties, int]] = {}
        self.failure: VaultError | None = None
        self.started: list[str] = []
        self.stopping = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def start(self, unit: str, properties: Properties, *, pidfd: int, pid: int) -> tuple[str, str]:
        await self.go.wait()
        process.require_alive(pidfd, pid)
        if unit in self.scopes:
            raise UnitExists(unit=unit)
        self.scopes[unit] = (properties, pid)
        return f"/streamvault.slice/{unit}", "0123456789abcdef"

    async def mounts(self) -> list[str]:
        return ["-.mount", "srv.mount"]

    async def stop(self, unit: str) -> None:
        self.stopping.set()
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        if self.scopes.pop(unit, None) is None:
            raise NoSuchUnit(unit=unit)

    async def reset_failed(self, unit: str) -> None:
        if self.scopes.pop(unit, None) is None:
            raise NoSuchUnit(unit=unit)

    async def describe(self, unit: str) -> dict[str, Any]:
        return HOOK | {"Id": unit}

    async def enqueue(self, unit: str) -> str:
        self.started.append(unit)
        return "0123456789abcdef"


HOOK: dict[str, Any] = {
    "LoadState": "not-found", "FragmentPath": "", "DropInPaths": [], "Transient": False, "Type": "simple",
    "RemainAfterExit": False, "ActiveState": "inactive", "SubState": "dead", "Job": False,
}  # fmt: skip


async def test_no_unit_is_started_that_is_no_hook(path: Path, systemd: FakeSystemd, scopes: Scopes) -> None:
    async with brokering(path, systemd):
        for unit in (HookUnit("nas", 17), HookUnit("../x", 17), HookUnit("", 1), HookUnit("nas", 0)):
            with pytest.raises(NameRefused):
                await scopes.start_hook(unit, "{}")
        with pytest.raises(InvalidParameter):
            await scopes.start_hook(HookUnit("nas", 17), "[]")
    assert systemd.started == []


def accept_anyone(pidfd: int, _service_uid: int) -> int:
    """The real inspection, less the demand that the process be in streamvaultd.service."""
    return checks.parse_pidfd(Path(f"/proc/self/fdinfo/{pidfd}").read_text("utf-8"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "io.streamvault.Broker"


@pytest.fixture
async def systemd() -> FakeSystemd:
    return FakeSystemd()


@pytest.fixture
async def scopes(path: Path) -> AsyncIterator[Scopes]:
    scopes = Scopes(path)
    yield scopes
    scopes.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-IS", "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


@pytest.fixture
def pidfd(child: subprocess.Popen[bytes]) -> Iterator[int]:
    fd = os.pidfd_open(child.pid)
    yield fd
    os.close(fd)


@asynccontextmanager
async def brokering(
    path: Path,
    systemd: FakeSystemd,
    *,
    uid: int | None = None,
    inspect: service.Inspect = accept_anyone,
    limits: Limits | None = None,
) -> AsyncIterator[Server]:
    interface = service.interface(systemd, os.getuid() if uid is None else uid, inspect)
    limits = limits or Limits(fds_per_message=1)
    server = Server(Info("streamvault", "test", "1", ""), [interface], limits=limits, check_replies=True)
    with listen(path, 0o600) as listener:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(listener))
            yield server
            task.cancel()


async def start(scopes: Scopes, pidfd: int, name: str = UNIT, limits: ScopeLimits | None = None) -> StartedScope:
    return await scopes.start(name, pidfd, "a segment", limits or ScopeLimits(), Path("/srv"))


async def test_a_process_is_moved_into_a_scope(
    path: Path, systemd: FakeSystemd, scopes: Scopes, child: subprocess.Popen[bytes], pidfd: int
) -> None:
    async with brokering(path, systemd):
        limits = ScopeLimits(memory_max=1 << 30, tasks_max=5, runtime_max_usec=90_000_000)
        started = await start(scopes, pidfd, limits=limits)
        assert started == StartedScope(
            unit=UNIT, control_group=f"/streamvault.slice/{UNIT}", invocation_id="0123456789abcdef"
        )
        properties, pid = systemd.scopes[UNIT]
        assert pid == child.pid
        values = {name: variant.value for name, variant in properties}
        assert (values["MemoryMax"], values["TasksMax"], values["RuntimeMaxUSec"]) == (1 << 30, 5, 90_000_000)
        assert (values["Description"], values["RequiresMountsFor"]) == ("a segment", ["/srv"])
        await scopes.stop(UNIT)
        assert systemd.scopes == {}
        with pytest.raises(NoSuchUnit):
            await scopes.stop(UNIT)


async def test_the_callers_process_must_be_in_the_daemons_unit(
    path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int
) -> None:
    async with brokering(path, systemd, inspect=process.inspect):
        with pytest.raises(ProcessRefused, match=r"not in streamvaultd\.service"):
            await start(scopes, pidfd)
    async with brokering(path, systemd, inspect=lambda fd, _: process.inspect(fd, os.getuid() + 1)):
        with pytest.raises(ProcessRefused, match="does not belong to uid"):
            await start(scopes, pidfd)
    assert systemd.scopes == {}


def kill_and_leave_a_zombie(child: subprocess.Popen[bytes], pidfd: int) -> None:
    child.kill()
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)


async def test_a_process_that_has_ended_is_refused(
    path: Path, systemd: FakeSystemd, scopes: Scopes, child: subprocess.Popen[bytes], pidfd: int
) -> None:
    kill_and_leave_a_zombie(child, pidfd)
    for inspect in (process.inspect, accept_anyone):
        async with brokering(path, systemd, inspect=inspect):
            with pytest.raises(ProcessRefused, match="it has ended"):
                await start(scopes, pidfd)
    child.wait()
    async with brokering(path, systemd, inspect=process.inspect):
        with pytest.raises(ProcessRefused):
            await start(scopes, pidfd)


async def test_what_is_no_pidfd_is_refused(path: Path, systemd: FakeSystemd, scopes: Scopes) -> None:
    async with brokering(path, systemd, inspect=process.inspect):
        with pytest.raises(ProcessRefused, match="not a pidfd"):
            await start(scopes, 2)


async def test_only_the_service_user_is_served(path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int) -> None:
    async with brokering(path, systemd, uid=os.getuid() + 1):
        for call in (start(scopes, pidfd), scopes.stop(UNIT), scopes.reset_failed(UNIT)):
            with pytest.raises(PeerRefused) as caught:
                await call
            assert caught.value.fields == {"uid": os.getuid()}


async def test_names_limits_and_texts_are_checked(
    path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int
) -> None:
    async with brokering(path, systemd):
        for call in (start(scopes, pidfd, "ssh.service"), scopes.stop("ssh.service"), scopes.reset_failed("a")):
            with pytest.raises(NameRefused):
                await call
        with pytest.raises(LimitRefused):
            await start(scopes, pidfd, limits=ScopeLimits(memory_max=1))
        with pytest.raises(InvalidParameter, match="description"):
            await scopes.start(UNIT, pidfd, "two\nlines", ScopeLimits(), None)
        with pytest.raises(InvalidParameter, match="requiresMountsFor"):
            await scopes.start(UNIT, pidfd, "x", ScopeLimits(), Path("relative"))
    assert systemd.scopes == {}


async def test_failures_of_systemd_are_told(path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int) -> None:
    async with brokering(path, systemd):
        await start(scopes, pidfd)
        with pytest.raises(UnitExists):
            await start(scopes, pidfd)
        systemd.failure = JobFailed(verb="stop", unit=UNIT, result="canceled")
        with pytest.raises(JobFailed, match="canceled"):
            await scopes.stop(UNIT)
        await scopes.reset_failed(UNIT)


async def test_a_slow_stop_keeps_nobody_waiting(path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int) -> None:
    async with brokering(path, systemd):
        await start(scopes, pidfd)
        systemd.go.clear()
        stop = asyncio.create_task(scopes.stop(UNIT))
        await systemd.stopping.wait()
        with pytest.raises(NoSuchUnit):
            await scopes.reset_failed("streamvault-7-002.scope")
        assert not stop.done()
        systemd.go.set()
        await stop


async def test_a_broker_that_cannot_be_reached_is_a_failed_scope(
    path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int
) -> None:
    with pytest.raises(ScopeFailed, match="no such file"):
        await start(scopes, pidfd)
    async with brokering(path, systemd):
        systemd.go.clear()
        stop = asyncio.create_task(scopes.stop(UNIT))
        await systemd.stopping.wait()
    with pytest.raises(ScopeFailed, match="connection was closed"):
        await stop


async def test_descriptors_are_closed_whatever_the_answer(
    path: Path, systemd: FakeSystemd, scopes: Scopes, pidfd: int
) -> None:
    def open_fds() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with brokering(path, systemd):
        await start(scopes, pidfd)
        before = open_fds()
        for name in (UNIT, "ssh.service", "streamvault-7-002.scope"):
            try:
                await start(scopes, pidfd, name)
            except VaultError:
                assert open_fds() == before
        assert open_fds() == before


async def test_the_broker_does_not_start_by_hand() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    broker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from streamvaultd.brokerd.main import main; sys.exit(main())"),
        *("--user", "root"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await broker.communicate()
    assert (broker.returncode, errors.count(b"systemctl start streamvault-brokerd.socket")) == (1, 1)
