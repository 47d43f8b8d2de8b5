# SPDX-License-Identifier: GPL-3.0-or-later
"""One broadcast, interrupted everywhere: the daemon is crashed after each single effect, and finishes all the same."""

from __future__ import annotations

import pytest

from streamvaultd.core import events as ev
from streamvaultd.core.model import State
from streamvaultd.core.verdict import Evidence
from tests.unit.broadcast import Air
from tests.unit.world import World


def kill_newest(world: World) -> None:
    """Somebody kills the newest streamlink."""
    if world.scopes:
        world.exit_run(max(world.scopes), Evidence(status=-9))


def play(world: World) -> World:
    """A broadcast of two minutes: a rotation by age, a segment is killed, the source ends."""
    world.post(lambda at: ev.RecordRequested(at=at))
    world.after(85.0, lambda: kill_newest(world))
    world.after(120.0, lambda: world.change_air(Air.ENDED))
    world.finish()
    return world


def check_complete(world: World) -> None:
    assert world.broken == []
    assert world.recorder.state is State.COMPLETED
    assert world.recorder.recording.id == 1
    assert world.joined == [set(range(world.aired))]
    assert world.leftovers() == []
    assert world.rows.is_like(world.recorder)


UNDISTURBED = play(World())
EFFECTS = range(1, len(UNDISTURBED.performed) + 1)


def test_undisturbed() -> None:
    check_complete(UNDISTURBED)
    causes = [segment.cause for segment in UNDISTURBED.recorder.segments]
    assert causes == ["rotated", "signal:9", "source-ended"]


@pytest.mark.parametrize("crash_after", EFFECTS)
def test_restart_finishes_the_broadcast(crash_after: int) -> None:
    world = play(World(crash_after={crash_after}))
    assert world.crashes == 1
    check_complete(world)


@pytest.mark.parametrize("crash_after", EFFECTS)
@pytest.mark.parametrize("then", [1, 2, 3, 5])
def test_a_second_crash_soon_after_the_first_does_no_more_harm(crash_after: int, then: int) -> None:
    world = play(World(crash_after={crash_after, crash_after + then}))
    check_complete(world)


@pytest.mark.parametrize("crash_after", EFFECTS)
def test_a_launch_whose_gate_was_never_opened(crash_after: int) -> None:
    world = World(crash_after={crash_after})
    world.scope_without_gate = True
    check_complete(play(world))


@pytest.mark.parametrize("crash_after", EFFECTS)
def test_a_daemon_that_is_away_for_a_while(crash_after: int) -> None:
    """Shorter than the window: nothing is lost."""
    check_complete(play(World(crash_after={crash_after}, downtime=8.0)))
