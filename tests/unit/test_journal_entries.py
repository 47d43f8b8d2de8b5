# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal entries as systemd.journal.Reader gives them, and what they say about our segments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.loglines import Line
from streamvaultd.witnesses.entries import (
    UNIT_OOMD_KILL,
    UNIT_OUT_OF_MEMORY,
    KernelOom,
    OomdKill,
    Spoke,
    UnitOom,
    evidence_of,
    parse_entry,
)

Entry = dict[str, Any]

UID = 998
UNIT = "streamvault-348-002.scope"
GROUP = f"/streamvault.slice/streamvault-recordings.slice/{UNIT}"
OOM_KILL = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    f"oom_memcg={GROUP},task_memcg={GROUP},task=streamlink,pid=914,uid=998"
)


def of_systemd(message: UUID, unit: str = UNIT, **fields: Any) -> Entry:
    return {"_TRANSPORT": "journal", "_PID": 1, "_UID": 0, "MESSAGE_ID": message, "UNIT": unit, "PRIORITY": 5} | fields


def of_kernel(text: Any, **fields: Any) -> Entry:
    return {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": 6, "MESSAGE": text} | fields


def of_streamlink(text: Any, **fields: Any) -> Entry:
    return {
        "_TRANSPORT": "journal",
        "_UID": UID,
        "_PID": 912,
        "SYSLOG_IDENTIFIER": "streamlink",
        "STREAMVAULT_RECORDING": "348",
        "STREAMVAULT_SEGMENT": "2",
        "MESSAGE": text,
    } | fields


def test_systemd_tells_of_a_kill_by_the_kernel_and_by_oomd() -> None:
    assert parse_entry(of_systemd(UNIT_OUT_OF_MEMORY), UID) == UnitOom(UNIT)
    assert parse_entry(of_systemd(UNIT_OOMD_KILL, N_PROCESSES="2"), UID) == OomdKill(UNIT)
    assert evidence_of(UnitOom(UNIT)) == Evidence(journal_oom=True)
    assert evidence_of(OomdKill(UNIT)) == Evidence(journal_oomd=True)


@pytest.mark.parametrize(
    "entry",
    [
        of_systemd(UNIT_OUT_OF_MEMORY, _PID=4711),
        of_systemd(UNIT_OUT_OF_MEMORY, unit="streamvault-recordings.slice"),
        of_systemd(UNIT_OUT_OF_MEMORY, unit="streamvault-job-3.scope"),
        of_systemd(UNIT_OUT_OF_MEMORY, unit="my-streamvault-348-002.scope"),
        of_systemd(UNIT_OUT_OF_MEMORY, UNIT=[UNIT, "streamvault-348-003.scope"]),
        of_systemd(UNIT_OUT_OF_MEMORY, unit="", USER_UNIT=UNIT),
        of_systemd(UUID("7ad2d189f7e94e70a38c781354912448")),
        {},
    ],
    ids=["not PID 1", "slice", "job", "other name", "two units", "user unit", "other message", "nothing"],
)
def test_what_is_not_about_a_segment_or_not_from_systemd_says_nothing(entry: Entry) -> None:
    assert parse_entry(entry, UID) is None


def test_the_kernel_names_the_control_group_of_its_victim() -> None:
    assert parse_entry(of_kernel(OOM_KILL), UID) == KernelOom(UNIT, OOM_KILL)
    assert evidence_of(KernelOom(UNIT, OOM_KILL)) == Evidence(kernel_oom=OOM_KILL)
    # of the slice's limit, and of the whole machine
    slices = OOM_KILL.replace(f"oom_memcg={GROUP}", "oom_memcg=/streamvault.slice")
    assert parse_entry(of_kernel(slices), UID) == KernelOom(UNIT, slices)
    whole = OOM_KILL.replace("CONSTRAINT_MEMCG", "CONSTRAINT_NONE").replace(f"oom_memcg={GROUP}", "global_oom")
    assert parse_entry(of_kernel(whole), UID) == KernelOom(UNIT, whole)


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
        of_kernel(OOM_KILL, SYSLOG_FACILITY="1"),
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
    assert parse_entry(of_streamlink(text), UID) == Spoke(348, 2, Line.FILTERING, text)
    for entry in (
        of_streamlink("[cli][info] Found matching plugin hls"),
        of_streamlink(text, _UID=1000),
        of_streamlink(text, SYSLOG_IDENTIFIER="streamlinker"),
        of_streamlink(text, STREAMVAULT_SEGMENT="2x"),
        of_streamlink(text, STREAMVAULT_RECORDING=["348", "349"]),
        of_streamlink([text, text]),
    ):
        assert parse_entry(entry, UID) is None
