# SPDX-License-Identifier: GPL-3.0-or-later
"""Playlists that count wrongly, or do not come, as the newest streamlink reads them with what is loaded beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from streamvaultd.core.recording.loglines import date_in
from tests.component.captures import World, world
from tests.component.test_confine import installed

KEY = bytes(range(16))
MAP = '#EXT-X-MAP:URI="init"\n'
CIPHER = '#EXT-X-KEY:METHOD=AES-128,URI="/key"\n'
TAGS = {"anew": CIPHER, "remade": MAP}
RELOADS = {
    # at each request for the playlist: the number of the first entry, and the entries; first it is asked what it is
    "stays": ((0, "abc"), (0, "abc"), (0, "bcd"), (0, "cdef"), (0, "defg")),
    "anew": ((5, "abcd"), (5, "abcd"), (6, "bcde"), (0, "A"), (0, "AB")),
    "remade": ((5, "abcd"), (5, "abcd"), (6, "bcde"), (0, "A"), (0, "AB")),
    "hangs": ((0, "abc"), (0, "abc"), (1, "bcd"), (2, "cde")),
}
HANGS = 2
"""The request for the playlist that is not answered until there is another one."""
LIMIT = 60.0
MANIFESTS = ("abc", *5 * [""], "bcd", "bcd", "e")
"""Of DASH, at each request for it; "" is an error, and streamlink tries four times. The last one is the end."""


@pytest.fixture
def at() -> Iterator[World]:
    with world() as found:
        yield found


@contextmanager
def serving(answer: Callable[[str], bytes | None]) -> Iterator[str]:
    """A server on loopback that answers with what is told of a path, and with 404 where that is nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path.strip("/"))
            body = b"" if found is None else found
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who was not answered has hung up
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            """Nothing on stderr for each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def source() -> Iterator[str]:
    """/KIND/live.m3u8 advances with every request; what it lists is encrypted with its number as the vector."""
    asked, again = dict.fromkeys(RELOADS, 0), Event()
    initialisations = iter((b"old ", b"new "))

    def answer(kind: str, file: str) -> bytes:
        if file == "init":
            return next(initialisations)
        if not file.endswith(".m3u8"):
            first, names = next((number, names) for number, names in RELOADS[kind] if file in names)
            vector = (first + names.index(file)).to_bytes(16, "big")
            body = f"{file} ".encode()
            return AES.new(KEY, AES.MODE_CBC, vector).encrypt(pad(body, 16)) if kind == "anew" else body
        reload, asked[kind] = asked[kind], asked[kind] + 1
        if kind == "hangs" and reload > HANGS:
            again.set()
        elif kind == "hangs" and reload == HANGS:
            again.wait(2 * LIMIT)
        first, names = RELOADS[kind][min(reload, len(RELOADS[kind]) - 1)]
        entries = "".join(f"#EXTINF:1,\n{name}\n" for name in names)
        end = "#EXT-X-ENDLIST\n" if reload >= len(RELOADS[kind]) - 1 else ""
        head = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        return f"{head}{TAGS.get(kind, '')}{entries}{end}".encode()

    def answer_path(path: str) -> bytes:
        kind, _, file = path.partition("/")
        return KEY if kind == "key" else answer(kind, file)

    with serving(answer_path) as url:
        yield url


@pytest.mark.parametrize(("kind", "media"), [
    ("stays", b"a b c d e f g "),
    ("anew", b"a b c d e A B "),
    ("remade", b"old a b c d e new A B "),
])  # fmt: skip
def test_all_that_is_new_is_fetched_once_and_deciphered(at: World, kind: str, media: bytes) -> None:
    with source() as url:
        at.record(f"hls://{url}/{kind}/live.m3u8", at.folder / "out", installed()).ended()
    assert (at.folder / "out").read_bytes() == media
    told = [entry["MESSAGE"] for entry in at.journal.entries()]
    assert any("A playlist counts its entries wrongly" in line for line in told), told


def manifest(names: str, *, is_over: bool) -> bytes:
    """Of DASH, with these media segments of a second each."""
    kind, first = "static" if is_over else "dynamic", "abcde".index(names[0])
    times = f'<S t="{first}" d="1" r="{len(names) - 1}"/>'
    return (
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="{kind}" minimumUpdatePeriod="PT1S" minBufferTime="PT1S" '
        'availabilityStartTime="2026-01-01T00:00:00Z" publishTime="2026-01-01T00:00:00Z" profiles="x">'
        '<Period id="0" start="PT0S"><AdaptationSet mimeType="video/mp4">'
        f'<SegmentTemplate timescale="1" startNumber="{first}" initialization="init" media="$Number$">'
        f"<SegmentTimeline>{times}</SegmentTimeline></SegmentTemplate>"
        '<Representation id="v" bandwidth="1000" codecs="avc1.42c00b" width="16" height="16"/>'
        "</AdaptationSet></Period></MPD>"
    ).encode()


@contextmanager
def dash() -> Iterator[str]:
    """/live.mpd advances with every request, and is away for some of them."""
    asked = iter(MANIFESTS)

    def answer(file: str) -> bytes | None:
        if not file.endswith(".mpd"):
            return b"init " if file == "init" else f"{file} ".encode()
        names = next(asked, MANIFESTS[-1])
        return manifest(names, is_over=names == MANIFESTS[-1]) if names else None

    with serving(answer) as url:
        yield url


def test_a_manifest_of_dash_that_was_away_is_reloaded(at: World) -> None:
    """By itself streamlink fetches nothing more, and never ends."""
    with dash() as url:
        at.record(f"{url}/live.mpd", at.folder / "out", installed()).ended()
    assert (at.folder / "out").read_bytes() == b"init 0 1 2 3 4 "
    assert any("Failed to reload playlist" in entry["MESSAGE"] for entry in at.journal.entries())


def test_a_playlist_that_does_not_come_is_asked_for_anew(at: World) -> None:
    """By itself streamlink waits until the recording is given up here."""
    patient = tuple((name, str(2 * LIMIT)) for name in ("http-timeout", "stream-segment-timeout", "stream-timeout"))
    with source() as url:
        at.record(f"hls://{url}/hangs/live.m3u8", at.folder / "out", installed(), options=patient).ended()
    assert (at.folder / "out").read_bytes() == b"a b c d e "


DATED = "2026-11-30T21:00:05.250+01:00"


@pytest.mark.parametrize("tag", [f"#EXT-X-PROGRAM-DATE-TIME:{DATED}\n", "", "#EXT-X-PROGRAM-DATE-TIME:soon\n"])
def test_when_the_first_media_were_broadcast_is_told(at: World, tag: str) -> None:
    """Once, of what is the first in the file: the initialisation of fragmented MP4 is no media."""

    def answer(file: str) -> bytes:
        if not file.endswith(".m3u8"):
            return f"{file} ".encode()
        entries = f"{tag}#EXTINF:2,\na\n#EXT-X-PROGRAM-DATE-TIME:2026-11-30T20:00:07.250Z\n#EXTINF:2,\nb\n"
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{MAP}{entries}#EXT-X-ENDLIST\n".encode()

    with serving(answer) as url:
        at.record(f"hls://{url}/live.m3u8", at.folder / "out", installed()).ended()
    assert (at.folder / "out").read_bytes() == b"init a b "
    told = [date for entry in at.journal.entries() if (date := date_in(entry["MESSAGE"])) is not None]
    assert told == ([1_796_068_805_250_000] if DATED in tag else [])
