# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of IRC: the examples of the specifications, and whatever else a server may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.irc import LINE_MAX, IrcLine, IrcSplitter, parse

VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ESCAPES = str.maketrans({";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (":n!u@h PRIVMSG #c :hello  there", IrcLine({}, "n!u@h", "PRIVMSG", ("#c", "hello  there"))),
        ("@id=1;a= :s CLEARCHAT #c", IrcLine({"id": "1", "a": ""}, "s", "CLEARCHAT", ("#c",))),
        ("@k=a\\sb\\:c\\\\d\\ne\\xf\\ x", IrcLine({"k": "a b;c\\d\nexf"}, "", "X", ())),
        ("PING :tmi.twitch.tv\r\n", IrcLine({}, "", "PING", ("tmi.twitch.tv",))),
        (":s 366 n #c :End", IrcLine({}, "s", "366", ("n", "#c", "End"))),
        ("privmsg #c ::)", IrcLine({}, "", "PRIVMSG", ("#c", ":)"))),
        ("X :", IrcLine({}, "", "X", ("",))),
        ("@a=1;a=2;;=x Y", IrcLine({"a": "2"}, "", "Y", ())),
    ],
)
def test_examples(text: str, line: IrcLine) -> None:
    assert parse(text) == line


@pytest.mark.parametrize("text", ["", " ", "@a=1", ":only", "\r\n", "@ :x "])
def test_what_says_nothing(text: str) -> None:
    assert parse(text) is None


@given(st.text(max_size=200))
def test_nothing_is_raised(text: str) -> None:
    parse(text)


@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9.-]{0,9}\Z"), VALUES, max_size=5), VALUES)
def test_tags_come_back(tags: dict[str, str], said: str) -> None:
    written = ";".join(f"{key}={value.translate(ESCAPES)}" for key, value in tags.items())
    text = said.replace("\r", "").replace("\n", "")
    line = parse(f"@{written} :a PRIVMSG #c :{text}" if tags else f":a PRIVMSG #c :{text}")
    assert line == IrcLine(tags, "a", "PRIVMSG", ("#c", text))


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))), st.data())
def test_lines_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole, splitter, found = b"".join(line + b"\r\n" for line in lines), IrcSplitter(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += splitter.feed(whole[:size])
        whole = whole[size:]
    assert found == lines
    assert splitter.overlong == 0


@pytest.mark.parametrize("step", [1 << 10, 1 << 16, 1 << 20])
def test_one_that_is_too_long_is_left_out_and_the_next_is_not(step: int) -> None:
    sent = b"a\n" + b"x" * LINE_MAX + b"\n" + b"y" * (LINE_MAX + 1) + b"\nb\n" + b"z" * (3 * LINE_MAX) + b"\nc\n"
    splitter, found = IrcSplitter(), []
    for start in range(0, len(sent), step):
        found += splitter.feed(sent[start : start + step])
    assert [line[:1] for line in found] == [b"a", b"x", b"b", b"c"]
    assert splitter.overlong == 2
