# SPDX-License-Identifier: GPL-3.0-or-later
"""Seams between captures of one broadcast: the result is the union of their media segments, whatever happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamvaultd.media import places, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.seam import Certainty, SeamKind, find_seam
from streamvaultd.media.splice import Splice
from tests.fakes.memory import BytesSource
from tests.unit.test_media_transport import AUDIO, FRAME_TICKS, FRAMES_PER_SEGMENT, VIDEO, Broadcast, fragments

if TYPE_CHECKING:
    from collections.abc import Sequence

SEGMENTS = 24
SEGMENT_MS = FRAMES_PER_SEGMENT * FRAME_TICKS / ts.TICKS_PER_MS
LIVE = Broadcast(SEGMENTS)
WRAPPING = Broadcast(SEGMENTS, seed=2, start=ts.WRAP - 7 * FRAMES_PER_SEGMENT * FRAME_TICKS)


def joined(*captures: bytes) -> tuple[Plan, bytes]:
    files = [BytesSource(capture) for capture in captures]
    [plan] = plan_join(files)
    result = Splice(files, plan.pieces)
    data = result.read(0, result.size)
    assert len(data) == plan.size
    return plan, data


def capture(broadcast: Broadcast, numbers: Sequence[int]) -> bytes:
    return b"".join(broadcast.segments[number] for number in numbers)


@pytest.mark.parametrize("broadcast", [LIVE, WRAPPING])
@pytest.mark.parametrize("torn", [0, 1, 187, 188, 1000])
def test_an_overlap_is_removed_exactly(broadcast: Broadcast, torn: int) -> None:
    older = broadcast.window(0, 9)
    plan, data = joined(older[: len(older) - torn], broadcast.window(6, 15))
    assert data == broadcast.window(0, 15)
    seam = plan.seams[0].seam
    assert (seam.kind, seam.method, seam.certainty) == (SeamKind.EXACT, "bytes", Certainty.PROVEN)
    assert seam.overlap_ms == pytest.approx(4 * SEGMENT_MS, abs=SEGMENT_MS / 4)
    assert seam.gap_ms == 0


def test_a_newer_segment_inside_the_older_adds_nothing_and_the_next_one_meets_the_older() -> None:
    plan, data = joined(LIVE.window(0, 9), LIVE.window(4, 6), LIVE.window(5, 12))
    assert data == LIVE.window(0, 12)
    assert [planned.seam.kind for planned in plan.seams] == [SeamKind.EXACT] * 2


def test_an_older_segment_that_is_a_start_of_the_newer_is_replaced_by_it() -> None:
    plan, data = joined(LIVE.window(3, 4)[:2000], LIVE.window(3, 9))
    assert data == LIVE.window(3, 9)
    assert plan.sole_file() == 1


def test_adjacent_segments_are_put_together_without_a_mark() -> None:
    plan, data = joined(LIVE.window(0, 4), LIVE.window(5, 9))
    assert data == LIVE.window(0, 9)
    assert (plan.seams[0].seam.method, plan.seams[0].seam.certainty) == ("adjacent", Certainty.LIKELY)


@pytest.mark.parametrize("broadcast", [LIVE, WRAPPING])
def test_a_gap_is_measured_marked_and_loses_nothing(broadcast: Broadcast) -> None:
    older, newer = broadcast.window(0, 4), broadcast.window(8, 12)
    plan, data = joined(older, newer)
    seam = plan.seams[0].seam
    assert seam.kind is SeamKind.GAP
    assert seam.gap_ms == pytest.approx(3 * SEGMENT_MS, abs=1)
    assert data.startswith(older)
    assert data.endswith(newer)
    mark = data[len(older) : len(data) - len(newer)]
    assert ts.synced(mark) == len(mark) == 5 * ts.PACKET
    assert list(ts.continuity_breaks({}, data)) == []


@given(
    broadcast=st.sampled_from([LIVE, WRAPPING]),
    middle=st.integers(2, 12),
    overlap=st.integers(1, 9),
    holes=st.tuples(st.sets(st.integers(0, 23), max_size=3), st.sets(st.integers(0, 23), max_size=3)),
    torn=st.one_of(st.just(0), st.integers(0, 8000)),
)
@settings(max_examples=300, deadline=None)
def test_holes_of_one_are_filled_from_the_other(
    broadcast: Broadcast, middle: int, overlap: int, holes: tuple[set[int], set[int]], torn: int
) -> None:
    mine = [number for number in range(middle + overlap) if number not in holes[0]]
    yours = [number for number in range(middle, SEGMENTS) if number not in holes[1]]
    whole, remains = tear(broadcast, mine, torn)
    assume(set(whole) & set(yours))
    plan, data = joined(capture(broadcast, whole) + remains, capture(broadcast, yours))
    segments = {number: broadcast.segments[number] for number in {*whole, *yours}}
    if len(whole) < len(mine):
        segments.setdefault(mine[len(whole)], remains[: len(remains) // ts.PACKET * ts.PACKET])
    assert data == b"".join(segments[number] for number in sorted(segments))
    assert plan.seams[0].seam.certainty is Certainty.PROVEN


@pytest.mark.parametrize("broadcast", [LIVE, WRAPPING])
@pytest.mark.parametrize(
    ("older", "newer", "ms"),
    [
        ([0, 1, 2, 4, 5], [2, 3, 4, 5, 6, 7], 1600),
        ([4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7], 1200),
        ([3, 4, 5, 6, 7], [1, 2, 3, 4], 800),
        ([0, 1, 2, 3, 4, 5, 6], [1, 3, 4], 1600),
    ],
)
def test_an_overlap_is_the_time_that_both_hold(
    broadcast: Broadcast, older: list[int], newer: list[int], ms: int
) -> None:
    """The newer may begin or end first."""
    seam = find_seam(BytesSource(capture(broadcast, older)), BytesSource(capture(broadcast, newer)))
    assert (seam.kind, seam.overlap_ms) == (SeamKind.UNION, ms)


def test_sound_alone_in_common_is_no_union() -> None:
    """A muxer may write sound as another one did, and begin with it long before the pictures."""
    packets = [LIVE.window(4, 5)[at : at + ts.PACKET] for at in range(0, len(LIVE.window(4, 5)), ts.PACKET)]
    sound = b"".join(packet for packet in packets if ts.pid_of(packet, 0) == AUDIO)
    plan, data = joined(LIVE.window(0, 5), sound + LIVE.window(8, 9))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.GAP, Certainty.LIKELY, 800.0)
    assert all(times_of(data, pid) == times_of(LIVE.window(0, 5) + LIVE.window(8, 9), pid) for pid in (VIDEO, AUDIO))
    assert data.endswith(LIVE.window(8, 9))


def times_of(data: bytes, pid: int) -> list[int]:
    """When each unit of a PID is, in order."""
    return [pes.dts for pes in timeline.units(BytesSource(data), 0, len(data)) if pes.pid == pid]


def tear(broadcast: Broadcast, numbers: Sequence[int], torn: int) -> tuple[Sequence[int], bytes]:
    """The media segments that are still whole without the last `torn` bytes, and what is left of the next one."""
    while torn:
        last = broadcast.segments[numbers[-1]]
        numbers = numbers[:-1]
        if torn < len(last):
            return numbers, last[: len(last) - torn]
        torn -= len(last)
    return numbers, b""


@given(cuts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.integers(0, 3000)), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_number_of_overlapping_torn_segments_joins_to_the_broadcast(cuts: list[tuple[int, int, int]]) -> None:
    """Each capture begins at the latest where its predecessors have reached, as the next run of a recording does."""
    reached, first = 0, 0
    captures: list[bytes] = []
    for back, length, torn in cuts:
        first = max(first, reached - back)
        last = min(max(first, reached) + length, SEGMENTS) - 1
        whole, remains = tear(LIVE, range(first, last + 1), torn if last < SEGMENTS - 1 else 0)
        captures.append(capture(LIVE, whole) + remains)
        reached = max(reached, first + len(whole))
    plan, data = joined(*(data for data in captures if len(data) >= ts.PACKET))
    assert LIVE.window(0, SEGMENTS - 1).startswith(data)
    assert len(data) >= len(LIVE.window(0, reached - 1))
    assert all(planned.seam.certainty is not Certainty.UNKNOWN for planned in plan.seams)


@given(
    older=st.binary(max_size=3000),
    newer=st.binary(max_size=3000),
    shape=st.tuples(st.sampled_from(["noise", "live", "mixed"]), st.sampled_from(["noise", "live", "mixed"])),
    at=st.integers(0, 20_000),
)
@settings(max_examples=300, deadline=None)
def test_hostile_input_is_joined_or_refused_but_never_raises(
    older: bytes, newer: bytes, shape: tuple[str, str], at: int
) -> None:
    def shaped(noise: bytes, kind: str) -> bytes:
        live = LIVE.window(2, 5)
        return {"noise": noise, "live": live, "mixed": live[:at] + noise + live[at:]}[kind] or b"x"

    captures = shaped(older, shape[0]), shaped(newer, shape[1])
    plans = plan_join([BytesSource(capture) for capture in captures])
    assert sum(plan.size for plan in plans) <= sum(len(capture) for capture in captures) + 10 * ts.PACKET
    assert all(plan.torn >= 0 for plan in plans)


def test_a_gap_that_a_later_segment_fills_is_no_seam_of_the_result() -> None:
    plan, data = joined(LIVE.window(0, 3), LIVE.window(8, 10), LIVE.window(2, 15))
    assert data == LIVE.window(0, 15)
    assert [(planned.offset is None, planned.seam.gap_ms) for planned in plan.seams] == [(True, None), (False, 0)]


def test_the_same_time_in_other_bytes_is_kept_twice_and_said() -> None:
    other = Broadcast(SEGMENTS, seed=3)
    plan, data = joined(LIVE.window(0, 9), other.window(6, 12))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.GAP, Certainty.UNKNOWN, None)
    assert "other bytes" in seam.note
    assert data.startswith(LIVE.window(0, 9))
    assert data.endswith(other.window(6, 12))


def test_a_clock_that_was_set_anew_gives_a_gap_of_unknown_length() -> None:
    plan, _ = joined(Broadcast(5, start=90_000_000).window(0, 4), Broadcast(5, seed=4, start=0).window(0, 4))
    assert (plan.seams[0].seam.kind, plan.seams[0].seam.gap_ms) == (SeamKind.GAP, None)


@pytest.mark.parametrize(("away", "gap_ms"), [(20, None), (3600, 3_600_000 - 4 * SEGMENT_MS)])
def test_an_hour_by_the_clock_is_believed_if_it_passed(away: int, gap_ms: int | None) -> None:
    """An encoder that begins anew has a clock of its own, which says nothing of what is missing."""
    older, newer = Broadcast(5).window(0, 3), Broadcast(5, seed=4, start=3600 * 90_000).window(0, 3)
    files = [BytesSource(older), BytesSource(newer)]
    [plan] = plan_join(files, [0, round(1000 * away + 4 * SEGMENT_MS)])
    seam = plan.seams[0].seam
    assert seam.kind is SeamKind.GAP
    assert seam.gap_ms == (None if gap_ms is None else pytest.approx(gap_ms, abs=2000))
    ms = timeline.duration_ms(Splice(files, plan.pieces), plan.gaps())
    assert ms == pytest.approx((seam.gap_ms or 0) + 8 * SEGMENT_MS, abs=100)


def test_an_hour_by_the_clock_is_no_time_where_both_captures_go_on() -> None:
    """The newer begins exactly where the clock was set ahead."""
    before, after = Broadcast(5).window(0, 3), Broadcast(5, seed=4, start=3600 * 90_000).window(0, 3)
    plan, data = joined(before + after[: len(after) // 2 // ts.PACKET * ts.PACKET], after)
    assert data == before + after
    assert (plan.seams[0].seam.kind, plan.gaps()) == (SeamKind.EXACT, [])
    assert timeline.duration_ms(BytesSource(data), plan.gaps()) == pytest.approx(8 * SEGMENT_MS, abs=100)


@pytest.mark.parametrize("torn", [0, 1, 500, 6000])
def test_fragments_overlap_exactly_and_the_header_stays_once(torn: int) -> None:
    header, *live = fragments(12)
    older = header + b"".join(live[:7])
    plan, data = joined(older[: len(older) - torn], header + b"".join(live[4:]))
    assert data == header + b"".join(live)
    assert plan.container is FileFormat.FMP4


def test_fragments_without_overlap_are_appended_whole() -> None:
    header, *live = fragments(12)
    plan, data = joined((header + b"".join(live[:5]))[:-100], (header + b"".join(live[8:]))[:-100])
    assert data == header + b"".join(live[:4]) + b"".join(live[8:11])
    assert (plan.seams[0].seam.kind, plan.seams[0].seam.gap_ms) == (SeamKind.GAP, None)


def adts(count: int) -> bytes:
    """Frames of 100 bytes, no two alike."""
    return b"".join(b"\xff\xf1\x4c\x80\x0c\x9f\xfc" + number.to_bytes(3, "big") * 31 for number in range(count))


def mp3(count: int) -> bytes:
    """Frames of 128 kbit/s at 44100 Hz."""
    return b"".join(b"\xff\xfb\x90\x64" + number.to_bytes(1, "big") * 413 for number in range(count))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (b"".join(fragments(3)), LIVE.window(0, 2)),
        (LIVE.window(0, 2), b"no media at all" * 100),
        (b"".join(fragments(3)), b"\0\0\1\0ftypiso5" + b"".join(fragments(3))[12:]),
        (b"\x1a\x45\xdf\xa3" + b"one" * 90, b"\x1a\x45\xdf\xa3" + b"two" * 90),
        (adts(20), mp3(20)),
    ],
)
def test_what_one_file_cannot_hold_is_a_break(older: bytes, newer: bytes) -> None:
    assert find_seam(BytesSource(older), BytesSource(newer)).kind is SeamKind.BREAK


def test_the_container_is_told_by_its_bytes() -> None:
    files = [LIVE.window(0, 0), b"".join(fragments(1)), b"\x1a\x45\xdf\xa3matroska", b"<html>", adts(9), mp3(9)]
    assert [sniff(BytesSource(data)).value for data in files] == [".ts", ".mp4", ".mkv", ".bin", ".aac", ".mp3"]


def test_packed_audio_has_tags_and_may_begin_in_the_middle_of_a_frame() -> None:
    tag = b"ID3\4\0\0\0\0\1\x00" + bytes(128)
    for data in (tag + adts(9), adts(9)[7:], tag + tag + adts(9)[100:]):
        assert sniff(BytesSource(data)) is FileFormat.AAC
    assert sniff(BytesSource(adts(3))) is FileFormat.OTHER


def test_packed_audio_goes_on_behind_another_and_overlaps_exactly() -> None:
    whole = adts(200)
    plan, data = joined(whole[:10_001], whole[5_000:])
    assert (plan.seams[0].seam.kind, data) == (SeamKind.EXACT, whole)
    plan, data = joined(whole[:10_001], whole[15_000:])
    assert (plan.seams[0].seam.kind, data) == (SeamKind.GAP, whole[:10_001] + whole[15_000:])


@given(flips=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 255)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_cost_neither_the_overlap_nor_the_newer_segment(flips: list[tuple[int, int]]) -> None:
    older = bytearray(LIVE.window(0, 8))
    for at, value in flips:
        older[at] = value
    plan, data = joined(bytes(older), LIVE.window(4, 15))
    assert data.endswith(LIVE.window(8, 15))
    assert plan.seams[0].seam.certainty is Certainty.PROVEN
    # what is damaged may stay beside what replaces it, the overlap of five media segments may not
    assert len(data) < len(LIVE.window(0, 15)) + len(LIVE.window(4, 5))


@pytest.mark.parametrize("size", [200, 4096, 12_288])
@pytest.mark.parametrize("place", [30_000, 40_000, 50_000, 70_000, 80_000])
def test_zeros_that_a_power_failure_left_are_replaced_by_the_newer_segment(place: int, size: int) -> None:
    """Pages that were not written yet: at the end of the overlap, within it, and before it, where nothing helps."""
    older = bytearray(LIVE.window(0, 8))
    older[place : place + size] = bytes(min(size, len(older) - place))
    _, data = joined(bytes(older), LIVE.window(4, 15))
    start = len(LIVE.window(0, 3))
    assert data[: min(start, place // ts.PACKET * ts.PACKET)] == older[: min(start, place // ts.PACKET * ts.PACKET)]
    assert data.endswith(LIVE.window(4, 15))
    assert len(data) <= len(LIVE.window(0, 15))


SLATE = Broadcast(3, seed=9).window(0, 2)


def test_a_slate_in_a_loop_is_never_called_proven() -> None:
    older = LIVE.window(0, 9) + 6 * SLATE
    plan, data = joined(older, 4 * SLATE + LIVE.window(10, 15))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.EXACT, Certainty.LIKELY, None)
    assert "repeat themselves" in seam.note
    assert data.startswith(older)
    assert data.endswith(LIVE.window(10, 15))


@pytest.mark.parametrize("shown", range(5))
@pytest.mark.parametrize("late_ms", [-400, 0, 400])
def test_when_it_was_received_tells_how_often_a_slate_is_in_both(shown: int, late_ms: int) -> None:
    """Either may have been behind the source by one media segment."""
    older, newer = LIVE.window(0, 9) + 6 * SLATE, 4 * SLATE + LIVE.window(10, 15)
    files = [BytesSource(older), BytesSource(newer)]
    both, newer_ms = shown * 3 * SEGMENT_MS, 18 * SEGMENT_MS
    [plan] = plan_join(files, [100_000, round(100_000 + newer_ms - both + late_ms)])
    result = Splice(files, plan.pieces)
    data = result.read(0, result.size)
    seam = plan.seams[0].seam
    assert (seam.kind is SeamKind.GAP) is (shown == 0)
    assert (seam.certainty, seam.gap_ms) == (Certainty.LIKELY, None)
    assert [data.count(part) for part in (SLATE, older[-100:], LIVE.segments[10])] == [10 - shown, 10 - shown, 1]


def test_a_slate_that_the_newer_shows_twice_may_be_another_than_that_of_the_older() -> None:
    """Both begin the same way: an outage in between may have cost some of them."""
    seam = find_seam(BytesSource(LIVE.window(0, 9) + SLATE), BytesSource(3 * SLATE))
    assert (seam.certainty, seam.gap_ms) == (Certainty.LIKELY, None)


@pytest.mark.parametrize("rounds", [(1, 2), (2, 1)])
def test_a_union_with_a_slate_that_one_has_twice_is_likely_at_best(rounds: tuple[int, int]) -> None:
    show, slate = Broadcast(9), Broadcast(4, seed=5, start=900_000_000).window(1, 2)
    head, middle, tail = show.window(0, 1), show.window(2, 3), show.window(4, 6)
    older = head + middle + slate * rounds[0] + tail
    newer = middle + slate * rounds[1] + tail + show.window(7, 8)
    seam = find_seam(BytesSource(older), BytesSource(newer))
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.UNION, Certainty.LIKELY, None)
    sources = [BytesSource(older), BytesSource(newer)]
    [plan] = plan_join(sources)
    whole = Splice(sources, plan.pieces).read(0, plan.size)
    assert whole == head + middle + slate * 2 + tail + show.window(7, 8)


def test_a_slate_that_was_shown_once_is_proven() -> None:
    plan, data = joined(LIVE.window(0, 9) + SLATE, SLATE + LIVE.window(10, 15))
    seam = plan.seams[0].seam
    assert (seam.certainty, seam.gap_ms) == (Certainty.PROVEN, 0)
    assert data == LIVE.window(0, 9) + SLATE + LIVE.window(10, 15)


def test_a_window_is_found_however_large_it_is_while_the_clock_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REACH", 2 * len(LIVE.segments[0]))
    plan, data = joined(LIVE.window(0, 15), LIVE.window(2, 20))
    assert data == LIVE.window(0, 20)
    assert (plan.seams[0].seam.method, plan.seams[0].seam.certainty) == ("bytes", Certainty.PROVEN)


def test_what_is_behind_the_end_is_not_looked_for_far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REACH", 2 * len(LIVE.segments[0]))
    older = BytesSource(LIVE.window(0, 9))
    assert places._is_behind(older, BytesSource(LIVE.window(12, 14)))
    assert not places._is_behind(older, BytesSource(LIVE.window(5, 14)))


@pytest.mark.parametrize("seconds", [3, 60, 5000])
def test_a_clock_that_runs_back_never_says_that_nothing_is_missing(seconds: int) -> None:
    earlier = Broadcast(8, seed=5, start=(10_000 - seconds) * 1000 * ts.TICKS_PER_MS)
    plan, _ = joined(Broadcast(4, seed=4, start=10_000_000 * ts.TICKS_PER_MS).window(0, 3), earlier.window(0, 3))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.GAP, Certainty.UNKNOWN, None)
