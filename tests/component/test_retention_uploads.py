# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be uploaded stays until it is: by retention, and by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.core.after.machine import Done, Failed
from streamvaultd.core.model import Recorder
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.jobs.after.facts import uploads_of
from streamvaultd.upkeep.pruning import RemovalRequest
from tests.component.retention_world import SIZE, World
from tests.component.socket_world import open_queryable


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    store = await open_queryable(tmp_path / "store.db")
    (tmp_path / "media").mkdir()
    yield World(store, tmp_path / "media")
    await store.close()


async def unsent(world: World, days: float) -> Recorder:
    """A recording that is over, and that no remote has yet."""
    recorder = await world.over(days)
    wanted = replace(recorder.recording, policy=replace(recorder.recording.policy, upload=("nas:rec",)))
    recorder = replace(recorder, recording=wanted)
    await world.store.save(recorder, ())
    return recorder


async def test_what_no_remote_has_yet_stays_until_it_is_there_and_prune_says_why(world: World) -> None:
    world.rules["alice"] = RetentionRules(keep_recordings=1)
    recorder = await unsent(world, 3)
    await world.over(2)
    await world.over(1)
    assert await world.sweep() == 1
    assert await world.kept() == [1, 3]
    [row] = await world.store.steps(1)
    job = await world.store.begin_step(row, {}, 5)
    assert job is not None
    by_hand = await world.pruning.prune(recorder, is_dry=True)
    assert by_hand.why == "a job works on it"
    await world.store.end_step(row, Failed(at=6, job=job, why="nas:rec: away"), {"why": "nas:rec: away"})
    by_hand = await world.pruning.prune(recorder)
    assert by_hand.why == "it is not uploaded yet (nas:rec: away)"
    assert (await world.pruning.prune(recorder, RemovalRequest(force=True), is_dry=True)).why is None
    world.rules["alice"] = RetentionRules(keep_recordings=1, require_upload=False)
    assert (await world.pruning.prune(recorder, is_dry=True)).why is None
    world.rules["alice"] = None  # nobody can tell
    assert (await world.pruning.prune(recorder, is_dry=True)).why is not None
    world.rules["alice"] = RetentionRules(keep_recordings=1)
    assert await world.sweep() == 0
    job = await world.store.begin_step(row, {}, 7)
    assert job is not None
    upload = {"remote": "nas:rec", "path": "alice/1.ts", "bytes": SIZE, "sha256": "0" * 64, "at": 8}
    await world.store.end_step(row, Done(at=8, job=job), {"files": [], "notes": [], "uploads": [upload]})
    assert await world.sweep() == 1
    assert await world.kept() == [3]
    assert [each.path for each in uploads_of(await world.store.steps_made(1))] == ["alice/1.ts"]
