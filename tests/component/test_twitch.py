# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch's interface through the probe's process, against a server that behaves as it is documented to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamvaultd.config import credentials
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Sighting
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import TWITCH_AWAY
from streamvaultd.watching.probe.helix import RETRY_MAX, Helix, Refused
from streamvaultd.watching.twitch import Keys, TwitchRounds, logins_of, retry_after
from tests.component.test_probe_line import World, world
from tests.fakes.helix import CLIENT, SECRET, HelixServer
from tests.fakes.parts import Noted


@pytest.fixture(name="helix")
def _helix() -> Iterator[HelixServer]:
    with HelixServer() as found:
        yield found


@pytest.fixture(name="there")
async def _there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


def keys(helix: HelixServer, secret: str = SECRET) -> Keys:
    return Keys(CLIENT, secret, api=helix.address, auth=helix.address)


class Rounds:
    """Rounds over so many streamers, and what they pushed and told."""

    def __init__(self, there: World, helix: HelixServer, number: int = 1, **more: Any) -> None:
        self.pushed: dict[str, Sighting] = {}
        self.journal = Noted()
        self.streamers = [Streamer(name=f"s{at}", url=f"https://www.twitch.tv/Login{at}") for at in range(number)]
        self.rounds = TwitchRounds(
            line=there.line, keys=keys(helix, **more), watches=cast("Any", self), journal=self.journal,
            settings=LiveSettings(Settings()),
        )  # fmt: skip

    @property
    def told(self) -> list[str]:
        assert {entry for entry, _ in self.journal.told} <= {TWITCH_AWAY}
        return self.journal.whys

    def push(self, streamer: Streamer, sighting: Sighting) -> None:
        self.pushed[streamer.name] = sighting


async def test_as_many_requests_as_hundreds(there: World, helix: HelixServer) -> None:
    helix.live = {"login7": ("4711", "A title", "Chess")}
    rounds = Rounds(there, helix, 230)
    assert await rounds.rounds.round() == 30.0
    assert [len(request) for request in helix.requests] == [100, 100, 30]
    assert helix.tokens == 1
    live = Sighting(outcome=Outcome.LIVE, site_id="4711", title="A title", category="Chess", tags=())
    assert len(rounds.pushed) == 230
    assert {name: seen for name, seen in rounds.pushed.items() if seen.outcome is not Outcome.OFFLINE} == {"s7": live}


@pytest.mark.parametrize(("told", "seen"), [
    (["English", "Rerun"], ("English", "Rerun")),
    ([], ()),
    (None, ()),
    ("Rerun", None),  # that is no list: nobody knows
    (["x" * 500] * 500, ("x" * 50,) * 10),
])  # fmt: skip
async def test_tags_come_with_the_broadcast(there: World, helix: HelixServer, told: Any, seen: Any) -> None:
    helix.live, helix.tags = {"login0": ("4711", "A title", "Chess")}, {"login0": told}
    rounds = Rounds(there, helix)
    assert await rounds.rounds.round() == 30.0
    assert rounds.pushed["s0"].tags == seen


async def test_a_token_that_is_refused_is_renewed(there: World, helix: HelixServer) -> None:
    helix.faults = ["401"]
    rounds = Rounds(there, helix)
    assert await rounds.rounds.round() == 30.0
    assert (helix.tokens, rounds.told, len(rounds.pushed)) == (2, [], 1)


async def test_a_rate_limit_is_kept_to(there: World, helix: HelixServer) -> None:
    helix.faults = ["429"]
    rounds = Rounds(there, helix)
    assert 20 < await rounds.rounds.round() <= 31
    assert 20 < await rounds.rounds.round() <= 31
    assert len(helix.requests) == 1
    assert (rounds.pushed, rounds.told) == ({}, ["Twitch answers 429: too many requests"])


async def test_a_hundred_long_titles_are_one_answer(there: World, helix: HelixServer) -> None:
    helix.live = {f"login{number}": (str(number), "\U0001f600" * 140, "グ" * 140) for number in range(100)}
    rounds = Rounds(there, helix, 100)
    assert await rounds.rounds.round() == 30.0
    assert {seen.outcome for seen in rounds.pushed.values()} == {Outcome.LIVE}
    assert there.lost == []


@pytest.mark.parametrize(("reset", "wait"), [("0", 1.0), ("nan", 1.0), ("inf", RETRY_MAX), ("1e12", RETRY_MAX)])
def test_a_reset_that_another_clock_tells_is_waited_for_within_limits(reset: str, wait: float) -> None:
    headers = {"Ratelimit-Remaining": "0", "Ratelimit-Reset": reset}
    with pytest.raises(Refused) as refused:
        Helix().note_limit(SimpleNamespace(headers=headers, status_code=429))
    assert refused.value.retry == wait


@pytest.mark.parametrize("fault", ["500", "truncated"])
async def test_what_is_no_answer_pushes_nothing(there: World, helix: HelixServer, fault: str) -> None:
    helix.faults = [fault]
    rounds = Rounds(there, helix)
    assert await rounds.rounds.round() == retry_after(1, 0.0)
    assert rounds.pushed == {}
    assert len(rounds.told) == 1
    assert await rounds.rounds.round() == 30.0
    assert len(rounds.pushed) == 1


async def test_a_wrong_secret_is_told_and_not_shown(there: World, helix: HelixServer) -> None:
    rounds = Rounds(there, helix, secret="planted-secret")  # noqa: S106 - it is one
    await rounds.rounds.round()
    assert rounds.pushed == {}
    assert "is the credential right?" in rounds.told[0]
    assert "planted" not in rounds.told[0]
    assert "planted" not in repr(keys(helix, "planted-secret"))


async def test_nobody_there(there: World, helix: HelixServer) -> None:
    answer = await there.line.ask_helix(["a"], Keys(CLIENT, SECRET, "http://127.0.0.1:9", "http://127.0.0.1:9"))
    assert (answer.outcome, answer.trouble) == (Outcome.TROUBLE, "network")


def test_only_channels_of_twitch_that_are_watched() -> None:
    urls = {
        "a": "https://www.twitch.tv/Alice", "b": "twitch.tv/alice/", "c": "https://www.twitch.tv/videos/1",
        "d": "https://kick.com/x",
    }  # fmt: skip
    every = [Streamer(name=name, url=url) for name, url in urls.items()]
    off = Streamer(name="e", url="https://twitch.tv/bob", enabled=False)
    assert {login: [one.name for one in found] for login, found in logins_of([*every, off]).items()} == {
        "alice": ["a", "b"]
    }


def test_the_credential(tmp_path: Path) -> None:
    assert credentials.load_helix(tmp_path) == ({}, ())
    (tmp_path / "streamvaultd.helix").write_text("client_id=a\nclient_secret=planted\n")
    assert credentials.load_helix(tmp_path) == ({"client": "a", "secret": "planted"}, ())
    more = "user_token=planted1\nrefresh_token=planted2\nevents=ws://127.0.0.1:1/\n"
    (tmp_path / "streamvaultd.helix").write_text(f"client_id=a\nclient_secret=planted\n{more}")
    found, mistakes = credentials.load_helix(tmp_path)
    assert (found["token"], found["refresh"], found["events"]) == ("planted1", "planted2", "ws://127.0.0.1:1/")
    assert mistakes == ()
    assert "planted" not in repr(Keys(**found))
    for text in ("client_secret=planted\n", "client_id=a\nclient_secret=planted\nrefresh_token=planted\n"):
        (tmp_path / "streamvaultd.helix").write_text(text)
        found, (mistake,) = credentials.load_helix(tmp_path)
        assert found == {}
        assert "planted" not in str(mistake)
