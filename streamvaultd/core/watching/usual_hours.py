# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of the day at which a streamer's broadcasts usually begin. Pure."""

from __future__ import annotations

from typing import Final

NEAR_USUAL: Final = 20
USUAL_MIN: Final = 2
USUAL_KEPT: Final = 20
"""Minutes around a usual time of day; it is usual if this many of the last broadcasts began then."""


def minute_of_day(realtime: int) -> int:
    """Minutes since midnight UTC."""
    return realtime // 60_000_000 % 1440


def is_usual(usual: tuple[int, ...], realtime: int) -> bool:
    """Whether broadcasts of this streamer often begin at this time of day."""
    now = minute_of_day(realtime)
    near = sum(min((now - minute) % 1440, (minute - now) % 1440) <= NEAR_USUAL for minute in usual)
    return near >= USUAL_MIN
