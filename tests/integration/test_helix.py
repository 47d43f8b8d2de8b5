# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch at scale, on a real systemd: its interface, its events, and whatever may be wrong with either."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.component.test_chapters import chapters, pictures
from tests.fakes.livesource import LiveSource
from tests.fakes.media import FPS
from tests.integration.harness import SETTINGS, Ctl, configure, scopes
from tests.integration.test_watch import Watched, pass_segments, seen_by_others
from tests.integration.twitch import Twitch
from tests.testbed.box import Box

INTERVAL = 5.0
WATCH = """
[watch]
interval = "{interval:g}s"
spacing = "50ms"
[network]
allow = ["127.0.0.1"]
"""
"""The site that stands in for Twitch is on this host, which the channels' URLs do not say."""
CHANNELS = 205
BATCH = 100
LIVE = 6
LONG = 600.0
TYPES = ("stream.online", "channel.update", "stream.offline")


@pytest.fixture(scope="module", name="twitch")
def _twitch(box: Box, source: LiveSource) -> Iterator[Twitch]:
    with Twitch(box, source) as found:
        found.install()
        yield found


def begin(box: Box, twitch: Twitch, names: list[str], interval: float = INTERVAL) -> list[Watched]:
    """Watch these channels, with a new daemon; until it is known of each that it is off air."""
    many = [Watched(box, twitch.source, name) for name in names]
    twitch.watch(names)
    configure(box, SETTINGS + WATCH.format(interval=interval))
    box.run(["systemctl", "restart", "streamvaultd"])
    box.wait_for(lambda: set(states(box).values()) == {"offline"}, "all are seen to be off air", timeout=120)
    return many


def states(box: Box) -> dict[str, str]:
    return {each["name"]: each["runtime"]["state"] for each in Ctl(box).json("streamers")}


def rounds(twitch: Twitch) -> int:
    """Requests about streams so far."""
    return len(twitch.helix.asked_at)


@pytest.mark.timeout(1500)
def test_two_hundred_channels_of_whom_six_go_live(box: Box, source: LiveSource, twitch: Twitch) -> None:
    """Three requests an interval for 205 channels; nobody else is looked at; titles become events."""
    many = begin(box, twitch, [f"channel{number:03d}" for number in range(CHANNELS)])
    batches = math.ceil(CHANNELS / BATCH)
    wait_until_nobody_is_looked_at(box, twitch, 2 * batches)
    first = rounds(twitch)
    box.wait_for(lambda: rounds(twitch) >= first + 6 * batches, "six rounds or so", timeout=90)
    per_minute = requests_per_minute(twitch.helix.asked_at[first:])
    # a request of a host that is busy comes late
    assert 0.2 * batches * 60 / INTERVAL <= per_minute <= 1.2 * batches * 60 / INTERVAL
    assert {len(logins) for logins in twitch.helix.requests} == {BATCH, CHANNELS % BATCH}
    assert twitch.site.looked_at == []

    dice = random.Random(6)  # noqa: S311 - no secret
    live = {each: twitch.go_live(each.name, f"b-{each.name}") for each in dice.sample(many, LIVE)}
    for each in live:
        each.wait("recording")
    assert set(twitch.site.looked_at) <= {each.name for each in live}
    renamed = next(iter(live))
    twitch.tell(renamed.name, f"b-{renamed.name}", "Another title", "Go")
    assert title_events(box, renamed) == ["Another title"]
    for each, broadcast in live.items():
        pass_segments(box, broadcast, 1)
        twitch.end(each.name)
    for each, broadcast in live.items():
        each.wait_completed(1)
        each.lose_nothing(each.recordings()[0], broadcast)
    recorded = [each["context"]["streamer"] for each in Ctl(box).json("list", "--all")]
    assert sorted(recorded) == sorted(each.name for each in live)
    Ctl(box)("check")


def wait_until_nobody_is_looked_at(box: Box, twitch: Twitch, requests: int) -> None:
    """At the start some are looked at before the interface has answered, and such a look may take long: until so many
    requests in a row went by without one.
    """
    begun = rounds(twitch)

    def is_quiet() -> bool:
        nonlocal begun
        if twitch.site.looked_at:
            twitch.site.looked_at.clear()
            begun = rounds(twitch)
        return rounds(twitch) >= begun + requests

    box.wait_for(is_quiet, "the interface alone is asked", timeout=120)


def requests_per_minute(asked: list[float]) -> float:
    """Over all rounds that are whole."""
    begun = [number for number, (one, next_one) in enumerate(pairwise(asked), 1) if next_one - one > INTERVAL / 2]
    found = 60 * (begun[-1] - begun[0]) / (asked[begun[-1]] - asked[begun[0]])
    print(f"{found:.1f} requests a minute")
    return found


def title_events(box: Box, each: Watched) -> list[str]:
    """The titles that were noted of the recording that runs, once there are any."""

    def noted() -> list[str]:
        found = Ctl(box).json("events", each.name, "--kind", "stream-changed")
        return [event["message"].split("'")[1] for event in found]

    return box.wait_for(noted, "the title is noted", timeout=30)


@pytest.mark.timeout(1500)
def test_an_interface_that_fails_hurts_nobody_and_is_used_again(box: Box, source: LiveSource, twitch: Twitch) -> None:
    """In each of its ways to fail a broadcast begins, and is seen by looking at the channel itself."""
    names = [f"failing{number}" for number in range(8)]
    many = begin(box, twitch, names)
    other = Watched(box, source, "elsewhere")
    other.add()
    broadcast = source.go_live("elsewhere")
    other.wait("recording")
    twitch.helix.reset_after = INTERVAL
    for each, fault in zip(many, ("401", "429", "500", "truncated", "timeout", "refused"), strict=False):
        first, tokens = rounds(twitch), twitch.helix.tokens
        fail(box, twitch, fault)
        live = twitch.go_live(each.name, f"b-{fault}")
        each.wait("recording")
        assert each.name in twitch.site.looked_at
        assert states(box)["elsewhere"] == "recording"
        if fault == "401":
            assert twitch.helix.tokens > tokens
        answered = twitch.helix.answered
        recover(twitch, fault)
        box.wait_for(lambda before=answered: twitch.helix.answered > before + 1, "it is used again", timeout=60)  # type: ignore[misc]
        if fault == "429":
            gaps = [later - earlier for earlier, later in pairwise(twitch.helix.asked_at[first:])]
            assert max(gaps) >= INTERVAL - 1.0
        twitch.end(each.name)
        each.wait_completed(1)
        each.lose_nothing(each.recordings()[0], live)
    assert states(box)["elsewhere"] == "recording"
    source.control("elsewhere", end=True)
    other.wait_completed(1)
    other.lose_nothing(other.recordings()[0], broadcast)
    other.ctl("remove", "elsewhere")


def fail(box: Box, twitch: Twitch, fault: str) -> None:
    """The interface fails, and the daemon has seen it."""
    first, started = rounds(twitch), time.monotonic()
    if fault == "refused":
        twitch.helix.refuse()
        box.wait_for(lambda: time.monotonic() > started + 2 * INTERVAL, "a round or two", timeout=30)
    else:
        twitch.helix.fault = fault
        box.wait_for(lambda: rounds(twitch) > first, "a request fails", timeout=60)


def recover(twitch: Twitch, fault: str) -> None:
    twitch.helix.fault = ""
    if fault == "refused":
        twitch.helix.serve()


@pytest.mark.timeout(1500)
def test_events_hasten_the_next_look(box: Box, source: LiveSource, twitch: Twitch) -> None:
    """Asked every ten minutes only, and told by Twitch, a broadcast is recorded within seconds; and so is the next
    one when the probe's process, which listens, was killed meanwhile. No secret is seen.
    """
    twitch.install(user=True)
    (alice, bob) = begin(box, twitch, ["alice", "bob"], LONG)
    wanted = {
        (kind, name) for kind in ("stream.online", "stream.offline", "channel.update") for name in ("alice", "bob")
    }
    box.wait_for(lambda: twitch.events.held == wanted, "they are subscribed to", timeout=60)
    assert twitch.helix.user_tokens == 1
    first = twitch.go_live("alice", "b1", listed=False)
    asked, began = rounds(twitch), time.monotonic()
    twitch.events.notify("stream.online", "alice")
    alice.wait("recording")
    print(f"recorded {time.monotonic() - began:.1f} s after the event")
    assert rounds(twitch) == asked
    twitch.tell("alice", "b1", "Another title", "Go", listed=False)
    twitch.events.notify("channel.update", "alice")
    assert title_events(box, alice) == ["Another title"]

    box.run(["systemctl", "kill", "--signal=KILL", "streamvault-probe@*.service"])
    box.wait_for(lambda: not twitch.events.sessions, "the session is over", timeout=30)
    box.wait_for(lambda: twitch.events.held == wanted, "another process listens", timeout=120)
    second = twitch.go_live("bob", "b2", listed=False)
    twitch.events.notify("stream.online", "bob")
    bob.wait("recording")
    planted = ["planted-secret", "planted-refresh", "planted-token", "planted-user", "planted-old"]
    assert seen_by_others(box, *planted) == ""
    for each, broadcast in ((alice, first), (bob, second)):
        pass_segments(box, broadcast, 1)
        twitch.end(each.name)
        each.wait_completed(1)
        each.lose_nothing(each.recordings()[0], broadcast)


MP4 = "/etc/streamvaultd/conf.d/zz-mp4.toml"
OPENING, SECOND, THIRD, FOURTH = "A title", "2nd = ; # \\ 🎮", "שלום", "Bye 'now'"
HOLE = 24.0
"""So long (s) nothing can be fetched: more than what the playlist reaches back by about half."""


@pytest.mark.timeout(1500)
def test_an_mp4_has_a_chapter_where_each_title_began(box: Box, twitch: Twitch, tmp_path: Path) -> None:
    """Through a rotation, a kill and a hole."""
    box.write_file(MP4, '[recording]\ncontainer = "mp4"\noutage = "2min"\n')
    twitch.install(user=True)
    (dora,) = begin(box, twitch, ["dora"], LONG)
    held = {(kind, "dora") for kind in TYPES}
    box.wait_for(lambda: twitch.events.held == held, "it is subscribed to", timeout=60)
    broadcast = twitch.go_live("dora", "b1")
    broadcast.is_dated, broadcast.window = True, 6
    twitch.events.notify("stream.online", "dora")
    dora.wait("recording")
    pass_segments(box, broadcast, 6)
    rename(box, twitch, dora, SECOND)
    dora.ctl("rotate", "dora")
    pass_segments(box, broadcast, 6)
    rename(box, twitch, dora, THIRD)
    segments = len(dora.ctl.segments("dora"))
    box.run(["systemctl", "kill", "--signal=KILL", scopes(box)[-1]])
    box.wait_for(lambda: len(dora.ctl.segments("dora")) > segments, "another segment begins", timeout=60)
    pass_segments(box, broadcast, 2)
    twitch.source.control("dora", fault="500", for_=HOLE)
    box.wait_for(lambda: broadcast.fault_on("playlist") is None, "the source is back", timeout=60)
    given = len(broadcast.delivered)
    box.wait_for(lambda: len(broadcast.delivered) > given, "it is recorded again", timeout=60)
    rename(box, twitch, dora, FOURTH)
    pass_segments(box, broadcast, 6)
    events = dora.ctl.json("events", "dora", "--kind", "stream-changed")
    twitch.end("dora")
    dora.wait_completed(1)
    made = box.fetch(dora.recordings()[0]["runtime"]["path"], tmp_path / "dora.mp4")
    found = chapters(made)
    assert [text for _, text in found] == [f"{OPENING} (Chess)", f"{SECOND} (Go)", f"{THIRD} (Go)", f"{FOURTH} (Go)"]
    numbers = broadcast.media.index("video").numbers
    shown = [(at, numbers[mark]) for at, mark in pictures(made)]
    assert max(later - earlier for (earlier, _), (later, _) in pairwise(shown)) > 5.0
    for (start, _), event in zip(found[1:], events, strict=True):
        changed = (event["at"]["realtime"] / 1e6 - broadcast.date(0)) * FPS
        assert start == pytest.approx(next(at for at, number in shown if number >= changed), abs=0.1)
    assert found[0][0] == 0.0
    box.run(["rm", MP4])


def rename(box: Box, twitch: Twitch, each: Watched, title: str) -> None:
    """The broadcast has another title, and the daemon has heard it."""
    twitch.tell(each.name, "b1", title, "Go")
    twitch.events.notify("channel.update", each.name)

    def is_noted() -> bool:
        return any(title in event["message"] for event in each.ctl.json("events", each.name))

    box.wait_for(is_noted, f"'{title}' is noted", timeout=60)
