# SPDX-License-Identifier: GPL-3.0-or-later
"""The manager still listens to recordings that are over: a scope may start, and a witness may tell, after the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.recording.inbox import SETTLED_KEPT
from streamvaultd.recording.manager import Manager
from tests.fakes.managing import new_manager
from tests.unit.rows import EPOCH, new_recorder

AT = Moment(100.0, EPOCH)


class ClockThatStands:
    def now(self) -> Moment:
        return AT


class Performed:
    """An executor that only notes what it is to do."""

    def __init__(self) -> None:
        self.effects: list[tuple[int, fx.Effect]] = []

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        self.effects += [(recorder.recording.id, effect) for effect in effects]


def failed(recording: int) -> Recorder:
    """A recording whose only segment was given up."""
    wanted = new_recorder()
    segment = Segment(
        number=1,
        phase=Phase.ENDED,
        since=AT,
        ended=AT,
        cause="launch-failed",
        evidence=Evidence(asked="launch-failed"),
    )
    return replace(
        wanted, recording=replace(wanted.recording, id=recording), state=State.FAILED, segments=(segment,), ended=AT
    )


def manager_of(*recorders: Recorder) -> tuple[Manager, Performed]:
    performed = Performed()
    manager = new_manager(performed, ClockThatStands())
    for recorder in recorders:
        manager.take(recorder)
    return manager, performed


async def test_a_scope_that_starts_after_the_end_of_its_recording_is_stopped() -> None:
    manager, performed = manager_of(failed(7))
    manager.post(7, ev.ScopeStarted(at=AT, attempt=1))
    await manager.drain()
    assert performed.effects == [(7, fx.StopScope(1))]
    manager.post(7, ev.SegmentExited(at=AT, attempt=1, evidence=Evidence(status=130)))
    await manager.drain()
    assert (7, fx.Seal(1)) in performed.effects


async def test_a_witness_that_tells_after_the_end_is_heard() -> None:
    manager, performed = manager_of(failed(7))
    manager.post(7, ev.EvidenceArrived(at=AT, attempt=1, evidence=Evidence(journal_oom=True)))
    await manager.drain()
    saves = [effect for _, effect in performed.effects if isinstance(effect, fx.Save)]
    assert [segment.cause for segment in saves[-1].recorder.segments] == ["oom"]


async def test_nobody_can_ask_for_anything_any_more() -> None:
    manager, performed = manager_of(failed(7))
    assert manager.recorders == {}
    asked = asyncio.create_task(manager.submit(7, ev.StopRequested(at=AT)))
    await asyncio.sleep(0)
    await manager.drain()
    assert await asked == manager.known(7)
    assert performed.effects == []


async def test_only_the_latest_are_kept() -> None:
    manager, performed = manager_of(*(failed(number) for number in range(1, SETTLED_KEPT + 2)))
    for number in (1, 2):
        manager.post(number, ev.ScopeStarted(at=AT, attempt=1))
    await manager.drain()
    assert performed.effects == [(2, fx.StopScope(1))]
