# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl against a scripted daemon: events, logs, errors and exit codes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streamvaultd import __version__
from streamvaultd.ctl.index import GROUPS, PLACES
from streamvaultd.ctl.main import main
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.errors import (
    BY_NAME,
    AlreadyRecording,
    NoSuchRecording,
    SubscriberTooSlow,
    VaultError,
)
from tests.fakes.ctl import HOUR, NOW, FakeDaemon, event, lost, not_running, one, recording, run

URL = "https://example.org/live.m3u8"


# --- monitor -------------------------------------------------------------------------------------------------------


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
        "2026-11-18 11:06:39 recording 9: Gone",
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
    match = ["STREAMVAULT_RECORDING=348", f"--since=@{(NOW - 2 * HOUR - 180_000_000) // 1_000_000}"]
    assert ran.executed == [["journalctl", *match, *expected]]


def test_logs_of_a_number_need_no_daemon() -> None:
    daemon = FakeDaemon().on("Get", not_running())
    assert run(daemon, "logs", "12").executed == [["journalctl", "STREAMVAULT_RECORDING=12"]]
    ran = run(daemon, "logs", "demo")
    assert (ran.code, ran.executed) == (3, [])


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
        (["lst"], "did you mean 'list' or 'set'?"),
        (["streamlink", "instal"], "did you mean 'install'?"),  # codespell:ignore instal
        (["streamlink"], "missing command"),
        (["xyzzy"], "there is no command 'xyzzy'"),
        (["list", "--al"], "did you mean '--all'"),
        (["--json=xml", "list"], "'xml' is not one of"),
        (["record", URL, "--wait", "--no-block"], "--wait and --no-block exclude each other"),
        (["record", URL, "--duration", "5 parsecs"], "cannot use '5 parsecs' as a duration"),
        (["record", URL, "--duration", "0"], "cannot use '0' as a duration: it is zero"),
        (["logs", "demo", "-n", "-1"], "-1 is not in the range"),
        (["list", "demo\udce9"], r"'demo\udce9' is not valid UTF-8"),
        (["top", "--interval", "999999999999"], "--interval is 86400 seconds at most"),
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
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == out
    groups = out.partition("Look:")[2]
    names = re.findall(r"^  (\w+)  ", groups, re.MULTILINE)
    assert names == [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(PLACES), "each command once"
    for name in names:
        assert main([name, "--help"]) == 0
        assert "--json" in capsys.readouterr().out


def test_the_options_of_all_commands_are_explained_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = " ".join(capsys.readouterr().out.split())
    assert main(["list", "--help"]) == 0
    one = " ".join(capsys.readouterr().out.split())
    assert "Show and read times in UTC" in whole
    assert "Show and read times in UTC" not in one
    assert "And the options of all commands: --json, --no-pager, --no-legend, --quiet, --utc, --socket." in one
