# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the job is, for those who wait for it: lines at the end of a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Progress:
    """One JSON line for each percent: bytes done, bytes in all, and the seconds that are left, once that can be told.

    The speed is that since the first bytes: what the segments' files hold already takes no time. A file that cannot
    be written to is no reason to stop.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._percent: int | None = None
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        now, percent = self._clock(), 100 * done // max(total, 1)
        since, before = self._first = self._first or (now, done)
        if self._path is None or self._percent == percent:
            return
        self._percent = percent
        moved, seconds = done - before, now - since
        left = None if moved <= 0 or seconds <= 0 else round((total - done) * seconds / moved, 1)
        line = json.dumps({"done": done, "total": total, "left": left})
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, line.encode() + b"\n")
            finally:
                os.close(fd)
