# SPDX-License-Identifier: GPL-3.0-or-later
"""Real journal entries, forged ones, and what they say about our segments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.names import Run
from streamvaultd.core.recording.loglines import Line
from streamvaultd.scopes.witnesses.entries import (
    KernelOom,
    OomdKill,
    Spoke,
    UnitOom,
    UnitStopping,
    evidence_of,
    parse_entry,
)  # fmt: skip
from systemd import journal

Entry = dict[str, Any]

UID = 990
UNIT = "streamvault-1-001.scope"
GROUP = f"/streamvault.slice/streamvault-recordings.slice/{UNIT}"

# As journalctl --output=json showed them on Debian 13 (systemd 257, kernel 6.12), less what nobody looks at.
UNIT_OOM_ENTRY = {
    "_TRANSPORT": "journal", "_PID": "1", "_UID": "0", "_SYSTEMD_UNIT": "init.scope", "PRIORITY": "5",
    "SYSLOG_FACILITY": "3", "SYSLOG_IDENTIFIER": "systemd", "UNIT": UNIT, "CODE_FUNC": "unit_check_oom",
    "MESSAGE_ID": "fe6faa94e7774663a0da52717891d8ef",
    "MESSAGE": "streamvault-1-001.scope: A process of this unit has been killed by the OOM killer.",
}  # fmt: skip
OOMD_ENTRY = UNIT_OOM_ENTRY | {
    "CODE_FUNC": "unit_check_oomd_kill", "MESSAGE_ID": "d989611b15e44c9dbf31e3c81256e4ed", "N_PROCESSES": "1",
    "MESSAGE": "streamvault-1-001.scope: systemd-oomd killed 1 process(es) in this unit.",
}  # fmt: skip
STOPPING_ENTRY = UNIT_OOM_ENTRY | {
    "CODE_FUNC": "job_emit_start_message", "MESSAGE_ID": "de5b426a63be47a7b6ac3eaac82e2f6f", "JOB_TYPE": "stop",
    "PRIORITY": "6", "MESSAGE": "Stopping streamvault-1-001.scope - Segment 1 of demo...",
}  # fmt: skip
OOM_KILL = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope,"
    "task_memcg=/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope,"
    "task=streamlink,pid=813,uid=990"
)
KERNEL_ENTRY = {
    "_TRANSPORT": "kernel", "PRIORITY": "6", "SYSLOG_FACILITY": "0", "SYSLOG_IDENTIFIER": "kernel",
    "_RUNTIME_SCOPE": "system", "MESSAGE": OOM_KILL,
}  # fmt: skip
STREAMLINK_ENTRY = {
    "_TRANSPORT": "journal", "_PID": "814", "_UID": "990", "_SYSTEMD_UNIT": UNIT, "SYSLOG_IDENTIFIER": "streamlink",
    "STREAMVAULT_RECORDING": "1", "STREAMVAULT_SEGMENT": "1",
}  # fmt: skip


def read(fields: dict[str, str], **others: Any) -> Entry:
    """An entry as systemd.journal.Reader gives it; `others` are given as they are."""
    converted = {name: journal.DEFAULT_CONVERTERS.get(name, bytes.decode)(fields[name].encode()) for name in fields}
    return converted | others


def of_systemd(unit: Any = UNIT, **fields: Any) -> Entry:
    return read(UNIT_OOM_ENTRY, UNIT=unit, **fields)


def of_kernel(text: Any, **fields: Any) -> Entry:
    return read(KERNEL_ENTRY, MESSAGE=text, **fields)


def of_streamlink(text: Any, **fields: Any) -> Entry:
    return read(STREAMLINK_ENTRY, MESSAGE=text, **fields)


def test_systemd_tells_of_a_kill_by_the_kernel_and_by_oomd() -> None:
    assert parse_entry(read(UNIT_OOM_ENTRY), UID) == UnitOom(Run(1, 1))
    assert parse_entry(read(OOMD_ENTRY), UID) == OomdKill(Run(1, 1))
    assert evidence_of(UnitOom(Run(1, 1))) == Evidence(journal_oom=True)
    assert evidence_of(OomdKill(Run(1, 1))) == Evidence(journal_oomd=True)


def test_systemd_tells_that_somebody_had_it_stop_a_scope() -> None:
    assert parse_entry(read(STOPPING_ENTRY), UID) == UnitStopping(Run(1, 1))
    assert evidence_of(UnitStopping(Run(1, 1))) == Evidence(unit_stopped=True)
    assert parse_entry(read(STOPPING_ENTRY | {"_PID": "814"}), UID) is None, "which anybody may say"
    assert parse_entry(read(STOPPING_ENTRY | {"UNIT": "ssh.service"}), UID) is None


@pytest.mark.parametrize(
    "entry",
    [
        of_systemd(_PID=4711),
        of_systemd(unit="streamvault-recordings.slice"),
        of_systemd(unit="streamvault-job-3.scope"),
        of_systemd(unit="my-streamvault-1-001.scope"),
        of_systemd(unit=[UNIT, "streamvault-1-002.scope"]),
        of_systemd(unit="", USER_UNIT=UNIT),
        of_systemd(MESSAGE_ID=UUID("7ad2d189f7e94e70a38c781354912448")),
        {},
    ],
    ids=["not PID 1", "slice", "job", "other name", "two units", "user unit", "other message", "nothing"],
)
def test_what_is_not_about_a_segment_or_not_from_systemd_says_nothing(entry: Entry) -> None:
    assert parse_entry(entry, UID) is None


def test_the_kernel_names_the_control_group_of_its_victim() -> None:
    assert parse_entry(read(KERNEL_ENTRY), UID) == KernelOom(Run(1, 1), OOM_KILL)
    assert evidence_of(KernelOom(Run(1, 1), OOM_KILL)) == Evidence(kernel_oom=OOM_KILL)
    # of the slice's limit, and of the whole machine
    slices = OOM_KILL.replace(f"oom_memcg={GROUP}", "oom_memcg=/streamvault.slice")
    assert parse_entry(of_kernel(slices), UID) == KernelOom(Run(1, 1), slices)
    whole = OOM_KILL.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE").replace(f"oom_memcg={GROUP}", "global_oom")
    assert parse_entry(of_kernel(whole), UID) == KernelOom(Run(1, 1), whole)


FORGED = f"/user.slice/user-1000.slice/x,task_memcg={GROUP}"


@pytest.mark.parametrize(
    "entry",
    [
        of_kernel(OOM_KILL.replace(GROUP, "/system.slice/cron.service")),
        of_kernel(OOM_KILL.replace(f"task_memcg={GROUP}", "task_memcg=/system.slice/cron.service")),
        of_kernel(OOM_KILL.replace(GROUP, f"/user.slice{GROUP}")),
        of_kernel(OOM_KILL.replace(GROUP, f"{GROUP}/below")),
        of_kernel(OOM_KILL.replace(GROUP, "/streamvault.slice/streamvault-jobs.slice/streamvault-job-3.scope")),
        of_kernel(OOM_KILL.replace(f"task_memcg={GROUP}", f"task_memcg={FORGED}")),
        of_kernel(OOM_KILL.replace(GROUP, FORGED)),
        of_kernel(OOM_KILL, SYSLOG_FACILITY=1),
        of_kernel(f"eth0: {OOM_KILL}"),
        of_kernel("Memory cgroup out of memory: Killed process 914 (streamlink) total-vm:100kB, anon-rss:50kB"),
        of_kernel(OOM_KILL.encode() + b"\xff"),
        of_streamlink(OOM_KILL),
    ],
    ids=[
        *("other group", "other victim", "group of a user", "group below", "job", "forged victim", "forged groups"),
        *("from /dev/kmsg", "quoted", "the line after it", "no text", "no kernel"),
    ],
)
def test_a_line_of_the_kernel_about_somebody_else_says_nothing(entry: Entry) -> None:
    assert parse_entry(entry, UID) is None


def test_streamlink_says_what_matters() -> None:
    text = "[stream.hls][info] Filtering out segments and pausing stream output"
    assert parse_entry(of_streamlink(text), UID) == Spoke(Run(1, 1), Line.FILTERING, text)
    for entry in (
        of_streamlink("[cli][info] Found matching plugin hls"),
        of_streamlink(text, _UID=1000),
        of_streamlink(text, SYSLOG_IDENTIFIER="streamlinker"),
        of_streamlink(text, STREAMVAULT_SEGMENT="2x"),
        of_streamlink(text, STREAMVAULT_SEGMENT="2"),
        of_streamlink(text, _SYSTEMD_UNIT="streamvaultd.service"),
        of_streamlink(text, _SYSTEMD_UNIT="streamvault-2-001.scope"),
        of_streamlink(text, STREAMVAULT_RECORDING=["1", "2"]),
        of_streamlink([text, text]),
    ):
        assert parse_entry(entry, UID) is None
