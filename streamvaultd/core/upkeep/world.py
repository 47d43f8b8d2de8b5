# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit compares: the recorders, their rows, and what systemd, /proc and the folders show, at one time.

The world is not looked at in one instant. So the recorders are taken before and after everything else, and nothing is
said about those that moved in between: what was seen of them may belong to either state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamvaultd.core.model import Instant, Phase, Recorder, State
from streamvaultd.core.names import ChatRun, Job, Run

Folder = tuple[str, str, int]
"""(directory, streamer, stream): where the segments of one recording are."""

ACTIVE_STATES = frozenset({"active", "activating", "reloading"})
"""A scope in one of these runs, and is not being stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedUnit:
    """A scope of ours that systemd has loaded: of a segment, of a chat, of a job, or of none by its name."""

    name: str
    state: str
    run: Run | None = None
    job: Job | None = None
    chat: ChatRun | None = None
    is_unlimited: bool = False  # the kernel has no memory limit for it

    @property
    def is_active(self) -> bool:
        """Something runs in it, and is not asked to end."""
        return self.state in ACTIVE_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """An exit pipe in the fd store."""

    name: str
    run: Run | None = None
    job: Job | None = None
    chat: ChatRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of our user. `age` in seconds; `writes` are the files that it has open for writing."""

    pid: int
    parent: int
    unit: str
    argv: tuple[str, ...]
    age: float
    run: Run | None = None
    job: Job | None = None
    chat: ChatRun | None = None
    is_ours: bool = False  # in the daemon's own control group
    writes: frozenset[str] = frozenset()

    @property
    def is_shim(self) -> bool:
        """Whether it is the process that supervises a run (or its child, before that is executed)."""
        return any(word.endswith("/shim.py") for word in self.argv[:4])

    @property
    def is_streamlink(self) -> bool:
        """Whether it is streamlink, started as a script or by an interpreter."""
        return any(word.rpartition("/")[2] == "streamlink" for word in self.argv[:3])


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """A file that has a segment's name, in a folder that has a recording's. `modified` in microseconds since 1970."""

    folder: Folder
    number: int
    path: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What is below the recording directories. `is_whole`: nothing was left out for a limit's sake."""

    there: frozenset[str] = frozenset()
    gone: Mapping[str, str] = field(default_factory=dict)  # directories that cannot be looked at, and why
    files: tuple[SegmentFile, ...] = ()
    empty: tuple[tuple[Folder, str], ...] = ()  # folders of recordings with nothing in them, and their paths
    is_whole: bool = True


class ResultState(StrEnum):
    """What is where a row says that the joined file is."""

    UNKNOWN = "unknown"  # it could not be looked at
    THERE = "there"
    GONE = "gone"
    FOLDER_GONE = "folder-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSegment:
    """A segment's row, as it stands."""

    number: int
    phase: str
    size: int

    @property
    def is_over(self) -> bool:
        return self.phase in (Phase.ENDED, Phase.REMOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A recording's rows as they stand in the store, whether or not a recorder can be made of them."""

    id: int
    folder: Folder
    status: str
    state: str
    path: str | None = None
    segments: tuple[RowSegment, ...] = ()
    fault: str | None = None  # why it means nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job that runs by its row."""

    id: int
    recording: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that one look has seen.

    `recorders` are the manager's, as they were after all else was looked at; `moving` the recordings that were another
    before. `busy_runs` and `busy_jobs` are launched or watched by this daemon, or their end is being dealt with.
    `started` is when this daemon began. `silent_for`: the manager has been dealing with one event for so long (s), and
    its recorders say nothing then.
    """

    now: Instant
    started: Instant
    recorders: tuple[Recorder, ...] = ()
    moving: frozenset[int] = frozenset()
    silent_for: float = 0.0
    busy_runs: frozenset[Run] = frozenset()
    busy_jobs: frozenset[Job] = frozenset()
    chats: frozenset[ChatRun] = frozenset()  # runs of chats of which something may be there
    stored: tuple[Recorder, ...] = ()  # unfinished ones, read from their rows
    unreadable: tuple[tuple[int, str], ...] = ()
    rows: tuple[Row, ...] = ()
    rows_are_whole: bool = True  # none was left out for a limit's sake
    results: Mapping[str, ResultState] = field(
        default_factory=dict
    )  # by path; those that were not looked at are left out
    jobs: tuple[JobRow, ...] = ()
    units: tuple[LoadedUnit, ...] = ()
    pipes: tuple[Pipe, ...] = ()
    surplus: int = 0  # descriptors in the fd store besides these; negative: so many are missing
    processes: tuple[Process, ...] = ()
    disk: Disk = field(default_factory=Disk)

    @property
    def steady(self) -> tuple[Recorder, ...]:
        """The recorders that did not move while the world was looked at."""
        return tuple(recorder for recorder in self.recorders if recorder.recording.id not in self.moving)

    @property
    def unsure(self) -> frozenset[int]:
        """Recordings about whose runs nothing can be said: they moved, or their rows cannot be read."""
        faulty = {row.id for row in self.rows if row.fault is not None}
        return self.moving | {recording for recording, _ in self.unreadable} | faulty

    @property
    def known_runs(self) -> frozenset[Run]:
        """Runs of which something may exist by their recorder, be it only to be tidied up."""
        return frozenset(
            recorder.run(segment.number)
            for recorder in self.recorders
            for segment in recorder.segments
            if not segment.phase.is_over
        )


def folder_of(recorder: Recorder) -> Folder:
    """Where its segments are."""
    recording = recorder.recording
    return recording.directory, recording.streamer, recording.stream


def outline(recorder: Recorder) -> tuple[State, str | None, tuple[tuple[int, Phase], ...]]:
    """What of a recorder has to do with the world outside; sizes and deadlines, which change all the time, do not.

    An outline that was left never comes back: numbers of segments are used once, and their phases only go forward.
    """
    return recorder.state, recorder.path, tuple((segment.number, segment.phase) for segment in recorder.segments)


def moved(before: Mapping[int, Recorder], after: Mapping[int, Recorder]) -> frozenset[int]:
    """The recordings whose outline is another, that came, or that went."""
    return frozenset(
        recording
        for recording in before.keys() | after.keys()
        if recording not in before or recording not in after or outline(before[recording]) != outline(after[recording])
    )


def by_folder(rows: Iterable[Row]) -> dict[Folder, list[Row]]:
    """The rows of each folder; more than one share it."""
    found: dict[Folder, list[Row]] = {}
    for row in rows:
        found.setdefault(row.folder, []).append(row)
    return found
