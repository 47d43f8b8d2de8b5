# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order effects are performed, and what waits for what."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.events import MediaDiscarded
from streamvaultd.core.recording.steps import tell
from streamvaultd.recording.books import Books
from streamvaultd.recording.cleaning import Cleaning
from streamvaultd.recording.executor import Executor
from streamvaultd.reporting.notices import FILES_TROUBLE
from tests.fakes.parts import Begun, Posted
from tests.unit.rows import new_recorder


class World:
    """An executor among stand-ins; `done` is what they were asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.tasks = Begun()
        self.store_may_go_on = asyncio.Event()
        self.launched = asyncio.Event()
        self.launch_may_go_on = asyncio.Event()
        store, captures, journal = MagicMock(), MagicMock(), MagicMock()
        books = Books(store=store, journal=journal, hub=MagicMock(), clock=MagicMock(), tasks=self.tasks)
        store.save = AsyncMock(side_effect=lambda *_: self.done.append("saved"))
        store.add_event = AsyncMock(side_effect=self.add_event)
        captures.launch = AsyncMock(side_effect=self.launch)
        journal.announce = MagicMock(side_effect=self.announce)
        made: dict[str, Any] = {name: MagicMock() for name in inspect.signature(Executor).parameters}
        made |= {"tasks": self.tasks, "books": books, "captures": captures}
        self.executor = Executor(**made)

    def announce(self, *_: object) -> Any:
        self.done.append("announced")
        return MagicMock()

    async def add_event(self, **_: object) -> None:
        await self.store_may_go_on.wait()
        self.done.append("event stored")

    async def launch(self, *_: object) -> None:
        self.done.append("launched")
        self.launched.set()
        await self.launch_may_go_on.wait()


EFFECTS = (fx.Save(new_recorder(), ()), tell(Notice.SEGMENT_DIED), fx.Launch(2))


async def test_a_launch_waits_for_its_row_and_for_no_announcement() -> None:
    world = World()
    performing = asyncio.create_task(world.executor.perform(new_recorder(), EFFECTS))
    await world.launched.wait()
    assert world.done == ["saved", "announced", "launched"]
    assert not performing.done()
    world.store_may_go_on.set()
    await performing
    assert world.done[-1] == "event stored"
    world.launch_may_go_on.set()
    await world.executor.finish()


async def test_what_is_under_way_can_be_waited_for() -> None:
    world = World()
    world.store_may_go_on.set()
    assert world.executor.is_idle
    await world.executor.perform(new_recorder(), EFFECTS)
    assert not world.executor.is_idle
    finishing = asyncio.create_task(world.executor.finish())
    await world.launched.wait()
    assert not finishing.done()
    world.launch_may_go_on.set()
    await finishing
    assert world.executor.is_idle


async def test_work_that_fails_is_not_under_way_any_more() -> None:
    world = World()
    world.store_may_go_on.set()
    await world.executor.perform(new_recorder(), (fx.Launch(2),))
    await world.launched.wait()
    world.tasks[0].cancel()
    await world.executor.finish()
    assert world.executor.is_idle


async def test_what_was_discarded_is_told_and_what_could_not_be_is_not() -> None:
    world = World()
    removal, inbox, journal = AsyncMock(), Posted(), MagicMock()
    removal.discard.side_effect = [{Path("/srv/1.ts"): 5, Path("/srv/2.ts"): 6}, OSError(30, "read-only", "/srv")]
    world.executor._cleaning = Cleaning(removal=removal, inbox=inbox, clock=MagicMock(), journal=journal)
    for _ in range(2):
        await world.executor.perform(new_recorder(), (fx.Discard(),))
        await asyncio.gather(*world.tasks)
    ((recording, event),) = inbox.all
    assert isinstance(event, MediaDiscarded)
    assert (recording, event.files, event.size) == (1, 2, 11)
    ((entry, _),) = (call.args for call in journal.tell.call_args_list)
    assert entry is FILES_TROUBLE
