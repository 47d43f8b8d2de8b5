# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of our units and file descriptors, and sizes and time spans as systemd writes them.

Nothing here does I/O. Unit names: systemd.unit(5); time spans: systemd.time(7); sizes: base 1024 as in
systemd.resource-control(5).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


RECORDINGS_SLICE: Final = "streamvault-recordings.slice"
JOBS_SLICE: Final = "streamvault-jobs.slice"

_SEGMENT = re.compile(r"streamvault-([1-9]\d{0,9})-(\d{3,6})\.scope", re.ASCII)
_JOB = re.compile(r"streamvault-job-([1-9]\d{0,9})\.scope", re.ASCII)
_EXIT = re.compile(r"exit-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)
_FILE = re.compile(r"file-([1-9]\d{0,9})-(\d{1,6})", re.ASCII)
_JOB_EXIT = re.compile(r"exit-job-([1-9]\d{0,9})", re.ASCII)


def slice_groups(name: str) -> tuple[str, ...]:
    """The control groups of a slice and of the slices it is in, outermost first; systemd.slice(5)."""
    words = name.removesuffix(".slice").split("-")
    names = ["-".join(words[: count + 1]) + ".slice" for count in range(len(words))]
    return tuple("/" + "/".join(names[: count + 1]) for count in range(len(names)))


def segment_unit(recording: int, number: int) -> str:
    """The scope of one segment, e.g. ``streamvault-348-002.scope``."""
    return f"streamvault-{recording}-{number:03d}.scope"


def parse_segment_unit(unit: str) -> tuple[int, int] | None:
    """(recording, number) of a segment's scope, None for any other name."""
    match = _SEGMENT.fullmatch(unit)
    return (int(match[1]), int(match[2])) if match else None


def job_unit(job: int) -> str:
    """The scope of one job, e.g. ``streamvault-job-12.scope``."""
    return f"streamvault-job-{job}.scope"


def parse_job_unit(unit: str) -> int | None:
    """The job's number, None for any other name."""
    match = _JOB.fullmatch(unit)
    return int(match[1]) if match else None


def segment_fd_name(recording: int, number: int) -> str:
    """FDNAME= of a segment's exit pipe in the fd store (sd_pid_notify_with_fds(3))."""
    return f"exit-{recording}-{number}"


def parse_segment_fd_name(name: str) -> tuple[int, int] | None:
    """(recording, number) of a stored exit pipe, None for any other name."""
    match = _EXIT.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def file_fd_name(recording: int, number: int) -> str:
    """FDNAME= of a segment's file that has lost its name."""
    return f"file-{recording}-{number}"


def parse_file_fd_name(name: str) -> tuple[int, int] | None:
    """(recording, number) of a stored file, None for any other name."""
    match = _FILE.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def job_fd_name(job: int) -> str:
    """FDNAME= of a job's exit pipe in the fd store."""
    return f"exit-job-{job}"


def parse_job_fd_name(name: str) -> int | None:
    """The job's number, None for any other name."""
    match = _JOB_EXIT.fullmatch(name)
    return int(match[1]) if match else None


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
