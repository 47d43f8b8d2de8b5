# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbers from outside this program goes on with: where each enters, it is held against its range.

A number that is none (NaN) is in no range. What is outside is refused, with the range, where somebody can be told;
what a stored row holds already is shown as the nearest that can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Policy, SeamRecord

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included."""

    low: int
    high: int

    def holds(self, value: object) -> bool:
        """Whether it is a number in here; True and False are none."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def nearest(self, value: Number) -> Number | int:
        """The number itself, or the end of the range that is next to it; `low` for what is no number."""
        return value if self.holds(value) else self.high if value > self.high else self.low

    def __str__(self) -> str:
        return f"a number from {self.low} to {self.high}"


INT: Final = Range(-(1 << 63), (1 << 63) - 1)
"""What a Varlink int can be."""

NUMBER: Final = Range(1, 10**18)
"""Of a recording, a stream, a job."""

SEGMENT: Final = Range(1, 999_999)
"""Its number; names of files have no more digits."""

BYTES: Final = Range(0, (1 << 63) - 1)
"""A file may have holes: a size says nothing of what is on a disk."""

SECONDS: Final = Range(0, 10 * 365 * 86_400)
MILLISECONDS: Final = Range(-SECONDS.high * 1000, SECONDS.high * 1000)
COUNT: Final = Range(0, (1 << 31) - 1)
STATUS: Final = Range(-(1 << 31), (1 << 31) - 1)
USEC: Final = Range(0, 1 << 62)

DATE: Final = Range(0, 253_402_300_799_999_999)
"""Microseconds since 1970, to the end of the year 9999."""

INSTANT: Final = Range(-(1 << 40), 1 << 40)
"""Seconds of CLOCK_MONOTONIC; moments before the machine was started are below 0."""

POLICY: Final[Mapping[str, Range]] = {
    "rotate_age": SECONDS, "rotate_size": BYTES, "overlap_limit": SECONDS, "grace": SECONDS, "outage": SECONDS,
    "launch_timeout": SECONDS, "start_timeout": SECONDS, "stall_timeout": SECONDS, "stop_timeout": SECONDS,
    "start_attempts": COUNT, "memory_max": BYTES, "memory_ceiling": BYTES, "tasks_max": COUNT,
    "job_memory_max": BYTES, "min_duration": SECONDS, "upload_bandwidth": BYTES,
}  # fmt: skip

EVIDENCE: Final[Mapping[str, Range]] = {
    "status": STATUS, "oom_kills": COUNT, "memory_peak": BYTES, "memory_max": BYTES, "max_rss": BYTES,
    "cpu_usec": BYTES, "shim_status": STATUS, "dated": DATE,
}  # fmt: skip

SEAM: Final[Mapping[str, Range]] = {
    "older": SEGMENT, "newer": SEGMENT, "overlap_bytes": BYTES, "overlap_ms": MILLISECONDS, "gap_ms": MILLISECONDS,
}  # fmt: skip


def misfit(record: Policy | SeamRecord | Mapping[str, object], ranges: Mapping[str, Range]) -> str | None:
    """What is wrong with the first number of a record outside its range; those that are not given are well."""
    for name, allowed in ranges.items():
        value = record.get(name) if isinstance(record, Mapping) else getattr(record, name)
        if value is not None and not allowed.holds(value):
            return wrong(name, value, allowed)
    return None


def told_by(evidence: Evidence) -> Evidence:
    """The evidence without the numbers that cannot be."""
    kept: dict[str, Any] = {name: fitting(getattr(evidence, name), allowed) for name, allowed in EVIDENCE.items()}
    return replace(evidence, **kept)


def fitting(value: object, allowed: Range) -> object:
    """The value, None if it is a number outside the range: then nobody told it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number and not allowed.holds(value) else value


def wrong(name: str, value: object, allowed: Range) -> str:
    """What is wrong with a number, for people."""
    return f"{name} is {shown(value)}, and must be {allowed}"


def shown(value: object) -> str:
    """A value that is no secret, as a mistake quotes it."""
    if isinstance(value, int) and value.bit_length() > SHOWN_BITS:
        return "a number that is too long"
    return repr(value)[:40]


SHOWN_BITS: Final = 128
"""A greater number is not written out: that takes time."""
