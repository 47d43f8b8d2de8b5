# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that end while they are adopted, and what is told of them afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.errors import ScopeFailed
from streamvaultd.jobs.looks import Looks
from streamvaultd.recording import segments as module
from streamvaultd.recording.segments import Captures
from streamvaultd.scopes.ports import Found
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.witnesses.pidfd import parse_exit_record, take_record
from tests.component.store_world import NOW, SetClock

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


class NothingHeld:
    """No file has lost its name."""

    def size(self, _unit: str) -> None: ...

    def restoring(self, _unit: str, _path: Path, *, is_over: bool) -> Callable[[], None]:
        assert is_over in (True, False)
        return lambda: None

    def release(self, _unit: str) -> None: ...


def captures(runs: Any, posted: list[ev.Event], files: Any = NOBODY) -> Captures:
    """Of which only what this is about is there."""
    return Captures(
        post=lambda _number, event: posted.append(event),
        clock=SetClock(),
        files=files,
        capture=NOBODY,
        runs=runs,
        media=files,
        writeback=NOBODY,
        held=cast("Any", NothingHeld()),
        disk=cast("Any", SimpleNamespace(state_of=lambda _recording: None)),
        lanes=Lanes(),
        looks=Looks(),
        parse_record=parse_exit_record,
        is_overlap_proven=NOBODY,
        scope_memory=NOBODY,
        memory_refusal=NOBODY,
        is_link_down=lambda: False,
    )


def adopt(found: Found) -> ev.SegmentExited:
    """Adopt a run whose supervising process is gone by now."""
    posted: list[ev.Event] = []
    runs = Runs(
        launcher=NOBODY,
        scopes=NOBODY,
        watcher=NOBODY,
        fd_store=NOBODY,
        adopt=lambda _group: None,
        take_record=take_record,
        clock=SetClock(),
    )
    runs.inherit(found)
    captures(runs, posted).adopt(recorder(), 1)
    [event] = posted
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


@pytest.mark.parametrize("record", [None, b'{"status":13', b"{}\n", b""])
def test_a_record_that_is_torn_is_as_good_as_none(record: bytes | None) -> None:
    posted: list[ev.Event] = []
    captures(NOBODY, posted)._exit_handler(1, 1)(record, -9, NOW)
    assert [event.evidence.shim_status for event in posted if isinstance(event, ev.SegmentExited)] == [-9]


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

    def control_group(self, _unit: str) -> None:
        return None


async def test_a_file_that_nobody_can_look_at_does_not_grow() -> None:
    posted: list[ev.Event] = []
    captures(Unreadable(), posted, files=Unreadable()).adopt(waiting(), 1)
    assert posted == []
    await captures(Unreadable(), posted, files=Unreadable()).measure(recorder(), 1)
    assert [event.size for event in posted if isinstance(event, ev.SizeMeasured)] == [0]


@pytest.mark.parametrize(
    ("result", "is_busy", "told"),
    [("timeout", True, "timeout"), ("timeout", False, None), ("oom-kill", False, "oom-kill"), ("success", True, None)],
)
def test_a_stop_that_took_too_long_is_no_end_of_a_run(*, result: str, is_busy: bool, told: str | None) -> None:
    """A run that is over may leave processes behind, whose scope is stopped: its result tells of that stop."""
    posted: list[ev.Event] = []
    runs = SimpleNamespace(is_busy=lambda _unit: is_busy, on_result=lambda _unit: None)
    captures(runs, posted).on_unit_result(UNIT, result, "failed")
    results = [event.evidence.unit_result for event in posted if isinstance(event, ev.EvidenceArrived)]
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
    captures(runs, []).on_unit_result(UNIT, result, active_state)
    assert heard == ([UNIT] if is_heard else [])


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
    posted: list[ev.Event] = []
    world = cast("Any", Leftovers(failures))
    found = captures(world, posted)
    found._files = found._media = found._writeback = world
    with contextlib.nullcontext() if is_sealed else pytest.raises(ScopeFailed):
        await found.seal(recorder(), 1)
    assert [event for event in posted if isinstance(event, ev.SegmentSealed)] == posted
    assert len(posted) == is_sealed
    assert world.sealed == [Path("segment_001.ts")]
