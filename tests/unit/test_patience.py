# SPDX-License-Identifier: GPL-3.0-or-later
"""How long streamlink waits for an answer: as its source's window has it, and once more as long as it would."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from math import ceil
from typing import Any

import pytest
import requests
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ConnectTimeout, ReadTimeout
from urllib3.exceptions import ReadTimeoutError

from streamvaultd.core.pace import Pace
from streamvaultd.core.recording.loglines import Line, classify, pace_in

_send = requests.Session.send
from streamvaultd.recording.streamlink.guard import streamvault_patience as patience  # noqa: E402

requests.Session.send = _send  # type: ignore[method-assign]

LIMIT = 10.0


def playlist(*lengths: float, target: int | str | None = None) -> bytes:
    entries = "".join(f"#EXTINF:{length},title 7\n{number}.ts\n" for number, length in enumerate(lengths))
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:{target or ceil(max(lengths, default=9))}\n{entries}".encode()


class Server:
    """In place of requests: takes down how long it was waited for, and answers or raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.body = b"media"
        self.status = 200
        self.errors: list[Exception] = []
        self.limits: list[Any] = []
        monkeypatch.setattr(patience, "_send", self.send)
        monkeypatch.setattr(patience, "patience", patience.Patience())

    def send(self, session: requests.Session, request: Any, **kwargs: Any) -> requests.Response:
        self.limits.append(kwargs["timeout"])
        if self.errors:
            raise self.errors.pop(0)
        response = requests.Response()
        response._content, response.status_code = self.body, self.status
        return response

    def ask(self, limit: Any = LIMIT, method: str = "GET", **more: Any) -> bytes:
        """From a thread, as streamlink's workers do."""
        request = requests.Request(method, "http://127.0.0.1/").prepare()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(patience.send, requests.Session(), request, timeout=limit, **more)
            return bytes(asked.result().content)

    def tell(self, *lengths: float) -> None:
        """Answer a playlist."""
        self.body = playlist(*lengths)
        assert self.ask() == self.body
        self.body = b"media"
        self.limits.clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


SILENCES = (
    ReadTimeout(),
    ConnectTimeout(),
    NoConnection(ReadTimeoutError(None, None, "in the middle")),  # type: ignore[arg-type]
)


@pytest.mark.parametrize(("lengths", "first"), [
    ((2.0,) * 6, 4.0),  # a third of the window
    ((2, 2, 2), 3.0),  # anybody may take that
    ((4, 4), 6.0),  # a media segment that comes while it is made
])  # fmt: skip
@pytest.mark.parametrize("silence", SILENCES)
def test_what_is_not_answered_in_time_is_asked_once_more(
    server: Server, lengths: tuple[float, ...], first: float, silence: Exception
) -> None:
    server.tell(*lengths)
    server.errors = [silence]
    assert server.ask() == b"media"
    assert server.limits == [first, LIMIT]


def test_what_is_not_answered_at_all_is_told_as_ever(server: Server) -> None:
    server.tell(2, 2, 2, 2, 2)
    server.errors = [ReadTimeout(), ReadTimeout("no answer")]
    with pytest.raises(ReadTimeout, match="no answer"):
        server.ask()


def test_a_refusal_is_no_silence(server: Server) -> None:
    server.tell(2, 2, 2, 2, 2)
    server.errors = [NoConnection("refused")]
    with pytest.raises(NoConnection, match="refused"):
        server.ask()
    assert len(server.limits) == 1


def test_an_address_that_is_good_once_is_waited_for_from_then_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server had been answering, slowly, when it was asked again, and it refuses the second time."""
    server.tell(2, 2, 2, 2, 2, 2)
    monkeypatch.setattr("time.monotonic", chain((100.0, 104.0), repeat(104.5)).__next__)
    server.errors, server.status = [ReadTimeout()], 403
    server.ask()
    assert patience.patience.shorter_than(LIMIT) == 9.0


@pytest.mark.parametrize("lengths", [(), (6,) * 10, (0, 0, 0)])
def test_streamlinks_own_limit_stays_where_nothing_is_known_or_the_window_is_long(
    server: Server, lengths: tuple[float, ...]
) -> None:
    server.tell(*lengths)
    server.ask()
    assert server.limits == [LIMIT]


def test_of_two_playlists_the_smaller_window_counts() -> None:
    learned = patience.Patience()
    learned.learn(1, playlist(*[2.0] * 12))
    learned.learn(2, playlist(*[2.0] * 6))
    learned.learn(2, b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n")
    assert learned.shorter_than(LIMIT) == 4.0


def test_a_server_that_is_slow_is_waited_for_from_then_on() -> None:
    learned = patience.Patience()
    learned.learn(1, playlist(*[2.0] * 6))
    learned.took(1.0)
    assert learned.shorter_than(LIMIT) == 4.0
    learned.took(4.5)
    assert learned.shorter_than(LIMIT) == 9.0
    learned.took(6.0)
    assert learned.shorter_than(LIMIT) is None


@pytest.mark.parametrize("more", [
    {"stream": True}, {"allow_redirects": False}, {"limit": 2.0}, {"limit": (5.0, 10.0)}, {"limit": None},
    {"method": "POST"},
])  # fmt: skip
def test_what_is_left_alone(server: Server, more: dict[str, Any]) -> None:
    server.tell(2, 2, 2, 2, 2)
    server.errors = [ReadTimeout()]
    with pytest.raises(ReadTimeout):
        server.ask(**more)
    assert server.limits == [more.get("limit", LIMIT)]


def test_what_is_learned_is_told_when_it_is_new_and_each_hour() -> None:
    learned = patience.Patience()
    assert learned.news(0.0) is None
    learned.learn(1, playlist(6.0, 6.0))
    learned.learn(2, playlist(*[2.0] * 15))
    assert learned.news(1.0) == (12.0, 6.0)
    learned.learn(1, playlist(*[6.0] * 5))
    assert [learned.news(at) for at in (2.0, 10.9, 11.1)] == [None, None, (30.0, 6.0)]
    learned.learn(1, playlist(*[6.0] * 6))
    assert [learned.news(at) for at in (100.0, 3600.0, 3700.0, 3800.0)] == [None, None, (30.0, 6.0), None]


def test_a_playlist_is_read_as_seldom_as_its_target_duration_however_short_its_media_segments() -> None:
    """RFC 8216, 6.3.4: whoever reads it each 10 s gets 10 s of media at a time."""
    learned = patience.Patience()
    learned.learn(1, playlist(*[2.0] * 6, target=10))
    assert learned.news(0.0) == (12.0, 10.0)


@pytest.mark.parametrize("target", [-5, "nan", "1e308"])
def test_a_target_duration_that_cannot_be_is_none(target: int | str) -> None:
    learned = patience.Patience()
    learned.learn(1, playlist(*[2.0] * 6, target=target))
    assert learned.news(0.0) == (12.0, 2.0)


def test_a_playlist_that_changes_all_the_time_is_not_told_of_all_the_time() -> None:
    learned, told = patience.Patience(), 0
    for at in range(3600):
        learned.learn(1, playlist(*[2.0] * (1 + at % 60)))
        told += learned.news(float(at)) is not None
    assert 3 < told < 12


def test_the_line_that_tells_it_is_one_that_the_daemon_reads(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "streamlink.plugins.streamvault_patience"):
        server.tell(*[6.0] * 5)
    (record,) = caplog.records
    name = record.name.removeprefix("streamlink.")
    assert pace_in(f"{record.levelname.lower()} {name}: {record.getMessage()}") == Pace(target=6.0, window=30.0)


def test_a_playlist_that_is_gone_before_its_end_was_read_is_told(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has much to fetch reads it again when most of that is there."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    request = requests.Request("GET", "http://127.0.0.1/").prepare()

    def reload(pool: ThreadPoolExecutor, status: int, body: bytes, after: float) -> None:
        server.status, server.body, now[0] = status, body, now[0] + after
        pool.submit(patience.send, requests.Session(), request, timeout=LIMIT).result()

    for waits, told in (((27.0,), 1), ((5.0,), 0), ((27.0, 1.0), 1)):
        caplog.clear()
        with ThreadPoolExecutor(1) as pool:
            reload(pool, 200, playlist(*[2.0] * 6), 0.0)
            for wait in waits:
                reload(pool, 404, b"gone", wait)
        lines = [f"{one.levelname.lower()} plugins.streamvault_patience: {one.getMessage()}" for one in caplog.records]
        assert [classify(line) for line in lines].count(Line.UNREAD) == told
    with ThreadPoolExecutor(1) as pool:
        caplog.clear()
        reload(pool, 404, b"no such media segment", 60.0)
    assert not caplog.records


def test_a_playlist_that_is_refused_is_told_at_once_and_once_until_it_is_read_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """streamlink asks three times, and tells of it seconds later."""
    request = requests.Request("GET", "http://127.0.0.1/").prepare()
    media = playlist(*[2.0] * 6)
    with ThreadPoolExecutor(1) as pool:
        for status in (403, 200, 404, 401, 403, 200, 403):
            server.status, server.body = status, media if status == 200 else b"no"
            pool.submit(patience.send, requests.Session(), request, timeout=LIMIT).result()
    lines = [f"{one.levelname.lower()} plugins.streamvault_patience: {one.getMessage()}" for one in caplog.records]
    # the first one is no playlist, as far as anybody knows
    assert [classify(line) for line in lines if "refused" in line] == [Line.RELOAD_REFUSED] * 2
