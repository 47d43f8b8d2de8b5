# SPDX-License-Identifier: GPL-3.0-or-later
"""A broadcast, interrupted everywhere: the daemon is crashed after each single effect, and finishes all the same."""

from __future__ import annotations

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import State, StopReason
from streamvaultd.core.recording import events as ev
from tests.unit.broadcast import Air
from tests.unit.host import Witnesses
from tests.unit.stories import causes
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
@pytest.mark.parametrize("then", [1, 3])
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


# --- a bad day -----------------------------------------------------------------------------------------------------


def play_bad_day(world: World) -> World:
    """An OOM that only the journal tells of, a full disk, an outage, advertisements, a shutdown, a power cut."""
    world.post(lambda at: ev.RecordRequested(at=at))
    world.advance(20.0)
    if world.scopes:
        world.run_out_of_memory(max(world.scopes), Witnesses(record="none", journal=0.1))
    world.advance(15.0)
    world.fill_disk()
    world.advance(15.0)
    world.free_disk()
    world.advance(30.0)
    world.lose_network()
    world.advance(50.0)
    world.regain_network()
    world.advance(10.0)
    world.change_air(Air.ADS)
    world.advance(20.0)
    world.change_air(Air.LIVE)
    world.advance(10.0)
    world.shut_down()
    world.advance(30.0)
    world.reboot(unsynced=2)
    world.advance(40.0)
    world.change_air(Air.ENDED)
    world.finish()
    return world


def check_bad_day(world: World) -> None:
    assert world.broken == []
    assert world.recorder.state is State.COMPLETED
    assert world.wrong_deaths() == []
    assert world.leftovers() == []
    assert world.rows.is_like(world.recorder)
    assert len(world.joined) == 1
    assert {"oom", "disk-full", "network", "host-shutdown", "source-ended"} <= set(causes(world))
    assert causes(world).count("oom") == 1
    assert len(world.recorder.segments) <= len(BAD_DAY.recorder.segments) + 3  # no trail


BAD_DAY = play_bad_day(World())
EFFECTS_OF_BAD_DAY = range(1, len(BAD_DAY.performed) + 1)


def test_bad_day() -> None:
    check_bad_day(BAD_DAY)


@pytest.mark.parametrize("crash_after", EFFECTS_OF_BAD_DAY)
def test_bad_day_with_a_crash(crash_after: int) -> None:
    check_bad_day(play_bad_day(World(crash_after={crash_after})))


@pytest.mark.parametrize("crash_after", EFFECTS_OF_BAD_DAY[::3])
def test_bad_day_with_two_crashes(crash_after: int) -> None:
    check_bad_day(play_bad_day(World(crash_after={crash_after, crash_after + 2}, downtime=1.5)))


# --- as much as was asked for --------------------------------------------------------------------------------------

ENOUGH = Evidence(status=0, log=("info stream.hls: Stopping stream early after 60.00s",))


def play_enough(world: World) -> World:
    """A run that ends by itself, when it has the media of a minute, of which the window held a third."""
    world.post(lambda at: ev.RecordRequested(at=at))
    world.after(40.0, lambda: world.exit_run(max(world.scopes), ENOUGH) if world.scopes else None)
    world.finish()
    return world


WITH_ENOUGH = play_enough(World(duration=60.0))


@pytest.mark.parametrize("crash_after", range(len(WITH_ENOUGH.performed) + 1))
def test_what_has_enough_ends_with_any_crash(crash_after: int) -> None:
    world = play_enough(World(duration=60.0, crash_after={crash_after}))
    assert world.broken == []
    assert (world.recorder.state, world.recorder.stop) == (State.COMPLETED, StopReason.DURATION)
    assert [cause for cause in causes(world) if cause != "launch-failed"] == ["stopped"]
    assert len(world.joined) == 1
    assert world.leftovers() == []
    assert world.rows.is_like(world.recorder)
