# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: RUF001 - characters that look like others are what this is about
"""Names of results, whatever a title holds: inside of their folder, and taken by ext4, exFAT and NTFS."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.filenames import NAME_BYTES_MAX, NameFacts, clash, cut, fill, numbered, safe
from streamvaultd.config.filename import check_template

START = datetime(2026, 11, 30, 9, 10, 11, tzinfo=UTC)
TITLE_FIRST = "{title} {start:%Y-%m-%d}"
TEMPLATES = ("{title}", TITLE_FIRST, "{streamer} - {title}", "{category}.{title}.{recording}", "{start} {title}")
LONGEST_SUFFIX = ".kept999999.ts"

DEVICES = ("CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)))
FAMILY = "👨\u200d👩\u200d👧\u200d👦"
HOSTILE = (
    *DEVICES, *(device.lower() for device in DEVICES), *(f"{device}.txt" for device in DEVICES), "con .x", "nul. ",
    *(place.format(mark) for mark, place in product("/\\:*?\"<>|", ("{}", "a{}", "{}b", "a{}b"))),
    *(f"a{chr(code)}b" for code in range(32)), "\x7f", "a\x80b", "a\x85b", "a\u2028b", "a\u2029b", "\ufeffa",
    "../../etc/passwd", "..", ".", "...", "/", "//", "/etc/passwd", "a/../../b", "~", "~root", "..\\..\\windows",
    "-rf", "--help", "- -", "-", ".hidden", "..hidden", ". .", " ", "", "   a   ", "a.", "a ", "a. . .",
    "a\n", "\na",
    "'", '"', "''", "it's \"live\"", "`id`", "$(id)", "${HOME}", "%PATH%", "a;b", "a&b", "a|b", "!", "#",
    "{recording}",
    "{", "}", "%s", "%Y", "%n", "\\n", "a\tb", "\r\n", "x" * 300, "ä" * 300, "🎉" * 300, FAMILY * 60, "日本語" * 100,
    "e\u0301" * 200, "a" + "\u0301" * 400, "\u0301abc", "\u202egnp.exe", "\u200f\u200e", "a\u202eb\u202c",
    "\u2066x\u2069",
    "\u200b", "\u200d", "\u200c\u200d", "\ue000", "\U000fffff", "\ud800", "\udfff\ud800", "\x00", "a\x00/b",
    "🇩🇪" * 100,
    "👍🏽" * 100, "ﷺ" * 120, "Ａ／Ｂ", "∕", "x" * 199 + "🎉", "x" * 198 + "e\u0301",
    "\u1100\u1161\u11a8" * 100, "नि" * 120,
    "stream_1_segments", "segment_001.ts", ".stream_1.json", "x.part2", "x.kept1", "x.ts", "x.mp4.part", "*" * 300,
    "." * 300, "-" * 300, " " * 300, "/" * 300, "con" + "." * 300, "\u3000", "\xa0", "a\xa0b", "COM¹",
    "LPT³.x", "CLOCK$",
)  # fmt: skip


def facts(title: str, **others: str) -> NameFacts:
    return NameFacts(streamer="alice", start=START, recording=348, stream=77, title=title, **others)


def named(template: str, title: str, **others: str) -> str:
    return safe(fill(template, facts(title, **others)), fallback="recording_348")


def assert_fits_everywhere(name: str) -> None:
    """What ext4, exFAT and NTFS take, and Windows gives back; and what no command or listing takes for another."""
    assert name
    assert name == Path(name).name, "it leads elsewhere"
    assert name not in (".", "..")
    assert not re.search(r'[\x00-\x1f\x7f/\\:*?"<>|]', name)
    assert name[-1] not in " .", "Windows cuts it"
    assert name[0] not in " .-", "it is hidden, or looks like an option"
    assert name.split(".")[0].rstrip().upper() not in DEVICES
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", name), "it is shown in another order"
    whole = name + LONGEST_SUFFIX
    assert len(f".{whole}.part".encode()) <= 255
    assert len(whole.encode("utf-16-le")) // 2 <= 255


def test_there_are_two_hundred_hostile_titles() -> None:
    assert len(set(HOSTILE)) >= 200


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_title_makes_a_name_that_some_file_system_refuses(template: str, tmp_path: Path) -> None:
    check_template(template)
    for title in HOSTILE:
        name = named(template, title, category=title)
        assert_fits_everywhere(name)
        (tmp_path / f"{name}.ts").touch()
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*")), "and all of them are where they belong"


@pytest.mark.parametrize("emoji", ["\U0001fa77", "\U0001fae8", "\U0001f3f4\U000e0067\U000e0062\U000e007f", FAMILY])
def test_emoji_stay_whole_also_those_that_python_does_not_know_yet(emoji: str) -> None:
    assert named("{title}", f"I {emoji} you") == f"I {emoji} you"


@pytest.mark.parametrize("title", ["\u2065", "\ufff0", "\uffff", "\U000e0080", "\U000e0041"])
def test_a_name_of_which_nothing_would_be_seen_is_none(title: str) -> None:
    assert named("{title}", title) == "recording_348"


def test_the_rules_know_bad_names() -> None:
    for bad in ("a/b", "..", "-rf", ".x", "con.x", "a.", "a:b", "x" * 250, "a\u202eb", "a\nb", ""):
        with pytest.raises(AssertionError):
            assert_fits_everywhere(bad)


@given(title=st.text(max_size=400), category=st.text(max_size=400), template=st.sampled_from(TEMPLATES))
def test_any_title(title: str, category: str, template: str) -> None:
    assert_fits_everywhere(named(template, title, category=category))


PIECES = ("{title}", "{start:%F}", "{recording:04d}", "{id}", "-", ".", "con", "{start", "}", "{title!r}")


@given(template=st.text("{}%:!.- /aYmd", max_size=40) | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_template_is_refused_or_makes_a_name(template: str) -> None:
    try:
        checked = check_template(template)
    except ValueError:
        return
    for title in ("", "a/b", "🎉" * 300):
        assert_fits_everywhere(named(checked, title, id=title, quality=title))


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{streamer}_{start}_{recording}", "alice_2026-11-30T09-10-11Z_348"),
        ("{streamer}_{start}_{recording}_{stream}", "alice_2026-11-30T09-10-11Z_348_77"),
        ("{start:%Y-%m-%d} {title} [{recording:06d}]", "2026-11-30 What_ A _test_ [000348]"),
        ("{start:%d.%m.%y %H.%M} {category}", "30.11.26 09.10 Art"),
        ("{title} ({quality}, {id})", "What_ A _test_ (1080p60, b1)"),
        ("{start:>22}{stream}", "2026-11-30T09-10-11Z77"),
        ("%Y {recording}", "%Y 348"),
    ],
)
def test_what_a_template_says(template: str, name: str) -> None:
    assert named(check_template(template), "What? A\n /test/", category="Art", quality="1080p60", id="b1") == name


def test_a_start_in_another_zone_says_so() -> None:
    berlin = START.astimezone(timezone(timedelta(hours=1)))
    local = NameFacts(streamer="alice", start=berlin, recording=1, stream=1)
    assert fill("{start}", local) == "2026-11-30T10-10-11+0100"
    assert fill("{start:%H.%M}", local) == "10.10"


def test_of_what_is_too_long_the_title_is_cut_and_the_rest_stays() -> None:
    name = named("{start:%F} {title} [{recording}]", "🎉" * 300)
    assert name.startswith("2026-11-30 🎉")
    assert name.endswith("🎉 [348]")
    assert NAME_BYTES_MAX - 3 <= len(name.encode()) <= NAME_BYTES_MAX


@pytest.mark.parametrize("unit", [FAMILY, "🇩🇪", "👍🏽", "e\u0301\u0323", "\u1100\u1161\u11a8", "नि"])
def test_a_cut_takes_no_character_apart(unit: str) -> None:
    size = len(unit.encode())
    for rest in range(size):
        assert cut(unit * 30, 5 * size + rest) == unit * 5


def test_names_that_are_taken_get_numbers() -> None:
    assert numbered("a", []) == "a"
    assert numbered("a", ["a.ts"]) == "a (2)"
    assert numbered("a", ["A.mp4", "a (2).ts", "a (3)"]) == "a (4)"
    assert numbered("a", ["ab.ts", "b"]) == "a"
    assert numbered("x", ["x.part2.ts"]) == "x (2)"
    assert numbered("x.part2", ["x.ts", "x"]) == "x.part2 (2)"
    assert numbered("v1.2", ["v1.3.ts", "v1"]) == "v1.2"
    longest = "🎉" * 50
    again = numbered(longest, [longest])
    assert again.endswith("🎉 (2)")
    assert len(again.encode()) <= NAME_BYTES_MAX


def test_file_systems_that_take_capitals_for_small_letters_have_no_clash() -> None:
    assert clash("Straße", "STRASSE.ts")
    assert clash("e\u0301", "É")
    assert not clash("e", "é")


@pytest.mark.parametrize(
    "title",
    ["Stream on twitch.tv", "Foo.part2.part3", "Foo.kept1.mp4", "a.b.c.d", "Foo.kept3-2", "v1.2", "x.part2-3.ts"],
)
def test_a_title_that_ends_like_a_file_is_seen_as_taken(title: str) -> None:
    for suffix in ("", ".ts", ".part2.mp4", ".kept3.ts", ".kept3-2.ts"):
        assert numbered(title, [title + suffix]) == f"{title} (2)"
        assert numbered(title, [f"{title} (2){suffix}", title.upper() + suffix]) == f"{title} (3)"
        assert clash(title, title + suffix)


def test_no_file_of_a_result_has_the_name_of_another_results(tmp_path: Path) -> None:
    suffixes = [".ts", ".mp4", ".part2.ts", ".kept1.ts", ".kept1-2.mp4"]
    for title in (
        "Foo",
        "Foo.part2",
        "Foo.kept1",
        "Foo.kept1-2",
        "Foo.ts",
        "Foo.part2.ts",
        "foo",
        "Foo.part2.part2",
    ) * 2:
        name = numbered(title, [path.name for path in tmp_path.iterdir()])
        for suffix in suffixes:
            (tmp_path / f"{name}{suffix}".lower()).touch(exist_ok=False)


def test_thousands_of_equal_names_are_each_looked_at_once() -> None:
    """The daemon waits for it: a name that was compared with all others took half a minute here."""

    class Taken(list[str]):
        rounds = 0

        def __iter__(self) -> Iterator[str]:
            self.rounds += 1
            return super().__iter__()

    taken = Taken(["Same.ts", *(f"Same ({number}).ts" for number in range(2, 5000))])
    assert numbered("Same", taken) == "Same (5000)"
    assert taken.rounds == 1


def test_every_name_is_taken_by_this_machine(tmp_path: Path) -> None:
    for number in range(1, 4):
        taken = [path.name for path in tmp_path.iterdir()]
        (tmp_path / f"{numbered('🎉' * 50, taken)}.ts").touch()
        assert len(list(tmp_path.iterdir())) == number
