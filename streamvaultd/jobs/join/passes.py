# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a join is; and the making of an MP4: reading, ffmpeg's two passes and the comparison, as one figure.

ffmpeg tells of its first pass by the file's size. The second moves everything behind the index that goes to the front:
the size stays, and what is at a place changes when the pass has come there.
"""

from __future__ import annotations

import json
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from streamvaultd.base.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamvaultd.base.clock import Clock

READ, WRITTEN, MOVED, COMPARED = 0.1, 0.45, 0.8, 1.0
"""Where each step ends, as a share of all: each of them reads or writes the whole file about as often as it weighs."""

MARKS: Final = 100
MARK: Final = 64
"""How many places of the file are looked at, and how many bytes at each."""

HEAD: Final = 4096
"""The first bytes, which are written again when the first pass ends."""


class Passes:
    """Tells `moved` how many of `size` bytes more are done; it never goes back, and never beyond them."""

    def __init__(self, size: int, moved: Callable[[int], None]) -> None:
        self._size = size
        self._moved = moved
        self._told = 0
        self._low, self._high = 0.0, 1.0

    def part(self, low: float, high: float) -> None:
        """What comes next is the whole making, and is that part of all: there may be another try."""
        self._low, self._high = low, high

    def at(self, share: float) -> None:
        """So much of it all is done."""
        reached = round(self._size * (self._low + (self._high - self._low) * min(share, 1.0)))
        if reached > self._told:
            self._moved(reached - self._told)
            self._told = reached

    def end(self) -> None:
        """There is nothing more to do."""
        self.part(0.0, 1.0)
        self.at(1.0)


class PassWatch:
    """Looks at the file that ffmpeg writes, and tells how far it is in both of its passes."""

    def __init__(self, fd: int, size: int, passes: Passes) -> None:
        self._fd = fd
        self._size = max(size, 1)
        self._passes = passes
        self._marks: list[tuple[int, bytes]] = []
        self._changed = 0

    def look(self) -> None:
        """One look; there have to be several while ffmpeg writes for the second pass to be seen."""
        there = min(os.fstat(self._fd).st_size, self._size)
        self._passes.at(READ + (WRITTEN - READ) * there / self._size)
        self._note(there)
        while self._changed < len(self._marks) and self._has_changed(*self._marks[self._changed]):
            self._changed += 1
        if self._changed:
            done = self._marks[self._changed - 1][0] / self._marks[-1][0]
            self._passes.at(WRITTEN + (MOVED - WRITTEN) * done)

    def _note(self, there: int) -> None:
        while not self._changed and (place := HEAD + len(self._marks) * self._size // MARKS) + MARK <= there:
            self._marks.append((place, os.pread(self._fd, MARK, place)))

    def _has_changed(self, place: int, was: bytes) -> bool:
        return os.pread(self._fd, MARK, place) != was


LATELY: Final = 10.0
"""The speed is measured over this many seconds, the last ones: each step has its own."""


class Progress:
    """One JSON line for each percent: bytes done, bytes in all, and the seconds that are left, once that can be told.

    What the segments' files hold already takes no time, and counts from the first line on. A file that cannot be
    written to is no reason to stop.
    """

    def __init__(self, path: Path | None, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._percent: int | None = None
        self._lately: deque[tuple[float, int]] = deque()

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        if self._path is None or self._percent == percent:
            return
        self._percent = percent
        line = json.dumps({"done": done, "total": total, "left": self._left(done, total)})
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, line.encode() + b"\n")
            finally:
                os.close(fd)

    def _left(self, done: int, total: int) -> float | None:
        now = self._clock.now().monotonic
        self._lately.append((now, done))
        while len(self._lately) > 2 and self._lately[1][0] <= now - LATELY:
            self._lately.popleft()
        since, before = self._lately[0]
        moved, seconds = done - before, now - since
        return None if moved <= 0 or seconds <= 0 else round((total - done) * seconds / moved, 1)
