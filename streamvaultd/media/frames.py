# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames in a transport stream, whichever packets a muxer has put them into.

A picture is a PES packet. A PES packet of sound holds several frames, and where it begins and ends is the muxer's
choice, so each of its frames counts by itself, at the time that follows from those before it (sound.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamvaultd.media import ts
from streamvaultd.media.sound import sound_frames
from streamvaultd.media.timeline import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamvaultd.media.source import Source

# Of one unit as far as it is read; a key frame in 8K is smaller
UNIT_MAX = 16 << 20


class Frame(NamedTuple):
    """`size` bytes at `at` of its unit, decoded at `ticks`."""

    ticks: int
    at: int
    size: int


class Unit(NamedTuple):
    """A PES packet: where its first transport packet is, those that it consists of, and what they hold together.

    `is_whole`: nothing of it is missing, as far as can be told; `is_short`: its end alone is.
    """

    pes: ts.Pes
    packets: tuple[bytes, ...]
    data: bytes
    is_whole: bool
    is_short: bool = False

    @property
    def body(self) -> int:
        """Where the elementary stream begins."""
        return 9 + self.data[8] if len(self.data) > 8 else len(self.data)

    def frames(self) -> list[Frame]:
        """All of it is one frame, unless it is sound that can be divided; of what is short, the last may be torn."""
        found = [
            Frame((self.pes.dts + ticks) % ts.WRAP, at, size) for at, size, ticks in sound_frames(self.data, self.body)
        ]
        end = found[-1].at + found[-1].size if found else 0
        if len(found) > 1 and end < len(self.data) and self.is_short:
            ticks = found[-1].ticks + ts.difference(found[-1].ticks, found[-2].ticks)
            return [*found, Frame(ticks % ts.WRAP, end, len(self.data) - end)]
        return found if end == len(self.data) else [Frame(self.pes.dts, self.body, len(self.data) - self.body)]

    def is_torn(self, frame: Frame) -> bool:
        """Whether something of a frame is missing, or may be."""
        is_rest = frame.at + frame.size == len(self.data)
        return not self.is_whole and (is_rest or not self.is_short)


class _Open:
    """A unit whose end was not seen yet."""

    def __init__(self, pes: ts.Pes) -> None:
        self.pes = pes
        self.packets: list[bytes] = []
        self.data = bytearray()
        self.is_torn = False

    def add(self, packet: bytes) -> None:
        start = ts.payload_at(packet, 0)
        if start < 0:
            return
        if self.packets and ts.counter_of(packet, 0) != (ts.counter_of(self.packets[-1], 0) + 1) & 15:
            self.is_torn = True
        self.packets.append(packet)
        if len(self.data) < UNIT_MAX:
            self.data += packet[start:]

    def closed(self, *, at_end: bool) -> Unit:
        """A unit says how long it is, or ends where the next one begins."""
        length = int.from_bytes(self.data[4:6], "big")
        is_there = len(self.data) == 6 + length if length else not at_end
        is_short = not is_there and not self.is_torn
        return Unit(self.pes, tuple(self.packets), bytes(self.data), is_there and not self.is_torn, is_short)


def units(source: Source, start: int, end: int) -> Iterator[Unit]:
    """The PES packets with a timestamp that begin in [start, end), in order of their ends."""
    pending: dict[int, _Open] = {}
    for offset, data in blocks(source, start, end):
        for at in range(0, len(data), ts.PACKET):
            pid, packet = ts.pid_of(data, at), data[at : at + ts.PACKET]
            if data[at + 1] & 0x40 and pid in pending:
                yield pending.pop(pid).closed(at_end=False)
            if data[at + 1] & 0x40 and (pes := ts.parse_pes(data, at)) is not None:
                pending[pid] = _Open(pes._replace(at=offset + at))
            if pid in pending:
                pending[pid].add(packet)
    for unit in pending.values():
        yield unit.closed(at_end=True)
