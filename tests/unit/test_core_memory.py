# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories of memory: who tells of a death for want of it, the limit that rises and falls, early rotation."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import LASTING, MEMORY_NEAR, MEMORY_PATIENCE, QUIET
from tests.unit.broadcast import Air
from tests.unit.host import Witnesses
from tests.unit.rows import POLICY
from tests.unit.stories import OOM_KILLED, begun, causes, ends_well, everything_aired, notices, recording, state_of
from tests.unit.world import World

MIB = 1 << 20
LIMIT, CEILING = 256 * MIB, 1024 * MIB
STEADY_POLICY = replace(POLICY, rotate_age=1e9, stall_timeout=30.0)

# --- witnesses -----------------------------------------------------------------------------------------------------

WHEN = (None, -0.5, 0.0, 5.0)
"""Never; before the end; with it, and told first; long after it."""
ALL_WITNESSES = [
    Witnesses(record=record, unit=unit, journal=journal, kernel=0.1 if twice else None, twice=twice)
    for record, unit, journal, twice in product(("counted", "status", "none"), WHEN, WHEN, (False, True))
]


def test_systemd_tells_peak_and_limit_where_the_shim_was_killed_too() -> None:
    """The limit in force may be another than the one that was asked for: an administrator may have lowered it."""
    world = recording(20.0)
    world.run_out_of_memory(1, Witnesses(record="none", unit=0.0))
    world.advance(0.5)
    told = Evidence(memory_peak=24 * MIB, memory_max=24 * MIB)
    world.post(lambda at: ev.EvidenceArrived(at=at, attempt=1, evidence=told))
    world.advance(5.0)
    first = world.recorder.segments[0]
    assert first.evidence is not None
    assert (first.cause, first.memory_peak, first.evidence.memory_max) == ("oom", 24 * MIB, 24 * MIB)
    assert world.recorder.deaths == 1


def told_of(witnesses: Witnesses) -> str:
    return " ".join(f"{name}={getattr(witnesses, name)}" for name in ("record", "unit", "journal", "kernel", "twice"))


def is_told(witnesses: Witnesses) -> bool:
    others = (witnesses.unit, witnesses.journal, witnesses.kernel)
    return witnesses.record == "counted" or others != (None, None, None)


@pytest.mark.parametrize("witnesses", ALL_WITNESSES, ids=told_of)
def test_whoever_tells_whenever_and_however_often_it_is_one_death_for_want_of_memory(witnesses: Witnesses) -> None:
    world = recording(20.0)
    world.run_out_of_memory(1, witnesses)
    world.advance(10.0)
    assert state_of(world) is State.RECORDING
    assert world.recorder.deaths == 1
    assert notices(world).count(Notice.SEGMENT_DIED) == 1
    assert notices(world).count(Notice.CAUSE_CORRECTED) <= 1
    assert notices(world).count(Notice.MEMORY_RAISED) == (1 if is_told(witnesses) else 0)
    if is_told(witnesses):
        assert causes(world) == ["oom", None]
        assert world.recorder.memory_max == LIMIT * 3 // 2
    else:
        assert causes(world) == ["signal:9", None]  # nothing more can be known
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("told", [0.3, 0.9])
@pytest.mark.parametrize("record", ["counted", "none"])
def test_the_witnesses_are_heard_by_the_next_daemon(record: str, told: float) -> None:
    """It was away when the run died, or just after it had heard a witness that came first."""
    world = recording(20.0)
    world.run_out_of_memory(1, Witnesses(record=record, journal=told - 1.0))
    world.advance(0.5)
    world.crash()
    world.advance(10.0)
    world.journal.clear()  # of what came before the crash it is not told again
    if told > 0.5:
        world.journal[1] = Evidence(journal_oom=True)
    world.restart()
    world.advance(5.0)
    assert causes(world) == ["oom", None]
    world.change_air(Air.ENDED)
    ends_well(world)


def test_a_witness_of_an_end_that_an_earlier_daemon_noted_is_heard_by_the_next() -> None:
    world = recording(20.0)
    world.kill(1, record=False)
    world.advance(1.0)
    assert causes(world) == ["signal:9", None]
    world.killed[1] = frozenset({"oom"})
    world.journal[1] = Evidence(journal_oom=True)
    world.restart()
    world.advance(1.0)
    assert causes(world) == ["oom", None]
    assert world.recorder.deaths == 1
    world.change_air(Air.ENDED)
    ends_well(world)


def test_the_exit_record_may_come_after_the_end_was_noted() -> None:
    world = recording(20.0)
    world.kill(1, record=False)
    world.advance(1.0)
    record = replace(OOM_KILLED, memory_peak=250 * MIB)
    world.post(lambda at: ev.SegmentExited(at=at, attempt=1, evidence=record))
    world.advance(1.0)
    segment = world.recorder.segments[0]
    assert (segment.cause, segment.exit_status, segment.memory_peak) == ("oom", -9, 250 * MIB)
    assert world.recorder.deaths == 1


def test_a_run_that_was_asked_to_stop_and_ran_out_of_memory() -> None:
    world = recording(20.0)
    world.next_stops_needed = 99
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.scopes[1].stops_needed = 99
    world.advance(5.0)
    assert causes(world) == ["rotated", None]
    world.exit_run(1, OOM_KILLED)
    world.advance(1.0)
    assert causes(world) == ["oom", None]
    assert state_of(world) is State.RECORDING


@pytest.mark.parametrize("cause", ["rotated", "unkillable", "launch-failed"])
def test_other_witnesses_do_not_change_what_we_have_done_ourselves(cause: str) -> None:
    world = recording(20.0)
    if cause == "unkillable":
        world.scopes[1].stops_needed = 99
    if cause == "launch-failed":
        world.broker_refuses = 1
    world.ask(lambda at: ev.RotateRequested(at=at))
    world.advance(0.2 if cause == "launch-failed" else 5.0 + POLICY.stop_timeout * 4)
    attempt = 2 if cause == "launch-failed" else 1
    for evidence in (Evidence(unit_result="timeout"), Evidence(host_down=True), Evidence(shim_status=-9)):
        world.handle(ev.EvidenceArrived(at=world.now, attempt=attempt, evidence=evidence))
    assert causes(world)[attempt - 1] == cause
    assert Notice.CAUSE_CORRECTED not in notices(world)


def test_an_end_that_was_judged_without_noting_why_is_corrected_by_an_oom_alone() -> None:
    """As rows of an earlier version have it."""
    world = recording(20.0)
    world.kill(1)
    world.advance(5.0)
    world.recorder = replace(
        world.recorder, segments=(replace(world.recorder.segments[0], evidence=None), *world.recorder.segments[1:])
    )
    for evidence in (Evidence(unit_result="timeout"), Evidence(link_down=True), Evidence(status=0)):
        world.handle(ev.EvidenceArrived(at=world.now, attempt=1, evidence=evidence))
    assert causes(world) == ["signal:9", None]
    world.handle(ev.EvidenceArrived(at=world.now, attempt=1, evidence=Evidence(journal_oom=True)))
    assert causes(world) == ["oom", None]


def test_what_is_given_up_and_dies_at_last_is_tidied_up() -> None:
    world = recording(20.0)
    world.scopes[1].stops_needed = 99
    world.ask(lambda at: ev.StopRequested(at=at))
    world.advance(POLICY.stop_timeout * 4 + 1.0)
    assert causes(world) == ["unkillable"]
    world.exit_run(1, OOM_KILLED)
    assert 1 in world.pipes
    world.advance(1.0)
    assert causes(world) == ["oom"]
    ends_well(world, State.STOPPED)


# --- the ladder ----------------------------------------------------------------------------------------------------


def limits(world: World) -> list[int]:
    return [(segment.memory_max or 0) // MIB for segment in world.recorder.segments]


def test_each_death_for_want_of_memory_gives_the_next_run_more_up_to_the_ceiling() -> None:
    world = recording(20.0)
    for _ in range(6):
        world.exit_run(max(world.scopes), OOM_KILLED)
        world.advance(15.0)
    assert limits(world) == [256, 384, 576, 864, 1024, 1024, 1024]
    assert notices(world).count(Notice.MEMORY_RAISED) == 4
    assert world.broken == []


def test_a_limit_that_is_configured_above_the_ceiling_stays() -> None:
    world = begun(World(policy=replace(POLICY, memory_max=2048 * MIB)))
    world.advance(5.0)
    world.exit_run(1, OOM_KILLED)
    world.advance(5.0)
    assert limits(world) == [2048, 2048]
    assert Notice.MEMORY_RAISED not in notices(world)


def test_other_deaths_systemd_oomd_and_a_machine_without_memory_raise_nothing() -> None:
    world = recording(20.0)
    world.exit_run(1, Evidence(status=-9))
    world.advance(5.0)
    world.exit_run(2, Evidence(unit_result="oom-kill", journal_oomd=True))
    world.advance(5.0)
    world.exit_run(3, replace(OOM_KILLED, memory_max=LIMIT, memory_peak=LIMIT // 4))  # it was the machine's memory
    world.advance(5.0)
    assert causes(world) == ["signal:9", "oomd", "oom", None]
    assert limits(world) == [256, 256, 256, 256]


QUIET_POLICY = replace(POLICY, rotate_age=QUIET / 2, stall_timeout=QUIET)


def test_quiet_days_bring_the_limit_down_step_by_step() -> None:
    world = begun(World(policy=QUIET_POLICY))
    for _ in range(3):
        world.advance(5.0)
        world.exit_run(max(world.scopes), OOM_KILLED)
    world.advance(5.0)
    assert limits(world) == [256, 384, 576, 864]
    world.advance(4 * QUIET)
    assert limits(world)[4:] == [864, 576, 576, 384, 384, 256, 256, 256]
    assert world.recorder.deaths == 3


def test_a_death_after_quiet_days_raises_from_where_the_limit_is_now() -> None:
    world = begun(World(policy=QUIET_POLICY))
    for _ in range(3):
        world.advance(5.0)
        world.exit_run(max(world.scopes), OOM_KILLED)
    world.advance(2.8 * QUIET)
    assert limits(world)[-1] == 384
    world.exit_run(max(world.scopes), OOM_KILLED)
    world.advance(5.0)
    assert limits(world)[-1] == 576


def test_the_limit_and_its_quiet_days_outlive_the_daemon() -> None:
    world = begun(World(policy=QUIET_POLICY))
    world.advance(5.0)
    world.exit_run(1, OOM_KILLED)
    world.advance(5.0)
    world.restart()
    world.advance(QUIET * 0.9)
    assert limits(world) == [256, 384, 384]
    world.advance(QUIET)
    assert limits(world)[-1] == 256


# --- early rotation ------------------------------------------------------------------------------------------------


def test_a_leak_is_answered_by_a_rotation_before_the_kernel_does() -> None:
    world = begun(World(policy=STEADY_POLICY))
    world.anon, world.leak = 50 * MIB, 1.0 * MIB
    seen: list[float] = []
    for _ in range(1200):
        world.advance(1.0)
        seen += [(world.anon_of(n) or 0) / (world.recorder.segments[n - 1].memory_max or 1) for n in world.scopes]
    assert max(seen) < 0.95
    assert set(causes(world)[:-1]) == {"rotated"}
    assert world.recorder.deaths == 0
    assert limits(world)[:3] == [256, 384, 576]
    assert notices(world).count(Notice.MEMORY_NEAR) == len(world.recorder.segments) - 1
    world.change_air(Air.ENDED)
    ends_well(world)
    everything_aired(world)


@pytest.mark.parametrize("limit", [LIMIT, CEILING])
def test_a_run_that_needs_that_much_is_not_rotated_in_a_loop(limit: int) -> None:
    """More room is given while there is some, then it is left alone for a while."""
    world = begun(World(policy=replace(STEADY_POLICY, memory_max=limit)))
    world.anon, world.leak = round(CEILING * MEMORY_NEAR) + MIB, 100.0
    world.advance(3600.0)
    rotations = len(world.recorder.segments) - 1
    raises = 4 if limit == LIMIT else 0
    assert raises <= rotations <= raises + 3600.0 / MEMORY_PATIENCE
    assert set(causes(world)[:-1]) == {"rotated"}
    assert world.deadlines_met < 3600 / 10 * 1.5  # nor is it looked at all the time


def test_an_early_rotation_that_fails_is_tried_again_later() -> None:
    world = begun(World(policy=STEADY_POLICY))
    world.anon = round(LIMIT * MEMORY_NEAR) + MIB
    world.advance(LASTING - 5.0)
    world.broker_refuses = 3
    world.advance(120.0)
    assert causes(world) == ["rotated", *["launch-failed"] * 3, None]
    assert world.recorder.deaths == 0


def test_a_young_run_is_not_rotated_for_its_memory() -> None:
    world = begun(World(policy=STEADY_POLICY))
    world.anon = LIMIT - MIB
    world.advance(LASTING - 1.0)
    assert len(world.recorder.segments) == 1


def test_a_run_that_is_near_its_limit_early_is_rotated_as_soon_as_it_is_old_enough() -> None:
    world = begun(World(policy=replace(STEADY_POLICY, stall_timeout=90.0)))
    world.anon = round(LIMIT * MEMORY_NEAR) + MIB
    world.advance(LASTING + 2.0)
    assert len(world.recorder.segments) == 2


def test_where_the_kernel_does_not_count_memory_nothing_is_concluded_from_it() -> None:
    world = begun(World(policy=STEADY_POLICY))
    world.advance(600.0)
    assert len(world.recorder.segments) == 1
