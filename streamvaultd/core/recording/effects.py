# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything the core may ask for. Performed in order by the executor; what comes of it returns as an event.

Every effect may be performed again after a crash and has to be harmless then: a launch finds its file or its unit
already there and fails, a seal seals again, a join accepts its own finished result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streamvaultd.core.model import Recorder, Segment


@dataclass(frozen=True, slots=True)
class Save:
    """Write the recording's row and the rows of the changed segments, in one transaction. Always the first effect."""

    recorder: Recorder
    changed: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """Open the file, spawn gated, start the scope, open the gate. -> ScopeStarted | LaunchFailed"""

    attempt: int


@dataclass(frozen=True, slots=True)
class StopScope:
    """Ask systemd to stop the scope of an attempt, whatever is in it. -> SegmentExited, by its process"""

    attempt: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch a run that this daemon did not spawn. -> SegmentExited, MediaArrived"""

    attempt: int


@dataclass(frozen=True, slots=True)
class Measure:
    """Look at the size of a segment's file, and at its memory. -> SizeMeasured"""

    attempt: int


@dataclass(frozen=True, slots=True)
class SaveFile:
    """Keep what a file holds that has lost its name: it gets that again, or stays open until it is sealed."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CheckOverlap:
    """Is the head of `attempt` contained in the file of `older`? -> OverlapChecked"""

    attempt: int
    older: int


@dataclass(frozen=True, slots=True)
class Seal:
    """fsync the file, remove it if empty, forget the run's descriptors and its failed unit. -> SegmentSealed"""

    attempt: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the source whether there is something to record. -> SourceProbed"""

    probe: int


@dataclass(frozen=True, slots=True)
class CheckDisk:
    """Is there room to record, and can it be written to? -> DiskFreed | DiskLow"""


@dataclass(frozen=True, slots=True)
class Join:
    """Run the join job, or find the one that runs or has ended. -> JoinEnded"""

    join: int


@dataclass(frozen=True, slots=True)
class RemoveSegments:
    """Remove the files of the joined segments and their folder. -> SegmentsRemoved"""


@dataclass(frozen=True, slots=True)
class DiscardFolder:
    """Remove the folders of a recording that never had media, as far as they are empty."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove the media of a recording that is not kept, joined and not joined. -> MediaDiscarded"""


class Notice(StrEnum):
    """What is worth telling people. Each has a MESSAGE_ID, a priority and a catalogue text (reporting/notices.py)."""

    RECORDING_STARTED = "recording-started"
    SEGMENT_STARTED = "segment-started"
    MEDIA_ARRIVED = "media-arrived"
    SEGMENT_ENDED = "segment-ended"
    SEGMENT_DIED = "segment-died"
    MEDIA_GONE = "media-gone"
    FILE_TAKEN = "file-taken"
    CAUSE_CORRECTED = "cause-corrected"
    LAUNCH_FAILED = "launch-failed"
    ROTATION_STARTED = "rotation-started"
    ROTATION_DONE = "rotation-done"
    ROTATION_GONE_ON = "rotation-gone-on"
    ROTATION_FAILED = "rotation-failed"
    OVERLAP_UNPROVEN = "overlap-unproven"
    MEDIA_MISSED = "media-missed"
    SUSPECTED = "suspected"
    STREAM_STILL = "stream-still"
    STREAM_MOVES = "stream-moves"
    CONTAINER_UNFIT = "container-unfit"
    BESIDE_FAILED = "beside-failed"
    SOURCE_SILENT = "source-silent"
    SOURCE_BACK = "source-back"
    STALLED = "stalled"
    MEMORY_RAISED = "memory-raised"
    MEMORY_NEAR = "memory-near"
    DISK_LOW = "disk-low"
    DISK_FREED = "disk-freed"
    STOP_OVERDUE = "stop-overdue"
    STOPPING = "stopping"
    ADOPTED = "adopted"
    JOIN_STARTED = "join-started"
    JOIN_FAILED = "join-failed"
    UNJOINED = "recording-unjoined"
    RECORDING_COMPLETED = "recording-completed"
    RECORDING_STOPPED = "recording-stopped"
    RECORDING_FAILED = "recording-failed"
    RETRYING = "retrying"
    KEPT = "kept"
    UNKEPT = "unkept"
    MEDIA_PRUNED = "media-pruned"
    MEDIA_EXPIRED = "media-expired"
    NOT_KEPT = "not-kept"
    MEDIA_DISCARDED = "media-discarded"


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell people and subscribers. `fields` fill the notice's text."""

    notice: Notice
    attempt: int | None = None
    cause: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


Effect = (
    Save | Launch | StopScope | Watch | Measure | SaveFile | CheckOverlap | Seal | Probe | CheckDisk | Join
    | RemoveSegments | DiscardFolder | Discard | Announce
)  # fmt: skip
