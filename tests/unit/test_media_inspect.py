# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on media files: sound, damaged and where, foreign; never an exception."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media import timeline, ts
from streamvaultd.media.container import Container
from streamvaultd.media.inspect import PROBLEMS_MAX, Soundness, inspect, inspect_file
from tests.fakes.memory import BytesSource
from tests.unit.test_media_fragments import HEADER, capture
from tests.unit.test_media_transport import FRAMES_PER_SEGMENT, VIDEO, Broadcast

LIVE = Broadcast(12)
SEGMENT_MS = FRAMES_PER_SEGMENT * 1000 // 30


def kinds(data: bytes) -> list[tuple[str, int]]:
    return [(problem.kind, problem.offset) for problem in inspect(BytesSource(data)).problems]


def test_a_sound_stream() -> None:
    data = LIVE.window(0, 9)
    found = inspect(BytesSource(data))
    assert (found.soundness, found.container, found.problems) == (Soundness.SOUND, Container.TS, [])
    assert (found.packets, found.duration_ms) == (len(data) // ts.PACKET, 10 * SEGMENT_MS)


def test_a_missing_media_segment_is_a_break_and_where() -> None:
    data = LIVE.window(0, 2) + LIVE.window(4, 9)
    found = inspect(BytesSource(data))
    seam = len(LIVE.window(0, 2))
    assert found.soundness is Soundness.DAMAGED
    assert {problem.kind for problem in found.problems} == {"continuity"}
    assert all(seam <= problem.offset < seam + 40 * ts.PACKET for problem in found.problems)
    assert all(3 * SEGMENT_MS - 40 <= (problem.at_ms or 0) <= 4 * SEGMENT_MS + 40 for problem in found.problems)
    assert any(str(VIDEO) in problem.text for problem in found.problems)


def test_a_long_hole_is_measured() -> None:
    found = inspect(BytesSource(LIVE.window(0, 1) + LIVE.window(9, 11)))
    [gap] = [problem for problem in found.problems if problem.kind == "gap"]
    assert gap.text == f"{7 * SEGMENT_MS} ms of media are missing"


def test_packets_without_media_are_not_sound() -> None:
    assert kinds(b"\x47\x1f\xff\x10".ljust(ts.PACKET, b"\xff") * 100) == [("untimed", 0)]


def test_an_announced_break_is_none() -> None:
    after = LIVE.window(4, 5)
    counters = timeline.counters_before(BytesSource(after), 0, len(after))
    assert kinds(LIVE.window(0, 2) + ts.discontinuity(sorted(counters.items())) + after) == []


def test_torn_and_foreign_bytes_are_placed() -> None:
    data = LIVE.window(0, 4)
    assert kinds(data[:-50]) == [("torn", len(data) - ts.PACKET)]
    noisy = data[: 188 * 20] + b"\x01" * 1000 + data[188 * 20 :]
    assert ("sync-lost", 188 * 20) in kinds(noisy)


def test_a_clock_that_runs_back() -> None:
    assert "clock" in dict(kinds(LIVE.window(4, 6) + LIVE.window(0, 2)))


def test_fragmented_mp4() -> None:
    found = inspect(BytesSource(capture([0, 1, 2])))
    assert (found.soundness, found.duration_ms, found.packets) == (Soundness.SOUND, 6000, None)
    assert [(kind) for kind, _ in kinds(capture([0, 1, 4]))] == ["gap"]
    assert [(kind) for kind, _ in kinds(capture([2, 1]))] == ["clock"]
    assert (
        kinds(capture([0, 1], torn=100)) == [("torn", len(capture([0])))]
        or kinds(capture([0, 1], torn=100))[0][0] == "torn"
    )


def test_what_is_not_looked_into_is_said() -> None:
    assert inspect(BytesSource(b"a holiday film" * 100)).soundness is Soundness.UNKNOWN
    assert inspect(BytesSource(HEADER)).soundness is Soundness.UNKNOWN
    assert inspect(BytesSource(b"")).soundness is Soundness.DAMAGED


def test_problems_are_listed_up_to_a_limit() -> None:
    chopped = b"".join(
        LIVE.window(0, 9)[at : at + ts.PACKET] for at in range(0, len(LIVE.window(0, 9)), 3 * ts.PACKET)
    )
    found = inspect(BytesSource(chopped))
    assert len(found.problems) == PROBLEMS_MAX < found.count


@given(st.binary(max_size=3000), st.integers(0, 20_000), st.sampled_from(["noise", "ts", "mp4"]))
def test_nothing_raises(noise: bytes, at: int, shape: str) -> None:
    whole = {"noise": b"", "ts": LIVE.window(0, 3), "mp4": capture([0, 1, 2])}[shape]
    inspect(BytesSource(whole[:at] + noise + whole[at:]))


def test_only_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        inspect_file(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        inspect_file(str(tmp_path / "none"))
