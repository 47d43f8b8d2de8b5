# SPDX-License-Identifier: GPL-3.0-or-later
"""The chat of a recording: a state machine of its own, which knows when the recording begins and ends, and no more.

Whatever happens to a chat, no event of it ever reaches the recording. Its runs are numbered, each in a scope and with
a file of its own; what was saved before a run is started is its number (I1). When the recording is over, one more run
packs the files of the others into one, and these are removed once that is durable (I8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from streamvaultd.core import ranges
from streamvaultd.core.model import Instant, Moment
from streamvaultd.core.names import ChatRun

RETRY_DELAYS: Final = (0.0, 1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds before the next run, by runs in a row that ended soon."""

LASTING: Final = 60.0
"""A run that went on for so long (s) shows that the last failure is over."""

STOP_AGAIN: Final = 15.0
"""When (s) a run that was asked to end, and has not, is asked again."""

LAUNCH_LIMIT: Final = 60.0
"""A run of whose launch nothing was heard for so long (s) is asked to end; a launch that goes on is waited for."""

PACK_DELAYS: Final = (10.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds before the next try to pack; there are always more."""

CLEAR_LIMIT: Final = 600.0
"""When (s) files of whose removal nothing was heard are tried again."""

DIED, LOST, GAP = CHAT_KINDS = ("chat-died", "chat-lost", "chat-gap")
"""The kinds of the events that are told of chats."""

NUMBER_MAX: Final = 999_999


class ChatState(StrEnum):
    """Of a chat; in all but DONE something is due."""

    STARTING = "starting"  # the row has the run's number; its scope is asked for
    CAPTURING = "capturing"
    BACKOFF = "backoff"  # nothing runs, the next run starts at retry_at
    STOPPING = "stopping"  # the recording is over; the run is asked to end
    PACKING = "packing"  # a run packs the files, or is due at retry_at
    CLEARING = "clearing"  # the packed file is durable; the others are being removed
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Of one recording. `run` is the number of the latest run; `messages` and the rest what runs that ended have told.

    `gaps` are times, `away` seconds, in which the channel was not heard.
    """

    recording: int
    site: str
    channel: str
    folder: str
    state: ChatState
    since: Moment
    run: int = 0
    failures: int = 0  # in a row; not stored, as are the next two
    retry_at: Instant | None = None
    away_since: Instant | None = None  # the last run ended then, and the next one has not started
    messages: int = 0
    gaps: int = 0
    away: float = 0.0
    path: str | None = None
    size: int | None = None
    detail: str | None = None

    @property
    def names(self) -> ChatRun:
        """What the latest run is to the rest of the machine."""
        return ChatRun(self.recording, self.run)


# --- events ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The recording has begun."""

    at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingEnded:
    """The recording has ended, grace included."""

    at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run is in its scope."""

    at: Moment
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run is over, or could not be started. `why` is for people."""

    at: Moment
    run: int
    why: str
    messages: int = 0
    gaps: int = 0
    away: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPacked:
    """A run has packed; `path` is None if there was nothing."""

    at: Moment
    run: int
    path: str | None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """The files of the runs are gone; unless it is kept, the packed one as well."""

    at: Moment
    is_kept: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCleared:
    """They could not be removed. `why` is for people."""

    at: Moment
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueNow:
    """What was due at retry_at is due."""

    at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """A new daemon has the row; `is_live` if the latest run's scope is active."""

    at: Moment
    is_live: bool


ChatEvent: TypeAlias = (
    Began | RecordingEnded | RunStarted | RunEnded | ChatPacked | Cleared | NotCleared | DueNow | TakenOver
)


# --- effects ---


@dataclass(frozen=True, slots=True)
class SaveChat:
    """Write the row; what follows relies on it."""

    chat: Chat


@dataclass(frozen=True, slots=True)
class StartRun:
    """-> RunStarted | RunEnded"""

    run: int


@dataclass(frozen=True, slots=True)
class WatchRun:
    """Watch a run of an earlier daemon -> RunEnded | ChatPacked"""

    run: int


@dataclass(frozen=True, slots=True)
class StopRun:
    """-> RunEnded"""

    run: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Start a run that packs -> ChatPacked | RunEnded"""

    run: int


@dataclass(frozen=True, slots=True)
class ClearParts:
    """-> Cleared | NotCleared"""


@dataclass(frozen=True, slots=True)
class TellChat:
    """Tell people what failed: the first time, and the second, fourth, eighth in a row."""

    why: str


ChatEffect: TypeAlias = SaveChat | StartRun | WatchRun | StopRun | Pack | ClearParts | TellChat
ChatStep: TypeAlias = tuple[Chat, tuple[ChatEffect, ...]]


def step(chat: Chat, event: ChatEvent) -> ChatStep:
    """The chat after the event, and what is to be done, in order; if its row changed, it is saved first."""
    after, effects = _handle(chat, event)
    if _row(after) != _row(chat):
        return after, (SaveChat(after), *effects)
    return after, effects


def _row(chat: Chat) -> Chat:
    return replace(chat, failures=0, retry_at=None, away_since=None)


def _handle(chat: Chat, event: ChatEvent) -> ChatStep:
    match event:
        case Began():
            return _start(chat, event.at) if chat.run == 0 and chat.state is ChatState.STARTING else (chat, ())
        case RecordingEnded():
            return _on_over(chat, event.at)
        case RunStarted():
            return _on_started(chat, event)
        case RunEnded(run=run) if run == chat.run:
            return _on_ended(chat, event)
        case ChatPacked(run=run) if run == chat.run and chat.state is ChatState.PACKING:
            packed = _to(chat, ChatState.CLEARING, event.at, event.at.monotonic + CLEAR_LIMIT)
            return replace(packed, path=event.path, size=event.size, detail=None, failures=0), (ClearParts(),)
        case Cleared() if chat.state is ChatState.CLEARING:
            done = _to(chat, ChatState.DONE, event.at)
            return done if event.is_kept else replace(done, path=None, size=None), ()
        case NotCleared() if chat.state is ChatState.CLEARING:
            return _failed(chat, event.why, event.at)
        case DueNow():
            return _on_due(chat, event.at)
        case TakenOver():
            return _on_taken_over(chat, event)
        case _:  # late, or of another run
            return chat, ()


def _to(chat: Chat, state: ChatState, at: Moment, retry_at: Instant | None = None) -> Chat:
    return replace(chat, state=state, since=at, retry_at=retry_at)


def _start(chat: Chat, at: Moment) -> ChatStep:
    number = chat.run + 1
    if number > NUMBER_MAX:
        return _pack(replace(chat, run=NUMBER_MAX - 1), at)
    started = _to(replace(chat, run=number), ChatState.STARTING, at, at.monotonic + LAUNCH_LIMIT)
    return started, (StartRun(number),)


def _pack(chat: Chat, at: Moment) -> ChatStep:
    number = chat.run + 1
    return _to(replace(chat, run=number), ChatState.PACKING, at), (Pack(number),)


def _on_over(chat: Chat, at: Moment) -> ChatStep:
    if chat.state in (ChatState.STARTING, ChatState.CAPTURING):
        return _to(chat, ChatState.STOPPING, at, at.monotonic + STOP_AGAIN), (StopRun(chat.run),)
    if chat.state is ChatState.BACKOFF:
        return _pack(replace(_back(chat, at), failures=0), at)
    return chat, ()


def _on_started(chat: Chat, event: RunStarted) -> ChatStep:
    """A run that nobody waits for any more is ended, whichever it is."""
    at = event.at
    if event.run != chat.run or chat.state in (ChatState.BACKOFF, ChatState.CLEARING, ChatState.DONE):
        return chat, (StopRun(event.run),)
    if chat.state is ChatState.STARTING:
        return _to(_back(chat, at), ChatState.CAPTURING, at), ()
    if chat.state is ChatState.STOPPING:  # it was on its way when it was asked to end
        return replace(_back(chat, at), retry_at=at.monotonic + STOP_AGAIN), (StopRun(chat.run),)
    return chat, ()


def _back(chat: Chat, at: Moment) -> Chat:
    """With the time between two runs, if it is after one."""
    if chat.away_since is None:
        return chat
    return replace(_summed(chat, gaps=1, away=max(0.0, at.monotonic - chat.away_since)), away_since=None)


def _summed(chat: Chat, *, messages: int = 0, gaps: int = 0, away: float = 0.0) -> Chat:
    """Within what a row can hold, whatever a run says of itself."""
    return replace(
        chat, messages=int(ranges.COUNT.nearest(chat.messages + messages)),
        gaps=int(ranges.COUNT.nearest(chat.gaps + gaps)), away=float(ranges.SECONDS.nearest(chat.away + away)),
    )  # fmt: skip


def _on_ended(chat: Chat, event: RunEnded) -> ChatStep:
    at = event.at
    sums = _summed(chat, messages=event.messages, gaps=event.gaps, away=event.away)
    if chat.state is ChatState.STOPPING:
        return _pack(replace(_back(sums, at), failures=0), at)
    if chat.state is ChatState.PACKING:
        return _failed(chat, event.why, at)
    if chat.state not in (ChatState.STARTING, ChatState.CAPTURING):
        return chat, ()
    lasted = chat.state is ChatState.CAPTURING and at.monotonic - chat.since.monotonic >= LASTING
    failures = 0 if lasted else chat.failures
    delay = RETRY_DELAYS[min(failures, len(RETRY_DELAYS) - 1)]
    away_since = at.monotonic if chat.away_since is None else chat.away_since
    ended = replace(sums, failures=failures + 1, detail=event.why, away_since=away_since)
    return _to(ended, ChatState.BACKOFF, at, at.monotonic + delay), _told(ended, event.why)


def _failed(chat: Chat, why: str, at: Moment) -> ChatStep:
    """What packs, or removes, has failed: it is due again, later and later."""
    delay = PACK_DELAYS[min(chat.failures, len(PACK_DELAYS) - 1)]
    later = replace(chat, failures=chat.failures + 1, detail=why, retry_at=at.monotonic + delay)
    return later, _told(later, why)


def _told(chat: Chat, why: str) -> tuple[ChatEffect, ...]:
    is_rare = chat.failures & (chat.failures - 1) == 0
    return (TellChat(why),) if is_rare else ()


def _on_due(chat: Chat, at: Moment) -> ChatStep:
    if chat.retry_at is None or at.monotonic < chat.retry_at:
        return chat, ()
    match chat.state:
        case ChatState.BACKOFF:
            return _start(chat, at)
        case ChatState.PACKING:
            return _pack(chat, at)
        case ChatState.STOPPING:
            return replace(chat, retry_at=at.monotonic + STOP_AGAIN), (StopRun(chat.run),)
        case ChatState.STARTING:  # the launch was lost: what is left of it is ended, and that is told
            return replace(chat, retry_at=at.monotonic + LAUNCH_LIMIT), (StopRun(chat.run),)
        case ChatState.CLEARING:
            return replace(chat, retry_at=at.monotonic + CLEAR_LIMIT), (ClearParts(),)
        case _:
            return replace(chat, retry_at=None), ()


def _on_taken_over(chat: Chat, event: TakenOver) -> ChatStep:
    at = event.at
    match chat.state:
        case ChatState.STARTING if chat.run == 0:
            return _start(chat, at)
        case ChatState.STARTING | ChatState.CAPTURING if event.is_live:
            return _to(chat, ChatState.CAPTURING, chat.since), (WatchRun(chat.run),)
        case ChatState.STARTING | ChatState.CAPTURING:
            return chat, (WatchRun(chat.run),)
        case ChatState.STOPPING:
            watched = replace(chat, retry_at=at.monotonic + STOP_AGAIN)
            return watched, (WatchRun(chat.run), *((StopRun(chat.run),) if event.is_live else ()))
        case ChatState.PACKING:
            return chat, (WatchRun(chat.run),)
        case ChatState.BACKOFF:
            return replace(chat, retry_at=at.monotonic), ()
        case ChatState.CLEARING:
            return replace(chat, retry_at=at.monotonic + CLEAR_LIMIT), (ClearParts(),)
        case ChatState.DONE:
            return chat, ()
