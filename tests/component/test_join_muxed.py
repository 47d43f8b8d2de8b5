# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures that ffmpeg muxed, each with packets of its own: joined by access units, judged frame by frame."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvaultd.media import ts
from streamvaultd.media.overlap import overlap_proven
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.seam import SeamKind, find_seam
from streamvaultd.media.splice import Splice
from tests.component.test_join_media import ffmpeg
from tests.fakes.memory import BytesSource

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

SECONDS = 40
FPS = 30
AUDIO_PID = 257
"""ffmpeg's second stream."""


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video of which no two frames are alike, with noise as its sound: no two frames of that are, either."""
    path = tmp_path_factory.mktemp("muxed") / "broadcast.ts"
    ffmpeg(
        *(
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size=192x108:rate={FPS}",
            "-f",
            "lavfi",
            "-i",
            "anoisesrc=sample_rate=48000",
        ),
        *("-t", str(SECONDS), "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", str(FPS), "-bf", "2"),
        *("-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k", "-f", "mpegts", path),
    )
    return path


def muxed(broadcast: Path, start: float, end: float, *, copyts: bool = True) -> bytes:
    """A capture of these seconds as ffmpeg muxes it in streamlink (--ffmpeg-fout mpegts)."""
    path = broadcast.with_name("capture.ts")
    keep = ("-copyts",) if copyts else ()
    length = ("-to", end) if copyts else ("-t", end - start)
    ffmpeg("-y", "-ss", str(start), "-i", broadcast, *keep, *map(str, length), "-c", "copy", "-f", "mpegts", path)
    return path.read_bytes()


def join(*captures: bytes) -> tuple[Plan, bytes]:
    sources = [BytesSource(data) for data in captures]
    [plan] = plan_join(sources)
    return plan, Splice(sources, plan.pieces).read(0, plan.size)


def digests(path: Path, stream: str) -> list[str]:
    """The MD5 of each packet of a stream, in order."""
    lines = ffmpeg("-i", path, "-map", f"0:{stream}", "-c", "copy", "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def assert_contiguous(broadcast: Path, data: bytes, at_least: float) -> None:
    """The joined file is one run of the broadcast's packets, none lost and none repeated, and decodes in silence."""
    path = broadcast.with_name("joined.ts")
    path.write_bytes(data)
    for stream in ("v", "a"):
        whole, found = digests(broadcast, stream), digests(path, stream)
        first = whole.index(found[0])
        assert found == whole[first : first + len(found)]
    assert len(digests(path, "v")) >= at_least * FPS
    assert ffmpeg("-i", path, "-f", "null", "-") == ""


@pytest.mark.parametrize("seed", range(8))
def test_an_overlap_is_cut_at_the_access_units(broadcast: Path, seed: int) -> None:
    rnd = random.Random(seed)  # noqa: S311 - instants, no secrets
    start, middle, end = sorted(rnd.uniform(2, SECONDS - 2) for _ in range(3))
    overlap = rnd.uniform(1.5, 5)
    older, newer = muxed(broadcast, 0, middle + overlap), muxed(broadcast, start, end + 2)
    plan, data = join(older, newer)
    seam = plan.seams[0].seam
    assert (seam.kind, seam.method) == (SeamKind.EXACT, "pes")
    assert_contiguous(broadcast, data, max(middle + overlap, end) - 2)


def late(data: bytes, pid: int, packets: int) -> bytes:
    """The same with the packets of a PID behind the others, as far as they are among the first `packets`."""
    head = [data[at : at + ts.PACKET] for at in range(0, packets * ts.PACKET, ts.PACKET)]
    head.sort(key=lambda packet: ts.pid_of(packet, 0) == pid)
    return b"".join(head) + data[packets * ts.PACKET :]


def test_audio_may_begin_long_after_the_video(broadcast: Path) -> None:
    """streamlink loads video and audio from two playlists, and the muxer takes what comes first."""
    older, newer = muxed(broadcast, 0, 14), late(muxed(broadcast, 9.3, 25), AUDIO_PID, 500)
    plan, data = join(older, newer)
    assert plan.seams[0].seam.method == "pes"
    assert_contiguous(broadcast, data, 22)


@pytest.mark.parametrize(("end", "proven"), [(14, True), (9.2, False)])
def test_the_newer_may_take_over_though_its_packets_are_others(
    broadcast: Path, tmp_path: Path, end: float, *, proven: bool
) -> None:
    """A rotation must not wait for its limit."""
    (tmp_path / "older").write_bytes(muxed(broadcast, 0, end))
    newer = muxed(broadcast, 9.3, 25)
    for part in (len(newer) // 8, len(newer) // 2, len(newer)):
        (tmp_path / "newer").write_bytes(newer[:part])
        with (tmp_path / "older").open("rb") as mine, (tmp_path / "newer").open("rb") as yours:
            assert overlap_proven(mine.fileno(), yours.fileno()) is proven


def test_a_capture_without_any_audio_yet_takes_none_away(broadcast: Path) -> None:
    """What the older has of it is kept to its end."""
    older, newer = muxed(broadcast, 0, 14), muxed(broadcast, 13, 25)
    packets = [newer[at : at + ts.PACKET] for at in range(0, len(newer), ts.PACKET)]
    silent = b"".join(packet for packet in packets if ts.pid_of(packet, 0) != AUDIO_PID)
    _, data = join(older, silent)
    broadcast.with_name("older.ts").write_bytes(older)
    broadcast.with_name("joined.ts").write_bytes(data)
    assert digests(broadcast.with_name("joined.ts"), "a") == digests(broadcast.with_name("older.ts"), "a")


def test_three_captures_in_a_row(broadcast: Path) -> None:
    captures = [muxed(broadcast, 0, 14), muxed(broadcast, 9.3, 25), muxed(broadcast, 21.7, 38)]
    plan, data = join(*captures)
    assert [planned.seam.method for planned in plan.seams] == ["pes", "pes"]
    assert_contiguous(broadcast, data, 34)


def test_a_torn_end_is_no_obstacle(broadcast: Path) -> None:
    """A kill leaves the last units torn; the newer has them whole."""
    for torn in (1, 187, 188, 1000, 9000, 40_000):
        older = muxed(broadcast, 0, 14)[:-torn]
        plan, data = join(older, muxed(broadcast, 9.3, 25))
        assert plan.seams[0].seam.method == "pes"
        assert_contiguous(broadcast, data, 22)


def test_a_capture_inside_another_adds_nothing(broadcast: Path) -> None:
    older = muxed(broadcast, 0, 20)
    plan, data = join(older, muxed(broadcast, 8.2, 15))
    assert plan.seams[0].seam.method == "pes"
    assert data == older


def test_clocks_that_each_begin_anew_prove_nothing(broadcast: Path) -> None:
    """Equal timestamps of other media: nothing may be dropped for that, and not for equal media at other times."""
    older = muxed(broadcast, 0, 14, copyts=False)
    newer = muxed(broadcast, 9.3, 25, copyts=False)
    plan, data = join(older, newer)
    assert plan.seams[0].seam.kind is SeamKind.GAP
    assert data.startswith(older)
    assert data.endswith(newer)


@given(at=st.integers(0, 1 << 30), flip=st.integers(1, 255), cut=st.integers(0, 3000), side=st.booleans())
@settings(max_examples=60, deadline=None)
def test_damage_is_an_answer(broadcast: Path, at: int, flip: int, cut: int, side: bool) -> None:
    captures = _pair(broadcast)
    damaged = bytearray(captures[side])
    damaged[at % len(damaged)] ^= flip
    damaged = damaged[: len(damaged) - cut]
    pair = (bytes(damaged), captures[1]) if not side else (captures[0], bytes(damaged))
    find_seam(BytesSource(pair[0]), BytesSource(pair[1]))


_PAIR: list[bytes] = []


def _pair(broadcast: Path) -> list[bytes]:
    if not _PAIR:
        _PAIR.extend([muxed(broadcast, 0, 8), muxed(broadcast, 5, 12)])
    return _PAIR
