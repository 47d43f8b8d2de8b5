# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a range of a transport stream the result of a join lacks, unit for unit. See left_out.py."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from streamvaultd.media import payload, sought, ts
from streamvaultd.media.left_out_runs import MovedRuns
from streamvaultd.media.sought import CHUNK, Item, Lost, Sought, Span, digest, is_near, windows
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streamvaultd.media.source import Source


def look_for_units(file: Source, span: Span, held: Sequence[tuple[Source, int]]) -> None:
    start, end = span
    _require_sync(file, start, end)
    seen, runs, low, size = set[int](), MovedRuns(), start, sought.SLICE
    while low < end:
        high, found, items, seen = _slice(file, (low, min(end, low + size)), seen, is_first=low == start)
        wanted = Sought(items)
        for whole, place in held:
            for window in windows(whole, place + low - start, high - low):
                if not wanted:
                    break
                for unit in payload.units(whole, *window):
                    for item in _items_of(unit):
                        wanted.find(item)
                    if not wanted:
                        break
        parts = (
            _items_in(whole, window)
            for whole, place in held
            for window in windows(whole, place + low - start, high - low)
        )
        missing = runs.without(items, list(wanted), parts) if wanted else []
        if missing:
            # what is torn, or lacks its start, is held if each of its packets is
            lost = {(item.key[0], item.at) for item in missing}
            rest = [(unit, before) for unit, before in _behind(found) if (unit.pid, unit.at) in lost]
            _look_for_packets(file, rest, (low, high), [(whole, place + low - start) for whole, place in held])
        size = min(sought.SLICE, 4 * (high - low))
        low = high


def _slice(
    file: Source, span: Span, seen: set[int], *, is_first: bool
) -> tuple[int, list[payload.Unit], list[Item], set[int]]:
    """Where a slice of `span` ends, its units, what is in them, and what _units() tells: no more than memory holds.

    Of frames of a few bytes it is shorter.
    """
    low, high = span
    while True:
        found, over = _units(file, low, high, seen, is_first=is_first)
        items = list(islice((item for unit in found for item in _items_of(unit)), sought.ITEMS_MAX + 1))
        if len(items) <= sought.ITEMS_MAX:
            return high, found, items, over
        if high - low <= sought.SLICE_MIN:
            raise Lost(f"more than {sought.ITEMS_MAX} frames in {high - low} bytes from {low} on")
        del found, items
        high = low + (high - low) // 4


def _items_in(whole: Source, window: Span) -> Iterator[Item]:
    return (item for unit in payload.units(whole, *window) for item in _items_of(unit))


def _require_sync(file: Source, start: int, end: int) -> None:
    """Raises Lost for bytes that are no packets; a torn one is nothing, nor are the zeros of a power failure."""
    at = start
    low = max(0, start - sought.LOOK)
    for offset, data in blocks(file, low, min(file.size, end + ts.PACKET)):
        if offset > at:
            _require_nothing(file, at, min(offset, end))
        at = max(at, offset + len(data))
        if at >= end:
            return
    _require_nothing(file, at, end)


def _require_nothing(file: Source, start: int, end: int) -> None:
    if end - start >= ts.PACKET and any(
        file.read(at, min(CHUNK, end - at)).strip(b"\0") for at in range(start, end, CHUNK)
    ):
        raise Lost(f"{end - start} bytes from {start} on are no packets")


def _units(
    file: Source, low: int, high: int, seen: set[int], *, is_first: bool
) -> tuple[list[payload.Unit], set[int]]:
    """Those that begin in [low, high), or go on into it if nothing before it was looked at.

    `seen`: the PIDs of which the slice before has looked at all of what goes on into this one. Returns those for the
    next one as well.
    """
    found, over, ahead = list[payload.Unit](), set[int](), set[int]()
    begin = max(0, low - sought.LOOK) if is_first else low
    for unit in payload.units(file, begin, min(file.size, high + sought.LOOK)):
        if unit.at >= high:
            if unit.pid not in ahead and not unit.is_begun:
                over.discard(unit.pid)
            ahead.add(unit.pid)
            continue
        (over.add if unit.is_ended else over.discard)(unit.pid)
        if low <= unit.at:
            is_rest = not is_first and not unit.is_begun and unit.pid in seen
            found += [] if is_rest else [unit]
            seen = seen - {unit.pid}
        elif is_first and unit.end > low:
            found.append(unit)
    return found, over


def _items_of(unit: payload.Unit) -> Iterator[Item]:
    frames = list(unit.frames())
    if not unit.is_ended and len(frames) > 1 and frames[-1][0] is None:
        frames.pop()
    for ticks, data in frames:
        yield Item((unit.pid, digest(data)), ticks, unit.late, unit.at, unit.end)


def _behind(units: Iterable[payload.Unit]) -> Iterator[tuple[payload.Unit, bytes]]:
    """Each, and the digest of the frame of its stream that is before it."""
    last: dict[int, bytes] = {}
    for unit in units:
        yield unit, last.get(unit.pid, b"")
        last[unit.pid] = digest(list(unit.frames())[-1][1])


def _look_for_packets(
    file: Source, units: Sequence[tuple[payload.Unit, bytes]], span: Span, held: Sequence[tuple[Source, int]]
) -> None:
    """Of units that are not in the result as they are: each packet is, or what is torn is how one of them begins."""
    wanted: dict[int, Counter[bytes]] = {}
    for at, (unit, _) in enumerate(units):
        start = unit.at if unit.is_begun else max(unit.at, span[0])
        wanted[at] = Counter(data for _, data in _payloads(file, start, unit.end, {unit.pid}))
    for whole, place in held:
        low, high = next(windows(whole, place, span[1] - span[0]))
        there: dict[int, Counter[bytes]] = {unit.pid: Counter() for unit, _ in units}
        for pid, data in _payloads(whole, low, high, set(there)):
            there[pid][data] += 1
        for theirs, before in _behind(payload.units(whole, low, high)):
            for at in [at for at in wanted if _is_start(*units[at], theirs, before)]:
                del wanted[at]
        for at in list(wanted):
            mine = there[units[at][0].pid]
            if all(mine[data] >= count for data, count in wanted[at].items()):
                mine -= wanted.pop(at)
    for at in wanted:
        unit = units[at][0]
        raise Lost(f"what PID {unit.pid} has at byte {unit.at} is not in the result")


def _is_start(torn: payload.Unit, behind: bytes, whole: payload.Unit, before: bytes) -> bool:
    """Whether a unit, or a frame within it where another muxer packed more of them together, begins as a torn one.

    It is at the same time, or what comes before either is the same.
    """
    if torn.is_ended or torn.ticks is None or torn.pid != whole.pid:
        return False
    frames = list(whole.frames())
    begins = [(before, whole.ticks, whole.body)]
    for ticks, data in frames:
        begins.append((before, ticks, data))
        before = digest(data)
    return any(
        data.startswith(torn.body) and (is_near(torn.ticks, ticks) or (behind and behind == last))
        for last, ticks, data in begins
    )


def _payloads(source: Source, start: int, end: int, pids: set[int]) -> Iterator[tuple[int, bytes]]:
    """(PID, what a packet holds, as a digest) of all packets of these PIDs."""
    for _, data in blocks(source, start, end):
        for at in range(0, len(data), ts.PACKET):
            pid = ts.pid_of(data, at)
            if pid in pids and (begin := ts.payload_at(data, at)) >= 0:
                yield pid, digest(data[begin : at + ts.PACKET])
