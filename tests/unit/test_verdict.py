# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on the end of a run: what streamlink 7.3.0 and 8.6.3 exit with and print, and missing witnesses."""

from __future__ import annotations

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.recording.verdict import Ending, is_of_own_limit, judge, message_of

NOTHING_NEW_8 = "[stream.segmented][warning] No new segments for more than 6.00s. Stopping..."
NOTHING_NEW_7 = (
    "2026-11-23T09:10:11.12 warning stream.hls: No new segments in playlist for more than 20.00s. Stopping..."
)
TIMEOUT = "error: Error when reading from stream: Read timeout, exiting"
NO_SPACE = "error: Error when writing to output: [Errno 28] No space left on device, exiting"
NO_SPACE_BARE = "error: [Errno 28] No space left on device"
QUOTA = "error: Error when writing to output: [Errno 122] Disk quota exceeded, exiting"
NO_PLUGIN = "error: No plugin can handle URL: http://h/foo"
NO_STREAMS = "error: No playable streams found on this URL: http://h/foo"
NO_QUALITY = "error: The specified stream(s) '1080p' could not be found.\n       Available streams: 180p (worst, best)"
GONE = "error: Unable to open URL: http://h/l.m3u8 (404 Client Error: Not Found for url: http://h/l.m3u8)"
UNREACHABLE = "error: Unable to open URL: http://h/l.m3u8 (HTTPConnectionPool(host='h', port=80): Max retries)"
SERVER_ERROR = "error: Unable to open URL: http://h/l.m3u8 (503 Server Error: x for url: http://h/l.m3u8)"
FORBIDDEN = "error: Unable to open URL: http://h/l.m3u8 (403 Client Error: Forbidden for url: http://h/l.m3u8)"
NOT_OPENED = "error: Could not open stream <HLSStream ['hls', 'http://h/l']>, tried 1 times, exiting"
INTERRUPTED = "Interrupted! Exiting..."
LOST_SEGMENT = (
    "[stream.hls][error] Failed to fetch segment 34: Unable to open URL: http://h/34.ts (404 Client Error: Not Found)"
)
GAP = "[stream.hls][warning] Sequence gap of 8 segments at position 52. This is unsupported."
RELOAD = "[stream.hls][warning] Failed to reload playlist: Unable to open URL: http://h/l (404 Client Error: x)"
OTHER = "error: Failed to open output: /x (permission denied)"

EXITS = [
    # status, last lines, cause, what it means
    (0, (), "source-ended", Ending.SOURCE_ENDED),
    (0, ("[cli][info] Stream ended",), "source-ended", Ending.SOURCE_ENDED),
    (0, ("info stream.hls: Stopping stream early after 10.00s",), "stopped", Ending.ENOUGH),
    (0, (LOST_SEGMENT, GAP), "source-ended", Ending.SOURCE_ENDED),
    (0, (RELOAD, NOTHING_NEW_8), "network", Ending.SOURCE_LOST),
    (0, (NOTHING_NEW_7,), "network", Ending.SOURCE_LOST),
    (1, (TIMEOUT,), "network", Ending.SOURCE_LOST),
    (1, (RELOAD, LOST_SEGMENT, TIMEOUT), "network", Ending.SOURCE_LOST),
    (1, (NO_SPACE,), "disk-full", Ending.DISK),
    (1, (NO_SPACE_BARE,), "disk-full", Ending.DISK),
    (1, (QUOTA,), "disk-full", Ending.DISK),
    (0, (NO_SPACE,), "disk-full", Ending.DISK),
    (1, (NO_PLUGIN,), "source-refused", Ending.UNSUPPORTED),
    (1, (NO_STREAMS,), "source-refused", Ending.REFUSED),
    (1, (NO_QUALITY,), "source-refused", Ending.REFUSED),
    (1, (GONE,), "source-refused", Ending.REFUSED),
    (1, (FORBIDDEN,), "source-refused", Ending.REFUSED),
    (1, (UNREACHABLE, NOT_OPENED), "network", Ending.UNREACHABLE),
    (1, (SERVER_ERROR,), "network", Ending.UNREACHABLE),
    (1, (OTHER,), "exit:1", Ending.DIED),
    (1, (), "exit:1", Ending.DIED),
    (2, ("usage: streamlink [OPTIONS] <URL> [STREAM]",), "exit:2", Ending.DIED),
    (130, (INTERRUPTED,), "signal:15", Ending.DIED),
    (130, (), "signal:15", Ending.DIED),
    (-9, (), "signal:9", Ending.DIED),
    (-1, (NOTHING_NEW_8,), "signal:1", Ending.DIED),
    (-11, (GONE,), "signal:11", Ending.DIED),
]


@pytest.mark.parametrize(("status", "log", "cause", "ending"), EXITS)
def test_exits(status: int, log: tuple[str, ...], cause: str, ending: Ending) -> None:
    verdict = judge(Evidence(status=status, log=log), asked=None)
    assert (verdict.cause, verdict.ending) == (cause, ending)
    assert verdict.why


@pytest.mark.parametrize(("status", "log", "cause", "ending"), EXITS)
def test_what_was_asked_for_is_no_death(status: int, log: tuple[str, ...], cause: str, ending: Ending) -> None:
    assert judge(Evidence(status=status, log=log), asked="rotated").cause == "rotated"
    assert judge(Evidence(status=status, log=log), asked="stopped").ending is Ending.ASKED


OOM = [
    Evidence(status=-9, oom_kills=1),
    Evidence(status=-9, oom_kills=3, unit_result="oom-kill"),
    Evidence(status=-9, unit_result="oom-kill"),
    Evidence(unit_result="oom-kill"),
    Evidence(oom_kills=1),
    Evidence(status=1, oom_kills=1, log=(TIMEOUT,)),
    Evidence(journal_oom=True),
    Evidence(kernel_oom="oom-kill:constraint=CONSTRAINT_MEMCG,task=streamlink"),
    Evidence(status=-9, journal_oom=True, host_down=True),
    Evidence(shim_status=-9, journal_oom=True),
]


@pytest.mark.parametrize("evidence", OOM)
def test_one_witness_is_enough_for_want_of_memory(evidence: Evidence) -> None:
    assert judge(evidence, asked=None).cause == "oom"
    assert judge(evidence, asked=None).ending is Ending.DIED
    assert judge(evidence, asked="rotated").cause == "oom"
    assert judge(evidence, asked="rotated").ending is Ending.ASKED


def test_systemd_oomd_is_told_apart_if_the_journal_tells() -> None:
    killed = Evidence(shim_status=-9, unit_result="oom-kill")
    assert judge(killed, asked=None).cause == "oom"  # that is all that can be known
    assert judge(killed.merged(Evidence(journal_oomd=True)), asked=None).cause == "oomd"


def test_the_limit_and_the_peak_are_told() -> None:
    evidence = Evidence(status=-9, oom_kills=1, memory_max=256 << 20, memory_peak=255 << 20)
    assert judge(evidence, asked=None).why.endswith("(limit 256M, peak 255M)")


SCOPE = "/streamvault.slice/streamvault-recordings.slice/streamvault-348-002.scope"


def kernel_line(full: str) -> str:
    constraint, group = ("CONSTRAINT_NONE", "global_oom") if full == "" else ("CONSTRAINT_MEMCG", f"oom_memcg={full}")
    return (
        f"oom-kill:constraint={constraint},nodemask=(null),cpuset=/,mems_allowed=0,{group},"
        f"task_memcg={SCOPE},task=streamlink,pid=812,uid=998"
    )


@pytest.mark.parametrize(("evidence", "own"), [
    (Evidence(oom_kills=1), True),  # nobody knows better
    (Evidence(oom_kills=1, memory_max=256 << 20, memory_peak=256 << 20), True),
    (Evidence(oom_kills=1, memory_max=256 << 20, memory_peak=64 << 20), False),
    (Evidence(kernel_oom=kernel_line(SCOPE)), True),
    (Evidence(kernel_oom=kernel_line(SCOPE), memory_max=256 << 20, memory_peak=64 << 20), True),
    (Evidence(kernel_oom=kernel_line("/streamvault.slice")), False),
    (Evidence(kernel_oom=kernel_line("")), False),
    (Evidence(kernel_oom="Memory cgroup out of memory: Killed process 812"), True),
])  # fmt: skip
def test_whose_limit_it_was(evidence: Evidence, own: bool) -> None:
    assert is_of_own_limit(evidence) is own
    verdict = judge(evidence, asked=None)
    assert verdict.cause == "oom"
    assert ("of the slice or the machine" in verdict.why) is not own


@pytest.mark.parametrize(("evidence", "cause", "ending"), [
    (Evidence(), "unknown", Ending.DIED),
    (Evidence(unit_result="success"), "unknown", Ending.DIED),
    (Evidence(oom_kills=0, log=(GONE,)), "unknown", Ending.DIED),
    (Evidence(journal_oom=False, journal_oomd=False), "unknown", Ending.DIED),
    (Evidence(unit_stopped=True), "stopped", Ending.DIED),
    (Evidence(unit_stopped=True, host_down=True), "host-shutdown", Ending.HOST),
    (Evidence(unit_stopped=True, journal_oom=True), "oom", Ending.DIED),
    (Evidence(unit_stopped=False), "unknown", Ending.DIED),
    (Evidence(shim_status=0), "unknown", Ending.DIED),
    (Evidence(shim_status=-9), "signal:9", Ending.DIED),
    (Evidence(shim_status=-9, disk="full"), "signal:9", Ending.DIED),
    (Evidence(disk="full"), "disk-full", Ending.DISK),
    (Evidence(link_down=True), "network", Ending.SOURCE_LOST),
    (Evidence(unit_result="timeout"), "timeout", Ending.DIED),
    (Evidence(error="[Errno 2] No such file or directory: 'streamlink'"), "launch-failed", Ending.BROKEN),
])  # fmt: skip
def test_missing_witnesses(evidence: Evidence, cause: str, ending: Ending) -> None:
    verdict = judge(evidence, asked=None)
    assert (verdict.cause, verdict.ending) == (cause, ending)


@pytest.mark.parametrize(("status", "explained"), [
    (None, True), (-15, True), (130, True),  # as systemd ends a scope: SIGTERM, then SIGKILL, the shim included
    (-9, False), (-11, False), (0, False), (1, False), (3, False),
])  # fmt: skip
def test_what_systemd_has_done_explains_the_ends_that_it_makes(status: int | None, explained: bool) -> None:
    alone = judge(Evidence(status=status), asked=None).cause
    down = judge(Evidence(status=status, host_down=True), asked=None).cause
    too_long = judge(Evidence(status=status, unit_result="timeout"), asked=None).cause
    assert (down, too_long) == (("host-shutdown", "timeout") if explained else (alone, alone))


@pytest.mark.parametrize(("evidence", "cause", "ending"), [
    (Evidence(status=1, disk="read-only"), "disk-full", Ending.DISK),
    (Evidence(status=1, link_down=True), "network", Ending.UNREACHABLE),
    (Evidence(status=1, log=(NO_STREAMS,), link_down=True), "network", Ending.UNREACHABLE),
    (Evidence(status=1, log=(NO_PLUGIN,), link_down=True), "source-refused", Ending.UNSUPPORTED),
    (Evidence(status=0, link_down=True), "source-ended", Ending.SOURCE_ENDED),
    (Evidence(status=-9, link_down=True, disk="full"), "signal:9", Ending.DIED),
])  # fmt: skip
def test_the_state_of_link_and_disk_explains_what_nothing_else_does(
    evidence: Evidence, cause: str, ending: Ending
) -> None:
    verdict = judge(evidence, asked=None)
    assert (verdict.cause, verdict.ending) == (cause, ending)


def test_what_was_known_first_stays() -> None:
    record = Evidence(status=-9, oom_kills=0, memory_peak=5, log=("a",))
    unit = Evidence(status=1, unit_result="oom-kill", max_rss=7, log=("b",))
    assert record.merged(unit) == Evidence(
        status=-9, oom_kills=0, memory_peak=5, unit_result="oom-kill", max_rss=7, log=("a",)
    )
    assert Evidence().merged(unit) == unit
    assert unit.merged(Evidence()) == unit


@pytest.mark.parametrize(("denied", "told"), [
    (Evidence(oom_kills=0), Evidence(oom_kills=2)),
    (Evidence(unit_result="success"), Evidence(unit_result="oom-kill")),
    (Evidence(journal_oom=False), Evidence(journal_oom=True)),
    (Evidence(host_down=False), Evidence(host_down=True)),
])  # fmt: skip
def test_that_nothing_was_seen_proves_nothing(denied: Evidence, told: Evidence) -> None:
    assert denied.merged(told) == told
    assert told.merged(denied) == told


def test_an_exit_status_of_zero_is_something_known() -> None:
    assert Evidence(status=0).merged(Evidence(status=-9)).status == 0


def test_what_holds_for_the_machine_is_not_kept_for_a_run_that_lives() -> None:
    everything = Evidence(journal_oom=True, host_down=True, link_down=True, disk="full", asked="stopped")
    assert everything.of_the_run == Evidence(journal_oom=True)


@pytest.mark.parametrize(("line", "message"), [
    (NO_PLUGIN, "No plugin can handle URL: http://h/foo"),
    ("2026-11-23T09:10:11.1 error cli: Failed: x", "Failed: x"),
    (NOTHING_NEW_7, "No new segments in playlist for more than 20.00s. Stopping..."),
    ("it exited with status 1", "it exited with status 1"),
    ("x" * 70 + ": y", "x" * 70 + ": y"),
    ("error: Could not open stream: Unable to open URL: http://h/l.m3u8 (HTTPConnectionPool(host='h', port=9): Max "
     "retries exceeded with url: /l.m3u8 (Caused by NewConnectionError('<urllib3.connection.HTTPConnection object at "
     "0x7fa1c0b0>: Failed to establish a new connection: [Errno 111] Connection refused')))",
     "Could not open stream: Unable to open URL: http://h/l.m3u8: Failed to establish a new connection: Connection "
     "refused"),
    ("error: Unable to open URL: https://h/x (HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: "
     "/x (Caused by NameResolutionError(\"<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve 'h' "
     "([Errno -2] Name or service not known)\")))",
     "Unable to open URL: https://h/x: Failed to resolve 'h' (Name or service not known)"),
    ("error: Unable to open URL: http://h/x (HTTPConnectionPool(host='h', port=80): Read timed out. (read timeout=9))",
     "Unable to open URL: http://h/x: Read timed out. (read timeout=9)"),
    ("error: Unable to open URL: http://h/x (404 Client Error: Not Found for url: http://h/x)",
     "Unable to open URL: http://h/x (404 Client Error: Not Found for url: http://h/x)"),
])  # fmt: skip
def test_messages_are_shown_without_what_the_log_puts_before_them(line: str, message: str) -> None:
    assert message_of(line) == message
