# SPDX-License-Identifier: GPL-3.0-or-later
"""What sources answer to the real streamlink's API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, cast

import pytest
from streamlink.stream.hls.m3u8 import parse_m3u8

from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Trouble
from streamvaultd.errors import StreamlinkUnusable
from streamvaultd.watching.plugins import QUESTIONS_MAX, Plugins
from streamvaultd.watching.probe.probe import mark_of
from streamvaultd.watching.probe_line import Answer, ProbeLine
from tests.component.captures import SHORT_MEDIA
from tests.component.test_probe_line import world
from tests.fakes.livesource import LiveSource

NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens


@pytest.fixture(name="source", scope="module")
def _source() -> Iterator[LiveSource]:
    with LiveSource(SHORT_MEDIA, window=5) as found:
        yield found


class Installed:
    """A streamlink that can be used, or not."""

    def __init__(self, *, usable: bool = True) -> None:
        self.is_usable = usable

    async def usable(self) -> None:
        if not self.is_usable:
            raise StreamlinkUnusable(command="streamlink", why="it is not there")


def plugins_on(line: Any, *, usable: bool = True, options: tuple[tuple[str, str], ...] = ()) -> Plugins:
    settings = Settings(streamlink_options=options)
    return Plugins(line=line, streamlinks=cast("Any", Installed(usable=usable)), settings=LiveSettings(settings))


@asynccontextmanager
async def line_to(tmp_path: Path) -> AsyncIterator[ProbeLine]:
    async with world(tmp_path) as there:
        yield there.line


async def test_a_live_playlist(source: LiveSource, tmp_path: Path) -> None:
    source.channel("live")
    async with line_to(tmp_path) as line:
        result = await line.probe(source.url("live"), "best")
    assert (result.outcome, result.detail, result.plugin) == (Outcome.LIVE, "", "hls")
    assert {"live", "best"} <= set(result.streams)


async def test_a_live_multivariant_playlist(source: LiveSource, tmp_path: Path) -> None:
    source.channel("master")
    url = source.url("master").replace("live.m3u8", "master.m3u8")
    async with line_to(tmp_path) as line:
        assert (await line.probe(url, "1080p,180p")).outcome is Outcome.LIVE


async def test_a_quality_that_is_not_offered_is_told(source: LiveSource, tmp_path: Path) -> None:
    source.channel("other")
    async with line_to(tmp_path) as line:
        result = await line.probe(source.url("other"), "1080p")
    assert (result.outcome, result.detail) == (Outcome.LIVE, "none of the qualities 1080p is offered")


async def test_sources_that_are_not_live(source: LiveSource, tmp_path: Path) -> None:
    orders: dict[str, tuple[dict[str, Any], Outcome]] = {
        "over": ({"end": True}, Outcome.ENDED),
        "gone": ({"gone": True}, Outcome.OFFLINE),
        "forbidden": ({"fault": "403"}, Outcome.TROUBLE),
        "broken": ({"fault": "500"}, Outcome.TROUBLE),
        "dropped": ({"fault": "drop"}, Outcome.TROUBLE),
    }
    found = {}
    async with line_to(tmp_path) as line:
        for name, (order, _) in orders.items():
            source.channel(name)
            source.control(name, **order)
            found[name] = (await line.probe(source.url(name), "best")).outcome
    assert found == {name: outcome for name, (_, outcome) in orders.items()}


async def test_a_source_that_does_not_answer_is_given_up(source: LiveSource, tmp_path: Path) -> None:
    source.channel("stalled")
    source.control("stalled", fault="stall")
    async with world(tmp_path, answer_limit=1.5) as there:
        answer = await there.line.probe(source.url("stalled"), "best")
        source.control("stalled", fault=None)
    assert (answer.outcome, answer.detail) == (Outcome.TROUBLE, "no answer within 1.5 s")


async def test_nobody_there_is_trouble_and_its_query_stays_unsaid(tmp_path: Path) -> None:
    async with line_to(tmp_path) as line:
        answer = await line.probe(f"{NOWHERE}/live.m3u8?token=secret", "best")
    assert answer.outcome is Outcome.TROUBLE
    assert "Connection refused" in answer.detail
    assert "secret" not in answer.detail


async def test_an_url_without_a_plugin(source: LiveSource, tmp_path: Path) -> None:
    async with line_to(tmp_path) as line:
        plugins = plugins_on(line)
        assert (await plugins.probe(f"{source.address}/page", "best")).outcome is Outcome.UNSUPPORTED
        assert not await plugins.can_handle(f"{source.address}/page")
        assert await plugins.can_handle("https://www.twitch.tv/demo")
        assert await plugins.can_handle("hls://http://host/live")


async def test_the_administrators_options_hold_for_the_probe_too(source: LiveSource, tmp_path: Path) -> None:
    source.channel("proxied")
    async with line_to(tmp_path) as line:
        assert (await plugins_on(line).probe(source.url("proxied"), "best")).outcome is Outcome.LIVE
        found = await plugins_on(line, options=(("http-proxy", NOWHERE),)).probe(source.url("proxied"), "best")
    assert found.outcome is Outcome.TROUBLE
    assert "proxy" in found.detail


async def test_an_interpreter_without_streamlink_is_trouble_of_the_probe(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        there.interpreter = "/nonexistent/python"
        found = await plugins_on(there.line).probe("http://host/live.m3u8", "best")
        assert (found.outcome, found.trouble) == (Outcome.TROUBLE, Trouble.PROBE)
        assert await plugins_on(there.line).can_handle("http://host/live.m3u8")
        with pytest.raises(StreamlinkUnusable):
            await plugins_on(there.line, usable=False).can_handle("http://host/live.m3u8")


class Busy:
    """A process that answers nobody until it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.most = 0
        self.is_free = asyncio.Event()

    async def resolve(self, _url: str) -> Answer:
        return await self._answer()

    async def probe(self, _url: str, _quality: str, **_more: Any) -> Answer:
        return await self._answer()

    async def _answer(self) -> Answer:
        self.asked += 1
        self.most = max(self.most, self.asked)
        await self.is_free.wait()
        self.asked -= 1
        return Answer(outcome=Outcome.LIVE)


async def test_clients_and_lost_sources_share_one_limit(tmp_path: Path) -> None:
    busy = Busy()
    plugins = plugins_on(busy)
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(plugins.can_handle("https://a.example/"))
            group.create_task(plugins.probe("https://a.example/", "best"))
        for _ in range(1000):  # whoever could come further, would have
            await asyncio.sleep(0)
        assert busy.most == QUESTIONS_MAX
        busy.is_free.set()
    assert busy.most == QUESTIONS_MAX


PLAYLIST = """#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXTINF:2.0,
first.ts?token=1
#EXTINF:2.0,
second.ts?token=1
"""


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        (PLAYLIST, False),
        (PLAYLIST.replace("token=1", "token=2"), False),
        (PLAYLIST.replace("SEQUENCE:0", "SEQUENCE:1"), True),
        (PLAYLIST.replace("first", "second", 1).replace("second.ts?token=1\n", "third.ts\n", 1), True),
        (PLAYLIST.replace("#EXTINF", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:02Z\n#EXTINF", 1), True),
        (PLAYLIST + "#EXTINF:2.0,\nthird.ts\n", True),
    ],
    ids=["same", "token", "sequence", "files", "dates", "longer"],
)
def test_a_playlist_advances_though_its_number_stays(changed: str, is_another: bool) -> None:
    """Packagers that always say MEDIA-SEQUENCE:0, or name files in a ring, are live; a new token is no advance."""
    marks = [mark_of(parse_m3u8(text)) for text in (PLAYLIST, changed)]
    assert (marks[0] != marks[1]) is is_another


def window(session: str, first: int, *, dated: bool = False) -> str:
    """A playlist of four media segments, whose names belong to who asks; with dates they tell nothing at all."""
    entries = ""
    for number in range(first, first + 4):
        date = f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{2 * (number - 95):02d}Z\n" if dated else ""
        name = hashlib.sha256(f"{session} {number}".encode()).hexdigest() if dated else f"media_w{session}_{number}"
        entries += f"{date}#EXTINF:2.0,\n{name}.ts\n"
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n{entries}"


@pytest.mark.parametrize("dated", [False, True])
def test_a_playlist_that_stands_still_stands_still_for_every_session(dated: bool) -> None:
    """Each question is a session of its own, and some packagers name media by session."""
    first, again, later = (
        mark_of(parse_m3u8(window(session, number, dated=dated)))
        for session, number in (("1", 97), ("27", 97), ("3", 98))
    )
    assert first == again != later


ADVANCING = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\nmedia.ts\n"


class Neighbour(BaseHTTPRequestHandler):
    """A service of this host at 127.0.0.2; at 127.0.0.1, a site that leads to it."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        host, port = cast("tuple[str, int]", self.server.server_address)
        there = f"http://127.0.0.2:{port}/of-the-neighbour.m3u8"
        body = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=320x180\n{there}\n".encode()
        if host == "127.0.0.2":
            self.asked.append(self.path)
            body = ADVANCING.encode()
        self.send_response(302 if host != "127.0.0.2" and "redirect" in self.path else 200)
        self.send_header("Location", there)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing."""


@pytest.fixture(name="site")
def _site() -> Iterator[str]:
    Neighbour.asked.clear()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as site,
        ThreadingHTTPServer(("127.0.0.2", site.server_address[1]), Neighbour) as neighbour,
    ):
        for server in (site, neighbour):
            Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()
        neighbour.shutdown()


@pytest.mark.parametrize("page", ["redirect.m3u8", "names.m3u8"])
async def test_a_site_leads_to_no_service_of_this_host_unless_it_was_named(
    site: str, tmp_path: Path, page: str
) -> None:
    """The control is the same question where the settings name it; and then it is closed again."""
    settings = LiveSettings(Settings())
    async with world(tmp_path, settings=settings) as there:
        refused = await there.line.probe(f"{site}/{page}", "best")
        assert Neighbour.asked == []
        settings.now = Settings(network_allow=("127.0.0.2",))
        allowed = await there.line.probe(f"{site}/{page}", "best")
    assert (refused.outcome, allowed.outcome) == (Outcome.TROUBLE, Outcome.LIVE)
    assert "127.0.0.2, which neither the URL nor '[network] allow' names" in refused.detail
    assert "/of-the-neighbour.m3u8" in Neighbour.asked
    assert there.lost == []
