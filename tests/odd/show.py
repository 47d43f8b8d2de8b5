# SPDX-License-Identifier: GPL-3.0-or-later
"""One broadcast with its oddities: what it answers to whom, and what a perfect client could have had.

Everything follows from the seconds since the broadcast began, so that what was on offer can be computed afterwards.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

from tests.odd.clips import Clip
from tests.odd.look import KINDS

LINGER: Final = 3
"""For so many media segments more one can be fetched after it left the playlist (RFC 8216, 6.2.2)."""
LOOK: Final = 0.05
"""Seconds between two looks of the perfect client."""
ERROR_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Service temporarily unavailable</h1></body></html>\n" * 40
FOREVER: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A media segment as it is offered: `seconds` as its playlist says, else those it has.

    `change` makes what is sent of what was encoded; `lacks` are the kinds that this takes away, and the sound
    of `other` is in it then. `status` is answered
    until `until` seconds after it was offered first; 200 means a page of HTML.
    """

    clip: Clip
    index: int
    seconds: float | None = None
    tags: tuple[str, ...] = ()
    change: Callable[[bytes], bytes] | None = None
    lacks: str = ""
    other: Clip | None = None
    status: int = 0
    until: float = 0.0

    @property
    def real(self) -> float:
        return float(self.clip.spec.segment)

    @property
    def told(self) -> float:
        return self.real if self.seconds is None else self.seconds

    def body(self) -> bytes:
        data = self.clip.path(self.index).read_bytes()
        return data if self.change is None else self.change(data)

    def digests(self, kind: str) -> list[str]:
        """Of the pictures or sound packets in it."""
        return [digest for program in self.programs(kind) for digest in program]

    def programs(self, kind: str) -> tuple[list[str], list[str]]:
        """The same for the first program and for the other one."""
        return [] if kind in self.lacks else self._of(self.clip, kind), self._of(self.other, kind)

    def _of(self, clip: Clip | None, kind: str) -> list[str]:
        return [] if clip is None or kind not in clip.digests else clip.digests[kind][self.index]


class Down(NamedTuple):
    """A playlist answers `status` from one second of the broadcast until another."""

    since: float
    until: float
    status: int = 404


@dataclass(frozen=True, slots=True)
class Track:
    """Media segments that one media playlist offers."""

    name: str
    pieces: tuple[Piece, ...]
    downs: tuple[Down, ...] = ()

    def status(self, at: float) -> int:
        """Of the playlist."""
        return next((down.status for down in self.downs if down.since <= at < down.until), 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a source offers its media. `window` and `ahead` (what was on air at the beginning) are media segments."""

    window: int = 10
    ahead: int = 6
    zero: bool = False
    """the playlist's sequence number never changes"""
    restarts: tuple[int, ...] = ()
    """with these media segments the packager begins anew: sequence number 0, and nothing older"""
    token: float = 0.0
    """seconds that the links of a master playlist are good for"""
    zipped: bool = False
    moved: bool = False
    ranges: bool = False
    parts: bool = False
    six: bool = False
    key: str = ""
    """AES-128, or SAMPLE-AES"""
    endlist: bool = False
    codecs: str = ""
    head: tuple[str, ...] = ()
    dash: bool = False
    """streamlink begins near the newest media segment then, and nothing changes that"""
    silent_map: bool = False
    """a change of the initialisation is not announced by a discontinuity"""


class Request(NamedTuple):
    """For a media segment, at a second of the broadcast; `status` is what Show.status has."""

    at: float
    track: str
    number: int
    status: int


@dataclass(slots=True)
class Show:
    """A broadcast; what is tested begins it by asking. All tracks have media segments of the same lengths."""

    name: str
    tracks: tuple[Track, ...]
    manner: Manner = field(default_factory=Manner)
    begun: float | None = None
    absences: list[Down] = field(default_factory=list)
    """when nothing is answered but an error"""
    sent: dict[str, list[Request]] = field(default_factory=dict)
    """by client"""
    lock: threading.Lock = field(default_factory=threading.Lock)
    ends: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.ends = tuple(accumulate(piece.real for piece in self.pieces))

    # --- time ------------------------------------------------------------------------------------------------------

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return self.tracks[0].pieces

    @property
    def target(self) -> int:
        return max(math.ceil(piece.told) for track in self.tracks for piece in track.pieces)

    @property
    def lead(self) -> float:
        """Seconds of media that were on air before the first request."""
        return self.ends[self.manner.ahead - 1]

    @property
    def over(self) -> float:
        """The second at which the playlist goes away."""
        return self.ends[-1] - self.lead + 2.0 * self.target

    def begin(self) -> None:
        with self.lock:
            if self.begun is None:
                self.begun = time.monotonic()

    def now(self) -> float:
        """Seconds since it began."""
        return 0.0 if self.begun is None else time.monotonic() - self.begun

    def offered_at(self, index: int) -> float:
        """The second in which a media segment appears in the playlist."""
        return self.ends[index] - self.lead

    def listed(self, at: float) -> range:
        """The numbers of the media segments in the playlist."""
        last = bisect_right(self.ends, at + self.lead + 1e-6) - 1
        first = max([0, last - self.manner.window + 1, *(start for start in self.manner.restarts if start <= last)])
        return range(first, last + 1)

    def is_away(self, at: float) -> bool:
        return any(absence.since <= at < absence.until for absence in self.absences)

    def go_away(self, seconds: float, status: int = 503) -> None:
        """From now on, for so long."""
        self.absences.append(Down(self.now(), self.now() + seconds, status))

    def status(self, track: Track, index: int, at: float) -> int:
        """What a request for a media segment is answered; 0 for what is no media."""
        piece, listed = track.pieces[index], self.listed(at)
        if self.is_away(at):
            return 503
        if index >= listed.stop or index < listed.start - LINGER or at > self.over + LINGER * self.target:
            return 404
        if piece.status and at < self.offered_at(index) + piece.until:
            return 0 if piece.status == 200 else piece.status
        return 200

    # --- the perfect client ----------------------------------------------------------------------------------------

    def haveable(self, since: float, until: float | None = None) -> dict[str, set[int]]:
        """By track, the media segments that a client could have had that looks all the time and tries at once."""
        had: dict[str, set[int]] = {track.name: set() for track in self.tracks}
        known: dict[str, set[int]] = {track.name: set() for track in self.tracks}
        for at in _looks(since, self.over if until is None else until):
            for track in self.tracks:
                if track.status(at) == 200 and not self.is_away(at):
                    known[track.name].update(self.listed(at))
                wanted = known[track.name] - had[track.name]
                had[track.name] |= {index for index in wanted if self.status(track, index, at) == 200}
        return had

    def digests(self, kind: str, had: Mapping[str, set[int]] | None = None) -> Counter[str]:
        """Of these media segments, or of all."""
        found: Counter[str] = Counter()
        for track in self.tracks:
            numbers = range(len(track.pieces)) if had is None else sorted(had[track.name])
            for number in numbers:
                found.update(track.pieces[number].digests(kind))
        return found

    def order(self, kind: str) -> dict[str, int]:
        """The place of each digest that comes once."""
        some = [piece.programs(kind) for track in self.tracks for piece in track.pieces]
        # the stream of another program comes behind
        every = [digest for number in (0, 1) for programs in some for digest in programs[number]]
        times = Counter(every)
        return {digest: number for number, digest in enumerate(every) if times[digest] == 1}

    @property
    def kinds(self) -> str:
        """Of what it has."""
        return "".join(kind for kind in KINDS if self.digests(kind))

    def had_by(self, client: str) -> dict[str, set[int]]:
        """What could be had from a client's first request on."""
        asked = self.sent[client]
        had = self.haveable(asked[0].at)
        if self.manner.dash:
            first = min(each.number for each in asked)
            return {name: {index for index in numbers if index >= first} for name, numbers in had.items()}
        return had


def _looks(since: float, until: float) -> Iterator[float]:
    for number in range(max(1, math.ceil((until - since) / LOOK))):
        yield since + number * LOOK
