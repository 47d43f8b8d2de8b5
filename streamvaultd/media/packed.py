# SPDX-License-Identifier: GPL-3.0-or-later
"""Packed audio (RFC 8216, 3.4): frames that follow each other without a container, perhaps with ID3 tags in between.

ADTS is ISO/IEC 13818-7, 1.A.2; MPEG audio of layer III is ISO/IEC 11172-3, 2.4.1.3, and 13818-3 for half the rates.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamvaultd.media.source import Source

# How far behind the tags the first frame is looked for: a stream that was joined in the middle begins with half of one
HEAD = 16 << 10
# Frames in a row that prove it
RUN = 4
TAGS_MAX = 16
_MP3_RATES = (44_100, 48_000, 32_000)
# kbit/s by index: of the full rates, and of their halves and quarters
_MP3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


class Packed(Enum):
    """What the frames are."""

    AAC = "adts"
    MP3 = "mp3"


def kind_of(source: Source) -> Packed | None:
    """What a source consists of if it is packed audio."""
    data = source.read(_tags_end(source), HEAD)
    start = data.find(b"\xff")
    while start >= 0:
        for kind in Packed:
            if _is_run(data, start, kind):
                return kind
        start = data.find(b"\xff", start + 1)
    return None


def _tags_end(source: Source) -> int:
    """Where the ID3 tags end that the source begins with."""
    at = 0
    for _ in range(TAGS_MAX):
        head = source.read(at, 10)
        if head[:3] != b"ID3" or len(head) < 10 or any(byte & 0x80 for byte in head[6:]):
            break
        at += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    return at


def _is_run(data: bytes, at: int, kind: Packed) -> bool:
    for _ in range(RUN):
        size = _size(data[at : at + 7], kind)
        if not size or at + size > len(data):
            return False
        at += size
    return True


def _size(header: bytes, kind: Packed) -> int:
    """Bytes of the frame that begins with this header; 0 if none does."""
    if len(header) < 7 or header[0] != 0xFF:
        return 0
    if kind is Packed.AAC:
        size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        return size if header[1] & 0xF6 == 0xF0 and size > 7 else 0
    version, layer, kbits, rate = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 4, header[2] >> 2 & 3
    if header[1] & 0xE0 != 0xE0 or version == 1 or layer != 1 or not 0 < kbits < 15 or rate == 3:
        return 0
    is_full = version == 3
    hertz = _MP3_RATES[rate] >> (0 if is_full else 1 if version == 2 else 2)
    return (144 if is_full else 72) * _MP3_KBITS[not is_full][kbits] * 1000 // hertz + (header[2] >> 1 & 1)
