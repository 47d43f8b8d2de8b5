# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on media files: sound, damaged and where, foreign; never an exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media import timeline, ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.inspect import PNG_END, PNG_START, PROBLEMS_MAX, Soundness, inspect, inspect_file
from tests.fakes.memory import BytesSource
from tests.unit.test_media_fragments import HEADER, capture
from tests.unit.test_media_transport import AUDIO, FRAMES_PER_SEGMENT, VIDEO, Broadcast, _pes

LIVE = Broadcast(12)
SEGMENT_MS = FRAMES_PER_SEGMENT * 1000 // 30


def kinds(data: bytes) -> list[tuple[str, int]]:
    return [(problem.kind, problem.offset) for problem in inspect(BytesSource(data)).problems]


def test_a_sound_stream() -> None:
    data = LIVE.window(0, 9)
    found = inspect(BytesSource(data))
    assert (found.soundness, found.container, found.problems) == (Soundness.SOUND, FileFormat.TS, [])
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


def test_a_slate_that_is_repeated_may_be_damage_or_not_and_a_picture_of_another_time_is() -> None:
    slate = Broadcast(15, seed=3, start=126_000 + 270_000).window(0, 14)
    found = inspect(BytesSource(LIVE.window(0, 19) + slate * 3))
    assert (found.soundness, found.count, found.doubts) == (Soundness.UNKNOWN, 0, 3)
    assert {problem.kind for problem in found.problems} == {"clock"}
    assert all("a slate that is repeated" in problem.text for problem in found.problems)
    torn = inspect(BytesSource(slate + without_tables(slate) + slate))
    assert torn.soundness is Soundness.DAMAGED


def without_tables(data: bytes) -> bytes:
    packets = (data[at : at + ts.PACKET] for at in range(0, len(data), ts.PACKET))
    return b"".join(packet for packet in packets if ts.pid_of(packet, 0) in (VIDEO, AUDIO))


def segment_of(source: Broadcast, number: int) -> bytes:
    """One media segment, made now: counters go on from what was made before."""
    return source._segment(number, random.Random(number))  # noqa: S311 - media that look random, no secrets


def test_an_advertisement_with_its_own_clock_is_no_damage() -> None:
    """Its counters go on, and so does what stands behind it."""
    counters: dict[int, int] = {}
    show, other = (
        Broadcast(20, start=810_000_000, counters=counters),
        Broadcast(5, seed=2, start=10, counters=counters),
    )
    before = [segment_of(show, number) for number in range(5)]
    between = other.window(0, 4)
    after = [segment_of(show, number) for number in range(5, 20)]
    found = inspect(BytesSource(b"".join([*before, between, *after])))
    assert (found.soundness, found.duration_ms) == (Soundness.SOUND, 25 * SEGMENT_MS)


def test_what_an_advertisement_is_put_into_goes_on_with_its_own_counters() -> None:
    """Nothing announces either splice; what is lost within the advertisement is damage all the same."""
    ad = Broadcast(4, seed=9, start=900_000_000).window(1, 3)
    before, after = LIVE.window(0, 4), LIVE.window(5, 11)
    assert kinds(before + ad + after) == []
    hole = len(ad) // 2 // ts.PACKET * ts.PACKET
    torn = ad[:hole] + ad[hole + 40 * ts.PACKET :]
    assert {kind for kind, _ in kinds(before + torn + after)} >= {"continuity"}


def test_a_muxer_for_each_media_segment_begins_to_count_anew_and_nothing_is_missing() -> None:
    source = Broadcast(10)
    segments = []
    for number in range(10):
        source.counters.clear()
        segments.append(segment_of(source, number))
    assert kinds(b"".join(segments)) == []
    assert {kind for kind, _ in kinds(b"".join(segments[:3] + segments[7:]))} == {"gap"}
    torn = segments[3][: 8 * ts.PACKET] + segments[3][12 * ts.PACKET :]
    assert "continuity" in dict(kinds(b"".join([*segments[:3], torn, *segments[4:]])))


def test_slow_pictures_are_no_gaps_and_a_missing_one_is() -> None:
    """One picture in four seconds, and nothing else."""
    pictures = [slow_picture(number) for number in range(10)]
    assert kinds(b"".join(pictures)) == []
    assert "gap" in dict(kinds(b"".join(pictures[:4] + pictures[6:])))


def slow_picture(number: int, shown: int = 0) -> bytes:
    """One picture each four seconds; it is shown so many ticks after it is decoded."""
    source = Broadcast(0, counters={VIDEO: number & 15})
    decoded = 360_000 * number
    return source._packets(VIDEO, _pes(0xE0, (decoded + shown) % ts.WRAP, decoded, b"picture" * 10))


def test_pictures_that_have_no_time_of_their_own_are_told() -> None:
    """ffmpeg writes each one tick behind the one before, where the clock of what it muxes is set back."""

    def crowd(count: int) -> bytes:
        source = Broadcast(0)
        times = [*range(0, 90_000, 3600), *range(90_000, 90_000 + count), *range(180_000, 270_000, 3600)]
        return b"".join(source._packets(VIDEO, _pes(0xE0, time, None, b"picture" * 10)) for time in times)

    assert kinds(crowd(5)) == []
    assert [kind for kind, _ in kinds(crowd(100))] == ["crowded"]


def test_a_picture_that_is_to_be_shown_hours_later_is_told() -> None:
    good, late = slow_picture(1), slow_picture(2, shown=9000 * 90_000)
    assert kinds(slow_picture(0) + good + late + slow_picture(3)) == [("late", 2 * len(good))]
    before = slow_picture(2, shown=-60 * 90_000)
    assert kinds(slow_picture(0) + good + before + slow_picture(3)) == [("late", 2 * len(good))]
    assert kinds(slow_picture(0) + good + slow_picture(2, shown=90_000) + slow_picture(3)) == []


def test_a_small_picture_before_each_media_segment_is_no_damage() -> None:
    png = PNG_START + b"\0\0\0\x0dIHDR" + b"x" * 17 + b"\0\0\0\0" + PNG_END + b"\xae\x42\x60\x82"
    found = inspect(BytesSource(b"".join(png + LIVE.window(n, n) for n in range(10))))
    assert (found.soundness, found.duration_ms) == (Soundness.SOUND, 10 * SEGMENT_MS)
    page = b"<html><title>502 Bad Gateway</title></html>"
    assert dict(kinds(LIVE.window(0, 3) + page + LIVE.window(4, 9))) == {"sync-lost": len(LIVE.window(0, 3))}


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
