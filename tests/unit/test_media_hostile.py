# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments as no streamlink writes them: the join ends with the best result, within bounds, and says what it did."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamvaultd.media import fmp4, timeline, ts
from streamvaultd.media.overlap import overlap_proven
from streamvaultd.media.plan import plan_join
from streamvaultd.media.splice import Part
from tests.fakes.memory import BytesSource
from tests.unit.test_join import Job
from tests.unit.test_media_fragments import capture, header
from tests.unit.test_media_transport import Broadcast

LIVE = Broadcast(12)
OTHER = Broadcast(4, start=77_000_000)
READS_MAX = 60
"""So often each byte may be read by a whole plan of some small files; searches and comparisons look more than once."""
MARKS_MAX = 4096
"""Bytes of neither file that may stand at a seam."""


class Counted:
    """Bytes, and how many of them were asked for."""

    def __init__(self, data: bytes) -> None:
        self.source = BytesSource(data)
        self.taken = 0

    @property
    def size(self) -> int:
        return self.source.size

    def read(self, offset: int, length: int) -> bytes:
        data = self.source.read(offset, length)
        self.taken += len(data) + 1
        return data


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def beheaded(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(len(data)) :]


def flipped(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 3, 100])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def zeroed(rng: random.Random, data: bytes) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice([1, 188, 4096])
    return (data[:start] + bytes(size) + data[start + size :])[: len(data)]


def doubled(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    end = rng.randrange(start, len(data) + 1)
    return data[:end] + data[start:]


def cut_out(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[rng.randrange(start, len(data) + 1) :]


def noisy(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.choice([1, 187, 188, 5000])) + data[start:]


def sizes_at_their_limits(rng: random.Random, data: bytes) -> bytes:
    """Four bytes somewhere, such as the size of a box, say 0, 1, or more than there is."""
    start, size = rng.randrange(len(data)), rng.choice([0, 1, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF])
    return data[:start] + size.to_bytes(4, "big") + data[start + 4 :]


def whole(_rng: random.Random, data: bytes) -> bytes:
    return data


Damage = Callable[[random.Random, bytes], bytes]
DAMAGES: tuple[Damage, ...] = (
    whole,
    truncated,
    beheaded,
    flipped,
    zeroed,
    doubled,
    cut_out,
    noisy,
    sizes_at_their_limits,
)
FOREIGN = (
    b"",
    b"G",
    b"x" * 5000,
    b"\x47" * 4000,
    bytes(4000),
    b"\x1a\x45\xdf\xa3" + bytes(500),
    header(),
    header()[:50],
)


def segment(kind: str, first: int, count: int, damages: Sequence[int], seed: int) -> bytes:
    """A capture of some media segments with some damage, or something else altogether."""
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is what it is for
    match kind:
        case "foreign":
            return FOREIGN[seed % len(FOREIGN)]
        case "other":
            data = OTHER.window(first % 4, first % 4 + count)
        case "ts":
            data = LIVE.window(first, first + count)
        case _:
            data = capture(list(range(first, first + count)))
    for damage in damages:
        data = DAMAGES[damage](rng, data) if data else data
    return data


RECIPE = st.tuples(
    st.sampled_from(["ts", "ts", "fmp4", "fmp4", "other", "foreign"]),
    st.integers(0, 8),
    st.integers(1, 3),
    st.lists(st.integers(0, len(DAMAGES) - 1), max_size=3),
    st.integers(0, 1 << 20),
)
Recipe = tuple[str, int, int, list[int], int]


@given(recipes=st.lists(RECIPE, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_segments_are_planned_within_bounds(recipes: list[Recipe]) -> None:
    """Nothing is raised, nothing is read without end, and nothing is there that no segment had."""
    segments = [segment(*recipe) for recipe in recipes]
    sources = [Counted(data) for data in segments]
    plans = plan_join(sources)
    size = sum(len(data) for data in segments)
    assert sum(source.taken for source in sources) <= READS_MAX * (size + MARKS_MAX)
    assert sum(plan.size for plan in plans) <= size + MARKS_MAX * len(segments)
    for plan in plans:
        for piece in plan.pieces:
            if isinstance(piece, Part):
                assert 0 <= piece.start < piece.end <= sources[piece.file].size
    kept = {piece.file for plan in plans for piece in plan.pieces if isinstance(piece, Part)}
    seams = {(seam.older, seam.newer) for plan in plans for seam in plan.seams}
    assert all(any(index in pair for pair in seams) for index in kept) or len(kept) == 1


@given(recipes=st.lists(RECIPE, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_job_ends_with_a_result_and_a_report_or_says_that_there_are_no_media(recipes: list[Recipe]) -> None:
    segments = [segment(*recipe) for recipe in recipes]
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), *segments)
        report = job.run()
        if report["ok"]:
            assert job.results == sorted(Path(part["path"]).name for part in report["parts"])
            assert report["bytes"] == sum(Path(part["path"]).stat().st_size for part in report["parts"])
        else:
            assert report["error"].endswith("no segment holds any media")
            assert all(timeline.whole_end(BytesSource(data)) == 0 for data in segments)
        assert [path.read_bytes() for path in job.paths] == segments, "a segment was changed"
        assert job.run() == report


@contextmanager
def file_of(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("segment")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


@given(mine=RECIPE, yours=RECIPE)
@example(mine=("ts", 4, 1, [2, 4, 4], 1), yours=("ts", 4, 1, [2, 4, 2], 1))
@settings(max_examples=100, deadline=None)
def test_a_rotation_looks_at_anything(mine: Recipe, yours: Recipe) -> None:
    """Where it is proven, older has what newer begins with: its first packet, or its first picture if that is torn."""
    older, newer = segment(*mine), segment(*yours)
    with file_of(older) as one, file_of(newer) as other:
        if overlap_proven(one, other):
            skip = fmp4.header_end(BytesSource(newer)) if fmp4.is_fmp4(BytesSource(newer)) else 0
            first = min(video_times(newer), default=None)
            assert newer[skip : skip + ts.PACKET] in older or first in video_times(older)
        assert overlap_proven(one, one) in (True, False)


def video_times(data: bytes) -> set[int]:
    return {pes.dts for pes in timeline.units(BytesSource(data), 0, len(data)) if pes.is_video}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("damage", DAMAGES[1:])
def test_one_damaged_segment_costs_a_frame_at_most(damage: Damage, seed: int) -> None:
    """What is damaged in one of three overlapping captures is in one of the two others, and that is seen or not."""
    rng = random.Random(seed)  # noqa: S311
    captures = [LIVE.window(0, 5), damage(rng, LIVE.window(3, 8)), LIVE.window(4, 11)]
    with tempfile.TemporaryDirectory() as folder:
        report = Job(Path(folder), *captures).run()
        assert report["ok"]
        data = b"".join(Path(part["path"]).read_bytes() for part in report["parts"] if not part.get("isKept"))
    assert data.startswith(LIVE.window(0, 2))
    assert data.endswith(LIVE.window(9, 11))
    assert len(video_times(LIVE.window(0, 11)) - video_times(data)) <= 1
