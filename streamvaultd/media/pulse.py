# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the streams of a growing file have come since the last look: bounded reads of its end.

Where a format tells no streams or no time (Matroska, packed audio), nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import fmp4, fragments, programs, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.source import Clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamvaultd.media.source import Source

TAIL: Final = 1 << 20
TAIL_MAX: Final = 8 << 20
"""Bytes of the end that are read of a transport stream, and if a stream of it is not there."""

FRAGMENTS: Final = 256
"""Fragments at the end that are read; those before are stepped over."""

PAUSE_MAX: Final = 600.0
"""A longer pause (s) is a clock that was set anew."""

SOUNDS: Final = frozenset({0x03, 0x04, 0x0F, 0x11, 0x81, 0x82, 0x85, 0x87})
"""Types of streams that are sound, for those whose units do not say so themselves (AC-3 and its kin)."""


@dataclass(slots=True)
class Cursor:
    """What is known of a file from the looks before: up to where it was read, and where its streams were."""

    at: int = 0
    container: FileFormat | None = None
    stamps: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, bool] = field(default_factory=dict)
    """by stream: whether it is video"""
    named: dict[int, dict[int, int]] = field(default_factory=dict)
    """by table: the types of its streams"""
    unfit: str | None = None
    """why an MP4 cannot hold them, if that is known"""


class StreamReading(NamedTuple):
    """What one look found of a stream that the file says to have; `stamp` is None if nothing of it came.

    `units` came since the last look, `pause` (s) is the longest between two of them.
    """

    stream: int
    is_video: bool
    stamp: int | None
    units: int = 0
    pause: float = 0.0


def look(source: Source, cursor: Cursor) -> tuple[StreamReading, ...]:
    """One look at what came since the last one; the cursor moves on."""
    if cursor.container is None and source.size:
        cursor.container = sniff(source)
        cursor.unfit = _unfit(source, cursor.container)
    match cursor.container:
        case FileFormat.TS:
            return _look_at_packets(source, cursor)
        case FileFormat.FMP4 if not fmp4.is_indexed(source):
            return _look_at_fragments(source, cursor)
        case _:
            return ()


def _unfit(source: Source, container: FileFormat) -> str | None:
    match container:
        case FileFormat.FMP4:
            return None
        case FileFormat.TS:
            unnamed = programs.nameless_pictures(Clipped(source, min(source.size, TAIL_MAX)))
            return "a transport stream has no name for its pictures" if unnamed else None
        case FileFormat.OTHER:
            return "its format is not known"
        case _:
            return f"it comes as {_NAMES.get(container, container.name)}"


_NAMES: Final = {FileFormat.MATROSKA: "Matroska"}


@dataclass(slots=True)
class _Found:
    """Of one stream, in one look."""

    stamp: int
    units: int = 0
    pause: float = 0.0

    def feed(self, stamp: int, seconds: float) -> None:
        self.stamp = stamp
        self.units += 1
        if 0 < seconds <= PAUSE_MAX:
            self.pause = max(self.pause, seconds)


def _pulses(cursor: Cursor, found: Mapping[int, _Found]) -> tuple[StreamReading, ...]:
    cursor.stamps |= {stream: one.stamp for stream, one in found.items()}
    return tuple(
        StreamReading(stream=stream, is_video=is_video, stamp=one.stamp, units=one.units, pause=one.pause)
        if (one := found.get(stream)) is not None
        else StreamReading(stream=stream, is_video=is_video, stamp=None)
        for stream, is_video in sorted(cursor.kinds.items())
    )


# --- transport streams ---------------------------------------------------------------------------------------------


def _look_at_packets(source: Source, cursor: Cursor) -> tuple[StreamReading, ...]:
    end = source.size // ts.PACKET * ts.PACKET
    low = _aligned(end - TAIL, cursor.at)
    found = _read(source, low, end, cursor)
    if low > cursor.at and not cursor.kinds.keys() <= found.keys():
        found = _read(source, _aligned(end - TAIL_MAX, cursor.at), end, cursor)
    cursor.at = max(end, cursor.at)
    return _pulses(cursor, found)


def _aligned(at: int, least: int) -> int:
    return max(at // ts.PACKET * ts.PACKET, least)


def _read(source: Source, low: int, end: int, cursor: Cursor) -> dict[int, _Found]:
    """What the packets in [low, end) have of each stream; the cursor learns which streams there are."""
    found: dict[int, _Found] = {}
    last = dict(cursor.stamps) if low == cursor.at else {}
    for _, data in timeline.blocks(source, low, end):
        programs.learn(data, cursor.named)
        for pes in ts.pes_starts(data):
            one = found.setdefault(pes.pid, _Found(pes.dts))
            before = last.get(pes.pid, pes.dts)
            one.feed(pes.dts, ts.difference(pes.dts, before) / (1000 * ts.TICKS_PER_MS))
            last[pes.pid] = pes.dts
            cursor.kinds.setdefault(pes.pid, pes.is_video)
    types = {pid: kind for streams in cursor.named.values() for pid, kind in streams.items()}
    cursor.kinds = {
        pid: is_video
        for pid, is_video in cursor.kinds.items()
        if not types or (pid in types and (is_video or types[pid] in SOUNDS))
    }
    return {pid: one for pid, one in found.items() if pid in cursor.kinds}


# --- fragmented MP4 ------------------------------------------------------------------------------------------------


def _look_at_fragments(source: Source, cursor: Cursor) -> tuple[StreamReading, ...]:
    known, heard = fragments.tracks(source), fragments.media_tracks(source)
    cursor.kinds = {number: track.is_video for number, track in known.items() if number in heard}
    start = max(cursor.at, fmp4.header_end(source))
    places = [(fragment.start, fragment.end) for fragment in fragments.fragments(source, {}, start)]
    found: dict[int, _Found] = {}
    for place, end in places[-FRAGMENTS:]:
        for fragment in fragments.fragments(source, known, place):
            for run in (run for run in fragment.runs if run.track in heard):
                one = found.setdefault(run.track, _Found(run.start))
                one.feed(run.start + run.duration, run.duration / known[run.track].timescale)
            break
        cursor.at = end
    return _pulses(cursor, found)
