# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and time spans as systemd writes them.

Nothing here does I/O. Time spans: systemd.time(7); sizes: base 1024 as in systemd.resource-control(5).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


_SPAN_UNITS: Final = {
    "us": 1, "usec": 1, "ms": 1_000, "msec": 1_000,
    "": 1_000_000, "s": 1_000_000, "sec": 1_000_000, "second": 1_000_000, "seconds": 1_000_000,
    "m": 60_000_000, "min": 60_000_000, "minute": 60_000_000, "minutes": 60_000_000,
    "h": 3_600_000_000, "hr": 3_600_000_000, "hour": 3_600_000_000, "hours": 3_600_000_000,
    "d": 86_400_000_000, "day": 86_400_000_000, "days": 86_400_000_000,
    "w": 604_800_000_000, "week": 604_800_000_000, "weeks": 604_800_000_000,
}  # fmt: skip
_SPAN_PART = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)\s*", re.ASCII)
SPAN_MAX_USEC: Final = 10 * 365 * 86_400_000_000

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGTP]?)(?:i?B)?", re.ASCII)
_SIZE_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}


def parse_span(text: str) -> int:
    """Microseconds of a time span such as ``23h58m48s``, ``90min`` or ``5`` (seconds); systemd.time(7).

    Raises ValueError with what is wrong with it.
    """
    total, position = 0.0, 0
    while position < len(text):
        match = _SPAN_PART.match(text, position)
        if match is None:
            raise ValueError(f"'{text[position:]}' is not a number with a unit such as 23h58m48s")
        if match[2] not in _SPAN_UNITS:
            raise ValueError(f"'{match[2]}' is not a unit of time (us, ms, s, min, h, d, w)")
        total += float(match[1]) * _SPAN_UNITS[match[2]]
        position = match.end()
    if not text.strip():
        raise ValueError("it is empty")
    if total > SPAN_MAX_USEC:
        raise ValueError("it is longer than ten years")
    return round(total)


def format_span(usec: int) -> str:
    """A time span as systemd prints it, e.g. ``23h 58min 48s``; two to three parts at most."""
    if usec < 1_000_000:
        return f"{usec // 1000}ms" if usec >= 1000 or usec == 0 else f"{usec}us"
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, usec = divmod(usec, size * 1_000_000)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:3])


def parse_size(text: str) -> int:
    """Bytes of a size such as ``100G`` or ``256M`` (base 1024); raises ValueError with what is wrong with it."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("it is not a number with K, M, G, T or P, such as 100G")
    return round(float(match[1]) * _SIZE_UNITS[match[2]])


def exact_size(count: int) -> str:
    """A size as `parse_size` reads it, with the greatest unit that leaves a whole number, e.g. ``256M``."""
    suffixes = "KMGTP"
    power = 0
    while count and count % 1024 == 0 and power < len(suffixes):
        count, power = count // 1024, power + 1
    return f"{count}{suffixes[power - 1] if power else ''}"


def format_size(count: int) -> str:
    """A size as systemd prints it, e.g. ``1.4G``."""
    size = float(count)
    for suffix in ("B", "K", "M", "G", "T"):
        if size < 1024:
            return f"{count}B" if suffix == "B" else f"{size:.1f}{suffix}"
        size /= 1024
    return f"{size:.1f}P"
