# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a media file sound? What is wrong with it, and where: read once, in bounded memory, without a decoder.

Never raises on what a file holds (OSError of a read apart): a foreign or hostile file is an answer, too.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from streamvaultd.media import fmp4, fragments, mp4, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.pieces import APART, GAP_MAX, SECOND, Pieces
from streamvaultd.media.programs import nameless_pictures
from streamvaultd.media.source import FileSource

if TYPE_CHECKING:
    from streamvaultd.media.source import Source

PROBLEMS_MAX: Final = 100
"""Problems that are listed; the rest is counted."""

PAUSE_MS: Final = 1000.0
"""A longer step of the clock (ms) is a gap, unless the frames before are nearly as far from each other."""

STEADY: Final = 1.5
"""How much longer than the one before a step may be where pictures are slow: time lapse, radio with a picture."""

CROWD: Final = 25
"""So many pictures in a row that are less than a millisecond from each other have no time of their own."""

PICTURE_MAX: Final = 64 << 10
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
PNG_END: Final = b"IEND"


class Soundness(Enum):
    SOUND = "sound"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    """Of a format whose inside is not looked at, or with places that may be damage or not."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a byte of the file, and at which time of its media (ms) if that is known."""

    offset: int
    kind: str
    text: str
    at_ms: int | None = None


@dataclass(slots=True)
class Inspection:
    """What was found: `count` problems, the first of which are listed; `is_known` if the format can be looked into.

    `doubts`: so many places may be damage or not; they are listed, too.
    """

    container: FileFormat
    size: int
    duration_ms: int | None = None
    packets: int | None = None
    count: int = 0
    problems: list[Problem] = field(default_factory=list)
    is_known: bool = True
    doubts: int = 0

    @property
    def soundness(self) -> Soundness:
        if self.count:
            return Soundness.DAMAGED
        return Soundness.SOUND if self.is_known and not self.doubts else Soundness.UNKNOWN

    def note(self, offset: int, kind: str, text: str, at_ms: int | None = None) -> None:
        self.count += 1
        self._list(Problem(offset, kind, text, at_ms))

    def doubt(self, offset: int, kind: str, text: str, at_ms: int | None = None) -> None:
        self.doubts += 1
        self._list(Problem(offset, kind, text, at_ms))

    def _list(self, problem: Problem) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def inspect(source: Source) -> Inspection:
    """Look at everything once."""
    found = Inspection(sniff(source), source.size)
    if not source.size:
        found.note(0, "empty", "the file is empty")
        found.is_known = False
        return found
    match found.container:
        case FileFormat.TS:
            _Transport(source, found).look()
        case FileFormat.FMP4:
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
        self._first_counters: dict[int, int] = {}
        self._may_restart: set[int] = set()
        first = timeline.first_beats(source, 0, source.size)
        self._clock = timeline.clock_of(first)
        self._last: int | None = None
        self._frame = 0.0 if self._clock is None else first[self._clock].step / ts.TICKS_PER_MS
        self._pieces = Pieces()
        self._in_piece: set[int] = set()
        self._clock_at = 0
        self._crowd = 0
        self._tables: list[int] = []  # where the tables of programs are in this block, and the last one before it
        self._starts: list[tuple[int, bool]] = []  # of the units in this block, and whether one is its stream's first
        self._breaks: list[tuple[int, int, int, bool]] = []  # (offset, PID, ms, at a start): the next unit tells

    def look(self) -> None:
        end = packets = 0
        if self._clock is None:
            self._found.note(0, "untimed", "nothing in it has a timestamp: there is nothing to show")
        for offset, data in timeline.blocks(self._source, 0, self._source.size):
            if offset > end and not _is_picture(self._source.read(end, min(offset - end, PICTURE_MAX + 1))):
                self._found.note(end, "sync-lost", f"{offset - end} bytes are no transport packets", self._now())
                self._counters.clear()
            self._look_at_counters(offset, data, self._look_at_times(offset, data))
            packets += len(data) // ts.PACKET
            end = offset + len(data)
        if end < self._source.size:
            self._found.note(
                end, "torn", f"{self._source.size - end} bytes at the end are no whole packet", self._now()
            )
        self._judge_breaks(0)
        self._found.packets = packets
        self._found.is_known = not nameless_pictures(self._source)
        if self._pieces.count:
            self._found.duration_ms = round(self._pieces.end() / ts.TICKS_PER_MS)

    def _now(self) -> int:
        return round(self._pieces.total / ts.TICKS_PER_MS)

    def _look_at_counters(self, offset: int, data: bytes, times: list[tuple[int, int]]) -> None:
        restarts = self._restarts(data)
        for at, pid in ts.continuity_breaks(self._counters, data):
            if at in restarts:
                continue
            before = bisect_right(times, offset + at, key=itemgetter(0)) - 1
            self._breaks.append((offset + at, pid, times[before][1], bool(data[at + 1] & 0x40)))
        self._judge_breaks(PROBLEMS_MAX)

    def _judge_breaks(self, waiting: int) -> None:
        """Where another clock begins, other media do, with counters of their own: an advertisement, and what it is in.

        That many breaks may wait for the unit behind them.
        """
        while self._breaks:
            offset, pid, ms, may_splice = self._breaks[0]
            behind = bisect_left(self._starts, offset, key=itemgetter(0))
            if may_splice and behind == len(self._starts) and len(self._breaks) <= waiting:
                return
            del self._breaks[0]
            is_splice = may_splice and behind < len(self._starts) and self._starts[behind][1]
            if not is_splice:
                text = f"packets of PID {pid} are missing or repeated"
                self._found.note(offset, "continuity", text, ms)

    def _restarts(self, data: bytes) -> set[int]:
        """Where a PID begins to count anew behind a table of programs that does, too.

        Some packagers make each media segment with a muxer of its own; of what is missing between two, times tell.
        """
        found = set[int]()
        for at in range(0, len(data) - ts.PACKET + 1, ts.PACKET):
            pid, counter = ts.pid_of(data, at), ts.counter_of(data, at)
            is_first = counter == self._first_counters.setdefault(pid, counter) and data[at + 1] & 0x40
            if pid < ts.PID_TABLES_END:
                if pid == ts.PID_PAT and is_first:
                    self._may_restart = set(self._first_counters)
                if is_first:
                    found.add(at)
            elif pid in self._may_restart:
                self._may_restart.discard(pid)
                if is_first:
                    found.add(at)
        return found

    def _look_at_times(self, offset: int, data: bytes) -> list[tuple[int, int]]:
        """Looks at the steps of all streams; returns (offset, ms since the start) of each beat of the clock."""
        times = [(offset, self._now())]
        tables = [offset + at for at in ts.starts(data) if ts.pid_of(data, at) == ts.PID_PAT]
        self._tables = [*self._tables[-1:], *tables]
        self._starts.clear()
        for pes in ts.pes_starts(data):
            pieces, now = self._pieces.count, self._now()
            self._pieces.feed(pes.pid, pes.dts)
            if timeline.is_misdated(pes):
                seconds = pes.late / (1000 * ts.TICKS_PER_MS)
                text = f"what begins here is to be shown {seconds:.0f} s after it is decoded"
                self._found.note(offset + pes.at, "late", text, now)
            if self._pieces.count != pieces:
                self._in_piece.clear()
            self._starts.append((offset + pes.at, pes.pid not in self._in_piece))
            self._in_piece.add(pes.pid)
            if pes.pid != self._clock:
                continue
            step = 0 if self._last is None else ts.difference(pes.dts, self._last)
            self._last = pes.dts
            ms = step / ts.TICKS_PER_MS
            self._look_at_crowd(offset + pes.at, ms, now)
            longest = max(PAUSE_MS, STEADY * self._frame)
            if -APART <= step < 0:
                self._tell_of_step_back(offset + pes.at, -ms, now, is_piece=self._pieces.count != pieces)
            elif ms > longest and self._pieces.count == pieces and step <= GAP_MAX:
                missing = ms - self._frame
                self._found.note(offset + pes.at, "gap", f"{missing:.0f} ms of media are missing", now)
            elif 0 < ms <= longest:
                self._frame = ms
            self._clock_at = offset + pes.at
            times.append((offset + pes.at, self._now()))
        return times

    def _look_at_crowd(self, at: int, ms: float, now: int) -> None:
        """ffmpeg has a clock that is set back stand still: all is there, and players show it in no time."""
        self._crowd = self._crowd + 1 if 0 <= ms < 1 else 0
        if self._crowd == CROWD:
            self._found.note(at, "crowded", "the clock stands still from here: what follows is shown in no time", now)

    def _tell_of_step_back(self, at: int, ms: float, now: int, *, is_piece: bool) -> None:
        """A slate that is played again begins with tables, as each media segment does; so does what is there twice."""
        if is_piece and any(self._clock_at < table < at for table in self._tables):
            text = f"the clock begins anew, {ms:.0f} ms back: a slate that is repeated, or media that are there twice"
            self._found.doubt(at, "clock", text, now)
        else:
            self._found.note(at, "clock", f"the clock runs back by {ms:.0f} ms", now)


def _is_picture(data: bytes) -> bool:
    """Whether this is a whole PNG: some sites put one in front of each media segment."""
    return len(data) <= PICTURE_MAX and data.startswith(PNG_START) and data[-8:-4] == PNG_END


def _look_at_boxes(source: Source, found: Inspection) -> None:
    """Boxes of an MP4 file, and of a fragmented one also the times of its fragments."""
    end = max((box.end for box in fmp4.boxes(source)), default=0)
    if end < source.size:
        found.note(end, "torn", f"{source.size - end} bytes at the end are no whole box")
    last, count, pieces = None, 0, Pieces()
    for offset, start, lasts in fragments.beats(source):
        step = 0.0 if last is None else (start - last) * 1000
        before, elapsed = pieces.count, round(pieces.end() / ts.TICKS_PER_MS)
        pieces.feed(0, round(start * SECOND) % ts.WRAP, round(lasts * SECOND))
        if -APART / ts.TICKS_PER_MS <= step < -1:
            found.note(offset, "clock", f"the clock runs back by {-step:.0f} ms", elapsed)
        elif step > PAUSE_MS and pieces.count == before:
            found.note(offset, "gap", f"{step:.0f} ms of media are missing", elapsed)
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
            if track.handler != mp4.TEXT:  # a chapter lasts as long as it does
                found.duration_ms = max(found.duration_ms or 0, _length_ms(source, track, found))
    except mp4.Unreadable as error:
        found.note(0, "index", f"the index cannot be followed: {error}")
        tracks = []
    found.is_known = any(track.handler != mp4.TEXT for track in tracks)


def _length_ms(source: Source, track: mp4.Track, found: Inspection) -> int:
    ticks, usual = 0, 0
    for samples, delta in mp4.steps(source, track):
        lasts = delta * 1000 / track.timescale
        if lasts > PAUSE_MS and samples == 1 and usual and delta > STEADY * usual:
            found.note(0, "gap", f"{lasts:.0f} ms without anything new", round(ticks * 1000 / track.timescale))
        else:
            usual = delta
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
