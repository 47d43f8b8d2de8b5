# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking by proxies: failover by what came of them, whoever they were used for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Trouble
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.reporting.notices import SECRETS_REFUSED
from streamvaultd.watching.asker import Sightings
from streamvaultd.watching.probe_line import Answer
from streamvaultd.watching.secrets import Secrets
from tests.component.store_world import SetClock, later
from tests.fakes.parts import Noted

BAD = Answer(outcome=Outcome.TROUBLE, trouble=Trouble.NETWORK)
WELL = Answer(outcome=Outcome.OFFLINE)
CREDENTIALS = {"eu": (("http-proxy", "http://u:p@a:1"), ("http-cookie", "planted"), ("http-proxy", "http://u:p@b:1"))}


class FakeLine:
    """Answers by the proxy that is used."""

    def __init__(self, answers: dict[str | None, Answer]) -> None:
        self.answers = answers
        self.asked: list[str | None] = []

    async def probe(
        self, _url: str, _quality: str, *, options: Sequence[tuple[str, str]] = (), secrets: Any = ()
    ) -> Answer:
        proxy = dict([*options, *secrets]).get("http-proxy")
        self.asked.append(proxy)
        return self.answers[proxy]


def sightings(line: FakeLine, clock: SetClock, own: Sequence[tuple[str, str]] = ()) -> Sightings:
    secrets = Secrets(Noted(), {**CREDENTIALS, "own": tuple(own)})
    return Sightings(line=line, settings=LiveSettings(Settings()), secrets=secrets, clock=clock)


def streamer(*proxies: str, name: str = "alice") -> Streamer:
    return Streamer(name=name, url="https://a.example/", proxies=proxies, secrets=("own",))


async def test_the_next_proxy_takes_over_at_once_and_for_others_too() -> None:
    line, clock = FakeLine({"http://a:1": BAD, "http://b:1": WELL}), SetClock()
    asking = sightings(line, clock)
    assert (await asking.sight(streamer("http://a:1", "http://b:1"))).outcome is Outcome.OFFLINE
    assert line.asked == ["http://a:1", "http://b:1"]
    assert asking.proxy_of(streamer("http://a:1", "http://b:1", name="bob")) == "http://b:1"
    clock.moment = later(20)
    assert asking.proxy_of(streamer("http://a:1", "http://b:1")) == "http://a:1"


async def test_direct_is_the_last_resort() -> None:
    line = FakeLine({"http://a:1": BAD, None: WELL})
    asking = sightings(line, SetClock())
    assert (await asking.sight(streamer("http://a:1", "direct"))).outcome is Outcome.OFFLINE
    assert line.asked == ["http://a:1", None]


async def test_when_no_proxy_leads_there_it_is_trouble_of_the_network() -> None:
    line = FakeLine({"http://a:1": BAD, "http://b:1": BAD})
    assert (await sightings(line, SetClock()).sight(streamer("http://a:1", "http://b:1"))).trouble is Trouble.NETWORK
    assert line.asked == ["http://a:1", "http://b:1"]


async def test_proxies_of_a_credential_are_a_pool_too() -> None:
    line = FakeLine({"http://u:p@a:1": BAD, "http://u:p@b:1": WELL})
    secrets = [("http-proxy", "http://u:p@a:1"), ("http-proxy", "http://u:p@b:1")]
    assert (await sightings(line, SetClock(), secrets).sight(streamer())).outcome is Outcome.OFFLINE
    assert line.asked == ["http://u:p@a:1", "http://u:p@b:1"]


async def test_the_credential_of_a_pool_stands_where_the_pool_does() -> None:
    line = FakeLine({"http://u:p@a:1": BAD, "http://u:p@b:1": BAD, None: WELL})
    asking = sightings(line, SetClock())
    alice = streamer("credential:eu", "direct")
    assert (await asking.sight(alice)).outcome is Outcome.OFFLINE
    assert line.asked == ["http://u:p@a:1", "http://u:p@b:1", None]
    assert asking.hidden_of(alice) == {"http://u:p@a:1", "http://u:p@b:1"}


async def test_what_one_streamer_finds_out_spares_the_others_of_his_pool_the_try() -> None:
    line = FakeLine({"http://a:1": BAD, "http://b:1": WELL})
    asking = sightings(line, SetClock())
    for name in ("alice", "bob", "carol"):
        await asking.sight(streamer("http://a:1", "http://b:1", name=name))
    assert line.asked == ["http://a:1", *["http://b:1"] * 3]


async def test_without_proxies_there_is_one_question() -> None:
    line = FakeLine({None: BAD})
    await sightings(line, SetClock()).sight(streamer())
    assert line.asked == [None]


async def test_trouble_says_nothing_of_secrets_that_were_refused() -> None:
    journal = Noted()
    secrets = Secrets(journal, {"own": (("http-cookie", "planted"),)})
    refusing = Answer(outcome=Outcome.LIVE, refused=True)
    line, alice = FakeLine({}), streamer()
    asking = Sightings(line=line, settings=LiveSettings(Settings()), secrets=secrets, clock=SetClock())
    for answer, are_refused, told in (
        (refusing, True, 1),
        (BAD, True, 1),
        (refusing, True, 1),
        (WELL, False, 1),
        (BAD, False, 1),
        (refusing, True, 2),
    ):
        line.answers = {None: answer}
        await asking.sight(alice)
        assert (secrets.are_refused(alice), len(journal.told)) == (are_refused, told)
    assert journal.told == [(SECRETS_REFUSED, {"streamer": "alice"})] * 2
