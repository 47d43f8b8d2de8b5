# SPDX-License-Identifier: GPL-3.0-or-later
"""Where frames of sound end; tests/component/test_join_sound.py compares it with ffmpeg."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media.sound import FRAMES_MAX, sound_frames

MP3 = bytes([0xFF, 0xFB, 0x54, 0xC4]).ljust(192, b"\x55")
"""Layer III, 64 kbit/s, 48 kHz."""
MAIN = bytes([0x0B, 0x77, 0x00, 0x0F, 0x34, 0x86]).ljust(32, b"\x55")
BESIDE = bytes([0x0B, 0x77, 0x40, 0x07, 0x34, 0x86]).ljust(16, b"\x55")
"""E-AC-3 of six blocks at 48 kHz, and what depends on it."""


def test_only_whole_frames_count() -> None:
    assert list(sound_frames(b"head" + MP3 * 3, 4)) == [(4, 192, 0), (196, 192, 2160), (388, 192, 4320)]
    assert list(sound_frames(MP3 * 2 + MP3[:-1], 0)) == [(0, 192, 0), (192, 192, 2160)]
    assert list(sound_frames(MP3 + b"\0" + MP3, 0)) == [(0, 192, 0)]
    assert list(sound_frames(MP3[:-1], 0)) == []


def test_substreams_of_one_time_are_one_frame() -> None:
    assert list(sound_frames((MAIN + BESIDE) * 2, 0)) == [(0, 48, 0), (48, 48, 2880)]
    assert list(sound_frames(BESIDE + MAIN, 0)) == []


def test_a_unit_that_is_full_of_frames_is_divided_so_far_only() -> None:
    """16 MiB of them would take half a GiB of memory."""
    frame = bytes([0xFF, 0xF1, 0x4C, 0x80, 0x00, 0xFF, 0xFC])
    assert len(list(sound_frames(frame * (FRAMES_MAX + 10), 0))) == FRAMES_MAX


HEADS = [b"\xff\xf1", b"\xff\xfb", b"\xff\xfd", b"\xff\xff", b"\x0b\x77", b"\x7f\xe0", b"\x7f\xfc", b""]


@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=80), start=st.integers(0, 90))
def test_anything_is_an_answer(head: bytes, rest: bytes, start: int) -> None:
    end = start
    for at, size, ticks in sound_frames(head + rest, start):
        assert at == end
        assert size > 0
        assert ticks >= 0
        end = at + size
    assert end <= max(start, len(head + rest))
