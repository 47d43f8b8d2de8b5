# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people: styled lines, safe characters, times in the local zone as systemctl(1) prints them."""

from __future__ import annotations

import re
import time
from enum import StrEnum

from streamvaultd.base.units import format_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, TypeAlias


class Style(StrEnum):
    """What a piece of text means; a terminal shows it as a colour (SGR parameters, ECMA-48 8.3.117)."""

    PLAIN = ""
    GOOD = "1;32"
    BUSY = "1;33"
    BAD = "1;31"
    STRONG = "1"
    FAINT = "2"
    HEAD = "4"


class Span:
    """A piece of a line."""

    __slots__ = ("style", "text")

    def __init__(self, text: str, style: Style = Style.PLAIN) -> None:
        self.text = text
        self.style = style

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Span) and (self.text, self.style) == (other.text, other.style)

    def __hash__(self) -> int:
        return hash((self.text, self.style))

    def __repr__(self) -> str:
        return f"Span({self.text!r}, {self.style!r})"


Line: TypeAlias = "tuple[Span, ...]"

# C0 and C1 controls, DEL, line separators, what reorders or hides text, and surrogates, which no encoding takes
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def line(text: str, style: Style = Style.PLAIN) -> Line:
    """A line of one piece."""
    return (Span(text, style),)


def escape(text: str) -> str:
    """The same text with every control character as `\\x1b`, so that no name, title or error drives a terminal."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def escape_json(text: str) -> str:
    """As `escape` for JSON text: valid JSON of the same value. Its newlines and tabs can only be layout."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] in _SHORT else f"\\u{ord(match[0]):04x}", text)


def width(text: str) -> int:
    """Columns of a terminal that an escaped text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    import unicodedata  # only where it is needed: most text is ASCII

    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, columns: int) -> str:
    """At most `columns` wide; what is left out of the middle is shown as `…`, so that a path keeps its file's name."""
    if width(text) <= columns:
        return text
    head, tail = "", ""
    for front, back in zip(text, reversed(text), strict=True):
        if width(head + tail) + _columns(back) + 1 > columns:
            break
        tail = back + tail
        if width(head + tail) + _columns(front) + 1 > columns:
            break
        head += front
    return f"{head}…{tail}"


def wrapped(text: str, columns: int) -> list[str]:
    """The text in lines of at most `columns`, broken between words; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width(lines[-1]) + 1 + width(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def joined(lines: Iterable[str]) -> str:
    """Non-empty lines, separated by '; '."""
    return "; ".join(part for part in lines if part)


def format_time(realtime: int) -> str:
    """Microseconds since 1970 as local time, e.g. `Mon 2026-11-23 09:10:11 CET`."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(realtime / 1_000_000))


def format_short_time(realtime: int) -> str:
    """As `format_time` for tables: `2026-11-23 09:10:11`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(realtime / 1_000_000))


def format_since(realtime: int, now: int) -> str:
    """`Mon 2026-11-23 09:10:11 CET; 2h 3min ago`, or `…; 2h 3min left` for a time to come."""
    return f"{format_time(realtime)}; {format_relative(realtime, now)}"


_S: Final = 1_000_000
_AGES: Final = (  # as of, (unit, name, plural) of the first number, and of the second; systemd's time-util.c
    (365 * 86400 * _S, (365 * 86400 * _S, " year", "s"), (30 * 86400 * _S, " month", "s")),
    (30 * 86400 * _S, (30 * 86400 * _S, " month", "s"), (86400 * _S, " day", "s")),
    (7 * 86400 * _S, (7 * 86400 * _S, " week", "s"), (86400 * _S, " day", "s")),
    (2 * 86400 * _S, (86400 * _S, " day", "s"), None),
    (86400 * _S, (86400 * _S, " day", "s"), (3600 * _S, "h", "")),
    (5 * 3600 * _S, (3600 * _S, "h", ""), None),
    (3600 * _S, (3600 * _S, "h", ""), (60 * _S, "min", "")),
    (5 * 60 * _S, (60 * _S, "min", ""), None),
    (60 * _S, (60 * _S, "min", ""), (_S, "s", "")),
    (_S, (_S, "s", ""), None),
)


def format_relative(realtime: int, now: int) -> str:
    """`2h 3min ago`, `1 week 3 days ago`, `12s left`, `now`."""
    age = abs(now - realtime)
    for least, first, second in _AGES:
        if age >= least:
            parts = [_counted(age, first)]
            if second is not None and (rest := age % first[0]) >= second[0]:
                parts.append(_counted(rest, second))
            return f"{' '.join(parts)} {'ago' if realtime <= now else 'left'}"
    return "now"


def _counted(age: int, unit: tuple[int, str, str]) -> str:
    count = age // unit[0]
    return f"{count}{unit[1]}{unit[2] if count != 1 else ''}"


def format_elapsed(usec: int) -> str:
    """How long something took or takes, to the second, in its two greatest units; e.g. `2h 3min`."""
    return " ".join(format_span(max(usec, 0) // _S * _S).split()[:2]) if usec >= _S else "0s"


def format_offset(usec: int) -> str:
    """How long after something, or before it: `+41ms`, `-1.2s`, `+2min 3s`."""
    size = abs(usec)
    span = (
        format_span(size // 1000 * 1000)
        if size < _S
        else f"{size / _S:.1f}s"
        if size < 60 * _S
        else format_elapsed(size)
    )
    return f"{'-' if usec < 0 else '+'}{span}"


def plural(count: int, noun: str) -> str:
    """`1 segment`, `3 segments`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
