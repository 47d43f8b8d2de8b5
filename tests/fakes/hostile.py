# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server that would like to see what it cannot reach itself: its playlists name whatever a test says.

Beside what it names there are media, so that a recording goes on. `GET /KIND.m3u8?URL` (or `.mpd`), with a kind of
`PLAYLISTS`; what it named to itself it counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final
from urllib.parse import quote, unquote, urlsplit

MEDIUM: Final = "#EXTINF:2,\n/media\n"
HEAD: Final = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n"
KEY: Final = '#EXT-X-KEY:METHOD=AES-128,IV=0x00000000000000000000000000000001,URI="{}"\n'
MPD: Final = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT2S"'
    ' profiles="urn:mpeg:dash:profile:isoff-main:2011"'
    ' mediaPresentationDuration="PT4S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="200000" width="320" height="180">{}</Representation>'
    "</AdaptationSet></Period></MPD>"
)
PLAYLISTS: Final = {
    "entry.m3u8": HEAD + MEDIUM + "#EXTINF:2,\n{wish}\n" + MEDIUM + "#EXT-X-ENDLIST\n",
    "redirect.m3u8": HEAD + MEDIUM + "#EXTINF:2,\n/redirect?{quoted}\n" + MEDIUM + "#EXT-X-ENDLIST\n",
    "map.m3u8": HEAD + MEDIUM + '#EXT-X-MAP:URI="{wish}"\n' + MEDIUM + "#EXT-X-ENDLIST\n",
    "key.m3u8": HEAD
    + MEDIUM
    + KEY.format("{wish}")
    + MEDIUM
    + "#EXT-X-KEY:METHOD=NONE\n"
    + MEDIUM
    + "#EXT-X-ENDLIST\n",
    "variant.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=320x180\n{wish}\n",
    "media.m3u8": (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,AUTOSELECT=YES,URI="{wish}"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=320x180,AUDIO="a"\n/plain.m3u8\n'
    ),
    "base.mpd": MPD.format("<BaseURL>{wish}</BaseURL>"),
    "template.mpd": MPD.format('<SegmentTemplate media="{wish}" duration="2" startNumber="1"/>'),
    "plain.m3u8": HEAD + MEDIUM + MEDIUM + "#EXT-X-ENDLIST\n",
}
KINDS: Final = tuple(name for name in PLAYLISTS if name != "plain.m3u8")


class Hostile:
    """The server; `asked` are the paths that were asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []

    def naming(self, kind: str, wish: str) -> str:
        """The URL of a playlist that names something."""
        return f"{self.url}/{kind}?{quote(wish, safe='')}"


@contextmanager
def hostile(media: bytes, address: str = "127.0.0.1") -> Iterator[Hostile]:
    """Serve on an address of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, quoted = self.path.partition("?")
            served.asked.append(path)
            if path == "/redirect":
                self.send_response(302)
                self.send_header("Location", unquote(quoted))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            text = PLAYLISTS.get(urlsplit(path).path.strip("/"))  # of a proxy the whole URL is asked
            body = media if text is None else text.format(wish=unquote(quoted), quoted=quoted).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            """Say nothing."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        served = Hostile(f"http://{address}:{server.server_address[1]}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield served
        server.shutdown()
