# SPDX-License-Identifier: GPL-3.0-or-later
"""When the media of a transport stream are, read from its timestamps: no decoder, bounded reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.pieces import GAP_MAX, SECOND, Pieces, Seams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.media.source import Source

# Read at a time: whole packets, about 1 MiB
BLOCK = 5600 * ts.PACKET
# How much of a source's start may be damaged
HEAD_MAX = 256 << 10
# How far a first or a last timestamp is looked for: seconds of media at any bit rate
REACH = 64 << 20
# What was received is measured of a piece of so many bytes at most: some seconds
COUNTED_MAX = 1 << 30
# Units are shown this long after they are decoded, at most: pictures are reordered within a second or two
LATE_MAX = 10 * 1000 * ts.TICKS_PER_MS


@dataclass(frozen=True, slots=True)
class Beat:
    """The first or last unit of one PID: its timestamp and the distance to its neighbour (0: it has none)."""

    pes: ts.Pes
    step: int


def is_ts(source: Source) -> bool:
    """True when the source begins with whole transport packets, or has a run of them where its start is damaged."""
    head = source.read(0, HEAD_MAX)
    first = head[: ts.SYNC_RUN * ts.PACKET]
    if len(first) >= ts.PACKET and ts.synced(first) == len(first) // ts.PACKET * ts.PACKET:
        return True
    return ts.resync(head, 0) >= 0


def blocks(source: Source, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, whole packets in sync) of everything between start and end that is a transport stream."""
    at, lost = start, False
    while end - at >= ts.PACKET:
        data = source.read(at, min(BLOCK, end - at))
        if len(data) < ts.PACKET:
            return
        first = ts.resync(data, 0) if lost else 0
        if first < 0:
            # a run of packets may begin in the last bytes of this block and end in the next one
            at += max(1, len(data) - ts.SYNC_RUN * ts.PACKET + 1)
            continue
        data = data[first:]
        good = ts.synced(data)
        if good:
            yield at + first, data[:good]
        lost = len(data) - good >= ts.PACKET
        at += first + good + lost


def whole_end(source: Source) -> int:
    """Where the last whole packet ends: behind it are a torn packet, or what a power failure left there."""
    end = source.size
    while end >= ts.PACKET:
        start = max(0, end // ts.PACKET * ts.PACKET - BLOCK)
        last = max((at + len(data) for at, data in blocks(source, start, end)), default=0)
        if last:
            return last
        end = start + ts.SYNC_RUN * ts.PACKET - 1 if start else 0
    return 0


def units(source: Source, start: int, end: int) -> Iterator[ts.Pes]:
    """Every PES packet with a timestamp that begins in [start, end); `at` counts from the source's start."""
    for offset, data in blocks(source, start, end):
        for pes in ts.pes_starts(data):
            yield pes._replace(at=offset + pes.at)


def first_beats(source: Source, start: int, end: int) -> dict[int, Beat]:
    """By PID, the first unit in [start, end); reads on until the clock has two units, or to REACH."""
    found: dict[int, Beat] = {}
    for pes in units(source, start, min(end, start + REACH)):
        beat = found.get(pes.pid)
        if beat is None:
            found[pes.pid] = Beat(pes, 0)
        elif not beat.step:
            found[pes.pid] = Beat(beat.pes, ts.difference(pes.dts, beat.pes.dts))
            if pes.is_video or pes.at - start > 4 * BLOCK:
                break
    return found


def last_beats(source: Source, start: int, end: int) -> dict[int, Beat]:
    """By PID, the last unit in [start, end); looks back until the clock has two units, or to REACH."""
    reach = 2 * BLOCK
    while True:
        low = max(start, (end - reach) // ts.PACKET * ts.PACKET)
        found: dict[int, Beat] = {}
        for pes in units(source, low, end):
            last = found.get(pes.pid)
            found[pes.pid] = Beat(pes, ts.difference(pes.dts, last.pes.dts) if last else 0)
        clock = clock_of(found)
        if (clock is not None and found[clock].step) or low == start or reach >= REACH:
            return found
        reach *= 4


def clock_of(beats: dict[int, Beat]) -> int | None:
    """The PID that time is told by: video if there is any, else the lowest."""
    return min(beats, key=lambda pid: (not beats[pid].pes.is_video, pid), default=None)


def counters_before(source: Source, start: int, end: int) -> dict[int, int]:
    """By PID, the counter that its first packet in the first blocks of [start, end) follows."""
    found: dict[int, int] = {}
    for _, data in blocks(source, start, min(end, start + 4 * BLOCK)):
        for at in range(0, len(data), ts.PACKET):
            pid = ts.pid_of(data, at)
            if pid not in found and pid != ts.PID_NULL:
                found[pid] = (ts.counter_of(data, at) - ts.has_payload(data, at)) & 15
    return found


def last_counters(source: Source, start: int, end: int) -> dict[int, int]:
    """By PID, the counter of its last packet in the last blocks of [start, end)."""
    found: dict[int, int] = {}
    low = max(start, (end - 4 * BLOCK) // ts.PACKET * ts.PACKET)
    for _, data in blocks(source, low, end):
        for at in range(0, len(data), ts.PACKET):
            found[ts.pid_of(data, at)] = ts.counter_of(data, at)
    return found


def jumps_at(source: Source, at: int) -> set[int]:
    """The PIDs whose first packet behind `at` neither follows their last one before it nor says so."""
    before, jumps, seen = last_counters(source, 0, at), set(), {ts.PID_NULL}
    for _, data in blocks(source, at, min(source.size, at + 4 * BLOCK)):
        for place in range(0, len(data), ts.PACKET):
            pid = ts.pid_of(data, place)
            if pid not in seen and any(ts.continuity_breaks(before, data[place : place + ts.PACKET])):
                jumps.add(pid)
            seen.add(pid)
    return jumps


def duration_ms(source: Source, seams: Sequence[int] = ()) -> int | None:
    """Milliseconds that are presented from the first to the end of the last unit of any stream, gaps included.

    None without timestamps. `seams` are offsets at which another capture begins. Every timestamp counts, whatever the
    size, and each piece has its own clock (pieces.py).
    """
    pieces = read_pieces(source, seams)
    return round(pieces.end() / ts.TICKS_PER_MS) if pieces.count else None


class Shown(NamedTuple):
    """When a capture's first picture (or sound) is shown in a result, and how long its pictures last (ms)."""

    at: float
    lasts: float


def shown(
    source: Source, seams: Sequence[int], spans: Sequence[tuple[int, int]]
) -> tuple[int | None, list[Shown | None]]:
    """As duration_ms(), and when what is between two offsets is shown: None if nothing is there or behind.

    Of the file as players show it: they begin with the first unit that is to be shown. The spans begin in order.
    """
    pieces, ahead, first = Pieces(), Seams(seams), first_beats(source, 0, source.size)
    clock = clock_of(first)
    zero = min((beat.pes.late + ts.difference(beat.pes.dts, _first(first)) for beat in first.values()), default=0)
    looks, near = [_Look(start, end) for start, end in spans], list[_Look]()
    pending = looks[::-1]
    for pes in units(source, 0, source.size):
        pieces.feed(pes.pid, pes.dts, at_seam=ahead.is_met(pes.at))
        if pes.pid == clock and not is_misdated(pes):
            while pending and pending[-1].start <= pes.at:
                near.append(pending.pop())
            near = [look for look in near if look.is_going_on(pes, pieces.place(pes.dts))]
    found = [
        Shown(max(0.0, (each.shown - zero) / ts.TICKS_PER_MS), each.ms()) if each.is_met else None for each in looks
    ]
    return (round(pieces.end() / ts.TICKS_PER_MS) if pieces.count else None), found


def lasts_ms(source: Source, start: int, end: int) -> float:
    """How long pictures, or else the sound, are shown that are between two offsets; all of it is read."""
    pieces, looks, pictures = Pieces(), dict[int, _Look](), set[int]()
    for pes in units(source, start, end):
        pieces.feed(pes.pid, pes.dts)
        if not is_misdated(pes):
            looks.setdefault(pes.pid, _Look(start, end)).is_going_on(pes, pieces.place(pes.dts))
            if pes.is_video:
                pictures.add(pes.pid)
    return looks[min(pictures or looks)].ms() if looks else 0.0


class _Look:
    """Fed with the units of one stream from an offset on: when it is shown, and how long until another offset."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.shown = 0
        self.is_met = False
        self._end = end
        self._first = self._last = self._step = 0

    def is_going_on(self, pes: ts.Pes, place: int) -> bool:
        """Take a unit at its place (ticks); False if it is behind the end."""
        if not self.is_met:
            self.is_met = True
            self.shown, self._first, self._last = place + pes.late, place, place
        if pes.at >= self._end:
            return False
        if place > self._last:
            self._step, self._last = min(place - self._last, SECOND), place
        return True

    def ms(self) -> float:
        """To the end of the last unit, which is shown as long as the one before."""
        return (self._last - self._first + self._step) / ts.TICKS_PER_MS


def _first(beats: dict[int, Beat]) -> int:
    """The decoding time of the unit that comes first in the file, from which pieces count."""
    return min((beat.pes for beat in beats.values()), key=lambda pes: pes.at).dts


def late_unit(source: Source) -> ts.Pes | None:
    """The first unit that is to be shown long after it is decoded, or before: its presentation time is wrong."""
    return next((pes for pes in units(source, 0, source.size) if is_misdated(pes)), None)


def is_misdated(pes: ts.Pes) -> bool:
    """Whether a unit's presentation time is nowhere near its decoding time."""
    return not -LATE_MAX <= pes.late <= LATE_MAX


def received_ms(source: Source) -> int | None:
    """As duration_ms(), of what is there alone: a step ahead of more than a second is no time. None of large files."""
    pieces = read_pieces(source, gap_max=SECOND) if source.size <= COUNTED_MAX else Pieces()
    return round(pieces.end() / ts.TICKS_PER_MS) if pieces.count else None


def counted_ms(source: Source, seams: Sequence[int] = ()) -> int | None:
    """As duration_ms(), for one who removes what is short: None where a stream is not understood."""
    return None if _has_untimed(source) else duration_ms(source, seams)


def read_pieces(source: Source, seams: Sequence[int] = (), gap_max: int = GAP_MAX) -> Pieces:
    """What every timestamp tells."""
    pieces, ahead = Pieces(gap_max), Seams(seams)
    for pes in units(source, 0, source.size):
        pieces.feed(pes.pid, pes.dts, at_seam=ahead.is_met(pes.at))
    return pieces


def _has_untimed(source: Source) -> bool:
    """Whether there is a stream of units without any timestamp, or one that is scrambled."""
    timed, others = set[int](), set[int]()
    for _, data in blocks(source, 0, source.size):
        if any(flags & 0xC0 for flags in data[3 :: ts.PACKET]):
            return True
        for at in ts.starts(data):
            start = ts.payload_at(data, at)
            if start >= 0 and data[start : start + 3] == b"\0\0\1":
                (others if ts.parse_pes(data, at) is None else timed).add(ts.pid_of(data, at))
    return not others <= timed
