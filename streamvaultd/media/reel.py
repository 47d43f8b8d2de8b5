# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a growing file can be cut, so that players get it in pieces while it is written: incremental, bounded reads.

A piece of a transport stream begins with tables in front of a key frame, one of fragmented MP4 with a fragment. What
is handed out is never changed, so a piece is whole: another one has begun behind it, or nobody writes any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import fmp4, fragments, timeline, ts
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.source import Clipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

LEAST: Final = 1.0
"""Seconds that a piece has at least, but for the last one of a file."""

MOST: Final = 8.0
"""Behind so many seconds any tables will do, though no key frame follows."""

HEAD: Final = 64 << 10
"""Bytes of a file after which its streams are known; or nobody writes any more."""

READ: Final = 64 << 20
"""Bytes that one look reads at most."""


class Piece(NamedTuple):
    """Bytes [start, end) of a file, which last so long."""

    start: int
    end: int
    seconds: float


class Unplayable(Exception):
    """Why a file cannot be played while it is written."""


@dataclass(slots=True)
class Reel:
    """One file, which was handed out up to `at`; `since` is the timestamp (or tick) at that place, once it is known.

    `is_done`: all of it was, and nobody writes any more.
    """

    at: int = 0
    is_done: bool = False
    container: FileFormat | None = None
    header: int = 0
    since: int | None = None
    last: int = 0
    step: int = 0
    _scanned: int = 0
    _clock: int | None = None
    _is_video: bool = False
    _table: int | None = None
    _known: dict[int, fragments.TrackHeader] = field(default_factory=dict)

    def begin(self, source: Source, *, is_over: bool) -> bool:
        """Learn what the file is; False while that is too little to know. Raises Unplayable."""
        if self.container is not None:
            return True
        if source.size < HEAD and not (is_over and source.size >= ts.PACKET):
            return False
        found = sniff(source)
        if found is FileFormat.TS:
            beats = timeline.first_beats(source, 0, source.size)
            self._clock = timeline.clock_of(beats)
            self._is_video = self._clock is not None and beats[self._clock].pes.is_video
            if self._clock is None and not is_over:
                return False
        elif found is FileFormat.FMP4 and not fmp4.is_indexed(source):
            self.header, self._known = fmp4.header_end(source), fragments.tracks(source)
            self._clock = fragments.clock_of(self._known)
            self.at = max(self.at, self.header)
        else:
            raise Unplayable(f"it comes as {_NAMES.get(found, 'a format')} that can be read from its start alone")
        self.container, self._scanned = found, max(self._scanned, self.at)
        return True

    def skip_to(self, at: int) -> None:
        """What is before this place is in the file before."""
        self.at = self._scanned = max(at, self.header)

    def advance(self, source: Source, *, is_over: bool) -> Iterator[Piece]:
        """The pieces that came since the last look; all of the rest if nobody writes any more."""
        end = min(source.size, self._scanned + READ)
        whole = self._end(source) if is_over and end == source.size else None
        if self.container is FileFormat.TS:
            yield from self._packets(Clipped(source, end if whole is None else whole))
        else:
            yield from self._fragments(Clipped(source, end))
        if whole is not None:
            self.is_done = True
            if whole > self.at:
                yield self._piece(whole, self.until)

    @property
    def until(self) -> int:
        """The timestamp (or tick) behind all that was read."""
        return self.last + self.step

    def place_of(self, source: Source, stamp: int) -> int | None:
        """Where the first piece begins that is not before this timestamp (or tick)."""
        if self.container is FileFormat.TS:
            return next((at for at, dts in self._places(source, 0) if ts.difference(dts, stamp) >= 0), None)
        found = fragments.fragments(source, self._known)
        each = ((one.start, run) for one in found for run in one.runs if run.track == self._clock)
        return next((start for start, run in each if run.start >= stamp), None)

    def place_behind(self, source: Source, at: int) -> int | None:
        """Where the first piece begins that is not before this byte."""
        if self.container is FileFormat.TS:
            return next((place for place, _ in self._places(source, max(at, 0) // ts.PACKET * ts.PACKET)), None)
        return next((one.start for one in fragments.fragments(source, {}) if one.start >= at), None)

    def _places(self, source: Source, start: int) -> Iterator[tuple[int, int]]:
        """Where a transport stream can be cut before a key frame, and the timestamp of that."""
        table: int | None = None
        for offset, data in timeline.blocks(source, start, min(source.size, start + READ)):
            for at in ts.starts(data):
                if ts.pid_of(data, at) == 0:
                    table = offset + at if table is None else table
                elif ts.pid_of(data, at) == self._clock and (pes := ts.parse_pes(data, at)) is not None:
                    if table is not None and (_is_key(data, at) or not self._is_video):
                        yield table, pes.dts
                    table = None

    def _end(self, source: Source) -> int:
        return timeline.whole_end(source) if self.container is FileFormat.TS else fmp4.whole_end(source)

    def _piece(self, end: int, until: int) -> Piece:
        scale = 1000 * ts.TICKS_PER_MS if self.container is FileFormat.TS else self._scale
        ticks = 0 if self.since is None else ts.difference(until % ts.WRAP, self.since % ts.WRAP)
        made = Piece(self.at, end, min(max(ticks / scale, 0.04), 3600.0))
        self.at, self.since = end, until
        return made

    @property
    def _scale(self) -> int:
        return self._known[self._clock].timescale if self._clock is not None else 1

    # --- transport streams -------------------------------------------------------------------------------------------

    def _packets(self, source: Source) -> Iterator[Piece]:
        for offset, data in timeline.blocks(source, self._scanned, source.size):
            for at in ts.starts(data):
                if ts.pid_of(data, at) == 0:
                    self._table = offset + at if self._table is None else self._table
                elif ts.pid_of(data, at) == self._clock and (pes := ts.parse_pes(data, at)) is not None:
                    if (table := self._cut_at(pes.dts, is_key=_is_key(data, at))) is not None:
                        yield self._piece(table, pes.dts)
                    self._note(pes.dts)
            self._scanned = offset + len(data)

    def _cut_at(self, stamp: int, *, is_key: bool) -> int | None:
        """Where a piece ends before this unit, if one does."""
        if self._table is None or self._table <= self.at or self.since is None:
            return None
        lasted = ts.difference(stamp, self.since) / (1000 * ts.TICKS_PER_MS)
        is_place = is_key or not self._is_video or not 0 <= lasted < MOST
        return self._table if is_place and not 0 <= lasted < LEAST else None

    def _note(self, stamp: int) -> None:
        if self.since is None:
            self.since = stamp
        else:
            self.step = max(0, min(ts.difference(stamp, self.last), 10 * 1000 * ts.TICKS_PER_MS))
        self.last, self._table = stamp, None

    # --- fragmented MP4 ----------------------------------------------------------------------------------------------

    def _fragments(self, source: Source) -> Iterator[Piece]:
        for fragment in fragments.fragments(source, self._known, self._scanned):
            for run in fragment.runs:
                if run.track == self._clock:
                    self.since = run.start if self.since is None else self.since
                    self.last, self.step = run.start, run.duration
            self._scanned = fragment.end
            if self.since is not None and self.until - self.since >= LEAST * self._scale:
                yield self._piece(fragment.end, self.until)


def _is_key(data: bytes, at: int) -> bool:
    """Whether a packet says that a decoder can begin there (random_access_indicator)."""
    return bool(data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40)


_NAMES: Final = {FileFormat.MATROSKA: "Matroska,", FileFormat.FMP4: "MP4 with an index,"}
