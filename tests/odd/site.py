# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves broadcasts on loopback: /NAME/live.m3u8 for what is tested, /NAME~CLIENT/live.m3u8 for others beside it."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from tests.odd.playlist import manifest, master, media
from tests.odd.show import ERROR_PAGE, Request, Show, Track

if TYPE_CHECKING:
    from types import TracebackType

PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
KEY: Final = bytes(range(16))
FILE: Final = re.compile(r"(?P<track>[a-z]+)-(?P<init>init)?(?P<index>\d{5})\.(?:ts|m4s|mp4)", re.ASCII)
WHOLE: Final = re.compile(r"(?P<track>[a-z]+)-all\.(?:ts|m4s)", re.ASCII)
RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)?", re.ASCII)


class Answer(NamedTuple):
    """To one request."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"
    location: str = ""


class Site:
    """The server, on IPv4 and, where this host has it, on IPv6; a context manager."""

    def __init__(self) -> None:
        self.shows: dict[str, Show] = {}
        self.servers = [_Server(("127.0.0.1", 0), self)]
        with suppress(OSError):
            self.servers.append(_SixServer(("::1", 0), self))

    def __enter__(self) -> Site:
        for server in self.servers:
            threading.Thread(target=server.serve_forever, name="odd-site", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, show: Show) -> None:
        self.shows[show.name] = show

    def url(self, show: Show, client: str = "") -> str:
        """What a client is given."""
        six = show.manner.six and len(self.servers) > 1
        host, server = ("[::1]", self.servers[-1]) if six else ("127.0.0.1", self.servers[0])
        name = f"{show.name}~{client}" if client else show.name
        return f"http://{host}:{server.server_address[1]}/{name}/live.{'mpd' if show.manner.dash else 'm3u8'}"

    def answer(self, path: str, ranged: str | None) -> Answer:
        """To a GET of this path."""
        words = urllib.parse.urlsplit(path)
        name, _, file = words.path.lstrip("/").partition("/")
        name, _, client = name.partition("~")
        show = self.shows.get(name)
        if show is None:
            return Answer(404)
        if not client:
            # others who stand beside wait for what is tested, so that all have the same to fetch
            show.begin()
        return _Request(show, client, file, urllib.parse.parse_qs(words.query), ranged).answer()


class _Request(NamedTuple):
    show: Show
    client: str
    file: str
    query: dict[str, list[str]]
    ranged: str | None

    @property
    def suffix(self) -> str:
        """What a link keeps of the token that it was found with."""
        return f"?exp={self.query['exp'][0]}" if "exp" in self.query else ""

    def answer(self) -> Answer:
        show, at = self.show, self.show.now()
        if show.is_away(at):
            return Answer(503)
        if self.file.startswith("live.") and show.manner.token and not self.suffix:
            return (
                Answer(404) if at > show.over else Answer(302, location=f"live.m3u8?exp={at + show.manner.token:.2f}")
            )
        if self.file.startswith("live.") and show.manner.moved and "moved" not in self.query:
            return Answer(302, location=f"{self.file}?moved=1")
        if self.suffix and at > float(self.query["exp"][0]):
            return Answer(403, b"expired")
        if self.file.endswith((".m3u8", ".mpd")):
            return Answer(404) if at > show.over else self.playlist(at)
        if self.file == "key":
            return Answer(200, KEY, "application/octet-stream")
        return self.media(at)

    def playlist(self, at: float) -> Answer:
        show, name = self.show, self.file.partition(".")[0]
        if self.file.endswith(".mpd"):
            began = datetime.fromtimestamp(time.time() - at - show.lead, UTC)
            return Answer(
                200, manifest(show, at, began.strftime("%Y-%m-%dT%H:%M:%SZ")).encode(), "application/dash+xml"
            )
        if name == "live" and (len(show.tracks) > 1 or show.manner.codecs or show.manner.token):
            return Answer(200, master(show, self.suffix).encode(), PLAYLIST_TYPE)
        track = show.tracks[0] if name == "live" else self.track(name)
        if track is None or track.status(at) != 200:
            return Answer(404 if track is None else track.status(at))
        return Answer(200, media(show, track, at, self.suffix).encode(), PLAYLIST_TYPE)

    def track(self, name: str) -> Track | None:
        return next((track for track in self.show.tracks if track.name == name), None)

    def media(self, at: float) -> Answer:
        if (match := WHOLE.fullmatch(self.file)) and (track := self.track(match["track"])):
            return self.whole(track, at)
        match = FILE.fullmatch(self.file)
        track = self.track(match["track"]) if match else None
        if match is None or track is None or int(match["index"]) >= len(track.pieces):
            return Answer(404)
        index = int(match["index"])
        if match["init"]:
            init = track.pieces[index].clip.init
            return Answer(404) if init is None else Answer(200, init.read_bytes(), "video/mp4")
        return self.segment(track, index, at)

    def segment(self, track: Track, index: int, at: float) -> Answer:
        status = self.show.status(track, index, at)
        self.show.sent.setdefault(self.client, []).append(Request(at, track.name, index, status))
        if status != 200:
            return Answer(status) if status else Answer(200, ERROR_PAGE, "text/html")
        body = track.pieces[index].body()
        if self.show.manner.key:
            sequence = index - max([0, *(start for start in self.show.manner.restarts if start <= index)])
            body = AES.new(KEY, AES.MODE_CBC, sequence.to_bytes(16, "big")).encrypt(pad(body, 16))
        return Answer(200, body, "video/mp2t" if self.file.endswith(".ts") else "video/iso.segment")

    def whole(self, track: Track, at: float) -> Answer:
        """The one file that byte ranges are of."""
        if not (match := RANGE.fullmatch(self.ranged or "")) or not match[2]:
            return Answer(416)
        first, last, start = int(match[1]), int(match[2]), 0
        for index, piece in enumerate(track.pieces):
            body = piece.body()
            if start <= first < start + len(body):
                found = self.segment(track, index, at)
                cut = found.body[first - start : last + 1 - start]
                return found._replace(status=206, body=cut) if found.status == 200 else found
            start += len(body)
        return Answer(416)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        super().__init__(address, _Handler)
        self.site = site

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away whenever they like."""


class _SixServer(_Server):
    address_family: int = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Nothing on stderr for each request."""

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        answer = self.server.site.answer(self.path, self.headers.get("Range"))
        show = self.server.site.shows.get(self.path.lstrip("/").partition("/")[0].partition("~")[0])
        body, zipped = answer.body, False
        if show is not None and show.manner.zipped and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, zipped = gzip.compress(body, 1), True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        if answer.location:
            self.send_header("Location", answer.location)
        self.end_headers()
        self.wfile.write(body)
