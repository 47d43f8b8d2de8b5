# SPDX-License-Identifier: GPL-3.0-or-later
"""Which broadcasts are wanted, as a streamer's file has it: patterns, days, hours."""

from __future__ import annotations

import re
from typing import Any, Final
from zoneinfo import ZoneInfo

from streamvaultd.config.kinds import SettingKind, Unfit, text

PATTERN_MAX: Final = 200
"""Characters of a pattern; titles that it is searched for in are shorter than 500."""

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _pattern(value: Any) -> str:
    if len(text(value)) > PATTERN_MAX:
        raise Unfit(f"it has more than {PATTERN_MAX} characters")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(f"it is no regular expression: {error}") from None
    return str(value)


def _days(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
        raise Unfit(f"it must be a list of {', '.join(DAYS)}")
    return tuple(sorted({DAYS.index(day) for day in value}))


def _hours(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", text(value))
    if match is None:
        raise Unfit("it must be two times such as 18:00-02:30")
    begin, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (1, 3))
    if max(begin, end) > 24 * 60 or begin == end:
        raise Unfit("it must be two different times of a day")
    return begin, end


def _timezone(value: Any) -> str:
    try:
        ZoneInfo(text(value))
    except (LookupError, ValueError, OSError):
        raise Unfit("it must be a time zone such as Europe/Berlin") from None
    return str(value)


PATTERN: Final = SettingKind(_pattern, f"regular expression of at most {PATTERN_MAX} characters")
WEEKDAYS: Final = SettingKind(_days, "list of " + ", ".join(DAYS))
HOURS: Final = SettingKind(_hours, "two times such as 18:00-02:30")
TIMEZONE: Final = SettingKind(_timezone, "time zone such as Europe/Berlin")
