# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens, in whatever order, late or twice: the invariants hold, and every recording comes to an end.

`SV_EXAMPLES` sets how many scripts are tried for each property (100 by default).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.flows import Pulse
from streamvaultd.core.model import Moment, Recorder, State
from streamvaultd.core.pace import TARGETS, WINDOWS, Pace
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.deadlines import due
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.machine import TRANSITIONS, step
from tests.unit.broadcast import CHUNK_BYTES, GONE, SILENT, UNKNOWN_SITE, UNREACHABLE, Air
from tests.unit.host import Witnesses
from tests.unit.invariants import broken_by_step
from tests.unit.rows import BOOTED, EPOCH, POLICY, new_recorder
from tests.unit.world import World

# --- any event at any time -----------------------------------------------------------------------------------------

EVIDENCE = st.sampled_from([
    Evidence(),
    Evidence(status=0),
    Evidence(status=0, log=(SILENT,)),
    Evidence(status=1, log=(GONE,)),
    Evidence(status=1, log=(UNKNOWN_SITE,)),
    Evidence(status=1, log=("error: [Errno 28] No space left on device",)),
    Evidence(status=-9),
    Evidence(status=-9, oom_kills=1),
    Evidence(unit_result="oom-kill"),
    Evidence(error="no such file"),
    Evidence(status=1, log=(UNREACHABLE,)),
    Evidence(journal_oom=True),
    Evidence(journal_oomd=True),
    Evidence(host_down=True),
    Evidence(status=130, link_down=True),
    Evidence(status=1, disk="read-only"),
    Evidence(shim_status=-9),
])  # fmt: skip
SIZE = st.sampled_from([0, CHUNK_BYTES, 50 * CHUNK_BYTES, 200 << 30])
BACK = st.sampled_from([0, 0, 0, 1, 1, 2, 3, -1])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "attempt": BACK,
    "probe": BACK,
    "join": BACK,
    "size": SIZE,
    "anon": st.sampled_from([None, 50 << 20, 250 << 20, 2 << 30]),
    "limit": st.sampled_from([None, 100 << 20, 256 << 20]),
    "line": st.sampled_from(list(Line)),
    "how": st.sampled_from(list(ev.Taken)),
    "quality": st.sampled_from([None, "720p60"]),
    "disk": st.booleans(),
    "keep": st.booleans(),
    "for_good": st.booleans(),
    "why": st.sampled_from(["refused", None]),
    "permanent": st.booleans(),
    "files": st.integers(0, 3),
    "rule": st.sampled_from([None, "keep_recordings: there are 3 newer ones"]),
    "unwanted": st.booleans(),
    "duration": st.sampled_from([None, 3.0, 300.0]),
    "proven": st.booleans(),
    "evidence": EVIDENCE,
    "outcome": st.sampled_from(list(ev.Outcome)),
    "mark": st.sampled_from(["", "one", "another"]),
    "detail": st.just("as it is"),
    "path": st.just("/srv/r/demo/x.ts"),
    "live": st.dictionaries(st.integers(1, 6), SIZE, max_size=3),
    "pulses": st.lists(
        st.builds(
            Pulse, stream=st.integers(1, 2), is_video=st.booleans(), stamp=st.none() | st.integers(0, 10**7),
            units=st.integers(0, 100), pause=st.sampled_from([0.0, 0.04, 4.0]),
        ),
        max_size=2, unique_by=lambda pulse: pulse.stream,
    ).map(tuple),
    "unfit": st.sampled_from([None, "it is Matroska"]),
    "ended": st.sampled_from([None, Moment(BOOTED, EPOCH)]),
    "grown": st.dictionaries(st.integers(1, 6), st.floats(0.0, 1e6), max_size=3),
    "written": st.none() | st.floats(0.0, 1e6),
    "pace": st.none() | st.builds(Pace, target=st.floats(*TARGETS), window=st.floats(*WINDOWS)),
}  # fmt: skip
Happening = tuple[float, type[ev.Event], dict[str, Any]]


def values_of(kind: type[ev.Event]) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name in kind.__dataclass_fields__ if name != "at"]
    told = {name: VALUES[name] for name in names}
    if kind is not ev.JoinEnded and "why" in told:
        told["why"] = st.just("refused")
    return st.fixed_dictionaries(told)


HAPPENING = st.sampled_from(ev.EVENTS).flatmap(
    lambda kind: st.tuples(st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]), st.just(kind), values_of(kind))
)


def event_of(recorder: Recorder, kind: type[ev.Event], values: dict[str, Any], at: Moment) -> ev.Event:
    """The event; its identity is counted back from the latest one, so that it is as often stale as it is not."""
    latest = {"attempt": recorder.next_number - 1, "probe": recorder.probe, "join": recorder.joins}
    told = {name: latest[name] - value if name in latest else value for name, value in values.items()}
    return kind(at=at, **told)


class Script:
    """A recorder to which anything happens, and a count of what was asked for each scope."""

    def __init__(self, duration: float | None) -> None:
        self.recorder = new_recorder(policy=replace(POLICY, min_duration=60.0), duration=duration)
        self.seconds = 0.0
        self.launched: set[int] = set()
        self.came_up: set[int] = set()
        self.left_alone: set[int] = set()  # came up, and nobody asked it to stop since
        self.seen: list[tuple[State, type[ev.Event], State]] = []

    @property
    def at(self) -> Moment:
        return Moment(BOOTED + self.seconds, EPOCH + round(self.seconds * 1e6))

    def take(self, event: ev.Event) -> None:
        after, effects = step(self.recorder, event)
        assert broken_by_step(self.recorder, after, effects, event) == []
        self.seen.append((self.recorder.state, type(event), after.state))
        if isinstance(event, ev.ScopeStarted) and event.attempt in self.launched - self.came_up:
            self.came_up.add(event.attempt)
            self.left_alone.add(event.attempt)
        if isinstance(event, ev.SegmentExited | ev.LaunchFailed):
            self.came_up.add(event.attempt)
            self.left_alone.discard(event.attempt)
        for effect in effects:
            if isinstance(effect, fx.Launch):
                assert effect.attempt not in self.launched
                self.launched.add(effect.attempt)
            if isinstance(effect, fx.StopScope):
                self.left_alone.discard(effect.attempt)
        self.recorder = after

    def check(self) -> None:
        """No scope is up that no segment claims and that was not asked to stop."""
        claimed = {segment.number for segment in self.recorder.live}
        assert self.left_alone <= claimed

    def settle(self) -> None:
        """Every deadline that is due; each has to lead on."""
        for _ in range(20):
            event = due(self.recorder, self.at)
            if event is None:
                return
            self.take(event)
        raise AssertionError(f"deadlines without end in {self.recorder.state}: {due(self.recorder, self.at)}")


@given(st.lists(HAPPENING, max_size=50), st.booleans(), st.sampled_from([None, 30.0]))
def test_any_events_break_no_invariant(happenings: list[Happening], settle: bool, duration: float | None) -> None:
    script = Script(duration)
    for wait, kind, values in happenings:
        script.seconds += wait
        if settle:
            script.settle()
        script.take(event_of(script.recorder, kind, values, script.at))
        script.check()


def test_every_pair_of_state_and_event_is_in_the_table() -> None:
    assert all(set(TRANSITIONS[state]) == set(ev.EVENTS) for state in State)


# --- a world in which anything happens -----------------------------------------------------------------------------


def kill(world: World) -> None:
    if world.scopes:
        world.kill(max(world.scopes))


def kill_with_shim(world: World) -> None:
    if world.scopes:
        world.kill(min(world.scopes), record=False)


def kill_shim(world: World) -> None:
    if world.scopes and world.scopes[max(world.scopes)].shim:
        world.kill_shim(max(world.scopes))


def kill_all(world: World) -> None:
    for attempt in list(world.scopes):
        world.kill(attempt)


def out_of_memory(**witnesses: Any) -> Callable[[World], None]:
    def happen(world: World) -> None:
        if world.scopes and max(world.scopes) not in world.notes:
            world.notes.add(max(world.scopes))  # what befalls it besides may end it first
            world.run_out_of_memory(max(world.scopes), Witnesses(**witnesses))

    return happen


def leak(world: World) -> None:
    world.anon, world.leak = 50 << 20, 3 << 20


def disk_low(world: World) -> None:
    world.disk = "full"
    world.tell(lambda at: ev.DiskLow(at=at, why="less than an hour is left"))


def disk_freed(world: World) -> None:
    world.free_disk()
    world.tell(lambda at: ev.DiskFreed(at=at))


def host_stays(world: World) -> None:
    if world.is_going_down:
        world.call_off_shutdown()


def stall(world: World) -> None:
    for run in world.scopes.values():
        run.stalled = True


def miss(world: World) -> None:
    if world.scopes:
        world.miss(max(world.scopes))


def air(condition: Air) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.change_air(condition)

    return change


def fault(name: str, value: object) -> Callable[[World], None]:
    def set_fault(world: World) -> None:
        setattr(world, name, value)

    return set_fault


def hang_seals(world: World) -> None:
    """Once in a story: a disk that never answers leaves more behind than this is about."""
    if "seal hangs" not in world.notes:
        world.notes.add("seal hangs")
        world.seals_hang = 2


def again(back: int) -> Callable[[World], None]:
    """An event of the past comes once more; not one that would be a lie about the machine as it is now."""

    def repeat(world: World) -> None:
        if back < len(world.seen) and not isinstance(world.seen[-1 - back], ev.Restarted | ev.HostStopping):
            world.handle(world.seen[-1 - back])

    return repeat


STEPS: dict[str, Callable[[World], None]] = {
    "kill": kill,
    "kill with shim": kill_with_shim,
    "kill all": kill_all,
    "kill shim": kill_shim,
    "miss": miss,
    "oom": out_of_memory(),
    "oom, told by systemd": out_of_memory(record="status", unit=-0.1, twice=True),
    "oom, told by the journal": out_of_memory(record="none", journal=3.0),
    "oom, told by the kernel before": out_of_memory(record="none", kernel=-0.5, journal=-0.4, twice=True),
    "leak": leak,
    "disk is full": World.fill_disk,
    "disk is low": disk_low,
    "disk is free": World.free_disk,
    "disk is said to be free": disk_freed,
    "disk seems free": fault("disk_seems_free", True),
    "no network": World.lose_network,
    "network": World.regain_network,
    "ads": air(Air.ADS),
    "host stops": World.begin_shutdown,
    "host stops, told late": lambda world: world.begin_shutdown(told=0.8),
    "host stays": host_stays,
    "orderly reboot": World.shut_down,
    "power cut": lambda world: world.reboot(unsynced=3),
    "stall": stall,
    "live": air(Air.LIVE),
    "ended": air(Air.ENDED),
    "offline": air(Air.OFFLINE),
    "frozen": air(Air.FROZEN),
    "broker refuses": fault("broker_refuses", 2),
    "launch hangs": fault("launches_hang", 1),
    "launch without gate": fault("scope_without_gate", True),
    "stop is ignored": fault("next_stops_needed", 3),
    "seal hangs": hang_seals,
    "join fails": fault("join_failures", 1),
    "crash": World.restart,
    "reboot": World.reboot,
    "stop": lambda world: world.ask(lambda at: ev.StopRequested(at=at)),
    "over": lambda world: world.ask(lambda at: ev.BroadcastOver(at=at, why="another one")),
    "unwanted": lambda world: world.ask(lambda at: ev.BroadcastOver(at=at, why="its title", unwanted=True)),
    "discard fails": fault("discards_fail", 2),
    "rotate": lambda world: world.ask(lambda at: ev.RotateRequested(at=at)),
    **{f"again {back}": again(back) for back in (0, 1, 2, 5, 10)},
}
WAIT = st.sampled_from([0.0, 0.01, 0.05, 0.3, 0.7, 2.0, 10.0, 40.0])


@given(
    st.lists(st.tuples(WAIT, st.sampled_from(sorted(STEPS))), max_size=25),
    st.sampled_from([None, 30.0]),
    st.sampled_from([Air.OFFLINE, Air.ENDED, Air.FROZEN]),
)
def test_any_story_comes_to_its_end(story: list[tuple[float, str]], duration: float | None, end: Air) -> None:
    world = World(policy=replace(POLICY, min_duration=60.0), duration=duration)
    world.post(lambda at: ev.RecordRequested(at=at))
    for wait, name in story:
        world.advance(wait)
        STEPS[name](world)
    world.change_air(end)
    world.free_disk()
    world.regain_network()
    host_stays(world)
    before = world.deadlines_met
    world.finish()
    assert world.broken == []
    assert world.wrong_deaths() == []
    assert world.recorder.state.is_final
    assert world.is_settled
    assert world.leftovers() == []
    assert world.deadlines_met - before <= 150
