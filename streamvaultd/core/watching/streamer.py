# SPDX-License-Identifier: GPL-3.0-or-later
"""A streamer that is watched: what its file says, and which of its broadcasts are wanted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from streamvaultd.core.model import Policy
from streamvaultd.core.topic import Topic
from streamvaultd.core.upkeep.retention import RetentionRules

DAY_USEC = 86_400_000_000
EPOCH_WEEKDAY = 3  # 1970 began on a Thursday


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which broadcasts are wanted. Patterns are searched for, whatever the case; empty: no condition.

    `days` are weekdays from 0, Monday; `hours` minutes of the day, from and to, and may go past midnight.
    """

    title_include: str = ""
    title_exclude: str = ""
    category_include: str = ""
    category_exclude: str = ""
    tags_include: str = ""
    tags_exclude: str = ""
    days: tuple[int, ...] = ()
    hours: tuple[int, int] | None = None
    timezone: str = "UTC"
    stop_on_change: bool = False

    def refusal(self, title: str, category: str, realtime: int, offset: int = 0) -> str | None:
        """Why a broadcast is not wanted now, None if it is. `offset`: seconds that local time is ahead of UTC."""
        for what, text, include, exclude in (
            ("title", title, self.title_include, self.title_exclude),
            ("category", category, self.category_include, self.category_exclude),
        ):
            if include and not re.search(include, text, re.IGNORECASE):
                return f"its {what} does not match {what}_include"
            if exclude and re.search(exclude, text, re.IGNORECASE):
                return f"its {what} matches {what}_exclude"
        return self._refusal_by_time(realtime + offset * 1_000_000)

    @property
    def has_tags(self) -> bool:
        """Whether it matters what a broadcast is tagged with."""
        return bool(self.tags_include or self.tags_exclude)

    def refusal_by_tags(self, tags: Iterable[str] | None) -> str | None:
        """Why a broadcast with these tags is not wanted, None if it is, or if nobody knows its tags."""
        if tags is None:
            return None
        words = tuple(tags)
        if self.tags_include and not any(re.search(self.tags_include, tag, re.IGNORECASE) for tag in words):
            return "none of its tags matches tags_include"
        if self.tags_exclude and any(re.search(self.tags_exclude, tag, re.IGNORECASE) for tag in words):
            return "one of its tags matches tags_exclude"
        return None

    def _refusal_by_time(self, local: int) -> str | None:
        day, minute = local // DAY_USEC, local % DAY_USEC // 60_000_000
        if self.hours is not None:
            begin, end = self.hours
            is_past_midnight = begin >= end and minute < end
            if not (begin <= minute < end or (begin >= end and minute >= begin) or is_past_midnight):
                return "it is outside of its hours"
            if is_past_midnight:
                day -= 1  # the hours belong to the day on which they began
        if self.days and (day + EPOCH_WEEKDAY) % 7 not in self.days:
            return "it is not one of its days"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamer:
    """One streamer's file. What is None or empty is as streamvaultd.toml(5) has it.

    `file` is where it was read from; `is_ours` whether the daemon may change that. `policy` are changes of the
    recordings' policy, `retention` of what is kept of them. `options`, `proxies` and `secrets` are for streamlink; the
    last are names of credentials. `notify` are targets of notifications, and `events` what they are told.
    """

    name: str
    url: str
    file: str = ""
    is_ours: bool = False
    enabled: bool = True
    quality: str = ""
    directory: str = ""
    filename: str = ""
    max_duration: float | None = None
    interval: float | None = None
    policy: tuple[tuple[str, Any], ...] = ()
    retention: tuple[tuple[str, Any], ...] = ()
    filters: Filters = field(default_factory=Filters)
    options: tuple[tuple[str, str], ...] = ()
    proxies: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    notify: tuple[str, ...] | None = None
    events: tuple[Topic, ...] | None = None

    @property
    def site(self) -> str:
        """What its site is told apart by: the host of its URL."""
        return site_of(self.url)

    def policy_on(self, base: Policy) -> Policy:
        """The policy of its recordings."""
        return replace(base, **dict(self.policy))

    def retention_on(self, base: RetentionRules) -> RetentionRules:
        """What is kept of its recordings."""
        return replace(base, **dict(self.retention))


def site_of(url: str) -> str:
    """The host of a URL, lower case, without credentials, port and 'www.'; plugins' prefixes do not count."""
    rest = url.rpartition("://")[2]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].lower()
    return re.sub(r":\d+$", "", host).removeprefix("www.")
