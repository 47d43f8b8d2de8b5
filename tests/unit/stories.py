# SPDX-License-Identifier: GPL-3.0-or-later
"""What stories about the core begin with and end in."""

from __future__ import annotations

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from tests.unit.broadcast import Air
from tests.unit.world import World

RUNNING = [State.STARTING, State.RECORDING, State.ROTATING, State.BACKOFF, State.GRACE, State.PAUSED]
KILLED = Evidence(status=-9)
OOM_KILLED = Evidence(status=-9, oom_kills=1)


def begun(world: World | None = None) -> World:
    world = world or World()
    world.post(lambda at: ev.RecordRequested(at=at))
    return world


def reach(state: State, world: World | None = None) -> World:
    """A world whose recording is in this state."""
    world = begun(world)
    if state is State.STARTING:
        world.advance(0.3)
    else:
        world.advance(5.0)
    if state is State.BACKOFF:
        for _ in range(2):
            world.exit_run(max(world.scopes), KILLED)
            world.advance(0.15)
    if state is State.PAUSED:
        world.fill_disk()
    if state is State.GRACE:
        world.change_air(Air.ENDED)
    if state in (State.STOPPING, State.FINALIZING, State.STOPPED):
        world.ask(lambda at: ev.StopRequested(at=at))
    if state is State.COMPLETED:
        world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is state)
    return world


def recording(seconds: float = 5.0, **faults: object) -> World:
    world = begun()
    world.advance(seconds)
    assert world.recorder.state is State.RECORDING
    for name, value in faults.items():
        setattr(world, name, value)
    return world


def ends_well(world: World, state: State = State.COMPLETED) -> None:
    assert world.finish() is state, world.recorder
    assert world.broken == []
    assert world.leftovers() == []
    assert world.wrong_deaths() == []
    assert world.rows.is_like(world.recorder)


def everything_aired(world: World) -> None:
    """The joined file has every chunk from the first one to the last."""
    assert world.joined == [set(range(world.aired))]


def state_of(world: World) -> State:
    return world.recorder.state


def causes(world: World) -> list[str | None]:
    return [segment.cause for segment in world.recorder.segments]


def notices(world: World) -> list[Notice]:
    return [told.notice for told in world.told]
