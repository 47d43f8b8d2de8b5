# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the packets of a transport stream, read for proofs: by other means than those that plan and write a join.

Counters play no part, nor do tables say what counts: every packet with a payload belongs to a unit of its PID, whether
anybody knows what that is or not. Packets of one PID in a row are taken together, so that a gigabyte takes seconds.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.programs import maps_of
from streamvaultd.media.sound import sound_frames
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

UNIT_MAX: Final = 16 << 20
"""Of one unit; what is longer is taken for several."""

_CONTROL: Final = bytes(byte & 0xF0 for byte in range(256))
_BODY: Final = ts.PACKET - 4
_PES: Final = b"\0\0\1"
_WITHOUT_HEADER: Final = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})


class Unit(NamedTuple):
    """The payload of a PID from one start to the next, in the transport packets of [at, end).

    `body` is without the header of a PES packet, `ticks` its decoding time, and `late` how much later it is shown.
    Not `is_begun`: its start was not seen. Not `is_ended`: its end was not seen.
    """

    pid: int
    at: int
    end: int
    ticks: int | None
    late: int
    body: bytes
    is_begun: bool
    is_ended: bool

    def frames(self) -> Iterator[tuple[int | None, bytes]]:
        """(ticks, bytes) of each frame where sound says where they end, else of all of it."""
        if self.ticks is None:
            yield None, self.body
            return
        end = 0
        for at, size, ticks in sound_frames(self.body, 0):
            end = at + size
            yield (self.ticks + ticks) % ts.WRAP, self.body[at:end]
        if end < len(self.body) or not end:
            yield self.ticks if not end else None, self.body[end:]


def packets(data: bytes) -> Iterator[tuple[int, bool, int, int, bytes]]:
    """(PID, whether a unit begins, offset, end, payload) of the packets in a buffer, those alike in a row as one."""
    at = 0
    fields = zip(data[1 :: ts.PACKET], data[2 :: ts.PACKET], data[3 :: ts.PACKET].translate(_CONTROL), strict=False)
    for (head, low, control), group in groupby(fields):
        end = at + ts.PACKET * sum(1 for _ in group)
        pid = (head & 0x1F) << 8 | low
        if pid != ts.PID_NULL and control & 0x10:
            if head & 0x40 or control & 0x20:
                for place in range(at, end, ts.PACKET):
                    start = ts.payload_at(data, place)
                    if start >= 0:
                        yield pid, bool(head & 0x40), place, place + ts.PACKET, data[start : place + ts.PACKET]
            else:
                payload = b"".join([data[place + 4 : place + ts.PACKET] for place in range(at, end, ts.PACKET)])
                yield pid, False, at, end, payload
        at = end


class _Open:
    """A unit whose end was not seen yet."""

    def __init__(self, pid: int, at: int, *, is_begun: bool) -> None:
        self.pid = pid
        self.at = self.end = at
        self.is_begun = is_begun
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, payload: bytes, end: int) -> None:
        self.parts.append(payload)
        self.size += len(payload)
        self.end = end

    def closed(self, *, is_ended: bool) -> Unit:
        data = b"".join(self.parts)
        if not (self.is_begun and data.startswith(_PES) and len(data) >= 6):
            return Unit(self.pid, self.at, self.end, None, 0, data, self.is_begun, is_ended)
        length = int.from_bytes(data[4:6], "big")
        if length:
            is_ended = len(data) >= 6 + length
            data = data[: 6 + length]
        if data[3] in _WITHOUT_HEADER or len(data) < 9 or data[6] >> 6 != 2:
            return Unit(self.pid, self.at, self.end, None, 0, data[6:], self.is_begun, is_ended)
        head = bytes([ts.SYNC, 0x40, 0, 0x10]) + data[:_BODY].ljust(_BODY, b"\xff")
        pes = ts.parse_pes(head, 0)
        ticks, late = (None, 0) if pes is None else (pes.dts, pes.late)
        return Unit(self.pid, self.at, self.end, ticks, late, data[9 + data[8] :], self.is_begun, is_ended)


def units(source: Source, start: int, end: int) -> Iterator[Unit]:
    """All units that have a packet in [start, end), in order of their ends; tables of the programs are left out."""
    pending: dict[int, _Open] = {}
    maps = set[int]()
    for offset, data in blocks(source, start, end):
        for pid, is_start, at, to, payload in packets(data):
            if pid < ts.PID_TABLES_END:
                if pid == ts.PID_PAT and is_start:
                    maps.update(maps_of(data, at))
                continue
            if pid in maps:
                continue
            current = pending.get(pid)
            if current is not None and (is_start or current.size >= UNIT_MAX):
                yield pending.pop(pid).closed(is_ended=True)
                current = None
            if current is None:
                current = pending[pid] = _Open(pid, offset + at, is_begun=is_start)
            current.add(payload, offset + to)
    for unit in pending.values():
        if unit.pid not in maps:
            yield unit.closed(is_ended=False)
