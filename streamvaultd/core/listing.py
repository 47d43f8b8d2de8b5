# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of the store in pages, newest first, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from streamvaultd.core.chatting import CHAT_KINDS
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.effects import Notice

PAGE_MAX: Final = 1000
"""Items of one page."""

STREAM_CHANGED: Final = "stream-changed"
RECOVERED: Final = "recovered"
STEP_DONE: Final = "step-done"
STEP_FAILED: Final = "step-failed"
HOOK_DONE: Final = "hook-done"
HOOK_FAILED: Final = "hook-failed"
EVENT_KINDS: Final = (
    *(notice.value for notice in Notice), STREAM_CHANGED, RECOVERED, *CHAT_KINDS, STEP_DONE, STEP_FAILED, HOOK_DONE,
    HOOK_FAILED,
)  # fmt: skip
"""Of the events of recordings: what people are told, another title of a broadcast, rows made anew by the audit, what
happens to chats, and how tries of steps and calls of hooks ended.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`limit` items whose numbers are below `before`."""

    limit: int = PAGE_MAX
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingQuery(Query):
    """Recordings that fit all of it; started in [since, until), microseconds since 1970. `kept`: these alone."""

    streamer: str | None = None
    statuses: tuple[str, ...] | None = None
    state: str | None = None
    kept: bool = False
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamQuery(Query):
    """Streams that fit all of it; begun in [since, until)."""

    streamer: str | None = None
    live: bool | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery(Query):
    """Jobs that fit all of it."""

    recording: int | None = None
    kind: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery(Query):
    """Events that fit all of it; told in [since, until), at this syslog level or a worse (lower) one."""

    recording: int | None = None
    streamer: str | None = None
    kind: str | None = None
    priority: int | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next` is what `before` has to be for the next page, None on the last one."""

    items: tuple[T, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A recorder without its segments, and what there is to say of them."""

    recorder: Recorder
    segments: int
    deaths: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """A stream, and the numbers of its recordings. Dates in microseconds since 1970."""

    id: int
    streamer: str
    site_id: str | None
    title: str | None
    category: str | None
    started: int
    ended: int | None
    recordings: tuple[int, ...]


class JobRow(Protocol):
    """A job as the store knows it."""

    @property
    def id(self) -> int: ...
    @property
    def recording(self) -> int: ...
    @property
    def spec(self) -> Mapping[str, object]: ...


class DoneJob(Protocol):
    """A job that is done, and what it made."""

    @property
    def result(self) -> Mapping[str, object] | None: ...


class EventRow(Protocol):
    """Something that people were told of, as the store knows it."""

    @property
    def at(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def segment(self) -> int | None: ...
    @property
    def cause(self) -> str | None: ...
