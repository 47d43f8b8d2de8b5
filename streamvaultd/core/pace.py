# SPDX-License-Identifier: GPL-3.0-or-later
"""How a source offers its media, and how soon a run is suspected that gets nothing of it.

What is offered is gone after a window, so what may be losing media has to be seen well within it; and a media segment
comes once in its own length, so a shorter silence says nothing. Both are learned from the source's playlists. Where
nothing is known (DASH, say), the constants here hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamvaultd.core.flows import STILL

SLACK: Final = 2.0
"""Seconds that a reload, a slow server and a busy machine may add."""

SILENCE_MIN: Final = 5.0
PAUSES: Final = 1.5
SHARE: Final = 3.0
"""A third of the window: for so long streamlink waits for one answer before it asks anew (streamvault_patience.py)."""

STILL_MAX: Final = 30.0

REFUSED_MIN: Final = 2.0
"""Seconds: two looks at a suspected run."""

LOOK_MIN: Final = 4.0
LOOK_MAX: Final = 10.0
"""Seconds between two looks at the streams of a file; a look reads up to some MiB."""

HOLD: Final = 30.0
HOLD_MAX: Final = 120.0
RELOADS: Final = 5
"""For so many media segments without a further sign a run stays suspected: each reload of a playlist brings one."""

SUSPECT_LOOK_MIN: Final = 1.0
SUSPECT_LOOK: Final = 3.0
"""Seconds: when a run that may be losing media is looked at again."""

TARGETS: Final = (0.1, 3600.0)
WINDOWS: Final = (0.1, 7 * 86400.0)
"""What may be believed of a playlist, seconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of a source, seconds: its longest media segment, or its target duration, and how far back its playlist goes."""

    target: float
    window: float

    @classmethod
    def told(cls, target: float, window: float) -> Pace | None:
        """As a playlist has it; None for what cannot be."""
        is_sane = TARGETS[0] <= target <= TARGETS[1] and WINDOWS[0] <= window <= WINDOWS[1]
        return cls(target, window) if is_sane else None


def silence_limit(pace: Pace, stall: float, pause: float = 0.0) -> float:
    """After so long (s) without media it is asked whether the source goes on; `stall` is when the run has stalled.

    `pause` is how long it was silent before: some packagers offer several media segments at a time.
    """
    about_two = max(2 * pace.target + SLACK, pace.window / SHARE + SLACK, PAUSES * pause)
    return max(SILENCE_MIN, min(about_two, stall / 2))


def still_limit(pace: Pace | None) -> float:
    """So long (s) others go on before a stream is said to stand still."""
    return STILL if pace is None else min(max(2 * pace.target + SLACK, SILENCE_MIN), STILL_MAX)


def refused_limit(pace: Pace | None) -> float:
    """So long (s) nothing may come to a run that is refused its playlist: two media segments, and no slack.

    The refusal is a sign already, and on a source that is about to end each second counts.
    """
    return STILL if pace is None else min(max(2 * pace.target, REFUSED_MIN), STILL_MAX)


def flow_look(pace: Pace | None) -> float:
    """Seconds between two looks at the streams of a file that has several."""
    return LOOK_MAX if pace is None else min(max(pace.window / SHARE, LOOK_MIN), LOOK_MAX)


def suspect_look(pace: Pace | None) -> float:
    """Seconds between two looks at a suspected run."""
    return SUSPECT_LOOK if pace is None else min(max(pace.target / 2, SUSPECT_LOOK_MIN), SUSPECT_LOOK)


def sign_hold(pace: Pace | None) -> float:
    """So long (s) a run stays suspected after a sign of which there will be more, if there is more to it."""
    return HOLD if pace is None else min(max(RELOADS * pace.target, SILENCE_MIN), HOLD_MAX)
