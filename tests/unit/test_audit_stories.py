# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit finds nothing wherever it falls into any story, however much moves; and it finds what is really wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.core.model import State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.upkeep.audit import audit
from streamvaultd.core.upkeep.violations import Kind
from tests.unit.auditing import Auditor, Interrupted
from tests.unit.broadcast import Air, Run
from tests.unit.rows import POLICY
from tests.unit.stories import RUNNING, begun, reach, recording
from tests.unit.test_core_properties import STEPS, WAIT
from tests.unit.world import World

REALLY_WRONG: Final = frozenset({"seal hangs"})
"""A disk that never answers leaves an empty file, which is a violation."""


def audited(world: World) -> list[str]:
    try:
        return [f"{violation.kind} {violation.subject}: {violation.what}" for violation in Auditor(world).run()]
    except Interrupted:
        return []


@given(
    st.lists(st.tuples(WAIT, st.sampled_from(sorted(STEPS.keys() - REALLY_WRONG)), st.booleans()), max_size=25),
    st.sampled_from([None, 30.0]),
)
def test_no_story_makes_an_audit_cry_wolf(story: list[tuple[float, str, bool]], duration: float | None) -> None:
    world = World(policy=replace(POLICY, min_duration=60.0), duration=duration)
    world.post(lambda at: ev.RecordRequested(at=at))
    for wait, name, is_audited in story:
        world.advance(wait)
        STEPS[name](world)
        if is_audited and world.up:
            assert audited(world) == []


@pytest.mark.parametrize("state", [*RUNNING, State.STOPPING, State.FINALIZING, State.COMPLETED, State.STOPPED])
def test_no_state_is_a_violation(state: State) -> None:
    assert audited(reach(state)) == []


def test_media_that_are_being_discarded_are_no_violation() -> None:
    world = begun(World(policy=replace(POLICY, min_duration=60.0)))
    world.advance(5.0)
    world.change_air(Air.ENDED)
    assert world.advance_until(lambda world: world.recorder.state is State.DISCARDING)
    assert audited(world) == []
    world.files.clear()  # some are gone, and then it fails
    world._agenda.clear()
    assert audited(world) == []


# --- what is wrong is found ----------------------------------------------------------------------------------------


def kinds(world: World) -> list[Kind]:
    return [violation.kind for violation in Auditor(world).run()]


def test_a_scope_that_is_gone_without_a_sign() -> None:
    world = recording()
    world.scopes.clear()
    assert kinds(world) == [Kind.RUN_LOST]


def test_a_scope_that_nobody_asked_for() -> None:
    world = recording()
    world.scopes[9] = Run(9)
    assert kinds(world) == [Kind.SCOPE_UNKNOWN, Kind.PIPE_LEFT]


def test_a_run_that_is_not_watched() -> None:
    world = recording()
    world.watched.clear()
    assert kinds(world) == [Kind.RUN_UNWATCHED]


def test_files_that_are_gone_or_belong_to_nobody() -> None:
    world = recording()
    world.files[7] = [1, 2]
    world.files[8] = []
    del world.files[1]
    assert kinds(world) == [Kind.FILE_EMPTY, Kind.MEDIA_UNKNOWN, Kind.MEDIA_GONE]


def test_rows_that_are_not_what_the_daemon_knows() -> None:
    world = recording()
    world.rows.segments.clear()
    assert [violation.kind for violation in audit(Auditor(world).look())] == [Kind.ROW_BEHIND]
    # the next save writes them again: the third look does not see it any more
    assert kinds(world) == []
