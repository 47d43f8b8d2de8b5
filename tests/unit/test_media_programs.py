# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the streams of a transport stream, and its sound, stay what they are at first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media import ts
from streamvaultd.media.programs import first_change
from tests.fakes.memory import BytesSource

VIDEO, SOUND, OTHER, TABLE = 0x100, 0x101, 0x200, 0x1000
H264, H265, AAC, ID3 = 0x1B, 0x24, 0x0F, 0x15
RATES = {48_000: 3, 44_100: 4}
Streams = Sequence[tuple[int, int]]


def packet(pid: int, payload: bytes) -> bytes:
    """One packet in which a unit begins, filled up by an adaptation field."""
    spare = ts.PACKET - 4 - len(payload)
    field = bytes([spare - 1]) + (b"\0" + b"\xff" * (spare - 2) if spare > 1 else b"")
    return bytes([ts.SYNC, 0x40 | pid >> 8, pid & 0xFF, 0x30]) + field + payload


def section(table: int, body: bytes) -> bytes:
    return bytes([0, table, 0xB0 | (len(body) + 9) >> 8, (len(body) + 9) & 0xFF]) + b"\0\1\xc1\0\0" + body + bytes(4)


def tables(*streams: tuple[int, int], at: int = TABLE) -> bytes:
    """The two tables in front of a media segment; each stream has a descriptor of two bytes."""
    named = b"".join(bytes([kind, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 2, 0, 0]) for pid, kind in streams)
    program = section(2, bytes([0xE1, 0, 0xF0, 2, 9, 0]) + named)
    return packet(ts.PID_PAT, section(0, bytes([0, 1, 0xE0 | at >> 8, at & 0xFF]))) + packet(at, program)


def sound(rate: int, count: int = 3, channels: int = 2) -> bytes:
    header = bytes([0xFF, 0xF1, 0x40 | RATES[rate] << 2 | channels >> 2, (channels & 3) << 6, 2, 0x1F, 0xFC])
    stamp = b"\x21\0\x01\0\x01"
    return packet(SOUND, b"\0\0\1\xc0\0\0\x80\x80\x05" + stamp + header + b"x" * 9) * count


FIRST = tables((VIDEO, H264), (SOUND, AAC)) + sound(48_000)


@pytest.mark.parametrize(
    "same",
    [
        b"",
        FIRST,
        tables((VIDEO, H264)),
        tables((VIDEO, H264), (SOUND, AAC), (OTHER, ID3)),
        tables((VIDEO, H264), (SOUND, AAC), at=0x1001),
        sound(44_100, 1) + sound(48_000) + sound(44_100, 1),
    ],
)
def test_less_of_it_data_and_damage_are_no_change(same: bytes) -> None:
    assert first_change(BytesSource(FIRST + same + FIRST)) is None


@pytest.mark.parametrize(
    ("other", "after"),
    [
        (tables((VIDEO, H265), (SOUND, AAC)), 1),
        (tables((OTHER, H264), (SOUND, AAC)), 1),
        (tables((OTHER, H264), (SOUND, AAC), at=0x1001), 1),
        (tables((VIDEO, H264), (SOUND, AAC), (OTHER, AAC)), 1),
        (sound(44_100), 1),
        (sound(48_000, channels=1), 1),
    ],
)
def test_a_change_is_found_where_it_is(other: bytes, after: int) -> None:
    assert first_change(BytesSource(FIRST + FIRST + other + FIRST)) == 2 * len(FIRST) + after * ts.PACKET


@given(st.binary(max_size=184), st.integers(0, 255), st.sampled_from([0, TABLE, SOUND]))
def test_any_packet_is_read_without_an_exception(payload: bytes, control: int, pid: int) -> None:
    noise = bytes([ts.SYNC, 0x40 | pid >> 8, pid & 0xFF, control]) + payload.ljust(184, b"\xff")
    found = first_change(BytesSource(FIRST + noise + FIRST))
    assert found is None or found >= len(FIRST)
