# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of an MP4: where each sample is, and when it is shown."""

from __future__ import annotations

import pytest

from streamvaultd.media import mp4
from streamvaultd.media.inspect import Soundness, inspect
from tests.fakes.memory import BytesSource
from tests.unit.test_media_fragments import box, number

CHUNKS = 12_000
"""More than a slice of any table has."""


def film(*, edits: bytes = b"", shifts: bytes = b"") -> BytesSource:
    """One track, its chunks of one and two samples in turn, each of five bytes and a tenth of a second."""
    count = CHUNKS // 2 * 3
    sizes = [5 * (1 + at % 2) for at in range(CHUNKS)]
    head = box(b"ftyp", b"isom")

    def moov(start: int) -> bytes:
        places, at = bytearray(), start
        for size in sizes:
            places += number(at)
            at += size
        per_chunk = b"".join(number(at + 1) + number(1 + at % 2) + number(1) for at in range(CHUNKS))
        tables = box(
            b"stbl",
            box(b"stts", bytes(4), number(1), number(count), number(100)),
            shifts,
            box(b"stsz", bytes(4), number(0), number(count), number(5) * count),
            box(b"stsc", bytes(4), number(CHUNKS), per_chunk),
            box(b"stco", bytes(4), number(CHUNKS), bytes(places)),
        )
        media = box(b"mdia", box(b"mdhd", bytes(12), number(1000), bytes(8)), box(b"minf", tables))
        movie = box(b"mvhd", bytes(12), number(1000), bytes(80))
        return box(b"moov", movie, box(b"trak", edits, media))

    start = len(head) + len(moov(0)) + 8
    return BytesSource(head + moov(start) + box(b"mdat", bytes(sum(sizes))))


def test_a_long_index_is_followed_to_its_end() -> None:
    source = film()
    [track] = mp4.tracks(source)
    found = list(mp4.samples(source, track))
    assert len(found) == CHUNKS // 2 * 3
    assert [sample.at - found[0].at for sample in found] == list(range(0, 5 * len(found), 5))
    assert [round(10 * sample.shown) for sample in found] == list(range(len(found)))
    looked = inspect(source)
    assert (looked.soundness, looked.problems) == (Soundness.SOUND, [])


def edit_list(*entries: tuple[int, int]) -> bytes:
    body = b"".join(number(lasts) + number(begin & 0xFFFFFFFF) + number(1 << 16) for lasts, begin in entries)
    return box(b"edts", box(b"elst", bytes(4), number(len(entries)), body))


@pytest.mark.parametrize(
    ("edits", "delay"), [(((500, -1), (9000, 0)), 0.5), (((9000, 200),), -0.2), (((250, -1), (9000, 50)), 0.2)]
)
def test_edits_shift_all_that_is_shown(edits: tuple[tuple[int, int], ...], delay: float) -> None:
    source = film(edits=edit_list(*edits))
    [track] = mp4.tracks(source)
    assert next(mp4.samples(source, track)).shown == pytest.approx(delay)


def test_a_track_that_is_cut_into_pieces_is_not_followed() -> None:
    with pytest.raises(mp4.Unreadable, match="edited"):
        mp4.tracks(film(edits=edit_list((500, 0), (9000, 5000))))


def test_pictures_are_shown_when_they_are_to_be_not_when_they_are_decoded() -> None:
    count = CHUNKS // 2 * 3
    source = film(shifts=box(b"ctts", bytes(4), number(2), number(1), number(300), number(count - 1), number(0)))
    [track] = mp4.tracks(source)
    shown = [round(10 * sample.shown) for _, sample in zip(range(3), mp4.samples(source, track), strict=False)]
    assert shown == [3, 1, 2]
