# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording that begins with the end of the broadcast before: that is left out if it is proven, and only then."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.media import ts
from streamvaultd.media.lead import Lead, find_lead, without_lead
from streamvaultd.media.plan import plan_join
from streamvaultd.media.splice import Splice
from tests.fakes.memory import BytesSource
from tests.unit.test_join import Crash, Job, crash_at
from tests.unit.test_media_fragments import BROADCAST, HEADER, capture, header
from tests.unit.test_media_transport import FRAMES_PER_SEGMENT, Broadcast

if TYPE_CHECKING:
    from pathlib import Path

OLD = Broadcast(24)
NEW = Broadcast(12, seed=2, start=9_000_000)
SEGMENT_MS = FRAMES_PER_SEGMENT * 1000 / 30


def lead_of(previous: bytes, *segments: bytes) -> tuple[Lead | None, bytes]:
    """What is found, and what is left without it."""
    sources = [BytesSource(data) for data in segments]
    plan = plan_join(sources)[0]
    lead = find_lead(sources, plan, BytesSource(previous))
    cut = plan if lead is None or lead.whole else without_lead(plan, lead)
    assert [seam.offset for seam in cut.seams if seam.offset is not None] == cut.places()
    return lead, Splice(sources, cut.pieces).read(0, cut.size)


def test_the_end_of_the_broadcast_before_is_left_out() -> None:
    stale = OLD.window(15, 23)
    lead, left = lead_of(OLD.window(0, 23), stale + NEW.window(0, 5))
    assert lead == Lead(0, len(stale), 9 * SEGMENT_MS, whole=False)
    assert left == NEW.window(0, 5)


def test_a_death_in_the_middle_of_it_makes_no_difference() -> None:
    first, second = OLD.window(15, 20)[:-700], OLD.window(17, 23) + NEW.window(0, 3)
    third = NEW.window(2, 6)
    assert lead_of(OLD.window(0, 23), first, second, third)[1] == NEW.window(0, 6)


def test_the_torn_end_of_the_recording_before_leaves_what_it_lacks() -> None:
    """Half a media segment of the old show remains: nobody else has it."""
    torn = OLD.window(0, 23)[: -10 * ts.PACKET - 50]
    lead, left = lead_of(torn, OLD.window(15, 23) + NEW.window(0, 5))
    assert lead is not None
    assert left == OLD.window(0, 23)[-11 * ts.PACKET :] + NEW.window(0, 5)


@pytest.mark.parametrize(
    ("previous", "mine"),
    [
        (OLD.window(0, 23), NEW.window(0, 5)),
        (OLD.window(0, 20), NEW.window(0, 5) + OLD.window(0, 3)),
        (OLD.window(0, 23), OLD.window(15, 22) + NEW.window(0, 5)),  # the last one is missing: is it the old show?
        (OLD.window(0, 20), OLD.window(22, 23) + NEW.window(0, 5)),  # the old show was not recorded to its end
        (b"", NEW.window(0, 5)),
        (capture([1, 2]), NEW.window(0, 5)),
        (OLD.window(0, 23), capture([1, 2])),
        (b"no media at all" * 1000, b"no media at all" * 1000),
    ],
)
def test_what_is_not_proven_stays(previous: bytes, mine: bytes) -> None:
    assert lead_of(previous, mine) == (None, mine)


def test_fragmented_mp4_keeps_its_initialisation() -> None:
    lead, left = lead_of(capture(list(range(9))), HEADER + b"".join(BROADCAST[6:9] + BROADCAST[30:34]))
    assert lead is not None
    assert (lead.start, lead.ms) == (len(HEADER), 6000.0)
    assert left == HEADER + b"".join(BROADCAST[30:34])
    assert lead_of(header(90_000) + b"".join(BROADCAST[:9]), capture([7, 8, 30]))[0] is None


@given(st.integers(0, 23), st.integers(1, 12), st.integers(0, 400), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_of_the_new_broadcast_is_ever_left_out(first: int, count: int, torn: int, is_old: bool) -> None:
    """Whatever of the old show is in the window, and however much of its end the recording before lacks."""
    previous = OLD.window(0, 23)[: len(OLD.window(0, 23)) - torn * ts.PACKET // 4]
    stale = OLD.window(first, 23) if is_old else b""
    new = NEW.window(0, count - 1)
    lead, left = lead_of(previous, stale + new)
    assert left.endswith(new)
    assert lead is None or previous.find(stale[: lead.size]) >= 0


# --- the job -------------------------------------------------------------------------------------------------------


class Late(Job):
    """A job on a recording that begins with the end of `previous`."""

    def __init__(self, folder: Path, *segments: bytes, previous: bytes = OLD.window(0, 23)) -> None:
        super().__init__(folder, *segments)
        self.previous = folder / "before.ts"
        self.previous.write_bytes(previous)

    @property
    def spec(self) -> Any:
        return replace(super().spec, previous=self.previous)

    @property
    def result(self) -> bytes:
        return (self.folder / "joined" / self.results[0]).read_bytes()


STALE = OLD.window(15, 23)


def test_a_result_begins_with_its_own_broadcast(tmp_path: Path) -> None:
    job = Late(tmp_path, STALE + NEW.window(0, 5), NEW.window(3, 9))
    report = job.run()
    assert job.result == NEW.window(0, 9)
    assert report["lead"] == {"bytes": len(STALE), "ms": 9 * SEGMENT_MS}
    assert report["notes"] == ["the first 3.6 s of what was received is left out: it is the end of before.ts"]
    assert report["durationMs"] == 10 * SEGMENT_MS
    assert report["seams"][0]["offset"] == len(NEW.window(0, 2))


@pytest.mark.parametrize("step", range(7))
def test_a_job_that_is_killed_ends_with_the_same_file(tmp_path: Path, step: int) -> None:
    job = Late(tmp_path, STALE + NEW.window(0, 5), NEW.window(3, 9))
    try:
        JoinProgram(job.spec, reached=crash_at(step)).run()
    except Crash:
        assert not job.spec.report.exists() or step > 4
    report = job.run()
    assert (report["ok"], job.result) == (True, NEW.window(0, 9))
    assert job.run() == report


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_was_made_before_anything_was_known_is_accepted(tmp_path: Path, gone: bool) -> None:
    """An earlier run found no recording before, or could not read it."""
    job = Late(tmp_path, STALE + NEW.window(0, 5))
    if gone:
        job.previous.unlink()
    else:
        assert JoinProgram(replace(job.spec, previous=None)).run()
    report = job.run()
    assert (report["ok"], report["lead"]) == (True, None)
    assert job.result == STALE + NEW.window(0, 5)
    assert "before.ts" in report["notes"][0]


def test_a_recording_that_has_nothing_else_keeps_it(tmp_path: Path) -> None:
    job = Late(tmp_path, STALE)
    report = job.run()
    assert (job.result, report["lead"]) == (STALE, None)
    assert report["notes"] == ["all of it is in before.ts, too: it is kept here as well"]


def test_no_room_for_a_copy_is_no_reason_to_wait(tmp_path: Path) -> None:
    job = Late(tmp_path, STALE + NEW.window(0, 5), NEW.window(3, 9))
    done = JoinProgram(job.spec, reserve=1 << 60, append_min=1000)
    with job.previous.open("rb") as file:
        why = done._why_uncut(plan_join([BytesSource(STALE)])[0], file.fileno())
    assert why == "there is no room for a copy"


def test_a_link_in_place_of_the_recording_before_is_not_followed(tmp_path: Path) -> None:
    job = Late(tmp_path, STALE + NEW.window(0, 5))
    job.previous.rename(tmp_path / "moved.ts")
    job.previous.symlink_to(tmp_path / "moved.ts")
    assert job.run()["lead"] is None
    assert json.loads(job.spec.report.read_text())["ok"]


def test_another_initialisation_begins_the_new_broadcast(tmp_path: Path) -> None:
    """The first part is nothing but the end of the old show: the result begins with the second."""
    other = header(90_000)
    mine = HEADER + b"".join(BROADCAST[6:9]) + other + b"".join(BROADCAST[30:34])
    job = Late(tmp_path, mine, previous=capture(list(range(9))))
    report = job.run()
    assert report["lead"] is not None
    assert [part["path"].rpartition("/")[2] for part in report["parts"]] == ["alice_2026.11.mp4"]
    assert job.result == other + b"".join(BROADCAST[30:34])
