# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can happen to a recording.

Each event carries the moment it happened. Events of a run carry its `attempt` (the segment's number), so that a late
event of an earlier run can never touch a later one. The last group comes from the recorder's own deadlines
(deadlines.py): they are events like all others, and may come late or twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.flows import Pulse
from streamvaultd.core.model import Instant, Moment
from streamvaultd.core.pace import Pace
from streamvaultd.core.recording.loglines import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunEvent(_Event):
    attempt: int


# --- from people ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequested(_Event):
    """The recording's row is on disk: begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastOver(_Event):
    """The watcher says that another broadcast began, or that this one is `unwanted` from now on."""

    why: str
    unwanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateRequested(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested(_Event):
    """Somebody has done something about what went wrong: try again now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRequested(_Event):
    """Somebody wants the media for good: no rule may remove them. Or (`keep` is false) the rules hold again."""

    keep: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPruned(_Event):
    """The media were to go, and are gone: how many files and bytes. `rule` is that of retention, or None."""

    files: int
    size: int
    rule: str | None = None


# --- from the world ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeStarted(_RunEvent):
    """The scope runs, its gate is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailed(_RunEvent):
    """No process runs, nothing is left of the try. `permanent`: trying again is of no use; `disk`: no room."""

    why: str
    permanent: bool = False
    disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaArrived(_RunEvent):
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeMeasured(_RunEvent):
    """Bytes in the file; and in the scope, if the kernel counts them, of anonymous memory, and its limit.

    The limit is not the one that was asked for where a drop-in of the administrator sets another. `pulses` has the
    streams of the file, if its format tells them; `unfit` why an MP4 cannot hold them, if it cannot. `written` is when
    it was last written to, by the file's own date.
    """

    size: int
    written: Instant | None = None
    pulses: tuple[Pulse, ...] = ()
    unfit: str | None = None
    anon: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSpoke(_RunEvent):
    """streamlink said something that matters while it runs.

    `quality`: the one that it chose, `pace`: how its source offers media, if it told that.
    """

    line: Line
    quality: str | None = None
    pace: Pace | None = None


class Taken(StrEnum):
    """What somebody did to a file while it was written."""

    REMOVED = "removed"  # it has no name any more
    MOVED = "moved"  # it has another name
    CUT = "cut"  # it is shorter than it was


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTaken(_RunEvent):
    """Somebody took the segment's file away, or cut it. `size`: bytes that it has."""

    how: Taken
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapChecked(_RunEvent):
    """Whether the older segment's file is proven to contain the head of this one's."""

    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentExited(_RunEvent):
    """The supervising process of the run is gone. Of a run that has ended already, this is one more witness."""

    evidence: Evidence
    ended: Moment | None = None  # if it was seen later only


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceArrived(_RunEvent):
    """A witness, before the exit or after it: it may correct the cause, it never counts as another death.

    What it tells of a run that lives is kept for its end, except for what holds for the machine at that moment.
    """

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSealed(_RunEvent):
    """The file is durable, `size` bytes; 0: it was empty and is gone."""

    size: int


class Outcome(StrEnum):
    """Of asking the source whether there is something to record."""

    LIVE = "live"
    ENDED = "ended"  # it is there, and says that it is over
    OFFLINE = "offline"
    UNSUPPORTED = "unsupported"
    TROUBLE = "trouble"  # nobody could tell


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProbed(_Event):
    """What the source answered. `mark` tells one state of a playlist from another; "" where there is none."""

    probe: int
    outcome: Outcome
    detail: str
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBack(_Event):
    """A link or a route is there that was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLow(_Event):
    """There is no room to record, or soon there will not be."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFreed(_Event):
    """There is room to record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStopping(_Event):
    """The machine is going down: systemd will end all scopes. Forgotten after policy.HOST_HOLD seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStays(_Event):
    """The machine does not go down after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinEnded(_Event):
    """The join job number `join` of this recording ended; `why` is None when it succeeded.

    `duration`: seconds of media in the result, overlaps counted once and gaps as if they were media; None: unknown.
    `for_good`: no later try can have another end.
    """

    join: int
    path: str | None = None
    size: int = 0
    duration: float | None = None
    why: str | None = None
    for_good: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsRemoved(_Event):
    """The files of the joined segments are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDiscarded(_Event):
    """The media that were not to be kept are gone: how many files, and how many bytes, in this try."""

    files: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted(_Event):
    """The daemon took this recording over from its rows. `live`: attempts whose scope runs, with their file's size.

    `grown`: when each of these files was last written to, as far as that is known.
    """

    live: dict[int, int] = field(default_factory=dict)
    grown: dict[int, Instant] = field(default_factory=dict)


# --- from the recorder's own deadlines -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTimedOut(_RunEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTimedOut(_RunEvent):
    """It runs, and no media came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureDue(_RunEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationDue(_RunEvent):
    """It is old enough, or large enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapDue(_RunEvent):
    """Time to look (again) whether the older segment reaches the head of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapTimedOut(_RunEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTimedOut(_RunEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SealTimedOut(_RunEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeDue(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskDue(_Event):
    """Time to look whether there is room again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceOver(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationReached(_Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOverdue(_Event):
    """Nothing was heard of the join for long: make sure that it runs. Or it failed, and the next one is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardOverdue(_Event):
    """Media that are not to be kept are still there, as far as is known: remove them again."""


Event = (
    RecordRequested | StopRequested | BroadcastOver | RotateRequested | RetryRequested | KeepRequested
    | MediaPruned | ScopeStarted | LaunchFailed | MediaArrived | SizeMeasured | FileTaken | OverlapChecked
    | SegmentExited | EvidenceArrived | SegmentSpoke | SegmentSealed | SourceProbed | NetworkBack | DiskLow | DiskFreed
    | HostStopping | HostStays | JoinEnded | SegmentsRemoved | MediaDiscarded | Restarted
    | LaunchTimedOut | MediaTimedOut | MeasureDue | RotationDue | OverlapDue | OverlapTimedOut | StopTimedOut
    | SealTimedOut | RetryDue | ProbeDue | DiskDue | GraceOver | DurationReached | JoinOverdue | DiscardOverdue
)  # fmt: skip
EVENTS: tuple[type[Event], ...] = Event.__args__
