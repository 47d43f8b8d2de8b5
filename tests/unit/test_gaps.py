# SPDX-License-Identifier: GPL-3.0-or-later
"""Media segments that a playlist marks as gaps are asked for once, and hold up nothing."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from streamlink.stream.hls import HLSStreamWriter  # type: ignore[attr-defined]

_send, _write = requests.Session.send, HLSStreamWriter.write
from streamvaultd.recording.streamlink.guard import streamvault_gaps as gaps  # noqa: E402

HLSStreamWriter.write = _write  # type: ignore[method-assign]
requests.Session.send = _send  # type: ignore[method-assign]

LIVE = "http://127.0.0.1/show/live.m3u8?exp=7"
PLAYLIST = b"""#EXTM3U
#EXTINF:2,
1.ts?exp=7
#EXT-X-GAP
#EXTINF:2,
2.ts?exp=7
#EXTINF:2,
#EXT-X-GAP
\xc3\xa4 3.ts
#EXT-X-GAP
#EXT-X-BYTERANGE:7@0
#EXTINF:2,
all.ts
"""


class Server:
    """In place of requests: what is at an address, and 404 for anything else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = {LIVE: PLAYLIST}
        monkeypatch.setattr(gaps, "_send", self.send)
        monkeypatch.setattr(gaps, "gaps", gaps.Gaps())

    def send(self, session: requests.Session, request: Any, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.url = request.url
        body = self.there.get(request.url)
        response._content, response.status_code = (b"no", 404) if body is None else (body, 200)
        return response

    def ask(self, url: str) -> tuple[int, bytes]:
        request = requests.Request("GET", url).prepare()
        response = gaps.send(requests.Session(), request, stream=False)
        return response.status_code, b"".join(response.iter_content(8192))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(monkeypatch)
    assert server.ask(LIVE) == (200, PLAYLIST)
    return server


@pytest.mark.parametrize(
    ("name", "status"),
    [("1.ts?exp=7", 404), ("2.ts?exp=7", 200), ("2.ts", 404), ("ä 3.ts", 200), ("all.ts", 404)],
    ids=["not marked", "marked", "another address", "in another alphabet", "a range of what is there"],
)
def test_what_is_marked_and_not_there_is_nothing(server: Server, name: str, status: int) -> None:
    assert server.ask(f"http://127.0.0.1/show/{name}") == (status, b"" if status == 200 else b"no")


def test_what_is_marked_and_there_is_recorded(server: Server) -> None:
    url = "http://127.0.0.1/show/2.ts?exp=7"
    server.there[url] = b"media"
    assert server.ask(url) == (200, b"media")


def test_a_mark_goes_with_the_playlist_that_has_it_no_more(server: Server) -> None:
    server.there[LIVE] = PLAYLIST.replace(b"#EXT-X-GAP\n", b"")
    server.ask(LIVE)
    assert server.ask("http://127.0.0.1/show/2.ts?exp=7") == (404, b"no")


def test_as_many_as_a_source_likes_take_no_memory(server: Server) -> None:
    entries = "".join(f"#EXT-X-GAP\n#EXTINF:2,\n{number}.ts\n" for number in range(3 * gaps.REMEMBERED))
    server.there[LIVE] = b"#EXTM3U\n" + entries.encode()
    server.ask(LIVE)
    assert len(gaps.gaps._known) == gaps.REMEMBERED


def test_nothing_is_written_for_what_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty packed audio would lose its time for the whole run, and a gap's key may be gone."""
    written: list[str] = []
    monkeypatch.setattr(gaps, "_write", lambda writer, segment, result, *data: written.append(segment))
    for name in ("1.ts", "2.ts"):
        request = requests.Request("GET", f"http://127.0.0.1/show/{name}?exp=7").prepare()
        gaps.write(None, name, gaps.send(requests.Session(), request, stream=True), False)
    assert written == ["1.ts"]
