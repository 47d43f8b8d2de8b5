# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking over when rows cannot be read, or contradict each other, or a disk fails: the others are taken over."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Phase, Recorder, Recording, Segment, State
from streamvaultd.core.recording.events import Event, Restarted
from streamvaultd.recording import takeover as module
from streamvaultd.recording.takeover import Takeover
from streamvaultd.reporting.notices import ROW_MENDED, ROW_UNREADABLE
from tests.component.store_world import NOW, SetClock, later
from tests.unit.rows import new_recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

UNREADABLE, READABLE, FOREIGN = 7, 1, 9


@dataclass
class Scope:
    """A running scope as systemd tells of it."""

    unit: str
    active_state: str = "active"
    control_group: str = "/x"
    result: str = "success"


@dataclass
class World:
    """Everything that a take-over may touch, and what it did."""

    recorders: list[Recorder] = field(default_factory=list)
    told: list[tuple[Any, dict[str, object]]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    spawned: list[Coroutine[Any, Any, None]] = field(default_factory=list)
    posted: list[Event] = field(default_factory=list)
    saved: list[Recorder] = field(default_factory=list)
    trouble: dict[str, Callable[[], int]] = field(default_factory=dict)

    async def load_unfinished(self) -> tuple[list[Recorder], list[tuple[int, str]]]:
        return self.recorders, [(UNREADABLE, "recording: failures")]

    def tell(self, entry: Any, *_recorder: object, **values: object) -> None:
        self.told.append((entry, values))

    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawned.append(work)

    def take(self, recorder: Recorder) -> None:
        self.taken.append(recorder.recording.id)

    def post(self, recording: int, event: Event) -> None:
        self.posted.append(event)

    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        self.saved.append(replace(recorder, segments=changed))

    async def drain(self) -> None:
        pass

    def inherit(self, found: object) -> None:
        pass

    async def forget(self, unit: str, pipe: str) -> None:
        self.forgotten.append(unit)

    def drop_pipe(self, name: str) -> None:
        self.removed.append(name)

    def segment_path(self, recording: Recording, number: int) -> str:
        return f"{recording.directory}/{number}"

    def size(self, path: str) -> int:
        return self.trouble.get(path.rpartition("/")[0], lambda: 188)()

    def written(self, path: str) -> int | None:
        return NOW.realtime

    def takeover(self) -> Takeover:
        """The take-over of this world."""
        us = cast("Any", self)
        return Takeover(
            manager=us, store=us, files=us, runs=us, journal=us, clock=SetClock(later(60)),
            lanes=Lanes(), tasks=cast("Any", self),
        )  # fmt: skip


def fails() -> int:
    raise OSError(errno.EIO, "Input/output error")


def hangs() -> int:
    time.sleep(1.0)  # an answer that comes too late
    return 188


@pytest.fixture
def pipes() -> Iterator[dict[str, list[int]]]:
    """Stored exit pipes of one run each, with a record in them."""
    names = [f"exit-{recording}-001" for recording in (UNREADABLE, FOREIGN)]
    found = {}
    for name in names:
        reader, writer = os.pipe()
        os.write(writer, b"{}\n")
        os.close(writer)
        found[name] = [reader]
    yield found
    os.close(found[names[0]][0])


async def test_what_belongs_to_a_recording_that_cannot_be_read_is_left_alone(pipes: dict[str, list[int]]) -> None:
    running = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW)
    world = World(
        [Recorder(recording=new_recorder().recording, state=State.RECORDING, since=NOW, segments=(running,))]
    )
    scopes = [Scope(f"streamvault-{recording}-002.scope") for recording in (UNREADABLE, FOREIGN)]
    adopted = await world.takeover().run([*scopes, Scope(f"streamvault-{READABLE}-001.scope")], pipes, {})
    for work in world.spawned:
        await work
    assert (adopted, world.taken) == (1, [READABLE])
    assert world.told[0] == (ROW_UNREADABLE, {"recording": UNREADABLE, "why": "recording: failures"})
    assert world.forgotten == [f"streamvault-{FOREIGN}-002.scope"]
    assert world.removed == [f"exit-{FOREIGN}-001"]
    assert os.read(pipes[f"exit-{UNREADABLE}-001"][0], 10) == b"{}\n"


def running(recording: int, directory: str) -> Recorder:
    segment = Segment(number=1, phase=Phase.WRITING, since=NOW, started=NOW, media_at=NOW, size=5)
    wanted = replace(new_recorder().recording, id=recording, directory=directory)
    return Recorder(recording=wanted, state=State.RECORDING, since=NOW, segments=(segment,))


@pytest.mark.parametrize("trouble", [fails, hangs])
async def test_a_disk_that_cannot_be_looked_at_keeps_nobody_waiting(
    trouble: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_LIMIT", 0.2)
    world = World([running(1, "/bad"), running(2, "/good")], trouble={"/bad": trouble})
    scopes = [Scope(f"streamvault-{recording}-001.scope") for recording in (1, 2)]
    assert await world.takeover().run(scopes, {}, {}) == 2
    assert [event.live for event in world.posted if isinstance(event, Restarted)] == [{1: 0}, {1: 188}]


async def test_rows_that_another_hand_has_written_are_mended_and_told() -> None:
    recorder = running(1, "/good")
    over = replace(recorder.segments[0], phase=Phase.ENDED, ended=NOW)
    world = World([replace(recorder, segments=(over,)), running(2, "/good")])
    await world.takeover().run([], {}, {})
    assert [saved.state for saved in world.saved] == [State.BACKOFF]
    assert {entry for entry, _ in world.told} == {ROW_UNREADABLE, ROW_MENDED}
