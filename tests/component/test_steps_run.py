# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that is joined gets its picture: real rows, a real shim, confined as ever, and a real ffmpeg.

The scopes alone are played: there is no systemd. Daemons come and go; the program's process outlives them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamvaultd.core.after import machine
from streamvaultd.core.after.machine import StepStatus
from streamvaultd.jobs.after import stepper
from streamvaultd.jobs.after.step_runs import INTERPRETER
from tests.component.step_world import LIMIT, House
from tests.component.store_world import open_store

pytestmark = pytest.mark.timeout(300)  # real programs, on whatever machine

JPEG = b"\xff\xd8\xff"


@pytest.fixture(name="house")
async def _house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(machine, "PAUSES", (0,))
    monkeypatch.setattr(stepper, "TROUBLE_CHECK", 0.05)
    store = await open_store(tmp_path / "store.db")
    house = House(store, tmp_path)
    yield house
    await house.end()
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
