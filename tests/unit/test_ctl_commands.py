# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl against a scripted daemon: what it asks, prints and returns."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from streamvaultd import __version__
from streamvaultd.ctl.main import main
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.errors import (
    BY_NAME,
    AlreadyRecording,
    ConnectionLost,
    DaemonNotRunning,
    NoSuchRecording,
    NotRecording,
    SourceUnavailable,
    SubscriberTooSlow,
    VaultError,
)
from tests.fakes.ctl import HOUR, NOW, FakeDaemon, at, recording, run, segment

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "https://example.org/live.m3u8"
RESULT = "/srv/media/demo/demo_2026-11-18T09-03-40Z_348.ts"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC0")
        time.tzset()
        yield
    time.tzset()


def one(state: str = "recording", **runtime: Any) -> dict[str, Any]:
    return {"recording": recording(state, **runtime)}


def lost() -> ConnectionLost:
    return ConnectionLost(address="/run/socket", why="the connection was closed")


def not_running() -> DaemonNotRunning:
    return DaemonNotRunning(address="/run/socket", why="connection refused")


# --- list ----------------------------------------------------------------------------------------------------------


def test_list_shows_a_table_and_says_how_many() -> None:
    newest = recording("completed", number=349, streamer="other", endedAt=at(NOW), path=RESULT, segments=1)
    ran = run(FakeDaemon().on("List", {"recordings": [newest, recording()]}), "list", "--all")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out == (
        f" ID  STREAMER  STATE      SEGMENTS  SIZE  STARTED              RUNTIME  RESULT\n"
        f"349  other     completed         1  3.0G  2026-11-18 09:03:40  2h 3min  {RESULT}\n"
        f"348  demo      recording         2  3.0G  2026-11-18 09:03:40  2h 3min  -\n"
        f"\n"
        f"2 recordings listed.\n"
    )


def test_list_asks_for_what_was_given() -> None:
    daemon = FakeDaemon().on("List", {"recordings": []})
    assert run(daemon, "list").out == "0 recordings listed. Pass --all to see those that have ended, too.\n"
    run(daemon, "list", "--all", "demo")
    run(daemon)
    assert daemon.calls == [("List", {}), ("List", {"all": True, "streamer": "demo"}), ("List", {})]


@pytest.mark.parametrize("argv", [("--no-legend", "list"), ("list", "--no-legend")])
def test_list_without_legend_is_rows_only(argv: tuple[str, ...]) -> None:
    ran = run(FakeDaemon().on("List", one_in_list()), *argv)
    assert ran.out.splitlines() == ["348  demo  recording  2  3.0G  2026-11-18 09:03:40  2h 3min  -"]


def test_quiet_leaves_the_footer_out() -> None:
    assert run(FakeDaemon().on("List", one_in_list()), "list", "-q").out.splitlines()[1:] == [
        "348  demo      recording         2  3.0G  2026-11-18 09:03:40  2h 3min  -"
    ]


def one_in_list() -> dict[str, Any]:
    return {"recordings": [recording()]}


# --- JSON ----------------------------------------------------------------------------------------------------------

STATUS = {
    "version": "0.1.0",
    "state": "running",
    "startedAt": at(NOW - HOUR),
    "recordings": 1,
    "segments": 2,
    "jobs": 0,
    "streamlinkCommand": "/usr/bin/streamlink",
    "streamlinkVersion": "7.3.0",
    "store": "sqlite:////var/lib/streamvaultd/vault.db",
}
STREAMLINK = {"command": "/usr/bin/streamlink", "version": "7.3.0", "managed": False, "warning": "it is old"}


@pytest.mark.parametrize(
    ("argv", "method", "answer", "expected"),
    [
        (("list",), "List", one_in_list(), [recording()]),
        (("status",), "GetStatus", STATUS, STATUS),
        (("status", "demo"), "Get", one(), recording()),
        (("segments", "demo"), "ListSegments", {"segments": [segment()]}, [segment()]),
        (("streamlink", "status"), "ManageStreamlink", STREAMLINK, STREAMLINK),
        (("record", URL), "Record", one(), recording()),
        (("record", URL, "--no-block"), "Record", one("starting"), recording("starting")),
        (("record", URL, "--wait"), "Record", one("completed"), recording("completed")),
    ],
)
def test_json_is_what_the_daemon_answered(argv: tuple[str, ...], method: str, answer: Any, expected: Any) -> None:
    daemon = FakeDaemon().on(method, answer)
    short = run(daemon, *argv, "--json=short")
    assert short.code == 0
    assert short.out == json.dumps(expected, separators=(",", ":")) + "\n"
    pretty = run(daemon, "--json", "pretty", *argv)
    assert json.loads(pretty.out) == expected
    assert pretty.out.count("\n") > 5
    assert not run(
        daemon.on("List", one_in_list()).on("ListSegments", {"segments": []}), *argv, "--json=off"
    ).out.startswith("{")


def test_json_of_stop_and_rotate_is_the_recording() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping")).on("Rotate", one("rotating"))
    assert json.loads(run(daemon, "--json=short", "stop", "demo").out) == recording("stopping")
    assert json.loads(run(daemon, "--json=short", "rotate", "demo").out) == recording("rotating")


def test_json_of_monitor_is_one_answer_a_line() -> None:
    answers = [one(), {"event": event(), "recording": recording("grace")}]
    daemon = FakeDaemon().on("Subscribe", *answers, KeyboardInterrupt())
    ran = run(daemon, "monitor", "--json=short")
    assert [json.loads(row) for row in ran.out.splitlines()] == answers


# --- status --------------------------------------------------------------------------------------------------------


def test_status_of_a_recording_reads_as_a_unit_of_systemctl() -> None:
    ended = segment(1, "ended", endedAt=at(NOW - 60_000_000), cause="signal:9", memoryPeak=60 << 20)
    get = one(deaths=1, rotationDueAt=at(NOW + 21 * HOUR), detail="segment 1 was killed")
    daemon = FakeDaemon().on("Get", get).on("ListSegments", {"segments": [ended, segment(2, pid=4711)]})
    ran = run(daemon, "status", "demo")
    assert ran.code == 0
    assert ran.out == (
        """\
● demo - recording 348 of stream 77
        State: recording since Wed 2026-11-18 09:06:40 UTC; 2h ago
               segment 1 was killed
      Started: Wed 2026-11-18 09:03:40 UTC; 2h 3min ago
          URL: https://example.org/live.m3u8?token=***
      Quality: best
    Directory: /srv/media
     Segments: 2 (1 death)
     Received: 3.0G
         Rate: 1.0M/s, average of segment 2
     Rotation: due Thu 2026-11-19 08:06:40 UTC; 21h left, or at 100.0G
       Memory: limit 256.0M for each segment, peak 60.0M

SEGMENT  PHASE    SIZE  RUNTIME  CAUSE     UNIT                        PID   PEAK  STARTED              PATH
    001  ended    3.5G  59min    signal:9  streamvault-348-001.scope     -  60.0M  2026-11-18 10:06:40  DIR/001.ts
    002  writing  3.5G  1h       -         streamvault-348-002.scope  4711      -  2026-11-18 10:06:40  DIR/002.ts
""".replace("DIR/", "/srv/media/demo/stream_77_segments/segment_")
    )


def test_segments_on_a_narrow_terminal_leave_columns_out() -> None:
    daemon = FakeDaemon().on("ListSegments", {"segments": [segment(1, pid=4711, memoryPeak=60 << 20)]})
    assert (
        run(daemon, "segments", "demo", on_terminal=True, NO_COLOR="1").out
        == """\
SEGMENT  PHASE    SIZE  RUNTIME  CAUSE  UNIT                        PID   PEAK
    001  writing  3.5G  1h       -      streamvault-348-001.scope  4711  60.0M

1 segment listed.
"""
    )


def test_status_of_an_ended_recording_shows_its_result() -> None:
    get = {"recording": recording("completed", endedAt=at(NOW), path=RESULT)}
    get["recording"]["context"]["durationUSec"] = HOUR
    ran = run(FakeDaemon().on("Get", get).on("ListSegments", {"segments": []}), "status", "348")
    assert ran.out.startswith("○ demo")
    assert f"Result: {RESULT}\n" in ran.out
    assert "Duration: 1h of media\n" in ran.out
    assert not re.search("Rate|Rotation|Directory|SEGMENT", ran.out)


def test_status_shows_the_last_segments_only() -> None:
    every = [segment(number, "ended") for number in range(1, 9)]
    ran = run(FakeDaemon().on("Get", one()).on("ListSegments", {"segments": every}), "status", "demo")
    assert "3 earlier segments not shown.\n" in ran.out
    assert [row.split()[0] for row in ran.out.splitlines()[-5:]] == ["004", "005", "006", "007", "008"]


def test_status_without_a_name_is_about_the_daemon() -> None:
    ran = run(FakeDaemon().on("GetStatus", STATUS).on("List", one_in_list()), "status")
    assert ran.code == 0
    assert ran.out.startswith("""\
● streamvaultd 0.1.0
         State: running since Wed 2026-11-18 10:06:40 UTC; 1h ago
       Running: 1 recording, 2 segments, 0 jobs
    Streamlink: 7.3.0 (/usr/bin/streamlink)
         Store: sqlite:////var/lib/streamvaultd/vault.db

 ID  STREAMER""")


def test_status_of_an_idle_daemon_has_no_table() -> None:
    ran = run(FakeDaemon().on("GetStatus", STATUS).on("List", {"recordings": []}), "status")
    assert ran.out.endswith("vault.db\n")


# --- terminal or pipe ----------------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_a_table_that_fits() -> None:
    daemon = FakeDaemon().on("List", {"recordings": [recording("completed", path=RESULT)]})
    ran = run(daemon, "list", on_terminal=True)
    assert "\x1b[4mSTREAMER\x1b[0m" in ran.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.out).splitlines()
    assert max(map(len, plain)) <= 80
    assert "RESULT" not in plain[0]
    ran = run(daemon, "list", on_terminal=True, COLUMNS="110")
    assert "  /srv/media/demo/de…18T09-03-40Z_348.ts\n" in ran.out


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(environ: dict[str, str]) -> None:
    daemon = FakeDaemon().on("List", one_in_list()).on("Get", NoSuchRecording(recording="x"))
    for argv in (["list"], ["status", "x"]):
        ran = run(daemon, *argv, on_terminal=True, **environ)
        assert "\x1b" not in ran.out + ran.err


def test_columns_of_the_environment_count() -> None:
    daemon = FakeDaemon().on("List", {"recordings": [recording("completed", path=RESULT)]})
    assert RESULT in run(daemon, "list", on_terminal=True, COLUMNS="300").out


def test_nothing_from_outside_drives_the_terminal() -> None:
    evil = recording("failed", detail="\x1b]0;owned\x07\nsecond line")
    evil["context"]["url"] = "https://x/\x9b31m\u202e"
    daemon = FakeDaemon().on("Get", {"recording": evil}).on("ListSegments", {"segments": []})
    ran = run(daemon, "status", "demo")
    assert r"\x1b]0;owned\x07\nsecond line" in ran.out
    assert r"https://x/\x9b31m\u202e" in ran.out
    shown = run(FakeDaemon().on("Get", NoSuchRecording(recording="\x1b[2J")), "status", "\x1b[2J")
    assert r"'\x1b[2J'" in shown.err


# --- record --------------------------------------------------------------------------------------------------------


def test_record_returns_when_media_arrive_and_prints_the_number() -> None:
    daemon = FakeDaemon().on("Record", one("starting", bytes=0, segments=0), one("starting", bytes=0), one())
    ran = run(daemon, "record", URL, "--name", "demo", "--quality", "720p,best", "--duration", "1h 30min")
    assert ran.code == 0
    assert ran.out == "348\n"
    assert ran.err.splitlines() == [
        "recording 348 of 'demo': starting",
        "recording 348 of 'demo': recording segment 2",
    ]
    assert daemon.calls == [
        (
            "Record",
            {
                "url": URL,
                "name": "demo",
                "quality": "720p,best",
                "durationUSec": HOUR * 3 // 2,
                "until": "recording",
            },
        )
    ]


def test_record_no_block_returns_when_accepted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    daemon = FakeDaemon().on("Record", one("starting"))
    ran = run(daemon, "record", URL, "--no-block", "--directory", "here")
    assert (ran.code, ran.out) == (0, "348\n")
    assert daemon.calls == [("Record", {"url": URL, "directory": f"{tmp_path}/here", "until": "accepted"})]


@pytest.mark.parametrize("state", ["completed", "stopped"])
def test_record_wait_prints_the_result_last(state: str) -> None:
    end = one(state, path=RESULT, endedAt=at(NOW))
    daemon = FakeDaemon().on("Record", one("starting"), one(), one("finalizing"), end)
    ran = run(daemon, "record", URL, "--wait")
    assert (ran.code, ran.out) == (0, f"{RESULT}\n")
    assert ran.err.splitlines()[-1] == f"recording 348 of 'demo' is {state}: 2 segments, 3.0G, 2h 3min."
    assert daemon.calls[0][1]["until"] == "end"


def test_record_wait_fails_with_the_recording() -> None:
    daemon = FakeDaemon().on("Record", one("starting"), one("failed", detail="the disk is full"))
    ran = run(daemon, "record", URL, "--wait")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-2:] == [
        "streamvaultctl: cannot complete recording 348 of 'demo': the disk is full",
        "  'streamvaultctl logs 348' tells the story",
    ]


def test_record_that_ends_before_media_arrive_has_failed() -> None:
    ran = run(FakeDaemon().on("Record", one("starting", bytes=0), one("stopped", bytes=0)), "record", URL)
    assert ran.code == 1
    assert "cannot complete recording 348 of 'demo': it is stopped" in ran.err


def test_record_tells_the_error_of_the_daemon() -> None:
    error = SourceUnavailable(url=URL, why="the site answered 404")
    ran = run(FakeDaemon().on("Record", one("starting", bytes=0), error), "record", URL)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[1:] == [
        f"streamvaultctl: cannot record '{URL}': the site answered 404",
        "  is the stream live? 'streamlink --json URL' shows what the site answers",
    ]


def test_quiet_record_prints_results_only() -> None:
    ran = run(FakeDaemon().on("Record", one("starting"), one()), "-q", "record", URL)
    assert (ran.out, ran.err) == ("348\n", "")


def test_interrupted_wait_leaves_the_recording_running_and_says_so() -> None:
    daemon = FakeDaemon().on("Record", one("starting"), one(), KeyboardInterrupt())
    ran = run(daemon, "record", URL, "--wait")
    assert (ran.code, ran.out) == (ExitCode.INTERRUPTED, "")
    assert ran.err.splitlines()[-1] == (
        "interrupted: recording 348 of 'demo' goes on; 'streamvaultctl status 348' shows it."
    )
    assert daemon.methods == ["Record"]


def test_interrupted_before_the_first_answer_says_nothing_of_a_recording() -> None:
    ran = run(FakeDaemon().on("Record", KeyboardInterrupt()), "record", URL)
    assert (ran.code, ran.out, ran.err) == (ExitCode.INTERRUPTED, "", "")


def test_record_wait_outlives_a_restart_of_the_daemon() -> None:
    daemon = FakeDaemon().on("Record", one("starting"), one(), lost())
    daemon.on("Subscribe", one(), lost()).on("Get", one()).on("Subscribe", one(), one("completed", path=RESULT))
    ran = run(daemon, "record", URL, "--wait")
    assert (ran.code, ran.out) == (0, f"{RESULT}\n")
    assert daemon.methods == ["Record", "Subscribe", "Get", "Subscribe"]
    assert daemon.calls[1][1] == {"recording": "348"}


def test_record_wait_notices_an_end_that_came_while_the_daemon_was_away() -> None:
    daemon = FakeDaemon().on("Record", one("starting"), one(), lost()).on("Subscribe", lost())
    ran = run(daemon.on("Get", one("completed", path=RESULT)), "record", URL, "--wait")
    assert (ran.code, ran.out) == (0, f"{RESULT}\n")


def test_record_without_wait_outlives_a_restart_of_the_daemon() -> None:
    daemon = FakeDaemon().on("Record", one("starting", bytes=0), lost())
    daemon.on("Subscribe", one("starting", bytes=0), one())
    assert run(daemon, "record", URL).out == "348\n"


def test_a_daemon_that_hangs_up_again_and_again_counts_as_gone() -> None:
    daemon = FakeDaemon().on("Record", one("starting"), lost()).on("Subscribe", lost()).on("Get", lost())
    ran = run(daemon, "record", URL, "--wait")
    assert ran.code == 3
    assert "cannot read the answer of /run/socket" in ran.err
    assert daemon.methods == ["Record", "Subscribe", "Get", "Get", "Get"]


def test_connection_lost_before_it_was_accepted_is_an_error() -> None:
    ran = run(FakeDaemon().on("Record", lost()), "record", URL)
    assert ran.code == 3


def test_terminal_shows_one_line_that_is_kept_up_to_date() -> None:
    ran = run(FakeDaemon().on("Record", one("starting"), one()), "record", URL, on_terminal=True)
    assert ran.out == "348\n"
    assert "\x1b[?25l" in ran.err  # the cursor is hidden while the line lives,
    assert "\x1b[?25h" in ran.err  # and comes back


# --- stop and rotate -----------------------------------------------------------------------------------------------


def test_stop_is_silent_on_stdout() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping"))
    ran = run(daemon, "stop", "demo")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "recording 348 of 'demo': stopping\n"
    assert daemon.calls == [("Get", {"recording": "demo"}), ("Stop", {"recording": "348"})]


def test_stop_wait_subscribes_first_and_prints_the_result() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping"))
    daemon.on("Subscribe", one(), one("finalizing"), {"event": event()}, one("stopped", path=RESULT))
    ran = run(daemon, "stop", "demo", "--wait")
    assert (ran.code, ran.out) == (0, f"{RESULT}\n")
    assert daemon.methods == ["Get", "Subscribe", "Stop"]


def test_stop_wait_of_a_recording_without_media_prints_no_path() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping")).on("Subscribe", one(), one("stopped"))
    ran = run(daemon, "stop", "demo", "--wait")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith("recording 348 of 'demo' is stopped: no media were received.\n")


def test_interrupted_stop_goes_on() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping"))
    ran = run(daemon.on("Subscribe", one(), KeyboardInterrupt()), "stop", "demo", "--wait")
    assert ran.code == ExitCode.INTERRUPTED
    assert "recording 348 of 'demo' is being stopped;" in ran.err


@pytest.mark.parametrize("verb", ["stop", "rotate"])
@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_what_has_ended_is_neither_stopped_nor_rotated(verb: str, options: list[str]) -> None:
    error = NotRecording(verb=verb, recording=348, state="completed")
    daemon = FakeDaemon().on("Get", one("completed")).on(verb.title(), error)
    ran = run(daemon, verb, "demo", *options)
    assert ran.code == 1
    assert f"streamvaultctl: cannot {verb} recording 348: it is completed\n" in ran.err


def test_rotate_returns_at_once() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Rotate", one("rotating", segments=3))
    ran = run(daemon, "rotate", "demo")
    assert (ran.code, ran.out, ran.err) == (0, "", "recording 348 of 'demo': rotating segment 3\n")
    assert daemon.methods == ["Get", "Rotate"]


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_rotate_that_starts_nothing_has_failed(options: list[str]) -> None:
    daemon = (
        FakeDaemon().on("Get", one()).on("Rotate", one()).on("Subscribe", one()).on("ListSegments", {"segments": []})
    )
    ran = run(daemon, "rotate", "demo", *options)
    assert ran.code == 1
    assert "cannot rotate recording 348 of 'demo': no segment of it writes media now, it is recording\n" in ran.err


def rotating(*after: dict[str, Any] | BaseException, phase: str = "writing", **fields: Any) -> FakeDaemon:
    old, new = segment(2), segment(3, phase, **fields)
    daemon = FakeDaemon().on("Get", one()).on("Rotate", one("rotating", segments=3))
    daemon.on("ListSegments", {"segments": [old, new]})
    return daemon.on("Subscribe", one(), *after)


def test_rotate_wait_returns_when_the_new_segment_has_taken_over() -> None:
    daemon = rotating(one("recording"), one("rotating", segments=3), one("recording", segments=3))
    ran = run(daemon, "rotate", "demo", "--wait")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == "recording 348 of 'demo': recording segment 3"
    assert daemon.methods == ["Get", "Subscribe", "Rotate", "ListSegments"]


def test_rotate_wait_fails_when_the_new_segment_does_not_live() -> None:
    daemon = rotating(one("rotating", segments=3), one("recording", segments=3), phase="ended", cause="exit:1")
    ran = run(daemon, "rotate", "demo", "--wait")
    assert ran.code == 1
    assert ran.err.splitlines()[-2:] == [
        "streamvaultctl: cannot rotate recording 348 of 'demo': segment 3 ended at once (exit:1)",
        "  the segment before it records on, and rotation is tried again later",
    ]


def test_rotate_wait_fails_when_the_recording_ends() -> None:
    ran = run(rotating(one("stopping"), one("stopped")), "rotate", "demo", "--wait")
    assert ran.code == 1
    assert "cannot rotate recording 348 of 'demo': it has ended" in ran.err


def test_interrupted_rotate_goes_on() -> None:
    ran = run(rotating(KeyboardInterrupt()), "rotate", "demo", "--wait")
    assert ran.code == ExitCode.INTERRUPTED
    assert "recording 348 of 'demo' is being rotated;" in ran.err


# --- monitor -------------------------------------------------------------------------------------------------------


def event(**fields: Any) -> dict[str, Any]:
    return {
        "at": at(NOW - 1_000_000),
        "kind": "segment-died",
        "priority": 4,
        "message": "Segment 1 died",
        "recording": 348,
        **fields,
    }


def test_monitor_shows_what_is_and_what_happens() -> None:
    other = {"event": event(recording=None, message="Reloaded", priority=6)}
    unknown = {"event": event(recording=9, message="Gone")}
    daemon = FakeDaemon().on(
        "Subscribe", one(), {"event": event(), "recording": recording("grace")}, other, unknown, KeyboardInterrupt()
    )
    ran = run(daemon, "monitor")
    assert ran.code == ExitCode.INTERRUPTED
    assert ran.err == ""
    assert ran.out.splitlines() == [
        "2026-11-18 11:06:40 demo[348]: is recording since Wed 2026-11-18 09:06:40 UTC; 2h ago",
        "2026-11-18 09:06:40 demo[348]: is grace",
        "2026-11-18 11:06:39 demo[348]: Segment 1 died",
        "2026-11-18 11:06:39 streamvaultd: Reloaded",
        "2026-11-18 11:06:39 -[9]: Gone",
    ]


def test_monitor_subscribes_again_when_it_was_too_slow_or_the_daemon_restarts() -> None:
    daemon = FakeDaemon().on("Subscribe", one(), SubscriberTooSlow(backlog=9)).on("Subscribe", one(), lost())
    ran = run(daemon.on("Subscribe", not_running()), "monitor")
    assert ran.code == 3
    assert len(ran.out.splitlines()) == 1
    assert daemon.calls == [("Subscribe", {})] * 3


def test_a_subscription_that_ends_at_once_again_and_again_is_an_error() -> None:
    daemon = FakeDaemon().on("Subscribe")
    assert run(daemon, "monitor").code == 3
    assert len(daemon.calls) == 4


# --- logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], []),
        (["-f", "-n", "20"], ["--follow", "--lines=20"]),
        (["-q", "--no-pager"], ["--no-pager", "--quiet"]),
        (["--json=short"], ["--output=json"]),
        (["--json=pretty"], ["--output=json-pretty"]),
    ],
)
def test_logs_runs_journalctl(options: list[str], expected: list[str]) -> None:
    ran = run(FakeDaemon().on("Get", one()), "logs", "demo", *options)
    assert ran.executed == [["journalctl", "STREAMVAULT_RECORDING=348", *expected]]


def test_logs_of_a_number_need_no_daemon() -> None:
    daemon = FakeDaemon().on("Get", not_running())
    assert run(daemon, "logs", "12").executed == [["journalctl", "STREAMVAULT_RECORDING=12"]]
    ran = run(daemon, "logs", "demo")
    assert (ran.code, ran.executed) == (3, [])


# --- streamlink ----------------------------------------------------------------------------------------------------


def test_streamlink_shows_what_is_used() -> None:
    daemon = FakeDaemon().on("ManageStreamlink", STREAMLINK)
    assert (
        run(daemon, "streamlink", "install", "8.1.1").out
        == """\
Version: 7.3.0
Command: /usr/bin/streamlink
   Kind: of the system
Warning: it is old
"""
    )
    run(daemon, "streamlink", "update")
    assert daemon.calls == [
        ("ManageStreamlink", {"verb": "install", "version": "8.1.1"}),
        ("ManageStreamlink", {"verb": "update"}),
    ]


# --- errors and exit codes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", BY_NAME.values(), ids=lambda cls: cls.__name__)
def test_every_error_is_told_with_its_advice_and_exit_code(cls: type[VaultError]) -> None:
    fields = dict.fromkeys(re.findall(r"{(\w+)}", cls.what + cls.hint), "x")
    error = cls(**fields)
    ran = run(FakeDaemon().on("Get", error), "status", "x")
    assert ran.code == error.exit_code
    assert ran.out == ""
    assert ran.err == f"streamvaultctl: {error}\n" + (f"  {error.advice}\n" if error.advice else "")
    assert str(error).startswith("cannot ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AlreadyRecording(streamer="demo", recording=348), 1),
        (not_running(), 3),
        (NoSuchRecording(recording="demo"), 4),
    ],
)
def test_exit_codes_of_the_daemons_errors(error: VaultError, code: int) -> None:
    assert run(FakeDaemon().on("Record", error), "record", URL).code == code


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["record"], "missing argument 'URL'"),
        (["lst"], "did you mean 'list'?"),
        (["streamlink", "instal"], "did you mean 'install'?"),
        (["streamlink"], "missing command"),
        (["xyzzy"], "there is no command 'xyzzy'"),
        (["list", "--al"], "did you mean '--all'"),
        (["--json=xml", "list"], "'xml' is not one of"),
        (["record", URL, "--wait", "--no-block"], "--wait and --no-block exclude each other"),
        (["record", URL, "--duration", "5 parsecs"], "cannot use '5 parsecs' as a duration"),
        (["record", URL, "--duration", "0"], "cannot use '0' as a duration: it is zero"),
        (["logs", "demo", "-n", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_usage_is_explained(argv: list[str], told: str) -> None:
    ran = run(FakeDaemon(), *argv)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("streamvaultctl: cannot ")
    assert told in ran.err


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "recording is not an object"),
        ({"recording": {"id": "x"}}, "recording.context is not an object"),
        ({"recording": {**recording(), "id": True}}, "recording.id is not of type int"),
        ({"recording": recording(state=None)}, "recording.runtime.state is missing"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_of_another_shape_is_an_error(answer: dict[str, Any], told: str) -> None:
    ran = run(FakeDaemon().on("Get", answer), "status", "demo")
    assert ran.code == 1
    assert f"cannot understand the daemon's answer: {told}\n" in ran.err
    assert run(FakeDaemon().on("List", {"recordings": "x"}), "list").code == 1


def test_the_socket_can_be_chosen() -> None:
    daemon = FakeDaemon().on("List", {"recordings": []})
    run(daemon, "list")
    assert daemon.socket == "/run/streamvaultd/io.streamvault.Recorder"
    run(daemon, "--socket", "/tmp/other", "list")
    assert daemon.socket == "/tmp/other"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"streamvaultctl {__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    names = re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], re.MULTILINE)
    assert names == ["record", "list", "status", "segments", "stop", "rotate", "monitor", "logs", "streamlink"]
    for name in names:
        assert main([name, "--help"]) == 0
        assert "--json" in capsys.readouterr().out
