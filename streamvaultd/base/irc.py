# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of IRC: RFC 1459 with the tags of IRCv3 (ircv3.net/specs/extensions/message-tags). Pure, nothing of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

LINE_MAX: Final = 64 << 10
"""Bytes of a line that are looked at; Twitch sends some KiB at most."""

_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPED: Final = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}


@dataclass(frozen=True, slots=True)
class IrcLine:
    """One message of a server. `source` is its prefix without the colon, "" if it has none."""

    tags: Mapping[str, str]
    source: str
    command: str
    params: tuple[str, ...]

    @property
    def nick(self) -> str:
        """Who sent it."""
        return self.source.partition("!")[0]


def parse(text: str) -> IrcLine | None:
    """What a line says; None for one that says nothing. Whatever is in it, nothing is raised."""
    tags: dict[str, str] = {}
    rest = text.rstrip("\r\n")
    if rest.startswith("@"):
        head, _, rest = rest[1:].partition(" ")
        tags = _tags(head)
    rest = rest.lstrip(" ")
    source = ""
    if rest.startswith(":"):
        source, _, rest = rest[1:].partition(" ")
    middle, colon, trailing = f" {rest}".partition(" :")
    words = [word for word in middle.split(" ") if word]
    if not words:
        return None
    params = (*words[1:], trailing) if colon else tuple(words[1:])
    return IrcLine(tags, source, words[0].upper(), params)


def _tags(head: str) -> dict[str, str]:
    """The last one of a name counts."""
    found = {}
    for each in head.split(";"):
        key, _, value = each.partition("=")
        if key:
            found[key] = _unescaped(value) if "\\" in value else value
    return found


def _unescaped(value: str) -> str:
    """A backslash that escapes nothing is left out, as the specification says."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), value)


class IrcSplitter:
    """Makes lines of what arrives, however it is cut. A longer line than LINE_MAX is left out, and counted."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False
        self.overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in this, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._is_skipping and lines:
            del lines[0]  # the end of one that was too long
            self._is_skipping = False
        kept = [line for line in lines if len(line) <= LINE_MAX]
        self.overlong += len(lines) - len(kept)
        if self._is_skipping:
            self._rest = b""
        elif len(self._rest) > LINE_MAX:
            self._rest, self._is_skipping = b"", True
            self.overlong += 1
        return [line.rstrip(b"\r") for line in kept]
