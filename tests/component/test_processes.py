# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of processes, children or not, and the adoption of running ones."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.scopes.witnesses.pidfd import ProcessWatch, adopt_pidfd, parse_exit_record, take_record
from tests.component.captures import Run, World, command_of, world


@pytest.fixture(name="at")
def _at() -> Iterator[World]:
    with world() as found:
        yield found


class Ends:
    """A watch, and the ends that it told."""

    def __init__(self) -> None:
        self.watch: ProcessWatch[str] = ProcessWatch(asyncio.get_running_loop())
        self.told: asyncio.Queue[tuple[str, bytes | None, int | None]] = asyncio.Queue()
        self.status: int | None = None
        """How the last process ended, if it was our child."""

    def on_exit(self, key: str, record: bytes | None, status: int | None) -> None:
        self.told.put_nowait((key, record, status))

    async def next(self) -> tuple[str, Evidence]:
        async with asyncio.timeout(60):
            key, record, self.status = await self.told.get()
        return key, parse_exit_record(record)


@pytest.fixture(name="ends")
async def _ends() -> AsyncIterator[Ends]:
    found = Ends()
    yield found
    found.watch.close()


async def test_a_child_is_reaped_and_its_record_told_once(at: World, ends: Ends) -> None:
    run = at.start("/bin/sh", "-c", "echo 'error: gone' >&2; exit 7")
    ends.watch.watch("a", run.spawned.pidfd, run.spawned.exit_fd, ends.on_exit)
    key, evidence = await ends.next()
    assert (key, evidence.status, evidence.log) == ("a", 7, ("error: gone",))
    assert ends.status == 0
    assert ends.told.empty()
    with pytest.raises(ProcessLookupError):
        os.kill(run.spawned.pid, 0)
    for fd in (run.spawned.pidfd, run.spawned.exit_fd):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_a_killed_shim_leaves_no_record(at: World, ends: Ends) -> None:
    run = at.record("fake://stall", at.folder / "out")
    at.journal.next()
    child = run.child()
    ends.watch.watch("a", run.spawned.pidfd, run.spawned.exit_fd, ends.on_exit)
    os.kill(run.spawned.pid, signal.SIGKILL)
    assert await ends.next() == ("a", Evidence())
    assert ends.status == -signal.SIGKILL
    os.kill(child, signal.SIGKILL)


async def test_a_process_of_another_parent_is_noticed(ends: Ends) -> None:
    # The shell prints the number of a process that is its own child, and waits for it.
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "sleep 1000 & echo $!; wait", stdout=asyncio.subprocess.PIPE
    )
    assert shell.stdout is not None
    pid = int(await shell.stdout.readline())
    ends.watch.watch("a", os.pidfd_open(pid), None, ends.on_exit)
    os.kill(pid, signal.SIGKILL)
    assert await ends.next() == ("a", Evidence())
    assert ends.status is None
    await shell.wait()


async def test_what_is_forgotten_is_not_told(at: World, ends: Ends) -> None:
    run, other = (at.start("/bin/sh", "-c", "read x", stdin_fd=None) for _ in range(2))
    ends.watch.watch("a", os.dup(run.spawned.pidfd), None, ends.on_exit)
    ends.watch.watch("b", other.spawned.pidfd, other.spawned.exit_fd, ends.on_exit)
    ends.watch.forget("a")
    ends.watch.forget("a")
    assert run.ended()["status"] == 1
    assert (await ends.next())[0] == "b"
    assert ends.told.empty()


async def test_a_key_is_watched_once(at: World, ends: Ends) -> None:
    run = at.start("/bin/true")
    ends.watch.watch("a", run.spawned.pidfd, run.spawned.exit_fd, ends.on_exit)
    assert ends.watch.pidfd("a") == run.spawned.pidfd
    with pytest.raises(ValueError, match="watched already"):
        ends.watch.watch("a", run.spawned.pidfd, None, ends.on_exit)
    assert (await ends.next())[1].status == 0
    assert ends.watch.pidfd("a") is None


def own_group() -> str:
    return next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))


def groups_with(folder: Path, *pids: int) -> Path:
    """A stand-in for the cgroup file system, in which our own control group holds these processes."""
    group = folder / own_group().lstrip("/")
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return folder


def test_the_shim_of_a_control_group_is_found(at: World) -> None:
    run = at.record("fake://stall", at.folder / "out")
    at.journal.next()
    root = groups_with(at.folder / "groups", run.child(), 1, run.spawned.pid)
    adopted = adopt_pidfd(own_group(), root)
    assert adopted is not None
    assert adopted[0] == run.spawned.pid
    run.stop()
    assert select.select([adopted[1]], [], [], 10)[0]
    os.close(adopted[1])
    assert run.ended()["status"] == 130


def test_a_process_of_another_group_and_one_that_is_gone_are_not_adopted(at: World) -> None:
    run = at.start("/bin/true")
    run.ended()
    assert adopt_pidfd(own_group(), groups_with(at.folder / "groups", run.spawned.pid, 1)) is None
    assert adopt_pidfd("/no/such.scope") is None
    spawned = at.launcher.spawn(command_of("/bin/true", label="1-001"))
    elsewhere = at.folder / "elsewhere" / "other.scope"
    elsewhere.mkdir(parents=True)
    (elsewhere / "cgroup.procs").write_text(f"{spawned.pid}\n")
    assert adopt_pidfd("/other.scope", elsewhere.parent) is None
    spawned.abandon()


@pytest.mark.parametrize(
    "data", [None, b"", b"\xff\x00", b"{", b"[]", b'{"status": "9"}', b'{"status": 9', b'{"log": [1]}']
)
def test_a_torn_or_foreign_record_tells_nothing(data: bytes | None) -> None:
    assert parse_exit_record(data) == Evidence()


def test_a_record_of_a_later_version_tells_what_is_known() -> None:
    record = (
        b'{"status":-9,"oomKills":1,"memoryPeak":7,"memoryMax":8,"maxRss":5,"userUSec":2,"systemUSec":3,"log":["a"],'
        b'"new":{}}\n'
    )
    assert parse_exit_record(record) == Evidence(
        status=-9, oom_kills=1, memory_peak=7, memory_max=8, max_rss=5, cpu_usec=5, log=("a",)
    )


def test_a_record_waits_in_its_pipe_for_a_daemon_that_comes_later(at: World) -> None:
    run = at.start("/bin/sh", "-c", "exit 5")
    kept = os.dup(run.spawned.exit_fd)
    Run(run.spawned).ended()
    assert take_record(kept) is None
    os.close(kept)
    run = at.start("/bin/sh", "-c", "exit 5")
    kept = os.dup(run.spawned.exit_fd)
    os.close(run.spawned.exit_fd)
    assert select.select([run.spawned.pidfd], [], [], 10)[0]
    assert parse_exit_record(take_record(kept)).status == 5
    os.waitid(os.P_PIDFD, run.spawned.pidfd, os.WEXITED)
    os.close(run.spawned.pidfd)
    os.close(kept)
