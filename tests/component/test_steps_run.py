# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that is joined gets its picture: real rows, a real shim, confined as ever, and a real ffmpeg.

The scopes alone are played: there is no systemd. Daemons come and go; the program's process outlives them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.base.growth import MediaWatch
from streamvaultd.base.lanes import Lanes
from streamvaultd.core.after import machine
from streamvaultd.core.after.machine import StepStatus
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.errors import NoSuchUnit
from streamvaultd.jobs.after import stepper
from streamvaultd.jobs.after.step_runs import INTERPRETER, StepRuns
from streamvaultd.jobs.after.stepper import Steps
from streamvaultd.jobs.progress import JoinProgress, Unheard
from streamvaultd.scopes.launcher import Launcher, own_roots
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.scratch import Scratch
from streamvaultd.scopes.witnesses.pidfd import ProcessWatch
from streamvaultd.store.stepped import SteppedStore
from tests.component.store_world import NOW, SetClock, open_store, start
from tests.fakes.parts import Begun, Noted

pytestmark = pytest.mark.timeout(300)  # real programs, on whatever machine

LIMIT = 120.0
JPEG = b"\xff\xd8\xff"


class PlayedScopes:
    """Scopes of systemd and its fd store, as far as a job needs them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.limits: list[Any] = []

    async def start(self, name: str, _pidfd: int, _about: str, limits: Any, _mounts: Path | None) -> SimpleNamespace:
        self.started.append(name)
        self.limits.append(limits)
        return SimpleNamespace(control_group="/nowhere")

    async def stop(self, name: str) -> None:
        raise NoSuchUnit(unit=name)

    async def reset_failed(self, name: str) -> None:
        raise NoSuchUnit(unit=name)

    def store_fd(self, name: str, fd: int) -> None: ...
    def remove_fd(self, name: str) -> None: ...


class House:
    """A folder with a recording's result, its store, and daemons."""

    def __init__(self, store: SteppedStore, root: Path) -> None:
        self.store, self.root = store, root
        self.scopes, self.journal, self.clock = PlayedScopes(), Noted(), SetClock(NOW)
        self.folder = root / "recordings" / "demo"
        self.folder.mkdir(parents=True)
        (root / "state").mkdir()
        self.tasks: list[Begun] = []

    def begin(self, argv: tuple[str, ...] = INTERPRETER) -> Steps:
        """A daemon."""
        loop, tasks = asyncio.get_running_loop(), Begun()
        scratch = self.root / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        launcher = Launcher(environment=environment, scratch=Scratch(scratch), read=own_roots(), journal="/dev/null")
        played = cast("Any", self.scopes)
        runs = Runs(launcher=launcher, scopes=played, watcher=ProcessWatch(loop), fd_store=played, clock=self.clock)
        jobs = self.root / "state" / "jobs"
        progress = JoinProgress(folder=jobs, watcher=MediaWatch(loop), listener=Unheard())
        step_runs = StepRuns(runs=runs, progress=progress, reports=jobs, lanes=Lanes(), argv=argv)
        nobody = cast("Any", SimpleNamespace(is_at=lambda _recording: False))
        steps = Steps(
            store=self.store, runs=step_runs, pruning=nobody, journal=self.journal, clock=self.clock, tasks=tasks
        )
        tasks.create_task(steps.run())
        self.tasks.append(tasks)
        return steps

    async def joined(self, name: str = "show.ts") -> Recorder:
        """A recording of which the result is there."""
        made = await start(self.store)
        policy = replace(made.recording.policy, thumbnail=True)
        recording = replace(made.recording, policy=policy, directory=str(self.folder.parent))
        path = self.folder / name
        done = replace(
            made, recording=recording, state=State.COMPLETED, path=str(path), ended=NOW,
            segments=(Segment(number=1, phase=Phase.ENDED, since=NOW, ended=NOW, media_at=NOW, size=7),),
        )  # fmt: skip
        await self.store.save(done, done.segments)
        return done

    async def until(self, status: StepStatus) -> None:
        async with asyncio.timeout(LIMIT):
            while [row.status for row in await self.store.steps(1)] != [status]:
                self.store.written.clear()
                try:
                    async with asyncio.timeout(0.2):
                        await self.store.written.wait()
                except TimeoutError:
                    continue


@pytest.fixture(name="house")
async def _house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(machine, "PAUSES", (0,))
    monkeypatch.setattr(stepper, "TROUBLE_CHECK", 0.05)
    store = await open_store(tmp_path / "store.db")
    house = House(store, tmp_path)
    yield house
    for tasks in house.tasks:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


def encode(path: Path) -> None:
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=d=6:r=25:s=320x180"]
    subprocess.run([*argv, "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", str(path)], check=True)


async def test_a_picture_is_made_by_a_confined_program(house: House) -> None:
    encode(house.folder / "show.ts")
    await house.joined()
    ended = asyncio.Event()
    house.begin().listeners.append(lambda _recording: ended.set())
    await house.until(StepStatus.DONE)
    async with asyncio.timeout(LIMIT):
        await ended.wait()
    assert (house.folder / "show-thumb.jpg").read_bytes().startswith(JPEG)
    assert sorted(path.name for path in house.folder.iterdir()) == ["show-thumb.jpg", "show.ts"]
    assert list((house.root / "state" / "jobs").iterdir()) == []
    assert house.scopes.started == ["streamvault-job-1.scope"]
    assert house.scopes.limits[0].memory_max == 512 << 20


async def test_a_program_reaches_nothing_but_its_streamers_folder(house: House) -> None:
    """A stand-in for it tries to; and, for the control, writes into that folder."""
    outside = house.root / "secret"
    outside.write_text("secret")
    program = house.folder / "program.py"
    program.write_text(
        "import json, sys, pathlib\n"
        "spec = json.load(sys.stdin)\n"
        f"outside, folder = pathlib.Path({str(outside)!r}), pathlib.Path(spec['folder'])\n"
        "told = []\n"
        "for name, act in (('read', outside.read_text), ('write', lambda: outside.write_text('x'))):\n"
        "    try:\n"
        "        act()\n"
        "    except PermissionError:\n"
        "        told.append(name)\n"
        "(folder / 'control.txt').write_text(' '.join(told))\n"
        "pathlib.Path(spec['report']).write_text(json.dumps({'ok': True, 'files': [], 'notes': []}))\n"
    )
    (house.folder / "show.ts").write_bytes(b"x")
    await house.joined()
    house.begin(("/usr/bin/env", "python3", str(program)))
    await house.until(StepStatus.DONE)
    assert (house.folder / "control.txt").read_text() == "read write"
    assert outside.read_text() == "secret"


async def test_a_program_that_is_killed_is_a_try_that_failed_and_the_next_one_succeeds(house: House) -> None:
    encode(house.folder / "show.ts")
    await house.joined()
    flag = house.folder / "died"
    program = house.folder / "program.py"
    program.write_text(
        "import os, pathlib, signal, sys\n"
        f"flag = pathlib.Path({str(flag)!r})\n"
        "if not flag.exists():\n"
        "    flag.write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.execv(sys.executable, [sys.executable, '-I', '-m', sys.argv[1]])\n"
    )
    house.begin((INTERPRETER[0], str(program)))
    await house.until(StepStatus.DONE)
    jobs = [await house.store.job(number) for number in (1, 2)]
    assert [job.status.value for job in jobs if job is not None] == ["failed", "done"]
    first = jobs[0]
    assert first is not None
    assert first.result == {"why": f"it left no report, and ended with status -{signal.SIGKILL.value}"}
    assert (house.folder / "show-thumb.jpg").exists()


async def test_what_a_report_says_is_not_believed_if_it_is_elsewhere(house: House) -> None:
    (house.folder / "show.ts").write_bytes(b"x")
    program = house.folder / "program.py"
    told = {"ok": True, "files": [{"path": "/etc/passwd", "bytes": 1, "sha256": "ab"}], "notes": []}
    program.write_text(
        "import json, pathlib, sys\n"
        "spec = json.load(sys.stdin)\n"
        f"pathlib.Path(spec['report']).write_text({json.dumps(told)!r})\n"
    )
    await house.joined()
    house.begin((INTERPRETER[0], str(program)))
    await house.until(StepStatus.FAILED)
    [row] = await house.store.steps(1)
    assert row.why == "it tells of a file that is none of its result"
    assert await house.store.steps_made(1) == []
