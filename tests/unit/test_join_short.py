# SPDX-License-Identifier: GPL-3.0-or-later
"""How long media are for one who removes what is short: not told where there may be more than was understood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamvaultd.jobs.join.main import JoinProgram
from tests.unit.test_join import LIVE, Job
from tests.unit.test_media_fragments import box, header, number, traf
from tests.unit.test_media_left_out import SECTIONS, UNKNOWN, packet
from tests.unit.test_media_transport import FRAMES_PER_SEGMENT

SHOW = LIVE.window(0, 9)
LENGTH = 10 * FRAMES_PER_SEGMENT * 1000 // 30


def lengths(job: Job) -> tuple[int | None, int | None]:
    """As it is told, and as it is told to one who removes what is short."""
    told = [job.run()["durationMs"]]
    assert JoinProgram(replace(job.spec, least=60_000)).run()
    told.append(json.loads(job.spec.report.read_text())["durationMs"])
    return told[0], told[1]


def test_what_is_understood_is_measured(tmp_path: Path) -> None:
    assert lengths(Job(tmp_path, SHOW)) == (LENGTH, LENGTH)


@pytest.mark.parametrize(
    "other",
    [
        b"".join(packet(SECTIONS, at, b"\0\xfc" + bytes(60), is_start=True) for at in range(900)),
        b"".join(packet(UNKNOWN, at, bytes([at & 0xFF]) * 184, is_start=False) for at in range(900)),
    ],
    ids=["private sections", "packets of nobody"],
)
def test_a_stream_that_nothing_names_may_be_longer_than_the_pictures(tmp_path: Path, other: bytes) -> None:
    assert lengths(Job(tmp_path, SHOW + other)) == (LENGTH, None)


def test_a_segment_that_is_away_may_be_longer_than_those_that_are_there(tmp_path: Path) -> None:
    job = Job(tmp_path, SHOW, SHOW)
    job.paths[1].unlink()
    assert lengths(job) == (LENGTH, None)


def test_what_one_capture_has_in_other_bytes_may_be_longer(tmp_path: Path) -> None:
    job = Job(tmp_path, SHOW, SHOW + bytes(range(1, 71)) * 30)
    lengths(job)
    parts = json.loads(job.spec.report.read_text())["parts"]
    assert [part["durationMs"] for part in parts[1:]] == [None]


def moof(*durations: int) -> bytes:
    return box(b"moof", box(b"mfhd", bytes(4), number(1)), traf(1, 0, list(durations)))


@pytest.mark.parametrize(
    ("media", "told", "counted"),
    [
        (moof(*[512] * 30) + box(b"mdat", bytes(210)), 1000, 1000),
        (moof(*[0] * 30) + box(b"mdat", bytes(210)), 0, None),
        (moof(*[512] * 30) + box(b"mdat", bytes(210)) + (moof(512) + box(b"mdat", bytes(7000)))[:-1], 1000, None),
    ],
    ids=["whole", "samples without a duration", "torn"],
)
def test_of_fragments_every_sample_counts(tmp_path: Path, media: bytes, told: int, counted: int | None) -> None:
    assert lengths(Job(tmp_path, header() + media)) == (told, counted)
