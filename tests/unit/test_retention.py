# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention decides: what is outside of a limit goes, oldest first, and nothing else; a wrong clock harms nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.config import settings as config
from streamvaultd.config import streamers
from streamvaultd.core.model import Moment
from streamvaultd.core.upkeep.retention import (
    CLOCK_SETTLES,
    CLOCK_STEP,
    USEC,
    Expired,
    Result,
    RetentionRules,
    WallClock,
    begin,
    expired,
)

DAY = 86_400
NOW = 1_795_000_000 * USEC
GIB = 1 << 30


def result(recording: int, days: float, size: int = GIB) -> Result:
    return Result(recording=recording, ended=NOW - round(days * DAY * USEC), size=size)


def gone(results: Sequence[Result], rules: RetentionRules, *, are_ages_sure: bool = True) -> list[int]:
    return [one.recording for one in expired(results, rules, NOW, are_ages_sure=are_ages_sure)]


FIVE = [result(number, 50 - 10 * number) for number in range(1, 6)]  # 40, 30, 20, 10 and 0 days old


@pytest.mark.parametrize(
    ("rules", "numbers"),
    [
        (RetentionRules(), []),
        (RetentionRules(keep_for=25.0 * DAY), [1, 2]),
        (RetentionRules(keep_for=30.0 * DAY), [1]),
        (RetentionRules(keep_recordings=2), [1, 2, 3]),
        (RetentionRules(keep_recordings=5), []),
        (RetentionRules(keep_size=3 * GIB), [1, 2]),
        (RetentionRules(keep_size=3 * GIB - 1), [1, 2, 3]),
        (RetentionRules(keep_size=1), [1, 2, 3, 4]),
        (RetentionRules(keep_for=25.0 * DAY, keep_recordings=4, keep_size=4 * GIB), [1, 2]),
        (RetentionRules(keep_for=99.0 * DAY, keep_recordings=4, keep_size=2 * GIB), [1, 2, 3]),
    ],
)
def test_what_is_outside_of_any_limit_goes(rules: RetentionRules, numbers: list[int]) -> None:
    assert gone(FIVE, rules) == numbers
    assert rules.are_limits == (rules != RetentionRules())


def test_it_says_by_which_rule() -> None:
    rules = RetentionRules(keep_for=35.0 * DAY, keep_recordings=3, keep_size=2 * GIB)
    assert expired(FIVE, rules, NOW, are_ages_sure=True) == (
        Expired(recording=1, why="keep_for: it ended 40.0 days ago"),
        Expired(recording=2, why="keep_recordings: there are 3 newer ones"),
        Expired(recording=3, why=f"keep_size: with the newer ones it makes {3 * GIB} bytes"),
    )


def test_a_large_one_ends_what_fits_and_smaller_older_ones_go_with_it() -> None:
    results = [result(1, 3, 1), result(2, 2, 9 * GIB), result(3, 1)]
    assert gone(results, RetentionRules(keep_size=5 * GIB)) == [1, 2]


def test_ages_do_not_count_while_nobody_can_rely_on_the_clock() -> None:
    assert gone(FIVE, RetentionRules(keep_for=DAY), are_ages_sure=False) == []
    assert gone(FIVE, RetentionRules(keep_for=DAY, keep_recordings=4), are_ages_sure=False) == [1]


def test_what_ended_in_the_future_is_neither_counted_nor_removed() -> None:
    """Else a result from when the clock said 2038 would be the newest one, and each new one would have to go."""
    results = [*FIVE, result(6, -4000), result(7, -1 / DAY)]
    assert gone(results, RetentionRules(keep_for=1.0, keep_recordings=1, keep_size=1)) == [1, 2, 3, 4]
    assert gone([result(6, -4000)], RetentionRules(keep_for=1.0, keep_recordings=1, keep_size=1)) == []


RULES = st.builds(
    RetentionRules,
    keep_for=st.none() | st.floats(1, 100 * DAY),
    keep_recordings=st.none() | st.integers(1, 10),
    keep_size=st.none() | st.integers(1, 20),
)
RESULTS = st.lists(
    st.builds(
        Result, recording=st.integers(1, 1000), ended=st.integers(-200, 50).map(lambda days: NOW + days * DAY * USEC),
        size=st.integers(0, 5),
    ),
    max_size=15, unique_by=lambda one: one.recording,
)  # fmt: skip


@given(results=RESULTS, rules=RULES, are_ages_sure=st.booleans(), data=st.data())
def test_never_more_than_allowed_and_never_less_than_can_be(
    results: list[Result], rules: RetentionRules, are_ages_sure: bool, data: st.DataObject
) -> None:
    numbers = gone(results, rules, are_ages_sure=are_ages_sure)
    assert numbers == gone(data.draw(st.permutations(results)), rules, are_ages_sure=are_ages_sure)
    past = sorted((one for one in results if one.ended <= NOW), key=lambda one: (one.ended, one.recording))
    # the oldest go, and no newer one before an older one
    assert numbers == [one.recording for one in past[: len(numbers)]]
    kept = past[len(numbers) :]
    assert rules.keep_recordings is None or len(kept) <= rules.keep_recordings
    assert rules.keep_size is None or len(kept) <= 1 or sum(one.size for one in kept) <= rules.keep_size
    if rules.keep_for is not None and are_ages_sure:
        assert all(NOW - one.ended <= rules.keep_for * USEC for one in kept)
    elif past:  # the newest one never goes by number or size
        assert kept
    # what is left stays, and with one more there would be too much
    left = [one for one in results if one.recording not in numbers]
    assert gone(left, rules, are_ages_sure=are_ages_sure) == []
    if numbers:
        again = [*kept, past[len(numbers) - 1]]
        assert gone(again, rules, are_ages_sure=are_ages_sure) == numbers[-1:]


@given(results=RESULTS, rules=RULES, days=st.integers(0, 300))
def test_a_clock_that_goes_back_removes_nothing_that_would_have_stayed(
    results: list[Result], rules: RetentionRules, days: int
) -> None:
    before = set(gone(results, rules))
    back = expired(results, rules, NOW - days * DAY * USEC, are_ages_sure=True)
    assert {one.recording for one in back} <= before


# --- the clock -----------------------------------------------------------------------------------------------------

START = Moment(monotonic=1000.0, realtime=NOW)


def after(seconds: float, step: float = 0.0) -> Moment:
    return Moment(START.monotonic + seconds, START.realtime + round((seconds + step) * USEC))


def test_ages_count_when_the_daemon_has_seen_the_clock_run_for_long_enough() -> None:
    clock = begin(START)
    assert clock.settles_in(START) == CLOCK_SETTLES
    assert clock.seen(after(3600)).settles_in(after(3600)) == CLOCK_SETTLES - 3600
    assert clock.seen(after(CLOCK_SETTLES)).settles_in(after(CLOCK_SETTLES)) == 0
    assert clock.seen(after(10 * CLOCK_SETTLES)).settles_in(after(10 * CLOCK_SETTLES)) == 0


@pytest.mark.parametrize("step", [12 * 365.0 * DAY, -3.0 * DAY, CLOCK_STEP + 1, -CLOCK_STEP - 1])
def test_a_step_is_waited_out_wherever_it_leads(step: float) -> None:
    clock = begin(START).seen(after(2 * CLOCK_SETTLES, step))
    assert clock.settles_in(after(2 * CLOCK_SETTLES, step)) == CLOCK_SETTLES
    later = after(3 * CLOCK_SETTLES, step)
    assert clock.seen(later).settles_in(later) == 0


def test_a_clock_that_is_adjusted_slowly_has_not_stepped() -> None:
    clock, drift = begin(START), 0.0
    for day in range(1, 100):
        drift += CLOCK_STEP / 2
        clock = clock.seen(after(day * DAY, drift))
    assert clock == replace(clock, since=START.monotonic)
    assert isinstance(clock, WallClock)


# --- settings ------------------------------------------------------------------------------------------------------

STREAMER = {"streamer": {"url": "https://a.example/"}}


def test_a_streamers_file_goes_before_the_settings_key_by_key() -> None:
    assert not config.Settings().retention.are_limits
    document = {"retention": {"keep_for": "90d", "keep_size": "500G", "keep_recordings": 20}}
    settings, mistakes = config.apply(config.Settings(), document, "x")
    assert (settings.retention, mistakes) == (
        RetentionRules(keep_for=90.0 * DAY, keep_size=500 * GIB, keep_recordings=20), [],
    )  # fmt: skip
    shown = {option.key: value for option, value in config.in_force(settings) if option.section == "retention"}
    limits = {"keep_for": "90d", "keep_size": "500G", "keep_recordings": "20"}
    assert shown == limits | {"require_upload": "true"}
    usual = config.in_force(config.Settings())
    assert {value for option, value in usual if option.section == "retention"} == {"infinity", "true"}
    own = STREAMER | {"retention": {"keep_for": "infinity", "keep_recordings": 3}}
    alice, mistakes = streamers.parse(own, "alice.toml", "alice")
    assert mistakes == []
    assert alice is not None
    assert alice.retention_on(settings.retention) == RetentionRules(keep_size=500 * GIB, keep_recordings=3)
    plain, _ = streamers.parse(STREAMER, "bob.toml", "bob")
    assert plain is not None
    assert plain.retention_on(settings.retention) == settings.retention


BAD: dict[str, list[object]] = {
    "keep_for": [0, -1, "-90d", "90 eons", "", "forever", "59min", "20000d", 1.5, True, []],
    "keep_recordings": [0, -1, "20", 2.5, True, 10**7, "inf", None],
    "keep_size": [0, -1, "-1G", "1", "much", "500 Gigs", True, "2000P", {}],
    "keep": ["90d"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_limits_that_are_none(key: str, value: object) -> None:
    settings, mistakes = config.apply(config.Settings(), {"retention": {key: value}}, "x")
    assert settings.retention == RetentionRules()
    assert [(one.fields["section"], one.fields["key"]) for one in mistakes] == [("retention", key)]
    found, mistakes = streamers.parse(STREAMER | {"retention": {key: value}}, "alice.toml", "alice")
    assert found is None
    assert [(one.fields["section"], one.fields["key"]) for one in mistakes] == [("retention", key)]


def test_whose_files_have_mistakes(tmp_path: Path) -> None:
    """What retention must not go by: mistakes, files that cannot be read, and folders that cannot."""
    etc, own = tmp_path / "etc", tmp_path / "own"
    etc.mkdir()
    assert streamers.doubtful(streamers.load((etc, own), {})[1]) == frozenset()
    (etc / "alice.toml").write_text("[streamer]\nurl = 'https://a.example/'\n[retention]\nkeep_for = '90 eons'\n")
    (etc / "bob.toml").write_text("nonsense")
    (etc / "carol.toml").write_text("[streamer]\nurl = 'https://c.example/'\n")
    found, mistakes = streamers.load((etc, own), {})
    assert (set(found), streamers.doubtful(mistakes)) == ({"carol"}, frozenset({"alice", "bob"}))
    own.write_text("no folder")
    found, mistakes = streamers.load((etc, own), {})
    assert (set(found), streamers.doubtful(mistakes)) == ({"carol"}, None)


def test_too_many_files_leave_out_nobody_knows_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamers, "STREAMERS_MAX", 1)
    for name in ("alice", "bob"):
        (tmp_path / f"{name}.toml").write_text("[streamer]\nurl = 'https://a.example/'\n")
    found, mistakes = streamers.load((tmp_path, tmp_path / "none"), {})
    assert (set(found), streamers.doubtful(mistakes)) == ({"alice"}, None)


@pytest.mark.parametrize(
    "rules",
    [
        RetentionRules(keep_for=25.0 * DAY), RetentionRules(keep_recordings=2), RetentionRules(keep_size=2 * GIB),
        RetentionRules(keep_for=0.0, keep_recordings=0, keep_size=0),
    ],
)  # fmt: skip
def test_what_somebody_wants_for_good_never_goes_and_takes_no_room_from_others(rules: RetentionRules) -> None:
    others = [FIVE[0], FIVE[2], FIVE[4]]
    marked = [replace(FIVE[1], kept=True), replace(FIVE[3], kept=True)]
    assert gone([*others, *marked], rules) == gone(others, rules)


def test_what_something_has_to_be_made_of_first_stays_and_takes_its_room() -> None:
    waits = replace(FIVE[1], has_steps=True)
    results = [FIVE[0], waits, *FIVE[2:]]
    assert gone(results, RetentionRules(keep_recordings=2)) == [1, 3]
    assert gone(results, RetentionRules(keep_size=3 * GIB)) == [1]


@pytest.mark.parametrize("requires", [True, False])
def test_what_is_to_be_uploaded_first_stays_and_takes_its_room_if_the_rules_require_it(requires: bool) -> None:
    waits = replace(FIVE[1], is_unsent=True)
    rules = RetentionRules(keep_recordings=1, require_upload=requires)
    results = [FIVE[0], waits, *FIVE[2:]]
    held = {waits.recording} if requires else set()
    assert set(gone(results, rules)) == set(gone(FIVE, rules)) - held
    assert waits.recording in gone(FIVE, rules)
