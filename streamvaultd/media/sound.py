# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the frames of sound end, told by the frames themselves: a muxer puts as many into a PES packet as it likes.

AAC with ADTS headers (ISO/IEC 13818-7, 1.A.2), MPEG audio (ISO/IEC 11172-3, 2.4.1.3, and 13818-3 for half the rates),
AC-3 and E-AC-3 (ETSI TS 102 366, 4.3 and E.1.2), Opus (RFC 6716, 3.1; in transport streams each packet is behind
a header). Pure; nothing raises on damaged input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAMES_MAX: Final = 8192
"""Frames of one unit: what has more is no sound, or made to fill the memory, and is left as it is from there on."""

HERTZ: Final = 90_000
"""Ticks in a second."""
# By the index in a header
_ADTS_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_MPEG_RATES: Final = (44_100, 48_000, 32_000)
_AC3_RATES: Final = (48_000, 44_100, 32_000)
# kbit/s by index
_LAYER_1: Final = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_LAYER_2: Final = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_LAYER_3: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_HALF_1: Final = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_HALF: Final = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AC3_KBITS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_EAC3_BLOCKS: Final = (1, 2, 3, 6)
# Samples at 48 kHz of one Opus frame: SILK, hybrid and CELT, in groups of 12, 4 and 16 configurations
_OPUS: Final = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


class Sound(NamedTuple):
    """A frame of `size` bytes that lasts `samples` at `rate`; one without samples belongs to the frame before it."""

    size: int
    samples: int
    rate: int


def sound_frames(unit: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """(offset, size, ticks since the first) of the whole frames from `start` on; none where no sound is known."""
    parse = _parser(unit, start)
    at, ticks, begun = start, 0.0, -1
    lasts, count = 0.0, 0
    while parse is not None and count < FRAMES_MAX:
        frame = parse(unit, at)
        if frame is None or at + frame.size > len(unit):
            break
        if frame.samples:
            if begun >= 0:
                yield begun, at - begun, round(ticks)
                ticks += lasts
            begun, lasts, count = at, frame.samples * HERTZ / frame.rate, count + 1
        elif begun < 0:
            return
        at += frame.size
    if begun >= 0:
        yield begun, at - begun, round(ticks)


def _parser(unit: bytes, start: int) -> Callable[[bytes, int], Sound | None] | None:
    """What reads the headers of what begins there."""
    head = unit[start : start + 2]
    if len(head) < 2:
        return None
    if head == b"\x0b\x77":
        return _ac3
    if head[0] == 0x7F and head[1] & 0xE0 == 0xE0:
        return _opus
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return _adts if head[1] & 0xF6 == 0xF0 else _mpeg


def _adts(unit: bytes, at: int) -> Sound | None:
    if at + 7 > len(unit) or unit[at] != 0xFF or unit[at + 1] & 0xF6 != 0xF0:
        return None
    rate = unit[at + 2] >> 2 & 15
    size = (unit[at + 3] & 3) << 11 | unit[at + 4] << 3 | unit[at + 5] >> 5
    if rate >= len(_ADTS_RATES) or size < 7:
        return None
    return Sound(size, 1024 * (1 + (unit[at + 6] & 3)), _ADTS_RATES[rate])


def _mpeg(unit: bytes, at: int) -> Sound | None:
    if at + 4 > len(unit) or unit[at] != 0xFF or unit[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = unit[at + 1] >> 3 & 3, 4 - (unit[at + 1] >> 1 & 3)
    index, rate, padding = unit[at + 2] >> 4, unit[at + 2] >> 2 & 3, unit[at + 2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < index < 15 or rate == 3:
        return None
    is_full = version == 3
    hertz = _MPEG_RATES[rate] >> (0 if is_full else 1 if version == 2 else 2)
    full = {1: _LAYER_1, 2: _LAYER_2, 3: _LAYER_3}[layer]
    kbits = (full if is_full else _HALF_1 if layer == 1 else _HALF)[index - 1]
    if layer == 1:
        return Sound((12_000 * kbits // hertz + padding) * 4, 384, hertz)
    samples = 1152 if is_full or layer == 2 else 576
    return Sound(samples // 8 * 1000 * kbits // hertz + padding, samples, hertz)


def _ac3(unit: bytes, at: int) -> Sound | None:
    if at + 6 > len(unit) or unit[at : at + 2] != b"\x0b\x77":
        return None
    version, rate = unit[at + 5] >> 3, unit[at + 4] >> 6
    if version > 10:
        return _eac3(unit, at, rate)
    index = unit[at + 4] & 63
    if rate == 3 or index >> 1 >= len(_AC3_KBITS):
        return None
    words = _AC3_KBITS[index >> 1] * 96_000 // _AC3_RATES[rate] + (index & 1 if rate == 1 else 0)
    return Sound(2 * words, 1536, _AC3_RATES[rate] >> max(0, version - 8))


def _eac3(unit: bytes, at: int, rate: int) -> Sound | None:
    """A substream: the others of the same time follow the first one."""
    if unit[at + 5] >> 3 > 16:
        return None
    kind, number = unit[at + 2] >> 6, unit[at + 2] >> 3 & 7
    size = ((unit[at + 2] & 7) << 8 | unit[at + 3]) * 2 + 2
    code = unit[at + 4] >> 4 & 3
    if kind == 3 or (rate == 3 and code == 3):
        return None
    hertz, blocks = (_AC3_RATES[code] >> 1, 6) if rate == 3 else (_AC3_RATES[rate], _EAC3_BLOCKS[code])
    return Sound(size, 0 if kind == 1 or number else 256 * blocks, hertz)


def _opus(unit: bytes, at: int) -> Sound | None:
    """A header (11 bits of sync, what is trimmed, how long the frame is), and a packet that says how long it lasts."""
    if at + 3 > len(unit) or unit[at] != 0x7F or unit[at + 1] & 0xE0 != 0xE0:
        return None
    body, size = at + 2, 0
    while body < len(unit):
        size += unit[body]
        body += 1
        if unit[body - 1] != 0xFF:
            break
    flags = unit[at + 1]
    body += 2 * (flags >> 4 & 1) + 2 * (flags >> 3 & 1)
    if flags >> 2 & 1:
        body += 1 + (unit[body] if body < len(unit) else 0)
    if not size or body + 1 >= len(unit) + (size == 1):
        return None
    kind = unit[body]
    count = (1, 2, 2, unit[body + 1] & 63 if size > 1 else 0)[kind & 3]
    return Sound(body + size - at, count * _OPUS[kind >> 3], 48_000) if count else None
