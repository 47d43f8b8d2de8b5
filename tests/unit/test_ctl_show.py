# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl against a scripted daemon: what it shows, as text and JSON, on a terminal and in a pipe."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from streamvaultd.ctl.options import remember
from streamvaultd.ctl.show.text import format_short_time
from streamvaultd.errors import (
    DaemonNotRunning,
    NoSuchRecording,
)
from tests.fakes.ctl import HOUR, NOW, FakeDaemon, at, event, one, recording, run, segment, zone

URL = "https://example.org/live.m3u8"
RESULT = "/srv/media/demo/demo_2026-11-18T09-03-40Z_348.ts"


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
    asked = [call for call in daemon.calls if call[0] == "List"]
    assert asked == [("List", {}), ("List", {"all": True, "streamer": "demo"}), ("List", {})]


def test_an_empty_list_says_what_to_type_first_where_nobody_is_watched() -> None:
    daemon = FakeDaemon().on("List", {"recordings": []}).on("ListStreamers", {"streamers": []})
    out = run(daemon, "list").out
    assert "'streamvaultctl add URL' records every broadcast of a streamer" in out
    assert "add URL" not in run(daemon, "list", "--all").out
    assert "add URL" not in run(daemon, "list", "--status", "failed").out


def test_title_and_category_are_shown_where_they_are_asked_for() -> None:
    stream = {"id": 77, "streamer": "demo", "title": "Chess on\x1b Sunday", "category": "Chess", "startedAt": at(NOW)}
    daemon = FakeDaemon().on("List", one_in_list()).on("ListStreams", {"streams": [stream]})
    head, row, *_ = run(daemon, "list", "--long").out.splitlines()
    assert head.endswith("RESULT  TITLE                CATEGORY")
    assert row.endswith("Chess on\\x1b Sunday  Chess")
    daemon = FakeDaemon().on("Get", one()).on("ListSegments", {"segments": []}).on("GetStream", {"stream": stream})
    out = run(daemon, "status", "demo").out
    assert "Title: Chess on\\x1b Sunday\n" in out
    assert "Category: Chess\n" in out


def test_times_are_local_or_utc() -> None:
    with zone("CET-1"):
        assert format_short_time(NOW) == "2026-11-18 12:06:40"
        remember(cast("Any", SimpleNamespace()), "utc", value=True)
        assert format_short_time(NOW) == "2026-11-18 11:06:40"


@pytest.mark.parametrize("columns", [40, 80, None])
def test_a_timeline_shows_deaths_seams_and_gaps(columns: int | None) -> None:
    died = segment(1, "ended", endedAt=at(NOW - HOUR // 2), cause="signal:9", death=True)
    later = segment(2, startedAt=at(NOW - HOUR // 2 + 2_000_000))
    gap = {"older": 1, "newer": 2, "kind": "gap", "method": "clock", "certainty": "likely", "gapUSec": 2_000_000}
    daemon = FakeDaemon().on("Get", one()).on("ListSegments", {"segments": [died, later]})
    daemon.on("ListSeams", {"seams": [gap]})
    more = {} if columns is None else {"COLUMNS": str(columns)}
    ran = run(daemon, "timeline", "demo", on_terminal=columns is not None, NO_COLOR="1", **more)
    assert ran.code == 0
    first, second, seams = ran.out.splitlines()[3:]
    assert re.fullmatch("001 +━+\N{MULTIPLICATION SIGN} +signal:9, 30min", first)
    assert re.fullmatch(r"002 +━+▶ +writing, 29min 58s", second)
    assert re.fullmatch(r"seams +▒ +2\.0 s missing", seams)
    assert seams.index("▒") == second.index("━")
    assert columns is None or columns < 60 or max(map(len, ran.out.splitlines())) <= columns
    drawing = run(daemon, "timeline", "demo", "--svg").out
    shapes = [each.tag.rpartition("}")[2] for each in ElementTree.fromstring(drawing)]  # noqa: S314 - our own
    assert (shapes.count("rect"), shapes.count("line")) == (3, 1)  # the ground is one
    assert "signal:9, 30min" in drawing
    assert set(json.loads(run(daemon, "timeline", "demo", "--json=short").out)) == {"segments", "seams"}


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
    "unreachableTargets": [],
    "unconfined": [],
    "mistakes": [],
}
SEAM = {"older": 1, "newer": 2, "kind": "exact", "method": "bytes", "certainty": "proven", "gapUSec": 0}
STREAMLINK = {"command": "/usr/bin/streamlink", "version": "7.3.0", "managed": False, "warning": "it is old"}


@pytest.mark.parametrize(
    ("argv", "method", "answer", "expected"),
    [
        (("list",), "List", one_in_list(), [recording()]),
        (("status",), "GetStatus", STATUS, STATUS),
        (("status", "demo"), "Get", one(), recording()),
        (("segments", "demo"), "ListSegments", {"segments": [segment()]}, [segment()]),
        (("seams", "demo"), "ListSeams", {"seams": [SEAM]}, [SEAM]),
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


def test_status_names_those_who_cannot_be_notified() -> None:
    daemon = FakeDaemon().on("GetStatus", {**STATUS, "unreachableTargets": ["phone", "team"]})
    assert "Notifications: cannot reach phone, team\n" in run(daemon.on("List", {"recordings": []}), "status").out
    daemon = FakeDaemon().on("GetStatus", STATUS).on("List", {"recordings": []})
    assert "Notifications" not in run(daemon, "status").out


def test_status_tells_every_mistake_in_the_settings() -> None:
    mistakes = [
        {
            "file": "/etc/streamvaultd/conf.d/x.toml",
            "section": "watch",
            "key": "intrval",
            "value": "'9s'",
            "why": "no",
        },
        {"file": "/etc/streamvaultd/streamers.d/ada.toml", "why": "it is no TOML"},
    ]
    daemon = FakeDaemon().on("GetStatus", {**STATUS, "mistakes": mistakes}).on("List", {"recordings": []})
    shown = run(daemon, "status").out
    assert "Mistake: /etc/streamvaultd/conf.d/x.toml: [watch] intrval = '9s': no\n" in shown
    assert "         /etc/streamvaultd/streamers.d/ada.toml: it is no TOML\n" in shown


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


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"doneBytes": 0, "totalBytes": 1 << 30}, f"[{'-' * 24}]   0 %, 0B of 1.0G, 2h"),
        (
            {"doneBytes": 3 << 28, "totalBytes": 1 << 30, "etaUSec": 12_000_000},
            f"[{'#' * 18}{'-' * 6}]  75 %, 768.0M of 1.0G, 2h, 12s left",
        ),
        (
            {"doneBytes": 1 << 30, "totalBytes": 1 << 30, "etaUSec": 0},
            f"[{'#' * 24}] 100 %, 1.0G of 1.0G, 2h, 0s left",
        ),
        ({"doneBytes": 0, "totalBytes": 0}, f"[{'#' * 24}] 100 %, 0B of 0B, 2h"),
    ],
)
def test_status_shows_how_far_a_join_is(progress: dict[str, int], shown: str) -> None:
    daemon = FakeDaemon().on("Get", one("finalizing", progress=progress)).on("ListSegments", {"segments": []})
    assert f"       Joined: {shown}\n" in run(daemon, "status", "demo").out


def test_status_says_when_a_join_that_failed_is_tried_again() -> None:
    unjoined = one("unjoined", detail="the last join failed: no room", retryAt=at(NOW + 5 * 60_000_000))
    daemon = FakeDaemon().on("Get", unjoined).on("ListSegments", {"segments": []}).on("Why", {"ends": []})
    assert (
        "               the last join failed: no room\n"
        "               it is tried again at Wed 2026-11-18 11:11:40 UTC; 5min left\n"
    ) in run(daemon, "status", "demo").out
    assert run(daemon, "why", "demo").out == (
        "recording 348 of 'demo' is unjoined: the last join failed: no room; "
        "it is tried again at Wed 2026-11-18 11:11:40 UTC; 5min left\n"
    )


def test_status_of_a_recording_reads_as_a_unit_of_systemctl() -> None:
    ended = segment(
        1, "ended", endedAt=at(NOW - 60_000_000), cause="signal:9", death=True, memoryPeak=60 << 20, memoryMax=1 << 28
    )
    get = one(deaths=1, rotationDueAt=at(NOW + 21 * HOUR), detail="segment 1 was killed")
    daemon = (
        FakeDaemon()
        .on("Get", get)
        .on(
            "ListSegments",
            {"segments": [ended, segment(2, pid=4711, quality="1080p60", memoryCurrent=48 << 20)]},
        )
    )
    daemon.printed = ["Nov 18 host streamlink[4711]: Opening stream"]
    ran = run(daemon, "status", "demo")
    assert ran.code == 0
    assert ran.out == (
        """\
● demo - recording 348 of stream 77
        State: recording since Wed 2026-11-18 09:06:40 UTC; 2h ago
               segment 1 was killed
      Started: Wed 2026-11-18 09:03:40 UTC; 2h 3min ago
          URL: https://example.org/live.m3u8?token=***
      Quality: best (1080p60)
    Directory: /srv/media
     Segments: 2 (1 death)
       Deaths: segment 001 signal:9, 1min ago
     Received: 7.0G
         Rate: 1.0M/s, average of segment 2
     Rotation: due Thu 2026-11-19 08:06:40 UTC; 21h left, or at 100.0G
       Memory: 48.0M now, peak 60.0M, limit 256.0M for each segment

SEGMENT  PHASE    SIZE  RUNTIME  CAUSE     UNIT                        PID   PEAK   LIMIT  STARTED              PATH
    001  ended    3.5G  59min    signal:9  streamvault-348-001.scope     -  60.0M  256.0M  2026-11-18 10:06:40  D/1.ts
    002  writing  3.5G  1h       -         streamvault-348-002.scope  4711      -       -  2026-11-18 10:06:40  D/2.ts

Nov 18 host streamlink[4711]: Opening stream
""".replace("D/", "/srv/media/demo/stream_77_segments/segment_00")
    )


def test_status_tells_deaths_and_no_planned_ends_and_what_was_received_before_the_join() -> None:
    oom = [segment(n, "removed", endedAt=at(NOW), cause="oom", death=True, bytes=1 << 30) for n in range(1, 7)]
    planned = [segment(n, "removed", endedAt=at(NOW), cause="source-refused", bytes=1 << 20) for n in (7, 8)]
    get = one("completed", deaths=6, bytes=3 << 30, endedAt=at(NOW), path="/srv/media/demo.ts")
    daemon = FakeDaemon().on("Get", get).on("ListSegments", {"segments": oom + planned})
    shown = run(
        daemon.on("ListSeams", {"seams": []}).on("ListParts", {"parts": [], "notes": []}), "status", "demo"
    ).out
    deaths = next(row for row in shown.splitlines() if "Deaths:" in row)
    assert "source-refused" not in deaths
    assert deaths.endswith(f"; {6 - deaths.count('oom')} before")
    assert "Received: 6.0G\n" in shown


def test_status_in_grace_tells_how_long_the_source_is_waited_for() -> None:
    get = one("grace", givenUpAt=at(NOW + 20_000_000))
    daemon = FakeDaemon().on("Get", get).on("ListSegments", {"segments": [segment(1, "ended")]})
    waits = next(row for row in run(daemon, "status", "demo").out.splitlines() if "Waits:" in row)
    assert "for the source until Wed 2026-11-18 11:07:00 UTC; 20s left, longer while nobody can ask it" in waits


def test_status_of_a_pause_says_why_and_tells_of_a_raised_limit() -> None:
    get = one("paused", detail="20.0M are free, 2.0G are kept")
    parts = [segment(1, "ended", memoryMax=256 << 20, cause="oom"), segment(2, "ended", memoryMax=384 << 20)]
    daemon = (
        FakeDaemon()
        .on("Get", get)
        .on("ListSegments", {"segments": parts})
        .on("List", {"recordings": [get["recording"]]})
    )
    shown = run(daemon, "status", "demo").out
    assert (
        "State: paused since Wed 2026-11-18 09:06:40 UTC; 2h ago\n               20.0M are free, 2.0G are kept\n"
        in shown
    )
    assert "Memory: limit 384.0M for segment 2, 256.0M at first\n" in shown
    assert "348  demo      paused" in run(daemon, "list").out


def test_segments_on_a_narrow_terminal_leave_columns_out() -> None:
    one = segment(1, pid=4711, memoryPeak=60 << 20, memoryMax=1 << 28)
    daemon = FakeDaemon().on("ListSegments", {"segments": [one]})
    assert (
        run(daemon, "segments", "demo", on_terminal=True, NO_COLOR="1").out
        == """\
SEGMENT  PHASE    SIZE  RUNTIME  CAUSE  PATH
    001  writing  3.5G  1h       -      /srv/media/demo/str…ments/segment_001.ts
Not shown for want of room: UNIT, PID, PEAK, LIMIT, STARTED.

1 segment listed.
"""
    )


def narrow() -> FakeDaemon:
    """Everything that is a table, as long as it may be in practice."""
    job = {
        "id": 1234, "recording": 1234, "kind": "thumbnail", "status": "running", "attempts": 12, "createdAt": at(NOW),
        "unit": "streamvault-job-1234.scope",
    }  # fmt: skip
    seam = {"older": 123, "newer": 124, "kind": "union", "method": "timestamps", "certainty": "proven", "gapUSec": 0}
    setting = {"section": "recording", "key": "rotate_after_all", "value": "v" * 60, "default": "d" * 60, "about": "a"}
    watched = {
        "name": "n" * 64, "context": {"url": URL, "file": "/f", "own": True, "enabled": True},
        "runtime": {"state": "unsupported", "since": at(NOW), "failures": 0, "recording": 1234},
    }  # fmt: skip
    return (
        FakeDaemon()
        .on("List", {"recordings": [recording("finalizing", number=1234, streamer="s" * 64)]})
        .on("ListSegments", {"segments": [segment(1, pid=4711, phase="launching", cause="source-ended")]})
        .on("ListSeams", {"seams": [seam]})
        .on("ListJobs", {"jobs": [job]})
        .on("ListStreamers", {"streamers": [watched]})
        .on("GetSettings", {"settings": [setting]})
    )


@pytest.mark.parametrize(
    "argv",
    [["list"], ["segments", "demo"], ["seams", "demo"], ["jobs"], ["streamers"], ["settings"]],
)
def test_tables_fit_a_narrow_terminal(argv: list[str]) -> None:
    ran = run(narrow(), *argv, on_terminal=True, NO_COLOR="1", COLUMNS="40")
    table = ran.out.partition("\n\n")[0].splitlines()
    whole = run(narrow(), *argv).out.splitlines()[0]
    left_out = " ".join(table[2:]).removeprefix("Not shown for want of room: ").removesuffix(".").split(", ")
    assert sorted([*re.split(r"\s{2,}", table[0].strip()), *filter(None, left_out)]) == sorted(
        re.split(r"\s{2,}", whole.strip())
    )
    assert max(map(len, table)) <= 40


def test_status_of_an_ended_recording_shows_its_result() -> None:
    get = {"recording": recording("completed", endedAt=at(NOW), path=RESULT)}
    get["recording"]["context"]["durationUSec"] = HOUR
    daemon = FakeDaemon().on("Get", get).on("ListSegments", {"segments": []}).on("ListSeams", {"seams": []})
    ran = run(daemon.on("ListParts", {"parts": [], "notes": []}), "status", "348")
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


# --- terminal or pipe ----------------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_a_table_that_fits() -> None:
    daemon = FakeDaemon().on("List", {"recordings": [recording("completed", path=RESULT)]})
    ran = run(daemon, "list", on_terminal=True)
    assert "\x1b[4mSTREAMER\x1b[0m" in ran.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.out).splitlines()
    assert max(map(len, plain)) <= 80
    assert plain[0].split() == ["ID", "STREAMER", "STATE", "SIZE", "STARTED", "RESULT"]
    assert plain[2] == "Not shown for want of room: SEGMENTS, RUNTIME."
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


def test_who_may_not_connect_reads_how_to_join_the_group() -> None:
    error = DaemonNotRunning(address="/run/socket", why="permission denied")
    ran = run(FakeDaemon().on("List", error), "list")
    assert ran.code == 3
    assert "adduser $USER _streamvault" in ran.err
    assert "systemctl start" not in ran.err


def test_status_says_what_segments_are_not_kept_from() -> None:
    daemon = FakeDaemon().on("GetStatus", {**STATUS, "unconfined": ["no Landlock"]})
    ran = run(daemon.on("List", {"recordings": []}), "status")
    assert "Confinement: no Landlock\n" in ran.out
