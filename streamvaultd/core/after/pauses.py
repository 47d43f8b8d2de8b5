# SPDX-License-Identifier: GPL-3.0-or-later
"""When what failed after a broadcast is tried again, as dates (µs since 1970)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

USEC: Final = 1_000_000


def again(at: int, times: int, pauses: Sequence[int]) -> int:
    """When the next try is, after so many that came to nothing; the last pause (s) is that of all further ones."""
    return at + pauses[min(times, len(pauses)) - 1] * USEC


def due_at(retry_at: int | None, now: int, longest: int) -> int:
    """When a try is due. A clock that was set back does not make a pause longer than the longest one (s)."""
    return 0 if retry_at is None else min(retry_at, now + longest * USEC)
