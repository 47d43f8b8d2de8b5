# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy is used after what came of others."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.core.watching.proxies import REST_MAX, REST_MIN, Health, choose, learn

POOL = ("a", "b", "direct")


def test_the_first_that_is_well() -> None:
    assert choose(POOL, {}, 0.0) == "a"
    assert choose(POOL, {"a": Health(1, 10.0)}, 5.0) == "b"
    assert choose(POOL, {"a": Health(1, 10.0)}, 10.0) == "a"
    assert choose((), {}, 0.0) is None


def test_within_one_question_each_is_tried_once() -> None:
    assert choose(POOL, {}, 0.0, tried=("a",)) == "b"
    assert choose(POOL, {}, 0.0, tried=POOL) is None


def test_if_none_is_well_the_one_that_rests_the_shortest() -> None:
    health = {"a": Health(3, 100.0), "b": Health(1, 30.0), "direct": Health(1, 40.0)}
    assert choose(POOL, health, 0.0) == "b"


def test_a_proxy_rests_longer_with_each_failure_and_is_well_after_a_success() -> None:
    health: dict[str, Health] = {}
    rests = []
    for _ in range(10):
        health = learn(health, "a", 0.0, worked=False)
        rests.append(health["a"].until)
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (REST_MIN, REST_MAX)
    assert learn(health, "a", 0.0, worked=True) == {}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from(POOL), st.booleans()), max_size=30))
def test_there_is_always_one_and_a_well_one_if_any_is(story: list[tuple[float, str, bool]]) -> None:
    health: dict[str, Health] = {}
    now = 0.0
    for wait, proxy, worked in story:
        now += wait
        health = learn(health, proxy, now, worked=worked)
        chosen = choose(POOL, health, now)
        assert chosen is not None
        is_any_well = any(health.get(each, Health()).until <= now for each in POOL)
        assert (health.get(chosen, Health()).until <= now) == is_any_well
