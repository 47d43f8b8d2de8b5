# SPDX-License-Identifier: GPL-3.0-or-later
"""The calendar of a time zone, by its name (tzset(3), zoneinfo)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(realtime: int) -> str:
    """A moment (µs since 1970) in UTC, to the millisecond; raises OverflowError after the year 9999."""
    moment = _EPOCH + timedelta(microseconds=realtime)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(realtime: int, zone: str) -> datetime:
    """A moment (µs since 1970) in the zone of this name, to the second; in UTC where its calendar has ended (9999)."""
    moment = datetime.fromtimestamp(realtime // 1_000_000, UTC)
    try:
        return moment.astimezone(_zone(zone))
    except OverflowError:
        return moment


def _zone(name: str) -> tzinfo:
    """The zone of this name; UTC if it is not known any more."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return UTC
