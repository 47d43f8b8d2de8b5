# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody takes away the file of a segment while it is written; in the simulated world, and crashed everywhere."""

from __future__ import annotations

import pytest

from streamvaultd.core.model import State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.events import Taken
from streamvaultd.core.recording.policy import SEAL_LIMIT, seal_limit
from tests.unit.broadcast import WINDOW, Air
from tests.unit.stories import begun, causes, ends_well, everything_aired, notices, recording
from tests.unit.world import World


def finish(world: World) -> None:
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("how", [Taken.REMOVED, Taken.MOVED])
def test_the_next_segment_starts_at_once_and_nothing_is_lost(how: Taken) -> None:
    world = recording(30.0)
    world.take_file(1, how)
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 0.5)
    assert fx.SaveFile(1) in world.performed
    world.advance(10.0)
    finish(world)
    assert causes(world) == ["rotated", "source-ended"]
    assert notices(world).count(Notice.FILE_TAKEN) == 1
    first = world.recorder.segments[0]
    assert first.evidence is not None
    assert first.evidence.file == how.value


def test_what_was_cut_is_fetched_again_as_far_as_it_is_offered() -> None:
    world = recording(20.0)
    world.take_file(1, Taken.CUT)
    assert world.advance_until(lambda world: world.recorder.state is State.ROTATING, 0.5)
    assert fx.SaveFile(1) not in world.performed
    first = world.recorder.segments[0]
    assert first.size == world.size(1), "it is seen to grow from there on"
    offered = set(range(world.aired - WINDOW, world.aired))
    world.advance(10.0)
    world.change_air(Air.ENDED)
    ends_well(world)
    assert [offered - joined for joined in world.joined] == [set()]


def test_it_is_told_once_and_tried_again_when_the_next_one_does_not_start() -> None:
    world = recording(30.0, broker_refuses=1)
    world.take_file(1)
    world.advance(60.0)
    finish(world)
    assert causes(world) == ["rotated", "launch-failed", "source-ended"]
    assert notices(world).count(Notice.FILE_TAKEN) == 1


def test_the_file_of_a_segment_that_ends_is_kept_and_nothing_starts() -> None:
    world = recording(30.0)
    world.change_air(Air.ENDED)
    world.take_file(1)
    ends_well(world)
    everything_aired(world)


def test_a_file_that_has_to_be_copied_has_longer_to_be_sealed() -> None:
    world = recording(30.0)
    assert seal_limit(world.recorder.segments[0]) == SEAL_LIMIT
    world.take_file(1)
    world.advance(0.5)
    assert seal_limit(world.recorder.segments[0]) > SEAL_LIMIT


def play(world: World) -> World:
    begun(world)
    world.after(30.0, lambda: world.take_file(1))
    world.after(60.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    return world


UNDISTURBED = play(World())


@pytest.mark.parametrize("crash_after", range(1, len(UNDISTURBED.performed) + 1))
def test_crashed_after_any_effect_it_ends_the_same(crash_after: int) -> None:
    world = play(World(crash_after={crash_after}))
    assert world.crashes == 1
    assert world.broken == []
    assert world.recorder.state is State.COMPLETED
    assert world.joined == [set(range(world.aired))]
    assert world.leftovers() == []
