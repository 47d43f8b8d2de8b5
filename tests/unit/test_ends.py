# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of the end of a segment: its evidence, the verdict on it, and what was told around it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from streamvaultd.api.why import end_views, evidence_view
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Segment, State
from streamvaultd.core.recording.effects import Notice
from streamvaultd.varlink import idl
from streamvaultd.varlink.server import read_definition
from tests.unit.rows import EPOCH, new_recorder

INTERFACE = idl.parse(read_definition("io.streamvault.Recorder"))
EVERYTHING = Evidence(
    status=-9,
    error="cannot execute streamlink",
    oom_kills=1,
    memory_peak=64 << 20,
    memory_max=64 << 20,
    max_rss=51_200,
    cpu_usec=1_234_567,
    asked="stall",
    shim_status=-9,
    dated=1_795_426_110_740_000,
    unit_result="oom-kill",
    journal_oom=True,
    journal_oomd=True,
    unit_stopped=True,
    file="cut",
    kernel_oom="Memory cgroup out of memory: Killed process 7 (streamlink)",
    host_down=True,
    link_down=True,
    disk="full",
    log=("error: one", "error: two"),
)


@dataclass(frozen=True)
class Row:
    """An event as the store knows it."""

    kind: str
    segment: int | None = None
    at: int = EPOCH
    priority: int = 5
    message: str = "told"
    cause: str | None = None


def told(*kinds: tuple[Notice, int | None]) -> list[Row]:
    return [Row(kind, segment) for kind, segment in kinds]


def at(seconds: float) -> Moment:
    return Moment(1000.0 + seconds, EPOCH + round(seconds * 1e6))


def part(number: int, begin: float, end: float | None, **more: Any) -> Segment:
    """A segment that ran, recorded a second later, and ended."""
    phase = Phase.ENDED if end is not None else Phase.WRITING
    return Segment(
        number=number, phase=phase, since=at(begin), started=at(begin), media_at=at(begin + 1), size=188,
        ended=None if end is None else at(end), **more,
    )  # fmt: skip


def views(segments: list[Segment], rows: list[Row] | None = None, only: int | None = None) -> list[dict[str, Any]]:
    """The Ends, held against the interface."""
    recorder = replace(new_recorder(), state=State.RECORDING, segments=tuple(segments))
    ends = end_views(recorder, rows or [], only)
    INTERFACE.validate_reply("Why", {"ends": ends})
    return ends


def story(number: int, *kinds: tuple[Notice, int | None]) -> list[tuple[str, int | None]]:
    """What is told around the end of one of three segments, when all this was told."""
    (end,) = views([part(1, 0, 10), part(2, 10, 20), part(3, 20, 30)], told(*kinds), number)
    return [(event["kind"], event.get("segment")) for event in end["events"]]


# --- evidence and verdict ------------------------------------------------------------------------------------------


def test_every_witness_has_a_field_in_the_interface() -> None:
    assert all(value not in (None, ()) for value in asdict(EVERYTHING).values())
    defined = INTERFACE.types["Evidence"]
    assert isinstance(defined, idl.Struct)
    assert set(evidence_view(EVERYTHING)) == set(defined.fields)
    views([part(1, 0, 10, cause="oom", evidence=EVERYTHING)])


def test_what_nobody_told_is_left_out() -> None:
    assert evidence_view(Evidence(status=0, host_down=False)) == {"status": 0, "hostDown": False, "log": []}


def test_the_verdict_is_made_of_the_evidence() -> None:
    evidence = Evidence(status=-9, oom_kills=1, memory_max=256 << 20, memory_peak=255 << 20)
    (end,) = views([part(1, 0, 10, cause="oom", evidence=evidence, memory_max=256 << 20)])
    assert (end["cause"], end["death"], end["memoryMax"]) == ("oom", True, 256 << 20)
    assert end["why"] == "it was killed for want of memory (limit 256M, peak 255M)"


def test_a_planned_end_is_no_death() -> None:
    (end,) = views([part(1, 0, 10, cause="rotated", evidence=Evidence(status=130, asked="rotated"))])
    assert (end["death"], end["why"]) == (False, "the segment after it had taken over")


@pytest.mark.parametrize("evidence", [None, Evidence(status=0)])
def test_a_cause_that_does_not_follow_from_the_evidence_has_no_words(evidence: Evidence | None) -> None:
    (end,) = views([part(1, 0, 10, cause="unkillable", evidence=evidence)])
    assert (end["cause"], "why" in end) == ("unkillable", False)


def test_a_segment_that_runs_has_no_end() -> None:
    (end,) = views([part(1, 0, None, evidence=Evidence(journal_oom=True))])
    assert end["phase"] == "writing"
    assert not {"endedAt", "cause", "death", "why"} & set(end)


# --- what went on in its place -------------------------------------------------------------------------------------


def test_the_next_segment_that_ran_replaces_it() -> None:
    never = Segment(number=2, phase=Phase.ENDED, since=at(10), ended=at(10), cause="launch-failed")
    first, second, third = views([part(1, 0, 10), never, part(3, 10.25, None)])
    assert (first["replacedBy"], first["replacedAfterUSec"], first["recordedAfterUSec"]) == (3, 250_000, 1_250_000)
    assert second["replacedBy"] == 3
    assert not {"replacedBy", "replacedAfterUSec", "recordedAfterUSec"} & set(third)


def test_in_a_rotation_it_ran_before() -> None:
    old, _ = views([part(1, 0, 10, cause="rotated"), part(2, 6, None)])
    assert (old["replacedAfterUSec"], old["recordedAfterUSec"]) == (-4_000_000, -3_000_000)


def test_a_successor_without_media_has_not_recorded() -> None:
    waiting = replace(part(2, 10.5, None), media_at=None)
    old, _ = views([part(1, 0, 10, cause="oom"), waiting])
    assert (old["replacedAfterUSec"], "recordedAfterUSec" in old) == (500_000, False)


# --- what was told -------------------------------------------------------------------------------------------------

STARTED, MEDIA, DIED = Notice.SEGMENT_STARTED, Notice.MEDIA_ARRIVED, Notice.SEGMENT_DIED
ENDED, FAILED, STALLED = Notice.SEGMENT_ENDED, Notice.LAUNCH_FAILED, Notice.STALLED
CORRECTED, RAISED = Notice.CAUSE_CORRECTED, Notice.MEMORY_RAISED
ROTATION, TAKEN_OVER = Notice.ROTATION_STARTED, Notice.ROTATION_DONE


def test_of_a_death_what_followed_until_the_next_one_records() -> None:
    rows = ((STARTED, 1), (MEDIA, 1), (DIED, 1), (RAISED, 1), (STARTED, 2), (MEDIA, 2), (DIED, 2), (STARTED, 3))
    assert story(1, *rows) == list(rows[2:6])
    assert story(2, *rows) == list(rows[6:])
    assert story(3, *rows) == []


def test_of_a_stall_what_was_told_before_the_end() -> None:
    rows = ((STARTED, 1), (MEDIA, 1), (STALLED, 1), (STARTED, 2), (ENDED, 1), (MEDIA, 2), (ROTATION, 2))
    assert story(1, *rows) == list(rows[2:6])


def test_of_a_rotation_all_of_it_and_nothing_after() -> None:
    rows = ((MEDIA, 1), (ROTATION, 1), (STARTED, 2), (MEDIA, 2), (TAKEN_OVER, 2), (ENDED, 1), (DIED, 2), (STARTED, 3))
    assert story(1, *rows) == list(rows[1:6])
    assert story(2, *rows) == list(rows[6:])


def test_a_rotation_that_had_failed_long_before_is_not_part_of_it() -> None:
    rows = ((MEDIA, 1), (ROTATION, 1), (FAILED, 2), (Notice.ROTATION_FAILED, 2), (DIED, 1), (STARTED, 3), (MEDIA, 3))
    assert story(1, *rows) == list(rows[4:])
    assert story(2, *rows) == list(rows[2:7])


def test_ends_in_a_row_are_told_one_by_one() -> None:
    rows = ((MEDIA, 1), (DIED, 1), (FAILED, 2), (STARTED, 3), (MEDIA, 3))
    assert story(1, *rows) == [(DIED, 1), (FAILED, 2)]
    assert story(2, *rows) == [(FAILED, 2), (STARTED, 3), (MEDIA, 3)]


def test_the_last_end_is_followed_by_that_of_the_recording() -> None:
    over = (Notice.RECORDING_STOPPED, None)
    rows = (
        (MEDIA, 3),
        (Notice.STOPPING, None),
        (ENDED, 3),
        (Notice.JOIN_STARTED, None),
        over,
        (Notice.SOURCE_BACK, None),
    )
    assert story(3, *rows) == list(rows[1:5])


def test_a_correction_belongs_to_it_however_late() -> None:
    rows = ((MEDIA, 1), (DIED, 1), (STARTED, 2), (MEDIA, 2), (DIED, 2), (CORRECTED, 1), (STARTED, 3), (MEDIA, 3))
    assert story(1, *rows) == [*rows[1:4], (CORRECTED, 1)]
    assert story(2, *rows) == [(DIED, 2), (STARTED, 3), (MEDIA, 3)]


def test_a_recording_that_died_a_thousand_times_is_told_death_by_death() -> None:
    rows = [row for number in range(1, 1001) for row in told((STARTED, number), (MEDIA, number), (DIED, number))]
    segments = [part(number, number, number + 1.0) for number in range(1, 1001)]
    assert [len(end["events"]) for end in views(segments, rows)] == [3] * 999 + [1]
