# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to notify of what, when, and in how many messages: limits against storms, waiting, trying again. Pure.

What happens is a `Tiding`. Those of one topic and streamer go to the targets at once, up to the number that is
allowed in an hour; the others are counted, and told in one at the end of the hour. What waits for a target goes in one
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from streamvaultd.core.model import Broadcast, Instant
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.topic import Topic
from streamvaultd.core.watching.model import Remark

HOUR: Final = 3600.0
WAITING_MAX: Final = 100
"""Tidings that wait for one target; the oldest make room for more."""

LINES_MAX: Final = 20
"""Tidings that one message has, the latest; it tells how many others there were."""

TEXT_MAX: Final = 500
"""Characters of one tiding in a message."""

BACKOFF: Final = (5.0, 30.0, 120.0, 600.0)
"""Seconds until what could not be sent is tried again, after each failure; after the next one it is given up."""

REST: Final = 60.0
"""Seconds until a target is tried again with what is new, after something was given up."""


TOPICS: Final[Mapping[Notice | Remark, Topic]] = {
    Remark.LIVE: Topic.LIVE,
    Notice.RECORDING_STARTED: Topic.STARTED,
    Notice.RECORDING_COMPLETED: Topic.COMPLETED,
    Notice.RECORDING_STOPPED: Topic.STOPPED,
    Notice.RECORDING_FAILED: Topic.FAILED,
    Notice.UNJOINED: Topic.FAILED,
    Notice.NOT_KEPT: Topic.NOT_KEPT,
    Notice.SEGMENT_DIED: Topic.DEATH,
    Notice.LAUNCH_FAILED: Topic.DEATH,
    Notice.MEDIA_MISSED: Topic.GAP,
    Notice.MEDIA_GONE: Topic.GAP,
    Notice.DISK_LOW: Topic.DISK,
    Notice.DISK_FREED: Topic.DISK,
    Remark.UNRECORDED: Topic.TROUBLE,
    Remark.TROUBLE: Topic.TROUBLE,
    Remark.WELL: Topic.TROUBLE,
}
"""Which of the notices and remarks anybody may be notified of."""


TITLED: Final = frozenset({Topic.STARTED, Topic.COMPLETED, Topic.STOPPED, Topic.FAILED, Topic.NOT_KEPT})
"""Of these a message says what the broadcast was called, and what it was about."""

TITLE_MAX: Final = 200
CATEGORY_MAX: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiding:
    """Something that happened to a streamer. `priority` as in syslog(3), `realtime` in microseconds.

    `about` is its broadcast's title and category, `recording` where they may be found.
    """

    topic: Topic
    streamer: str
    text: str
    priority: int
    realtime: int
    about: str = ""
    recording: int | None = None


_MARKUP: Final = {ord(character): chr(ord(character) + 0xFEE0) for character in "*_~`|@<>[]\\"}
"""What a service may take for formatting, a link or a call to everybody -> its wide twin, which all take for text."""

CALLS: Final = {place: twin for place, twin in _MARKUP.items() if chr(place) not in "_\\"}
"""The same, for whole messages: they have paths with titles in them, which are to be copied."""


def harmless(text: str, limit: int) -> str:
    """What a site says, as plain text in one line: anybody may call a broadcast anything."""
    line = " ".join(printable(text).split())
    return (line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}").translate(_MARKUP)


def printable(text: str) -> str:
    """The text with a space for what breaks a line or turns the rest of it."""
    return "".join(character if character.isprintable() or _is_emoji(ord(character)) else " " for character in text)


def _is_emoji(code: int) -> bool:
    """Whether it is a part of one that is not printable by itself, or may be one that Python's tables do not have."""
    return code in {0x200C, 0x200D} or 0x1F000 <= code < 0x1FC00 or 0xE0020 <= code < 0xE0080


def titled(tiding: Tiding, broadcast: Broadcast) -> Tiding:
    """The tiding with what its broadcast is called and about, as far as that is known."""
    title, category = harmless(broadcast.title, TITLE_MAX), harmless(broadcast.category, CATEGORY_MAX)
    about = f"\N{LEFT DOUBLE QUOTATION MARK}{title}\N{RIGHT DOUBLE QUOTATION MARK}" if title else ""
    return replace(tiding, about=" ".join(filter(None, (about, f"({category})" if category else ""))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a target gets. `kind` is apprise's: info, success, warning, failure."""

    title: str
    body: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An hour of one topic and streamer: how many went out, and how many are held back, for whom."""

    until: Instant
    sent: int
    held: int = 0
    last: Tiding | None = None
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Someone who is notified. `sending` is under way; `lost` were given up or dropped since it last worked."""

    waiting: tuple[Tiding, ...] = ()
    sending: tuple[Tiding, ...] = ()
    failures: int = 0
    retry_at: Instant = 0.0
    lost: int = 0
    is_troubled: bool = False
    is_overfull: bool = False

    @property
    def is_idle(self) -> bool:
        """Nothing has to be remembered of it."""
        return not (self.waiting or self.sending or self.lost or self.is_troubled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """All that waits and is counted."""

    windows: Mapping[tuple[Topic, str], Window] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)


class Worth(StrEnum):
    """What is worth telling people about a target; each has an entry in reporting/notices.py."""

    FAILED = "notification-failed"
    WELL = "notification-well"
    OVERFULL = "notification-overfull"


@dataclass(frozen=True, slots=True)
class Word:
    """Tell people, in the journal."""

    worth: Worth
    target: str
    why: str = ""
    lost: int = 0


Step = tuple[Desk, tuple[Word, ...]]


def take(desk: Desk, tiding: Tiding, to: Sequence[str], hourly: int, at: Instant) -> Step:
    """This has happened, and is for these targets."""
    desk, words = close_windows(desk, at)
    key = (tiding.topic, tiding.streamer)
    window = desk.windows.get(key, Window(until=at + HOUR, sent=0))
    if window.sent >= hourly:
        held = replace(window, held=window.held + 1, last=tiding, to=tuple(to))
        return replace(desk, windows={**desk.windows, key: held}), words
    desk = replace(desk, windows={**desk.windows, key: replace(window, sent=window.sent + 1)})
    desk, more = _queue(desk, tiding, to)
    return desk, (*words, *more)


def close_windows(desk: Desk, at: Instant) -> Step:
    """What was held back in hours that are over is told in one tiding each, which counts for the next hour."""
    words: tuple[Word, ...] = ()
    for key, window in desk.windows.items():
        if window.until > at:
            continue
        windows = {other: found for other, found in desk.windows.items() if other != key}
        if window.last is None:
            desk = replace(desk, windows=windows)
            continue
        text = f"{window.held} more in an hour, the last one: {window.last.text[:TEXT_MAX]}"
        desk = replace(desk, windows={**windows, key: Window(until=at + HOUR, sent=1)})
        desk, more = _queue(desk, replace(window.last, text=text), window.to)
        words = (*words, *more)
    return desk, words


def _queue(desk: Desk, tiding: Tiding, to: Sequence[str]) -> Step:
    words: list[Word] = []
    for name in to:
        target = desk.targets.get(name, Target())
        target = _keep(replace(target, waiting=(*target.waiting, tiding)))
        if target.lost > desk.targets.get(name, Target()).lost and not target.is_overfull:
            target = replace(target, is_overfull=True)
            words.append(Word(Worth.OVERFULL, name))
        desk = _put(desk, name, target)
    return desk, tuple(words)


def _keep(target: Target) -> Target:
    """The target with the latest of what waits, as much as there is room for."""
    over = max(0, len(target.waiting) - WAITING_MAX)
    return replace(target, waiting=target.waiting[over:], lost=target.lost + over)


def _put(desk: Desk, name: str, target: Target) -> Desk:
    others = {other: found for other, found in desk.targets.items() if other != name}
    return replace(desk, targets=others if target.is_idle else {**others, name: target})


def ready(desk: Desk, at: Instant) -> tuple[str, ...]:
    """The targets to which something can be sent now."""
    return tuple(name for name, target in desk.targets.items() if _is_due(target) and target.retry_at <= at)


def _is_due(target: Target) -> bool:
    return bool(target.waiting) and not target.sending


def next_deadline(desk: Desk) -> Instant | None:
    """When something is to be done if nothing happens until then."""
    ends = [window.until for window in desk.windows.values() if window.last is not None]
    tries = [target.retry_at for target in desk.targets.values() if _is_due(target)]
    return min([*ends, *tries], default=None)


def begin(desk: Desk, name: str, host: str) -> tuple[Desk, Message]:
    """All that waits for a target that is ready is being sent, as this message."""
    target = desk.targets[name]
    desk = _put(desk, name, replace(target, waiting=(), sending=target.waiting))
    return desk, message_of(target.waiting, target.lost, host)


def sent(desk: Desk, name: str) -> Step:
    """It was sent."""
    target = desk.targets[name]
    words = (Word(Worth.WELL, name, lost=target.lost),) if target.is_troubled else ()
    return _put(desk, name, Target(waiting=target.waiting)), words


def failed(desk: Desk, name: str, why: str, at: Instant, *, is_final: bool) -> Step:
    """It was not sent: it is tried again, a few times unless that is of no use (`is_final`)."""
    target = desk.targets[name]
    if not is_final and target.failures < len(BACKOFF):
        again = replace(
            target, waiting=(*target.sending, *target.waiting), sending=(), failures=target.failures + 1,
            retry_at=at + BACKOFF[target.failures],
        )  # fmt: skip
        return _put(desk, name, _keep(again)), ()
    lost = target.lost + len(target.sending)
    given_up = replace(target, sending=(), failures=0, retry_at=at + REST, lost=lost, is_troubled=True)
    words = () if target.is_troubled else (Word(Worth.FAILED, name, why=why),)
    return _put(desk, name, given_up), words


def forget_others(desk: Desk, names: Sequence[str]) -> Desk:
    """The desk without the targets that are not among these any more, unless something is being sent to them."""
    kept = {name: target for name, target in desk.targets.items() if name in names or target.sending}
    return replace(desk, targets=kept)


def message_of(tidings: Sequence[Tiding], lost: int, host: str) -> Message:
    """One message of all of these, the latest ones in full."""
    shown = tidings[-LINES_MAX:]
    if len(tidings) == 1:
        title, lines = f"{shown[0].streamer}: {shown[0].topic} ({host})", list(_lines(shown[0]))
    else:
        title, lines = (
            f"{len(tidings)} messages ({host})",
            [f"{_time(each)} {' '.join(_lines(each))}" for each in shown],
        )
    if left_out := len(tidings) - len(shown):
        lines.insert(0, f"{left_out} earlier ones are in the journal.")
    if lost:
        lines.insert(0, f"{lost} before could not be sent, they are in the journal.")
    return Message(title=title, body="\n".join(lines), kind=_kind(tidings))


def _lines(tiding: Tiding) -> Iterator[str]:
    yield tiding.text[:TEXT_MAX]
    if tiding.about:
        yield tiding.about


def _time(tiding: Tiding) -> str:
    minute = tiding.realtime // 60_000_000 % (24 * 60)
    return f"{minute // 60:02d}:{minute % 60:02d} UTC"


def _kind(tidings: Sequence[Tiding]) -> str:
    worst = min(tiding.priority for tiding in tidings)
    if worst <= 3:
        return "failure"
    if worst == 4:
        return "warning"
    return "success" if all(tiding.topic is Topic.COMPLETED for tiding in tidings) else "info"
