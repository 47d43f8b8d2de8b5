# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures that ffmpeg muxed, where either lacks a stream for a while: the join has each packet once that one had."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamvaultd.media import ts
from streamvaultd.media.left_out import left_out
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.seam import Certainty, SeamKind
from streamvaultd.media.splice import Splice
from tests.component.test_join_muxed import AUDIO_PID, broadcast, digests, join, muxed
from tests.fakes.memory import BytesSource

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine
__all__ = ["broadcast"]

VIDEO_PID = 256
FIRST = 2.8
"""The time of the first picture (s): each of the two muxers that were at work puts it 1.4 s late."""


def lacking(data: bytes, pid: int, start: float, end: float) -> bytes:
    """The capture without the units of a PID that are decoded in these seconds."""
    out, is_left_out = bytearray(), False
    for at in range(0, len(data), ts.PACKET):
        if ts.pid_of(data, at) == pid and (pes := ts.parse_pes(data, at)) is not None and data[at + 1] & 0x40:
            is_left_out = start <= pes.dts / 90_000 - FIRST < end
        if ts.pid_of(data, at) != pid or not is_left_out:
            out += data[at : at + ts.PACKET]
    return bytes(out)


def packets_of(broadcast: Path, data: bytes, stream: str) -> list[str]:
    path = broadcast.with_name("some.ts")
    path.write_bytes(data)
    return digests(path, stream)


def assert_union(broadcast: Path, *captures: bytes) -> Plan:
    """Each packet that one of the captures has, once, in the order of the broadcast."""
    plan, data = join(*captures)
    assert_each_once(broadcast, data, captures)
    return plan


def assert_each_once(broadcast: Path, data: bytes, captures: Sequence[bytes], torn: int = 0) -> None:
    """Data has each packet that one of the captures has, but for so many at their ends, once and in order."""
    for stream in ("v", "a"):
        had = {packet for each in captures for packet in whole(packets_of(broadcast, each, stream), torn)}
        found = packets_of(broadcast, data, stream)
        assert {packet: times for packet, times in Counter(found).items() if times > 1} == {}
        assert had - set(found) == set()
        places = {packet: place for place, packet in enumerate(digests(broadcast, stream))}
        order = [places[packet] for packet in found if packet in places]
        assert order == sorted(order)


def whole(packets: Sequence[str], torn: int) -> Sequence[str]:
    """All but the last ones."""
    return packets[: len(packets) - torn]


def test_pictures_that_were_away_in_the_older(broadcast: Path) -> None:
    """Its playlist was gone; the sound went on."""
    older = lacking(muxed(broadcast, 0, 20), VIDEO_PID, 8, 99)
    plan = assert_union(broadcast, older, muxed(broadcast, 6, 30))
    assert plan.seams[0].seam.certainty is Certainty.PROVEN


def test_pictures_that_nobody_has_are_a_gap_and_the_sound_is_there_once(broadcast: Path) -> None:
    older = lacking(muxed(broadcast, 0, 20), VIDEO_PID, 8, 99)
    plan = assert_union(broadcast, older, muxed(broadcast, 12, 30))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty) == (SeamKind.GAP, Certainty.LIKELY)
    assert seam.gap_ms == pytest.approx(4000, abs=1100)


def test_sound_that_nobody_has_is_a_gap_though_the_pictures_overlap(broadcast: Path) -> None:
    older = lacking(muxed(broadcast, 0, 20), AUDIO_PID, 8, 99)
    plan = assert_union(broadcast, older, muxed(broadcast, 12, 30))
    seam = plan.seams[0].seam
    assert seam.kind is SeamKind.GAP
    assert seam.gap_ms == pytest.approx(4000, abs=1100)


@pytest.mark.parametrize("seed", range(6))
def test_holes_of_either_in_either_stream(broadcast: Path, seed: int) -> None:
    rnd = random.Random(seed)  # noqa: S311 - instants, no secrets
    captures = [muxed(broadcast, 0, 22), muxed(broadcast, 6, 32)]
    for side in (0, 1):
        for pid in (VIDEO_PID, AUDIO_PID):
            start = rnd.uniform(4, 20)
            captures[side] = lacking(captures[side], pid, start, start + rnd.uniform(0.5, 4))
    assert_union(broadcast, *captures)


def test_three_runs_beside_each_other(broadcast: Path) -> None:
    captures = [
        lacking(muxed(broadcast, 0, 18), VIDEO_PID, 9, 99),
        lacking(muxed(broadcast, 5, 25), AUDIO_PID, 14, 99),
        muxed(broadcast, 13, 34),
    ]
    assert_union(broadcast, *captures)


@pytest.mark.parametrize("seed", range(8))
def test_two_that_are_torn_at_the_same_place_lose_nothing_of_it(broadcast: Path, seed: int) -> None:
    """Both were killed then; what was written last of either is cut off anywhere."""
    rnd = random.Random(seed)  # noqa: S311 - places, no secrets
    captures = [muxed(broadcast, 0, 14), muxed(broadcast, 6, 14)]
    sizes = [(len(data) // ts.PACKET - rnd.randrange(30)) * ts.PACKET for data in captures]
    sources = [BytesSource(data[:size]) for data, size in zip(captures, sizes, strict=True)]
    [plan] = plan_join(sources)
    data = Splice(sources, plan.pieces).read(0, plan.size)
    assert left_out(sources, [plan]) == []
    for stream in ("v", "a"):
        # the last one may be torn
        had = {packet for source in sources for packet in packets_of(broadcast, source.data, stream)[:-1]}
        found = packets_of(broadcast, data, stream)
        assert len(found) == len(set(found))
        assert had - set(found) == set()
