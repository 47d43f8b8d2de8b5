# SPDX-License-Identifier: GPL-3.0-or-later
"""When a disk is too full to record to, and when it is not any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.recording.disk import (
    WINDOW,
    Margin,
    Room,
    WritePace,
    amount,
    mean_rate,
    pace_of,
    pace_of_recording,
    shortage,
    span,
    still_short,
    worth_keeping,
)

MIB = 1 << 20
MARGIN = Margin(reserve=300.0, floor=16 * MIB)


def room(free: int | None, inodes: int | None = 1000) -> Room:
    return Room(device=1, place="/srv", free=free, inodes=inodes)


def short(free: int | None, steady: float, latest: float = 0.0, *, inodes: int | None = 1000) -> str | None:
    return shortage(room(free, inodes), WritePace(steady=steady, latest=latest), MARGIN, look_again=10.0)


# --- pace ----------------------------------------------------------------------------------------------------------


def test_a_file_that_was_looked_at_once_tells_no_pace() -> None:
    assert pace_of(()) == pace_of(((5.0, 1000),)) == WritePace()


def test_the_burst_of_the_window_is_spread_and_yet_seen() -> None:
    """30 s of media at once, then 5 s in 5 s, at 1 MiB/s: it is fast now, and not for long."""
    pace = pace_of(((0.0, 0), (5.0, 35 * MIB)))
    assert pace == WritePace(steady=35 * MIB / WINDOW, latest=7 * MIB)
    assert pace.steady < MIB


def test_only_the_last_minute_counts() -> None:
    samples = tuple((5.0 * tick, tick * 5 * MIB) for tick in range(30))
    assert pace_of(samples) == WritePace(steady=MIB, latest=MIB)
    assert pace_of(worth_keeping(samples)) == pace_of(samples)
    assert len(worth_keeping(samples)) == WINDOW / 5 + 1


def test_a_file_that_shrank_or_stands_still_has_no_pace() -> None:
    assert pace_of(((0.0, 100), (5.0, 10))) == pace_of(((0.0, 100), (5.0, 100))) == WritePace()
    assert pace_of(((5.0, 100), (5.0, 200))).latest == 100_000


def at(seconds: float) -> Moment:
    return Moment(monotonic=seconds, realtime=round(seconds * 1e6))


def recorder(*segments: Segment) -> Recorder:
    recording = Recording(
        id=1, stream=1, streamer="demo", url="https://host/x", quality="best", directory="/srv",
        created=at(0), duration=None, policy=Policy(),
    )  # fmt: skip
    return Recorder(recording=recording, state=State.PAUSED, since=at(0), segments=segments)


def segment(number: int, *, begin: float, end: float | None, size: int) -> Segment:
    return Segment(
        number=number, phase=Phase.ENDED, since=at(begin), media_at=at(begin), size=size,
        ended=None if end is None else at(end),
    )  # fmt: skip


def test_the_mean_rate_is_that_of_all_writing_and_not_of_the_waiting_in_between() -> None:
    first = segment(1, begin=100, end=200, size=100 * MIB)
    second = segment(2, begin=1000, end=None, size=200 * MIB)
    nothing = Segment(number=3, phase=Phase.LAUNCHING, since=at(1100))
    assert mean_rate(recorder(first, second, nothing), 1200.0) == MIB


def test_the_mean_rate_of_little_is_low() -> None:
    assert mean_rate(recorder(), 5.0) == 0.0
    assert mean_rate(recorder(segment(1, begin=0, end=None, size=60 * MIB)), 1.0) == MIB
    earlier_boot = segment(1, begin=500, end=None, size=60 * MIB)
    assert mean_rate(recorder(earlier_boot), 1.0) == MIB


def test_a_recording_is_as_fast_as_its_fastest_file_or_its_mean() -> None:
    files = [WritePace(steady=5, latest=6), WritePace(steady=4, latest=3)]
    assert pace_of_recording(files, 2.0) == WritePace(steady=5, latest=9)
    assert pace_of_recording(files, 8.0) == WritePace(steady=8, latest=9)
    assert pace_of_recording([], 8.0) == WritePace(steady=8, latest=0)


# --- the brake -----------------------------------------------------------------------------------------------------


def test_what_is_above_the_floor_must_last_for_the_reserve() -> None:
    assert short(16 * MIB + 300 * MIB, steady=MIB) is None
    assert short(16 * MIB + 300 * MIB - 1, steady=MIB) == "/srv: 316M free, at 1.0M/s less than 5min remain"


def test_the_floor_holds_whoever_writes() -> None:
    assert short(16 * MIB, steady=0) is None
    assert short(16 * MIB - 1, steady=0) == "/srv: 16M free, less than the floor of 16M"
    assert short(0, steady=0) == "/srv: 0B free, less than the floor of 16M"


def test_a_burst_must_not_reach_the_floor_before_the_next_look() -> None:
    assert short(16 * MIB + 100 * MIB, steady=0, latest=10 * MIB) is None
    assert short(100 * MIB, steady=0, latest=10 * MIB) == "/srv: 100M free, at 10M/s less than 10s remain"


def test_a_disk_without_inodes_is_full() -> None:
    assert short(1 << 40, steady=0, inodes=0) == "/srv: no inode is free"
    assert still_short(room(1 << 40, 0), 0.0, MARGIN) == "/srv: no inode is free"
    assert short(1 << 40, steady=0, inodes=None) is None


def test_a_file_system_that_tells_nothing_is_not_full() -> None:
    assert short(None, steady=1e9, latest=1e9) is None
    assert still_short(room(None), 1e9, MARGIN) is None


def test_there_must_be_room_for_twice_the_reserve_to_go_on() -> None:
    assert still_short(room(16 * MIB + 600 * MIB), MIB, MARGIN) is None
    why = still_short(room(16 * MIB + 600 * MIB - 1), MIB, MARGIN)
    assert why == "/srv: 616M free, 616M are needed to go on"


def test_a_recording_that_never_wrote_goes_on_clear_of_the_floor() -> None:
    assert still_short(room(32 * MIB), 0.0, MARGIN) is None
    assert still_short(room(32 * MIB - 1), 0.0, MARGIN) is not None


@given(
    free=st.integers(0, 1 << 45),
    rate=st.floats(0, 1 << 30),
    reserve=st.floats(0, 86400),
    floor=st.integers(0, 1 << 40),
    faster=st.floats(0, 2),
)
def test_what_goes_on_is_not_paused_again_at_once(
    free: int, rate: float, reserve: float, floor: int, faster: float
) -> None:
    """Not even at twice the rate, with nothing written yet."""
    margin = Margin(reserve=reserve, floor=floor)
    if still_short(room(free), rate, margin) is None:
        pace = WritePace(steady=max(rate * faster - 1, 0), latest=0)
        assert shortage(room(free), pace, margin, look_again=10.0) is None


@given(free=st.integers(0, 1 << 45), more=st.integers(0, 1 << 45), rate=st.floats(0, 1 << 30))
def test_more_room_never_is_too_little_where_less_is_enough(free: int, more: int, rate: float) -> None:
    pace = WritePace(steady=rate, latest=rate)
    if shortage(room(free), pace, MARGIN, look_again=10.0) is None:
        assert shortage(room(free + more), pace, MARGIN, look_again=10.0) is None
    if still_short(room(free), rate, MARGIN) is None:
        assert still_short(room(free + more), rate, MARGIN) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0K"), (1 << 20, "1.0M"), (120 << 20, "120M"), (1.5 * (1 << 30), "1.5G"),
     (1 << 50, "1024.0T")],
)  # fmt: skip
def test_amounts_are_short(size: float, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(300, "5min"), (90, "90s"), (10.0, "10s"), (0.5, "0.5s"), (60, "1min")])
def test_spans_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text
