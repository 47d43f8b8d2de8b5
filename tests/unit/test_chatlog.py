# SPDX-License-Identifier: GPL-3.0-or-later
"""A captured chat in other formats: each message once, at its place, and never more than text."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.irc import parse
from streamvaultd.jobs.chatlog import reading
from streamvaultd.jobs.chatlog.export import NAMES, Wanted, export
from streamvaultd.jobs.chatlog.formats import FORMATS, ChatLabels
from streamvaultd.jobs.chatlog.reading import ChatMessage, ChatTally, Timing, emotes_in, message_of
from streamvaultd.media.chapters import OnAir

AT = 1_700_000_000_000
FACTS = ChatLabels(streamer="alice", channel="alice", recording=7, title="t", began=AT * 1000, length=60_000.0)
ON_AIR = [(0.0, float(AT), 20_000.0), (20_000.0, AT + 18_000.0, 10_000.0), (60_000.0, AT + 58_000.0, 30_000.0)]
"""Two captures that overlap by 2 s, 30 s that are missing, and a third one."""


def line(number: int, moment: int, text: str = "hello", tags: str = "", command: str = "PRIVMSG") -> str:
    return f"@id=m{number};tmi-sent-ts={moment};display-name=Ann;{tags} :ann!a@a.tmi {command} #alice :{text}"


def write(path: Path, lines: Iterable[str]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for raw in lines:
            file.write(json.dumps({"r": 1, "m": 1, "l": raw}) + "\n")
    return path


def read(path: Path, form: str = "json", delay: float = 0.0, *, with_removed: bool = False) -> tuple[str, ChatTally]:
    pieces, tally = export(
        Wanted(
            path=path,
            form=form,
            on_air=ON_AIR,
            delay=delay,
            streamer="a",
            recording=1,
            channel="a",
            title="t",
            with_removed=with_removed,
        )
    )
    return "".join(pieces), tally


def offsets(text: str) -> dict[str, float]:
    return {each["_id"]: each["content_offset_seconds"] for each in json.loads(text)["comments"]}


def test_each_is_at_its_place(tmp_path: Path) -> None:
    said = {1: 0, 2: 17_000, 3: 19_000, 4: 28_500, 5: 40_000, 6: 58_000, 7: 70_000}
    text, tally = read(write(tmp_path / "c.gz", [line(n, AT + ms) for n, ms in said.items()]))
    # the third is in both captures; the fifth in what is missing, which has its length in the result
    assert offsets(text) == {"m1": 0, "m2": 17, "m3": 21, "m4": 60, "m5": 60, "m6": 60, "m7": 72}
    assert tally == ChatTally(messages=7)


def test_what_was_said_before_or_after_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "c.gz", [line(1, AT - 1), line(2, AT + 100_000), line(3, AT + 5_000)])
    text, tally = read(path)
    assert (offsets(text), tally.outside) == ({"m3": 5}, 2)
    assert offsets(read(path, delay=2_000)[0]) == {"m3": 3}


def test_once_and_in_order_whatever_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "c.gz"
    with gzip.open(path, "wb") as file:
        for raw in (line(2, AT + 2000), line(1, AT + 1000), line(2, AT + 2000)):
            file.write(json.dumps({"r": 1, "l": raw}).encode() + b"\n\n")
        file.write(
            b'{"r":1,"m":1,"l":"@id=to\n{"r":1,"e":"lost"}\n[1]\n7\n{"l":5}\n' + b"[" * 100_000 + b"\n\xff\xfe\n"
        )
        file.write(json.dumps({"l": line(3, AT + 3000)}).encode())
    text, tally = read(path)
    assert list(offsets(text)) == ["m1", "m2", "m3"]
    assert tally.twice == 1
    assert tally.torn > 0


def test_what_is_held_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SEEN", 10)
    monkeypatch.setattr(reading, "LATE", 5)
    numbers = list(range(200))
    text, tally = read(write(tmp_path / "c.gz", [line(n, AT + n) for n in numbers for _ in range(2)]))
    assert list(offsets(text)) == [f"m{n}" for n in numbers]
    assert tally.twice == 200


def test_what_moderators_removed_is_left_out_unless_it_is_wanted(tmp_path: Path) -> None:
    said = [
        line(1, AT + 1, tags="user-id=5"),
        line(2, AT + 2, tags="user-id=6"),
        line(3, AT + 3, tags="user-id=5"),
        f"@target-msg-id=m2;tmi-sent-ts={AT + 4} :tmi.twitch.tv CLEARMSG #alice :hello",
        f"@target-user-id=5;ban-duration=1;tmi-sent-ts={AT + 3} :tmi.twitch.tv CLEARCHAT #alice :ann",
        line(4, AT + 5, tags="user-id=5"),
        f"@room-id=1;tmi-sent-ts={AT + 6} :tmi.twitch.tv CLEARCHAT #alice",
        "@target-user-id=5;tmi-sent-ts=never :tmi.twitch.tv CLEARCHAT #alice :ann",
        line(5, AT + 7, "CLEARMSG target-msg-id=m4"),
    ]
    path = write(tmp_path / "c.gz", said)
    text, tally = read(path)
    assert (list(offsets(text)), tally.removed) == (["m4", "m5"], 3)
    text, tally = read(path, with_removed=True)
    assert (list(offsets(text)), tally.removed) == (["m1", "m2", "m3", "m4", "m5"], 0)


def test_what_is_remembered_of_removed_messages_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REMOVED_MAX", 2)
    said = [line(n, AT + n) for n in range(5)]
    said += [f"@target-msg-id=m{n};tmi-sent-ts={AT + 9} :tmi.twitch.tv CLEARMSG #alice :hello" for n in range(5)]
    assert list(offsets(read(write(tmp_path / "c.gz", said))[0])) == ["m0", "m1", "m2"]


# Written from the public classes of TwitchDownloader (ChatRoot.cs): name → type, or a dictionary, or a list of one.
TEXT, MAYBE = str, (str, type(None))
COMMENT = {
    "_id": TEXT, "created_at": TEXT, "channel_id": TEXT, "content_type": TEXT, "content_id": TEXT,
    "content_offset_seconds": (int, float),
    "commenter": {"display_name": TEXT, "_id": TEXT, "name": TEXT, "bio": MAYBE, "created_at": TEXT,
                  "updated_at": TEXT, "logo": MAYBE},
    "message": {
        "body": TEXT, "bits_spent": int, "fragments": [{"text": TEXT, "emoticon": ({"emoticon_id": TEXT}, None)}],
        "user_badges": [{"_id": TEXT, "version": TEXT}], "user_color": MAYBE, "user_notice_params": {"msg_id": MAYBE},
        "emoticons": [{"_id": TEXT, "begin": int, "end": int}],
    },
}  # fmt: skip
ROOT = {
    "FileInfo": {"Version": {"Major": int, "Minor": int, "Patch": int}, "CreatedAt": TEXT, "UpdatedAt": TEXT},
    "streamer": {"name": TEXT, "login": TEXT, "id": int},
    "video": {"title": TEXT, "id": TEXT, "created_at": TEXT, "start": float, "end": float, "length": float,
              "viewCount": int, "game": TEXT, "chapters": []},
    "comments": [COMMENT],
    "embeddedData": type(None),
}  # fmt: skip


def check(value: Any, shape: Any) -> None:
    if isinstance(shape, dict):
        assert value.keys() == shape.keys()
        for name, inner in shape.items():
            check(value[name], inner)
    elif isinstance(shape, list):
        assert isinstance(value, list)
        for each in value:
            check(each, shape[0])
    elif isinstance(shape, tuple) and isinstance(shape[0], dict):
        if value is not None:
            check(value, shape[0])
    else:
        assert isinstance(value, shape)


def test_the_json_is_what_twitchdownloader_reads(tmp_path: Path) -> None:
    tags = "emotes=25:0-4,12-16/1902:6-10;badges=subscriber/6,bits/100;bits=100;color=#1E90FF;user-id=9;room-id=1"
    notice = "system-msg=Ann\\ssubscribed.;msg-id=resub;emotes=25:0-4;color=red"
    said = [
        line(1, AT, "Kappa Keepo Kappa end", tags),
        line(2, AT + 1, "Kappa", notice, "USERNOTICE"),
        line(3, AT + 2, "\x01ACTION waves\x01"),
        line(4, AT + 3, "😂😂 Kappa", "emotes=25:3-7"),
    ]
    root = json.loads(read(write(tmp_path / "c.gz", said))[0])
    check(root, ROOT)
    first, second, third, fourth = (each["message"] for each in root["comments"])
    assert [part["text"] for part in first["fragments"]] == ["Kappa", " ", "Keepo", " ", "Kappa", " end"]
    assert [part["emoticon"] and part["emoticon"]["emoticon_id"] for part in first["fragments"]] == [
        "25", None, "1902", None, "25", None,
    ]  # fmt: skip
    assert (first["bits_spent"], first["user_color"]) == (100, "#1E90FF")
    assert second["body"] == "Ann subscribed. Kappa"
    assert second["emoticons"] == [{"_id": "25", "begin": 16, "end": 20}]
    assert (second["user_notice_params"], second["user_color"]) == ({"msg_id": "resub"}, None)
    assert third["body"] == "waves"
    assert fourth["fragments"][1]["text"] == "Kappa"


HOSTILE = st.text(max_size=60) | st.sampled_from(
    ["{\\an8}{\\p1}m 0 0", "\\N\\n\\h", "a\r\n\r\n00:00:00.000 --> 99:00:00.000\r\nb", "--> <c.x>&amp;</c>", "\x1b[2J",
     "\u202egnp.exe", "\x00\x07\x9b", "Dialogue: 0,0:00:00.00,9:00:00.00,Chat,,0,0,0,,x", "\u2028x\u2029y", "\ud800"]
)  # fmt: skip


@given(HOSTILE, HOSTILE)
def test_whatever_viewers_type_is_text(name: str, text: str) -> None:
    message = ChatMessage("1", AT, "ann", name, text, {"color": text, "badges": text})
    placed = [(1000.0, message)]
    for form in NAMES:
        made = "".join(FORMATS[form](placed, FACTS))
        if form == "json":
            assert json.loads(made)["comments"][0]["message"]["body"] == text
            assert made.isascii()
            continue
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", made)
        if form == "text":
            assert made.count("\n") == 1
        elif form == "vtt":
            head, blank, cue, said, end = made.split("\n")
            assert (head, blank, end) == ("WEBVTT", "", "")
            assert cue == "00:00:01.000 --> 00:00:08.000"
            assert "-->" not in said
            assert "<" not in said
        else:
            last = made.rstrip("\n").rpartition("\n")[2]
            head = "Dialogue: 0,0:00:01.00,0:00:08.00,Chat,,0,0,0,,"
            assert last.startswith(head)
            assert made.count("\nDialogue:") == 1
            assert re.fullmatch(r"[^{}\\]*\{\\r\}: [^{}\\]*", last.removeprefix(head))


@given(st.text("0123456789:-,/abc", max_size=60), st.integers(0, 30))
def test_emotes_lie_in_the_text_and_beside_each_other(tag: str, length: int) -> None:
    behind = 0
    for start, end, _ in emotes_in(tag, length):
        assert behind <= start <= end < length
        behind = end + 1


@given(st.text(max_size=100))
def test_no_line_is_too_odd(raw: str) -> None:
    found = parse(raw)
    if found is not None:
        message_of(found)


def test_before_all_and_behind_all() -> None:
    timing = Timing([OnAir(0.0, 1000.0, 500.0)])
    assert [timing.at(moment) for moment in (999, 1000, 1499, 1500 + reading.AFTER_MS + 1)] == [None, 0.0, 499.0, None]
