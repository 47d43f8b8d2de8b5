# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal as a witness: real journal files, written by systemd-journal-remote(8), which believes every field."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.names import Run
from streamvaultd.core.recording.loglines import Line
from streamvaultd.scopes.witnesses.entries import KernelOom, OomdKill, UnitOom
from streamvaultd.scopes.witnesses.journal import BATCH, REPLAY_AGE_MAX, UNKNOWN_SPAN, JournalWatch
from systemd import journal

WRITER = "/lib/systemd/systemd-journal-remote"
UID = 998
DAY = 86400.0
OOM, OOMD = "fe6faa94e7774663a0da52717891d8ef", "d989611b15e44c9dbf31e3c81256e4ed"
OOM_KILL = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/streamvault.slice,"
    "task_memcg=/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope,task=streamlink,pid=7,uid=998"
)
FILTERING = "[stream.hls][info] Filtering out segments and pausing stream output"

Heard: TypeAlias = "asyncio.Queue[tuple[Any, ...]]"


def unit(number: int) -> str:
    return f"streamvault-1-{number:03d}.scope"


class Written:
    """A journal that is being written to. Its file is named as journald does it: system.journal is the newest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: subprocess.Popen[str] | None = None
        self._number = itertools.count(1)
        self.open()

    def open(self) -> None:
        """Begin a new file."""
        command = [WRITER, "--output", str(self.folder / "system.journal"), "-"]
        self._writer = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def put(self, *, age: float = 0.0, **fields: object) -> None:
        """Write an entry that is `age` seconds old."""
        number = next(self._number)
        stamp = {
            "__REALTIME_TIMESTAMP": int((time.time() - age) * 1e6) + number,
            "__MONOTONIC_TIMESTAMP": 10**12 - int(age * 1e6) + number,
            "_BOOT_ID": "ab" * 16,
        }
        assert self._writer is not None
        assert self._writer.stdin is not None
        self._writer.stdin.write("".join(f"{key}={value}\n" for key, value in (stamp | fields).items()) + "\n")
        self._writer.stdin.flush()

    def put_oom(self, number: int, message: str = OOM, age: float = 0.0) -> None:
        """systemd tells of an OOM kill in a segment."""
        self.put(age=age, _PID=1, MESSAGE_ID=message, UNIT=unit(number), MESSAGE="killed", PRIORITY=5)

    def put_line(self, text: str, number: int = 1, uid: int = UID) -> None:
        """A line of streamlink."""
        fields = {"STREAMVAULT_RECORDING": 1, "STREAMVAULT_SEGMENT": number}
        self.put(SYSLOG_IDENTIFIER="streamlink", _UID=uid, _SYSTEMD_UNIT=unit(number), MESSAGE=text, **fields)

    def close(self) -> None:
        """Everything is on disk, and nothing more is written."""
        if self._writer is not None:
            self._writer.communicate(timeout=10)
            self._writer = None

    def rotate(self) -> None:
        """Archive the file and begin another."""
        self.close()
        (self.folder / "system.journal").rename(self.folder / f"system@{next(self._number):032x}.journal")
        self.open()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    folder = tmp_path / "journal"
    folder.mkdir()
    written = Written(folder)
    yield written
    written.close()


@pytest.fixture
def heard() -> Heard:
    return asyncio.Queue()


def watch(written: Written, heard: Heard, **options: Any) -> JournalWatch:
    """A new daemon's."""
    callbacks = {
        "on_evidence": lambda *told: heard.put_nowait(told),
        "on_line": lambda *told: heard.put_nowait(told),
        "on_trouble": lambda why: heard.put_nowait(("trouble", why)),
    }
    return JournalWatch(written.folder.parent / "position", uid=UID, folder=written.folder, **{**callbacks, **options})


async def wait_for_file(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - a moment, while a thread writes it
        await asyncio.sleep(0)


STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"


async def test_that_a_scope_was_stopped_counts_where_no_daemon_ran(written: Written, heard: Heard) -> None:
    """A daemon that runs has asked for it, or hears of it from the shim."""
    written.put_oom(1, STOPPING)
    written.close()
    watcher = watch(written, heard)
    replayed = await asyncio.to_thread(watcher.replay)
    assert replayed.evidence() == {Run(1, 1): Evidence(unit_stopped=True)}

    running = asyncio.create_task(watcher.run())
    written.rotate()
    written.put_oom(2, STOPPING)
    written.put_oom(3)
    assert await heard.get() == (Run(1, 3), Evidence(journal_oom=True))
    running.cancel()


async def test_what_was_said_is_replayed_and_what_is_said_now_is_followed(written: Written, heard: Heard) -> None:
    written.put_oom(1)
    written.put(_PID=1, MESSAGE="Started something.")
    written.put_oom(1, OOMD)
    written.put(_TRANSPORT="kernel", PRIORITY=6, SYSLOG_FACILITY=0, MESSAGE=OOM_KILL)
    written.put(_TRANSPORT="kernel", PRIORITY=6, SYSLOG_FACILITY=1, MESSAGE=OOM_KILL.replace("001", "002"))
    written.close()
    watcher = watch(written, heard)
    replayed = await asyncio.to_thread(watcher.replay)
    assert replayed.items == (UnitOom(Run(1, 1)), OomdKill(Run(1, 1)), KernelOom(Run(1, 1), OOM_KILL))
    all_of_it = Evidence(journal_oom=True, journal_oomd=True, kernel_oom=OOM_KILL)
    assert replayed.evidence() == {Run(1, 1): all_of_it}
    assert not replayed.has_gap

    running = asyncio.create_task(watcher.run())
    written.rotate()
    written.put_oom(2)
    assert await heard.get() == (Run(1, 2), Evidence(journal_oom=True))
    written.put_line(FILTERING, uid=UID + 1)  # somebody else's
    written.put_line(FILTERING)
    assert await heard.get() == (Run(1, 1), Line.FILTERING, FILTERING)
    written.rotate()  # and again, with entries before and after
    written.put_oom(3)
    assert await heard.get() == (Run(1, 3), Evidence(journal_oom=True))
    running.cancel()


async def test_a_new_daemon_hears_what_came_after_the_saved_position(written: Written, heard: Heard) -> None:
    written.put_oom(1)
    watcher = watch(written, heard, save_seconds=0.0)
    running = asyncio.create_task(watcher.run())
    assert (await heard.get())[0] == Run(1, 1)
    await wait_for_file(written.folder.parent / "position")
    running.cancel()

    written.put_oom(2)
    written.put_line(FILTERING, 3)
    written.close()
    watcher = watch(written, heard)  # it dies before anything is saved
    first = await asyncio.to_thread(watcher.replay)
    assert [type(item).__name__ for item in first.items] == ["UnitOom", "Spoke"]
    again = watch(written, heard)
    assert await asyncio.to_thread(again.replay) == first
    for item in first.items:
        again.tell(item)
    assert await heard.get() == (Run(1, 2), Evidence(journal_oom=True))
    assert await heard.get() == (Run(1, 3), Line.FILTERING, FILTERING)


async def test_what_was_handed_on_just_now_is_not_saved_yet(written: Written, heard: Heard) -> None:
    watcher = watch(written, heard, save_seconds=3600.0)
    running = asyncio.create_task(watcher.run())
    written.put_oom(1)
    assert (await heard.get())[0] == Run(1, 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not (written.folder.parent / "position").exists()
    written.close()
    assert (await asyncio.to_thread(watch(written, heard).replay)).items == (UnitOom(Run(1, 1)),)


async def save(written: Written, heard: Heard, number: int) -> None:
    """Have a daemon read up to here and save that."""
    running = asyncio.create_task(watch(written, heard, save_seconds=0.0).run())
    while (await heard.get())[0] != Run(1, number):
        pass
    await wait_for_file(written.folder.parent / "position")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_position_that_was_rotated_away_is_told(written: Written, heard: Heard) -> None:
    written.put_oom(1, age=600)
    await save(written, heard, 1)
    written.rotate()
    for archived in written.folder.glob("system@*"):
        archived.unlink()
    written.put_oom(3, age=300)
    written.close()
    replayed = await asyncio.to_thread(watch(written, heard).replay)
    assert replayed.items == (UnitOom(Run(1, 3)),)
    assert replayed.has_gap


async def test_a_journal_without_an_entry_is_no_trouble(written: Written, heard: Heard) -> None:
    written.put_oom(1)
    await save(written, heard, 1)
    written.rotate()
    for archived in written.folder.glob("system@*"):
        archived.unlink()
    written.close()
    replayed = await asyncio.to_thread(watch(written, heard).replay)
    assert (replayed.items, replayed.has_gap) == ((), True)


@pytest.mark.parametrize("garbage", ["", '{"cursor":"s=nonsense","written":1e18}', "{}"])
async def test_without_a_position_the_last_hour_is_replayed(written: Written, heard: Heard, garbage: str) -> None:
    (written.folder.parent / "position").write_text(garbage)
    written.put_oom(1, age=UNKNOWN_SPAN + 60)
    written.put_oom(2, age=UNKNOWN_SPAN - 60)
    written.close()
    replayed = await asyncio.to_thread(watch(written, heard).replay)
    assert replayed.items == (UnitOom(Run(1, 2)),)


async def test_what_is_too_old_is_left_out(written: Written, heard: Heard) -> None:
    written.put_oom(1, age=REPLAY_AGE_MAX + DAY)
    written.put_oom(2, age=REPLAY_AGE_MAX - DAY)
    written.close()
    with journal.Reader(path=str(written.folder)) as reader:
        cursor = next(iter(reader))["__CURSOR"]
    position = f'{{"cursor":"{cursor}","written":{time.time() - REPLAY_AGE_MAX - DAY}}}'
    (written.folder.parent / "position").write_text(position)
    replayed = await asyncio.to_thread(watch(written, heard).replay)
    assert replayed.items == (UnitOom(Run(1, 2)),)
    assert replayed.has_gap


async def test_a_flood_leaves_the_event_loop_its_turns(written: Written, heard: Heard) -> None:
    """Of lines that match; those of others cost nothing but looking that nothing matches."""
    for number in range(20 * BATCH):
        written.put_line(FILTERING, number)
        written.put(_PID=4711, _UID=1000, PRIORITY=6, SYSLOG_IDENTIFIER="noise", MESSAGE=f"noise {number}")
    written.put_oom(1)
    written.close()
    turns = 0
    of_each_turn: dict[int, int] = {}

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def on_line(*_: object) -> None:
        of_each_turn[turns] = of_each_turn.get(turns, 0) + 1

    watcher = watch(written, heard, on_line=on_line)
    tasks = [asyncio.create_task(watcher.run()), asyncio.create_task(take_turns())]
    assert (await heard.get())[0] == Run(1, 1)
    assert sum(of_each_turn.values()) == 20 * BATCH
    assert max(of_each_turn.values()) <= BATCH
    for task in tasks:
        task.cancel()


async def test_no_journal_is_told_once_and_harms_nobody(written: Written, heard: Heard) -> None:
    written.folder = written.folder / "missing"
    watcher = watch(written, heard)
    replayed = await asyncio.to_thread(watcher.replay)
    assert (replayed.items, replayed.has_gap) == ((), False)
    running = asyncio.create_task(watcher.run())
    assert (await heard.get())[0] == "trouble"
    assert not running.done()
    running.cancel()
    written.folder = written.folder.parent
