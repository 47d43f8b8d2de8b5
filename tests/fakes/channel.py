# SPDX-License-Identifier: GPL-3.0-or-later
"""One live broadcast: which media segments its playlist offers now, and how it misbehaves."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.media import Media

# What a fault may be: a status instead of the answer, no answer, a closed connection, half of each media segment,
# media at `rate` bytes/s, and a playlist that does not advance (the broadcast waits).
FAULTS = ("403", "404", "500", "stall", "drop", "cut", "slow", "freeze")


@dataclass(slots=True)
class Fault:
    """One misbehaviour, of playlist, media or all, until cleared or until a monotonic time."""

    kind: str
    on: str = "all"
    until: float | None = None
    rate: int = 0


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


@dataclass(slots=True)
class Channel:
    """One broadcast. `elapsed`: seconds that it was on air already when the channel was made."""

    media: Media
    window: int = 15
    elapsed: float = 6.0
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    frozen: float | None = None
    ended_at: float | None = None
    ended_monotonic: float | None = None
    final: int | None = None
    is_gone: bool = False
    fault: Fault | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    playlists: int = 0
    delivered: list[int] = field(default_factory=list)
    begun: float = 0.0
    spells: list[Spell] = field(default_factory=list)
    """its log: how it misbehaved, and when"""

    def __post_init__(self) -> None:
        self.begun = self.started

    def last(self) -> int:
        """The newest media segment that the playlist offers; -1 when there is none yet."""
        if self.final is not None:
            return self.final
        now = time.monotonic() if self.frozen is None else self.frozen
        on_air = now - self.started + self.elapsed
        return min(int(on_air / self.media.spec.segment), self.media.count) - 1

    def first(self) -> int:
        """The oldest one that it still offers."""
        return max(0, self.last() - self.window + 1)

    def offered_at(self, index: int) -> float:
        """When the playlist offered a media segment first, on the monotonic clock."""
        at = self.begun + (index + 1) * self.media.spec.segment - self.elapsed
        for spell in self.spells:
            if spell.kind == "freeze" and spell.since < at:
                at += spell.length
        return at

    def withdrawn_at(self, index: int) -> float:
        """When the playlist offered it no more; the last ones of a broadcast stay."""
        if self.final is not None and index + self.window > self.final:
            return math.inf
        return self.offered_at(index + self.window)

    def is_ended(self) -> bool:
        return self.final is not None or self.last() == self.media.count - 1

    def playlist(self) -> bytes:
        """RFC 8216 media playlist, as it is now."""
        seconds, last = self.media.spec.segment, self.last()
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{seconds}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{self.first()}")
        for index in range(self.first(), last + 1):
            lines += [f"#EXTINF:{seconds:.6f},", self.media.segment(index).name]
        if self.is_ended():
            lines.append("#EXT-X-ENDLIST")
        return ("\n".join(lines) + "\n").encode()

    def control(self, order: dict[str, Any]) -> None:
        """Obey one order; keys that are absent change nothing.

        "end": true         the broadcast is over: ENDLIST after what was offered so far
        "gone": bool        404 for everything
        "fault": kind|null  one of FAULTS, with "on": "playlist"|"media"|"all", "for": seconds, "rate": bytes/s
        """
        with self.changed:
            if order.get("end") and self.final is None:
                self.final, self.ended_at, self.ended_monotonic = self.last(), time.time(), time.monotonic()
            self._set_gone(is_gone=order.get("gone", self.is_gone))
            if "fault" in order:
                self._set_fault(order)
            self.changed.notify_all()

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
        self.fault = Fault(kind, order.get("on", "all"), until, order.get("rate", 10_000))
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

    def fault_on(self, what: str) -> Fault | None:
        """The fault that holds now for "playlist" or "media"."""
        with self.changed:
            if self.fault is not None and self.fault.until is not None and time.monotonic() >= self.fault.until:
                self._thaw()
                self.fault = None
            return self.fault if self.fault is not None and self.fault.on in ("all", what) else None

    def outlast(self, what: str, kind: str) -> None:
        """Return when the fault of this kind is over."""
        while (fault := self.fault_on(what)) is not None and fault.kind == kind:
            with self.changed:
                self.changed.wait(None if fault.until is None else max(0.0, fault.until - time.monotonic()))

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
