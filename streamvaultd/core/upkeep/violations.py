# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit can find: each kind breaks an invariant or a promise of docs/design/001-recording.md.

The manual page streamvaultctl(1) lists them; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Of a violation, in the order in which they are repaired."""

    # runs
    RUN_LOST = "run-lost"
    RUN_UNWATCHED = "run-unwatched"
    RUN_OUTSIDE = "run-outside"
    RUNS_TOO_MANY = "runs-too-many"
    LIMIT_MISSING = "limit-missing"
    URL_EXPOSED = "url-exposed"
    # units and descriptors
    SCOPE_UNKNOWN = "scope-unknown"
    JOB_UNKNOWN = "job-unknown"
    JOB_LOST = "job-lost"
    UNIT_FAILED = "unit-failed"
    PIPE_LEFT = "pipe-left"
    PIPE_LOST = "pipe-lost"
    # rows
    DEADLINE_MISSED = "deadline-missed"
    DEADLINE_MISSING = "deadline-missing"
    ROW_MISSING = "row-missing"
    ROW_BEHIND = "row-behind"
    ROW_UNOWNED = "row-unowned"
    ROW_UNREADABLE = "row-unreadable"
    STATUS_WRONG = "status-wrong"
    # files
    DIRECTORY_GONE = "directory-gone"
    FILE_SHARED = "file-shared"
    FILE_EMPTY = "file-empty"
    MEDIA_UNKNOWN = "media-unknown"
    MEDIA_GONE = "media-gone"
    MEDIA_BACK = "media-back"
    SEGMENTS_LEFT = "segments-left"
    RESULT_GONE = "result-gone"
    FOLDER_LEFT = "folder-left"


@dataclass(frozen=True, slots=True)
class About:
    """The rule that is broken, how that shows, why it matters, what cleanup does, and else what people can do."""

    rule: str
    what: str
    why: str
    repair: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that should not be. `subject` tells it from others of its kind, `what` is a sentence about it.

    `hold` says why cleanup leaves this one alone, and what people can do. Of one kind, those of a lower `rank` are
    repaired first.
    """

    kind: Kind
    subject: str
    what: str
    hold: str = ""
    rank: int = 0
    recording: int | None = None
    segment: int | None = None
    job: int | None = None
    unit: str | None = None
    path: str | None = None
    pid: int | None = None

    @property
    def key(self) -> tuple[Kind, str]:
        """What stays the same when it is seen again."""
        return self.kind, self.subject

    @property
    def rule(self) -> str:
        return ABOUT[self.kind].rule

    @property
    def why(self) -> str:
        return ABOUT[self.kind].why

    @property
    def repair(self) -> str:
        """What cleanup does about it, "" if it does nothing."""
        return "" if self.hold else ABOUT[self.kind].repair

    @property
    def advice(self) -> str:
        """What people can do where cleanup does nothing."""
        return self.hold or ABOUT[self.kind].advice


ABOUT: Final[Mapping[Kind, About]] = {
    Kind.RUN_LOST: About(
        "P1",
        "a segment runs by its row, and its scope is gone",
        "Nobody replaces a run whose death was not noticed.",
        "the recorder learns of the death and starts the next segment, or joins what there is",
    ),
    Kind.RUN_UNWATCHED: About(
        "P1",
        "a scope runs, and the daemon does not watch it",
        "Its death would not be noticed.",
        "the segment is ended and replaced by the next one, which is watched",
    ),
    Kind.RUN_OUTSIDE: About(
        "I2",
        "streamlink or its shim runs outside its scope",
        "It has no limits and no name, and nobody notices its end.",
        advice="look at it with 'ps' and end it with 'kill'; a recording that loses its run goes on with a new one",
    ),
    Kind.RUNS_TOO_MANY: About(
        "I5",
        "more segments are meant to go on than one, or two during a rotation",
        "They record the same media twice.",
        advice="restart the daemon with 'systemctl restart streamvaultd'; segments record on meanwhile",
    ),
    Kind.LIMIT_MISSING: About(
        "P6",
        "a segment runs without a memory limit",
        "It may take all memory, and the other recordings with it.",
        advice="look for MemoryMax=infinity in a drop-in below streamvault-.scope.d, and rotate the recording",
    ),
    Kind.URL_EXPOSED: About(
        "I9",
        "a command line shows the URL of a recording",
        "Every user can read command lines, and tokens in them.",
        advice="stop the recording, and look for a wrapper or an option of streamlink that passes the URL on",
    ),
    Kind.SCOPE_UNKNOWN: About(
        "I1",
        "a segment's scope runs, and no recording knows it",
        "It records what nobody would ever join.",
        "the scope is stopped; its file stays, and becomes a recovered recording",
    ),
    Kind.JOB_UNKNOWN: About(
        "I1",
        "a job's scope runs, and no row of a running job has its number",
        "Nobody waits for what it does.",
        "the scope is stopped; a job never changes a segment",
    ),
    Kind.JOB_LOST: About(
        "P7",
        "a job runs by its row, and its scope is gone",
        "The recording would wait for it until its deadline.",
        "its report is read if it left one, otherwise it is done again",
    ),
    Kind.UNIT_FAILED: About(
        "P7",
        "a failed scope is still loaded though its run is over",
        "It stays in systemd's memory, and its name is taken.",
        "systemd forgets it",
    ),
    Kind.PIPE_LEFT: About(
        "P4",
        "an exit pipe is still in the fd store though its run is over",
        "When the fd store is full, ends of runs are lost while the daemon restarts.",
        "it is removed from the fd store",
    ),
    Kind.PIPE_LOST: About(
        "P4",
        "systemd has fewer exit pipes than the daemon has stored",
        "How a run ends while the daemon restarts would not be known.",
        advice="raise FileDescriptorStoreMax= with 'systemctl edit streamvaultd', and rotate the recordings",
    ),
    Kind.DEADLINE_MISSED: About(
        "P7",
        "what was due half a minute ago or earlier has not happened",
        "It is stuck.",
        advice="restart the daemon with 'systemctl restart streamvaultd'; segments record on meanwhile",
    ),
    Kind.DEADLINE_MISSING: About(
        "I4",
        "a recording is not over and has no deadline",
        "Nothing would ever happen to it by itself.",
        advice="restart the daemon with 'systemctl restart streamvaultd'; segments record on meanwhile",
    ),
    Kind.ROW_MISSING: About(
        "I1",
        "the daemon has a recording of which the store has no row",
        "The next daemon would not know what runs.",
        "its rows are written again from what the daemon knows",
    ),
    Kind.ROW_BEHIND: About(
        "I1",
        "the store says something else of a recording than the daemon",
        "The next daemon would take it up where it no longer is.",
        "its rows are written again",
    ),
    Kind.ROW_UNOWNED: About(
        "P7",
        "a recording runs by its row, and the daemon does not know it",
        "Nobody looks after it, and it blocks its streamer.",
        "the daemon takes it over as at its start: it records on if the broadcast does, or joins what there is",
    ),
    Kind.ROW_UNREADABLE: About(
        "P7",
        "the rows of a recording make no sense",
        "Nobody looks after it.",
        advice="restore the store from a backup, or correct the row with sqlite3 and restart the daemon",
    ),
    Kind.STATUS_WRONG: About(
        "P7",
        "a row says that a recording is over, and its state or its segments say that it is not, or the reverse",
        "It counts as over, and its media were never joined.",
        "its segments are joined, and its status is what comes of that",
    ),
    Kind.DIRECTORY_GONE: About(
        "P8",
        "a directory of recordings cannot be looked at",
        "Nothing can be said about the recordings there.",
        advice="mount it, or restore it, and check again",
    ),
    Kind.FILE_SHARED: About(
        "I7",
        "two write to one segment's file, or two recordings have one folder",
        "Two writers destroy each other's media.",
        advice="end the one that does not belong there; 'systemctl status PID' tells its unit",
    ),
    Kind.FILE_EMPTY: About(
        "P10",
        "a segment's file of 0 bytes that no running segment has",
        "It takes the place of a segment.",
        "the file is removed",
    ),
    Kind.MEDIA_UNKNOWN: About(
        "I1",
        "segment files with media that no row knows",
        "Nobody would ever join them.",
        "they become a recovered recording, and are joined",
    ),
    Kind.MEDIA_GONE: About(
        "P8",
        "a segment's file that is to be joined is not there any more",
        "They will be missing in the joined file.",
        advice="restore it from a backup before the recording is joined; one that is being written is soon replaced",
    ),
    Kind.MEDIA_BACK: About(
        "I8",
        "a segment's file is there again that was removed after the join",
        "Its media are in the joined file already.",
        advice="compare it with the joined file, then remove it, or move it away",
    ),
    Kind.SEGMENTS_LEFT: About(
        "I8",
        "segments are still there though their recording has been joined for a minute",
        "They take their space twice.",
        "the joined file is compared with them (or made again, if it is missing), then they are removed",
    ),
    Kind.RESULT_GONE: About(
        "P8",
        "the joined file of a recording is not there any more",
        "The store names a file that nobody can play.",
        "the row notes that its file is gone; restore the file first if it is missed",
    ),
    Kind.FOLDER_LEFT: About(
        "P10",
        "an empty folder of a recording that is over",
        "It is of no use.",
        "the folder is removed",
    ),
}
