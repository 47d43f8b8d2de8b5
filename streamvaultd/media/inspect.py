# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a media file sound? What is wrong with it, and where: read once, in bounded memory, without a decoder.

Never raises on what a file holds (OSError of a read apart): a foreign or hostile file is an answer, too.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from streamvaultd.media import fmp4, fragments, mp4, timeline, ts
from streamvaultd.media.container import Container, sniff
from streamvaultd.media.source import FileSource

if TYPE_CHECKING:
    from streamvaultd.media.source import Source

PROBLEMS_MAX: Final = 100
"""Problems that are listed; the rest is counted."""

PAUSE_MS: Final = 1000.0
"""A longer step of the clock (ms) is a gap: no two frames of a live stream are so far from each other."""


class Soundness(Enum):
    SOUND = "sound"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    """Of a format whose inside is not looked at."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a byte of the file, and at which time of its media (ms) if that is known."""

    offset: int
    kind: str
    text: str
    at_ms: int | None = None


@dataclass(slots=True)
class Inspection:
    """What was found: `count` problems, the first of which are listed; `is_known` if the format can be looked into."""

    container: Container
    size: int
    duration_ms: int | None = None
    packets: int | None = None
    count: int = 0
    problems: list[Problem] = field(default_factory=list)
    is_known: bool = True

    @property
    def soundness(self) -> Soundness:
        if self.count:
            return Soundness.DAMAGED
        return Soundness.SOUND if self.is_known else Soundness.UNKNOWN

    def note(self, offset: int, kind: str, text: str, at_ms: int | None = None) -> None:
        self.count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(offset, kind, text, at_ms))


def inspect(source: Source) -> Inspection:
    """Look at everything once."""
    found = Inspection(sniff(source), source.size)
    if not source.size:
        found.note(0, "empty", "the file is empty")
        found.is_known = False
        return found
    match found.container:
        case Container.TS:
            _Transport(source, found).look()
        case Container.FMP4:
            _look_at_boxes(source, found)
        case _:
            found.is_known = False
    return found


class _Transport:
    """One pass over a transport stream."""

    def __init__(self, source: Source, found: Inspection) -> None:
        self._source = source
        self._found = found
        self._counters: dict[int, int] = {}
        self._clock = timeline.clock_of(timeline.first_beats(source, 0, source.size))
        self._last: int | None = None
        self._frame = 0.0
        self._elapsed = 0

    def look(self) -> None:
        end = packets = 0
        if self._clock is None:
            self._found.note(0, "untimed", "nothing in it has a timestamp: there is nothing to show")
        for offset, data in timeline.blocks(self._source, 0, self._source.size):
            if offset > end:
                self._found.note(end, "sync-lost", f"{offset - end} bytes are no transport packets", self._now())
                self._counters.clear()
            self._look_at_counters(offset, data, self._look_at_times(offset, data))
            packets += len(data) // ts.PACKET
            end = offset + len(data)
        if end < self._source.size:
            self._found.note(
                end, "torn", f"{self._source.size - end} bytes at the end are no whole packet", self._now()
            )
        self._found.packets = packets
        self._found.duration_ms = timeline.duration_ms(self._source)

    def _now(self) -> int:
        return round(self._elapsed / ts.TICKS_PER_MS)

    def _look_at_counters(self, offset: int, data: bytes, times: list[tuple[int, int]]) -> None:
        for at, pid in ts.continuity_breaks(self._counters, data):
            text = f"packets of PID {pid} are missing or repeated"
            before = bisect_right(times, offset + at, key=itemgetter(0)) - 1
            self._found.note(offset + at, "continuity", text, times[before][1])

    def _look_at_times(self, offset: int, data: bytes) -> list[tuple[int, int]]:
        """Looks at the clock's steps; returns (offset, ms since the start) of each beat."""
        times = [(offset, self._now())]
        for pes in ts.pes_starts(data):
            if pes.pid != self._clock:
                continue
            step = 0 if self._last is None else ts.difference(pes.dts, self._last)
            self._last = pes.dts
            ms = step / ts.TICKS_PER_MS
            if step < 0:
                self._found.note(offset + pes.at, "clock", f"the clock runs back by {-ms:.0f} ms", self._now())
            elif ms > PAUSE_MS:
                missing = ms - self._frame
                self._found.note(offset + pes.at, "gap", f"{missing:.0f} ms of media are missing", self._now())
            else:
                self._frame = ms
            self._elapsed += step if 0 < step <= timeline.STEP_MAX else 0
            times.append((offset + pes.at, self._now()))
        return times


def _look_at_boxes(source: Source, found: Inspection) -> None:
    """Boxes of an MP4 file, and of a fragmented one also the times of its fragments."""
    end = max((box.end for box in fmp4.boxes(source)), default=0)
    if end < source.size:
        found.note(end, "torn", f"{source.size - end} bytes at the end are no whole box")
    elapsed, last, count = 0.0, None, 0
    for offset, start, lasts in fragments.beats(source):
        step = 0.0 if last is None else (start - last) * 1000
        if step < -1:
            found.note(offset, "clock", f"the clock runs back by {-step:.0f} ms", round(elapsed))
        elif step > PAUSE_MS:
            found.note(offset, "gap", f"{step:.0f} ms of media are missing", round(elapsed))
        elapsed += lasts * 1000 + max(step, 0.0)
        last, count = start + lasts, count + 1
    if count and not fmp4.header_end(source):
        found.note(0, "header", "there is no initialisation before the media: players show nothing")
    found.is_known = bool(count)
    found.duration_ms = fragments.duration_ms(source)
    if not count:
        _look_at_index(source, found)


def _look_at_index(source: Source, found: Inspection) -> None:
    """Whether all that the index of an MP4 file names is there, and the times at which it is shown."""
    media = [(box.start, box.end) for box in fmp4.boxes(source) if box.kind == b"mdat"]
    if torn := fmp4.torn_media(source):
        media.append((torn.start, torn.end))
    try:
        tracks = mp4.tracks(source)
        for track in tracks:
            for offset, size, samples in mp4.chunks(source, track):
                at = bisect_right(media, (offset, source.size)) - 1
                if at < 0 or offset + size > media[at][1]:
                    found.note(offset, "missing", f"{samples} samples of {size} bytes are not in the file")
            found.duration_ms = max(found.duration_ms or 0, _length_ms(source, track, found))
    except mp4.Unreadable as error:
        found.note(0, "index", f"the index cannot be followed: {error}")
        tracks = []
    found.is_known = bool(tracks)


def _length_ms(source: Source, track: mp4.Track, found: Inspection) -> int:
    ticks = 0
    for samples, delta in mp4.steps(source, track):
        lasts = delta * 1000 / track.timescale
        if lasts > PAUSE_MS:
            found.note(0, "gap", f"{lasts:.0f} ms without anything new", round(ticks * 1000 / track.timescale))
        ticks += samples * delta
    return round(ticks * 1000 / track.timescale)


def inspect_file(path: str) -> Inspection:
    """Look at a file. Raises OSError if it cannot be read, or is no regular file (IsADirectoryError, EINVAL)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return inspect(FileSource(fd, found.st_size))
    finally:
        os.close(fd)
