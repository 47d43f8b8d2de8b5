# SPDX-License-Identifier: GPL-3.0-or-later
"""Witnesses of a segment's end -> one cause, and what the source's side of it was.

In order of trust: the shim's exit record (status, its cgroup's oom_kill count, streamlink's last lines), the unit's
Result= as systemd told it, the messages of systemd and the kernel in the journal, then what is known of the machine.
Any of them may be missing: no witness alone can lose a death, and none at all still gives a verdict ("unknown").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streamvaultd.core.cause import Cause
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.recording.loglines import Line, classify


class Ending(StrEnum):
    """What an end means for the broadcast."""

    ASKED = "asked"  # we stopped it
    ENOUGH = "enough"  # it has recorded as much as was asked for
    SOURCE_ENDED = "source-ended"  # the playlist said that it is over
    SOURCE_LOST = "source-lost"  # the source went silent or away: over, or trouble of the network
    UNREACHABLE = "unreachable"  # nobody answered, so nothing is known of the source
    REFUSED = "refused"  # there was nothing to record
    UNSUPPORTED = "unsupported"  # no plugin for this URL: trying again is of no use
    BROKEN = "broken"  # streamlink could not even be started
    UNPLACED = "unplaced"  # it had no scope to run in: the source was not even asked
    DISK = "disk"  # the output could not be written
    HOST = "host"  # the whole machine went down
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
    if evidence.journal_oomd:
        return Verdict(Cause.OOMD, Ending.ASKED if asked else Ending.DIED, "systemd-oomd killed it for want of memory")
    if evidence.was_oom:
        return Verdict(Cause.OOM, Ending.ASKED if asked else Ending.DIED, _oom_text(evidence))
    if asked is not None:
        return Verdict(asked, Ending.ASKED, _ASKED.get(asked, "it was asked to stop"))
    if evidence.error is not None:
        return Verdict(Cause.LAUNCH_FAILED, Ending.BROKEN, evidence.error)
    if evidence.status in _STOPPED and evidence.host_down:
        return Verdict(Cause.HOST_SHUTDOWN, Ending.HOST, "the machine went down while it ran")
    if evidence.status in _STOPPED and evidence.unit_result == "timeout":
        return Verdict(Cause.TIMEOUT, Ending.DIED, "its scope reached RuntimeMaxSec=")
    if evidence.status is None:
        return _judge_without_record(evidence)
    if evidence.status < 0:
        return Verdict(
            Cause.SIGNAL.numbered(-evidence.status), Ending.DIED, f"it was killed by signal {-evidence.status}"
        )
    return _judge_exit(evidence, evidence.status)


_ASKED: Final[Mapping[str, str]] = {
    Cause.ROTATED: "the segment after it had taken over",
    Cause.STALL: "it wrote nothing for too long, and was asked to stop",
    Cause.START_TIMEOUT: "it wrote nothing after its start, and was asked to stop",
    Cause.LAUNCH_FAILED: "its scope did not start in time, and it was asked to stop",
    Cause.DISK_FULL: "there was no room on the disk, and it was asked to stop",
    Cause.UNKILLABLE: "it did not end when it was killed",
}
"""Why we ask a segment to stop, other than that the recording stops."""

_STOPPED_ALONE: Final = "its scope was stopped while no daemon ran, as by a removal of the package"

_STOPPED = frozenset({None, -15, 130})
"""How it ends when systemd stops its scope: by SIGTERM; after a while by SIGKILL, and the shim, too, cannot tell."""


def is_of_own_limit(evidence: Evidence) -> bool:
    """Of an OOM: whether the scope's own limit was reached, as far as is known, and not the slice's or the machine's.

    The kernel's line names the group that was full; else a peak far below the limit tells that it was not this one.
    """
    if evidence.kernel_oom is not None and (groups := _GROUPS.search(evidence.kernel_oom)):
        return groups["full"] == groups["victim"]
    if evidence.memory_peak is None or evidence.memory_max is None:
        return True
    return evidence.memory_peak >= _FULL * evidence.memory_max


_GROUPS = re.compile(r"(?:oom_memcg=(?P<full>[^,]*),|,global_oom,).*task_memcg=(?P<victim>[^,]*),")
_FULL = 0.9


def _oom_text(evidence: Evidence) -> str:
    known = (("limit", evidence.memory_max), ("peak", evidence.memory_peak))
    figures = ", ".join(f"{name} {size / (1 << 20):.0f}M" for name, size in known if size is not None)
    what = "it was killed for want of memory"
    if not is_of_own_limit(evidence):
        what += " of the slice or the machine"
    return what + (f" ({figures})" if figures else "")


def _judge_without_record(evidence: Evidence) -> Verdict:
    """Nobody saw it end: what is known of its surroundings has to do."""
    if evidence.shim_status is not None and evidence.shim_status < 0:
        return Verdict(
            Cause.SIGNAL.numbered(-evidence.shim_status), Ending.DIED, "it was killed with its supervising process"
        )
    if evidence.disk is not None:
        return Verdict(Cause.DISK_FULL, Ending.DISK, f"it vanished while the disk was {evidence.disk}")
    if evidence.link_down:
        return Verdict(Cause.NETWORK, Ending.SOURCE_LOST, "it vanished while there was no network")
    if evidence.unit_stopped:
        return Verdict(Cause.STOPPED, Ending.DIED, _STOPPED_ALONE)
    return Verdict(Cause.UNKNOWN, Ending.DIED, "it vanished without an exit record")


def _judge_exit(evidence: Evidence, status: int) -> Verdict:
    """The exit codes of streamlink and the lines that explain them: docs/design/001-recording.md."""
    lines = {kind: text for text in evidence.log if (kind := classify(text)) is not None}
    for kind in _DISK & lines.keys():
        return Verdict(Cause.DISK_FULL, Ending.DISK, message_of(lines[kind]))
    if Line.NO_PLUGIN in lines:
        return Verdict(Cause.SOURCE_REFUSED, Ending.UNSUPPORTED, message_of(lines[Line.NO_PLUGIN]))
    if status == 0:
        if Line.SOURCE_SILENT in lines:
            return Verdict(Cause.NETWORK, Ending.SOURCE_LOST, "the source offered nothing new for too long")
        if Line.ENOUGH in lines:
            return Verdict(Cause.STOPPED, Ending.ENOUGH, "it has recorded as much as was asked for")
        return Verdict(Cause.SOURCE_ENDED, Ending.SOURCE_ENDED, "the source said that the stream has ended")
    if Line.READ_TIMEOUT in lines:
        return Verdict(Cause.NETWORK, Ending.SOURCE_LOST, message_of(lines[Line.READ_TIMEOUT]))
    if Line.UNREACHABLE in lines:
        return Verdict(Cause.NETWORK, Ending.UNREACHABLE, message_of(lines[Line.UNREACHABLE]))
    for kind in sorted(_REFUSED & lines.keys()):
        if evidence.link_down:
            return Verdict(Cause.NETWORK, Ending.UNREACHABLE, f"without a network: {message_of(lines[kind])}")
        return Verdict(Cause.SOURCE_REFUSED, Ending.REFUSED, message_of(lines[kind]))
    if status == 130:  # an INT or TERM that did not come from us
        return Verdict(Cause.SIGNAL.numbered(15), Ending.DIED, "somebody else asked it to stop")
    last = message_of(lines.get(Line.ERROR, f"it exited with status {status}"))
    if evidence.disk is not None:
        return Verdict(Cause.DISK_FULL, Ending.DISK, f"the disk was {evidence.disk}: {last}")
    if evidence.link_down:
        return Verdict(Cause.NETWORK, Ending.UNREACHABLE, f"without a network: {last}")
    return Verdict(Cause.EXIT.numbered(status), Ending.DIED, last)


def message_of(line: str) -> str:
    """A log line of streamlink without its date, level and module, and without what only its programmers read."""
    head, separator, rest = line.partition("error: ")
    if separator and len(head) < 60:
        return _plain(rest)
    parts = line.split(": ", 1)
    return _plain(parts[1] if len(parts) == 2 and len(parts[0]) < 60 else line)


_OBJECT = re.compile(r"<[^<>]{0,200} at 0x[0-9a-f]{1,16}>(?:: )?")
_POOL = re.compile(r" ?\(?HTTPS?ConnectionPool\(host='[^']{0,255}', port=\d{1,5}\): (?P<told>.{0,2000})", re.DOTALL)
_CAUSE = re.compile(r"\(Caused by \w{1,80}\(['\"]?(?P<cause>.{0,1000}?)['\"]?\){1,4}$", re.DOTALL)
_ERRNO = re.compile(r"\[Errno -?\d{1,5}\] ")


def _plain(text: str) -> str:
    """The reason alone, of what requests and urllib3 say around it."""
    text = _OBJECT.sub("", text)
    pool = _POOL.search(text)
    if pool is not None:
        cause = _CAUSE.search(pool["told"])
        reason = cause["cause"] if cause else pool["told"].removesuffix(")")
        text = f"{text[: pool.start()]}: {reason}"
    return _ERRNO.sub("", text)
