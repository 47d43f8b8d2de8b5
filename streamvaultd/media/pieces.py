# SPDX-License-Identifier: GPL-3.0-or-later
"""How long media are presented: pieces, each with a clock of its own, and all streams of a piece together.

An encoder that begins anew, and an advertisement that is put in between, bring their own clock: it jumps, ahead or
back, and nothing is missing. What is longer than a pause can be begins a piece; a piece may go on behind another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamvaultd.media import ts

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND: Final = 1000 * ts.TICKS_PER_MS
GAP_MAX: Final = 15 * 60 * SECOND
"""A step ahead within one capture that no pause explains: advertisements that are left out are the longest."""

SEAM_GAP_MAX: Final = 6 * 3600 * SECOND
"""The same between two captures, while nothing was received."""

APART: Final = 10 * SECOND
"""How far the streams of one piece may be from each other, and a piece from where it goes on."""

JITTER: Final = SECOND
"""How far a stream may step back without a clock that was set anew: sound is repeated, or begins between frames."""

EXACT: Final = SECOND // 10
"""How far from the end of a piece another one is that goes on there without a pause."""

ENDS_MAX: Final = 16
"""Ends of pieces that are remembered."""


class Seams:
    """Offsets at which another capture begins; they are met in the order of the file."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self._ahead = sorted(offsets, reverse=True)

    def is_met(self, at: int) -> bool:
        """Whether one or more of them are at `at` or before it, and were not met before."""
        count = len(self._ahead)
        while self._ahead and self._ahead[-1] <= at:
            self._ahead.pop()
        return len(self._ahead) < count


class Pieces:
    """Fed with the decoding times of all streams in the order of the file; `total` is what was presented so far.

    `gap_max` is the longest step ahead that is time which passed, though nothing was received.
    """

    def __init__(self, gap_max: int = GAP_MAX) -> None:
        self.total = 0
        self.count = 0
        self._gap_max = gap_max
        self._now: int | None = None
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._ends: list[int] = []
        self._frames: dict[int, int] = {}
        self._lasting = 0

    def feed(self, stream: int, start: int, lasts: int = 0, *, at_seam: bool = False) -> None:
        """A unit of this stream; `lasts` is 0 where only the next one tells how long it is shown."""
        if self._now is None:
            self._now = self._begin(start)
        last = self._last.get(stream)
        step = None if last is None else ts.difference(start, last)
        if not self._is_apart(stream, start, self._now):
            self._now = self._place(start, step, self._now, SEAM_GAP_MAX if at_seam else self._gap_max)
        self._last[stream] = start
        if lasts and abs(ts.difference(start, self._now)) <= APART:
            self._lasting = max(self._lasting, lasts + ts.difference(start, self._now))
        elif not lasts and step is not None and 0 < step <= APART:
            self._frames[stream] = step

    def place(self, start: int) -> int:
        """How many ticks into what is presented a unit of the present piece is, which may have been fed already."""
        return self.total + (0 if self._now is None else ts.difference(start, self._now))

    def end(self) -> int:
        """Ticks from the first to the end of the last unit."""
        return self.total + self._tail()

    def _tail(self) -> int:
        """How long the latest unit is shown at least: the last one of sound may hold few frames."""
        return self._lasting or min(self._frames.values(), default=0)

    def _is_apart(self, stream: int, start: int, now: int) -> bool:
        """Whether it is of another program: it goes on by a clock of its own, which is not that of the piece."""
        last = self._last.get(stream, self._before.get(stream))
        return last is not None and 0 <= ts.difference(start, last) <= APART and abs(ts.difference(start, now)) > APART

    def _place(self, start: int, step: int | None, now: int, gap_max: int) -> int:
        ahead = ts.difference(start, now)
        is_back = (step is not None and step < -JITTER) or ahead < -APART
        if is_back or ahead > gap_max or (ahead > JITTER and self._goes_on_elsewhere(start, ahead)):
            return self._begin(start)
        if ahead <= 0:
            return now
        self.total += ahead
        self._lasting = max(0, self._lasting - ahead)
        return start

    def _goes_on_elsewhere(self, start: int, ahead: int) -> bool:
        """Whether it goes on with an earlier piece; a step that may be a pause has to meet its end exactly."""
        step = self._resumed(start)
        return step is not None and (ahead > APART or abs(step) <= EXACT)

    def _resumed(self, start: int) -> int | None:
        """How far behind the end of an earlier piece this is, if it goes on with that piece."""
        steps = (ts.difference(start, end) for end in reversed(self._ends))
        return min((step for step in steps if -JITTER <= step <= APART), key=abs, default=None)

    def _begin(self, start: int) -> int:
        """Another piece, or one that was there before and goes on."""
        if self._now is not None:
            tail = self._tail()
            self.total += tail
            end = (self._now + tail) % ts.WRAP
            others = [each for each in self._ends if abs(ts.difference(each, end)) > EXACT]
            self._ends = [*others[-ENDS_MAX + 1 :], end]
        pause = self._resumed(start) or 0
        self.total += pause if 0 < pause <= self._gap_max else 0
        self._before |= self._last
        self._last.clear()
        self._lasting = 0
        self.count += 1
        return start
