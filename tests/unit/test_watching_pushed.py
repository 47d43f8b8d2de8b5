# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learnt of streamers without asking each: that it counts, and for how much."""

from __future__ import annotations

import pytest

from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching import model as wt
from streamvaultd.core.watching.answers import QUIET
from streamvaultd.core.watching.machine import next_deadline
from streamvaultd.core.watching.model import Ended, Mood, Remark, Sighting, WatchRules
from streamvaultd.core.watching.streamer import Filters
from tests.unit.test_watching import Watcher, begun, streamer


@pytest.fixture(name="alice")
def _alice() -> Watcher:
    watcher = Watcher()
    watcher.configure(streamer())
    return watcher


def test_what_is_pushed_need_not_be_asked_for(alice: Watcher) -> None:
    alice.rules = WatchRules(interval=10.0, spacing=0)
    for _ in range(5):
        alice.hear(wt.Sighted, name="alice", sighting=Sighting(outcome=Outcome.OFFLINE))
        deadline = next_deadline(alice.watch)
        assert deadline is not None
        assert deadline > alice.now + 12
        alice.now += 10
    seen = Sighting(outcome=Outcome.LIVE, site_id="b1", title="one")
    assert begun(alice.hear(wt.Sighted, name="alice", sighting=seen))
    assert not begun(alice.hear(wt.Sighted, name="alice", sighting=seen))


def test_what_is_listed_after_its_end_is_asked_for_before_it_is_recorded(alice: Watcher) -> None:
    """Twitch lists a broadcast for minutes after its end."""
    alice.record(site_id="b1")
    alice.over()
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    listed = Sighting(outcome=Outcome.LIVE, site_id="b1")
    for _ in range(3):
        alice.now += 10
        assert alice.hear(wt.Sighted, name="alice", sighting=listed) == []
        assert (next_deadline(alice.watch) or 0) <= alice.now
        alice.ask()
        assert not begun(alice.answer(Outcome.OFFLINE))
        assert alice.one().failures == 0
    alice.hear(wt.Sighted, name="alice", sighting=listed)
    alice.ask()
    assert begun(alice.answer(site_id="b1"))  # it goes on


def test_what_is_listed_again_is_recorded_if_its_source_cannot_tell(alice: Watcher) -> None:
    alice.record(site_id="b1")
    alice.over()
    alice.ask()
    alice.answer(Outcome.TROUBLE)
    assert begun(alice.hear(wt.Sighted, name="alice", sighting=Sighting(outcome=Outcome.LIVE, site_id="b1")))


def test_another_broadcast_that_is_listed_is_recorded_at_once(alice: Watcher) -> None:
    alice.record(site_id="b1")
    alice.over()
    alice.now += QUIET
    assert begun(alice.hear(wt.Sighted, name="alice", sighting=Sighting(outcome=Outcome.LIVE, site_id="b2")))


def test_when_nothing_is_pushed_any_more_it_is_asked(alice: Watcher) -> None:
    alice.hear(wt.Sighted, name="alice", sighting=Sighting(outcome=Outcome.OFFLINE))
    alice.ask()
    assert begun(alice.answer())


def test_pushed_identities_and_titles_count_while_it_is_recorded(alice: Watcher) -> None:
    alice.record(site_id="b1", title="one")
    seen = Sighting(outcome=Outcome.LIVE, site_id="b1", title="two")
    assert alice.hear(wt.Sighted, name="alice", sighting=seen) == [wt.NoteChange("alice", 7, "two", "")]
    seen = Sighting(outcome=Outcome.LIVE, site_id="b2")
    assert alice.hear(wt.Sighted, name="alice", sighting=seen) == [
        wt.EndBroadcast("alice", 7, "another broadcast has begun")
    ]


def test_what_could_not_be_recorded_is_not_tried_at_each_push(alice: Watcher) -> None:
    seen = Sighting(outcome=Outcome.LIVE, site_id="b1")
    alice.ask()
    alice.answer(Outcome.OFFLINE)
    assert begun(alice.hear(wt.Sighted, name="alice", sighting=seen))
    for number in range(3):
        alice.hear(wt.RecordingBegan, name="alice", recording=number)
        alice.over(Ended.FAILED, number)
        assert alice.hear(wt.Sighted, name="alice", sighting=seen) == []
        alice.ask()
        assert begun(alice.answer(site_id="b1"))
    alice.hear(wt.RecordingRefused, name="alice", why="no room")
    assert begun(alice.hear(wt.Sighted, name="alice", sighting=Sighting(outcome=Outcome.LIVE, site_id="b2")))


# --- tags, which only the interface tells ---------------------------------------------------------------------------

NO_RERUNS = "one of its tags matches tags_exclude"


@pytest.fixture(name="carol")
def _carol() -> Watcher:
    watcher = Watcher()
    watcher.configure(streamer("carol", filters=Filters(tags_exclude="^rerun$")))
    return watcher


def tagged(watcher: Watcher, *tags: str, site_id: str = "b1") -> list[wt.Wish]:
    seen = Sighting(outcome=Outcome.LIVE, site_id=site_id, tags=tags)
    return watcher.hear(wt.Sighted, name="carol", sighting=seen)


def test_a_rerun_is_left_out_and_told_once(carol: Watcher) -> None:
    assert tagged(carol, "English", "RERUN") == [wt.Tell("carol", Remark.LEFT_OUT, NO_RERUNS)]
    assert (carol.one("carol").mood, carol.one("carol").detail) == (Mood.LIVE, NO_RERUNS)
    assert tagged(carol, "English", "RERUN") == []
    carol.hear(wt.ProbeWanted, name="carol")
    assert not begun(carol.answer(name="carol", site_id="b1"))  # the source does not tell tags
    assert begun(tagged(carol, "English", "reruns"))


def test_another_broadcast_has_tags_of_its_own(carol: Watcher) -> None:
    tagged(carol, "Rerun")
    carol.hear(wt.ProbeWanted, name="carol")
    assert begun(carol.answer(name="carol", site_id="b2"))


def test_tags_are_of_one_broadcast_where_the_site_names_none(carol: Watcher) -> None:
    tagged(carol, "Rerun", site_id="")
    carol.ask()
    assert not begun(carol.answer(name="carol"))
    carol.ask()
    carol.answer(Outcome.OFFLINE, name="carol")
    carol.ask()
    assert begun(carol.answer(name="carol"))


def test_a_recording_ends_when_its_tags_become_known(carol: Watcher) -> None:
    carol.record(name="carol", site_id="b1")
    assert tagged(carol, "Rerun") == [wt.EndBroadcast("carol", 7, NO_RERUNS, unwanted=True)]
    carol.over(Ended.CHANGED, name="carol")
    carol.ask()
    assert not begun(carol.answer(name="carol", site_id="b1"))
    tagged(carol, "English")  # it was recorded last, so its source is asked
    carol.now += QUIET
    carol.ask()
    assert begun(carol.answer(name="carol", site_id="b1"))


def test_a_recording_does_not_end_because_its_tags_change(carol: Watcher) -> None:
    assert begun(tagged(carol, "English"))
    carol.hear(wt.RecordingBegan, name="carol", recording=7)
    assert tagged(carol, "Rerun") == []


def test_a_recording_that_a_new_daemon_finds_does_not_end_for_its_tags(carol: Watcher) -> None:
    carol.hear(wt.RecordingBegan, name="carol", recording=7)
    assert [wish for wish in tagged(carol, "Rerun") if isinstance(wish, wt.EndBroadcast)] == []


def test_stop_on_change_goes_by_tags_too() -> None:
    watcher = Watcher()
    watcher.configure(streamer("carol", filters=Filters(tags_include="chess", stop_on_change=True)))
    assert begun(tagged(watcher, "Chess", "English"))
    watcher.hear(wt.RecordingBegan, name="carol", recording=7)
    assert watcher.hear(wt.Sighted, name="carol", sighting=Sighting(outcome=Outcome.LIVE, site_id="b1")) == []
    why = "none of its tags matches tags_include"
    assert tagged(watcher, "English") == [wt.EndBroadcast("carol", 7, why, unwanted=True)]
