# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds to a transport stream what it did not have: streams of data, and a second program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

PACKET: Final = 188
PAT: Final = 0
PMT: Final = 4096
"""Where ffmpeg puts it."""
CUES: Final = 0x180
"""SCTE-35: sections of type 0x86."""
TAGS: Final = 0x181
"""Timed ID3: PES packets of type 0x15."""
ID3: Final = b"\x26\x0d\xff\xffID3 \xffID3 \0\x0f"
"""The descriptor that tells what is in that stream."""
OTHER_PMT: Final = 0x1010
OTHER_SOUND: Final = 0x301
POLYNOMIAL: Final = 0x04C11DB7


def packets(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PACKET] for at in range(0, len(data), PACKET))


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def checksum(data: bytes) -> bytes:
    """CRC-32 of MPEG-2."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (POLYNOMIAL if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


def _section(packet: bytes) -> bytes:
    """The one that begins in a packet and ends in it, without its checksum."""
    start = 5 + packet[4]
    return packet[start : start + 3 + ((packet[start + 1] & 0x0F) << 8 | packet[start + 2]) - 4]


def _extended(packet: bytes, more: bytes) -> bytes:
    """The packet with a section that goes on with `more`."""
    section = bytearray(_section(packet) + more)
    size = len(section) + 1
    section[1:3] = (0xB000 | size).to_bytes(2, "big")
    return (packet[:4] + b"\0" + section + checksum(bytes(section))).ljust(PACKET, b"\xff")


def _filled(pid: int, counter: int, body: bytes) -> bytes:
    """A packet with all of the body, which begins in it; stuffed in front."""
    head = bytes([0x47, 0x40 | pid >> 8, pid & 0xFF, 0x30 | counter % 16])
    stuffing = PACKET - 5 - len(body)
    return head + bytes([stuffing]) + (b"\0" + b"\xff" * (stuffing - 1) if stuffing else b"") + body


def _cue() -> bytes:
    """splice_null() of SCTE 35, with nothing to splice."""
    section = b"\xfc\x30\x11\0\0\0\0\0\0\0\xff\xf0\0\0\0\0"
    return b"\0" + section + checksum(section)


def _tag(number: int) -> bytes:
    """An ID3 tag in a PES packet without a time."""
    text = f"number {number}".encode()
    frame = b"TIT2" + (len(text) + 1).to_bytes(4, "big") + b"\0\0\3" + text
    body = b"ID3\4\0\0" + bytes([0, 0, 0, len(frame)]) + frame
    return b"\0\0\1\xbd" + (len(body) + 3).to_bytes(2, "big") + b"\x84\0\0" + body


def with_data(number: int) -> Callable[[bytes], bytes]:
    """Cues and tags beside picture and sound; `number` is that of the media segment, for the counters."""
    announced = b"\x86" + (0xE000 | CUES).to_bytes(2, "big") + b"\xf0\0"
    announced += b"\x15" + (0xE000 | TAGS).to_bytes(2, "big") + b"\xf0\x0f" + ID3

    def change(data: bytes) -> bytes:
        found, is_first = [], True
        for packet in packets(data):
            found.append(_extended(packet, announced) if pid_of(packet) == PMT else packet)
            if pid_of(packet) == PMT and is_first:
                found += [_filled(CUES, number, _cue()), _filled(TAGS, number, _tag(number))]
                is_first = False
        return b"".join(found)

    return change


def with_program(other: bytes) -> Callable[[bytes], bytes]:
    """A second program, whose sound is that of another transport stream."""
    announced = b"\0\2" + (0xE000 | OTHER_PMT).to_bytes(2, "big")

    def change(data: bytes) -> bytes:
        more = [moved for packet in packets(other) if (moved := _moved(packet))]
        found, plain = [], list(packets(data))
        share = max(1, len(plain) // max(1, len(more)))
        for number, packet in enumerate(plain):
            found.append(_extended(packet, announced) if pid_of(packet) == PAT else packet)
            if number % share == share - 1 and more:
                found.append(more.pop(0))
        return b"".join([*found, *more])

    return change


def _moved(packet: bytes) -> bytes:
    """Its PMT and its sound have other PIDs there; the rest is left away."""
    pid = pid_of(packet)
    if pid == PMT:
        section = bytearray(_section(packet))
        section[3:5] = b"\0\2"
        section[8:10] = section[13:15] = (0xE000 | OTHER_SOUND).to_bytes(2, "big")
        body = b"\0" + section + checksum(bytes(section))
        return (_with_pid(packet, OTHER_PMT)[:4] + body).ljust(PACKET, b"\xff")
    return _with_pid(packet, OTHER_SOUND) if pid == 256 else b""


def _with_pid(packet: bytes, pid: int) -> bytes:
    return bytes([packet[0], packet[1] & 0xE0 | pid >> 8, pid & 0xFF]) + packet[3:]
