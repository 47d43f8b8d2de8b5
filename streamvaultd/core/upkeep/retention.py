# SPDX-License-Identifier: GPL-3.0-or-later
"""Which results of a streamer are not to be kept any longer: by age, by number and by size.

A result is the joined file of a recording that is over. Two things keep a clock that is wrong from doing harm: ages
count only while the wall clock runs in step with the monotonic one, and a result that ended in the future is left out
altogether, for it would pass for the newest one for years.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streamvaultd.core.model import Instant, Moment

USEC: Final = 1_000_000
DAY: Final = 86_400.0

CLOCK_STEP: Final = 60.0
"""The wall clock has been set, or the machine slept, when it differs by more from where it was expected (s)."""

CLOCK_SETTLES: Final = 6 * 3600.0
"""Ages count when the wall clock has not been set for so long (s), and the daemon has seen it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """What is kept of a streamer: seconds since the end, results, bytes; None: no limit.

    `require_upload`: nothing goes that is still to be uploaded.
    """

    keep_for: float | None = None
    keep_recordings: int | None = None
    keep_size: int | None = None
    require_upload: bool = True

    @property
    def are_limits(self) -> bool:
        """Whether anything may ever go."""
        return (self.keep_for, self.keep_recordings, self.keep_size) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A recording's joined file, all parts together; `ended` is realtime. `kept`: somebody wants it for good.

    `has_steps`: something has to be made of it before it may go; `is_unsent`: it is to be uploaded, and is not.
    """

    recording: int
    ended: int
    size: int
    kept: bool = False
    has_steps: bool = False
    is_unsent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A recording whose media are to go, and the rule that says so."""

    recording: int
    why: str


def expired(results: Iterable[Result], rules: RetentionRules, now: int, *, are_ages_sure: bool) -> tuple[Expired, ...]:
    """What is outside of any of the limits, oldest first. `results` are all of one streamer, `now` is realtime.

    The newest one is kept whatever its size: else nothing would be recorded that is larger than keep_size. Those that
    somebody wants for good never go, and take no room from others. Those with steps, or that are not uploaded where
    the rules require it, go later, and take it meanwhile.
    """
    found: list[Expired] = []
    total = 0
    newest_first = sorted(results, key=lambda one: (one.ended, one.recording), reverse=True)
    for newer, result in enumerate(one for one in newest_first if one.ended <= now and not one.kept):
        total += result.size
        age = (now - result.ended) / USEC
        why = _by_age(age, rules.keep_for) if are_ages_sure else None
        why = why or _by_number(newer, rules.keep_recordings) or _by_size(newer, total, rules.keep_size)
        is_held = result.has_steps or (rules.require_upload and result.is_unsent)
        if why is not None and not is_held:
            found.append(Expired(recording=result.recording, why=why))
    return tuple(reversed(found))


def _by_age(age: float, limit: float | None) -> str | None:
    if limit is None or age <= limit:
        return None
    return f"keep_for: it ended {age / DAY:.1f} days ago"


def _by_number(newer: int, limit: int | None) -> str | None:
    return None if limit is None or newer < limit else f"keep_recordings: there are {newer} newer ones"


def _by_size(newer: int, total: int, limit: int | None) -> str | None:
    if limit is None or newer == 0 or total <= limit:
        return None
    return f"keep_size: with the newer ones it makes {total} bytes"


@dataclass(frozen=True, slots=True)
class WallClock:
    """How the wall clock ran when it was last looked at: `ahead` of the monotonic one (µs), in step `since`."""

    ahead: int
    since: Instant

    def seen(self, now: Moment) -> WallClock:
        """After another look: in step for longer, or only since now."""
        ahead = _ahead(now)
        has_stepped = abs(ahead - self.ahead) > CLOCK_STEP * USEC
        return WallClock(ahead, now.monotonic if has_stepped else self.since)

    def settles_in(self, now: Moment) -> float:
        """So long (s) ages do not count yet; 0 when they do."""
        return max(0.0, self.since + CLOCK_SETTLES - now.monotonic)


def begin(now: Moment) -> WallClock:
    """The first look."""
    return WallClock(_ahead(now), now.monotonic)


def _ahead(now: Moment) -> int:
    return now.realtime - round(now.monotonic * USEC)
