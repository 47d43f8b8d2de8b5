# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal entries -> what they say about our segments; systemd.journal-fields(7).

Fields that begin with "_" are journald's own and cannot be forged; every kind of entry is held to some of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.names import RECORDINGS_SLICE, Run
from streamvaultd.core.recording.loglines import Line, classify

UNIT_OUT_OF_MEMORY: Final = UUID("fe6faa94e7774663a0da52717891d8ef")
UNIT_OOMD_KILL: Final = UUID("d989611b15e44c9dbf31e3c81256e4ed")
UNIT_STOPPING: Final = UUID("de5b426a63be47a7b6ac3eaac82e2f6f")
KERNEL: Final = "kernel"
KERNEL_FACILITY: Final = 0
"""What root writes to /dev/kmsg counts as the kernel's, but has another facility."""
KERNEL_PRIORITY: Final = 6
"""mm/oom_kill.c: dump_oom_summary() speaks at this level; most that floods the kernel's log is louder."""
STREAMLINK: Final = "streamlink"

_GROUPS: Final = f"/streamvault.slice/{RECORDINGS_SLICE}/"
_VICTIM: Final = "task_memcg="
_OOM_KILL: Final = re.compile(rf"oom-kill:constraint=[^,]*,(?:.*,)?{_VICTIM}{re.escape(_GROUPS)}([^,/]+),task=")


@dataclass(frozen=True, slots=True)
class UnitOom:
    """systemd: the kernel has killed a process of this run for want of memory."""

    run: Run


@dataclass(frozen=True, slots=True)
class OomdKill:
    """systemd: systemd-oomd has killed this run."""

    run: Run


@dataclass(frozen=True, slots=True)
class UnitStopping:
    """systemd: somebody asked it to stop the scope of this run, or the slice around it; it begins to."""

    run: Run


@dataclass(frozen=True, slots=True)
class KernelOom:
    """The kernel: it has killed a process of this run for want of memory."""

    run: Run
    text: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """streamlink, through its shim: a line that matters."""

    run: Run
    line: Line
    text: str


Item: TypeAlias = UnitOom | OomdKill | UnitStopping | KernelOom | Spoke


def parse_entry(entry: Mapping[str, Any], uid: int) -> Item | None:
    """What an entry, as systemd.journal.Reader gives it, says about a segment; `uid` is the user of the shims."""
    if entry.get("_TRANSPORT") == KERNEL:
        return _parse_kernel(entry)
    if entry.get("SYSLOG_IDENTIFIER") == STREAMLINK:
        return _parse_line(entry, uid)
    return _parse_systemd(entry)


def evidence_of(item: UnitOom | OomdKill | UnitStopping | KernelOom) -> Evidence:
    """The same, as evidence about the end of the run."""
    match item:
        case UnitOom():
            return Evidence(journal_oom=True)
        case OomdKill():
            return Evidence(journal_oomd=True)
        case UnitStopping():
            return Evidence(unit_stopped=True)
        case KernelOom():
            return Evidence(kernel_oom=item.text)


_OF_SYSTEMD: Final[Mapping[Any, type[UnitOom | OomdKill | UnitStopping]]] = {
    UNIT_OUT_OF_MEMORY: UnitOom,
    UNIT_OOMD_KILL: OomdKill,
    UNIT_STOPPING: UnitStopping,
}


def _parse_systemd(entry: Mapping[str, Any]) -> UnitOom | OomdKill | UnitStopping | None:
    """Messages of the system's systemd; what a user's systemd says has another _PID, and USER_UNIT=."""
    run = Run.of(_text(entry, "UNIT"))
    if entry.get("_PID") != 1 or run is None:
        return None
    kind = _OF_SYSTEMD.get(entry.get("MESSAGE_ID"))
    return kind(run) if kind is not None else None


def _parse_kernel(entry: Mapping[str, Any]) -> KernelOom | None:
    """`oom-kill:constraint=…,oom_memcg=…,task_memcg=GROUP,task=…`, also of an OOM of the whole machine.

    Users may give the control groups that are theirs any name, so a line with two victims in it is nobody's.
    """
    text = _text(entry, "MESSAGE")
    match = _OOM_KILL.match(text)
    if match is None or text.count(_VICTIM) != 1 or entry.get("SYSLOG_FACILITY") != KERNEL_FACILITY:
        return None
    run = Run.of(match[1])
    return KernelOom(run, text) if run is not None else None


def _parse_line(entry: Mapping[str, Any], uid: int) -> Spoke | None:
    """Of a shim, about what runs in its own scope: the numbers in a line are the sender's, the scope is journald's."""
    text = _text(entry, "MESSAGE")
    recording, number = _text(entry, "STREAMVAULT_RECORDING"), _text(entry, "STREAMVAULT_SEGMENT")
    line = classify(text)
    if entry.get("_UID") != uid or line is None or not (_is_number(recording) and _is_number(number)):
        return None
    run = Run(int(recording), int(number))
    return Spoke(run, line, text) if _text(entry, "_SYSTEMD_UNIT") == run.unit else None


def _text(entry: Mapping[str, Any], name: str) -> str:
    """A field, "" when it is missing, given twice or not UTF-8."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
