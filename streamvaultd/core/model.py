# SPDX-License-Identifier: GPL-3.0-or-later
"""The records the core thinks in. All frozen; none knows a file, a clock or a process.

Two clocks: `monotonic` (CLOCK_MONOTONIC, seconds) decides everything that waits; `realtime` (UTC, microseconds since
1970) only names and dates things. A monotonic value means nothing in another boot, so rows carry the boot they were
written in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from streamvaultd.core.cause import is_death
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.flows import Flow
from streamvaultd.core.names import Run
from streamvaultd.core.pace import Pace

Instant: TypeAlias = float
"""Seconds of CLOCK_MONOTONIC of the present boot."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks."""

    monotonic: Instant
    realtime: int

    def at(self, instant: Instant) -> Moment:
        """The moment of an instant, as the clocks stand now, which is this one."""
        return Moment(instant, self.realtime + round((instant - self.monotonic) * 1e6))

    def dated(self, realtime: int) -> Moment:
        """The moment of a date, as if the machine had been up then; now is this one."""
        return Moment(self.monotonic - (self.realtime - realtime) / 1e6, realtime)


class State(StrEnum):
    """Of a recording. Status in the catalogue: `recording` until FINALIZING, then `finalizing` until it is final."""

    STARTING = "starting"  # a segment is on its way, no media yet (the first one, or after a death)
    RECORDING = "recording"  # a segment writes media
    ROTATING = "rotating"  # as RECORDING, and its successor is on its way
    BACKOFF = "backoff"  # nothing runs, the next segment starts at retry_at
    GRACE = "grace"  # the source seems to have ended; probed until it is back or the grace period is over
    PAUSED = "paused"  # the disk is full: nothing runs until there is room
    STOPPING = "stopping"  # asked to stop; segments are ending
    FINALIZING = "finalizing"  # nothing runs; the join job does
    UNJOINED = "unjoined"  # the join failed; the next one starts at retry_at
    DISCARDING = "discarding"  # too short to be kept: its media are being removed
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Nothing will happen any more by itself."""
        return self in (State.COMPLETED, State.STOPPED, State.FAILED)

    @property
    def status(self) -> str:
        """The value of recordings.status in the catalogue."""
        if self.is_final:
            return self.value
        is_ending = self in (State.FINALIZING, State.UNJOINED, State.DISCARDING)
        return "finalizing" if is_ending else "recording"


class Phase(StrEnum):
    """Of a segment's run."""

    LAUNCHING = "launching"  # its row is on disk, its scope is asked for
    WAITING = "waiting"  # it runs inside its scope, no media yet
    WRITING = "writing"  # media arrive
    STOPPING = "stopping"  # asked to end
    SEALING = "sealing"  # its process is gone, its file is being made durable
    ENDED = "ended"  # nothing runs, the file is durable (or was empty and is gone)
    REMOVED = "removed"  # its media are in the joined file, its own file is gone

    @property
    def is_live(self) -> bool:
        """A process of it may exist."""
        return self in (Phase.LAUNCHING, Phase.WAITING, Phase.WRITING, Phase.STOPPING)

    @property
    def is_over(self) -> bool:
        """Neither a process nor unsynced media of it exist."""
        return self in (Phase.ENDED, Phase.REMOVED)


class StopReason(StrEnum):
    """Why a recording came to its end, as far as that is known."""

    REQUESTED = "requested"
    DURATION = "duration"
    CHANGED = "changed"  # another broadcast began
    UNWANTED = "unwanted"  # the broadcast goes on, and is not wanted any more
    OVER = "over"  # the source itself said so, and did so until the end of the grace period


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """What the site says about a stream; "" where it says nothing. `site_id` is its own name for it."""

    site_id: str = ""
    title: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Titled:
    """What a broadcast is called from a moment on (microseconds since 1970); 0: from its beginning."""

    at: int
    title: str
    category: str


class Container(StrEnum):
    """What a recording ends up as."""

    RECEIVED = "received"  # as the source sends it: a transport stream, or fragmented MP4
    MP4 = "mp4"  # transport streams become MP4 when they are joined


class Library(StrEnum):
    """For whom results are named, and described beside them."""

    NONE = "none"
    JELLYFIN = "jellyfin"  # and Kodi, and Plex


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one recording goes by; taken from the settings when it starts and kept for its life. Seconds and bytes."""

    rotate_age: float = 23.98 * 3600
    rotate_size: int = 100 << 30
    overlap_limit: float = 180.0
    grace: float = 60.0
    outage: float = 1800.0
    launch_timeout: float = 30.0
    start_timeout: float = 180.0
    stall_timeout: float = 90.0
    stop_timeout: float = 15.0
    start_attempts: int = 3
    memory_max: int = 256 << 20
    memory_ceiling: int = 1 << 30
    tasks_max: int = 64
    job_memory_max: int = 512 << 20
    container: Container = Container.RECEIVED
    min_duration: float = 0.0  # a broadcast with less media is not kept; 0: all are
    browser: bool = False  # its segments may start a browser, and are confined less
    chapters: bool = True  # of its titles, in an MP4
    filename: str = ""  # the template of its result's name; "": what the settings say when it is joined
    timezone: str = "UTC"  # of {start} in that name
    has_steps: bool = True  # whether anything is made of it after the join, if the settings want it
    thumbnail: bool = False  # a picture of it is made when it is joined
    sheets: bool = False  # and contact sheets
    nfo: bool = False  # and what media servers read of it
    library: Library = Library.NONE  # all of that at once, and names
    upload: tuple[str, ...] = ()  # the remotes of rclone that get it
    upload_bandwidth: int | None = None  # bytes per second to and from them, None: as fast as it goes
    hooks_started: tuple[str, ...] = ()  # hooks that are called when its first media have arrived
    hooks_segment: tuple[str, ...] = ()  # when one of its segments is complete
    hooks_complete: tuple[str, ...] = ()  # when it is joined, and its steps are over
    hooks_failed: tuple[str, ...] = ()  # when it has failed
    hooks_prune: tuple[str, ...] = ()  # before its media are removed
    chat: bool = False  # its chat is captured, if its site is known to have one
    chat_channel: str = ""  # the channel on Twitch whose chat that is; "": the one that its URL names
    sidecars: tuple[str, ...] = ()  # formats of the chat that are made beside the result


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was asked for: fixed for the life of a recording."""

    id: int
    stream: int
    streamer: str
    url: str
    quality: str
    directory: str
    created: Moment
    duration: float | None
    policy: Policy

    def run(self, number: int) -> Run:
        """What a segment of it is to the rest of the machine."""
        return Run(self.id, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One run of streamlink: one scope, one file. `number` is also the attempt that its events carry.

    `memory_max` is the limit of its scope, `anon` its anonymous memory when that was last looked at, both in bytes.
    `evidence` is all that is known of its end, and may be known before it. What says "not stored" is forgotten by a
    new daemon.
    """

    number: int
    phase: Phase
    since: Moment
    started: Moment | None = None
    ended: Moment | None = None
    media_at: Moment | None = None
    quality: str | None = None  # the one that streamlink chose
    size: int = 0
    grown_at: Instant | None = None  # when `size` was last seen to grow
    measure_at: Instant | None = None
    anon: int | None = None  # not stored
    anon_at: Instant | None = None  # not stored
    anon_rate: float = 0.0  # bytes per second, not stored
    filtering: bool = False  # streamlink leaves out advertisements and writes nothing; not stored
    flows: tuple[Flow, ...] = ()  # its streams, as the looks at its file have found them; not stored
    pace: Pace | None = None  # how its source offers media, once that is known; not stored
    looked_at: Instant | None = None  # when its size was last looked at; not stored
    asked_at: Instant | None = None  # when it was last asked whether the source of a silent run goes on; not stored
    answered_at: Instant | None = None  # when that was answered; not stored
    ask_rest: float = 0.0  # so long (s) the site wants to be left alone after that; not stored
    asked_mark: str = ""  # of the playlist, as the answer to that had it; not stored
    pause: float = 0.0  # its longest silence (s) that ended though its source was there all the time; not stored
    left_behind: bool = False  # its source has gone on since, and nothing came; not stored
    unfit: str | None = None  # why it cannot become what was asked for; not stored
    muxed: bool = False  # it has ffmpeg mux streams of several playlists; not stored
    suspect: str | None = None  # why it may be losing media; not stored, as are the next two
    suspect_since: Instant | None = None
    suspect_until: Instant | None = None
    earlier_boot: bool = False  # its row was written before the machine was last started; not stored
    stops: int = 0  # how often it was asked to stop
    rotated: bool = False  # stopped because its successor records
    cause: str | None = None
    evidence: Evidence | None = None
    memory_max: int | None = None
    memory_peak: int | None = None
    exit_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """The whole state of one recording; what is in here is what its rows hold.

    `segments` are in order of their numbers. `failures` counts runs in a row that died without having recorded for
    long; once nothing runs any more, joins in a row that failed. `memory_max` is the limit that deaths have raised, at
    `memory_since`. `silent_since` is when the source gave nothing any more. `host_stopping` is until when the machine
    is taken to be going down. `detail` says, for people, why the state is what it is.
    `kept`: somebody wants its media for good, so no rule removes them.
    """

    recording: Recording
    state: State
    since: Moment
    segments: tuple[Segment, ...] = ()
    failures: int = 0
    retry_at: Instant | None = None
    probe: int = 0  # identity of the latest probe; an answer to another one is stale
    probe_at: Instant | None = None
    probing: bool = False
    grace_until: Instant | None = None
    gone: bool = False  # the latest answer was that the broadcast is over; not stored
    mark: str = ""  # of the playlist, as the latest answer has it: one that advances gets another; not stored
    silent_since: Instant | None = None
    rotate_retry_at: Instant | None = None
    overlap_at: Instant | None = None  # next check whether the old segment contains the new one's head
    rotation_until: Instant | None = None
    fills: int = 0  # segments started in a row because the one before had missed media
    filled_at: Instant | None = None  # the last of them
    stop: StopReason | None = None
    memory_max: int | None = None
    memory_since: Instant | None = None
    host_stopping: Instant | None = None  # not stored
    joins: int = 0  # join jobs started
    path: str | None = None
    result_bytes: int | None = None
    ended: Moment | None = None
    detail: str | None = None
    kept: bool = False

    @property
    def live(self) -> tuple[Segment, ...]:
        """Segments of which a process may exist."""
        return tuple(segment for segment in self.segments if segment.phase.is_live)

    @property
    def current(self) -> Segment | None:
        """The newest segment that lives and was not asked to end."""
        running = [segment for segment in self.live if segment.phase is not Phase.STOPPING]
        return running[-1] if running else None

    @property
    def next_number(self) -> int:
        """The number that the next segment gets."""
        return self.segments[-1].number + 1 if self.segments else 1

    @property
    def size(self) -> int:
        """Bytes received in all segments, overlaps included."""
        return sum(segment.size for segment in self.segments)

    @property
    def deaths(self) -> int:
        """Segments whose process ended though nobody asked for it and the source had not ended."""
        return sum(1 for segment in self.segments if segment.cause is not None and is_death(segment.cause))

    @property
    def media_started(self) -> Moment | None:
        """When the first media of the recording arrived."""
        moments = [segment.media_at for segment in self.segments if segment.media_at is not None]
        return moments[0] if moments else None

    @property
    def runs_live(self) -> tuple[Run, ...]:
        """The runs of `live`."""
        return tuple(self.recording.run(segment.number) for segment in self.live)

    def run(self, number: int) -> Run:
        """What a segment of it is to the rest of the machine."""
        return self.recording.run(number)

    def segment(self, number: int) -> Segment | None:
        """The segment of this number."""
        return next((segment for segment in self.segments if segment.number == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeLimits:
    """Limits of a scope: bytes, tasks, microseconds; None leaves the choice to the broker.

    `reachable`: networks of those that are closed to scopes, loopback, link-local and multicast, that are open to it.
    `has_network`: of a job, which otherwise reaches nothing.
    """

    memory_max: int | None = None
    tasks_max: int | None = None
    runtime_max_usec: int | None = None
    reachable: tuple[str, ...] = ()
    has_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamRecord:
    """The place where the segments `older` and `newer` meet, as the join measured it."""

    older: int
    newer: int
    kind: str
    method: str
    overlap_bytes: int | None = None
    overlap_ms: float | None = None
    gap_ms: float | None = None
    certainty: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A notice as people were told it."""

    kind: str
    priority: int
    message: str
    cause: str | None
    attempt: int | None


JOIN: Final = "join"
"""The kind of job that makes one file of segments."""
