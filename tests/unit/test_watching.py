# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's stories, told in events: who is asked when, what is recorded, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from streamvaultd.core.model import Moment
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching import model as wt
from streamvaultd.core.watching.answers import BACKOFF_MAX, LOOK_AGAIN, QUIET, TOLD_FAILURES, UNSUPPORTED_WAIT
from streamvaultd.core.watching.machine import next_deadline, step
from streamvaultd.core.watching.model import Ended, Mood, Sighting, WatchRules, WatchState
from streamvaultd.core.watching.streamer import Filters, Streamer
from streamvaultd.core.watching.usual_hours import minute_of_day

EPOCH = 1_795_000_000_000_000


def streamer(name: str = "alice", site: str = "site.example", **more: Any) -> Streamer:
    return Streamer(name=name, url=f"https://{site}/{name}", **more)


@dataclass
class Watcher:
    """A watch and its clock; keeps what it asked for."""

    rules: WatchRules = field(default_factory=lambda: WatchRules(interval=10.0, spacing=0.5))
    watch: WatchState = field(default_factory=WatchState)
    now: float = 1000.0
    wishes: list[tuple[float, wt.Wish]] = field(default_factory=list)

    @property
    def moment(self) -> Moment:
        return Moment(self.now, EPOCH + round(self.now * 1e6))

    def hear(self, kind: type[Any], **more: Any) -> list[wt.Wish]:
        """Step by one event of this kind."""
        self.watch, wishes = step(self.watch, kind(at=self.moment, **more))
        self.wishes += [(self.now, wish) for wish in wishes]
        return list(wishes)

    def configure(self, *streamers: Streamer, past: dict[str, wt.Past] | None = None) -> None:
        self.hear(wt.Configured, streamers={one.name: one for one in streamers}, rules=self.rules, past=past or {})

    def wait(self, *, until: float | None = None) -> list[wt.Wish]:
        """Let time pass to the next deadline."""
        deadline = next_deadline(self.watch)
        assert deadline is not None, "nothing is waited for"
        assert until is None or deadline <= until
        self.now = max(self.now, deadline)
        return self.hear(wt.Due)

    def answer(self, outcome: Outcome = Outcome.LIVE, name: str = "alice", **more: Any) -> list[wt.Wish]:
        probe = self.watch.streamers[name].probe
        return self.hear(wt.ProbeAnswered, name=name, probe=probe, sighting=Sighting(outcome=outcome, **more))

    def ask(self) -> None:
        """Let time pass until somebody is asked."""
        while not any(isinstance(wish, wt.Ask) for wish in self.wait()):
            pass

    def record(self, number: int = 7, name: str = "alice", **seen: Any) -> None:
        """It is live, and its recording begins."""
        self.ask()
        assert wt.Begin(name, Sighting(outcome=Outcome.LIVE, **seen)) in self.answer(name=name, **seen)
        self.hear(wt.RecordingBegan, name=name, recording=number)

    def over(self, ended: Ended = Ended.BROADCAST, number: int = 7, name: str = "alice") -> list[wt.Wish]:
        return self.hear(wt.RecordingOver, name=name, recording=number, ended=ended)

    def one(self, name: str = "alice") -> wt.Watched:
        return self.watch.streamers[name]


def begun(wishes: Iterable[wt.Wish]) -> bool:
    return any(isinstance(wish, wt.Begin) for wish in wishes)


@pytest.fixture(name="alice")
def _alice() -> Watcher:
    watcher = Watcher()
    watcher.configure(streamer())
    return watcher


def test_a_broadcast_from_offline_to_offline(alice: Watcher) -> None:
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    assert alice.one().mood is Mood.OFFLINE
    asked = alice.now
    alice.record()
    assert asked + 9 <= alice.now <= asked + 11
    assert (alice.one().mood, alice.one().recording) == (Mood.RECORDING, 7)
    alice.over()
    alice.ask()
    alice.answer(Outcome.ENDED)
    assert (alice.one().mood, alice.one().recording) == (Mood.OFFLINE, None)


def test_start_up_is_no_burst() -> None:
    watcher = Watcher()
    watcher.configure(*(streamer(f"s{number:03d}", f"site{number % 2}.example") for number in range(60)))
    assert watcher.wishes == []
    while len(watcher.wishes) < 60:
        for wish in watcher.wait():
            assert isinstance(wish, wt.Ask)
            watcher.answer(Outcome.OFFLINE, wish.name)
    times = [at for at, _ in watcher.wishes]
    assert times[-1] - times[0] >= 29 * 0.5 - 1e-6
    for site in ("site0.example", "site1.example"):
        mine = [at for at, wish in watcher.wishes if watcher.one(wish.name).streamer.site == site]
        assert all(later - earlier >= 0.5 - 1e-6 for earlier, later in pairwise(mine))


def test_only_so_many_are_asked_at_a_time() -> None:
    watcher = Watcher(WatchRules(spacing=0, pace=0, asked_max=3))
    watcher.configure(*(streamer(f"s{number}") for number in range(9)))
    watcher.wait()
    assert len(watcher.wishes) == 3
    watcher.answer(Outcome.OFFLINE, watcher.wishes[0][1].name)
    watcher.wait()
    assert len(watcher.wishes) == 4


def test_a_late_answer_does_nothing(alice: Watcher) -> None:
    alice.ask()
    alice.wait()  # the limit of the answer
    assert alice.one().mood is Mood.TROUBLE
    assert not begun(alice.answer())
    assert alice.one().mood is Mood.TROUBLE


def test_trouble_is_not_offline_and_is_asked_less_and_less_often(alice: Watcher) -> None:
    waits, told = [], 0
    for _ in range(10):
        alice.ask()
        asked = alice.now
        told += len(alice.answer(Outcome.TROUBLE, detail="no such host", trouble=wt.Trouble.NETWORK))
        assert (alice.one().mood, alice.one().trouble) == (Mood.TROUBLE, wt.Trouble.NETWORK)
        deadline = next_deadline(alice.watch)
        assert deadline is not None
        waits.append(deadline - asked)
    assert waits == sorted(waits)
    assert waits[-1] <= BACKOFF_MAX * 1.1
    assert told == 1
    alice.ask()
    assert alice.answer(Outcome.OFFLINE) == [wt.Tell("alice", wt.Remark.WELL)]


def test_trouble_ends_with_the_network_back(alice: Watcher) -> None:
    for _ in range(6):
        alice.ask()
        alice.answer(Outcome.TROUBLE)
    alice.hear(wt.NetworkReturned)
    deadline = next_deadline(alice.watch)
    assert deadline is not None
    assert deadline <= alice.now + alice.rules.spacing


def test_a_probe_that_is_wanted_is_asked_at_once(alice: Watcher) -> None:
    alice.ask()
    alice.answer(Outcome.UNSUPPORTED)
    assert next_deadline(alice.watch) == alice.now + UNSUPPORTED_WAIT
    assert alice.hear(wt.ProbeWanted, name="alice") == [wt.Ask("alice", 2)]
    assert alice.hear(wt.ProbeWanted, name="alice") == []
    alice.answer(Outcome.OFFLINE)
    assert alice.one().mood is Mood.OFFLINE


def test_what_ends_and_stands_still_is_not_recorded_again(alice: Watcher) -> None:
    alice.record(mark="9")
    alice.over()
    for _ in range(20):
        alice.ask()
        assert not begun(alice.answer(mark="15"))
    assert alice.one().detail == "its playlist does not advance"
    alice.ask()
    assert begun(alice.answer(mark="16"))


def test_what_goes_on_after_the_grace_period_is_recorded_again(alice: Watcher) -> None:
    """A dedupe key never blocks a resume: the same identity, again on air."""
    alice.record(mark="9", site_id="b1")
    ended = alice.now = alice.now + 100
    alice.over()
    alice.ask()
    assert alice.now >= ended + QUIET
    assert not begun(alice.answer(mark="15", site_id="b1"))
    alice.ask()
    assert begun(alice.answer(mark="17", site_id="b1"))
    assert alice.now <= ended + QUIET + 2 * LOOK_AGAIN


def test_another_broadcast_right_after_the_end_is_recorded_at_once(alice: Watcher) -> None:
    alice.record(mark="9", site_id="b1")
    alice.over()
    alice.hear(wt.ProbeWanted, name="alice")
    assert begun(alice.answer(mark="9", site_id="b2"))


def test_live_right_after_the_end_is_ignored(alice: Watcher) -> None:
    alice.record()
    alice.over()
    alice.hear(wt.ProbeWanted, name="alice")
    assert not begun(alice.answer())
    alice.ask()
    assert begun(alice.answer())


def test_after_it_was_seen_off_air_it_is_recorded_at_once(alice: Watcher) -> None:
    alice.record(mark="9")
    alice.over()
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    alice.ask()
    assert begun(alice.answer(mark="1"))


@pytest.mark.parametrize("ended", [Ended.REQUESTED, Ended.DURATION])
def test_what_was_stopped_is_not_begun_again_before_the_next_broadcast(alice: Watcher, ended: Ended) -> None:
    alice.record(mark="1")
    alice.over(ended)
    for mark in range(10):
        alice.ask()
        assert not begun(alice.answer(mark=str(mark)))
    assert alice.one().mood is Mood.LIVE
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    alice.ask()
    assert begun(alice.answer())


def test_what_was_stopped_holds_for_that_identity_alone(alice: Watcher) -> None:
    alice.record(site_id="b1")
    alice.over(Ended.REQUESTED)
    alice.ask()
    assert not begun(alice.answer(site_id="b1"))
    alice.ask()
    assert begun(alice.answer(site_id="b2"))


def test_another_identity_ends_the_recording_and_begins_the_next(alice: Watcher) -> None:
    alice.record(site_id="b1", title="one")
    alice.ask()
    assert alice.answer(site_id="b2", title="two") == [wt.EndBroadcast("alice", 7, "another broadcast has begun")]
    alice.over(Ended.CHANGED)
    assert alice.wait(until=alice.now + 1) == [wt.Ask("alice", 3)]
    assert begun(alice.answer(site_id="b2"))


def test_a_changed_title_is_noted_once(alice: Watcher) -> None:
    alice.record(site_id="b1", title="one", category="chess")
    alice.ask()
    assert alice.answer(site_id="b1", title="two", category="chess") == [wt.NoteChange("alice", 7, "two", "chess")]
    alice.ask()
    assert alice.answer(site_id="b1", title="two", category="chess") == []


def test_a_source_without_details_is_not_asked_while_it_is_recorded(alice: Watcher) -> None:
    alice.record()
    alice.ask()
    alice.answer()
    assert next_deadline(alice.watch) is None


def test_a_recording_that_fails_is_tried_less_and_less_often(alice: Watcher) -> None:
    waits = []
    for number in range(8):
        alice.ask()
        wishes = alice.answer(site_id="b1", title="one")
        assert [type(wish) for wish in wishes] == ([wt.Tell, wt.Begin] if number == 0 else [wt.Begin])
        alice.hear(wt.RecordingBegan, name="alice", recording=number)
        alice.over(Ended.FAILED, number)
        waits.append((next_deadline(alice.watch) or 0) - alice.now)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert alice.one().mood is Mood.TROUBLE
    alice.ask()
    assert [type(wish) for wish in alice.answer(site_id="b2")] == [wt.Tell, wt.Begin]


def test_a_refused_recording_is_told_once_and_tried_again_soon(alice: Watcher) -> None:
    told: list[wt.Wish] = []
    for _ in range(2 * TOLD_FAILURES):
        alice.ask()
        asked = alice.now
        assert begun(alice.answer())
        told += alice.hear(wt.RecordingRefused, name="alice", why="no room")
        assert (next_deadline(alice.watch) or 0) - asked == 10
    assert told == [wt.Tell("alice", wt.Remark.UNRECORDED, "no room")]
    assert alice.one().detail == "no room"
    assert [wish.remark for _, wish in alice.wishes if isinstance(wish, wt.Tell)].count(wt.Remark.LIVE) == 1


def test_a_recording_of_which_nothing_is_heard_is_asked_for_anew(alice: Watcher) -> None:
    alice.ask()
    alice.answer()
    alice.wait()
    alice.ask() if not alice.one().asked_at else None
    assert begun(alice.answer())


def test_somebody_elses_recording_counts(alice: Watcher) -> None:
    alice.hear(wt.RecordingBegan, name="alice", recording=3)
    alice.ask()
    assert not begun(alice.answer(site_id="b1", title="x"))
    assert (alice.one().mood, alice.one().site_id) == (Mood.RECORDING, "b1")


def test_a_recording_of_another_source_is_left_alone(alice: Watcher) -> None:
    alice.hear(wt.RecordingBegan, name="alice", recording=3, foreign=True)
    assert next_deadline(alice.watch) is None
    alice.over(number=3)
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    alice.record()


def test_what_is_seen_of_a_streamer_says_nothing_of_a_recording_of_another_source(alice: Watcher) -> None:
    alice.hear(wt.RecordingBegan, name="alice", recording=3, foreign=True)
    for identity in ("b1", "b2"):
        seen = Sighting(outcome=Outcome.LIVE, site_id=identity, title=identity)
        assert alice.hear(wt.Sighted, name="alice", sighting=seen) == []
        alice.hear(wt.Hinted, name="alice")
        alice.hear(wt.ProbeWanted, name="alice")
        assert alice.answer(site_id=identity, title=identity) == []
    assert next_deadline(alice.watch) is None
    alice.over(number=3)
    alice.record(site_id="b2")


def test_a_hint_makes_a_streamer_the_next_to_be_asked() -> None:
    watcher = Watcher()
    watcher.configure(*(streamer(f"s{number}") for number in range(9)))
    asked = watcher.wait()
    assert asked == [wt.Ask("s0", 1)]
    watcher.hear(wt.Hinted, name="s8")
    began = watcher.now
    assert watcher.wait() == [wt.Ask("s8", 1)]
    assert watcher.now == pytest.approx(began + watcher.rules.spacing)


def test_a_hint_ends_the_wait_after_trouble_and_begins_nothing_by_itself(alice: Watcher) -> None:
    for _ in range(6):
        alice.ask()
        alice.answer(Outcome.TROUBLE)
    assert alice.hear(wt.Hinted, name="alice") == []
    began = alice.now
    alice.ask()
    assert alice.now <= began + alice.rules.spacing
    alice.answer(Outcome.OFFLINE)
    assert alice.one().mood is Mood.OFFLINE


def test_a_hint_about_a_recorded_broadcast_tells_its_title_at_once(alice: Watcher) -> None:
    alice.record(site_id="b1", title="one")
    alice.hear(wt.Hinted, name="alice")
    began = alice.now
    alice.ask()
    assert alice.now <= began + alice.rules.spacing
    assert alice.answer(site_id="b1", title="two") == [wt.NoteChange("alice", 7, "two", "")]


def test_a_hint_changes_nothing_where_nobody_is_to_be_asked(alice: Watcher) -> None:
    alice.ask()
    before = alice.one()
    alice.hear(wt.Hinted, name="alice")
    assert alice.one() == before
    assert begun(alice.answer())
    alice.hear(wt.Hinted, name="alice")
    assert alice.one().mood is Mood.STARTING
    alice.configure(streamer(enabled=False))
    alice.hear(wt.Hinted, name="alice")
    assert next_deadline(alice.watch) is None
    alice.hear(wt.Hinted, name="nobody")


def test_filters_leave_out_and_let_in() -> None:
    watcher = Watcher()
    watcher.configure(streamer(filters=Filters(title_include="run")))
    watcher.ask()
    assert watcher.answer(title="talk") == [
        wt.Tell("alice", wt.Remark.LEFT_OUT, "its title does not match title_include")
    ]
    watcher.ask()
    assert watcher.answer(title="talk") == []
    watcher.ask()
    assert begun(watcher.answer(title="a run"))


def test_details_that_are_missing_once_are_no_change() -> None:
    """A site that does not tell them this time has not changed them, and may tell of another broadcast later."""
    watcher = Watcher()
    watcher.configure(streamer(filters=Filters(category_include="chess", stop_on_change=True)), streamer("bob"))
    for name, number in (("alice", 7), ("bob", 8)):
        watcher.record(number, name, category="chess", title="one", site_id="b1")
    for name in ("alice", "bob"):
        watcher.ask()
        assert watcher.answer(name=name) == []
        watcher.ask()
        assert watcher.answer(name=name, category="chess", title="one", site_id="b1") == []
        watcher.ask()
        assert [type(wish) for wish in watcher.answer(name=name, site_id="b2")] == [wt.EndBroadcast]


def test_who_asks_while_a_recording_is_begun_begins_no_second_one(alice: Watcher) -> None:
    alice.ask()
    assert begun(alice.answer(site_id="b1"))
    alice.hear(wt.ProbeWanted, name="alice")
    assert alice.answer(site_id="b1") == []
    assert alice.one().mood is Mood.STARTING


def test_stop_on_change() -> None:
    watcher = Watcher()
    watcher.configure(streamer(filters=Filters(category_include="chess", stop_on_change=True)))
    watcher.record(category="chess", site_id="b1")
    watcher.ask()
    assert watcher.answer(category="talk", site_id="b1")[-1] == wt.EndBroadcast(
        "alice", 7, "its category does not match category_include", unwanted=True
    )
    watcher.over(Ended.CHANGED)
    watcher.ask()
    assert not begun(watcher.answer(category="talk", site_id="b1"))
    watcher.ask()
    watcher.answer(category="chess", site_id="b1", mark="1")
    watcher.ask()
    assert begun(watcher.answer(category="chess", site_id="b1", mark="2"))


def test_around_usual_times_it_is_asked_twice_as_often() -> None:
    watcher = Watcher()
    now = minute_of_day(watcher.moment.realtime)
    watcher.configure(streamer(), past={"alice": wt.Past(usual=(now - 10, now + 5, now + 600))})
    watcher.ask()
    watcher.answer(Outcome.OFFLINE)
    assert next_deadline(watcher.watch) == watcher.now + 5.0


def test_a_new_daemon_goes_on_with_what_the_store_knows() -> None:
    watcher = Watcher()
    watcher.configure(
        streamer("runs"), streamer("stopped"), streamer("long-ago"),
        past={
            "runs": wt.Past(recording=5, site_id="r"),
            "stopped": wt.Past(ended=Ended.REQUESTED, ago=3.0),
            "long-ago": wt.Past(ended=Ended.REQUESTED, ago=5000.0),
        },
    )  # fmt: skip
    assert watcher.one("runs").mood is Mood.RECORDING
    asked: list[str] = []
    while len(asked) < 3:
        for wish in watcher.wait():
            if isinstance(wish, wt.Ask):
                asked.append(wish.name)
                watcher.answer(name=wish.name, site_id="r" if wish.name == "runs" else "")
    assert [wish.name for _, wish in watcher.wishes if isinstance(wish, wt.Begin)] == ["long-ago"]


def test_disabled_and_enabled(alice: Watcher) -> None:
    alice.configure(streamer(enabled=False))
    assert next_deadline(alice.watch) is None
    assert alice.one().mood is Mood.DISABLED
    alice.hear(wt.ProbeWanted, name="alice")
    assert not begun(alice.answer())
    assert alice.one().mood is Mood.DISABLED
    alice.configure(streamer())
    alice.record()
    alice.configure(streamer(enabled=False))
    assert (alice.one().mood, alice.one().recording) == (Mood.DISABLED, 7)
    alice.over()
    assert next_deadline(alice.watch) is None
    alice.configure()
    assert alice.hear(wt.ProbeWanted, name="alice") == []


def test_a_changed_url_is_another_source(alice: Watcher) -> None:
    alice.record(site_id="b1")
    alice.over(Ended.REQUESTED)
    alice.configure(Streamer(name="alice", url="https://elsewhere.example/"))
    alice.ask()
    assert begun(alice.answer())
