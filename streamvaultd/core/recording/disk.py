# SPDX-License-Identifier: GPL-3.0-or-later
"""When a disk is too full to record to, and when it is not any more.

The brake goes by time: what is free above the floor must last for the reserve, at the rates at which is written. It is
let go only when there is room for twice as long, so that it does not flap: a segment that begins fetches what the
source's window holds all at once, and its rate over WINDOW seconds is up to half as high again as what follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streamvaultd.core.model import Instant, Recorder, Segment

WINDOW: Final = 60.0
"""Rates are those over so long (s), also in the beginning: the burst of the source's window is not what goes on."""

RESUME: Final = 2.0
"""Recordings go on when there is room for this many times the reserve."""

Sample = tuple[Instant, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A file system: its device number, where it is mounted, free bytes and inodes (None: it does not say)."""

    device: int
    place: str
    free: int | None
    inodes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What is to stay free: `floor` bytes, and above it enough for `reserve` seconds."""

    reserve: float
    floor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePace:
    """Bytes per second: over the last WINDOW, and as of late."""

    steady: float = 0.0
    latest: float = 0.0


def pace_of(samples: tuple[Sample, ...]) -> WritePace:
    """The pace of a file, of its sizes at some instants, oldest first."""
    if len(samples) < 2:
        return WritePace()
    (before, smaller), (now, size) = samples[-2:]
    base = [sample for sample in samples if sample[0] <= now - WINDOW] or [samples[0]]
    elapsed = max(now - before, 1e-3)
    return WritePace(steady=max(size - base[-1][1], 0) / WINDOW, latest=max(size - smaller, 0) / elapsed)


def worth_keeping(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The samples that pace_of() may still need when later ones come."""
    now = samples[-1][0] if samples else 0.0
    old = [sample for sample in samples if sample[0] <= now - WINDOW]
    return (*old[-1:], *(sample for sample in samples if sample[0] > now - WINDOW))


def mean_rate(recorder: Recorder, now: Instant) -> float:
    """Bytes per second of writing so far, of all segments together."""
    written = [segment for segment in recorder.segments if segment.media_at is not None]
    seconds = sum(_seconds(segment, now) for segment in written)
    return sum(segment.size for segment in written) / max(seconds, WINDOW)


def _seconds(segment: Segment, now: Instant) -> float:
    if segment.media_at is None:
        return 0.0
    end = now if segment.ended is None else segment.ended.monotonic
    return max(end - segment.media_at.monotonic, 0.0)


def pace_of_recording(files: Iterable[WritePace], mean: float) -> WritePace:
    """The pace of a recording, of that of the files it writes now.

    The two files of a rotation count as one, for that lasts for seconds. A file that has just begun, or none, as in
    a backoff, does not tell what follows: then it is the mean.
    """
    files = tuple(files)
    steady = max((pace.steady for pace in files), default=0.0)
    return WritePace(steady=max(steady, mean), latest=sum(pace.latest for pace in files))


def shortage(room: Room, pace: WritePace, margin: Margin, *, look_again: float) -> str | None:
    """Why recordings on this file system have to be paused; None if they can go on.

    `look_again`: seconds until this is asked again; the floor must hold until then whatever the pace is.
    """
    if (why := _is_used_up(room, margin)) is not None or room.free is None:
        return why
    left = room.free - margin.floor
    for rate, seconds in ((pace.steady, margin.reserve), (pace.latest, look_again)):
        if left < rate * seconds:
            return f"{room.place}: {amount(room.free)} free, at {amount(rate)}/s less than {span(seconds)} remain"
    return None


def still_short(room: Room, rate: float, margin: Margin) -> str | None:
    """Why paused recordings cannot go on yet; None if they can. `rate`: of all that are to write here, together."""
    if (why := _is_used_up(room, margin)) is not None or room.free is None:
        return why
    needed = margin.floor + room_to_resume(rate, margin)
    if room.free < needed:
        return f"{room.place}: {amount(room.free)} free, {amount(needed)} are needed to go on"
    return None


def room_to_resume(rate: float, margin: Margin) -> int:
    """Bytes that must be free above the floor before paused recordings go on."""
    return max(round(RESUME * margin.reserve * rate), margin.floor)


def _is_used_up(room: Room, margin: Margin) -> str | None:
    if room.inodes == 0:
        return f"{room.place}: no inode is free"
    if room.free is not None and room.free < margin.floor:
        return f"{room.place}: {amount(room.free)} free, less than the floor of {amount(margin.floor)}"
    return None


def amount(size: float) -> str:
    """Bytes for people: 900K, 120M, 1.2G."""
    for suffix in ("B", "K", "M", "G"):
        if size < 1000:
            return f"{size:.0f}{suffix}" if size >= 10 or suffix == "B" else f"{size:.1f}{suffix}"
        size /= 1024
    return f"{size:.1f}T"


def span(seconds: float) -> str:
    """A time span for people: 90s, 5min."""
    return f"{seconds / 60:g}min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g}s"
