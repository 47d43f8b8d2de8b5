# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamvaultctl prints, piece by piece: safe characters, widths, times, tables, blocks."""

from __future__ import annotations

import json

import pytest

from streamvaultd.ctl.show import text
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Span, Style
from tests.fakes.ctl import HOUR, NOW, zone

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain Ünïcode 日本 👍", "plain Ünïcode 日本 👍"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f\x00", r"\x7f\x00"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("line\u2028end", r"line\u2028end"),
        ("\udce9", r"\udce9"),
    ],
)
def test_control_characters_are_shown_and_not_sent(given: str, shown: str) -> None:
    assert text.escape(given) == shown


def test_escaped_json_is_the_same_value() -> None:
    value = {"title": "\x9b31m \u202e \x1b \udce9 日本", "list": ["a\nb"]}
    for indent in (None, 2):
        shown = text.escape_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(shown) == value
        assert not any(character in shown for character in "\x9b\u202e\x1b\udce9")


@pytest.mark.parametrize(
    ("given", "columns"), [("abc", 3), ("", 0), ("日本", 4), ("e\u0301", 1), ("Ünï", 3), ("a\u200db", 2)]
)
def test_width_counts_columns(given: str, columns: int) -> None:
    assert text.width(given) == columns


@pytest.mark.parametrize(
    ("given", "columns", "shown"),
    [
        ("short", 5, "short"),
        ("/srv/media/demo/segment_001.ts", 16, "/srv/me…t_001.ts"),
        ("日本語日本語", 7, "日…本語"),
    ],
)
def test_shorten_keeps_both_ends(given: str, columns: int, shown: str) -> None:
    assert text.shorten(given, columns) == shown
    assert text.width(shown) <= columns


@pytest.mark.parametrize("columns", range(1, 40))
def test_shorten_never_exceeds(columns: int) -> None:
    for given in ("/srv/media/demo/stream_77_segments/x.ts", "日本語" * 12):
        assert text.width(text.shorten(given, columns)) <= columns


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (0, "now"),
        (999_999, "now"),
        (SECOND, "1s ago"),
        (59 * SECOND, "59s ago"),
        (61 * SECOND, "1min 1s ago"),
        (120 * SECOND, "2min ago"),
        (301 * SECOND, "5min ago"),
        (2 * HOUR + 180 * SECOND, "2h 3min ago"),
        (7 * HOUR + 180 * SECOND, "7h ago"),
        (25 * HOUR, "1 day 1h ago"),
        (50 * HOUR, "2 days ago"),
        (8 * 24 * HOUR, "1 week 1 day ago"),
        (45 * 24 * HOUR, "1 month 15 days ago"),
        (800 * 24 * HOUR, "2 years 2 months ago"),
        (-2 * HOUR, "2h left"),
    ],
)
def test_relative_times_read_as_those_of_systemctl(age: int, shown: str) -> None:
    assert text.format_relative(NOW - age, NOW) == shown


def test_times_are_local_and_name_their_zone() -> None:
    with zone("UTC0"):
        assert text.format_time(NOW) == "Wed 2026-11-18 11:06:40 UTC"
    with zone("CET-1"):
        assert text.format_since(NOW - HOUR, NOW) == "Wed 2026-11-18 11:06:40 CET; 1h ago"
        assert text.format_short_time(NOW) == "2026-11-18 12:06:40"


@pytest.mark.parametrize(
    ("usec", "shown"),
    [(-5, "0s"), (0, "0s"), (999_999, "0s"), (61 * SECOND, "1min 1s"), (26 * HOUR + 61 * SECOND, "1d 2h")],
)
def test_elapsed_has_two_units(usec: int, shown: str) -> None:
    assert text.format_elapsed(usec) == shown


TABLE = Table(
    (Column("ID", is_number=True), Column("NAME", least=8), Column("STATE")),
    (
        (Span("7"), Span("a-name-that-is-rather-long"), Span("recording", Style.GOOD)),
        (Span("12345"), Span("日本\x1b"), Span("")),
    ),
)


def rows(table: Table, *, columns: int | None, has_header: bool = True) -> list[str]:
    return ["".join(span.text for span in row) for row in table.lines(columns=columns, has_header=has_header)]


def test_table_in_a_pipe_leaves_nothing_out() -> None:
    assert rows(TABLE, columns=None) == [
        "   ID  NAME                        STATE",
        "    7  a-name-that-is-rather-long  recording",
        r"12345  日本\x1b                    -",
    ]


def test_table_on_a_terminal_fits() -> None:
    shown = rows(TABLE, columns=34)
    assert shown[1] == "    7  a-name-…her-long  recording"
    assert max(map(text.width, shown)) == 34


def test_table_without_header_is_as_wide_as_its_cells() -> None:
    table = Table((Column("LONG TITLE"), Column("B")), ((Span("x"), Span("y")),))
    assert rows(table, columns=None, has_header=False) == ["x  y"]


def test_table_that_cannot_fit_is_shown_whole_where_it_must() -> None:
    shown = rows(TABLE, columns=10)
    assert shown[1].split() == ["7", "a-n…long", "recording"]


def test_table_leaves_out_what_it_may_before_it_is_too_wide() -> None:
    table = Table(
        (Column("A"), Column("B", drop=1), Column("C", least=4, drop=2)),
        ((Span("a" * 10), Span("b" * 10), Span("c" * 10)),),
    )
    assert rows(table, columns=34, has_header=False) == ["aaaaaaaaaa  bbbbbbbbbb  cccccccccc"]
    assert rows(table, columns=28, has_header=False) == ["aaaaaaaaaa  bbbbbbbbbb  c…cc"]
    assert rows(table, columns=27, has_header=False) == ["aaaaaaaaaa  bbbbbbbbbb"]
    assert rows(table, columns=21, has_header=False) == ["aaaaaaaaaa"]
    assert rows(table, columns=5, has_header=False) == ["aaaaaaaaaa"]


def test_table_names_what_it_leaves_out_the_least_important_first() -> None:
    table = Table(
        (Column("A"), Column("B", drop=2), Column("C", least=4, drop=1)),
        ((Span("a" * 10), Span("b" * 10), Span("c" * 10)),),
    )
    left_out = {at: table.left_out(columns=at, has_header=False) for at in (None, 34, 28, 27, 16, 15, 5)}
    assert left_out == {None: [], 34: [], 28: [], 27: ["B"], 16: ["B"], 15: ["B", "C"], 5: ["B", "C"]}
    assert rows(table, columns=16, has_header=False) == ["aaaaaaaaaa  c…cc"]
