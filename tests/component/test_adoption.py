# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that end while they are adopted, and what is told of them afterwards."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.names import Run
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.loglines import Line
from streamvaultd.errors import ScopeFailed
from streamvaultd.recording import segments as module
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import SCOPE_TROUBLE
from streamvaultd.scopes.ports import Found
from streamvaultd.scopes.runs import Runs
from tests.component.store_world import NOW, SetClock
from tests.component.studio import Studio

UNIT = "streamvault-1-001.scope"
NOBODY = cast("Any", None)


def recorder() -> Recorder:
    recording = Recording(
        id=1, stream=1, streamer="demo", url="https://host/x", quality="best", directory="/srv",
        created=NOW, duration=None, policy=Policy(),
    )  # fmt: skip
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW, media_at=NOW)
    return Recorder(recording=recording, state=State.RECORDING, since=NOW, segments=(segment,))


def waiting() -> Recorder:
    [segment] = recorder().segments
    return replace(recorder(), segments=(replace(segment, phase=Phase.WAITING, media_at=None),))


def studio(runs: Any, files: Any = NOBODY, journal: Any = NOBODY) -> Studio:
    disk = SimpleNamespace(state_of=lambda _recording: None)
    return Studio(runs=runs, files=files, media=files, disk=disk, journal=journal)


def adopt(found: Found) -> ev.SegmentExited:
    """Adopt a run whose supervising process is gone by now."""
    watcher = cast("Any", SimpleNamespace(adopt=lambda _group: None))
    runs = Runs(launcher=NOBODY, scopes=NOBODY, watcher=watcher, fd_store=NOBODY, clock=SetClock())
    runs.inherit(found)
    there = studio(runs)
    there.captures.adopt(recorder(), 1)
    [event] = there.inbox.events
    assert isinstance(event, ev.SegmentExited)
    return event


def test_what_it_left_in_its_pipe_counts() -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"status":130,"log":["Interrupted! Exiting..."]}\n')
    os.close(writer)
    event = adopt(Found({UNIT: "/streamvault.slice"}, {UNIT: reader}))
    assert event.evidence.status == 130
    assert event.evidence.log == ("Interrupted! Exiting...",)


def test_a_shim_that_was_killed_left_nothing() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    assert adopt(Found({UNIT: "/streamvault.slice"}, {UNIT: reader})).evidence.status is None


def test_a_pipe_that_was_lost_tells_nothing() -> None:
    assert adopt(Found({UNIT: "/streamvault.slice"})).evidence.status is None


class Unreadable:
    """Files on a disk that fails, or in a folder that nobody may enter."""

    def segment_path(self, _recording: Recording, number: int) -> Path:
        return Path(f"/srv/{number}")

    def size(self, path: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def watch(self, _unit: str, path: Path, _on_media: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def adopt(self, _unit: str, _on_exit: object) -> bool:
        return True

    def memory(self, _unit: str) -> tuple[None, None]:
        return None, None


async def test_a_file_that_nobody_can_look_at_does_not_grow() -> None:
    there = studio(Unreadable(), Unreadable())
    there.captures.adopt(waiting(), 1)
    assert there.inbox.events == []
    await there.captures.measure(recorder(), 1)
    assert [event.size for event in there.inbox.events if isinstance(event, ev.SizeMeasured)] == [0]


@pytest.mark.parametrize(
    ("result", "is_busy", "told"),
    [("timeout", True, "timeout"), ("timeout", False, None), ("oom-kill", False, "oom-kill"), ("success", True, None)],
)
def test_a_stop_that_took_too_long_is_no_end_of_a_run(*, result: str, is_busy: bool, told: str | None) -> None:
    """A run that is over may leave processes behind, whose scope is stopped: its result tells of that stop."""
    there = studio(SimpleNamespace(is_busy=lambda _unit: is_busy, on_result=lambda _unit: None))
    there.witnesses.on_unit_result(UNIT, result, "failed")
    results = [event.evidence.unit_result for event in there.inbox.events if isinstance(event, ev.EvidenceArrived)]
    assert results == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("result", "active_state", "is_heard"),
    [
        ("oom-kill", "deactivating", True), ("oom-kill", "failed", True), ("success", "inactive", True),
        ("success", "deactivating", False), ("success", "active", False),
    ],
)  # fmt: skip
def test_what_counts_as_systemd_s_word_on_an_end(*, result: str, active_state: str, is_heard: bool) -> None:
    heard: list[str] = []
    runs = SimpleNamespace(is_busy=lambda _unit: True, on_result=heard.append)
    studio(runs).witnesses.on_unit_result(UNIT, result, active_state)
    assert heard == ([UNIT] if is_heard else [])


def test_when_its_first_media_were_broadcast_is_evidence_of_a_run() -> None:
    there = studio(SimpleNamespace())
    text = "info plugins.streamvault_dates: The first media are of 1795426110.740"
    there.witnesses.on_line(Run(1, 1), Line.DATED, text)
    [event] = there.inbox.events
    assert isinstance(event, ev.EvidenceArrived)
    assert event.evidence == Evidence(dated=1_795_426_110_740_000)


class Leftovers:
    """A scope whose leftovers the broker cannot stop so often."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sealed: list[Path] = []

    async def forget(self, _unit: str, _pipe: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ScopeFailed(unit=UNIT, why="the broker is away")

    def segment_path(self, _recording: object, number: int) -> Path:
        return Path(f"segment_{number:03d}.ts")

    def seal(self, path: Path) -> int:
        self.sealed.append(path)
        return 188

    def cancel(self, _key: str) -> None:
        return


@pytest.mark.parametrize(("failures", "is_sealed"), [(0, True), (2, True), (3, False)])
async def test_a_segment_that_something_may_still_write_to_does_not_count_as_sealed(
    monkeypatch: pytest.MonkeyPatch, failures: int, *, is_sealed: bool
) -> None:
    """What is in its file is put on disk all the same."""
    monkeypatch.setattr(module, "FORGET_PAUSES", (0.0, 0.0))
    world, told = Leftovers(failures), list[Entry]()
    there = studio(world, world, SimpleNamespace(tell=lambda entry, *_, **__: told.append(entry)))
    await there.captures.seal(recorder(), 1)
    assert [type(event) for event in there.inbox.events] == [ev.SegmentSealed] * is_sealed
    assert told == [SCOPE_TROUBLE] * (not is_sealed)
    assert world.sealed == [Path("segment_001.ts")]
