# SPDX-License-Identifier: GPL-3.0-or-later
"""The union of two transport streams that two muxers have made of one source, stream by stream and frame by frame.

Either may lack a stream for a while, as when one of a source's playlists was away: no packet need be equal, and the
place of the pictures does not tell that of the sound. Frames of one time with the same bytes prove that both are
captures of one source. All that the newer has is taken from it, and of the older what the newer lacks; where the newer
has a hole, what both have around it is written anew, in order of time. Where the clocks of the two differ, frames that
both have once tell a time of their own (unit_clock.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.frames import units
from streamvaultd.media.timeline import blocks, last_counters
from streamvaultd.media.unit_sides import by_content, by_time, has_moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from streamvaultd.media.frames import Frame, Unit
    from streamvaultd.media.source import Source
    from streamvaultd.media.unit_sides import Known, Side, Sides

# Frames compared at least, and the bytes that they hold: silence and black frames are alike
FRAMES_MIN = 2
PROOF_MIN = 512
# Of the frames that both have, one in so many may be damaged in one of the two
DAMAGED_ONE_IN = 8
# What may have to be written anew
REWRITTEN_MAX = 32 << 20
# What was received so long (ms) behind the older's end is other media: an advertisement may come again
APART_MS = 5000.0
# A stream that stands still for longer (ticks) lacks something
PAUSE = 1000 * ts.TICKS_PER_MS


class Weave(NamedTuple):
    """Keep older[:older_end], then `rewritten`, then newer[newer_start:].

    `has_clock`: what time is told by is in common. `has_holes`: each has something that the other lacks. `missing`:
    so many ticks of one of the streams were between the two, and in neither. `is_by_time`: by the same clock in both.
    """

    older_end: int
    rewritten: bytes
    newer_start: int
    overlap_bytes: int
    has_clock: bool = False
    has_holes: bool = False
    missing: int = 0
    is_by_time: bool = True


def find_weave(older: Source, newer: Source, expected: Callable[[], float | None] = lambda: None) -> Weave | None:
    """How to put them together; None without proof. `expected` tells how much (ms) of both was received twice."""
    timed = by_time(older, newer)
    woven = None if timed is None else _woven(older, newer, timed)
    if woven is not None and timed is not None and not has_moved(timed):
        return woven
    timed = None  # it takes as much memory as the other one
    both = expected()
    told = by_content(older, newer) if both is not None and both >= -APART_MS else None
    found = None if told is None else _woven(older, newer, told)
    return woven if found is None else found._replace(is_by_time=False)


def _woven(older: Source, newer: Source, sides: Sides) -> Weave | None:
    mine, yours, first, clock = sides
    if not (proven := _proven(mine, yours)):
        return None
    _decide(mine, yours)
    _decide_torn(yours, mine)
    found = _assembled(older, newer, mine, yours, first)
    return None if found is None else found._replace(has_clock=clock in proven)


def _proven(mine: Side, yours: Side) -> set[int]:
    """The PIDs whose frames are the same in both; empty if some are that are not."""
    sizes, found = dict[int, int](), dict[int, set[bytes]]()
    wrong = 0
    for known in mine.units:
        for frame, digest in zip(known.frames, known.digests, strict=True):
            other = yours.at(known.pes.pid, frame.ticks)
            if not digest or not other:
                continue
            if digest != other:
                wrong += 1
            elif digest not in found.setdefault(known.pes.pid, set()):
                found[known.pes.pid].add(digest)
                sizes[known.pes.pid] = sizes.get(known.pes.pid, 0) + frame.size
    if wrong * DAMAGED_ONE_IN > sum(len(each) for each in found.values()):
        return set()
    return {pid for pid, each in found.items() if len(each) >= FRAMES_MIN and sizes[pid] >= PROOF_MIN}


def _decide(mine: Side, yours: Side) -> None:
    """Of the older is kept what the newer does not have, or has torn, or more of it; of two that are alike one."""
    for known in mine.units:
        known.kept = [
            frame
            for frame, digest in zip(known.frames, known.digests, strict=True)
            if (other := yours.at(known.pes.pid, frame.ticks)) is None
            or (not other and (digest or frame.size > yours.torn_size(known.pes.pid, frame.ticks)))
        ]


def _decide_torn(yours: Side, mine: Side) -> None:
    """Of the newer all is kept, apart from what it has torn and the older has whole, or more of it."""
    for known in yours.units:
        known.kept = [
            frame
            for frame, digest in zip(known.frames, known.digests, strict=True)
            if digest
            or (other := mine.at(known.pes.pid, frame.ticks)) is None
            or not (other or frame.size < mine.torn_size(known.pes.pid, frame.ticks))
        ]


def _assembled(older: Source, newer: Source, mine: Side, yours: Side, first: int) -> Weave | None:
    changed = [known for known in mine.units if len(known.kept) < len(known.frames)]
    start = changed[0].pes.at if changed else older.size
    rest = [known for known in mine.units if known.pes.at >= start and known.kept]
    heads = {pid: min(ts.difference(ticks, first) for ticks in times) for pid, times in yours.times.items()}
    holes = [
        ts.difference(known.kept[-1].ticks, first)
        for known in rest
        if ts.difference(known.kept[-1].ticks, first) >= heads.get(known.pes.pid, 0)
    ]
    torn = [known.pes.at for known in yours.units if len(known.kept) < len(known.frames)]
    end = _end_of_holes(newer, yours, holes, torn, first)
    overlap = sum(frame.size for known in changed for frame in known.frames if frame not in known.kept)
    if end and yours.is_cut:
        return None
    is_better = mine.is_still and not yours.is_still
    if not yours.is_cut and not is_better and not _has_more(mine, yours):
        return Weave(
            older.size,
            b"",
            newer.size,
            overlap,
        )
    if older.size - start + end > REWRITTEN_MAX:
        return None
    before = _Half(older, (start, older.size), mine, first, tables_until=0.0, is_begun=True)
    behind = _Half(newer, (0, end), yours, first, tables_until=float("inf"), is_begun=False)
    rewritten = _renumbered([*before.items(), *behind.items()], last_counters(older, 0, start))
    return Weave(start, rewritten, end, overlap, has_holes=bool(holes), missing=_missing(mine, heads, first))


def _missing(mine: Side, heads: Mapping[int, int], first: int) -> int:
    """The longest time from where a stream of the older ends to where the newer begins with it."""
    found = 0
    for pid in mine.times.keys() & heads.keys():
        before = [ts.difference(ticks, first) - heads[pid] for ticks in mine.times[pid]]
        if max(before) < 0:
            found = max(found, -max(before))
    return found if found > PAUSE else 0


def _has_more(mine: Side, yours: Side) -> bool:
    """Whether the newer has a frame that the older lacks, or has less of."""
    return any(
        (other := mine.at(known.pes.pid, frame.ticks)) is None
        or (not other and (digest or frame.size > mine.torn_size(known.pes.pid, frame.ticks)))
        for known in yours.units
        for frame, digest in zip(known.frames, known.digests, strict=True)
    )


def _end_of_holes(newer: Source, yours: Side, holes: Sequence[int], torn: Sequence[int], first: int) -> int:
    """Where in the newer nothing of the older is to come any more."""
    if not holes and not torn:
        return 0
    latest = max(holes, default=-1)
    ahead = iter(reversed(yours.units))
    end = newer.size
    for known in ahead:
        if ts.difference(known.pes.dts, first) <= latest or known.pes.at in torn:
            return end
        end = known.pes.at
    return 0


class _Half:
    """What is kept of some bytes of a capture, as packets with their times."""

    def __init__(
        self, source: Source, span: tuple[int, int], side: Side, first: int, *, tables_until: float, is_begun: bool
    ) -> None:
        self._source = source
        self._start, self._end = span
        self._units = {known.pes.at: known for known in side.units}
        self._pids = set(side.times)
        self._first = first
        self._tables_until = tables_until
        self._is_begun = is_begun

    def items(self) -> Iterator[tuple[float, bytes]]:
        """(time, packets)."""
        now, current = float("-inf"), dict[int, tuple[float, bool]]()
        for offset, data in blocks(self._source, self._start, self._end):
            for at in range(0, len(data), ts.PACKET):
                pid, packet = ts.pid_of(data, at), data[at : at + ts.PACKET]
                known = self._units.get(offset + at)
                if known is not None:
                    now = float(ts.difference(known.pes.dts, self._first))
                    is_kept = len(known.kept) == len(known.frames)
                    current[pid] = now, is_kept
                    if known.kept and not is_kept:
                        yield from self._trimmed(known)
                when, is_kept = current.get(pid, (float("-inf"), self._is_begun))
                if pid not in self._pids:
                    when, is_kept = now, now < self._tables_until
                if is_kept and pid != ts.PID_NULL:
                    yield when, packet

    def _trimmed(self, known: Known) -> Iterator[tuple[float, bytes]]:
        """The frames of a unit that are kept, each run of them as a unit."""
        reader = units(self._source, known.pes.at, self._source.size)
        whole = next((unit for unit in reader if unit.pes.at == known.pes.at), None)
        if whole is None:
            return
        clock = whole.pes.dts - known.pes.dts
        runs: list[list[Frame]] = []
        for frame in known.kept:
            if runs and runs[-1][-1].at + runs[-1][-1].size == frame.at:
                runs[-1].append(frame)
            else:
                runs.append([frame])
        for run in runs:
            data = whole.data[run[0].at : run[-1].at + run[-1].size]
            header = _header(whole, (run[0].ticks + clock) % ts.WRAP, len(data))
            yield float(ts.difference(run[0].ticks, self._first)), _packets(known.pes.pid, header + data)


def _header(unit: Unit, ticks: int, size: int) -> bytes:
    """The unit's header with another time, and the length that follows; a length of 0 says nothing, and stays."""
    header = bytearray(unit.data[: unit.body])
    low = [ticks >> 22 & 0xFF, (ticks >> 15 & 0x7F) << 1 | 1, ticks >> 7 & 0xFF, (ticks & 0x7F) << 1 | 1]
    header[9:14] = bytes([header[9] & 0xF0 | (ticks >> 30 & 7) << 1 | 1, *low])
    if header[4:6] != b"\0\0":
        header[4:6] = (len(header) - 6 + size).to_bytes(2, "big")
    return bytes(header)


def _packets(pid: int, unit: bytes) -> bytes:
    """A PES packet in transport packets."""
    packets = bytearray()
    for at in range(0, len(unit), ts.PACKET - 4):
        body = unit[at : at + ts.PACKET - 4]
        spare = ts.PACKET - 4 - len(body)
        # an adaptation field of its length byte, a byte without flags, and stuffing (2.4.3.4)
        stuffing = b"" if not spare else bytes([spare - 1]) + (b"\0" + b"\xff" * (spare - 2) if spare > 1 else b"")
        packets += bytes([ts.SYNC, (0x40 if not at else 0) | pid >> 8, pid & 0xFF, 0x30 if spare else 0x10])
        packets += stuffing + body
    return bytes(packets)


def _renumbered(items: Sequence[tuple[float, bytes]], counters: dict[int, int]) -> bytes:
    """The packets in order of time, with counters that go on from these."""
    rewritten = bytearray()
    for _, packets in sorted(items, key=lambda item: item[0]):
        for at in range(0, len(packets), ts.PACKET):
            packet = bytearray(packets[at : at + ts.PACKET])
            pid = ts.pid_of(packet, 0)
            if pid in counters:
                packet[3] = packet[3] & 0xF0 | counters[pid] + ts.has_payload(packet, 0) & 15
            counters[pid] = ts.counter_of(packet, 0)
            rewritten += packet
    return bytes(rewritten)
