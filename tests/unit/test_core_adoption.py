# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new daemon takes over of a run's growth: the clock of a stall goes on, whoever looks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.names import Run
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.asking import next_probe, trouble_pause
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.policy import has_advanced
from streamvaultd.core.recording.reconcile import Facts, takeover
from tests.unit.rows import new_recorder

MEDIA = Moment(1000.0, 0)
SIZE = 5 << 20


def writing(**fields: object) -> Recorder:
    """A recording whose segment 1 had its first media at 1000 s, and was last seen to grow at 1003 s."""
    values = {"media_at": MEDIA, "started": MEDIA, "size": SIZE, "grown_at": 1003.0} | fields
    segment = Segment(number=1, phase=Phase.WRITING, since=MEDIA, **values)  # type: ignore[arg-type]
    return replace(new_recorder(), state=State.RECORDING, since=MEDIA, segments=(segment,))


def adopted(recorder: Recorder, at: float, size: int, grown: float | None = None, stepped: float = 0.0) -> Segment:
    """Segment 1 once a daemon has taken it over; the clock on the wall was set forward by `stepped` seconds."""
    now = Moment(at, round((at - MEDIA.monotonic + stepped) * 1e6))
    facts = Facts(
        live=frozenset({Run(1, 1)}), sizes={Run(1, 1): size}, grown={} if grown is None else {Run(1, 1): grown}
    )
    for event in takeover(recorder, facts, now):
        recorder, _ = step(recorder, event)
    return recorder.segments[0]


@pytest.mark.parametrize(
    ("size", "written", "grown"),
    [
        (SIZE, None, 1003.0),  # it did not grow
        (SIZE, 1500.0, 1003.0),
        (SIZE + 1, 1004.5, 1004.5),  # it grew a little, long ago
        (SIZE + 1, 1499.0, 1499.0),
        (SIZE + 1, 1700.0, 1500.0),  # the clock was set meanwhile: never later than now, nor earlier than known
        (SIZE + 1, 2.0, 1003.0),
        (SIZE + 1, None, 1500.0),
    ],
)
def test_a_file_tells_when_it_last_grew(size: int, written: float | None, grown: float) -> None:
    segment = adopted(writing(), 1500.0, size, written)
    assert (segment.grown_at, segment.measure_at) == (grown, 1501.0)


@pytest.mark.parametrize(
    ("written", "ended"),
    [(1400.0, 1400.0), (1003.0, 1003.0), (1002.9, 1003.0), (None, 1500.0), (1700.0, 1500.0), (2.0, 1500.0)],
)
def test_a_run_that_ended_unseen_ended_when_it_wrote_last(written: float | None, ended: float) -> None:
    recorder, now = writing(), Moment(1500.0, 500_000_000)
    facts = Facts(live=frozenset(), sizes={Run(1, 1): SIZE}, grown={} if written is None else {Run(1, 1): written})
    for event in takeover(recorder, facts, now):
        recorder, _ = step(recorder, event)
    assert recorder.segments[0].ended == now.at(ended)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_was_set_meanwhile_makes_no_stall_of_a_run_that_grew(days: int) -> None:
    """The date of the last write is of no use then; without it the run has its time once more."""
    stepped = days * 86400.0
    assert adopted(writing(), 1500.0, SIZE + 1, 1499.0 - stepped, stepped).grown_at == 1500.0
    assert adopted(writing(), 1500.0, SIZE, 1499.0 - stepped, stepped).grown_at == 1003.0


def test_a_run_that_has_not_advanced_does_not_count_as_advanced_because_of_a_new_daemon() -> None:
    """It fetched what the window of a frozen source held, and no more."""
    segment = adopted(writing(), 1500.0, SIZE + 188, 1003.5)
    assert not has_advanced(segment)


def test_a_run_that_hung_while_nobody_looked_is_replaced_at_the_first_look() -> None:
    recorder = replace(writing(), segments=(adopted(writing(), 1500.0, SIZE),))
    measured = ev.SizeMeasured(at=Moment(1501.0, 0), attempt=1, size=SIZE)
    after, effects = step(recorder, measured)
    assert after.segments[0].cause == "stall"
    assert fx.StopScope(1) in effects


def test_a_row_without_a_moment_of_growth_counts_from_its_phase() -> None:
    assert adopted(writing(grown_at=None), 1500.0, SIZE).grown_at == MEDIA.monotonic


def test_a_limit_that_an_administrator_lowered_is_the_one_that_counts() -> None:
    """A drop-in for the scope has the last word."""
    recorder = writing(memory_max=256 << 20)
    near = ev.SizeMeasured(at=Moment(1100.0, 0), attempt=1, size=SIZE + 1, anon=90 << 20, limit=100 << 20)
    after, effects = step(recorder, near)
    assert after.segments[0].memory_max == 100 << 20
    assert after.state is State.ROTATING
    assert fx.Launch(2) in effects
    plain, _ = step(recorder, replace(near, limit=None))
    assert plain.state is State.RECORDING


def test_a_silent_source_is_asked_often_as_long_as_its_window_may_still_hold_something() -> None:
    asked, at = [], 0.0
    while at < 300.0:
        at = next_probe(at, since=0.0, until=1000.0)
        asked.append(at)
    waits = [after - before for before, after in itertools.pairwise(asked)]
    assert max(wait for wait, before in zip(waits, asked, strict=False) if before < 150.0) == 4.0
    assert waits[-1] == 15.0


def test_a_source_that_cannot_be_reached_is_asked_each_second_for_a_minute() -> None:
    asked, at = [], 0.0
    while at < 300.0:
        at = next_probe(at, since=0.0, until=1000.0, longest=trouble_pause(at, since=0.0))
        asked.append(at)
    waits = list(zip(asked, (after - before for before, after in itertools.pairwise(asked)), strict=False))
    assert {wait for at, wait in waits if 1.0 <= at < 60.0} == {1.0}
    assert max(wait for at, wait in waits if at < 150.0) == 4.0
    assert len(asked) < 110


def test_a_site_that_is_asked_too_often_is_left_alone() -> None:
    """Whatever it may be that the next second brings."""
    silent = replace(
        new_recorder(), state=State.GRACE, since=MEDIA, grace_until=1300.0, silent_since=1000.0, probe_at=1010.0
    )
    asked, _ = step(silent, ev.ProbeDue(at=Moment(1010.0, 0)))
    trouble = ev.SourceProbed(at=Moment(1010.1, 0), probe=asked.probe, outcome=ev.Outcome.TROUBLE, detail="")
    for detail, wait in (
        ("503 Server Error: Service Unavailable for url: http://127.0.0.1/live.m3u8", 1.0),
        ("429 Client Error: Too Many Requests for url: http://127.0.0.1/live.m3u8", 15.0),
    ):
        after, _ = step(asked, replace(trouble, detail=detail))
        assert after.probe_at == pytest.approx(1010.1 + wait)
    over, _ = step(asked, replace(trouble, outcome=ev.Outcome.OFFLINE))
    assert over.probe_at == pytest.approx(1014.1)


def test_who_answers_slowly_is_asked_less_often() -> None:
    """What takes long is a site or a machine that has enough to do; but the last question before the end is asked."""
    assert next_probe(100.0, since=90.0, until=1000.0, took=0.5) == 104.0
    assert next_probe(100.0, since=90.0, until=1000.0, took=5.0) == 110.0
    assert next_probe(100.0, since=90.0, until=1000.0, took=60.0) == 115.0
    assert next_probe(100.0, since=90.0, until=110.0, took=60.0) == 108.0
