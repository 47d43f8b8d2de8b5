# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking over when a recording's rows cannot be read: nothing of it is touched, and the others are taken over."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.notices import ROW_UNREADABLE
from streamvaultd.takeover import Takeover
from streamvaultd.witnesses.processes import take_record
from tests.component.store_world import NOW, SetClock, later
from tests.unit.rows import new_recorder

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

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

    async def load_unfinished(self) -> tuple[list[Recorder], list[tuple[int, str]]]:
        return self.recorders, [(UNREADABLE, "recording: failures")]

    def tell(self, entry: Any, **values: object) -> None:
        self.told.append((entry, values))

    def take(self, recorder: Recorder) -> None:
        self.taken.append(recorder.recording.id)

    def post(self, recording: int, event: object) -> None:
        pass

    async def drain(self) -> None:
        pass

    def inherit(self, found: object) -> None:
        pass

    async def forget(self, unit: str, pipe: str) -> None:
        self.forgotten.append(unit)

    def remove_fd(self, name: str) -> None:
        self.removed.append(name)

    def segment_path(self, recording: object, number: int) -> str:
        return f"{number}"

    def size(self, path: str) -> int:
        return 188

    def written(self, path: str) -> int | None:
        return NOW.realtime

    def takeover(self) -> Takeover:
        """The take-over of this world."""
        us = cast("Any", self)
        return Takeover(
            manager=us, store=us, files=us, runs=us, journal=us, fd_store=us, clock=SetClock(later(60)),
            spawn=self.spawned.append, parse_record=lambda _: Evidence(), take_record=take_record,
        )  # fmt: skip


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
