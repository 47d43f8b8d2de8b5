# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks once for what a playlist marks as a gap (EXT-X-GAP), where streamlink would ask five times in ten seconds.

Such a media segment is not there, says the source, and clients should not load it (RFC 8216bis, 4.4.4.7). streamlink
does not know the tag. All that comes behind it waits meanwhile, and a run that begins with some gaps in the window may
have spent the time that its links are good for. It is asked for all the same: what is there after all is recorded. If
it is not, nothing is written in its place.

streamlink loads this file as it loads plugins, beside streamvault_guard.py, so it imports what streamlink itself has.
"""

from __future__ import annotations

import logging
import threading
from itertools import islice
from typing import Any
from urllib.parse import urljoin

import requests
from requests.utils import requote_uri
from streamlink.stream.hls import HLSStreamWriter  # type: ignore[attr-defined]  # where every version has it

HEAD = b"#EXTM3U"
TAG = "#EXT-X-GAP"
REMEMBERED = 4096
MARK = "streamvault_gap"

log = logging.getLogger("streamlink.plugins.streamvault_gaps")
_send, _write = requests.Session.send, HLSStreamWriter.write


class Gaps:
    """The addresses that playlists mark; several threads read playlists, and others load what they list."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._lock = threading.Lock()

    def learn(self, url: str, body: bytes) -> None:
        """What a playlist at this address lists."""
        if TAG.encode() not in body and not self._known:
            return
        is_gap = is_part = False
        with self._lock:
            for line in body.decode("utf-8", "replace").splitlines():
                if line.startswith("#"):
                    is_gap = is_gap or line.strip() == TAG
                    is_part = is_part or line.startswith("#EXT-X-BYTERANGE:")
                elif line.strip():
                    self._note(requote_uri(urljoin(url, line.strip())), is_gap=is_gap and not is_part)
                    is_gap = is_part = False
            for address in list(islice(self._known, max(0, len(self._known) - REMEMBERED))):
                del self._known[address]

    def _note(self, address: str, *, is_gap: bool) -> None:
        if is_gap:
            self._known[address] = None
        else:
            self._known.pop(address, None)

    def has(self, url: str | None) -> bool:
        return url in self._known


gaps = Gaps()


def send(session: requests.Session, request: Any, **kwargs: Any) -> Any:
    """In place of requests.Session's own."""
    response = _send(session, request, **kwargs)
    if gaps.has(request.url) and response.status_code >= 400:
        log.info("A media segment that is marked as a gap is not there")
        response.content  # noqa: B018 - read to its end, so that the connection is free
        response.status_code, response.reason = 200, "a gap"
        response._content, response._content_consumed = b"", True
        vars(response)[MARK] = True
    elif not kwargs.get("stream", session.stream) and response.content.startswith(HEAD):
        gaps.learn(response.url, response.content)
    return response


def write(writer: Any, segment: Any, result: Any, *data: Any) -> None:
    """In place of HLSStreamWriter's own: an empty media segment would be decrypted, or be sound without its time."""
    if MARK not in vars(result):
        _write(writer, segment, result, *data)


HLSStreamWriter.write = write  # type: ignore[method-assign, assignment]
requests.Session.send = send  # type: ignore[method-assign, assignment]
