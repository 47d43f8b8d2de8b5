# SPDX-License-Identifier: GPL-3.0-or-later
"""How long media are presented, whatever their clocks do and whichever stream lasts longest."""

from __future__ import annotations

import pytest

from streamvaultd.media import fragments, timeline, ts
from streamvaultd.media.pieces import GAP_MAX, SECOND, Pieces
from tests.fakes.memory import BytesSource
from tests.unit.test_media_fragments import capture
from tests.unit.test_media_transport import AUDIO, FRAMES_PER_SEGMENT, VIDEO, Broadcast

SEGMENT_MS = FRAMES_PER_SEGMENT * 1000 // 30
FRAME = SECOND // 25
CONTENT = 9000 * SECOND


def fed(*runs: tuple[int, int, int], step: int = FRAME) -> Pieces:
    """Units of a stream from a second on, so many seconds, one after the other."""
    pieces = Pieces()
    for stream, start, seconds in runs:
        for at in range(start, start + seconds * SECOND, step):
            pieces.feed(stream, at % ts.WRAP)
    return pieces


@pytest.mark.parametrize(
    ("runs", "seconds", "count"),
    [
        pytest.param([(VIDEO, 0, 40), (VIDEO, 7240 * SECOND, 40)], 80, 2, id="jump ahead"),
        pytest.param([(VIDEO, 7240 * SECOND, 40), (VIDEO, 0, 40)], 80, 2, id="jump back"),
        pytest.param([(VIDEO, 0, 40), (VIDEO, 0, 40)], 80, 2, id="the same clock again"),
        pytest.param(
            [(VIDEO, CONTENT, 20), (VIDEO, 10 * SECOND, 12), (VIDEO, CONTENT + 20 * SECOND, 40)], 72, 3, id="stitched"
        ),
        pytest.param(
            [(VIDEO, 300 * SECOND, 20), (VIDEO, 10 * SECOND, 12), (VIDEO, 320 * SECOND, 40)], 72, 3, id="near clocks"
        ),
        pytest.param(
            [(VIDEO, 0, 20), *[(VIDEO, 10 * SECOND, 6)] * 30, (VIDEO, 20 * SECOND, 10)],
            210,
            32,
            id="a slate",
        ),
        pytest.param([(VIDEO, 0, 20), (VIDEO, 50 * SECOND, 10)], 60, 1, id="a gap"),
        pytest.param([(VIDEO, 0, 20), (AUDIO, 20 * SECOND, 80)], 100, 1, id="sound goes on"),
        pytest.param([(VIDEO, 7000 * SECOND, 40), (AUDIO, 0, 40)], 80, 2, id="only sound in the second piece"),
        pytest.param([(VIDEO, ts.WRAP - 10 * SECOND, 20)], 20, 1, id="wrap"),
    ],
)
def test_presented(runs: list[tuple[int, int, int]], seconds: int, count: int) -> None:
    pieces = fed(*runs)
    assert (pieces.end(), pieces.count) == (seconds * SECOND, count)


def test_one_stamp_far_ahead_counts_as_a_frame() -> None:
    pieces = fed((VIDEO, 0, 30))
    pieces.feed(VIDEO, 9000 * SECOND)
    for at in range(30 * SECOND, 60 * SECOND, FRAME):
        pieces.feed(VIDEO, at)
    assert pieces.end() - 60 * SECOND in range(2 * FRAME)


def test_between_two_captures_a_pause_may_be_long() -> None:
    pieces = fed((VIDEO, 0, 10))
    start = 10 * SECOND + 2 * GAP_MAX
    pieces.feed(VIDEO, start, at_seam=True)
    pieces.feed(VIDEO, start + FRAME)
    assert pieces.end() == start + 2 * FRAME


def test_programs_with_two_clocks_are_shown_at_the_same_time() -> None:
    pieces = Pieces()
    for at in range(0, 60 * SECOND, FRAME):
        pieces.feed(1, at)
        pieces.feed(2, 5000 * SECOND + at)
    assert 60 * SECOND <= pieces.end() <= 61 * SECOND


def test_sound_that_goes_on_without_pictures_is_media() -> None:
    live = Broadcast(30)
    data = live.window(0, 4) + without(VIDEO, live.window(5, 29))
    assert timeline.duration_ms(BytesSource(data)) == timeline.counted_ms(BytesSource(data)) == 30 * SEGMENT_MS - 33


def without(pid: int, data: bytes) -> bytes:
    packets = (data[at : at + ts.PACKET] for at in range(0, len(data), ts.PACKET))
    return b"".join(packet for packet in packets if ts.pid_of(packet, 0) != pid)


def test_fragments_whose_clock_is_set_anew() -> None:
    assert fragments.duration_ms(BytesSource(capture([0, 1, 2]))) == 6000
    assert fragments.duration_ms(BytesSource(capture([3, 4, 0, 1]))) == 8000


def test_the_longest_track_ends_a_piece() -> None:
    pieces = Pieces()
    for at in range(0, 10 * SECOND, SECOND):
        pieces.feed(1, at, SECOND)
        pieces.feed(2, at, 3 * SECOND)
    assert pieces.end() == 12 * SECOND
