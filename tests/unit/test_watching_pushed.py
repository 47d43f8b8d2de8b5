# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learnt of streamers without asking each: that it counts, and for how much."""

from __future__ import annotations

import pytest

from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching import model as wt
from streamvaultd.core.watching.answers import QUIET
from streamvaultd.core.watching.machine import next_deadline
from streamvaultd.core.watching.model import Ended, Sighting, WatchRules
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
