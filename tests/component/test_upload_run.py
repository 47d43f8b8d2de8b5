# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that is joined is uploaded: real rows, a real shim, confined with the network alone, and a real rclone.

Only the scopes are played. Daemons come and go, and die between any two calls of the store.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from streamvaultd.core.after import graph, machine
from streamvaultd.core.after.graph import KINDS, UPLOAD
from streamvaultd.core.after.machine import StepStatus
from streamvaultd.core.model import Broadcast
from streamvaultd.jobs.after import stepper
from streamvaultd.jobs.after.facts import uploads_of
from streamvaultd.jobs.after.step_runs import Destination
from streamvaultd.reporting.notices import STEP_FAILED
from streamvaultd.upkeep.manifests import format as manifest
from tests.component.remote_world import Webdav
from tests.component.step_world import House
from tests.component.store_world import open_store

pytestmark = pytest.mark.timeout(300)  # real programs, on whatever machine

MEDIA = os.urandom(2_000_000)


@pytest.fixture(name="nas")
def _nas(tmp_path: Path) -> Iterator[Webdav]:
    nas = Webdav(tmp_path / "nas")
    yield nas
    nas.kill()


@pytest.fixture(name="house")
async def _house(tmp_path: Path, nas: Webdav, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(machine, "PAUSES", (0,))
    quick = replace(KINDS[UPLOAD], pauses=(0,))
    monkeypatch.setitem(KINDS, UPLOAD, quick)
    monkeypatch.setattr(graph, "GRAPH", tuple(quick if kind.name == UPLOAD else kind for kind in graph.GRAPH))
    monkeypatch.setattr(stepper, "TROUBLE_CHECK", 0.05)
    store = await open_store(tmp_path / "store.db")
    house = House(store, tmp_path)
    house.policy = {"upload": ("nas:rec",)}
    house.destination = Destination(remotes=("nas:rec",), config=nas.config(), reachable=("127.0.0.1/32",))
    yield house
    await house.end()
    await store.close()


async def joined(house: House) -> None:
    """With its result and its manifest in place."""
    (house.folder / "show.ts").write_bytes(MEDIA)
    recorder = await house.joined()
    text = manifest.to_text(recorder, Broadcast(), ())
    (house.folder / f".stream_{recorder.recording.stream}.json").write_bytes(text)


async def has_tried(house: House, times: int) -> bool:
    return (await house.store.steps(1))[0].tries >= times


async def test_it_is_uploaded_by_a_confined_program_and_the_rows_say_where(house: House, nas: Webdav) -> None:
    await joined(house)
    house.begin()
    await house.until(StepStatus.DONE)
    assert nas.files()["rec/demo/show.ts"] == MEDIA
    rows = uploads_of(await house.store.steps_made(1))
    result = next(row for row in rows if row.path == "demo/show.ts")
    assert (result.remote, result.sha256) == ("nas:rec", sha256(MEDIA).hexdigest())
    assert house.scopes.limits[0].reachable == ("127.0.0.1/32",)
    assert house.scopes.limits[0].has_network
    assert sorted(path.name for path in house.folder.iterdir()) == [".stream_1.json", "show.ts"]

    async def is_tidy() -> bool:
        return not list((house.root / "state" / "jobs").iterdir())

    await house.see(is_tidy)


async def test_what_sends_can_change_no_media_and_read_no_other_streamers(house: House) -> None:
    """A stand-in tries; the controls are what it may: read its result, and open a socket."""
    other = house.folder.parent / "other"
    other.mkdir()
    (other / "secret").write_text("x")
    program = house.folder / "program.py"
    program.write_text(
        "import json, pathlib, socket, sys\n"
        "spec = json.load(sys.stdin)\n"
        "result, told = pathlib.Path(spec['result']), []\n"
        "def may(name, act):\n"
        "    try:\n"
        "        act()\n"
        "        told.append(name)\n"
        "    except OSError:\n"
        "        pass\n"
        "may('read', result.read_bytes)\n"
        "may('socket', lambda: socket.socket(socket.AF_INET).close())\n"
        "may('change', lambda: result.open('r+b').close())\n"
        "may('remove', result.unlink)\n"
        "may('make', lambda: result.with_name('x').touch())\n"
        f"may('other', pathlib.Path({str(other / 'secret')!r}).read_text)\n"
        "may('unix', lambda: socket.socket(socket.AF_UNIX).close())\n"
        "report = {'ok': True, 'files': [], 'notes': told}\n"
        "pathlib.Path(spec['report']).write_text(json.dumps(report))\n"
    )
    await joined(house)
    house.begin(("/usr/bin/env", "python3", str(program)))
    await house.until(StepStatus.DONE)
    job = await house.store.job(1)
    assert job is not None
    assert job.result is not None
    assert job.result["notes"] == ["read", "socket"]


async def test_it_is_tried_until_the_remote_is_there_and_told_once(house: House, nas: Webdav) -> None:
    await joined(house)
    nas.kill()
    house.begin()
    await house.see(lambda: has_tried(house, 7))
    [row] = await house.store.steps(1)
    assert row.status in (StepStatus.DUE, StepStatus.RUNNING)
    assert row.why is not None
    assert "connection refused" in row.why
    assert [entry for entry, _ in house.journal.told].count(STEP_FAILED) == 1
    nas.start()
    await house.until(StepStatus.DONE)
    assert nas.files()["rec/demo/show.ts"] == MEDIA


async def test_a_mistake_in_the_settings_is_corrected_for_recordings_that_have_begun(house: House) -> None:
    right, house.policy = house.destination, {"upload": ("nsa:rec",)}
    house.destination = replace(right, remotes=("nsa:rec",))
    await joined(house)
    house.begin()
    await house.see(lambda: has_tried(house, 1))
    house.destination = right
    await house.until(StepStatus.DONE)
    assert {row.remote for row in uploads_of(await house.store.steps_made(1))} == {"nas:rec"}


async def test_the_whole_scope_is_killed_at_half_and_a_daemon_later_it_is_there_once(
    house: House, nas: Webdav
) -> None:
    slow = replace(house.destination, bandwidth=256 << 10)
    right, house.destination = house.destination, slow
    await joined(house)
    house.begin()
    there = nas.folder / "rec" / "demo" / "show.ts"

    async def is_begun() -> bool:
        return there.exists() and there.stat().st_size > len(MEDIA) // 8

    await house.see(is_begun)
    await house.end()  # the daemon is gone, what it started goes on
    assert there.stat().st_size < len(MEDIA)
    assert uploads_of(await house.store.steps_made(1)) == ()
    house.destination = right
    for pid in running(house):
        os.kill(pid, signal.SIGKILL)
    house.begin()
    await house.until(StepStatus.DONE)
    assert sorted(nas.files()) == ["rec/demo/.stream_1.json", "rec/demo/show.ts"]
    assert there.read_bytes() == MEDIA


def running(house: House) -> list[int]:
    """Processes of the step, as a scope that is stopped has them."""
    found = subprocess.run(["pgrep", "-f", str(house.root)], capture_output=True, text=True, check=False).stdout
    programs = {int(pid) for pid in found.split()} - {os.getpid()}
    return [pid for pid in programs if b"serve" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
