# SPDX-License-Identifier: GPL-3.0-or-later
"""Chapters of a result: when its title changed, as a place in the media, and the text that ffmpeg reads.

A title changes at a moment of the clock, and a result is presented from 0 on. Between the two are stretches, one for
each capture that the result has media of: where it begins in the result, and when the media there were broadcast. So
what a seam cuts is nowhere, and a gap has the length that it has in the file.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEAST: Final = 10_000
"""No chapter is shorter (ms): a title that did not last so long belongs to the chapter before."""

COUNT_MAX: Final = 5000
"""Of so many the first are taken: an index that nobody can use would be held in memory by every player."""

TEXT_MAX: Final = 1000
"""Characters of a chapter's name; sites allow some hundred."""

NERO_MAX: Final = 255
"""Bytes of a name in the list for players that know no text tracks; ffmpeg cuts there, in a character if need be."""

NERO_COUNT_MAX: Final = 255
"""Chapters in that list; ffmpeg leaves out the others."""

_SPECIAL: Final = re.compile(r"([=;#\\])")


@dataclass(frozen=True, slots=True)
class Change:
    """From this moment on (ms since 1970) the broadcast has this title; 0: from the beginning."""

    moment: int
    text: str


@dataclass(frozen=True, slots=True)
class OnAir:
    """Media of one capture: `at` ms into the result, broadcast from `began` on (ms since 1970), for `length` ms.

    What follows the length, to the next stretch, is a gap.
    """

    at: float
    began: float
    length: float


@dataclass(frozen=True, slots=True)
class Chapter:
    """`start` ms into the result."""

    start: int
    text: str


def place(moment: float, stretches: Sequence[OnAir]) -> float:
    """Where in the result is what was broadcast at a moment; what is missing counts as the media behind it.

    A moment before all of them is at 0, one behind them as far behind their end.
    """
    found = next((index for index in reversed(range(len(stretches))) if stretches[index].began <= moment), None)
    if found is None:
        return 0.0
    stretch, passed = stretches[found], moment - stretches[found].began
    if found + 1 == len(stretches):
        return stretch.at + passed
    behind = stretches[found + 1].at
    return min(stretch.at + passed, behind) if passed < stretch.length else behind


def chapters(changes: Sequence[Change], stretches: Sequence[OnAir], length: float) -> tuple[Chapter, ...]:
    """The chapters of a result of so many ms: the first at 0, none shorter than 10 s, no two alike in a row.

    None where there would be one: it is no help, and the name of the file says as much.
    """
    spans = list(_spans(_named(changes, stretches), length))
    lasting = [Chapter(start, text) for start, end, text in spans if end - start >= LEAST]
    kept: list[Chapter] = []
    for chapter in lasting[:COUNT_MAX]:
        if not kept or kept[-1].text != chapter.text:
            kept.append(Chapter(chapter.start if kept else 0, chapter.text))
    return tuple(kept) if len(kept) > 1 else ()


def _named(changes: Sequence[Change], stretches: Sequence[OnAir]) -> Iterator[Chapter]:
    """Each change at its place, in the order in which they happened; of several at one place the last.

    Where our clock was set back in between, a moment before that is behind a later one: the later one is right.
    """
    latest: Chapter | None = None
    starts = [round(place(change.moment, stretches)) for change in changes]
    bounds = reversed(list(accumulate(reversed(starts), min)))
    for change, start in zip(changes, bounds, strict=True):
        if latest is not None and latest.start < start:
            yield latest
        latest = Chapter(start, tidy(change.text))
    if latest is not None:
        yield latest


def _spans(named: Iterator[Chapter], length: float) -> Iterator[tuple[int, int, str]]:
    """(start, end, text) with what is alike in a row as one, and nothing behind the end."""
    before: Chapter | None = None
    for chapter in named:
        if chapter.start >= length:
            break
        if before is not None and before.text == chapter.text:
            continue
        if before is not None:
            yield before.start, chapter.start, before.text
        before = chapter
    if before is not None:
        yield before.start, round(length), before.text


def tidy(text: str) -> str:
    """One line of it that can be seen: what a control character would do, no player should."""
    line = " ".join("".join(map(_shown, text)).split())[:TEXT_MAX].rstrip()
    return line + _PDI * _open_isolates(line) if any(map(_is_seen, line)) else "-"


def _shown(character: str) -> str:
    """Not what breaks a line or turns the rest of it; a character that is newer than our tables may be an emoji."""
    if character.isprintable() or character in _MARKS:
        return character
    if unicodedata.category(character) in {"Cn", "Co"}:
        return " " if _is_none(ord(character)) else character
    return "" if unicodedata.category(character) == "Cf" else " "


_NONE: Final = ((0x2065, 0x2065), (0xFDD0, 0xFDEF), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))
"""Of what is not assigned: no characters, and those that are to show nothing."""


def _is_none(code: int) -> bool:
    """Whether what is not assigned will never be seen."""
    return code & 0xFFFE == 0xFFFE or any(low <= code <= high for low, high in _NONE)


def _is_seen(character: str) -> bool:
    return character not in _BLANK and unicodedata.category(character) not in {"Cf", "Mn", "Me", "Zs"}


def _open_isolates(line: str) -> int:
    """How many of them nothing ends: a player may show the name within a line of its own."""
    count = 0
    for character in line:
        if character in _ISOLATES:
            count += 1
        elif character == _PDI and count:
            count -= 1
    return count


_ISOLATES: Final = "\u2066\u2067\u2068"
_PDI: Final = "\u2069"

_MARKS: Final = frozenset("\u200c\u200d\u200e\u200f" + _ISOLATES + _PDI) | frozenset(map(chr, range(0xE0020, 0xE0080)))
"""Joiners, marks of direction and tags, of which scripts and emoji are made; none of them is printable by itself."""

_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a pattern that show nothing."""


def is_long(found: Sequence[Chapter]) -> bool:
    """Whether there are more than the list of chapters for old players can have, or a longer name."""
    return len(found) > NERO_COUNT_MAX or any(len(chapter.text.encode()) > NERO_MAX for chapter in found)


def ffmetadata(found: Sequence[Chapter], length: int) -> str:
    """The chapters as ffmpeg reads them; each ends where the next one begins."""
    lines = [";FFMETADATA1"]
    ends = [*(chapter.start for chapter in found[1:]), length]
    for chapter, end in zip(found, ends, strict=True):
        text = _SPECIAL.sub(r"\\\1", chapter.text)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={chapter.start}", f"END={end}", f"title={text}"]
    return "\n".join([*lines, ""])
