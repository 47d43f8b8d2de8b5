# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications: limits, waiting, trying again, and what a message says."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.clock import SystemClock
from streamvaultd.config import settings as config
from streamvaultd.config import streamers
from streamvaultd.core import notifying as core
from streamvaultd.core.model import Broadcast
from streamvaultd.core.notifying import BACKOFF, HOUR, LINES_MAX, REST, WAITING_MAX, Desk, Tiding, Word, Worth
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.topic import DEFAULT, Topic
from streamvaultd.core.watching.model import Remark
from streamvaultd.reporting import notifier as telling
from streamvaultd.reporting.announced import ENTRIES
from streamvaultd.reporting.notices import REMARKS, Said
from tests.unit.tables import NOTICES

NOON = 12 * 3600 * 1_000_000
DEATH = Tiding(topic=Topic.DEATH, streamer="alice", text="Segment 001 died", priority=4, realtime=NOON)


def take(
    desk: Desk, tiding: Tiding = DEATH, at: float = 0.0, to: tuple[str, ...] = ("phone",), hourly: int = 3
) -> Desk:
    return core.take(desk, tiding, to, hourly, at)[0]


def waiting(desk: Desk, name: str = "phone") -> list[str]:
    return [tiding.text for tiding in desk.targets[name].waiting] if name in desk.targets else []


def numbered(number: int) -> Tiding:
    return replace(DEATH, text=f"death {number}")


def test_every_topic_comes_from_a_notice_and_those_that_people_must_know_are_the_default() -> None:
    assert set(telling.TOPICS.values()) == set(Topic)
    assert set(DEFAULT) == {Topic.COMPLETED, Topic.FAILED, Topic.DISK}
    told = {entry.message_id for entry in (*ENTRIES.values(), *NOTICES)}
    assert set(telling.TOPICS) <= told
    assert telling.TOPICS[ENTRIES[Notice.DISK_LOW].message_id] is Topic.DISK
    assert telling.TOPICS[REMARKS[Remark.LIVE].message_id] is Topic.LIVE


def test_an_hour_has_so_many_messages_and_a_summary() -> None:
    desk = Desk()
    for number in range(10):
        desk = take(desk, numbered(number), at=number)
    assert waiting(desk) == ["death 0", "death 1", "death 2"]
    desk, _ = core.begin(desk, "phone", "host")
    desk, _ = core.sent(desk, "phone")
    assert desk.targets == {}
    assert core.next_deadline(desk) == HOUR
    desk, _ = core.close_windows(desk, HOUR - 0.1)
    assert waiting(desk) == []
    desk, _ = core.close_windows(desk, HOUR)
    assert waiting(desk) == ["7 more in an hour, the last one: death 9"]


def test_the_summary_counts_for_the_next_hour() -> None:
    desk = Desk()
    for number in range(5):
        desk = take(desk, numbered(number))
    desk, _ = core.close_windows(desk, HOUR)
    for number in range(5, 10):
        desk = take(desk, numbered(number), at=HOUR + 1)
    assert len(waiting(desk)) == 3 + 1 + 2


def test_a_storm_of_one_event_keeps_back_no_other_and_no_other_streamer() -> None:
    desk = Desk()
    for _ in range(10):
        desk = take(desk)
    desk = take(desk, replace(DEATH, topic=Topic.FAILED, text="failed"))
    desk = take(desk, replace(DEATH, streamer="bob", text="bob"))
    assert waiting(desk)[-2:] == ["failed", "bob"]


def test_hours_that_are_over_are_forgotten() -> None:
    desk = Desk()
    for number in range(50):
        desk = take(desk, replace(DEATH, streamer=f"streamer{number}"), to=())
    desk = take(desk, at=HOUR, to=())
    assert list(desk.windows) == [(Topic.DEATH, "alice")]


def test_what_comes_up_while_one_is_sent_goes_together() -> None:
    desk = take(take(Desk()), to=("mail",))
    assert core.ready(desk, 0) == ("phone", "mail")
    desk, first = core.begin(desk, "phone", "vault")
    assert (first.title, first.body, first.kind) == ("alice: death (vault)", "Segment 001 died", "warning")
    for number in range(2):
        desk = take(desk, replace(numbered(number), streamer=f"s{number}"))
    assert core.ready(desk, 0) == ("mail",)
    desk, words = core.sent(desk, "phone")
    assert words == ()
    desk, second = core.begin(desk, "phone", "vault")
    assert second.title == "2 messages (vault)"
    assert second.body == "12:00 UTC death 0\n12:00 UTC death 1"


def test_a_failure_is_tried_again_with_what_came_up_since() -> None:
    desk = take(Desk(), numbered(0))
    at = 0.0
    for pause in BACKOFF:
        desk, _ = core.begin(desk, "phone", "host")
        desk = take(desk, replace(numbered(1), streamer=str(at)), at=at)
        desk, words = core.failed(desk, "phone", "away", at, is_final=False)
        assert words == ()
        assert waiting(desk)[0] == "death 0"
        assert core.ready(desk, at + pause - 0.1) == ()
        assert core.next_deadline(desk) == at + pause
        at += pause
        assert core.ready(desk, at) == ("phone",)
    desk, _ = core.begin(desk, "phone", "host")
    desk, words = core.failed(desk, "phone", "away", at, is_final=False)
    assert words == (Word(Worth.FAILED, "phone", why="away"),)
    assert waiting(desk) == []
    assert desk.targets["phone"].lost == 1 + len(BACKOFF)


def test_trouble_is_told_once_until_it_is_over() -> None:
    desk = Desk()
    told: list[Word] = []
    for number in range(3):
        at = number * REST
        desk = take(desk, replace(DEATH, streamer=str(number)), at=at)
        assert core.ready(desk, at) == ("phone",)
        desk, _ = core.begin(desk, "phone", "host")
        desk, words = core.failed(desk, "phone", "no credential", at, is_final=True)
        told += words
        assert core.next_deadline(desk) is None
    assert told == [Word(Worth.FAILED, "phone", why="no credential")]
    desk = take(desk, replace(DEATH, streamer="now"), at=3 * REST)
    desk, message = core.begin(desk, "phone", "host")
    assert message.body == "3 before could not be sent, they are in the journal.\nSegment 001 died"
    desk, words = core.sent(desk, "phone")
    assert words == (Word(Worth.WELL, "phone", lost=3),)
    assert desk.targets == {}


def test_the_oldest_make_room_and_that_is_told_once() -> None:
    desk = take(Desk(), numbered(0))
    told: list[Word] = []
    desk, _ = core.begin(desk, "phone", "host")
    for number in range(1, WAITING_MAX + 11):
        desk, words = core.take(desk, replace(numbered(number), streamer=str(number)), ("phone",), 1, 0)
        told += words
    assert told == [Word(Worth.OVERFULL, "phone")]
    assert waiting(desk)[0] == "death 11"
    assert len(waiting(desk)) == WAITING_MAX
    desk, _ = core.sent(desk, "phone")
    assert len(waiting(desk)) == WAITING_MAX


def test_a_target_that_is_not_named_any_more_is_forgotten() -> None:
    desk = take(Desk(), to=("phone", "mail", "team"))
    for name in ("phone", "mail"):
        desk, _ = core.begin(desk, name, "host")
    desk, _ = core.failed(desk, "phone", "no credential", 0, is_final=True)
    desk = core.forget_others(desk, ["team"])
    assert set(desk.targets) == {"mail", "team"}
    desk, _ = core.sent(desk, "mail")
    assert set(desk.targets) == {"team"}


def test_a_message_of_many_shows_the_latest() -> None:
    message = core.message_of([numbered(number) for number in range(50)], 7, "vault")
    assert message.title == "50 messages (vault)"
    lines = message.body.splitlines()
    assert lines[:3] == [
        "7 before could not be sent, they are in the journal.",
        "30 earlier ones are in the journal.",
        "12:00 UTC death 30",
    ]
    assert len(lines) == LINES_MAX + 2


@pytest.mark.parametrize(
    ("topic", "priority", "kind"),
    [
        (Topic.COMPLETED, 5, "success"),
        (Topic.LIVE, 5, "info"),
        (Topic.DEATH, 4, "warning"),
        (Topic.FAILED, 3, "failure"),
    ],
)
def test_kinds(topic: Topic, priority: int, kind: str) -> None:
    assert core.message_of([replace(DEATH, topic=topic, priority=priority)], 0, "host").kind == kind


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "begin", "sent", "failed", "final", "close"]), st.integers(0, 3)),
        max_size=400,
    )
)
def test_every_tiding_is_waiting_sent_or_counted_as_lost(script: list[tuple[str, int]]) -> None:
    """N4; and there is no end to what may wait but its limit."""
    desk, at, taken, gone, lost_before = Desk(), 0.0, 0, 0, 0
    for verb, number in script:
        at += number * 100.0
        target = desk.targets.get("phone")
        if verb == "take":
            desk = take(desk, replace(DEATH, streamer=str(number)), at=at, hourly=1000)
            taken += 1
        elif verb == "begin" and "phone" in core.ready(desk, at):
            desk, _ = core.begin(desk, "phone", "host")
        elif verb == "sent" and target is not None and target.sending:
            gone += len(target.sending)
            lost_before += target.lost
            desk, _ = core.sent(desk, "phone")
        elif verb in ("failed", "final") and target is not None and target.sending:
            desk, _ = core.failed(desk, "phone", "away", at, is_final=verb == "final")
        elif verb == "close":
            desk, _ = core.close_windows(desk, at)
        now = desk.targets.get("phone", core.Target())
        assert len(now.waiting) <= WAITING_MAX
        assert len(now.waiting) + len(now.sending) + now.lost + lost_before + gone == taken
        deadline = core.next_deadline(desk)
        assert deadline is not None or not (now.waiting and not now.sending)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("to", "ntfys://tk_secret@example.org/x", "a secret"),
        ("to", ["phone", "../phone"], "names of credentials"),
        ("to", {"phone": 1}, "list of names"),
        ("to", [str(number) for number in range(21)], "20 at most"),
        ("events", ["completed", "disc"], "live, started, completed"),
        ("events", "all", "live, started, completed"),
        ("hourly", 0, "from 1 to 1000"),
        ("urls", ["x"], "there are to, events, hourly"),
    ],
)
def test_mistakes_name_the_place_and_show_no_url(key: str, value: object, why: str) -> None:
    settings, (mistake,) = config.apply(config.Settings(), {"notifications": {key: value}}, "x.toml")
    assert settings == config.Settings()
    assert "cannot load x.toml: [notifications] " + key in str(mistake)
    assert why in str(mistake)
    assert "tk_secret" not in str(mistake)


def test_settings_and_a_streamers_file() -> None:
    section = {"to": ["phone", "team", "phone"], "events": ["disk", "live"]}
    settings, mistakes = config.apply(config.Settings(), {"notifications": {**section, "hourly": 2}}, "x.toml")
    assert mistakes == []
    assert (settings.notify, settings.events) == (("phone", "team"), (Topic.LIVE, Topic.DISK))
    assert settings.notify_hourly == 2
    shown = {option.key: text for option, text in config.in_force(settings) if option.section == "notifications"}
    assert shown == {"to": "phone team", "events": "live disk", "hourly": "2"}
    document = {"streamer": {"url": "https://example.org/a"}, "notifications": {"to": [], "events": "failed"}}
    alice, wrong = streamers.parse(document, "alice.toml", "alice")
    assert wrong == []
    assert alice is not None
    assert (alice.notify, alice.events) == ((), (Topic.FAILED,))
    document = {"streamer": {"url": "https://example.org/a"}, "notifications": {"to": "json://tk_secret@x"}}
    assert "tk_secret" not in str(streamers.parse(document, "alice.toml", "alice")[1][0])


# --- titles --------------------------------------------------------------------------------------------------------

DONE = replace(DEATH, topic=Topic.COMPLETED, text="Recording 7 is complete", recording=7)


def test_a_message_says_what_the_broadcast_was_called_and_about() -> None:
    done = core.titled(DONE, Broadcast(title="A quiet morning", category="Art"))
    assert core.message_of([done], 0, "host").body == "Recording 7 is complete\n“A quiet morning” (Art)"
    assert core.message_of([done, DEATH], 0, "host").body.splitlines()[0] == (
        "12:00 UTC Recording 7 is complete “A quiet morning” (Art)"
    )
    assert core.titled(DONE, Broadcast(category="Art")).about == "(Art)"
    assert core.titled(DONE, Broadcast()) == DONE


@pytest.mark.parametrize("emoji", ["\U0001fa77", "👨\u200d👩\u200d👧", "\U0001f3f4\U000e0067\U000e0062\U000e007f"])
def test_emoji_stay_whole_also_those_that_python_does_not_know_yet(emoji: str) -> None:
    assert core.titled(DONE, Broadcast(title=f"I {emoji} you")).about == f"“I {emoji} you”"


@given(st.text(max_size=2000))
def test_a_title_is_one_line_of_plain_text(title: str) -> None:
    about = core.titled(DONE, Broadcast(title=title, category=title)).about
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in about)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(about)
    assert not set("*_~`|@<>[]\\") & set(about)
    assert len(about) <= core.TITLE_MAX + core.CATEGORY_MAX + 5


def test_the_title_of_who_is_live_is_text_too() -> None:
    heard = telling.Heard(SystemClock())
    entry = REMARKS[Remark.LIVE]
    title = "@everyone\nlook"
    heard.hear(Said(entry.message_id, entry.priority, "a_b", f"'a_b' is live: {title}", title=title))
    assert [tiding.text for tiding in heard.take()] == ["'a_b' is live: ＠everyone look"]  # noqa: RUF001


def test_a_title_in_a_path_calls_nobody() -> None:
    heard = telling.Heard(SystemClock())
    path = "/srv/a_b/@everyone [look](x) `~*_1.ts"
    for notice in (Notice.RECORDING_COMPLETED, Notice.RECORDING_STOPPED, Notice.UNJOINED):
        entry = ENTRIES[notice]
        heard.hear(Said(entry.message_id, entry.priority, "a_b", f"'a_b': {path}"))
    texts = [tiding.text for tiding in heard.take()]
    assert texts == ["'a_b': /srv/a_b/＠everyone ［look］(x) ｀～＊_1.ts"] * 3  # noqa: RUF001
