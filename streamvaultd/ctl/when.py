# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time as people write them: 2h (ago), today, yesterday, 2026-11-23, 2026-11-23 09:10[:11]; local time."""

from __future__ import annotations

import time

from streamvaultd.base.units import parse_span
from streamvaultd.ctl.outcome import Usage

FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def span_of(since: str | None, until: str | None, now: int) -> dict[str, object]:
    """The parameters since and until, in µs since 1970; raises Usage."""
    given = {"since": since, "until": until}
    return {name: None if text is None else parse_when(text, now) for name, text in given.items()}


def parse_when(text: str, now: int) -> int:
    """µs since 1970 of what people wrote; raises Usage."""
    days = {"today": 0, "yesterday": 1}.get(text)
    if days is not None:
        year, month, day = time.localtime(now // 1_000_000)[:3]
        return int(time.mktime((year, month, day - days, 0, 0, 0, -1, -1, -1))) * 1_000_000
    if text == "now":
        return now
    for form in FORMATS:
        try:
            return int(time.mktime((*time.strptime(text, form)[:8], -1))) * 1_000_000
        except (ValueError, OverflowError):
            continue
    try:
        return max(0, now - parse_span(text.removesuffix(" ago")))
    except ValueError as exc:
        hint = "write 2h, 30d, today, yesterday, 2026-11-23 or '2026-11-23 09:10'"
        raise Usage(f"'{text}' is no time: {exc}", [hint]) from exc
