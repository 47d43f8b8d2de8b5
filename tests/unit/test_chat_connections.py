# SPDX-License-Identifier: GPL-3.0-or-later
"""What the capture of a chat does about its connections, replayed: no time passes here."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streamvaultd.base.irc import parse
from streamvaultd.recording.chat.capture import machine
from streamvaultd.recording.chat.capture.machine import (
    Close,
    Closed,
    Effect,
    Found,
    Keep,
    Lost,
    Open,
    Opened,
    Received,
    Send,
    Stage,
    Tick,
)


def said(effects: tuple[Effect, ...]) -> list[str]:
    return [each.text for each in effects if isinstance(each, Send)]


WELCOME = (":tmi CAP * ACK :twitch.tv/tags twitch.tv/commands", ":tmi 001 justinfan1 :hi")
ROOM = "@room-id=1 :tmi ROOMSTATE #alice"
SAID = "@id=1 :a!a@a PRIVMSG #alice :hello"


class Story:
    """A capture, from its beginning; `done` is all that it did since the last event."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.done: tuple[Effect, ...]
        self.state, self.done = machine.begin("Alice", 1, 0.5, self.at)

    def tell(self, event: machine.Event) -> tuple[Effect, ...]:
        self.state, self.done = machine.step(self.state, event)
        return self.done

    def line(self, text: str, link: int = 1) -> tuple[Effect, ...]:
        line = parse(text)
        assert line is not None
        return self.tell(Received(self.at, link, line))

    def join(self, link: int = 1) -> tuple[Effect, ...]:
        self.tell(Opened(self.at, link))
        for text in WELCOME:
            self.line(text, link)
        assert said(self.done) == ["JOIN #alice"]
        return self.line(ROOM, link)

    def wait(self) -> tuple[Effect, ...]:
        """Until it wants to be woken."""
        self.at = machine.due(self.state)
        assert self.at < float("inf")
        return self.tell(Tick(self.at))


def test_nothing_is_kept_before_the_channel_is_confirmed() -> None:
    story = Story()
    assert story.done == (Open(1),)
    assert said(story.tell(Opened(story.at, 1))) == [f"CAP REQ :{machine.CAPABILITIES}"]
    assert [text.split()[0] for text in said(story.line(WELCOME[0]))] == ["PASS", "NICK", "USER", "CAP"]
    assert said(story.line(WELCOME[1])) == ["JOIN #alice"]
    assert story.line(SAID) == ()
    assert story.line(":tmi 366 justinfan1 #alice :End") == ()
    assert story.line(ROOM) == (Keep(), Found(1000.0))
    assert story.line(SAID) == (Keep(),)
    assert story.line(SAID.replace("#alice", "#bob")) == ()
    assert story.line(":a!a@a JOIN #alice") == ()


def test_a_plain_server_confirms_with_the_end_of_its_names() -> None:
    story = Story()
    story.tell(Opened(story.at, 1))
    texts = said(story.line(":s CAP * NAK :twitch.tv/tags twitch.tv/commands"))
    assert [text.split()[0] for text in texts] == ["NICK", "USER", "CAP"]  # PASS would be refused
    story.line(":s 001 justinfan1 :hi")
    assert story.line(":s 366 justinfan1 #alice :End") == (Found(1000.0),)


def test_who_does_not_say_what_it_is_is_taken_for_twitch() -> None:
    story = Story()
    assert said(story.tell(Opened(story.at, 1))) == [f"CAP REQ :{machine.CAPABILITIES}"]
    assert said(story.wait())[0] == "PASS anonymous"
    assert story.wait() == (Close(1), Open(2))  # and is given up if it does not say welcome


def test_a_server_is_answered() -> None:
    story = Story()
    story.join()
    assert story.line("PING :abc") == (Send(1, "PONG :abc"),)


def test_another_nickname_is_tried() -> None:
    story = Story()
    story.tell(Opened(story.at, 1))
    first = said(story.line(":s 421 * CAP :what?"))[0]
    (second,) = story.line(":s 433 * justinfan1 :taken")
    assert isinstance(second, Send)
    assert second.text.startswith("NICK justinfan")
    assert second.text != first


def test_a_silent_connection_is_asked_and_given_up() -> None:
    story = Story()
    story.join()
    assert story.wait() == (Send(1, "PING :1"),)
    assert story.at == 1000.0 + machine.SILENCE
    done = story.wait()
    assert story.at == 1000.0 + machine.SILENCE + machine.ANSWER_LIMIT
    assert done == (Close(1), Open(2), Lost())
    assert story.join(2) == (Keep(), Found(story.at))


def test_one_that_answers_lives_on() -> None:
    story = Story()
    story.join()
    for _ in range(5):
        assert story.wait() == (Send(1, "PING :1"),)
        story.line(":tmi PONG tmi :1")


def test_the_second_is_opened_before_the_first_is_closed() -> None:
    story = Story()
    story.join()
    assert story.line(":tmi RECONNECT") == (Open(2),)
    assert story.line(":tmi RECONNECT") == ()
    assert story.line(SAID) == (Keep(),)
    assert story.join(2) == (Keep(),)
    assert story.line(SAID, 1) == story.line(SAID, 2) == (Keep(),)
    assert story.wait() == (Close(1),)
    assert story.at == 1000.0 + machine.OVERLAP
    assert story.line(SAID, 2) == (Keep(),)


def test_a_server_that_announces_and_never_closes_gets_few() -> None:
    story, most = Story(), 0
    for _ in range(30):
        newest = story.state.opened
        story.join(newest)
        story.line(":tmi RECONNECT", newest)
        while story.state.opened == newest:
            story.wait()
        most = max(most, len(story.state.links))
    assert most <= machine.LINKS_MAX


def test_a_disk_that_takes_nothing_closes_no_connection_and_makes_no_login() -> None:
    story = Story()
    story.join()
    for _ in range(100):
        story.at = machine.due(story.state)
        story.tell(machine.Held(story.at))
        assert story.tell(Tick(story.at)) == ()
    assert story.at > 1000.0 + 99 * machine.SILENCE
    assert story.line(SAID) == (Keep(),)
    entering = Story()
    entering.tell(Opened(entering.at, 1))
    for _ in range(100):
        entering.at = machine.due(entering.state)
        entering.tell(machine.Held(entering.at))
        assert entering.tell(Tick(entering.at)) == ()


def test_what_a_connection_says_before_it_is_one_means_nothing() -> None:
    story = Story()
    before = story.state
    for text in (*WELCOME, ROOM, SAID, ":tmi RECONNECT"):
        assert story.line(text) == ()
    assert story.state == before


def test_a_connection_that_was_in_the_channel_for_a_moment_does_not_begin_anew() -> None:
    story = Story()
    story.tell(Closed(story.at, 1))
    story.tell(Opened(story.at, 2))
    for text in WELCOME:
        story.line(text, 2)
    story.at += machine.LASTING
    story.line(ROOM, 2)
    assert story.tell(Closed(story.at, 2)) == (Lost(),)  # the next one comes after a pause


def test_tries_that_fail_come_later_and_later_and_a_lasting_one_begins_anew() -> None:
    story, pauses = Story(), []
    for number in range(1, 12):
        before = story.at
        if story.tell(Closed(story.at, number)) != (Open(number + 1),):
            assert story.wait() == (Open(number + 1),)
        pauses.append(story.at - before)
    assert pauses == sorted(pauses)
    assert pauses[0] == 0
    assert machine.DELAYS[-1] <= pauses[-1] <= machine.DELAYS[-1] * 1.5
    story.join(12)
    story.at += machine.LASTING
    assert story.tell(Closed(story.at, 12)) == (Open(13), Lost())


def test_who_is_kicked_comes_back() -> None:
    story = Story()
    story.join()
    own = next(link for link in story.state.links)
    nick = f"justinfan{10000 + (1 + own.number * 7) % 90000}"
    assert story.line(f":op!o@o KICK #alice {nick} :out") == (Keep(), Lost())
    assert story.wait() == (Send(1, "JOIN #alice"),)
    assert story.at == 1000.0 + machine.REJOIN
    assert story.line(":op!o@o KICK #alice somebody :out") == ()
    assert story.wait() == (Send(1, "JOIN #alice"),)


def test_what_is_told_of_a_connection_that_is_gone_means_nothing() -> None:
    story = Story()
    story.join()
    story.tell(Closed(story.at, 1))
    before = story.state
    assert story.line(SAID, 1) == story.tell(Opened(story.at, 1)) == story.tell(Closed(story.at, 1)) == ()
    assert story.state == before


LINES = st.sampled_from(
    [*WELCOME, ROOM, SAID, ":t RECONNECT", "PING :x", ":s 433 * a :t", ":s 471 a #alice :full", "ERROR :bye",
     ":s 366 a #alice :End", ":o!o@o KICK #alice justinfan10008 :x", ":s CAP * NAK :x", ":s PONG s :1"]
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(["line", "open", "close", "wait", "held"]), LINES, st.integers(0, 3)), max_size=40
)


ANOTHER = [("open", ROOM, 0), ("line", ":t RECONNECT", 0)]
WAIT = [("wait", ROOM, 0)]


@given(STEPS)
@example([*ANOTHER, *ANOTHER, *WAIT, *ANOTHER, *WAIT, *ANOTHER, *WAIT])
def test_whatever_happens_there_is_a_connection_or_a_time_for_one(steps: list[tuple[str, str, int]]) -> None:
    story = Story()
    for what, text, back in steps:
        link = max(1, story.state.opened - back)
        before = story.state
        if what == "wait":
            story.wait()
            assert story.state != before  # what was due is not due again at once, for ever
        elif what == "held":
            story.tell(machine.Held(story.at))
        elif what == "line":
            story.line(text, link)
        elif what == "open" and any(each.number == link and each.stage is Stage.OPENING for each in before.links):
            story.tell(Opened(story.at, link))
        elif what == "close":
            story.tell(Closed(story.at, link))
        state = story.state
        assert state.retry_at is not None or any(not each.is_leaving for each in state.links)
        assert machine.due(state) < float("inf")
        assert len(state.links) <= machine.LINKS_MAX
        assert state.is_joined == (state.away is None)
        if Keep() in story.done:
            assert before.is_joined or state.is_joined
