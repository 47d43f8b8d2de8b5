# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl why, against a scripted daemon: a death and its witnesses, a planned end, a segment that runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamvaultd.errors import NoSuchSegment
from tests.fakes.ctl import NOW, FakeDaemon, at, event, one, run

SECOND = 1_000_000
ENDED = NOW - 3 * 60 * SECOND

OOM = {
    "segment": 1,
    "phase": "ended",
    "startedAt": at(ENDED - 62 * 60 * SECOND),
    "endedAt": at(ENDED),
    "bytes": 3 << 30,
    "cause": "oom",
    "death": True,
    "why": "it was killed for want of memory (limit 256M, peak 256M)",
    "memoryMax": 256 << 20,
    "memoryPeak": 256 << 20,
    "evidence": {
        "status": -9,
        "oomKills": 1,
        "memoryPeak": 256 << 20,
        "memoryMax": 256 << 20,
        "maxRSS": 251 << 10,
        "cpuUSec": 61_234_567,
        "unitResult": "oom-kill",
        "journalOOM": True,
        "kernelOOM": "Memory cgroup out of memory: Killed process 4711 (streamlink)",
        "log": ["info: Opening stream: best (hls)", "warning: Failed to reload playlist"],
    },
    "replacedBy": 2,
    "replacedAfterUSec": 41_500,
    "recordedAfterUSec": 1_234_000,
    "events": [
        event(at=at(ENDED + 300), message="Segment 001 of 'demo' died (oom)"),
        event(at=at(ENDED + 41_900), message="Segment 002 of 'demo' runs"),
        event(at=at(ENDED + 1_234_900), message="Segment 002 of 'demo' records"),
    ],
}
ROTATED = {
    "segment": 2,
    "phase": "ended",
    "startedAt": at(ENDED),
    "endedAt": at(ENDED + 60 * SECOND),
    "bytes": 0,
    "cause": "rotated",
    "death": False,
    "why": "it was asked to stop",
    "evidence": {"asked": "rotated", "status": 130, "hostDown": False, "log": []},
    "replacedBy": 3,
    "replacedAfterUSec": -4_200_000,
    "recordedAfterUSec": -3_000_000,
    "events": [event(at=at(ENDED + 55 * SECOND), message="Rotating")],
}
RUNS = {"segment": 3, "phase": "writing", "startedAt": at(NOW - 2 * 60 * SECOND), "bytes": 188, "events": []}


def why(*ends: Any, argv: tuple[str, ...] = ("demo",)) -> str:
    ran = run(FakeDaemon().on("Get", one(detail="all is well")).on("Why", {"ends": list(ends)}), "why", *argv)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def test_a_death_is_told_witness_by_witness() -> None:
    assert (
        why(OOM)
        == """\
recording 348 of 'demo' is recording: all is well

\N{MULTIPLICATION SIGN} demo - segment 001 of recording 348
       Cause: oom, it was killed for want of memory (limit 256M, peak 256M)
       Ended: Wed 2026-11-18 11:03:40 UTC; 3min ago, after 1h 2min
    Received: 3.0G
        Exit: killed by signal 9 (SIGKILL)
      Memory: 1 OOM kill, peak 256.0M, limit 256.0M, 251.0M resident in streamlink
         CPU: 1min 1s
        Unit: result oom-kill
     Journal: systemd told of an OOM kill in the scope
      Kernel: Memory cgroup out of memory: Killed process 4711 (streamlink)
         Log: info: Opening stream: best (hls)
              warning: Failed to reload playlist
    Replaced: by segment 002, which ran 41ms later and recorded 1.2s later
      Events:  +0ms  Segment 001 of 'demo' died (oom)
              +41ms  Segment 002 of 'demo' runs
              +1.2s  Segment 002 of 'demo' records
"""
    )


def test_a_rotation_had_its_successor_before() -> None:
    shown = why(ROTATED)
    assert "○ demo - segment 002 of recording 348\n" in shown
    assert "Asked: it was asked to end, noted as rotated\n" in shown
    assert "Exit: exit status 130\n" in shown
    assert "Replaced: by segment 003, which ran 4.2s before and recorded 3.0s before\n" in shown
    assert "Events: -5.0s  Rotating\n" in shown
    assert "Machine" not in shown


def test_a_segment_that_runs_is_said_to() -> None:
    shown = why(RUNS)
    assert shown.endswith(
        "● demo - segment 003 of recording 348\n"
        "    State: writing: it has not ended, started Wed 2026-11-18 11:04:40 UTC; 2min ago\n"
    )


def test_of_a_recording_every_segment_is_told_in_order() -> None:
    shown = why(OOM, ROTATED, RUNS)
    assert [row[2:] for row in shown.splitlines() if " - segment " in row] == [
        f"demo - segment 00{number} of recording 348" for number in (1, 2, 3)
    ]
    assert why() == "recording 348 of 'demo' is recording: all is well\n"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"error": "cannot execute streamlink: not found"}, "Exit: cannot execute streamlink: not found\n"),
        ({"shimStatus": -9}, "Exit: no exit record\n        Shim: killed by signal 9 (SIGKILL)\n"),
        ({"status": -64}, "Exit: killed by signal 64 (SIGRTMAX)\n"),
        ({"status": -200}, "Exit: killed by signal 200\n"),
        ({"journalOOMD": True}, "Journal: systemd-oomd told that it killed the scope\n"),
        ({"unitStopped": True}, "Journal: somebody had systemd stop the scope while no daemon ran\n"),
        ({"hostDown": True, "disk": "full"}, "it was going down, or has been started since; its disk was full\n"),
        ({"linkDown": True}, "Machine: it had no network\n"),
    ],
)
def test_every_witness_is_told_in_words(told: dict[str, Any], shown: str) -> None:
    assert shown in why({**OOM, "evidence": {**told, "log": []}, "replacedBy": None, "events": []})


def test_an_end_of_which_nothing_was_kept_says_so() -> None:
    bare = {"segment": 1, "phase": "removed", "endedAt": at(ENDED), "bytes": 0, "cause": "unkillable", "death": True}
    shown = why({**bare, "events": []})
    assert "Cause: unkillable\n" in shown
    assert "Witnesses: nothing was kept of what they told\n" in shown


def test_one_segment_is_asked_for_by_its_number() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Why", {"ends": [RUNS]})
    assert run(daemon, "why", "demo", "003").out.startswith("● demo - segment 003")
    assert daemon.calls == [("Get", {"recording": "demo"}), ("Why", {"recording": "348", "segment": 3})]


def test_a_segment_that_is_not_there() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Why", NoSuchSegment(recording=348, segment=9))
    ran = run(daemon, "why", "demo", "9")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == (
        "streamvaultctl: cannot find segment 9 of recording 348\n"
        "  'streamvaultctl segments 348' shows every segment by its number\n"
    )
    assert run(daemon, "why", "demo", "0").code == 2
    assert run(daemon, "why", "demo", "last").code == 2


def test_json_is_what_the_daemon_answered() -> None:
    assert json.loads(why(OOM, RUNS, argv=("demo", "--json=short"))) == [OOM, RUNS]


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [({"segment": None}, "end.segment is missing"), ({"evidence": {"log": [7]}}, "end.evidence.log is not a list")],
)
def test_an_answer_of_another_shape_is_an_error(spoilt: dict[str, Any], told: str) -> None:
    daemon = FakeDaemon().on("Get", one()).on("Why", {"ends": [{**OOM, **spoilt}]})
    ran = run(daemon, "why", "demo")
    assert ran.code == 1
    assert told in ran.err


def test_nothing_that_streamlink_said_drives_the_terminal() -> None:
    evil = {**OOM, "evidence": {"log": ["\x1b[2Jgone"]}, "why": "\x1b]0;x\x07"}
    shown = why(evil)
    assert "\x1b" not in shown
    assert r"\x1b[2Jgone" in shown
