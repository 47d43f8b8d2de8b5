# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash after any statement leaves the old state or the new one.

What a killed process leaves is what its files hold at that moment: they are copied after every statement, and every
copy is opened as the next daemon would. SQLite's index of the log (-shm) is left out, as after a power failure.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from streamvaultd.core.model import Phase, Recorder, SeamRecord, Segment, State
from tests.component.store_world import NOW, later, move, open_store, start, statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from streamvaultd.store.local import LocalStore

Seen = TypeVar("Seen")

SEGMENT = Segment(number=1, phase=Phase.WRITING, since=NOW, size=188)
SEAMS = [
    SeamRecord(older=number, newer=number + 1, kind="exact", method="bytes", certainty="proven")
    for number in (1, 2, 3)
]


class Crashes:
    """Copies of a store's files as they were after each statement."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "live"
        self.live.mkdir()
        self.copies: list[Path] = []

    @property
    def path(self) -> Path:
        return self.live / "store.db"

    def take(self, _driver: object = None) -> None:
        copy = self.live.parent / f"copy-{len(self.copies)}"
        copy.mkdir()
        for name in ("store.db", "store.db-wal", "store.db-journal"):
            if (self.live / name).exists():
                shutil.copy(self.live / name, copy / name)
        self.copies.append(copy / "store.db")

    @contextmanager
    def after_every_statement(self) -> Iterator[None]:
        with statements(self.take):
            yield
        self.take()

    async def after(self, look: Callable[[LocalStore], Awaitable[Seen]]) -> list[Seen]:
        """What the next daemon sees in each copy."""
        return [await self._look(copy, look) for copy in self.copies]

    async def _look(self, copy: Path, look: Callable[[LocalStore], Awaitable[Seen]]) -> Seen:
        store = await open_store(copy)
        try:
            return await look(store)
        finally:
            await store.close()


@pytest.fixture
def crashes(tmp_path: Path) -> Crashes:
    return Crashes(tmp_path)


def assert_old_then_new(seen: list[Any], old: Any, new: Any) -> None:
    change = seen.index(new)
    assert seen == [old] * change + [new] * (len(seen) - change)
    assert change > 0


async def test_creating_a_store_is_all_or_nothing(crashes: Crashes) -> None:
    """A half created one would be refused as another program's."""
    with crashes.after_every_statement():
        await (await open_store(crashes.path)).close()
    assert len(crashes.copies) > 20
    assert await crashes.after(lambda store: store.list()) == [[]] * len(crashes.copies)


async def test_a_recording_is_created_as_a_whole(crashes: Crashes) -> None:
    store = await open_store(crashes.path)
    with crashes.after_every_statement():
        recorder = await start(store)
    await store.close()

    async def look(survivor: LocalStore) -> list[Recorder]:
        found = await survivor.list(all=True)
        # nothing of a creation that was lost stands in the way of the next one
        again = found or [await start(survivor)]
        assert again == [recorder]
        return found

    assert_old_then_new(await crashes.after(look), [], [recorder])


async def test_a_recorder_and_its_segments_are_saved_together(crashes: Crashes) -> None:
    store = await open_store(crashes.path)
    old = await move(store, await start(store), State.RECORDING, SEGMENT)
    with crashes.after_every_statement():
        new = await move(
            store,
            old,
            State.COMPLETED,
            replace(SEGMENT, phase=Phase.REMOVED, size=376),
            replace(SEGMENT, number=2, phase=Phase.REMOVED),
            ended=later(5),
            path="/srv/demo.ts",
        )
    await store.close()
    assert len(crashes.copies) >= 5
    assert_old_then_new(await crashes.after(lambda store: store.get(old.recording.id)), old, new)


async def test_seams_are_replaced_together(crashes: Crashes) -> None:
    store = await open_store(crashes.path)
    recording = (await start(store)).recording.id
    await store.add_seams(recording, SEAMS[:1])
    with crashes.after_every_statement():
        await store.add_seams(recording, SEAMS[1:])
    await store.close()
    assert_old_then_new(await crashes.after(lambda store: store.seams(recording)), SEAMS[:1], SEAMS[1:])


async def test_a_save_whose_waiter_gives_up_is_made_or_not_made(crashes: Crashes) -> None:
    store = await open_store(crashes.path)
    old = await move(store, await start(store), State.RECORDING, SEGMENT)
    new = replace(old, state=State.STOPPING, segments=(replace(SEGMENT, phase=Phase.STOPPING),))
    saving = asyncio.create_task(store.save(new, new.segments))
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await store.get(old.recording.id) in (old, new)
    await store.close()
