# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks anew what is not answered within a third of the source's window; the second time as long as streamlink would.

A server, or something on the way, may drop a connection without a word. streamlink waits for its time-out then, the
same for all sources, while a small window moves on. How long the window is, each media playlist tells. A server that
is as slow as that loses nothing: it is asked once more, with streamlink's own limit, and is waited for from then on.
What is learned goes to the log: the daemon decides how long a silence may last. So does a refused playlist, and
one that is gone before its end was read: a run that has much to fetch reads it again when most of that is there, which
may be too late.

streamlink loads this file as it loads plugins, beside streamvault_guard.py, so it imports what streamlink itself has.
What the main thread asks, at the start, is left alone, and so is what is read while it comes.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import Any

import requests
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import Timeout
from urllib3.exceptions import TimeoutError as NoAnswer

HEAD = b"#EXTM3U"
SHARE = 3.0
LEAST = 3.0
"""Seconds that anybody may take."""

TOLD_SOON = 10.0
TOLD_AGAIN = 3600.0
"""Seconds between two lines that tell what was learned: when it has changed, twice as many each time; and at most.

A daemon that was begun since reads none that came before.
"""

GONE = frozenset({401, 403, 404, 410})
REFUSED = frozenset({401, 403})
"""Nothing that is asked again: links expire. streamlink tells of it after three tries, some seconds later."""
OVERDUE = 3.0
"""So many media segments after it was read a playlist should have been read again."""

_TARGET = re.compile(rb"^#EXT-X-TARGETDURATION:\s*([0-9]{1,6})", re.ASCII | re.MULTILINE)
_LENGTH = re.compile(rb"^#EXTINF:\s*([0-9]{1,6}(?:\.[0-9]{1,9})?)", re.ASCII | re.MULTILINE)
log = logging.getLogger("streamlink.plugins.streamvault_patience")
_send = requests.Session.send


class Patience:
    """Of one run: of the streams that it muxes, the smallest window counts."""

    def __init__(self) -> None:
        self.windows: dict[int, float] = {}
        self.paces: dict[int, tuple[float, float]] = {}
        self.read_at: dict[int, float] = {}
        self.refused: set[int] = set()
        self.told = (0.0, 0.0)
        self.told_at: float | None = None
        self.pause = TOLD_SOON
        self.least = LEAST

    def learn(self, thread: int, body: bytes) -> None:
        """What a playlist lists; a media segment may come while it is made, so its length is never too long."""
        lengths = [float(length) for length in _LENGTH.findall(body)]
        if sum(lengths) > 0:
            self.windows[thread] = max(sum(lengths) / SHARE, 1.5 * max(lengths))
            target = _TARGET.search(body)  # the pause between two reads, however short its media segments are
            self.paces[thread] = sum(lengths), max(*lengths, float(target[1]) if target else 0.0)
            self.read_at[thread] = time.monotonic()
            self.refused.discard(thread)

    def is_refusal(self, thread: int, status: int) -> bool:
        """Whether this is the first time since it was read that a playlist is refused."""
        if status not in REFUSED or thread not in self.paces or thread in self.refused:
            return False
        self.refused.add(thread)
        return True

    def news(self, now: float) -> tuple[float, float] | None:
        """The smallest window and the longest media segment, if that is to be told (again)."""
        paces = list(self.paces.values())
        if not paces:
            return None
        pace = min(window for window, _ in paces), max(length for _, length in paces)
        is_other = any(abs(new - old) > old / 2 for new, old in zip(pace, self.told, strict=True))
        if self.told_at is not None and now - self.told_at < (self.pause if is_other else TOLD_AGAIN):
            return None
        self.pause = min(2 * self.pause, TOLD_AGAIN) if self.told_at is not None else self.pause
        self.told, self.told_at = pace, now
        return pace

    def unread(self, thread: int, status: int, now: float) -> float | None:
        """How long (s) a playlist that is gone was not read, if that is too long; once."""
        if status not in GONE or thread not in self.read_at:
            return None
        silence = now - self.read_at.pop(thread)
        return silence if silence > OVERDUE * self.paces[thread][1] else None

    def took(self, seconds: float) -> None:
        """An answer came after so long: it may take twice that."""
        self.least = max(self.least, 2 * seconds)

    def shorter_than(self, limit: Any) -> float | None:
        """How long to wait at first, if that is shorter."""
        if not self.windows or not isinstance(limit, int | float):
            return None
        share = max(min(list(self.windows.values())), self.least)
        return share if share < limit else None


patience = Patience()


def is_silence(error: BaseException) -> bool:
    """Whether nothing came; requests has another name for it once an answer has begun."""
    return isinstance(error, Timeout) or (bool(error.args) and isinstance(error.args[0], NoAnswer))


def send(session: requests.Session, request: Any, **kwargs: Any) -> Any:
    """In place of requests.Session's own; the hops of a redirect come here, too, with the limit of the whole."""
    if threading.current_thread() is threading.main_thread() or kwargs.get("stream", session.stream):
        return _send(session, request, **kwargs)
    if not kwargs.get("allow_redirects", True):
        return _send(session, request, **kwargs)
    response = _answer(session, request, kwargs)
    if silence := patience.unread(threading.get_ident(), response.status_code, time.monotonic()):
        log.warning("A playlist is gone that was not read for %.1f s: what it offered meanwhile is missing", silence)
    if patience.is_refusal(threading.get_ident(), response.status_code):
        log.warning("A playlist is refused: %d", response.status_code)
    if response.content.startswith(HEAD):
        patience.learn(threading.get_ident(), response.content)
        if news := patience.news(time.monotonic()):
            log.info("The source offers the last %.1f s, in media segments of up to %.1f s", *news)
    return response


def _answer(session: requests.Session, request: Any, kwargs: dict[str, Any]) -> Any:
    shorter = patience.shorter_than(kwargs.get("timeout"))
    if shorter is not None and request.method == "GET":
        first = time.monotonic()
        try:
            return _send(session, request, **{**kwargs, "timeout": shorter})
        except (Timeout, NoConnection) as error:
            if not is_silence(error):
                raise
        began = time.monotonic()
        response = _send(session, request, **kwargs)
        # an address that is good once had been answering
        patience.took(time.monotonic() - (began if response.status_code < 400 else first))
        return response
    return _send(session, request, **kwargs)


requests.Session.send = send  # type: ignore[method-assign, assignment]
