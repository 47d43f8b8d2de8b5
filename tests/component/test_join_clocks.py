# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures that ffmpeg muxed of a source whose clock was set back: the same media have other times in either."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from streamvaultd.media import timeline
from streamvaultd.media.left_out import left_out
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.seam import Certainty, SeamKind
from streamvaultd.media.splice import Splice
from tests.component.test_join_muxed import AUDIO_PID, SECONDS, broadcast, muxed
from tests.component.test_join_woven import VIDEO_PID, assert_each_once, lacking
from tests.fakes.memory import BytesSource

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine
__all__ = ["broadcast"]

BACK = 16
"""At this second of the broadcast the clock is set back to its beginning."""
STILL = 90
"""Ticks."""
RECEIVED = (0, 0)
"""The last of both at once: all of the newer may be in the older."""


def captured(broadcast: Path, *parts: bytes) -> bytes:
    """What ffmpeg makes in streamlink of parts that come one behind the other; it says that clocks run back."""
    source, path = broadcast.with_name("live.ts"), broadcast.with_name("captured.ts")
    source.write_bytes(b"".join(parts))
    how = ("-copyts", "-c", "copy", "-f", "mpegts")
    subprocess.run(["ffmpeg", "-nostdin", "-v", "quiet", "-y", "-i", source, *how, path], check=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def still(broadcast: Path) -> bytes:
    """A capture that was there when the clock was set back."""
    return captured(broadcast, muxed(broadcast, 0, BACK), muxed(broadcast, BACK, SECONDS, copyts=False))


def behind(broadcast: Path, start: float, end: float = SECONDS) -> bytes:
    """A capture that began later: it has the time that the source has by then."""
    return captured(broadcast, muxed(broadcast, start, end, copyts=False))


def assert_once(broadcast: Path, *captures: bytes) -> tuple[Plan, bytes]:
    """Each packet that one of the captures has, once, in order; nothing has to be kept beside the result."""
    sources = [BytesSource(data) for data in captures]
    [plan] = plan_join(sources, RECEIVED)
    data = Splice(sources, plan.pieces).read(0, plan.size)
    assert_each_once(broadcast, data, captures, torn=1)
    assert left_out(sources, [plan]) == []
    return plan, data


def still_pictures(data: bytes) -> int:
    """How many have no time of their own."""
    source = BytesSource(data)
    times = [pes.dts for pes in timeline.units(source, 0, source.size) if pes.is_video]
    return sum(1 for before, after in pairwise(times) if 0 <= after - before < STILL)


def test_what_has_other_times_in_either_is_there_once(broadcast: Path, still: bytes) -> None:
    plan, data = assert_once(broadcast, still, behind(broadcast, BACK + 2))
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty, seam.gap_ms) == (SeamKind.EXACT, Certainty.PROVEN, 0.0)
    assert "at other times" in seam.note
    assert still_pictures(data) < still_pictures(still) / 4  # what has a time of its own is taken


def test_an_older_that_ends_before_is_gone_on_with(broadcast: Path, still: bytes) -> None:
    plan, _ = assert_once(broadcast, still[: len(still) * 3 // 4 // 188 * 188], behind(broadcast, BACK + 1))
    assert plan.seams[0].seam.certainty is Certainty.PROVEN


@pytest.mark.parametrize("pid", [VIDEO_PID, AUDIO_PID])
def test_what_either_lacks_is_taken_from_the_other(broadcast: Path, still: bytes, pid: int) -> None:
    plan, _ = assert_once(broadcast, lacking(still, pid, 9, 11), lacking(behind(broadcast, 6, 30), pid, 7, 9))
    assert plan.seams[0].seam.kind is SeamKind.UNION


def test_nothing_in_common_is_a_gap(broadcast: Path, still: bytes) -> None:
    older = still[: len(still) // 2 // 188 * 188]
    sources = [BytesSource(older), BytesSource(behind(broadcast, 30))]
    [plan] = plan_join(sources, RECEIVED)
    assert plan.seams[0].seam.kind is SeamKind.GAP
    assert left_out(sources, [plan]) == []


def test_an_advertisement_that_comes_again_is_no_overlap(broadcast: Path) -> None:
    """Its pictures are once in either; what is around it is not the same."""
    older = captured(
        broadcast, muxed(broadcast, 0, 6), muxed(broadcast, 20, 24, copyts=False), muxed(broadcast, 6, 10)
    )
    newer = captured(broadcast, muxed(broadcast, 26, 32), muxed(broadcast, 20, 24), muxed(broadcast, 32, 38))
    sources = [BytesSource(older), BytesSource(newer)]
    [plan] = plan_join(sources, RECEIVED)
    assert plan.seams[0].seam.kind is SeamKind.GAP
    data = Splice(sources, plan.pieces).read(0, plan.size)
    assert data.startswith(older)
    assert data.endswith(newer)


@pytest.mark.parametrize("received", [RECEIVED, ()])
def test_what_is_on_air_twice_is_there_twice(broadcast: Path, received: tuple[int, ...]) -> None:
    """One ends with a jingle, the next one begins with it: both clocks go on, so it is no overlap."""
    older = captured(broadcast, muxed(broadcast, 0, 6), muxed(broadcast, 20, 24, copyts=False))
    newer = captured(broadcast, muxed(broadcast, 20, 24), muxed(broadcast, 26, 32))
    sources = [BytesSource(older), BytesSource(newer)]
    [plan] = plan_join(sources, received)
    assert plan.seams[0].seam.certainty is not Certainty.PROVEN
    data = Splice(sources, plan.pieces).read(0, plan.size)
    assert (data.startswith(older), data.endswith(newer)) == (True, True)


def test_without_a_word_of_when_it_came_nothing_is_cut(broadcast: Path, still: bytes) -> None:
    """Equal media alone may be on air for the second time."""
    newer = behind(broadcast, BACK + 2)
    sources = [BytesSource(still), BytesSource(newer)]
    [plan] = plan_join(sources)
    assert plan.seams[0].seam.certainty is not Certainty.PROVEN
    data = Splice(sources, plan.pieces).read(0, plan.size)
    assert (data.startswith(still), data.endswith(newer)) == (True, True)
