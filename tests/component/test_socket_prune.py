# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune, Keep and Unkeep of the socket, against a real store and real files: what goes, and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamvaultd.core.model import Phase, State
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.errors import NothingToKeep, PruneUnbounded
from tests.component.socket_world import World, ended, joined, over, served
from tests.component.store_world import NOW, later, move, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as world:
        yield world


async def test_prune_removes_what_is_old_and_says_so_in_the_rows(world: World, tmp_path: Path) -> None:
    _, parts = await joined(world, tmp_path)
    running = await start(world.store, "bob")
    assert await world.call("Prune", olderThanUSec=int(DAY * 1e6)) == {"pruned": [], "bytes": 0, "more": False}
    dry = await world.call("Prune", olderThanUSec=0, dryRun=True)
    assert (dry["bytes"], dry["pruned"][0]["files"]) == (200, [str(path) for path in parts])
    assert all(path.exists() for path in parts)
    done = await world.call("Prune", olderThanUSec=0)
    assert done == dry
    assert not any(path.exists() for path in parts)
    found = await world.store.get(1)
    assert found is not None
    assert (found.state, found.path, found.detail) == (State.COMPLETED, None, "its media were removed by request")
    assert (await world.call("Prune", olderThanUSec=0))["pruned"] == []
    assert (await world.store.get(running.recording.id)) == running


async def test_prune_keeps_what_nobody_has_joined_unless_told_so(world: World, tmp_path: Path) -> None:
    await over(world, State.FAILED, segments=(ended(1, Phase.ENDED),))
    assert (await world.call("Prune", olderThanUSec=0))["pruned"] == []
    kept = (await world.call("Prune", recording="1"))["pruned"][0]
    assert (kept["done"], kept["why"]) == (False, "its segments were never joined: they are all there is of it")
    assert (await world.call("Prune", recording="1", failed=True))["pruned"][0]["done"] is True
    found = await world.store.get(1)
    assert found is not None
    assert found.segments[0].phase is Phase.REMOVED


async def test_what_is_marked_is_kept_from_prune_but_by_force(world: World, tmp_path: Path) -> None:
    _, parts = await joined(world, tmp_path)
    await joined(world, tmp_path, "bob")
    world.clock.moment = later(100)
    assert (await world.call("Keep", recording="demo"))["recording"]["runtime"]["kept"] is True
    assert [each["id"] for each in (await world.call("List", kept=True))["recordings"]] == [1]
    dry = await world.call("Prune", olderThanUSec=0, dryRun=True)
    assert [each["recording"] for each in dry["pruned"]] == [2]  # the mark is no trouble that a timer has to tell
    named = (await world.call("Prune", recording="1"))["pruned"][0]
    assert (named["done"], named["why"]) == (False, "it is marked to be kept")
    assert all(path.exists() for path in parts)
    world.reprieve.until = 0.0
    assert "kept" not in (await world.call("Unkeep", recording="demo"))["recording"]["runtime"]
    assert world.reprieve.until > world.clock.now().monotonic
    await world.call("Keep", recording="1")
    forced = await world.call("Prune", olderThanUSec=0, force=True)
    assert [(each["recording"], each["done"]) for each in forced["pruned"]] == [(1, True), (2, True)]
    assert not any(path.exists() for path in parts)
    with pytest.raises(NothingToKeep) as refused:
        await world.call("Keep", recording="1")
    assert "it has no media" in str(refused.value)


async def test_prune_wants_a_bound_and_touches_no_file_elsewhere(world: World, tmp_path: Path) -> None:
    with pytest.raises(PruneUnbounded):
        await world.call("Prune")
    with pytest.raises(PruneUnbounded):
        await world.call("Prune", streamer="demo")
    for further in ({"olderThanUSec": 1}, {"streamer": "other"}):
        with pytest.raises(PruneUnbounded):
            await world.call("Prune", recording="1", **further)
    victim = tmp_path / "passwd"
    victim.write_text("root")
    recorder, _ = await joined(world, tmp_path)
    await move(world.store, recorder, State.COMPLETED, ended(1), path=str(victim))
    kept = (await world.call("Prune", recording="1"))["pruned"][0]
    assert (kept["done"], kept["why"]) == (False, f"{victim}: it is not where the files of this recording are")
    link = tmp_path / "demo" / "link.ts"
    link.symlink_to(victim)
    await move(world.store, recorder, State.COMPLETED, ended(1), path=str(link))
    kept = (await world.call("Prune", recording="1"))["pruned"][0]
    assert (kept["done"], kept["why"]) == (False, f"{link}: it is no regular file, and is not touched")
    assert victim.read_text() == "root"


async def test_prune_leaves_alone_what_a_job_works_on(world: World, tmp_path: Path) -> None:
    _, parts = await joined(world, tmp_path)
    await world.store.create_job(1, "join", {"join": 2}, NOW)
    assert (await world.call("Prune", recording="1"))["pruned"][0]["why"] == "a job works on it"
    assert all(path.exists() for path in parts)


async def test_prune_shows_what_retention_will_remove_and_does_it_at_once(world: World, tmp_path: Path) -> None:
    _, parts = await joined(world, tmp_path)
    await joined(world, tmp_path)
    await joined(world, tmp_path, "bob")
    world.rules |= {"demo": RetentionRules(keep_recordings=1), "bob": RetentionRules(keep_for=DAY)}
    dry = await world.call("Prune", byRetention=True, dryRun=True)
    rule = "keep_recordings: there are 1 newer ones"
    assert [(each["recording"], each["rule"], each["done"]) for each in dry["pruned"]] == [(1, rule, True)]
    assert (dry["bytes"], dry["more"]) == (200, False)
    assert dry["notes"][0].startswith("keep_for does not count")
    assert await world.call("Prune", byRetention=True, streamer="bob") == {
        "pruned": [], "bytes": 0, "more": False, "notes": dry["notes"],
    }  # fmt: skip
    assert all(path.exists() for path in parts)
    assert await world.call("Prune", byRetention=True, streamer="demo") == {
        "pruned": dry["pruned"], "bytes": 200, "more": False,
    }  # fmt: skip
    assert not any(path.exists() for path in parts)
    found = await world.store.get(1)
    assert found is not None
    assert found.detail == f"its media were not to be kept any longer, {rule}"
    del world.rules["demo"]
    assert "nothing is removed of demo while" in (await world.call("Prune", byRetention=True))["notes"][0]
    for more in ({"recording": "2"}, {"olderThanUSec": 0}, {"failed": True}, {"force": True}):
        with pytest.raises(PruneUnbounded):
            await world.call("Prune", byRetention=True, **more)
