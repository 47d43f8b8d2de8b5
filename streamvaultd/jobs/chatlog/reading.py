# SPDX-License-Identifier: GPL-3.0-or-later
"""A captured chat, read: its messages, each once and in order, at their places in the media.

However long a chat is, what is held of it is bounded: SEEN ids, for what comes twice comes within a minute, and LATE
messages, for the server's own times are in order but for a few seconds. What moderators have removed is looked for in
a pass of its own, which remembers REMOVED_MAX messages and as many viewers.
"""

from __future__ import annotations

import gzip
import heapq
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from streamvaultd.base.irc import LINE_MAX, IrcLine, parse
from streamvaultd.media.chapters import OnAir, place

SEEN: Final = 20_000
REMOVED_MAX: Final = 100_000
"""Of messages that are removed, and of viewers who are, the last ones."""

LATE: Final = 2_000
JSON_LINE_MAX: Final = 8 * LINE_MAX
AFTER_MS: Final = 5_000.0
"""What is said within this time of the end of a result belongs to its end."""

T = TypeVar("T")

_ACTION: Final = re.compile("\x01ACTION (.*)\x01?", re.DOTALL)
_CONTROLS: Final = {**dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")}
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}", re.ASCII)
_EMOTE: Final = re.compile(r"([A-Za-z0-9_-]{1,100}):((?:\d{1,6}-\d{1,6},?){1,500})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """What somebody said. `moment` (ms since 1970) is the server's; `text` is one line, `emotes` are places in it."""

    id: str
    moment: int
    login: str
    name: str
    text: str
    tags: dict[str, str]
    emotes: tuple[tuple[int, int, str], ...] = ()
    notice: str = ""

    @property
    def color(self) -> str:
        """As #RRGGBB; "" if it has none."""
        found = self.tags.get("color", "")
        return found if _COLOR.fullmatch(found) else ""


@dataclass(slots=True)
class ChatTally:
    """What became of the messages; `outside` were said before the media began or after they had ended, `removed` are
    left out because moderators have removed them.
    """

    messages: int = 0
    twice: int = 0
    outside: int = 0
    removed: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the messages of a part belong. `delay` ms pass until viewers see a picture, and answer it."""

    stretches: Sequence[OnAir]
    delay: float = 0.0

    def at(self, moment: float) -> float | None:
        """ms into the part; None if it has no media of that moment."""
        first, last, shown = self.stretches[0], self.stretches[-1], moment - self.delay
        if not first.began <= shown <= last.began + last.length + AFTER_MS:
            return None
        return place(shown, self.stretches)


@dataclass(slots=True)
class Removed:
    """What moderators have removed: messages by their ids, and all that a viewer had said until a moment.

    dev.twitch.tv/docs/chat/irc: CLEARMSG names a message (target-msg-id), CLEARCHAT a viewer (target-user-id) who is
    banned or timed out. One without a viewer empties the window of all, and removes nothing.
    """

    messages: dict[str, None] = field(default_factory=dict)
    viewers: dict[str, int] = field(default_factory=dict)

    def note(self, line: IrcLine) -> None:
        """Of another line."""
        tags = line.tags
        if line.command == "CLEARMSG" and (known := tags.get("target-msg-id", "")):
            _remember(self.messages, known, None)
        elif line.command == "CLEARCHAT" and (viewer := tags.get("target-user-id", "")):
            moment = _moment(tags.get("tmi-sent-ts", ""))
            if moment is not None:
                _remember(self.viewers, viewer, max(moment, self.viewers.pop(viewer, 0)))

    def has(self, message: ChatMessage) -> bool:
        """Whether a message is removed."""
        until = self.viewers.get(message.tags.get("user-id", ""))
        return message.id in self.messages or (until is not None and message.moment <= until)


def _remember(held: dict[str, T], key: str, value: T) -> None:
    held[key] = value
    if len(held) > REMOVED_MAX:
        del held[next(iter(held))]


def _moment(sent: str) -> int | None:
    return int(sent) if sent.isascii() and sent.isdecimal() and len(sent) < 16 else None


@dataclass(slots=True)
class Reader:
    """Reads one chat; `tally` is complete when all of it is read. `with_removed`: also what moderators removed."""

    path: Path
    timing: Timing
    tally: ChatTally = field(default_factory=ChatTally)
    with_removed: bool = False

    def messages(self) -> Iterator[tuple[float, ChatMessage]]:
        """(ms into the part, message), in order. Raises OSError, EOFError and zlib.error for a damaged file."""
        removed = Removed() if self.with_removed else self._removed()
        for message in self._in_order():
            if removed.has(message):
                self.tally.removed += 1
                continue
            at = self.timing.at(message.moment)
            if at is None:
                self.tally.outside += 1
            else:
                self.tally.messages += 1
                yield at, message

    def _removed(self) -> Removed:
        found = Removed()
        for data in self._data():
            if b"CLEAR" not in data:
                continue
            with suppress(ValueError, RecursionError):  # the other pass counts it
                line = parse(_raw(data) or "")
                if line is not None:
                    found.note(line)
        return found

    def _in_order(self) -> Iterator[ChatMessage]:
        """By the server's time, and what has the same one as it came."""
        waiting: list[tuple[int, int, ChatMessage]] = []
        for number, message in enumerate(self._once()):
            heapq.heappush(waiting, (message.moment, number, message))
            if len(waiting) > LATE:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _once(self) -> Iterator[ChatMessage]:
        seen: dict[str, None] = {}
        for raw in self._lines():
            line = parse(raw)
            message = None if line is None else message_of(line)
            if message is None:
                continue
            if message.id in seen:
                self.tally.twice += 1
                continue
            seen[message.id] = None
            if len(seen) > SEEN:
                del seen[next(iter(seen))]
            yield message

    def _lines(self) -> Iterator[str]:
        for data in self._data():
            try:
                raw = _raw(data)
            except (ValueError, RecursionError):
                self.tally.torn += 1
                continue
            if raw is not None:
                yield raw

    def _data(self) -> Iterator[bytes]:
        with gzip.open(self.path) as file:
            while data := file.readline(JSON_LINE_MAX):
                yield data


def _raw(data: bytes) -> str | None:
    """The line that the server sent, if it is one; raises ValueError and RecursionError."""
    found = json.loads(data) if data.strip() else {}
    raw = found.get("l") if isinstance(found, dict) else None
    return raw if isinstance(raw, str) else None


READ_ERRORS: Final = (OSError, EOFError, zlib.error)


def message_of(line: IrcLine) -> ChatMessage | None:
    """What a line says, if somebody says something with it."""
    if line.command not in ("PRIVMSG", "USERNOTICE"):
        return None
    sent = _moment(line.tags.get("tmi-sent-ts", ""))
    known = line.tags.get("id", "")
    if not known or sent is None:
        return None
    said = line.params[1] if len(line.params) > 1 else ""
    action = _ACTION.fullmatch(said)
    text = (action[1].removesuffix("\x01") if action else said).translate(_CONTROLS)
    notice = line.tags.get("msg-id", "") if line.command == "USERNOTICE" else ""
    emotes = tuple(emotes_in(line.tags.get("emotes", ""), len(text)))
    told = line.tags.get("system-msg", "").translate(_CONTROLS) if notice else ""
    if told:
        shift = len(told) + 1 if text else 0
        emotes = tuple((start + shift, end + shift, emote) for start, end, emote in emotes)
        text = f"{told} {text}" if text else told
    login = line.tags.get("login") or line.nick
    name = line.tags.get("display-name") or login
    return ChatMessage(
        known, sent, login.translate(_CONTROLS), name.translate(_CONTROLS), text, dict(line.tags), emotes, notice
    )


def emotes_in(tag: str, length: int) -> Iterable[tuple[int, int, str]]:
    """(first character, last character, emote) in order; what is outside of the text, or overlaps, is left out."""
    found = [
        (int(start), int(end), match[1])
        for match in _EMOTE.finditer(tag)
        for start, _, end in (each.partition("-") for each in match[2].split(",") if each)
    ]
    behind = 0
    for start, end, emote in sorted(found):
        if behind <= start <= end < length:
            yield start, end, emote
            behind = end + 1
