# SPDX-License-Identifier: GPL-3.0-or-later
"""A source of media, and what streamlink does about one that goes away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment
from streamvaultd.core.recording import events as ev

CHUNK_SECONDS = 2.0
CHUNK_BYTES = 800_000
WINDOW = 15

SILENT = "warning stream.segmented: No new segments for more than 6.00s. Stopping..."
GONE = "error: Unable to open URL: http://h/live.m3u8 (404 Client Error: Not Found for url: http://h/live.m3u8)"
UNREACHABLE = (
    "error: Unable to open URL: http://h/live.m3u8 (HTTPConnectionPool(host='h', port=80): Max retries exceeded)"
)
NO_SPACE = "error: Error when writing to output: [Errno 28] No space left on device, exiting"
READ_ONLY = "error: Error when writing to output: [Errno 30] Read-only file system, exiting"
UNKNOWN_SITE = "error: No plugin can handle URL: http://h/live.m3u8"
INTERRUPTED = "Interrupted! Exiting..."


class Air(Enum):
    """What the source offers."""

    LIVE = auto()
    ENDED = auto()  # the playlist says so
    OFFLINE = auto()  # 404
    ADS = auto()  # advertisements, which streamlink leaves out
    FROZEN = auto()  # the playlist stays as it is, and does not say that it is over
    UNSUPPORTED = auto()


PROBED = {
    Air.LIVE: ev.Outcome.LIVE,
    Air.ADS: ev.Outcome.LIVE,
    Air.ENDED: ev.Outcome.ENDED,
    Air.OFFLINE: ev.Outcome.OFFLINE,
    Air.FROZEN: ev.Outcome.LIVE,
    Air.UNSUPPORTED: ev.Outcome.UNSUPPORTED,
}


class Source:
    """Chunks of two seconds, numbered; the last fifteen are on offer. Instants are seconds of UTC."""

    def __init__(self, now: float) -> None:
        self.air = Air.LIVE
        self.since = now
        self.before = 10
        self.is_misnumbered = False  # its playlist advances, and streamlink does not see that

    def answer(self, probe: int, now: float, *, is_reachable: bool) -> Callable[[Moment], ev.SourceProbed]:
        """What it says when it is asked."""
        outcome = PROBED[self.air] if is_reachable else ev.Outcome.TROUBLE
        mark = self._mark(now)
        return lambda at: ev.SourceProbed(at=at, probe=probe, outcome=outcome, detail="", mark=mark)

    def _mark(self, now: float) -> str:
        if self.air is Air.FROZEN and self.is_misnumbered:
            return str(now)
        return str(self.aired(now)) if self.air in (Air.LIVE, Air.FROZEN) else ""

    def aired(self, now: float) -> int:
        """How many chunks it has offered so far."""
        return self.before + (int((now - self.since) / CHUNK_SECONDS) if self.air is Air.LIVE else 0)

    def change(self, air: Air, now: float) -> None:
        """It goes on or off."""
        self.before = self.aired(now)
        self.air = air
        self.since = now

    @property
    def has_media(self) -> bool:
        """Whether there is something to fetch."""
        return self.air in (Air.LIVE, Air.ENDED, Air.FROZEN) and self.before > 0

    def end_of_run(self, *, has_media: bool) -> tuple[float, Evidence] | None:
        """After how many seconds a run ends, and how; None while the source is live."""
        if self.air in (Air.LIVE, Air.ADS):
            return None
        if not has_media and self.air is Air.OFFLINE:
            return 0.7, Evidence(status=1, log=(GONE,))
        if not has_media and self.air is Air.UNSUPPORTED:
            return 0.7, Evidence(status=1, log=(UNKNOWN_SITE,))
        return {
            Air.ENDED: (1.0, Evidence(status=0)),
            Air.FROZEN: (8.0, Evidence(status=0, log=(SILENT,))),
            Air.OFFLINE: (5.0, Evidence(status=0, log=(SILENT,))),
            Air.UNSUPPORTED: (5.0, Evidence(status=0, log=(SILENT,))),
        }[self.air]


@dataclass
class Run:
    """A process in its scope."""

    attempt: int
    started: float = 0.0
    stops: int = 0
    stops_needed: int = 1
    stalled: bool = False
    gated: bool = False  # its scope is up, its gate was never opened
    shim: bool = True  # its supervising process lives
    is_doomed: bool = False  # the kernel is about to kill it for want of memory
