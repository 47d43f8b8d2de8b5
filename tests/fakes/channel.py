# SPDX-License-Identifier: GPL-3.0-or-later
"""One live broadcast: which media segments its playlist offers now, and how it misbehaves."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fakes.media import OTHER_SIZE, ensure_media
from tests.fakes.playlist import AUDIO, HIGH, master_playlist, media_playlist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.media import Media

# What a fault may be: a status instead of the answer, no answer, a closed connection, half of each media segment,
# media at `rate` bytes/s, and a playlist that does not advance (the broadcast waits).
FAULTS = ("403", "404", "500", "stall", "drop", "cut", "slow", "freeze")


@dataclass(slots=True)
class Fault:
    """One misbehaviour, of playlist, media or all, until cleared or until a monotonic time.

    `only`: of these media segments, None for all of them.
    """

    kind: str
    on: str = "all"
    until: float | None = None
    rate: int = 0
    only: frozenset[int] | None = None


@dataclass(slots=True)
class Spell:
    """A stretch of misbehaviour, on the monotonic clock; one without an end goes on."""

    kind: str
    on: str
    since: float
    until: float = math.inf

    @property
    def length(self) -> float:
        return self.until - self.since


class Delivery(NamedTuple):
    """A media segment that was given away whole, at a monotonic time."""

    at: float
    segment: int


@dataclass(slots=True)
class Channel:
    """One broadcast. `elapsed`: seconds that it was on air already when the channel was made.

    `speed`: seconds of media for each second on the clock.
    """

    media: Media
    window: int = 15
    elapsed: float = 6.0
    speed: float = 1.0
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    frozen: float | None = None
    ended_at: float | None = None
    ended_monotonic: float | None = None
    final: int | None = None
    is_gone: bool = False
    is_dated: bool = False
    """whether the playlist says when each media segment was broadcast"""
    fault: Fault | None = None
    high: Media | None = None
    """the same broadcast in a larger picture, while it is offered"""
    changed: threading.Condition = field(default_factory=threading.Condition)
    playlists: int = 0
    refused: int = 0
    """requests for a playlist while the channel was gone"""
    delivered: list[int] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    """every time that a media segment was given away whole"""
    dripping: int = 0
    """media segments that are given away slowly just now"""
    begun: float = 0.0
    shows: list[int] = field(default_factory=list)
    """the media segments with which further shows of the channel begin"""
    spells: list[Spell] = field(default_factory=list)
    """its log: how it misbehaved, and when"""

    def __post_init__(self) -> None:
        self.begun = self.started

    def last(self) -> int:
        """The newest media segment that the playlist offers; -1 when there is none yet."""
        if self.final is not None:
            return self.final
        now = time.monotonic() if self.frozen is None else self.frozen
        on_air = (now - self.started) * self.speed + self.elapsed
        return min(int(on_air / self.media.spec.segment), self.media.count) - 1

    def first(self) -> int:
        """The oldest one that it still offers."""
        return max(0, self.last() - self.window + 1)

    def offered_at(self, index: int) -> float:
        """When the playlist offered a media segment first, on the monotonic clock."""
        at = self.begun + ((index + 1) * self.media.spec.segment - self.elapsed) / self.speed
        for spell in self.spells:
            if spell.kind == "freeze" and spell.since < at:
                at += spell.length
        return at

    def date(self, index: int) -> float:
        """When the first picture of a media segment was broadcast, seconds since 1970."""
        return self.started_at + (index * self.media.spec.segment - self.elapsed) / self.speed

    def withdrawn_at(self, index: int) -> float:
        """When the playlist offered it no more; the last ones of a broadcast stay."""
        if self.final is not None and index + self.window > self.final:
            return math.inf
        return self.offered_at(index + self.window)

    def is_ended(self) -> bool:
        return self.final is not None or self.last() == self.media.count - 1

    def rendition(self, name: str) -> Media | None:
        """What is offered under a name; the main one has none."""
        return {"": self.media, AUDIO: self.media.audio, HIGH: self.high}.get(name)

    def playlist(self, rendition: str = "") -> bytes:
        """RFC 8216 media playlist, as it is now."""
        media = self.rendition(rendition)
        assert media is not None
        offered = range(self.first(), self.last() + 1)
        date = self.date if self.is_dated else None
        return media_playlist(media, rendition, offered, is_ended=self.is_ended(), shows=self.shows, date=date)

    def master(self) -> bytes:
        """Multivariant playlist, as it is now."""
        names = ("", AUDIO, HIGH)
        return master_playlist((name, media) for name in names if (media := self.rendition(name)) is not None)

    def control(self, order: dict[str, Any]) -> None:
        """Obey one order; keys that are absent change nothing.

        "end": true         the broadcast is over: ENDLIST after what was offered so far
        "again": true       the next show begins, behind what the playlist still offers of the one that is over
        "gone": bool        404 for everything
        "fault": kind|null  one of FAULTS, with "on": "playlist"|"media"|"all", "for": seconds, "rate": bytes/s,
                            "only": [numbers of media segments]
        "high": bool        whether the multivariant playlist offers a larger picture, too
        """
        high = ensure_media(replace(self.media.spec, size=OTHER_SIZE)) if order.get("high") else None
        with self.changed:
            if order.get("end") and self.final is None:
                self.final, self.ended_at, self.ended_monotonic = self.last(), time.time(), time.monotonic()
            if order.get("again") and self.final is not None and self.ended_monotonic is not None:
                self._begin_again(self.final + 1, self.ended_monotonic)
            if "high" in order:
                self.high = high
            self._set_gone(is_gone=order.get("gone", self.is_gone))
            if "fault" in order:
                self._set_fault(order)
            self.changed.notify_all()

    def _begin_again(self, first: int, ended: float) -> None:
        now = time.monotonic()
        self.started += now - ended
        self.spells.append(Spell("freeze", "playlist", ended, now))
        self.shows.append(first)
        self.final = self.ended_at = self.ended_monotonic = None

    def _set_gone(self, *, is_gone: bool) -> None:
        if is_gone != self.is_gone:
            self._end_spells(lambda spell: spell.kind == "gone")
            if is_gone:
                self.spells.append(Spell("gone", "all", time.monotonic()))
        self.is_gone = is_gone

    def _end_spells(self, which: Callable[[Spell], bool]) -> None:
        for spell in filter(which, self.spells):
            spell.until = min(spell.until, time.monotonic())

    def _set_fault(self, order: dict[str, Any]) -> None:
        self._thaw()
        self._end_spells(lambda spell: spell.kind != "gone")
        kind = order["fault"]
        if kind is None:
            self.fault = None
            return
        if kind not in FAULTS:
            raise ValueError(f"unknown fault '{kind}': one of {', '.join(FAULTS)}")
        until = time.monotonic() + order["for"] if "for" in order else None
        only = frozenset(order["only"]) if "only" in order else None
        self.fault = Fault(kind, order.get("on", "all"), until, order.get("rate", 10_000), only)
        now = time.monotonic()
        self.spells.append(Spell(kind, self.fault.on, now, math.inf if until is None else until))
        if kind == "freeze":
            self.frozen = now

    def _thaw(self) -> None:
        if self.frozen is not None:
            until = self.fault.until if self.fault is not None else None
            resumed = time.monotonic() if until is None else min(until, time.monotonic())
            self.started += resumed - self.frozen
            self.frozen = None

    def fault_on(self, what: str, index: int | None = None) -> Fault | None:
        """The fault that holds now for "playlist" or "media", of one media segment perhaps."""
        with self.changed:
            if self.fault is not None and self.fault.until is not None and time.monotonic() >= self.fault.until:
                self._thaw()
                self.fault = None
            if self.fault is None or self.fault.on not in ("all", what):
                return None
            spared = self.fault.only is not None and index not in self.fault.only
            return None if spared else self.fault

    def outlast(self, what: str, kind: str, index: int | None = None) -> None:
        """Return when the fault of this kind is over."""
        while (fault := self.fault_on(what, index)) is not None and fault.kind == kind:
            with self.changed:
                self.changed.wait(None if fault.until is None else max(0.0, fault.until - time.monotonic()))

    def deliver(self, index: int) -> None:
        """Note that a media segment was given away whole."""
        self.delivered.append(index)
        self.deliveries.append(Delivery(time.monotonic(), index))

    @contextmanager
    def drips(self) -> Iterator[None]:
        """While a media segment is given away slowly."""
        with self.changed:
            self.dripping += 1
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.dripping -= 1

    def wait_dripping(self, timeout: float) -> bool:
        """Until a media segment is being given away slowly."""
        with self.changed:
            return self.changed.wait_for(lambda: self.dripping > 0, timeout)

    def state(self) -> dict[str, Any]:
        """What was offered; `first` and `last` are media segments counted from 0, the numbers of the playlist."""
        fault = self.fault_on("playlist") or self.fault_on("media")
        return {
            "startedAt": self.started_at,
            "offered": self.last() + 1,
            "first": self.first(),
            "last": self.last(),
            "ended": self.is_ended(),
            "endedAt": self.ended_at,
            "fault": fault.kind if fault is not None else None,
            "segmentSeconds": self.media.spec.segment,
            "framesPerSegment": self.media.frames_per_segment,
            "playlistRequests": self.playlists,
            "delivered": list(self.delivered),
        }
