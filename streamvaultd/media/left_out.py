# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the segments a planned result does not hold: found by their payload, not by what the planner took for equal.

A join leaves bytes of its segments out, and then the segments go. So each range that is left out is looked at again:
either the result has the very bytes there, or it has every unit of every elementary stream of it, known or not, with
its presentation time. What lacks a single one, and what is not understood, is named, so that it is kept.

Memory is that of a slice of a range; of the result as much is read, and REACH around it if something is not found.
docs/design/003-join.md
"""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from streamvaultd.media import fmp4, payload, ts
from streamvaultd.media.container import Container, sniff
from streamvaultd.media.fmp4 import Box
from streamvaultd.media.places import HEAD, HITS_MAX, REACH_MAX
from streamvaultd.media.samples import Usual, samples, usual_of
from streamvaultd.media.source import Clipped, common_backward, common_forward, find_back, longest_at
from streamvaultd.media.splice import Part, Splice
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamvaultd.media.plan import Plan
    from streamvaultd.media.source import Source

SLICE: Final = 16 << 20
"""Bytes of a range that are looked for at a time."""

MARGIN: Final = 8 << 20
"""How far from its place in the result a unit may be: another muxer puts what belongs together some seconds apart."""

REACH: Final = 256 << 20
"""And how far when it is not there."""

LOOK: Final = 4 << 20
"""How far before and behind a range the units are read that begin before it or end behind it."""

ROUNDING: Final = ts.TICKS_PER_MS
"""By how many ticks two muxers may round a frame's time differently."""

_STRUCTURE: Final = frozenset({b"styp", b"sidx", b"prft", b"free", b"skip", b"mfra"})
_CHUNK: Final = 1 << 20

INITIALISATION: Final = "the initialisation"

Key: TypeAlias = tuple[int | str, bytes]
"""Whose it is (a PID, a track), and what."""
Span: TypeAlias = tuple[int, int]


class LeftOut(NamedTuple):
    """Bytes [start, end) of a file that the result has to be given, and why."""

    file: int
    start: int
    end: int
    why: str


class _Item(NamedTuple):
    """Something that must not be lost: whose and what it is, when it is, and the bytes that it was found in."""

    key: Key
    ticks: int | None
    late: int
    at: int
    end: int


class _Lost(Exception):
    """Something is not in the result, or not understood."""


def left_out(files: Sequence[Source], plans: Sequence[Plan]) -> list[LeftOut]:
    """All that is in the files and not, byte for byte or unit for unit, in any of the parts of the result."""
    held = [(plan, Splice(files, plan.pieces)) for plan in plans if plan.size]
    found = []
    for index, file in enumerate(files):
        for start, end in _unused(index, file.size, plans):
            try:
                _look_for(file, index, (start, end), held)
            except _Lost as lost:
                found.append(LeftOut(index, start, end, str(lost)))
    return found


def _unused(index: int, size: int, plans: Sequence[Plan]) -> Iterator[tuple[int, int]]:
    """The ranges of a file that no part of the result has."""
    used = sorted(
        (one.start, one.end) for plan in plans for one in plan.pieces if isinstance(one, Part) and one.file == index
    )
    at = 0
    for start, end in [*used, (size, size)]:
        if at < start:
            yield at, start
        at = max(at, end)


def _look_for(file: Source, index: int, span: Span, held: Sequence[tuple[Plan, Splice]]) -> None:
    """Raises _Lost unless all of a range is held."""
    start, end = span
    places: list[int] = []
    for plan, whole in held:
        before, behind = _places(index, span, plan, file, whole)
        if before is not None:
            start += common_forward(file, start, whole, before, end - start)
        if behind is not None:
            end -= common_backward(file, end, whole, behind, min(end - start, behind))
        if start >= end:
            return
        guess = before if before is not None else None if behind is None else behind - (span[1] - span[0])
        places.append((_last_before(index, plan) if guess is None else guess) + start - span[0])
    kind = sniff(file)
    if kind is Container.TS:
        _look_for_units(file, (start, end), [(whole, place) for (_, whole), place in zip(held, places, strict=True)])
    elif kind is Container.FMP4 and not fmp4.is_indexed(file):
        _look_for_samples(file, (start, end), [(whole, place) for (_, whole), place in zip(held, places, strict=True)])
    else:
        raise _Lost(f"{end - start} bytes of a format that is not looked into")


def _places(index: int, span: Span, plan: Plan, file: Source, whole: Splice) -> tuple[int | None, int | None]:
    """Where in a part of the result the bytes may be with which a range begins, and those with which it ends."""
    at, before, behind = 0, None, None
    for piece in plan.pieces:
        if isinstance(piece, Part) and piece.file == index:
            before = at + piece.size if piece.end == span[0] else before
            behind = at if piece.start == span[1] else behind
        at += piece.size
    if before is None and behind is None:
        head = file.read(span[0], min(HEAD, span[1] - span[0]))
        places = islice(find_back(whole, head, max(0, whole.size - REACH_MAX), whole.size), HITS_MAX)
        before = longest_at(file, span[0], whole, places, span[1] - span[0])
    return before, behind


def _last_before(index: int, plan: Plan) -> int:
    """Where in a part what was received before a file ends."""
    at = found = 0
    for piece in plan.pieces:
        at += piece.size
        found = at if isinstance(piece, Part) and piece.file < index else found
    return found


class _Wanted:
    """Items that are looked for."""

    def __init__(self, items: Sequence[_Item]) -> None:
        self._items: dict[Key, list[_Item]] = {}
        for item in items:
            self._items.setdefault(item.key, []).append(item)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[_Item]:
        return (item for each in self._items.values() for item in each)

    def find(self, item: _Item) -> None:
        """One of the result: what it is, is looked for no more."""
        for wanted in self._items.get(item.key, ()):
            if _is_near(wanted.ticks, item.ticks) and abs(wanted.late - item.late) <= ROUNDING:
                self._items[item.key].remove(wanted)
                if not self._items[item.key]:
                    del self._items[item.key]
                return


def _is_near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(ts.difference(one, other)) <= ROUNDING


def _windows(whole: Source, place: int, size: int) -> Iterator[tuple[int, int]]:
    """Where in the result something of that place and size is looked for."""
    for margin in (MARGIN, REACH):
        yield max(0, place - margin), min(whole.size, max(0, place) + size + margin)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


# --- transport streams ---------------------------------------------------------------------------------------------


def _look_for_units(file: Source, span: Span, held: Sequence[tuple[Source, int]]) -> None:
    start, end = span
    _require_sync(file, start, end)
    for low in range(start, end, SLICE):
        high = min(end, low + SLICE)
        found = list(_units(file, low, high, is_first=low == start))
        items = [item for unit in found for item in _items_of(unit)]
        wanted = _Wanted(items)
        for whole, place in held:
            for window in _windows(whole, place + low - start, high - low):
                if not wanted:
                    break
                for unit in payload.units(whole, *window):
                    for item in _items_of(unit):
                        wanted.find(item)
        if wanted:
            # what is torn, or lacks its start, is held if each of its packets is
            lost = {(item.key[0], item.at) for item in wanted}
            rest = [unit for unit in found if (unit.pid, unit.at) in lost]
            _look_for_packets(file, rest, (low, high), [(whole, place + low - start) for whole, place in held])


def _require_sync(file: Source, start: int, end: int) -> None:
    """Raises _Lost for bytes that are no packets; a torn one is nothing, nor are the zeros of a power failure."""
    at = start
    low = max(0, start - LOOK)
    for offset, data in blocks(file, low, min(file.size, end + ts.PACKET)):
        if offset > at:
            _require_nothing(file, at, min(offset, end))
        at = max(at, offset + len(data))
        if at >= end:
            return
    _require_nothing(file, at, end)


def _require_nothing(file: Source, start: int, end: int) -> None:
    if end - start >= ts.PACKET and any(
        file.read(at, min(_CHUNK, end - at)).strip(b"\0") for at in range(start, end, _CHUNK)
    ):
        raise _Lost(f"{end - start} bytes from {start} on are no packets")


def _units(file: Source, low: int, high: int, *, is_first: bool) -> Iterator[payload.Unit]:
    """Those that begin in [low, high), or go on into it if nothing before it was looked at."""
    begin = max(0, low - LOOK) if is_first else low
    for unit in payload.units(file, begin, min(file.size, high + LOOK)):
        if low <= unit.at < high or (is_first and unit.at < high and unit.end > low):
            yield unit


def _items_of(unit: payload.Unit) -> Iterator[_Item]:
    frames = list(unit.frames())
    if not unit.is_ended and len(frames) > 1 and frames[-1][0] is None:
        frames.pop()
    for ticks, data in frames:
        yield _Item((unit.pid, _digest(data)), ticks, unit.late, unit.at, unit.end)


def _look_for_packets(
    file: Source, units: Sequence[payload.Unit], span: Span, held: Sequence[tuple[Source, int]]
) -> None:
    """Of units that are not in the result as they are: each packet is, or what is torn is how one of them begins."""
    wanted: dict[int, Counter[bytes]] = {}
    for at, unit in enumerate(units):
        start = unit.at if unit.is_begun else max(unit.at, span[0])
        wanted[at] = Counter(data for _, data in _payloads(file, start, unit.end, {unit.pid}))
    for whole, place in held:
        low, high = next(_windows(whole, place, span[1] - span[0]))
        there: dict[int, Counter[bytes]] = {unit.pid: Counter() for unit in units}
        for pid, data in _payloads(whole, low, high, set(there)):
            there[pid][data] += 1
        for theirs in payload.units(whole, low, high):
            for at in [at for at in wanted if _is_start(units[at], theirs)]:
                del wanted[at]
        for at in list(wanted):
            mine = there[units[at].pid]
            if all(mine[data] >= count for data, count in wanted[at].items()):
                mine -= wanted.pop(at)
    for at in wanted:
        raise _Lost(f"what PID {units[at].pid} has at byte {units[at].at} is not in the result")


def _is_start(torn: payload.Unit, whole: payload.Unit) -> bool:
    return (
        not torn.is_ended
        and torn.ticks is not None
        and torn.pid == whole.pid
        and _is_near(torn.ticks, whole.ticks)
        and whole.body.startswith(torn.body)
    )


def _payloads(source: Source, start: int, end: int, pids: set[int]) -> Iterator[tuple[int, bytes]]:
    """(PID, what a packet holds, as a digest) of all packets of these PIDs."""
    for _, data in blocks(source, start, end):
        for at in range(0, len(data), ts.PACKET):
            pid = ts.pid_of(data, at)
            if pid in pids and (begin := ts.payload_at(data, at)) >= 0:
                yield pid, _digest(data[begin : at + ts.PACKET])


# --- fragmented MP4 ------------------------------------------------------------------------------------------------


def _look_for_samples(file: Source, span: Span, held: Sequence[tuple[Source, int]]) -> None:
    start, end = span
    known = _usual(file)
    for boxes in _groups(file, start, end):
        items = [item for box in boxes for item in _items_in(file, *box, known)]
        wanted = _Wanted(items if any(item.key[0] != INITIALISATION for item in items) else ())
        for whole, place in held:
            for box in _boxes(whole, 0, fmp4.header_end(whole)):
                for item in _items_in(whole, *box, {}):
                    wanted.find(item)
            for window in _windows(whole, place + boxes[0][0].start - start, SLICE):
                if not wanted:
                    break
                theirs = _usual(whole)
                for box in _boxes(whole, *window):
                    for item in _items_in(whole, *box, theirs):
                        wanted.find(item)
        for item in wanted:
            raise _Lost(f"what {item.key[0]} has at byte {item.at} is not in the result")


Boxes: TypeAlias = tuple[Box, Box | None]
"""A box, and the moof that it belongs to if it is an mdat."""


def _usual(source: Source) -> Mapping[int, Usual]:
    moov = next((box for box in fmp4.boxes(source) if box.kind == b"moov"), None)
    return {} if moov is None else usual_of(source, moov)


def _groups(file: Source, start: int, end: int) -> Iterator[list[Boxes]]:
    """The boxes of a file that are in a range, some at a time, also what is torn at its end."""
    found: list[Boxes] = []
    for box in _boxes(file, start, end):
        found.append(box)
        if box[0].end - found[0][0].start >= SLICE:
            yield found
            found = []
    if found:
        yield found


def _boxes(source: Source, start: int, end: int) -> Iterator[Boxes]:
    moof: Box | None = None
    at = 0
    for low, high in fmp4.clean(source):
        if at < low:
            yield from _foreign(source, max(at, start), min(low, end))
        at = low
        for box in fmp4.boxes(Clipped(source, high), low):
            at = box.end
            moof = box if box.kind == b"moof" else moof
            if box.end > start and box.start < end:
                yield box, moof if box.kind == b"mdat" else None
            moof = None if box.kind == b"mdat" else moof
    if at < source.size and end > at:
        torn = source.read(at + 4, 4)
        if torn == b"mdat" and moof is not None:
            yield Box(b"mdat", at, source.size), moof
        elif torn not in fmp4.FIRST_BOXES:
            yield from _foreign(source, max(at, start), end)


def _foreign(source: Source, start: int, end: int) -> Iterator[Boxes]:
    """What is no box is something, unless it is a page, or the zeros of a power failure."""
    if start < end and b"\0" in (data := source.read(start, min(_CHUNK, end - start))) and data.strip(b"\0"):
        yield Box(b"    ", start, end), None


def _items_in(source: Source, box: Box, moof: Box | None, known: Mapping[int, Usual]) -> Iterator[_Item]:
    if box.kind in _STRUCTURE or box.kind in (b"moof", b"ftyp"):
        return
    if box.kind == b"moov":
        yield _Item((INITIALISATION, _header(source, box)), None, 0, box.start, box.end)
        return
    found = None if moof is None else samples(source, moof, known)
    head = 16 if source.read(box.start, 4) == b"\0\0\0\1" else 8
    is_torn = head == 8 and box.end - box.start < int.from_bytes(source.read(box.start, 4), "big")
    if not found or (sum(one.size for one in found) != box.end - box.start - head and not is_torn):
        yield _Item(
            (f"box {box.kind.decode('latin-1')}", _digest_of(source, box.start, box.end)), None, 0, box.start, box.end
        )
        return
    for one in found:
        if box.start <= one.at and one.at + one.size <= box.end:
            data = _digest_of(source, one.at, one.at + one.size)
            yield _Item(
                (f"track {one.track}", data + one.ticks.to_bytes(8, "big")), None, one.late, box.start, box.end
            )


def _header(source: Source, moov: Box) -> bytes:
    return _digest(fmp4.without_rates(source.read(moov.start, min(moov.end - moov.start, fmp4.HEADER_MAX))))


def _digest_of(source: Source, start: int, end: int) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for at in range(start, end, _CHUNK):
        found.update(source.read(at, min(_CHUNK, end - at)))
    return found.digest()
