# SPDX-License-Identifier: GPL-3.0-or-later
"""MPEG transport stream packets (ISO/IEC 13818-1, also ITU-T H.222.0), as far as joining needs them.

Pure functions over buffers. Damaged input is an answer (None, -1, fewer items), never an exception: a recording that
was cut by a power failure is ordinary input here. A "buffer" that is iterated holds whole packets and begins with one.
Timestamps are 33 bits of a 90 kHz clock and wrap every 26.5 hours; compare them with `difference` only.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Buffer: TypeAlias = bytes | bytearray | mmap

PACKET = 188
SYNC = 0x47
TICKS_PER_MS = 90
WRAP = 1 << 33
PID_PAT = 0
PID_NULL = 0x1FFF
# Below are the tables that stand in front of a program: PAT, CAT, SDT and their like (DVB: ETSI EN 300 468, table 1)
PID_TABLES_END = 0x20

# How many packets in a row must begin with the sync byte before a place in damaged data counts as a packet's start
SYNC_RUN = 5

_SYNC_BYTE = bytes([SYNC])
_UNIT_START = bytes(byte >> 6 & 1 for byte in range(256))
# Stream ids whose PES packets have no optional header, so no timestamps (table 2-21 and its text)
_WITHOUT_HEADER = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})


class Pes(NamedTuple):
    """The start of a PES packet: where its first transport packet is, whose it is, and when it is decoded.

    `late`: how many ticks later it is shown.
    """

    at: int
    pid: int
    stream: int
    dts: int
    late: int = 0

    @property
    def is_video(self) -> bool:
        return 0xE0 <= self.stream <= 0xEF


def difference(later: int, earlier: int) -> int:
    """Ticks from one timestamp to another, across the wrap; negative when `later` is the earlier one."""
    ticks = (later - earlier) % WRAP
    return ticks - WRAP if ticks >= WRAP // 2 else ticks


def synced(buffer: Buffer) -> int:
    """Bytes from the start of the buffer that are whole packets, each with its sync byte."""
    heads = bytes(buffer[: len(buffer) // PACKET * PACKET : PACKET])
    return (len(heads) - len(heads.lstrip(_SYNC_BYTE))) * PACKET


def resync(buffer: Buffer, start: int) -> int:
    """The first offset >= start where SYNC_RUN packets in a row begin, or -1."""
    last = len(buffer) - SYNC_RUN * PACKET
    at = buffer.find(_SYNC_BYTE, start)
    while 0 <= at <= last:
        if all(buffer[at + n * PACKET] == SYNC for n in range(SYNC_RUN)):
            return at
        at = buffer.find(_SYNC_BYTE, at + 1)
    return -1


def pid_of(buffer: Buffer, at: int) -> int:
    return (buffer[at + 1] & 0x1F) << 8 | buffer[at + 2]


def counter_of(buffer: Buffer, at: int) -> int:
    return buffer[at + 3] & 0x0F


def has_payload(buffer: Buffer, at: int) -> bool:
    return bool(buffer[at + 3] & 0x10)


def is_discontinuity(buffer: Buffer, at: int) -> bool:
    """True when the packet announces that its counter or its clock does not go on from the one before."""
    return bool(buffer[at + 3] & 0x20 and buffer[at + 4] and buffer[at + 5] & 0x80)


def payload_at(buffer: Buffer, at: int) -> int:
    """Offset of the packet's payload, or -1 when it has none or its adaptation field is impossible."""
    if not has_payload(buffer, at):
        return -1
    start = at + 4 + (1 + buffer[at + 4] if buffer[at + 3] & 0x20 else 0)
    return start if start < at + PACKET else -1


def starts(buffer: Buffer) -> Iterator[int]:
    """Offsets of the packets in which a payload unit (a PES packet, a table) begins."""
    flags = bytes(buffer[1::PACKET]).translate(_UNIT_START)
    index = flags.find(1)
    while index >= 0:
        yield index * PACKET
        index = flags.find(1, index + 1)


def _timestamp(buffer: Buffer, at: int) -> int | None:
    """33 bits in five bytes, each part closed by a marker bit; None when a marker is missing."""
    if not buffer[at] & buffer[at + 2] & buffer[at + 4] & 1:
        return None
    return (
        (buffer[at] >> 1 & 7) << 30
        | buffer[at + 1] << 22
        | (buffer[at + 2] >> 1) << 15
        | buffer[at + 3] << 7
        | buffer[at + 4] >> 1
    )


def parse_pes(buffer: Buffer, at: int) -> Pes | None:
    """The PES packet that begins in the transport packet at `at`; None without one or without a timestamp."""
    start = payload_at(buffer, at)
    end = at + PACKET
    if start < 0 or start + 14 > end or buffer[start : start + 3] != b"\0\0\1":
        return None
    stream, flags = buffer[start + 3], buffer[start + 7] >> 6
    if stream < 0xBD or stream in _WITHOUT_HEADER or buffer[start + 6] >> 6 != 2 or not flags & 2:
        return None
    shown = _timestamp(buffer, start + 9)
    decoded = _timestamp(buffer, start + 14) if flags == 3 and start + 19 <= end else shown
    if shown is None or decoded is None:
        return None
    return Pes(at, pid_of(buffer, at), stream, decoded, difference(shown, decoded))


def pes_starts(buffer: Buffer) -> Iterator[Pes]:
    """The PES packets that begin in this buffer and have a timestamp; `at` counts from the buffer's start."""
    for at in starts(buffer):
        pes = parse_pes(buffer, at)
        if pes is not None:
            yield pes


def continuity_breaks(before: dict[int, int], buffer: Buffer) -> Iterator[tuple[int, int]]:
    """(offset, PID) of each packet whose counter does not follow; `before`, the last one by PID, is kept up to date.

    A repeated packet (same counter, once) and an announced discontinuity are no breaks (2.4.3.3).
    """
    for at in range(0, len(buffer) - PACKET + 1, PACKET):
        pid, counter = pid_of(buffer, at), counter_of(buffer, at)
        if pid == PID_NULL:
            continue
        last = before.get(pid)
        step = 1 if has_payload(buffer, at) else 0
        if last is not None and counter not in (last, (last + step) & 15) and not is_discontinuity(buffer, at):
            yield at, pid
        before[pid] = counter


def discontinuity(counters: Iterable[tuple[int, int]]) -> bytes:
    """For each (PID, counter that its next packet follows): a packet that announces the discontinuity.

    It has no payload, so it does not advance the counter itself (2.4.3.3).
    """
    packets = bytearray()
    for pid, counter in counters:
        header = bytes([SYNC, pid >> 8 & 0x1F, pid & 0xFF, 0x20 | counter & 15, PACKET - 5, 0x80])
        packets += header.ljust(PACKET, b"\xff")
    return bytes(packets)
