# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to the bytes of a media segment on the way: a transport stream with something odd in it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

PACKET: Final = 188
VIDEO: Final = 256
"""The PID that ffmpeg gives to the pictures."""
HOUR: Final = 3600 * 90_000


def _packets(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PACKET] for at in range(0, len(data), PACKET))


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def without_pictures(data: bytes) -> bytes:
    """The camera is off: the stream is announced, and nothing comes."""
    return b"".join(packet for packet in _packets(data) if _pid(packet) != VIDEO)


def counted_anew(data: bytes) -> bytes:
    """A muxer of its own made it: all continuity counters begin with 0."""
    counters: dict[int, int] = {}
    found = bytearray(data)
    for at in range(0, len(data), PACKET):
        pid = _pid(data[at : at + PACKET])
        if data[at + 3] & 0x10:
            counters[pid] = (counters.get(pid, -1) + 1) % 16
        found[at + 3] = data[at + 3] & 0xF0 | counters.get(pid, 0)
    return bytes(found)


def behind_a_picture(data: bytes) -> bytes:
    """A small PNG comes before it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    png = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png + data


def shown_late(number: int, hours: float) -> Callable[[bytes], bytes]:
    """The presentation time of one picture is so many hours ahead; it needs one that has a decoding time, too."""

    def change(data: bytes) -> bytes:
        found, seen = bytearray(data), 0
        for at in range(0, len(data), PACKET):
            packet = data[at : at + PACKET]
            start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
            if not packet[1] & 0x40 or _pid(packet) != VIDEO or packet[start + 7] >> 6 != 3:
                continue
            if seen == number:
                place = slice(at + start + 9, at + start + 14)
                found[place] = _stamp((_time(data[place]) + int(hours * HOUR)) % (1 << 33))
                return bytes(found)
            seen += 1
        raise ValueError(f"there are {seen} such pictures")

    return change


def _time(field: bytes) -> int:
    high, middle, low = (
        field[0] >> 1 & 7,
        int.from_bytes(field[1:3], "big") >> 1,
        int.from_bytes(field[3:5], "big") >> 1,
    )
    return high << 30 | middle << 15 | low


def _stamp(moment: int) -> bytes:
    high, middle, low = moment >> 30, moment >> 15 & 0x7FFF, moment & 0x7FFF
    return bytes([0x31 | high << 1]) + (middle << 1 | 1).to_bytes(2, "big") + (low << 1 | 1).to_bytes(2, "big")


def stuffed(size: int) -> Callable[[bytes], bytes]:
    """Null packets between the others, until it has about so many bytes: a constant bit rate."""

    def change(data: bytes) -> bytes:
        packets = list(_packets(data))
        share = max(1, size // PACKET // len(packets))
        filling = (b"\x47\x1f\xff\x10" + bytes(range(PACKET - 4))) * share
        return b"".join(packet + filling for packet in packets)

    return change
