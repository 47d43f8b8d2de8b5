# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that another hand has written: whatever they say, the recording goes on or ends, and nothing falls over.

That rows which nobody has changed stay as they are is looked at in test_core_table.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State, StopReason
from streamvaultd.core.recording.deadlines import next_deadline
from streamvaultd.core.upkeep.recovery import coherent
from tests.unit.broadcast import CHUNK_BYTES, Air, Run
from tests.unit.rows import BOOTED, EPOCH, new_recorder
from tests.unit.world import World

LONG_AGO = Moment(BOOTED, EPOCH)
NOW = Moment(BOOTED + 50.0, EPOCH + 50_000_000)
UNFINISHED = [state for state in State if not state.is_final]
PHASES = [phases for count in range(3) for phases in itertools.product(Phase, repeat=count)]


def segment(number: int, phase: Phase) -> Segment:
    has_media = phase not in (Phase.LAUNCHING, Phase.WAITING)
    return Segment(
        number=number, phase=phase, since=LONG_AGO, started=LONG_AGO, media_at=LONG_AGO if has_media else None,
        ended=LONG_AGO if phase.is_over else None, size=3 * CHUNK_BYTES if has_media else 0, grown_at=BOOTED,
    )  # fmt: skip


def written_by_hand(state: State, phases: tuple[Phase, ...], **fields: object) -> Recorder:
    segments = tuple(segment(number, phase) for number, phase in enumerate(phases, 1))
    recorder = replace(new_recorder(), state=state, since=LONG_AGO, segments=segments)
    return replace(recorder, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", UNFINISHED)
def test_every_state_has_a_deadline_afterwards(state: State) -> None:
    for phases in PHASES:
        recorder = coherent(written_by_hand(state, phases), NOW)
        assert recorder.state.is_final or next_deadline(recorder) is not None, phases
        assert coherent(recorder, NOW) == recorder


@pytest.mark.timeout(60)
@pytest.mark.parametrize("state", UNFINISHED)
@pytest.mark.parametrize("runs", [False, True])
def test_it_comes_to_its_end(state: State, *, runs: bool) -> None:
    """With scopes that live as the rows say, or none; the machine raises if it is led where it may not go."""
    for phases in PHASES:
        world = World()
        world.advance(50.0)
        world.crash()
        recorder = coherent(written_by_hand(state, phases), world.now)
        world.rows.segments.clear()
        world.rows.save(recorder, recorder.segments)
        for each in recorder.segments:
            if each.size and each.phase is not Phase.REMOVED:
                world.files[each.number] = [each.number]
            if runs and each.phase.is_live:
                world.start_run(Run(each.number))
        world.restart()
        world.advance(30.0)
        world.change_air(Air.ENDED)
        world.finish()
        assert world.recorder.state.is_final, (phases, world.recorder)
        assert world.scopes == {}, phases


def test_one_that_is_joined_is_over() -> None:
    recorder = written_by_hand(State.RECORDING, (Phase.REMOVED, Phase.REMOVED), path="/srv/r/demo/x.ts")
    assert coherent(recorder, NOW).state is State.COMPLETED
    asked = replace(recorder, stop=StopReason.REQUESTED)
    assert coherent(asked, NOW).state is State.STOPPED
    assert coherent(asked, NOW).ended == LONG_AGO


@pytest.mark.parametrize(
    ("state", "phases", "then"),
    [
        (State.RECORDING, (Phase.ENDED,), State.BACKOFF),
        (State.ROTATING, (), State.BACKOFF),
        (State.ROTATING, (Phase.WRITING,), State.RECORDING),
        (State.GRACE, (Phase.WRITING,), State.RECORDING),
        (State.FINALIZING, (Phase.WRITING,), State.STOPPING),
        (State.STOPPING, (Phase.ENDED,), State.FINALIZING),
        (State.STOPPING, (), State.FAILED),
    ],
)
def test_the_state_that_its_segments_allow(state: State, phases: tuple[Phase, ...], then: State) -> None:
    assert coherent(written_by_hand(state, phases), NOW).state is then
