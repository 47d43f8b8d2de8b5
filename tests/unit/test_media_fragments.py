# SPDX-License-Identifier: GPL-3.0-or-later
"""Fragmented MP4: times of fragments, unions of captures with holes, gaps, and input that is damaged or made up."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvaultd.media import fmp4, fragments
from streamvaultd.media.fragment_union import find_union, gap_ms, has_overlap
from streamvaultd.media.plan import plan_join
from streamvaultd.media.seam import Certainty, SeamKind, find_seam
from streamvaultd.media.splice import Splice
from tests.fakes.memory import BytesSource
from tests.unit.test_media_transport import Broadcast

SCALE = 15360
AUDIO_SCALE = 48000
SECONDS = 2
DECODER = b"\x03\x80\x80\x80\x25\x00\x02\x00\x04\x80\x80\x80\x17\x40\x15\x00\x00\x00"
"""Of an esds, up to its bit rates."""


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return (8 + len(data)).to_bytes(4, "big") + kind + data


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def track_box(track: int, scale: int, handler: bytes) -> bytes:
    header = box(b"tkhd", bytes(4), bytes(8), number(track), bytes(64))
    media = box(b"mdia", box(b"mdhd", bytes(12), number(scale), bytes(8)), box(b"hdlr", bytes(8), handler, bytes(12)))
    return box(b"trak", header, media)


def header(scale: int = SCALE, rate: int = 0) -> bytes:
    defaults = box(
        b"mvex", *(box(b"trex", bytes(4), number(track), number(1), number(512), bytes(8)) for track in (1, 2))
    )
    rates = box(b"udta", box(b"btrt", bytes(4), number(rate) * 2), box(b"esds", bytes(4), DECODER, number(rate) * 2))
    tracks = track_box(1, scale, b"vide"), track_box(2, AUDIO_SCALE, b"soun")
    return box(b"ftyp", b"iso6") + box(b"moov", *tracks, defaults, rates)


def traf(track: int, start: int, durations: list[int]) -> bytes:
    run = b"".join(number(duration) + number(7) for duration in durations)
    return box(
        b"traf",
        box(b"tfhd", number(0x020000), number(track)),
        box(b"tfdt", bytes([1, 0, 0, 0]), number(start, 8)),
        box(b"trun", number(0x000301), number(len(durations)), number(0), run),
    )


def fragment(
    index: int, *, scale: int = SCALE, salt: int = 0, counted: int | None = None, sound_before: int = 0
) -> bytes:
    """Two seconds of video and audio, number `index` of the broadcast, and so many ticks of the sound before it."""
    frames = [scale * SECONDS // 60] * 60
    sound = [1000] * ((AUDIO_SCALE * SECONDS + sound_before) // 1000)
    payload = hashlib.shake_128(f"{index} {salt}".encode()).digest(3000 + index % 7)
    moof = box(
        b"moof",
        box(b"mfhd", bytes(4), number(index if counted is None else counted)),
        traf(1, index * SECONDS * scale, frames),
        traf(2, index * SECONDS * AUDIO_SCALE - sound_before, sound),
    )
    return box(b"styp", b"msdh") + moof + box(b"mdat", payload)


BROADCAST = [fragment(index) for index in range(40)]
HEADER = header()


def capture(indices: list[int], torn: int = 0) -> bytes:
    data = HEADER + b"".join(BROADCAST[index] for index in indices)
    return data[: len(data) - torn] if torn else data


def joined(*files: bytes) -> bytes:
    sources = [BytesSource(data) for data in files]
    [plan] = plan_join(sources)
    return Splice(sources, plan.pieces).read(0, plan.size)


def test_times_of_fragments() -> None:
    source = BytesSource(capture([3, 4]))
    known = fragments.tracks(source)
    assert known == {1: (SCALE, True, 512), 2: (AUDIO_SCALE, False, 512)}
    assert fragments.clock_of(known) == 1
    found = list(fragments.fragments(source, known))
    assert [run.start for run in found[0].runs] == [3 * SECONDS * SCALE, 3 * SECONDS * AUDIO_SCALE]
    assert [run.duration for run in found[1].runs] == [SECONDS * SCALE, SECONDS * AUDIO_SCALE]
    assert [one.end - one.start for one in found] == [len(BROADCAST[3]), len(BROADCAST[4])]
    assert fragments.duration_ms(source) == 4000


def test_the_usual_duration_holds_where_a_run_has_none() -> None:
    runs = box(b"trun", number(0), number(30))
    moof = box(b"moof", box(b"traf", box(b"tfhd", bytes(4), number(1)), box(b"tfdt", bytes(4), number(99)), runs))
    source = BytesSource(HEADER + moof + box(b"mdat", b"x"))
    [one] = fragments.fragments(source, fragments.tracks(source))
    assert one.runs == ((1, 99, 30 * 512),)


def test_a_gap_is_counted_once_and_a_new_clock_not_at_all() -> None:
    assert fragments.duration_ms(BytesSource(capture([0, 1, 5]))) == 12_000
    assert fragments.duration_ms(BytesSource(HEADER + BROADCAST[30] + BROADCAST[0])) == 4000


def test_each_fills_the_holes_of_the_other() -> None:
    older, newer = capture([0, 1, 2, 4, 6]), capture([2, 3, 4, 5, 7])
    seam = find_seam(BytesSource(older), BytesSource(newer))
    assert (seam.kind, seam.method, seam.certainty) == (SeamKind.UNION, "fragments", Certainty.PROVEN)
    assert joined(older, newer) == capture(list(range(8)))


@pytest.mark.parametrize(
    ("older", "newer", "seconds"),
    [
        ([0, 1, 2, 4, 5], [2, 3, 4, 5, 6, 7], 8),
        ([4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7], 6),
        ([3, 4, 5, 6, 7], [1, 2, 3, 4], 4),
        ([0, 1, 2, 3, 4, 5, 6], [1, 3, 4], 8),
    ],
)
def test_an_overlap_is_the_time_that_both_hold(older: list[int], newer: list[int], seconds: int) -> None:
    seam = find_seam(BytesSource(capture(older)), BytesSource(capture(newer)))
    assert (seam.kind, seam.overlap_ms) == (SeamKind.UNION, seconds * 1000)


def test_nothing_in_common_is_a_measured_gap() -> None:
    older, newer = capture([0, 1]), capture([5, 6])
    seam = find_seam(BytesSource(older), BytesSource(newer))
    assert (seam.kind, seam.gap_ms) == (SeamKind.GAP, 6000.0)
    assert joined(older, newer) == capture([0, 1, 5, 6])
    assert gap_ms(BytesSource(older), BytesSource(newer)) == 6000.0


def test_a_segment_that_begins_at_the_tick_where_the_older_ends_is_no_gap() -> None:
    older, newer = capture([0, 1]), capture([2, 3])
    seam = find_seam(BytesSource(older), BytesSource(newer))
    assert (seam.kind, seam.method, seam.certainty) == (SeamKind.EXACT, "adjacent", Certainty.LIKELY)
    assert seam.gap_ms == 0
    assert joined(older, newer) == capture([0, 1, 2, 3])


def test_equal_times_with_other_bytes_prove_nothing() -> None:
    other = HEADER + fragment(1, salt=1) + fragment(2, salt=1)
    assert find_union(BytesSource(capture([0, 1, 2])), BytesSource(other)) is None
    both = joined(capture([0, 1, 2]), other)
    assert both.startswith(capture([0, 1, 2]))
    assert both.endswith(fragment(2, salt=1))


def test_a_damaged_fragment_between_equal_ones_is_kept_once() -> None:
    damaged = HEADER + BROADCAST[0] + fragment(1, salt=9) + BROADCAST[2]
    assert joined(damaged, capture([0, 1, 2, 3])) == capture([0, 1, 2, 3])


def test_a_newer_that_adds_nothing_changes_nothing() -> None:
    assert joined(capture([0, 1, 2, 3, 4]), capture([1, 3])) == capture([0, 1, 2, 3, 4])


def parts(*files: bytes) -> list[bytes]:
    sources = [BytesSource(data) for data in files]
    return [Splice(sources, plan.pieces).read(0, plan.size) for plan in plan_join(sources)]


def test_another_initialisation_begins_another_part() -> None:
    """A change in the middle of both captures: each part gets what either has of it."""
    other = header(scale=90000)
    late = [fragment(index, scale=90000) for index in range(40)]
    older = capture([0, 1, 2]) + other + late[3] + late[5]
    newer = capture([1, 2]) + other + late[3] + late[4] + late[5] + late[6]
    assert parts(older, newer) == [capture([0, 1, 2]), other + b"".join(late[3:7])]


def test_a_change_and_back_are_three_parts() -> None:
    other = header(scale=90000) + fragment(2, scale=90000)
    assert parts(capture([0, 1]) + other + capture([3, 4])) == [capture([0, 1]), other, capture([3, 4])]


def test_a_capture_that_reaches_back_over_a_change_and_its_end_repeats_nothing() -> None:
    """The first and the last part have equal initialisations; what it repeats belongs to the first."""
    other = header(scale=90000) + fragment(2, scale=90000)
    older = capture([0, 1]) + other + capture([3])
    newer = capture([1]) + other + capture([3, 4])
    assert parts(older, newer) == [capture([0, 1]), other, capture([3, 4])]


def test_a_repeated_initialisation_changes_nothing() -> None:
    data = capture([0, 1]) + capture([2, 3])
    assert parts(data) == [data]


def test_an_initialisation_without_media_is_no_part() -> None:
    assert parts(capture([0, 1]) + header(scale=90000)) == [capture([0, 1])]
    assert parts(HEADER) == []


def muxed(indices: list[int], rate: int = 0, sound_before: int = 0) -> bytes:
    """A capture whose muxer counts fragments itself, and begins with some sound that comes before the pictures."""
    first, *rest = indices
    parts = [fragment(first, counted=1, sound_before=sound_before)]
    parts += [fragment(index, counted=number) for number, index in enumerate(rest, 2)]
    return header(rate=rate) + b"".join(parts)


def times(data: bytes) -> list[tuple[int, int]]:
    """Where the fragments begin, by pictures and by sound, in seconds."""
    source = BytesSource(data)
    found = fragments.fragments(source, fragments.tracks(source))
    return [(one.runs[0].start // SCALE, one.runs[1].start // AUDIO_SCALE) for one in found]


@pytest.mark.parametrize("sound_before", [0, 24_000])
def test_fragments_that_a_muxer_counted_are_the_same_all_the_same(sound_before: int) -> None:
    """Its bit rates are measured anew, its numbers begin anew, and its first fragment is cut elsewhere."""
    older = muxed(list(range(8)), rate=1000)
    newer = muxed(list(range(5, 12)), rate=2000, sound_before=sound_before)
    seam = find_seam(BytesSource(older), BytesSource(newer))
    assert (seam.kind, seam.method, seam.certainty) == (SeamKind.UNION, "fragments", Certainty.PROVEN)
    assert "-" not in seam.note
    assert times(joined(older, newer)) == [(2 * index, 2 * index) for index in range(12)]


def test_a_capture_that_begins_in_the_middle_fills_holes_and_has_its_own_filled() -> None:
    older, newer = muxed([0, 1, 2, 3, 4, 6, 7]), muxed([3, 4, 5, 7, 8], sound_before=5000)
    assert times(joined(older, newer)) == [(2 * index, 2 * index) for index in range(9)]


def test_other_streams_are_no_other_bit_rates() -> None:
    assert fmp4.is_same_header(header(rate=1), header(rate=2))
    assert not fmp4.is_same_header(header(rate=1), header(scale=90000, rate=1))
    assert not fmp4.is_same_header(header(rate=1), header(rate=1) + bytes(1))


@pytest.mark.parametrize(
    ("older", "newer", "proven"),
    [
        (range(8), range(5, 12), True),
        (range(8), range(5, 7), True),
        (range(5), range(5, 9), False),
        ([0, 1, 2, 4], [1, 2, 3], False),
    ],
)
def test_a_muxed_capture_takes_over_when_the_end_of_one_is_in_the_other(
    older: list[int], newer: list[int], *, proven: bool
) -> None:
    mine, yours = muxed(list(older)), muxed(list(newer), sound_before=3000)
    assert has_overlap(BytesSource(mine), BytesSource(yours)) is proven


def test_other_formats_are_other_parts() -> None:
    stream = Broadcast(4).window(0, 3)
    assert parts(capture([0, 1]), stream, capture([1, 2])) == [capture([0, 1, 2]), stream]


@given(
    older=st.sets(st.integers(0, 19), min_size=1),
    newer=st.sets(st.integers(0, 39), min_size=1),
    torn=st.integers(0, 3500),
    end=st.integers(0, 3500),
)
def test_a_union_is_the_union(older: set[int], newer: set[int], torn: int, end: int) -> None:
    """Random holes in both and torn ends: every whole fragment of either is in the result once, in order."""
    first, second = sorted(older), sorted(newer)
    mine, yours = capture(first, torn), capture(second, end)
    whole = set(first[: len(first) - (torn > 0)]) | set(second[: len(second) - (end > 0)])
    if not set(first[: len(first) - (torn > 0)]) & set(second[: len(second) - (end > 0)]):
        return  # nothing in common: a gap, in order of the files
    result = BytesSource(joined(mine, yours))
    known = fragments.tracks(result)
    found = [one.runs[0].start // (SECONDS * SCALE) for one in fragments.fragments(result, known)]
    assert found == sorted(whole)


@settings(deadline=None)
@given(data=st.binary(max_size=400), at=st.integers(0, 4000), flips=st.integers(0, 255))
def test_damage_is_an_answer(data: bytes, at: int, flips: int) -> None:
    hostile = bytearray(capture([0, 1, 2]))
    hostile[at % len(hostile)] ^= flips
    for one in (HEADER + data, bytes(hostile), data, HEADER[: at % len(HEADER)] + data):
        source = BytesSource(one)
        list(fragments.fragments(source, fragments.tracks(source)))
        fragments.duration_ms(source)
        if one:
            find_seam(BytesSource(capture([0, 1])), source)
            find_seam(source, BytesSource(capture([1, 2])))


@pytest.mark.parametrize("size", [0, 1, 7, 0xFFFFFFFF])
def test_impossible_box_sizes_end_the_file(size: int) -> None:
    source = BytesSource(HEADER + BROADCAST[0] + number(size) + b"moof" + bytes(40))
    assert len(list(fragments.fragments(source, fragments.tracks(source)))) == 1


PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


@pytest.mark.parametrize("junk", [PAGE, b"", b"x" * 5, PAGE + b"moofstyp" * 1000, bytes(5 << 20)])
def test_what_is_no_box_between_fragments_is_left_out_and_nothing_else(junk: bytes) -> None:
    first, second = capture(list(range(4))), capture(list(range(4, 9)))
    media = second[len(HEADER) :]
    found = fmp4.clean(BytesSource(first + junk + media))
    wanted = (
        [(0, len(first)), (len(first) + len(junk), len(first + junk + media))] if junk else [(0, len(first + media))]
    )
    assert found == wanted
    [plan] = plan_join([BytesSource(first + junk + media), BytesSource(capture(list(range(7, 12))))])
    files = [BytesSource(first + junk + media), BytesSource(capture(list(range(7, 12))))]
    assert Splice(files, plan.pieces).read(0, plan.size) == capture(list(range(12)))


@pytest.mark.parametrize("shown", [1, 2, 3])
def test_a_slate_with_an_initialisation_of_its_own_is_placed_by_when_it_was_received(shown: int) -> None:
    """Both captures see it, and the content behind it: the older from its start on, the newer the last of them."""
    slate = b"".join(fragment(index, scale=12800, salt=9) for index in range(3))
    content = capture([5, 6, 7])
    older = capture([0, 1, 2, 3, 4]) + header(12800) + 4 * slate + content
    newer = header(12800) + shown * slate + content
    files = [BytesSource(older), BytesSource(newer)]
    plans = plan_join(files, [60_000, 60_000])
    parts = [Splice(files, plan.pieces).read(0, plan.size) for plan in plans]
    assert parts == [capture([0, 1, 2, 3, 4]), header(12800) + 4 * slate, content]


@pytest.mark.parametrize("torn", [0, 40])
@pytest.mark.parametrize("got", range(1, 9))
@pytest.mark.parametrize("ends", [(), (43_000, 60_000)], ids=["no times", "times of bursts"])
def test_a_slate_in_a_loop_is_placed_by_the_content_before_it(got: int, torn: int, ends: tuple[int, ...]) -> None:
    """The newer begins before the slate; the older ended somewhere in it."""
    slate = [fragment(index % 3, scale=12800, salt=9) for index in range(9)]
    older = capture([0, 1, 2, 3, 4]) + header(12800) + b"".join(slate[:got])
    newer = capture([2, 3, 4]) + header(12800) + b"".join(slate) + capture([5, 6])
    files = [BytesSource(older[: len(older) - torn]), BytesSource(newer)]
    plans = plan_join(files, ends)
    parts = [Splice(files, plan.pieces).read(0, plan.size) for plan in plans]
    assert parts == [capture([0, 1, 2, 3, 4]), header(12800) + b"".join(slate), capture([5, 6])]
    assert all(planned.seam.certainty is Certainty.PROVEN for plan in plans for planned in plan.seams)


def test_a_slate_behind_other_content_is_not_placed_by_it() -> None:
    """What is before the slate is not the same: nothing tells which round it is."""
    slate = [fragment(index % 3, scale=12800, salt=9) for index in range(9)]
    older = capture([0, 1, 2, 3, 4]) + header(12800) + b"".join(slate[:5])
    newer = capture([2, 3]) + header(12800) + b"".join(slate)
    files = [BytesSource(older), BytesSource(newer)]
    seams = [planned.seam for plan in plan_join(files) for planned in plan.seams]
    assert Certainty.LIKELY in {seam.certainty for seam in seams}


@pytest.mark.parametrize(
    ("older", "newer", "whole"),
    [
        ([0, 1, 10, 3, 4], [1, 10, 10, 3, 4, 5], [0, 1, 10, 10, 3, 4, 5]),
        ([0, 1, 10, 10, 3, 4], [1, 10, 3, 4, 5], [0, 1, 10, 10, 3, 4, 5]),
    ],
    ids=["the newer has it twice", "the older has it twice"],
)
def test_a_slate_that_one_has_more_than_once_is_likely_at_best(
    older: list[int], newer: list[int], whole: list[int]
) -> None:
    """The union is that of the one that has more rounds; which rounds the other has, nothing tells."""
    one, other = BytesSource(capture(older)[:-9]), BytesSource(capture(newer))
    found = find_union(one, other)
    assert found is not None
    assert found.is_ambiguous
    seam = find_seam(one, other)
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.UNION, Certainty.LIKELY, None)
    assert joined(one.data, other.data) == capture(whole)


def test_two_that_each_have_something_beside_a_repeated_slate_are_no_union() -> None:
    one, other = BytesSource(capture([0, 1, 10, 10, 3])), BytesSource(capture([1, 10, 10, 4, 5]))
    assert find_union(one, other) is None
    assert find_seam(one, other).kind is SeamKind.GAP
