# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be in the result of a join: items of a segment, found again by what they are and when. See left_out.py."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from streamvaultd.media import ts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamvaultd.media.source import Source

SLICE: Final = 16 << 20
"""Bytes of a range that are looked for at a time."""

SLICE_MIN: Final = 64 << 10
"""No slice is cut that is shorter: what has more than ITEMS_MAX frames there is not looked into."""

ITEMS_MAX: Final = 150_000
"""Items of a slice that are held in memory, some 800 bytes each with all that finds them again."""

MARGIN: Final = 8 << 20
"""How far from its place in the result a unit may be: another muxer puts what belongs together some seconds apart."""

REACH: Final = 256 << 20
"""And how far when it is not there."""

LOOK: Final = 4 << 20
"""How far before and behind a range the units are read that begin before it or end behind it."""

ROUNDING: Final = ts.TICKS_PER_MS
"""By how many ticks two muxers may round a frame's time differently."""

CHUNK: Final = 1 << 20
DIGEST: Final = 16

Key: TypeAlias = tuple[int | str, bytes]
"""Whose it is (a PID, a track), and what."""
Span: TypeAlias = tuple[int, int]


class Item(NamedTuple):
    """Something that must not be lost: whose and what it is, when it is, and the bytes that it was found in."""

    key: Key
    ticks: int | None
    late: int
    at: int
    end: int


class Lost(Exception):
    """Something is not in the result, or not understood."""


class Sought:
    """Items that are looked for, by what they are and about when: of a still picture or of silence all are alike."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items: dict[tuple[Key, int | None], list[Item]] = {}
        for item in items:
            self._items.setdefault((item.key, _about(item.ticks)), []).append(item)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[Item]:
        return (item for each in self._items.values() for item in each)

    def find(self, item: Item) -> None:
        """One of the result: what it is, is looked for no more."""
        about = _about(item.ticks)
        for when in (about,) if about is None else (about, (about - 1) % _ABOUTS, (about + 1) % _ABOUTS):
            place = item.key, when
            for wanted in self._items.get(place, ()):
                if is_near(wanted.ticks, item.ticks) and abs(wanted.late - item.late) <= ROUNDING:
                    self._items[place].remove(wanted)
                    if not self._items[place]:
                        del self._items[place]
                    return


_ABOUT: Final = 128
"""Ticks, more than ROUNDING."""
_ABOUTS: Final = ts.WRAP // _ABOUT


def _about(ticks: int | None) -> int | None:
    return None if ticks is None else ticks // _ABOUT


def is_near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(ts.difference(one, other)) <= ROUNDING


def windows(whole: Source, place: int, size: int) -> Iterator[tuple[int, int]]:
    """Where in the result something of that place and size is looked for."""
    for margin in (MARGIN, REACH):
        yield max(0, place - margin), min(whole.size, max(0, place) + size + margin)


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()
