# SPDX-License-Identifier: GPL-3.0-or-later
"""Chapters: which moment is where in a result, and what they are called."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media.chapters import (
    COUNT_MAX,
    LEAST,
    Change,
    Chapter,
    OnAir,
    chapters,
    ffmetadata,
    is_long,
    place,
    tidy,
)

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

T0 = 1_700_000_000_000


@dataclass(frozen=True)
class Capture:
    """What one capture has of a broadcast, in ms of it; the result takes it from `since` on."""

    since: int
    until: int


def joined(*captures: Capture) -> tuple[OnAir, ...]:
    """The stretches of a result in which gaps keep their length, as a clock of the media tells it."""
    first = captures[0].since
    return tuple(OnAir(each.since - first, T0 + each.since, each.until - each.since) for each in captures)


def closed(*captures: Capture) -> tuple[OnAir, ...]:
    """The same where a clock began anew, so that what follows a gap stands where it begins."""
    at, found = 0, []
    for each in captures:
        found.append(OnAir(at, T0 + each.since, each.until - each.since))
        at += each.until - each.since
    return tuple(found)


def test_one_capture() -> None:
    stretches = joined(Capture(5_000, 100_000))
    assert place(T0 + 5_000, stretches) == 0
    assert place(T0 + 42_000, stretches) == 37_000
    assert place(T0, stretches) == 0
    assert place(T0 + 100_500, stretches) == 95_500


def test_a_rotation_is_no_seam_of_time() -> None:
    """What the older has of the overlap is cut, and the newer goes on at that place."""
    stretches = joined(Capture(0, 60_000), Capture(60_000, 120_000))
    assert [place(T0 + ms, stretches) for ms in (59_999, 60_000, 61_000)] == [59_999, 60_000, 61_000]


def test_a_hole_keeps_its_length_and_what_changes_in_it_begins_behind_it() -> None:
    stretches = joined(Capture(0, 60_000), Capture(72_000, 120_000))
    assert [place(T0 + ms, stretches) for ms in (60_500, 71_999, 72_000, 80_000)] == [72_000, 72_000, 72_000, 80_000]


def test_a_hole_that_no_clock_tells_takes_no_time() -> None:
    stretches = closed(Capture(0, 60_000), Capture(72_000, 120_000))
    assert [place(T0 + ms, stretches) for ms in (59_000, 65_000, 72_000, 80_000)] == [59_000, 60_000, 60_000, 68_000]


def test_nothing_is_known_of_when_anything_was_broadcast() -> None:
    assert place(T0, ()) == 0.0
    assert chapters([Change(0, "a"), Change(T0, "b")], (), 60_000) == ()


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1_000, 60_000)), min_size=1, max_size=8),
    st.integers(-10_000, 600_000),
)
def test_each_frame_that_is_there_is_where_it_is(cuts: list[tuple[int, int]], moment: int) -> None:
    """Captures with holes between them, of which some are 0: rotations, and kills that lost nothing."""
    captures, at = [], 0
    for hole, length in cuts:
        captures.append(Capture(at + hole, at + hole + length))
        at += hole + length
    stretches, packed = joined(*captures), closed(*captures)
    held = next((each for each in captures if each.since <= moment < each.until), None)
    behind = next((each for each in captures if each.since > moment), None)
    if held is not None:
        before = sum(each.until - each.since for each in captures if each.until <= held.since)
        assert place(T0 + moment, stretches) == moment - captures[0].since
        assert place(T0 + moment, packed) == before + moment - held.since
    elif behind is not None:
        assert place(T0 + moment, stretches) == behind.since - captures[0].since
    else:
        assert place(T0 + moment, stretches) >= captures[-1].until - captures[0].since


@given(
    st.lists(st.tuples(st.integers(-(10**6), 10**13), st.text(max_size=8)), max_size=30),
    st.lists(st.tuples(st.floats(0, 10**9), st.floats(-(10**12), 10**13), st.floats(0, 10**7)), max_size=6),
    st.integers(0, 10**8),
)
def test_whatever_was_told_the_chapters_are_in_order(
    told: list[tuple[int, str]], places: list[tuple[float, float, float]], length: int
) -> None:
    """Clocks that were set, events in no order, stretches that contradict each other."""
    changes = [Change(*each) for each in told]
    found = chapters(changes, [OnAir(*each) for each in sorted(places)], length)
    starts = [chapter.start for chapter in found]
    assert len(found) != 1
    assert starts[:1] in ([], [0])
    assert all(later - earlier >= LEAST for earlier, later in zip(starts, [*starts[1:], length], strict=False))
    assert all(one.text != other.text for one, other in itertools.pairwise(found))
    assert {chapter.text for chapter in found} <= {tidy(change.text) for change in changes}


def named(*titles: tuple[int, str], length: int = 100_000) -> list[tuple[int, str]]:
    changes = [Change(T0 + ms if ms else 0, text) for ms, text in titles]
    found = chapters(changes, joined(Capture(0, length)), length)
    return [(chapter.start, chapter.text) for chapter in found]


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ([(0, "a"), (30_000, "b"), (60_000, "c")], [(0, "a"), (30_000, "b"), (60_000, "c")]),
        # no two alike in a row, so nothing is left of one
        ([(0, "a"), (30_000, "a")], []),
        ([(0, "a"), (30_000, "b"), (40_000, "b")], [(0, "a"), (30_000, "b")]),
        # a slip of the pen: what follows begins where it begins
        ([(0, "a"), (30_000, "bb"), (34_000, "b")], [(0, "a"), (34_000, "b")]),
        ([(0, "a"), (30_000, "b"), (34_000, "a")], []),
        # a title that is set just after the start names the start
        ([(0, "yesterday"), (4_000, "a"), (50_000, "b")], [(0, "a"), (50_000, "b")]),
        # one that is set at the very end names nothing
        ([(0, "a"), (50_000, "b"), (95_000, "bye")], [(0, "a"), (50_000, "b")]),
        ([(0, "a"), (50_000, "b"), (150_000, "next")], [(0, "a"), (50_000, "b")]),
        ([(0, "a")], []),
        ([], []),
        # each of them is too short, and together they are none
        ([(0, "a"), *((ms, f"{ms}") for ms in range(50_000, 100_000, 5_000))], []),
    ],
)
def test_which_titles_are_chapters(titles: list[tuple[int, str]], expected: list[tuple[int, str]]) -> None:
    assert named(*titles) == expected


def test_where_our_clock_was_set_back_what_came_later_is_right() -> None:
    """b at 60 s by the clock that was wrong, and behind it c at 30 s by the one that was set."""
    assert named((0, "a"), (60_000, "b"), (30_000, "c")) == [(0, "a"), (30_000, "c")]
    assert named((0, "a"), (20_000, "b"), (7_230_000, "c"), (50_000, "d")) == [(0, "a"), (20_000, "b"), (50_000, "d")]
    assert named((0, "a"), (30_000, "b"), (30_000, "c")) == [(0, "a"), (30_000, "c")]


def test_a_part_begins_with_the_title_of_its_first_media() -> None:
    changes = [Change(0, "a"), Change(T0 + 30_000, "b"), Change(T0 + 60_000, "c"), Change(T0 + 90_000, "d")]
    found = chapters(changes, joined(Capture(70_000, 130_000)), 60_000)
    assert found == (Chapter(0, "c"), Chapter(20_000, "d"))


def test_there_are_not_more_than_players_bear() -> None:
    length = 20_000 * (COUNT_MAX + 10)
    changes = [Change(T0 + 20_000 * number, str(number)) for number in range(COUNT_MAX + 10)]
    assert len(chapters(changes, joined(Capture(0, length)), length)) == COUNT_MAX


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\n and\ta tab", "two lines and a tab"),
        ("nul \0 bell \a escape \x1b[31m", "nul bell escape [31m"),
        ("שלום עולם", "שלום עולם"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\u2067rtl\u2069 isolated", "\u2067rtl\u2069 isolated"),
        ("👨\u200d👩\u200d👧 🏳️\u200d🌈", "👨\u200d👩\u200d👧 🏳️\u200d🌈"),
        ("e\u0301", "e\u0301"),
        ("", "-"),
        ("\n\t", "-"),
        ("half of \ud83d one", "half of one"),
        # newer than the tables of Python 3.11, of a font of its own, and a flag of tags
        ("I \U0001fa77 \U0001fae8", "I \U0001fa77 \U0001fae8"),
        ("\ue0a0", "\ue0a0"),
        (ENGLAND, ENGLAND),
        ("not \uffff any \ufdd0 character", "not any character"),
        # what is open is closed, also behind the cut; what is closed stays so
        ("\u2067open", "\u2067open\u2069"),
        ("\u2069\u2066a\u2067b\u2069", "\u2069\u2066a\u2067b\u2069\u2069"),
        ("\u2067" + "ש" * 1200 + "\u2069", "\u2067" + "ש" * 999 + "\u2069"),
        # nothing of it would be seen
        ("\u200e", "-"),
        ("\u2066\u2069", "-"),
        ("\u2065\ufff0\U000e0000\U000e0080", "-"),
        ("\u3164\ufe0f \u200d", "-"),
        ("x" * 1200, "x" * 1000),
    ],
)
def test_one_line_that_does_nothing(text: str, shown: str) -> None:
    assert tidy(text) == shown


def parsed(text: str) -> list[tuple[int, int, str]]:
    """As ffmpeg reads it: a backslash takes what is behind it as it is, and a ';' or '#' at its start ends a line."""
    found = []
    for section in text.split("[CHAPTER]\n")[1:]:
        values = dict(re.findall(r"^(\w+)=((?:\\.|[^\\\n])*)\n", section, re.MULTILINE))
        assert values["TIMEBASE"] == "1/1000"
        assert not re.search(r"(?<!\\)(?:\\\\)*[=;#]", values["title"])
        found.append((int(values["START"]), int(values["END"]), re.sub(r"\\(.)", r"\1", values["title"])))
    return found


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_any_text_comes_back(texts: list[str]) -> None:
    found = [Chapter(20_000 * number, tidy(text)) for number, text in enumerate(texts)]
    ends = [*(chapter.start for chapter in found[1:]), 20_000 * len(found)]
    told = ffmetadata(found, 20_000 * len(found))
    assert told.startswith(";FFMETADATA1\n")
    assert parsed(told) == [(one.start, end, one.text) for one, end in zip(found, ends, strict=True)]


def test_what_is_special_is_escaped() -> None:
    told = ffmetadata([Chapter(0, r"a=b;c#d\e"), Chapter(10_000, "[CHAPTER]")], 20_000)
    assert told == (
        ";FFMETADATA1\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=10000\ntitle=a\\=b\\;c\\#d\\\\e\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=10000\nEND=20000\ntitle=[CHAPTER]\n"
    )


def test_a_name_that_old_players_would_get_half_of_is_known() -> None:
    assert not is_long([Chapter(0, "é" * 127)])
    assert is_long([Chapter(0, "é" * 128)])


def test_more_chapters_than_old_players_would_get_are_known() -> None:
    found = [Chapter(10_000 * number, "a") for number in range(256)]
    assert not is_long(found[:255])
    assert is_long(found)
