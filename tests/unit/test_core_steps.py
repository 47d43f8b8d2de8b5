# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of steps: what each event does to their rows, and which of all that are due begin."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from streamvaultd.core.after import graph
from streamvaultd.core.after.graph import GRAPH, KINDS, StepKind, without_steps
from streamvaultd.core.after.machine import (
    PAUSES,
    TABLE,
    Begun,
    Done,
    Event,
    Failed,
    MediaGone,
    StepRow,
    StepStatus,
    media_gone,
    next_due,
    planned,
    startable,
    step,
)
from streamvaultd.core.after.pauses import USEC
from streamvaultd.core.model import Library, Policy

WAITING, DUE, RUNNING, DONE, FAILED, SKIPPED = StepStatus


def kind(name: str, *after: str, is_required: bool = False, tries: int = 3) -> StepKind:
    return StepKind(
        name=name, wanted=lambda _: True, program=f"programs.{name}", after=after, is_required=is_required, tries=tries
    )


@pytest.fixture(autouse=True)
def _graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """picture ─┐
    text ───────┴ copy (required) ─ last
    """
    rows = (kind("picture"), kind("text"), kind("copy", "picture", "text", is_required=True), kind("last", "copy"))
    monkeypatch.setattr(graph, "GRAPH", rows)
    for row in rows:
        monkeypatch.setitem(KINDS, row.name, row)


def statuses(rows: tuple[StepRow, ...]) -> dict[str, StepStatus]:
    return {row.step: row.status for row in rows}


def after(rows: tuple[StepRow, ...], name: str, event: Event) -> tuple[StepRow, ...]:
    changed = {row.step: row for row in step(rows, name, event)}
    return tuple(changed.get(row.step, row) for row in rows)


def test_the_real_graph_names_each_step_once_and_before_those_that_come_after_it() -> None:
    seen: set[str] = set()
    for row in GRAPH:
        assert row.name not in seen
        assert set(row.after) <= seen
        seen.add(row.name)


def test_nothing_is_planned_where_nothing_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "GRAPH", GRAPH)
    assert planned(1, Policy()) == ()
    assert [row.step for row in planned(1, Policy(thumbnail=True))] == ["thumbnail"]
    assert planned(1, without_steps(Policy(thumbnail=True))) == ()


def test_steps_are_planned_all_at_once_and_those_behind_others_wait() -> None:
    rows = planned(7, Policy())
    assert statuses(rows) == {"picture": DUE, "text": DUE, "copy": WAITING, "last": WAITING}
    assert [row.is_required for row in rows] == [False, False, True, False]
    assert {row.recording for row in rows} == {7}


def test_a_step_is_due_with_the_end_of_the_last_one_before_it() -> None:
    rows = planned(1, Policy())
    rows = after(rows, "picture", Begun(at=5, job=11))
    rows = after(rows, "picture", Done(at=6, job=11))
    assert statuses(rows)["copy"] is WAITING
    rows = after(rows, "text", Begun(at=7, job=12))
    changed = step(rows, "text", Done(at=8, job=12))
    assert statuses(changed) == {"text": DONE, "copy": DUE}


def test_an_optional_step_is_given_up_and_keeps_nothing_from_going_on() -> None:
    rows = planned(1, Policy())
    for name, job in (("text", 1), ("picture", 2)):
        rows = after(after(rows, name, Begun(at=0, job=job)), name, Done(at=1, job=job)) if name == "text" else rows
    for number in range(3):
        rows = after(rows, "picture", Begun(at=number, job=10 + number))
        rows = after(rows, "picture", Failed(at=number, job=10 + number, why="no disk"))
    assert statuses(rows) == {"picture": FAILED, "text": DONE, "copy": DUE, "last": WAITING}
    assert rows[0].why == "no disk"


def test_a_required_step_is_tried_for_ever_with_growing_pauses() -> None:
    rows = after(planned(1, Policy()), "picture", MediaGone(at=0))
    rows = after(rows, "text", MediaGone(at=0))
    pauses = []
    for job in range(1, 9):
        rows = after(rows, "copy", Begun(at=0, job=job))
        rows = after(rows, "copy", Failed(at=0, job=job, why="refused"))
        copy = rows[2]
        assert copy.status is DUE
        assert copy.retry_at is not None
        pauses.append(copy.retry_at // USEC)
    assert tuple(pauses) == (*PAUSES, *[PAUSES[-1]] * 3)


def test_what_no_later_try_can_change_is_given_up_at_once() -> None:
    rows = after(planned(1, Policy()), "text", Begun(at=0, job=1))
    assert statuses(step(rows, "text", Failed(at=1, job=1, why="another file", for_good=True))) == {"text": FAILED}


def test_a_job_that_was_lost_counts_as_no_try() -> None:
    rows = planned(1, Policy())
    for job in range(1, 20):
        rows = after(rows, "text", Begun(at=0, job=job))
        rows = after(rows, "text", Failed(at=0, job=job, why="it was lost", is_lost=True))
    assert (rows[1].status, rows[1].tries) == (DUE, 0)
    assert rows[1].retry_at == PAUSES[-1] * USEC  # a scope that nobody gives is not asked for every few seconds


def test_the_end_of_an_earlier_job_changes_nothing() -> None:
    rows = after(planned(1, Policy()), "text", Begun(at=0, job=2))
    assert step(rows, "text", Done(at=1, job=1)) == ()
    assert step(rows, "text", Failed(at=1, job=1, why="late")) == ()


def test_steps_of_media_that_are_given_up_are_over() -> None:
    rows = after(planned(1, Policy()), "text", Begun(at=0, job=2))
    gone = media_gone(rows, 9)
    assert set(statuses(gone).values()) == {SKIPPED}
    assert len(gone) == 4
    assert media_gone(gone, 10) == ()


def test_only_what_the_table_has_changes_a_row() -> None:
    """Every status, every event: a step that is over stays so."""
    events: dict[type[Event], Event] = {
        Begun: Begun(at=1, job=4), Done: Done(at=1, job=3), Failed: Failed(at=1, job=3, why="x"),
        MediaGone: MediaGone(at=1),
    }  # fmt: skip
    assert set(events) == set(get_args(Event))
    for status, event in product(StepStatus, events):
        row = StepRow(recording=1, step="alone", status=status, job=3)
        changed = step((row, StepRow(recording=1, step="text", status=DUE)), "alone", events[event])
        has_moved = any(each.step == "alone" and each.status is not status for each in changed)
        released = status is WAITING  # of a kind that nobody knows: it waits for nothing
        assert has_moved is ((status, event) in TABLE or released), (status, event)


# --- which begin -----------------------------------------------------------------------------------------------------


def due(recording: int, name: str, retry_at: int | None = None) -> StepRow:
    return StepRow(recording=recording, step=name, status=DUE, retry_at=retry_at)


def test_of_each_kind_one_begins_the_oldest_first() -> None:
    rows = [due(3, "copy"), due(2, "copy"), due(2, "text"), due(9, "text")]
    assert [(row.recording, row.step) for row in startable(rows, 0, [])] == [(2, "copy"), (2, "text")]


def test_a_kind_of_which_one_runs_waits_and_holds_up_no_other() -> None:
    rows = [due(2, "copy"), due(2, "text")]
    assert [row.step for row in startable(rows, 0, ["copy"])] == ["text"]


def test_a_pause_holds_up_its_own_recording_alone() -> None:
    rows = [due(1, "copy", 1000), due(2, "copy")]
    assert [row.recording for row in startable(rows, 999, [])] == [2]
    assert [row.recording for row in startable(rows, 1000, [])] == [1]
    assert next_due(rows, 999) == 1000
    assert next_due(rows, 1000) is None


def test_a_clock_that_was_set_back_makes_no_pause_longer_than_the_longest() -> None:
    far = due(1, "copy", 10**15)
    assert next_due([far], 5) == 5 + PAUSES[-1] * USEC


def test_steps_that_no_program_knows_are_left_alone() -> None:
    assert startable([due(1, "from-tomorrow")], 0, []) == ()
    assert next_due([replace(due(1, "from-tomorrow"), retry_at=99)], 0) is None


def test_a_remote_that_is_away_for_days_is_asked_each_six_hours_and_never_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "GRAPH", GRAPH)
    rows = planned(1, Policy(upload=("nas:rec",)))
    assert statuses(rows) == {"upload": DUE}
    assert not rows[0].is_required
    now, pauses = 0, []
    for job in range(1, 60):
        rows = after(after(rows, "upload", Begun(at=now, job=job)), "upload", Failed(at=now, job=job, why="refused"))
        assert rows[0].status is DUE
        assert rows[0].retry_at is not None
        pauses.append((rows[0].retry_at - now) // USEC)
        assert startable(rows, rows[0].retry_at - 1, []) == ()
        now = rows[0].retry_at
    assert pauses[:6] == [60, 300, 900, 3600, 3 * 3600, 6 * 3600]
    assert set(pauses[6:]) == {6 * 3600}
    assert now > 12 * 86_400 * USEC  # half of a fortnight's tries would not do
    rows = after(after(rows, "upload", Begun(at=now, job=99)), "upload", Done(at=now, job=99))
    assert statuses(rows) == {"upload": DONE}


def test_it_is_uploaded_behind_all_that_is_made_of_it_also_once_it_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "GRAPH", GRAPH)
    policy = Policy(upload=("nas:rec",), thumbnail=True, sheets=True, nfo=True)
    assert statuses(planned(1, policy)) == {"thumbnail": DUE, "nfo": DUE, "sheets": WAITING, "upload": WAITING}
    with_chat = replace(policy, chat=True, sidecars=("ass",))
    assert statuses(planned(1, with_chat)) == statuses(planned(1, policy)) | {"chat": DUE}
    for library, chat, expected in (("none", True, False), ("jellyfin", True, True), ("jellyfin", False, False)):
        found = statuses(planned(1, Policy(library=Library(library), chat=chat)))
        assert ("chat" in found) is expected
    assert statuses(planned(1, without_steps(policy))) == {"upload": DUE}
