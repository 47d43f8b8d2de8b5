# SPDX-License-Identifier: GPL-3.0-or-later
"""Which streams stand still: judged from looks, a few seconds apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from streamvaultd.core.flows import Flow, Pulse, describe, observed, standing

VIDEO, SOUND = 256, 257
Came = Callable[[float], list[float]]
"""The timestamps (s) of a stream that have come until then."""


def steady(interval: float, *, until: float = 1e9, since: float = 0.0) -> Came:
    return lambda now: [n * interval for n in range(int(now / interval) + 1) if since <= n * interval < until]


def looks(streams: dict[int, Came], instants: list[float]) -> list[tuple[Flow, ...]]:
    """What is known after each look."""
    flows, known = tuple[Flow, ...](), list[tuple[Flow, ...]]()
    for before, now in pairwise([-1.0, *instants]):
        pulses = [_pulse(stream, came(before) if before >= 0 else [], came(now)) for stream, came in streams.items()]
        flows = observed(flows, pulses, now)
        known.append(flows)
    return known


def _pulse(stream: int, before: list[float], now: list[float]) -> Pulse:
    new = now[len(before) :]
    pause = max((later - earlier for earlier, later in pairwise([*before[-1:], *new])), default=0.0)
    stamp = round(new[-1] * 90_000) if new else None
    return Pulse(stream=stream, is_video=stream == VIDEO, stamp=stamp, units=len(new), pause=pause)


def still(streams: dict[int, Came], instants: list[float]) -> list[int]:
    """The streams that were ever said to stand still."""
    return sorted({flow.stream for flows in looks(streams, instants) for flow in standing(flows)})


EVERY = [float(now) for now in range(1, 300, 3)]
RARE = [float(now) for now in range(5, 600, 30)]


@pytest.mark.parametrize("instants", [EVERY, RARE])
def test_streams_that_go_on_do_not_stand_still(instants: list[float]) -> None:
    assert still({VIDEO: steady(0.04), SOUND: steady(0.02)}, instants) == []


@pytest.mark.parametrize("stream", [VIDEO, SOUND])
def test_one_that_ends_while_another_goes_on_stands_still(stream: int) -> None:
    streams = {VIDEO: steady(0.04), SOUND: steady(0.02)} | {stream: steady(0.04, until=60.0)}
    known = looks(streams, EVERY)
    assert still(streams, EVERY) == [stream]
    first = next(now for now, flows in zip(EVERY, known, strict=True) if standing(flows))
    assert 70.0 <= first <= 75.0
    assert still(streams, RARE) == [stream]


def test_when_all_end_none_of_them_stands_still_beside_others() -> None:
    assert still({VIDEO: steady(0.04, until=60.0), SOUND: steady(0.02, until=61.0)}, EVERY) == []


@pytest.mark.parametrize("interval", [1.0, 4.0, 12.0, 30.0])
@pytest.mark.parametrize("instants", [EVERY, RARE])
def test_a_slow_camera_does_not_stand_still(interval: float, instants: list[float]) -> None:
    """One picture in some seconds is its way: a look finds none now and then, or many."""
    assert still({VIDEO: steady(interval), SOUND: steady(0.02)}, instants) == []


def test_a_slow_camera_that_ends_stands_still_after_some_of_its_pauses() -> None:
    known = looks({VIDEO: steady(4.0, until=100.0), SOUND: steady(0.02)}, EVERY)
    first = next(now for now, flows in zip(EVERY, known, strict=True) if standing(flows))
    assert 108.0 <= first <= 115.0


def test_one_that_has_hardly_begun_is_not_judged() -> None:
    """A logo in the first second, or sound that has one unit only, tells nothing of how it goes on."""
    assert still({VIDEO: steady(0.04), SOUND: steady(1.0, until=1.5)}, EVERY) == []


def test_one_that_the_file_does_not_name_any_more_is_forgotten() -> None:
    flows = looks({VIDEO: steady(0.04), SOUND: steady(0.02)}, [5.0, 10.0])[-1]
    flows = observed(flows, [Pulse(stream=VIDEO, is_video=True, stamp=1, units=1)], 30.0)
    assert [flow.stream for flow in flows] == [VIDEO]


def test_one_that_goes_on_again_does_not_stand_still_any_more() -> None:
    def came(now: float) -> list[float]:
        return [n * 0.04 for n in range(int(now / 0.04)) if not 60.0 <= n * 0.04 < 90.0]

    known = looks({VIDEO: came, SOUND: steady(0.02)}, EVERY)
    told = [bool(standing(flows)) for flows in known]
    assert True in told
    assert not told[-1]


def test_what_stands_still_is_said_in_words() -> None:
    def flow(stream: int) -> Flow:
        return Flow(stream=stream, is_video=stream == VIDEO, stamp=0, moved_at=0.0, units=3, pause=0.0)

    assert describe([flow(VIDEO)]) == "its pictures stand still while the rest goes on"
    assert describe([flow(SOUND)]) == "its sound stands still while the rest goes on"
    assert describe([flow(VIDEO), flow(SOUND)]) == "some of its streams stand still while the rest goes on"
