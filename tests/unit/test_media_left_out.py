# SPDX-License-Identifier: GPL-3.0-or-later
"""What a join leaves out is in its result, packet for packet; what is not, is named, whoever was deceived before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from streamvaultd.jobs.join.proof import find_fault
from streamvaultd.media import left_out_boxes, left_out_units, payload, sought, ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.left_out import left_out
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.splice import Part, Splice
from tests.fakes.memory import BytesSource
from tests.unit.test_join import Job
from tests.unit.test_media_fragments import box, header, number
from tests.unit.test_media_transport import AUDIO, VIDEO, Broadcast, _pes

SHOW = Broadcast(6)
UNKNOWN, SECTIONS = 0x333, 0x334


def packet(pid: int, counter: int, body: bytes, *, is_start: bool) -> bytes:
    head = bytes([ts.SYNC, (0x40 if is_start else 0) | pid >> 8, pid & 0xFF, 0x10 | counter & 15])
    return (head + body).ljust(ts.PACKET, b"\xff")


def with_others(segments: list[bytes]) -> bytes:
    """The show with a stream that nothing names, and one of private sections."""
    found = bytearray()
    for at, segment in enumerate(segments):
        found += segment
        for part in range(4):
            found += packet(UNKNOWN, 4 * at + part, bytes([at, part]) * 40, is_start=not at and not part)
        found += packet(SECTIONS, at, b"\0\xfc\x30\x11" + bytes([at]) * 17, is_start=True)
    return bytes(found)


WHOLE = with_others(SHOW.segments)


def places(pid: int) -> list[int]:
    return [at for at in range(0, len(WHOLE), ts.PACKET) if ts.pid_of(WHOLE, at) == pid]


def without(*at: int) -> bytes:
    return b"".join(WHOLE[place : place + ts.PACKET] for place in range(0, len(WHOLE), ts.PACKET) if place not in at)


def corrupted() -> bytes:
    at = [place for place in places(VIDEO) if not WHOLE[place + 1] & 0x40][40] + 100
    return WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :]


def swapped() -> bytes:
    """Two units of sound in each other's place, with the times that belong to these places."""
    first, second = [pes.at for pes in ts.pes_starts(WHOLE) if pes.pid == AUDIO][4:6]
    one, other = WHOLE[first + 18 : first + ts.PACKET], WHOLE[second + 18 : second + ts.PACKET]
    data = bytearray(WHOLE)
    data[first + 18 : first + ts.PACKET], data[second + 18 : second + ts.PACKET] = other, one
    return bytes(data)


def mistimed() -> bytes:
    """One picture is shown half a second later than it is to be."""
    at = [pes.at for pes in ts.pes_starts(WHOLE) if pes.pid == VIDEO][30]
    start = ts.payload_at(WHOLE, at) + 9
    data = bytearray(WHOLE)
    data[start + 1] = data[start + 1] + 1 & 0xFF
    return bytes(data)


def deceived(mine: bytes, result: bytes) -> tuple[list[BytesSource], list[Plan]]:
    """A plan that takes the one for the other."""
    files = [BytesSource(mine), BytesSource(result)]
    return files, [Plan(FileFormat.TS, (Part(1, 0, len(result)),), (), 0)]


@pytest.mark.parametrize(
    ("result", "pid"),
    [
        (corrupted(), VIDEO),
        (without(places(UNKNOWN)[9]), UNKNOWN),
        (without(*places(SECTIONS)), SECTIONS),
        (without(places(SECTIONS)[2]), SECTIONS),
        (swapped(), AUDIO),
        (mistimed(), VIDEO),
        (without(places(VIDEO)[50]), VIDEO),
    ],
    ids=["a byte", "a packet of nobody", "a stream of sections", "a section", "swapped", "mistimed", "a packet"],
)
def test_what_the_result_lacks_is_named_though_every_byte_is_as_planned(result: bytes, pid: int) -> None:
    files, plans = deceived(WHOLE, result)
    assert find_fault(plans[0], files, BytesSource(result), lambda _: None) is None  # the proof that there was
    [lost] = left_out(files, plans)
    assert lost.file == 0
    assert f"PID {pid} " in lost.why


def remuxed(data: bytes) -> bytes:
    """The same units in other packets, one PID after the other within each two hundred units."""
    found, counters = bytearray(), dict[int, int]()
    pending: dict[int, bytearray] = {}
    for pid, is_start, _, _, body in payload.packets(data):
        if is_start and pid in pending:
            found += _packed(pid, bytes(pending.pop(pid)), counters)
        pending.setdefault(pid, bytearray()).extend(body)
    for pid, unit in pending.items():
        found += _packed(pid, bytes(unit), counters)
    return bytes(found)


def _packed(pid: int, unit: bytes, counters: dict[int, int]) -> bytes:
    found = bytearray()
    for at in range(0, len(unit), 100):
        piece = unit[at : at + 100]
        counter = counters[pid] = counters.get(pid, 7) + 1 & 15
        spare = ts.PACKET - 4 - len(piece)
        head = bytes([ts.SYNC, (0 if at else 0x40) | pid >> 8, pid & 0xFF, 0x30 | counter, spare - 1, 0])
        found += head + b"\xff" * (spare - 2) + piece
    return bytes(found)


@pytest.mark.parametrize(
    "mine",
    [
        WHOLE[: 100 * ts.PACKET],
        WHOLE[50 * ts.PACKET :],
        WHOLE[: 100 * ts.PACKET + 77],
        WHOLE[: 100 * ts.PACKET] + bytes(5000),
        without(places(VIDEO)[50]),
        without(places(0x1000)[2], places(0x11)[1]),
        remuxed(WHOLE),
    ],
    ids=["its start", "its end", "torn", "zeros behind it", "a packet less", "fewer tables", "in other packets"],
)
def test_what_the_result_has_is_not_kept_twice(mine: bytes) -> None:
    files, plans = deceived(mine, WHOLE)
    assert left_out(files, plans) == []


def test_what_begins_with_filling_is_looked_for_where_all_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head comes again elsewhere, far from what follows it."""
    for name in ("MARGIN", "REACH"):
        monkeypatch.setattr(sought, name, ts.PACKET)
    filling = b"".join((b"\x47\x1f\xff\x10" + bytes([number])).ljust(ts.PACKET, b"\xff") for number in range(32))
    parts = [filling + segment for segment in SHOW.segments[:5]]
    files = [BytesSource(b"".join(parts)), BytesSource(b"".join(parts[1:3]))]
    plan = Plan(FileFormat.TS, (Part(0, 0, files[0].size),), (), 0)
    assert left_out(files, [plan]) == []
    assert left_out([files[0], BytesSource(b"".join(parts[1:3]) + SHOW.segments[5])], [plan])


def test_noise_is_kept() -> None:
    noise = bytes(range(1, 71)) * 9
    files, plans = deceived(WHOLE + noise, WHOLE)
    [lost] = left_out(files, plans)
    assert (lost.end, lost.why) == (len(WHOLE) + len(noise), f"{len(noise)} bytes from {len(WHOLE)} on are no packets")


def test_the_planner_leaves_nothing_out_where_nothing_is_wrong() -> None:
    files = [BytesSource(WHOLE[: 120 * ts.PACKET + 3]), BytesSource(WHOLE[60 * ts.PACKET :])]
    plans = plan_join(files)
    assert Splice(files, plans[0].pieces).read(0, 1 << 20) == WHOLE
    assert left_out(files, plans) == []


def two_captures() -> tuple[bytes, bytes]:
    """A picture is damaged in the second one."""
    bad = bytearray(SHOW.window(2, 5))
    at = [pes.at for pes in ts.pes_starts(bytes(bad)) if pes.pid == VIDEO][14] + 60
    bad[at] ^= 1
    return SHOW.window(0, 4), bytes(bad)


def test_of_two_captures_of_one_time_both_are_there_afterwards(tmp_path: Path) -> None:
    """One of them is damaged, and nothing says for sure which: what the result lacks goes to a file beside it."""
    good, bad = two_captures()
    at = next(at for at in range(len(bad)) if bad[at] != SHOW.window(2, 5)[at])
    job = Job(tmp_path, good, bad)
    report = job.run()
    assert job.results == ["alice_2026.11.kept1.ts", "alice_2026.11.ts"]
    whole, kept = ((tmp_path / "joined" / name).read_bytes() for name in reversed(job.results))
    lost = SHOW.window(2, 5)[at - 40 : at + 60]
    assert [part.get("isKept", False) for part in report["parts"]] == [False, True]
    assert report["parts"][1]["durationMs"] is None
    assert report["parts"][1]["segment"] == 1
    assert report["parts"][1]["sha256"] == hashlib.sha256(kept).hexdigest()
    [note] = [note for note in report["notes"] if "kept1" in note]
    assert note.startswith("alice_2026.11.kept1.ts has what of segment_001.ts is not in the result: what PID 256 ")
    assert lost in kept
    assert lost not in whole
    assert job.run() == report  # as after a daemon that ended before it read the report


def in_the_way(path: Path, kind: str) -> None:
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"of an earlier recording" * (9 if kind == "text" else 0))


@pytest.mark.parametrize("kind", ["text", "empty", "link", "folder"])
def test_what_has_the_name_of_a_kept_file_is_neither_replaced_nor_in_the_way(tmp_path: Path, kind: str) -> None:
    job = Job(tmp_path, *two_captures())
    wanted = job.run()["parts"][1]
    folder = tmp_path / "joined"
    kept = folder / "alice_2026.11.kept1.ts"
    content = kept.read_bytes()
    kept.unlink()
    for name in ("alice_2026.11.kept1.ts", "alice_2026.11.kept1-2.ts"):
        in_the_way(folder / name, kind)
    before = [(folder / name).lstat() for name in ("alice_2026.11.kept1.ts", "alice_2026.11.kept1-2.ts")]
    report = job.run()
    assert report["parts"][1] == wanted | {"path": str(folder / "alice_2026.11.kept1-3.ts")}
    assert (folder / "alice_2026.11.kept1-3.ts").read_bytes() == content
    assert "alice_2026.11.kept1-2.ts is something else, and is left alone" in report["notes"]
    after = [(folder / name).lstat() for name in ("alice_2026.11.kept1.ts", "alice_2026.11.kept1-2.ts")]
    assert [(each.st_ino, each.st_size) for each in after] == [(each.st_ino, each.st_size) for each in before]
    assert job.run() == report


# --- fragmented MP4 -------------------------------------------------------------------------------------------------


def fragment(index: int, *, first: int = 0, last: int = 20, salt: int = 0, event: bytes = b"") -> bytes:
    """Twenty samples of one track, or some of them."""
    bodies = [bytes([index, sample, salt if sample == 7 else 0]) * (50 + sample) for sample in range(first, last)]
    entries = b"".join(number(512) + number(len(body)) for body in bodies)

    def moof(offset: int) -> bytes:
        run = box(b"trun", number(0x000301), number(len(bodies)), number(offset), entries)
        clock = box(b"tfdt", bytes([1, 0, 0, 0]), number((index * 20 + first) * 512, 8))
        track = box(b"traf", box(b"tfhd", number(0x020000), number(1)), clock, run)
        return box(b"moof", box(b"mfhd", bytes(4), number(index)), track)

    return event + moof(len(moof(0)) + 8) + box(b"mdat", *bodies)


FRAGMENTS = [fragment(index) for index in range(8)]
EVENT = box(b"emsg", bytes(12), b"urn:scte", b"splice")


def deceived_mp4(mine: bytes, result: bytes) -> tuple[list[BytesSource], list[Plan]]:
    files = [BytesSource(header() + mine), BytesSource(header(rate=7) + result)]
    return files, [Plan(FileFormat.FMP4, (Part(1, 0, files[1].size),), (), 0)]


@pytest.mark.parametrize(
    ("mine", "result"),
    [
        ([*FRAGMENTS[:3], fragment(3, salt=1), *FRAGMENTS[4:]], FRAGMENTS),
        (FRAGMENTS, [*FRAGMENTS[:3], *FRAGMENTS[4:]]),
        ([*FRAGMENTS[:3], fragment(3, event=EVENT)], FRAGMENTS),
        ([*FRAGMENTS, fragment(8)[:-100]], FRAGMENTS),
        ([*FRAGMENTS, box(b"what", b"\0\1\2\3")], FRAGMENTS),
        ([fragment(9), fragment(10)], FRAGMENTS),
    ],
    ids=["a sample", "a fragment", "an event", "torn", "an unknown box", "all"],
)
def test_of_fragmented_mp4_every_sample_is_looked_for(mine: list[bytes], result: list[bytes]) -> None:
    files, plans = deceived_mp4(b"".join(mine), b"".join(result))
    assert [lost.file for lost in left_out(files, plans)] == [0]


@pytest.mark.parametrize(
    "mine",
    [
        FRAGMENTS[2:],
        [fragment(1, first=12), *FRAGMENTS[2:]],
        [*FRAGMENTS[:3], FRAGMENTS[3][:-30]],
        [*FRAGMENTS[:3], b"<html>502 Bad Gateway</html>", *FRAGMENTS[3:]],
        [box(b"styp", b"msdh"), *FRAGMENTS[:3], box(b"free", b"what")],
        [],
    ],
    ids=["its end", "begun in a fragment", "torn", "a page in it", "structure", "nothing"],
)
def test_samples_that_are_held_in_other_fragments_are_held(mine: list[bytes]) -> None:
    files, plans = deceived_mp4(b"".join(mine), b"".join(FRAGMENTS))
    assert left_out(files, plans) == []


@pytest.mark.parametrize("size", [7777, 20_000, 50_000])
def test_a_range_of_several_slices_is_held_in_other_packets_and_lacks_what_it_lacks(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that goes on into the next slice was looked at with the one in which it begins."""
    monkeypatch.setattr(sought, "SLICE", size)
    show = SHOW.window(0, 5)
    assert left_out(*deceived(show, remuxed(show))) == []
    assert left_out(*deceived(remuxed(show), show)) == []
    monkeypatch.setattr(sought, "LOOK", 3000)
    assert all(left_out(*deceived(WHOLE, without(place))) for place in places(VIDEO)[::5])


def counted(seen: list[int], items: Sequence[sought.Item]) -> sought.Sought:
    seen.append(len(items))
    return sought.Sought(items)


def test_fragments_are_looked_at_by_fewer_where_they_hold_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sought, "ITEMS_MAX", 2)
    seen = list[int]()
    monkeypatch.setattr(left_out_boxes, "Sought", partial(counted, seen))
    files, plans = deceived_mp4(b"".join([fragment(1, first=12), *FRAGMENTS[2:]]), b"".join(FRAGMENTS))
    assert left_out(files, plans) == []
    assert len(seen) > 4
    lacking = deceived_mp4(b"".join(FRAGMENTS), b"".join([*FRAGMENTS[:3], *FRAGMENTS[4:]]))
    assert [lost.file for lost in left_out(*lacking)] == [0]


@pytest.mark.parametrize("most", [150, 400])
def test_slices_are_shorter_where_they_hold_many_frames(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sought, "ITEMS_MAX", most)
    monkeypatch.setattr(sought, "SLICE_MIN", 2000)
    seen = list[int]()
    monkeypatch.setattr(left_out_units, "Sought", partial(counted, seen))
    mine, result = sound(3, 1400, 7), sound(0, 1410, 7)
    assert left_out(*deceived(mine, result)) == []
    assert len(seen) >= 1400 // most
    assert max(seen) <= most
    assert left_out(*deceived(mine, result[: len(result) // 2] + result[len(result) // 2 + 40 * ts.PACKET :]))


def test_so_many_frames_that_memory_does_not_hold_them_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sought, "ITEMS_MAX", 5)
    [lost] = left_out(*deceived(sound(3, 140, 7), sound(0, 210, 7)))
    assert "more than 5 frames" in lost.why


@pytest.mark.parametrize("size", range(1, 9))
def test_the_head_of_a_box_that_was_being_written_is_nothing(size: int) -> None:
    for rest in (FRAGMENTS[3], FRAGMENTS[3][FRAGMENTS[3].index(b"mdat") - 4 :], box(b"mfra", bytes(40))):
        begun = b"" if rest == FRAGMENTS[3] else FRAGMENTS[3][: FRAGMENTS[3].index(b"mdat") - 4]
        files, plans = deceived_mp4(b"".join([*FRAGMENTS[:3], begun, rest[:size]]), b"".join(FRAGMENTS))
        assert left_out(files, plans) == []


@pytest.mark.parametrize(("ticks", "offset"), [((1 << 64) - 1, 0), (10**9, 1 << 20)], ids=["no time", "elsewhere"])
def test_samples_that_are_said_to_be_where_none_can_be_are_kept(ticks: int, offset: int) -> None:
    odd = bytearray(fragment(9, last=2))
    at = odd.index(b"tfdt") + 8
    odd[at : at + 8] = number(ticks, 8)
    at = odd.index(b"trun") + 12
    odd[at : at + 4] = number(int.from_bytes(odd[at : at + 4], "big") + offset)
    files, plans = deceived_mp4(b"".join(FRAGMENTS) + bytes(odd), b"".join(FRAGMENTS))
    assert [lost.file for lost in left_out(files, plans)] == [0]


def sound(first: int, count: int, per_unit: int) -> bytes:
    """Frames of AAC, so many to a unit."""
    stream, out = Broadcast(1), bytearray()
    stream.counters = {}
    for begin in range(first, first + count, per_unit):
        frames = range(begin, min(begin + per_unit, first + count))
        body = b"".join(b"\xff\xf1\x4c\x80\x1a\xbf\xfc" + random.Random(frame).randbytes(206) for frame in frames)  # noqa: S311
        out += stream._packets(AUDIO, _pes(0xC0, 126_000 + begin * 1920, None, body))
    return bytes(out)


@pytest.mark.parametrize("torn", range(1, 10))
def test_sound_that_is_torn_anywhere_is_held_where_another_packed_it_otherwise(torn: int) -> None:
    mine, result = sound(3, 140, 7), sound(0, 210, 7)
    assert left_out(*deceived(mine[: -torn * ts.PACKET], result)) == []
    assert left_out(*deceived(mine[: -torn * ts.PACKET], sound(0, 130, 7)))


def at_other_times(data: bytes, some: range, step: int = 1) -> bytes:
    """With these units of pictures a second later, each so many ticks behind the one before."""
    found = bytearray(data)
    places = [pes for pes in ts.pes_starts(data) if pes.pid == VIDEO]
    first = places[some.start].dts + 90_000
    for count, place in enumerate(some):
        start = ts.payload_at(data, places[place].at)
        moment = first + count * step
        found[start + 9 : start + 19] = _stamp(0x31, moment) + _stamp(0x11, moment)
    return bytes(found)


def _stamp(mark: int, moment: int) -> bytes:
    low = [moment >> 22 & 0xFF, (moment >> 15 & 0x7F) << 1 | 1, moment >> 7 & 0xFF, (moment & 0x7F) << 1 | 1]
    return bytes([mark | (moment >> 30 & 7) << 1, *low])


@pytest.mark.parametrize(
    ("some", "step", "is_held"),
    [(range(20, 40), 1, True), (range(20, 24), 1, False), (range(20, 40), 3600, False)],
    ids=["many", "few", "the clock goes on"],
)
def test_units_in_a_row_that_are_there_at_other_times_are_held(some: range, step: int, *, is_held: bool) -> None:
    """A muxer gives them so where a clock was set back: it stands still. A few are shown when they are not to be."""
    files, plans = deceived(remuxed(WHOLE), at_other_times(WHOLE, some, step))
    assert (left_out(files, plans) == []) is is_held


def test_units_at_other_times_are_not_held_where_one_of_them_is_missing() -> None:
    moved = at_other_times(WHOLE, range(10, 40))
    start, end = [pes.at for pes in ts.pes_starts(moved) if pes.pid == VIDEO][20:22]
    lacking = bytearray()
    for at in range(0, len(moved), ts.PACKET):
        if not (start <= at < end and ts.pid_of(moved, at) == VIDEO):
            lacking += moved[at : at + ts.PACKET]
    files, plans = deceived(remuxed(WHOLE), bytes(lacking))
    [lost] = left_out(files, plans)
    assert f"PID {VIDEO} " in lost.why
