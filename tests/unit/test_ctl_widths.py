# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command that lists, at every width and in every trouble: nothing is lost or cut without a sign."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from streamvaultd.ctl.show.text import width
from streamvaultd.errors import DaemonNotRunning, NoSuchRecording
from tests.fakes.ctl import NOW, FakeDaemon, Ran, at, event, one, recording, run, segment

LONG = "/srv/media/a-streamer-with-a-name/a-streamer-with-a-name_2026-11-18_09-03-40_recording-348.ts"
JOB: dict[str, Any] = {
    "id": 4, "recording": 348, "kind": "join", "status": "failed", "attempts": 2, "unit": "streamvault-job-4.scope",
    "createdAt": at(NOW - 61_000_000), "endedAt": at(NOW), "why": "no space left on the disk of /srv/media",
}  # fmt: skip
SETTING: dict[str, Any] = {
    "section": "notifications", "key": "a_key_that_is_longer_than_all_others", "value": "1h 30min", "default": "15min",
    "about": "How long people are left alone after a message of one kind.",
}  # fmt: skip
STREAMER: dict[str, Any] = {
    "name": "a-streamer-with-a-name",
    "context": {"url": "https://www.site.example/a-streamer-with-a-name", "file": "/f", "own": True, "enabled": True},
    "runtime": {"state": "trouble", "since": at(NOW), "failures": 3, "recording": 348, "detail": "no such host"},
}
SEAM = {"older": 1, "newer": 2, "kind": "gap", "method": "bytes", "certainty": "unknown", "note": "the same in both"}
DEAD = segment(2, "ended", cause="signal:9", isDeath=True, endedAt=at(NOW), pid=None, memoryPeak=1 << 28)
STATUS = {
    "version": "0.1.0", "state": "running", "startedAt": at(NOW), "recordings": 1, "segments": 1, "jobs": 0,
    "store": "/var/lib/streamvaultd/streamvaultd.sqlite", "streamlinkVersion": "8.6.3",
    "streamlinkCommand": "/usr/bin/streamlink", "mistakes": [],
    "unreachableTargets": [], "unconfined": [],
}  # fmt: skip

ANSWERS: dict[str, dict[str, Any]] = {
    "List": {"recordings": [recording("completed", path=LONG, streamer="a-streamer-with-a-name", endedAt=at(NOW))]},
    "Get": one("completed", path=LONG, endedAt=at(NOW)),
    "ListSegments": {"segments": [segment(), DEAD]},
    "ListSeams": {"seams": [SEAM]},
    "ListParts": {"parts": [], "notes": []},
    "ListJobs": {"jobs": [JOB]},
    "ListEvents": {"events": [event(message="Segment 002 of 'demo' died: it was killed by signal 9")]},
    "GetSettings": {"settings": [SETTING, {**SETTING, "section": "disk", "key": "floor"}]},
    "ListStreamers": {"streamers": [STREAMER]},
    "GetStatus": STATUS,
}
TABLES = {
    ("list", "--all"): "ID STREAMER STATE SEGMENTS SIZE STARTED RUNTIME RESULT",
    ("jobs", "--all"): "JOB RECORDING KIND STATUS TRY STARTED RUNTIME UNIT RESULT",
    ("segments", "demo"): "SEGMENT PHASE SIZE RUNTIME CAUSE UNIT PID PEAK LIMIT STARTED PATH",
    ("seams", "demo"): "SEGMENTS KIND METHOD CERTAINTY OVERLAP OVERLAP_MS GAP_MS NOTE",
    ("settings",): "SETTING VALUE DEFAULT ABOUT",
    ("streamers",): "STREAMER STATE RECORDING URL ABOUT",
}
OTHERS = [("events",), ("status", "demo"), ("status",)]
COMMANDS = [*TABLES, *OTHERS]
OF_ONE = [("segments", "nobody"), ("seams", "nobody"), ("jobs", "nobody"), ("events", "nobody"), ("status", "nobody")]
METHODS = sorted(ANSWERS)


def daemon() -> FakeDaemon:
    found = FakeDaemon()
    for method, answer in ANSWERS.items():
        found.on(method, answer)
    return found


def failing(error: Exception) -> FakeDaemon:
    found = FakeDaemon()
    for method in METHODS:
        found.on(method, error)
    return found


def shown(*argv: str, columns: int | None, **environ: str) -> Ran:
    if columns is None:
        return run(daemon(), *argv)
    return run(daemon(), *argv, on_terminal=True, COLUMNS=str(columns), NO_COLOR="1", SYSTEMD_PAGER="", **environ)


@pytest.mark.parametrize("columns", [40, 80, 200, None])
@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_no_column_is_lost_without_a_sign(argv: tuple[str, ...], columns: int | None) -> None:
    ran = shown(*argv, columns=columns)
    assert (ran.code, ran.err) == (0, "")
    text = ran.out.replace("OVERLAP MS", "OVERLAP_MS").replace("GAP MS", "GAP_MS")
    _, _, told = text.partition("Not shown for want of room: ")
    left_out = {name.strip(" .") for name in " ".join(told.split()).partition(".")[0].split(",")} - {""}
    assert not left_out & set(text.splitlines()[0].split())
    assert {*TABLES.get(argv, "").split()} <= {*text.splitlines()[0].split(), *left_out}
    if columns is None or columns == 200:
        assert not left_out
    if columns is None:
        assert "…" not in text


@pytest.mark.parametrize("columns", [40, 80, 200, None])
@pytest.mark.parametrize("argv", TABLES, ids=" ".join)
def test_no_cell_is_cut_without_a_sign(argv: tuple[str, ...], columns: int | None) -> None:
    """What is shown is what a pipe gets, or has a mark where something is left out."""
    whole = cells(shown(*argv, columns=None).out)
    for title, texts in cells(shown(*argv, columns=columns).out).items():
        for text, full in zip(texts, whole[title], strict=True):
            head, _, tail = text.partition("…")
            assert text == full or ("…" in text and full.startswith(head) and full.endswith(tail)), (title, text, full)


def cells(out: str) -> dict[str, list[str]]:
    """The cells of a table by the titles of its columns, which are two blanks apart."""
    head, *rows = out.split("\n\n")[0].splitlines()
    rows = [row for row in rows if not re.match(r"Not shown|[A-Z ,]+\.$", row)]
    places = [(found.start(), found.end()) for found in re.finditer(r"\S+(?: \S+)*", head)]
    found: dict[str, list[str]] = {head[start:end]: [] for start, end in places}
    for row in rows:
        for part in re.finditer(r"\S+(?: \S+)*", row):
            title = min(places, key=lambda place: _apart(place, part.span()))
            found[head[title[0] : title[1]]].append(part[0])
    return found


def _apart(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(one[0] - other[1], other[0] - one[1])


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("argv", TABLES, ids=" ".join)
def test_a_table_fits(argv: tuple[str, ...], columns: int) -> None:
    assert max(width(line) for line in shown(*argv, columns=columns).out.splitlines()) <= columns


def test_the_result_is_shown_in_80_columns() -> None:
    for argv, title in ((("list", "--all"), "RESULT"), (("jobs", "--all"), "RESULT"), (("segments", "demo"), "PATH")):
        assert title in shown(*argv, columns=80).out.splitlines()[0].split(), argv
    assert "[notifications] a_key_that_is_longer_than_all_others" in shown("settings", columns=80).out


@pytest.mark.parametrize("quiet", ["--no-legend", "-q"])
@pytest.mark.parametrize("argv", TABLES, ids=" ".join)
def test_where_nothing_can_be_said_nothing_is_left_out(argv: tuple[str, ...], quiet: str) -> None:
    """Without a footer there is no place for the sign: the columns are all there."""
    row = shown(*argv, quiet, columns=40).out.splitlines()[-1]
    whole = cells(shown(*argv, columns=None).out)
    assert len(re.findall(r"\S+(?: \S+)*", row)) == len(whole)


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_json_is_whole_on_any_terminal(argv: tuple[str, ...]) -> None:
    narrow = shown(*argv, "--json=short", columns=40)
    assert narrow.code == 0
    assert json.loads(narrow.out) == json.loads(shown(*argv, "--json=short", columns=None).out)


@pytest.mark.parametrize("columns", [40, 80, 200, None])
@pytest.mark.parametrize("why", ["connection refused", "no such file or directory", "permission denied"])
@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_no_daemon_and_no_permission_say_what_to_do(argv: tuple[str, ...], why: str, columns: int | None) -> None:
    error = DaemonNotRunning(address="/run/socket", why=why)
    more = {} if columns is None else {"COLUMNS": str(columns)}
    ran = run(failing(error), *argv, on_terminal=columns is not None, NO_COLOR="1", **more)
    assert (ran.code, ran.out) == (3, "")
    assert f"cannot reach streamvaultd at /run/socket: {why}" in ran.err
    assert ("adduser" if why == "permission denied" else "systemctl start streamvaultd") in ran.err


@pytest.mark.parametrize("columns", [40, None])
@pytest.mark.parametrize("argv", OF_ONE, ids=" ".join)
def test_a_wrong_name_is_said_to_be_one(argv: tuple[str, ...], columns: int | None) -> None:
    asked = failing(NoSuchRecording(recording="nobody"))
    more = {} if columns is None else {"COLUMNS": str(columns)}
    ran = run(asked, *argv, on_terminal=columns is not None, NO_COLOR="1", **more)
    assert (ran.code, ran.out) == (4, "")
    assert "nobody" in ran.err
    assert "Traceback" not in ran.err
