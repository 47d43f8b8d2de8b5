# SPDX-License-Identifier: GPL-3.0-or-later
"""Searching and comparing in windows gives what one large buffer would give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.media.source import WINDOW, Clipped, common_backward, common_forward, find_back, is_equal
from streamvaultd.media.splice import Literal, Part, Piece, Splice, cut, merged, size_of
from tests.fakes.memory import BytesSource

NEEDLE = b"needle" * 100
HAY = bytes(2 * WINDOW + 5000)


def hidden(*places: int) -> BytesSource:
    data = bytearray(HAY)
    for place in places:
        data[place : place + len(NEEDLE)] = NEEDLE
    return BytesSource(bytes(data))


@pytest.mark.parametrize("place", [0, 1, 5000 - 1, 5000, len(HAY) - WINDOW - 300, WINDOW, len(HAY) - len(NEEDLE)])
def test_a_needle_is_found_wherever_windows_meet(place: int) -> None:
    assert list(find_back(hidden(place), NEEDLE, 0, len(HAY))) == [place]


def test_the_last_needle_comes_first_and_bounds_are_kept() -> None:
    source = hidden(100, WINDOW, 2 * WINDOW)
    assert list(find_back(source, NEEDLE, 0, len(HAY))) == [2 * WINDOW, WINDOW, 100]
    assert list(find_back(source, NEEDLE, 101, 2 * WINDOW + len(NEEDLE) - 1)) == [WINDOW]
    assert list(find_back(source, b"", 0, len(HAY))) == []


@given(data=st.text("ab", max_size=60), needle=st.text("ab", min_size=1, max_size=4))
def test_every_occurrence_is_found_once(data: str, needle: str) -> None:
    expected = [at for at in range(len(data)) if data.startswith(needle, at)]
    assert list(find_back(BytesSource(data.encode()), needle.encode(), 0, len(data))) == expected[::-1]


@pytest.mark.parametrize("place", [0, 1, 65_535, 65_536, WINDOW + 70_000, len(HAY) - 1])
def test_the_first_difference_is_found_from_both_sides(place: int) -> None:
    data = bytearray(HAY)
    data[place] = 1
    one, other, size = BytesSource(bytes(data)), BytesSource(HAY), len(HAY)
    assert common_forward(one, 0, other, 0, size) == place
    assert common_backward(one, size, other, size, size) == size - 1 - place
    assert not is_equal(one, 0, other, 0, size)
    assert is_equal(one, 0, other, 0, place)


def test_a_clipped_source_ends_early() -> None:
    source = Clipped(BytesSource(b"0123456789"), 4)
    assert [source.read(0, 9), source.read(3, 9), source.read(7, 1)] == [b"0123", b"3", b""]


@given(
    shape=st.lists(
        st.one_of(
            st.binary(max_size=5).map(Literal),
            st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 20)).map(
                lambda found: Part(found[0], min(found[1:]), max(found[1:]))
            ),
        ),
        max_size=8,
    ),
    start=st.integers(0, 60),
    length=st.integers(0, 60),
)
def test_a_splice_reads_as_if_it_were_written(shape: list[Piece], start: int, length: int) -> None:
    files = [BytesSource(b"abcdefghijklmnopqrst"), BytesSource(b"ABCDEFGHIJKLMNOPQRST")]

    def written(pieces: tuple[Piece, ...]) -> bytes:
        return b"".join(
            piece.data if isinstance(piece, Literal) else files[piece.file].data[piece.start : piece.end]
            for piece in pieces
        )

    pieces = tuple(shape)
    data = written(pieces)
    assert Splice(files, pieces).read(start, length) == data[start : start + length]
    assert Splice(files, pieces).size == size_of(pieces) == len(data)
    assert written(cut(pieces, start, start + length)) == data[start : start + length]
    assert written(merged(pieces)) == data
