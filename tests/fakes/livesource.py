# SPDX-License-Identifier: GPL-3.0-or-later
"""A live HLS source on loopback: a window slides in real time over media that were made once.

    GET  /CHANNEL/live.m3u8      the media playlist; the first request of a channel starts its broadcast
    GET  /CHANNEL/master.m3u8    a multivariant playlist with that one in it
    GET  /CHANNEL/audio.m3u8     the media playlist of another rendition; its media segments are audio-00012.ts
    GET  /CHANNEL/00012.ts       a media segment; 00012.m4s of fragmented MP4
    GET  /CHANNEL/init0.mp4      the initialisation of fragmented MP4; key is that of encrypted media
    POST /control/CHANNEL        JSON, see Channel.control: makes the channel, ends it, gives it a fault
    GET  /state/CHANNEL          JSON, see Channel.state: what it has offered so far

Whoever sends the header X-Refuse is answered 401, as somebody whose token is not wanted.

`python3 -m tests.fakes.livesource` serves until it is killed and prints {"url": …} when it is ready.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.fakes.channel import Channel, Fault
from tests.fakes.media import KINDS, MediaSpec, ensure_media

if TYPE_CHECKING:
    from types import TracebackType

    from tests.fakes.media import Media

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
# A media segment can still be fetched for a while after it left the playlist (RFC 8216, 6.2.2).
LINGER_SEGMENTS = 2
SPEC_KEYS = ("segment", "bitrate", "seconds", "size", "kind")
FILE = re.compile(r"(?:(?P<rendition>[a-z]+)-)?(?:(?P<index>\d{5})\.(?:ts|m4s)|init(?P<init>\d)\.mp4)", re.ASCII)
TYPES = {".ts": "video/mp2t", ".m4s": "video/iso.segment"}


class LiveSource:
    """The server: a context manager that serves from a thread of this process. `url()` names its channels."""

    def __init__(self, spec: MediaSpec | None = None, *, window: int = 15, port: int = 0) -> None:
        self.spec = spec or MediaSpec()
        self.window = window
        self.channels: dict[str, Channel] = {}
        self.lock = threading.Lock()
        ensure_media(self.spec)
        self.server = _Server(("127.0.0.1", port), self)

    def __enter__(self) -> LiveSource:
        threading.Thread(target=self.server.serve_forever, name="livesource", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def url(self, channel: str, playlist: str = "live") -> str:
        """The address to record; the playlist "master" offers all renditions."""
        return f"{self.address}/{channel}/{playlist}.m3u8"

    def channel(self, name: str, order: dict[str, Any] | None = None) -> Channel:
        """The channel; made now if it is new, by the order's "window", "elapsed", "speed", and what MediaSpec has."""
        order = order or {}
        with self.lock:
            if name not in self.channels:
                changes = {key: order[key] for key in SPEC_KEYS if key in order}
                media = ensure_media(replace(self.spec, **changes))
                elapsed = order.get("elapsed", 3.0 * media.spec.segment)
                window, speed = order.get("window", self.window), order.get("speed", 1.0)
                self.channels[name] = Channel(media, window, elapsed, speed)
            return self.channels[name]

    def control(self, name: str, **order: Any) -> None:
        """As POST /control/NAME; "for" is a word of Python's, say `for_` here."""
        order = {key.rstrip("_"): value for key, value in order.items()}
        self.channel(name, order).control(order)

    def go_off_air(self, name: str) -> None:
        """Nothing is there: 404, until the next broadcast begins."""
        self.control(name, gone=True)

    def go_live(self, name: str, *, elapsed: float = 0.0, seconds: int | None = None) -> Channel:
        """A new broadcast of a channel begins now; the last one is forgotten here, and returned then."""
        spec = self.spec if seconds is None else replace(self.spec, seconds=seconds)
        with self.lock:
            begun = Channel(ensure_media(spec), self.window, elapsed)
            self.channels[name] = begun
        return begun

    def state(self, name: str) -> dict[str, Any]:
        """As GET /state/NAME."""
        return self.channels[name].state()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], source: LiveSource) -> None:
        super().__init__(address, _Handler)
        self.source = source

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away whenever they like: that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def source(self) -> LiveSource:
        assert isinstance(self.server, _Server)
        return self.server.source

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Nothing on stderr for each request."""

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.removeprefix("/control/")
        self.source.channel(name, order).control(order)
        self.do_state(name)

    def do_GET(self) -> None:
        name, _, file = self.path.partition("?")[0].lstrip("/").partition("/")
        if "X-Refuse" in self.headers:
            self.answer(401)
        elif name == "state":
            self.do_state(file)
        elif file.endswith(".m3u8"):
            self.do_playlist(self.source.channel(name), file.removesuffix(".m3u8"))
        elif file == "key" or FILE.fullmatch(file):
            self.do_media(self.source.channel(name), file)
        else:
            self.answer(404)

    def do_state(self, name: str) -> None:
        channel = self.source.channels.get(name)
        if channel is None:
            self.answer(404)
        else:
            self.answer(200, json.dumps(channel.state()).encode(), "application/json")

    def do_playlist(self, channel: Channel, name: str) -> None:
        if (fault := channel.fault_on("playlist")) is not None and not self.passes(channel, "playlist", fault):
            return
        rendition = "" if name == "live" else name
        if channel.is_gone or (name != "master" and channel.rendition(rendition) is None):
            channel.refused += 1
            self.answer(404)
        elif name == "master":
            self.answer(200, channel.master(), PLAYLIST_TYPE)
        else:
            channel.playlists += 1
            self.answer(200, channel.playlist(rendition), PLAYLIST_TYPE)

    def do_media(self, channel: Channel, file: str) -> None:
        match = FILE.fullmatch(file)
        index = int(match["index"]) if match and match["index"] else None
        if (fault := channel.fault_on("media", index)) is not None and not self.passes(channel, "media", fault, index):
            return
        media = channel.rendition((match["rendition"] or "") if match else "")
        if channel.is_gone or media is None:
            self.answer(404)
        elif index is not None:
            self.do_segment(channel, media, index, fault)
        else:
            path = media.init(int(match["init"])) if match else media.key
            self.answer(404) if path is None else self.answer(200, path.read_bytes(), "application/octet-stream")

    def passes(self, channel: Channel, what: str, fault: Fault, index: int | None = None) -> bool:
        """Misbehave instead of answering; true when the request is to be answered all the same."""
        if fault.kind.isdigit():
            self.answer(int(fault.kind))
            return False
        if fault.kind == "drop":
            self.close_connection = True
            return False
        if fault.kind == "stall":
            channel.outlast(what, "stall", index)
        return True

    def do_segment(self, channel: Channel, media: Media, index: int, fault: Fault | None) -> None:
        if not max(0, channel.first() - LINGER_SEGMENTS) <= index <= channel.last():
            self.answer(404)
            return
        body, kind = media.segment(index).read_bytes(), TYPES[media.suffix]
        if fault is not None and fault.kind == "cut":
            self.head(200, len(body), kind)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if fault is not None and fault.kind == "slow":
            self.head(200, len(body), kind)
            with channel.drips():
                self.drip(body, fault.rate)
        else:
            self.answer(200, body, kind)
        if media is channel.media:
            channel.deliver(index)

    def drip(self, body: bytes, rate: int) -> None:
        """Write at so many bytes a second."""
        step = max(1, rate // 10)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            threading.Event().wait(0.1)

    def answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        self.head(status, len(body), kind)
        self.wfile.write(body)

    def head(self, status: int, length: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--window", type=int, default=15, help="media segments in the playlist")
    parser.add_argument("--segment", type=int, default=2, help="seconds in a media segment")
    parser.add_argument("--seconds", type=int, default=600, help="length of a broadcast at most")
    parser.add_argument("--bitrate", default="200k")
    parser.add_argument("--kind", choices=KINDS, default="ts")
    args = parser.parse_args()
    spec = MediaSpec(segment=args.segment, seconds=args.seconds, bitrate=args.bitrate, kind=args.kind)
    source = LiveSource(spec, window=args.window, port=args.port)
    print(json.dumps({"url": source.address}), flush=True)
    source.server.serve_forever()


if __name__ == "__main__":
    main()
