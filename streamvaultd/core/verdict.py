# SPDX-License-Identifier: GPL-3.0-or-later
"""Witnesses of a segment's end -> one cause, and what the source's side of it was.

In order of trust: the shim's exit record (status, its cgroup's oom_kill count, streamlink's last lines), then the
unit's Result= as systemd told it. Any of them may be missing: no witness alone can lose a death, and none at all
still gives a verdict ("unknown").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from streamvaultd.core.loglines import Line, classify


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the end of one run.

    `status` is an exit code, or minus the signal, as waitstatus_to_exitcode() gives it. Sizes: `memory_peak` bytes,
    `max_rss` KiB. `unit_result` is Result= of the scope (systemd.scope(5)); a scope that was unloaded answers
    "success", which therefore proves nothing. `log` holds streamlink's last lines, oldest first.
    """

    status: int | None = None
    error: str | None = None
    oom_kills: int | None = None
    memory_peak: int | None = None
    max_rss: int | None = None
    cpu_usec: int | None = None
    unit_result: str | None = None
    log: tuple[str, ...] = ()

    def merged(self, later: Evidence) -> Evidence:
        """Both together; what was known first stays, since the exit record is trusted more than what follows."""
        kept = {name: mine if (mine := getattr(self, name)) not in (None, ()) else getattr(later, name)
                for name in self.__dataclass_fields__}  # fmt: skip
        return replace(self, **kept)


class Ending(StrEnum):
    """What an end means for the broadcast."""

    ASKED = "asked"  # we stopped it
    SOURCE_ENDED = "source-ended"  # the playlist said that it is over
    SOURCE_LOST = "source-lost"  # the source went silent or away: over, or trouble of the network
    REFUSED = "refused"  # there was nothing to record
    UNSUPPORTED = "unsupported"  # no plugin for this URL: trying again is of no use
    BROKEN = "broken"  # streamlink could not even be started
    DISK = "disk"  # the output could not be written
    DIED = "died"  # the process was killed or failed; the broadcast goes on as far as we know


@dataclass(frozen=True, slots=True)
class Verdict:
    """`cause` is stored and shown (`oom`, `signal:9`, `exit:1`, `source-ended` …), `why` is for people."""

    cause: str
    ending: Ending
    why: str


_DISK = frozenset({Line.DISK_ERROR})
_REFUSED = frozenset({Line.CANNOT_OPEN, Line.NO_STREAMS, Line.NO_QUALITY, Line.NOT_FOUND})


def judge(evidence: Evidence, *, asked: str | None) -> Verdict:
    """The verdict on one end. `asked` is the cause to note if we asked for it (`stopped`, `rotated`, `stall` …)."""
    lines = {kind: text for text in evidence.log if (kind := classify(text)) is not None}
    if _was_oom(evidence):
        return Verdict("oom", Ending.ASKED if asked else Ending.DIED, "it was killed for want of memory")
    if asked is not None:
        return Verdict(asked, Ending.ASKED, "it was asked to stop")
    if evidence.error is not None:
        return Verdict("launch-failed", Ending.BROKEN, evidence.error)
    if evidence.unit_result == "timeout":
        return Verdict("timeout", Ending.DIED, "its scope reached RuntimeMaxSec=")
    if evidence.status is None:
        return Verdict("unknown", Ending.DIED, "it vanished without an exit record")
    if evidence.status < 0:
        return Verdict(f"signal:{-evidence.status}", Ending.DIED, f"it was killed by signal {-evidence.status}")
    return _judge_exit(evidence.status, lines)


def _was_oom(evidence: Evidence) -> bool:
    return bool(evidence.oom_kills) or evidence.unit_result == "oom-kill"


def _judge_exit(status: int, lines: dict[Line, str]) -> Verdict:
    """The exit codes of streamlink and the lines that explain them: docs/design/001-recording.md."""
    for kind in _DISK & lines.keys():
        return Verdict("disk-full", Ending.DISK, message_of(lines[kind]))
    if Line.NO_PLUGIN in lines:
        return Verdict("source-refused", Ending.UNSUPPORTED, message_of(lines[Line.NO_PLUGIN]))
    if status == 0:
        if Line.SOURCE_SILENT in lines:
            return Verdict("network", Ending.SOURCE_LOST, "the source offered nothing new for too long")
        return Verdict("source-ended", Ending.SOURCE_ENDED, "the source said that the stream has ended")
    if Line.READ_TIMEOUT in lines:
        return Verdict("network", Ending.SOURCE_LOST, message_of(lines[Line.READ_TIMEOUT]))
    for kind in sorted(_REFUSED & lines.keys()):
        return Verdict("source-refused", Ending.REFUSED, message_of(lines[kind]))
    if status == 130:  # an INT or TERM that did not come from us
        return Verdict("signal:15", Ending.DIED, "somebody else asked it to stop")
    last = lines.get(Line.ERROR, f"it exited with status {status}")
    return Verdict(f"exit:{status}", Ending.DIED, message_of(last))


def message_of(line: str) -> str:
    """A log line of streamlink without its date, level and module."""
    head, separator, rest = line.partition("error: ")
    if separator and len(head) < 60:
        return rest
    parts = line.split(": ", 1)
    return parts[1] if len(parts) == 2 and len(parts[0]) < 60 else line
