# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's invariants (docs/design/007-watching.md) in any story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.core.model import Moment
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching import model as wt
from streamvaultd.core.watching.machine import next_deadline, step
from streamvaultd.core.watching.model import Ended, Mood, Sighting, WatchRules, WatchState
from streamvaultd.core.watching.streamer import Filters, Streamer

RULES = WatchRules(interval=10.0, spacing=0.5, pace=0.05, asked_max=3)
NAMES = ("a", "b", "c", "d", "e")
EPOCH = 1_795_000_000_000_000


def streamers(enabled: set[str]) -> dict[str, Streamer]:
    return {
        name: Streamer(
            name=name, url=f"https://site{at % 2}.example/{name}", enabled=name in enabled,
            filters=Filters(title_exclude="no", stop_on_change=at == 2),
        )
        for at, name in enumerate(NAMES)
    }  # fmt: skip


@dataclass
class Story:
    """A watch, an account of what it asked for, and a world that may do as it asks."""

    watch: WatchState = field(default_factory=WatchState)
    now: float = 100.0
    asked_at: dict[str, float] = field(default_factory=dict)
    wanted: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    running: dict[str, int] = field(default_factory=dict)
    recordings: int = 0
    trouble_alone: bool = False

    def hear(self, kind: type[Any], chance: float = 0.5, **more: Any) -> None:
        before = self.watch
        event = kind(at=Moment(self.now, EPOCH + round(self.now * 1e6)), chance=chance, **more)
        self.watch, wishes = step(before, event)
        for wish in wishes:
            self.check(event, wish)
        self.check_state()

    def check(self, event: wt.Happening, wish: wt.Wish) -> None:
        match wish:
            case wt.Ask(name, probe):
                site = self.watch.streamers[name].streamer.site
                if not isinstance(event, wt.ProbeWanted):  # W2
                    assert self.now - self.asked_at.get(site, -1e9) >= RULES.spacing - 1e-9
                    under_way = sum(one.asked_at is not None for one in self.watch.streamers.values())
                    assert under_way <= RULES.asked_max
                self.asked_at[site] = self.now
                self.asked.append((name, probe))
            case wt.Begin(name, sighting):
                assert name not in self.begun, "W1: asked for twice"
                assert name not in self.running, "W1: it is recorded already"
                assert sighting.outcome is Outcome.LIVE, "W4"
                assert self.watch.streamers[name].streamer.enabled
                self.begun.add(name)
            case wt.EndBroadcast(name, recording):
                assert self.running[name] == recording
                sighting = event.sighting  # type: ignore[union-attr]
                assert sighting.outcome is Outcome.LIVE, "W4"
            case _:
                pass

    def check_state(self) -> None:
        deadline = next_deadline(self.watch)
        for one in self.watch.streamers.values():
            if one.mood is Mood.DISABLED:
                assert one.probe_at is None
            elif one.recording is None:
                assert one.probe_at is not None or one.asked_at is not None or one.mood is Mood.STARTING
                assert deadline is not None, "nobody would ever look again"

    # --- what the world does

    def due(self, _name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        deadline = next_deadline(self.watch)
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.forget_lost_starts()
            self.hear(wt.Due, chance)
            again = next_deadline(self.watch)
            assert (
                again is None
                or again > self.now
                or any(one.asked_at is not None for one in self.watch.streamers.values())
            ), "it would turn for ever"

    def forget_lost_starts(self) -> None:
        """A start of which nothing is heard for long is asked for anew: the store would refuse the second one."""
        for name in list(self.begun):
            one = self.watch.streamers[name]
            if one.mood is not Mood.STARTING or self.now - one.since.monotonic >= 60.0:
                self.begun.discard(name)

    def answer(self, name: str, chance: float, seen: Sighting, _ended: Ended) -> None:
        probes = [probe for asked, probe in self.asked if asked == name]
        if probes:
            self.hear(wt.ProbeAnswered, chance, name=name, probe=probes[int(chance * len(probes)) - 1], sighting=seen)

    def latest(self, name: str, chance: float, seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.ProbeAnswered, chance, name=name, probe=self.watch.streamers[name].probe, sighting=seen)

    def push(self, name: str, chance: float, seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.Sighted, chance, name=name, sighting=seen)

    def hint(self, name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.Hinted, chance, name=name)

    def want(self, name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.ProbeWanted, chance, name=name)

    def start(self, name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        """What was asked for begins, or somebody else begins one."""
        if name not in self.running:
            self.recordings += 1
            self.running[name] = self.recordings
            self.begun.discard(name)
            self.hear(wt.RecordingBegan, chance, name=name, recording=self.recordings)

    def refuse(self, name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        if name in self.begun:
            self.begun.discard(name)
            self.hear(wt.RecordingRefused, chance, name=name, why="no room")

    def end(self, name: str, chance: float, _seen: Sighting, ended: Ended) -> None:
        if name in self.running:
            self.hear(wt.RecordingOver, chance, name=name, recording=self.running.pop(name), ended=ended)

    def disable(self, name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        self.begun.discard(name)
        self.hear(wt.Configured, chance, streamers=streamers(set(NAMES) - {name}), rules=RULES)

    def enable(self, _name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.Configured, chance, streamers=streamers(set(NAMES)), rules=RULES)

    def network(self, _name: str, chance: float, _seen: Sighting, _ended: Ended) -> None:
        self.hear(wt.NetworkReturned, chance)


ACTIONS: dict[str, Callable[[Story, str, float, Sighting, Ended], None]] = {
    name: getattr(Story, name)
    for name in (
        "due",
        "answer",
        "latest",
        "push",
        "hint",
        "want",
        "start",
        "refuse",
        "end",
        "disable",
        "enable",
        "network",
    )
}
SIGHTING = st.builds(
    Sighting, outcome=st.sampled_from(Outcome), site_id=st.sampled_from(["", "b1", "b2"]),
    title=st.sampled_from(["", "yes", "no"]), mark=st.sampled_from(["", "m1", "m2"]),
)  # fmt: skip
STEP = st.tuples(
    st.sampled_from(["due", "due", "latest", "latest", *sorted(ACTIONS)]), st.sampled_from(NAMES), st.floats(0, 1),
    SIGHTING, st.sampled_from(Ended), st.sampled_from([0.0, 0.1, 3.0, 20.0]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
@given(st.lists(STEP, max_size=40))
def test_any_story_keeps_the_invariants(steps: list[tuple[str, str, float, Sighting, Ended, float]]) -> None:
    story = Story()
    story.enable("", 0.5, Sighting(outcome=Outcome.OFFLINE), Ended.BROADCAST)
    for action, name, chance, seen, ended, wait in steps:
        story.now += wait
        story.forget_lost_starts()
        ACTIONS[action](story, name, chance, seen, ended)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(st.lists(STEP, max_size=25))
def test_after_any_story_a_new_broadcast_is_recorded(
    steps: list[tuple[str, str, float, Sighting, Ended, float]],
) -> None:
    """W5: whatever happened before, who goes off air and on air again is recorded within an interval or two."""
    story = Story()
    story.enable("", 0.5, Sighting(outcome=Outcome.OFFLINE), Ended.BROADCAST)
    for action, name, chance, seen, ended, wait in steps:
        story.now += wait
        story.forget_lost_starts()
        ACTIONS[action](story, name, chance, seen, ended)
    story.enable("", 0.5, Sighting(outcome=Outcome.OFFLINE), Ended.BROADCAST)
    off, live = Sighting(outcome=Outcome.OFFLINE), Sighting(outcome=Outcome.LIVE, site_id="new", title="yes")
    for seen in (off, live):
        for name in NAMES:
            story.want(name, 0.5, seen, Ended.BROADCAST)
        for _ in range(20):
            for name in NAMES:
                story.end(name, 0.5, seen, Ended.BROADCAST) if seen is off else None
            story.due("", 0.5, seen, Ended.BROADCAST)
            for name in NAMES:
                if story.watch.streamers[name].asked_at is not None:
                    story.latest(name, 0.5, seen, Ended.BROADCAST)
                if seen is off and name in story.begun:
                    story.refuse(name, 0.5, seen, Ended.BROADCAST)
                if seen is live and name in story.begun:
                    story.start(name, 0.5, seen, Ended.BROADCAST)
    assert set(story.running) == set(NAMES)
