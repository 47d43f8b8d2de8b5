# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl against a scripted daemon: record, stop, rotate, and waiting for them."""

from __future__ import annotations

from typing import Any

import pytest

from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.errors import (
    NotRecording,
    SourceUnavailable,
)
from tests.fakes.ctl import HOUR, NOW, FakeDaemon, at, event, lost, one, run, segment

URL = "https://example.org/live.m3u8"
RESULT = "/srv/media/demo/demo_2026-11-18T09-03-40Z_348.ts"


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


def test_record_tells_a_reason_once() -> None:
    why = "the site answered 404"
    states = [one("starting", bytes=0), *(one(state, bytes=0, detail=why) for state in ("backoff", "starting") * 2)]
    daemon = FakeDaemon().on("Record", *states, one("recording"))
    ran = run(daemon, "record", "https://a.example/x.m3u8")
    assert ran.code == 0
    assert ran.err.count(why) == 1
    assert ran.err.splitlines()[:3] == [
        "recording 348 of 'demo': starting", f"recording 348 of 'demo': backoff ({why})",
        "recording 348 of 'demo': starting",
    ]  # fmt: skip


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


def test_interrupted_before_the_first_answer_says_that_it_is_not_known() -> None:
    ran = run(FakeDaemon().on("Record", KeyboardInterrupt()), "record", URL)
    assert (ran.code, ran.out) == (ExitCode.INTERRUPTED, "")
    assert ran.err == ("interrupted before the daemon answered: 'streamvaultctl list' shows whether it is recorded.\n")


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


def test_wait_asks_for_nothing_and_prints_the_result() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Subscribe", one(), one("finalizing"), one("completed", path=RESULT))
    ran = run(daemon, "wait", "demo")
    assert (ran.code, ran.out) == (0, f"{RESULT}\n")
    assert daemon.methods == ["Get", "Subscribe"]
    over = FakeDaemon().on("Get", one("completed", path=RESULT)).on("Subscribe", one("completed", path=RESULT))
    assert (run(over, "wait", "demo").code, run(over, "wait", "demo").out) == (0, f"{RESULT}\n")
    failed = FakeDaemon().on("Get", one()).on("Subscribe", one(), one("failed", detail="no media"))
    ran = run(failed, "wait", "demo")
    assert (ran.code, "no media" in ran.err) == (1, True)


def test_an_interrupted_wait_tells_that_it_goes_on() -> None:
    daemon = FakeDaemon().on("Get", one()).on("Subscribe", one(), KeyboardInterrupt())
    ran = run(daemon, "wait", "demo")
    assert (ran.code, "recording 348 of 'demo' goes on" in ran.err) == (130, True)


def test_waiting_for_a_join_shows_a_bar_on_a_terminal_and_nothing_in_a_pipe() -> None:
    halfway = one("finalizing", progress={"doneBytes": 1 << 30, "totalBytes": 2 << 30, "etaUSec": 9_000_000})
    states = [one(), one("finalizing"), halfway, one("stopped", path=RESULT)]
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping")).on("Subscribe", *states)
    ran = run(daemon, "stop", "demo", "--wait")
    assert ran.err.count("finalizing") == 1
    assert "%" not in ran.err
    daemon = FakeDaemon().on("Get", one()).on("Stop", one("stopping"))
    daemon.on("Subscribe", *states[:3], KeyboardInterrupt())
    shown = run(daemon, "stop", "demo", "--wait", on_terminal=True).err
    assert f"[{'#' * 12}{'-' * 12}]" in shown


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


ASKED = [("stop", "is being stopped"), ("rotate", "is being rotated"), ("retry", "is being tried again")]


@pytest.mark.parametrize(("verb", "accepted"), ASKED)
@pytest.mark.parametrize("wait", [[], ["--wait"]], ids=["ask", "wait"])
def test_an_interruption_at_any_moment_says_what_holds(verb: str, accepted: str, wait: list[str]) -> None:
    """At each answer of the daemon in turn, the interrupt comes instead of it."""
    answers = {"Subscribe": [one(), one("rotating", segments=3)], verb.title(): [one("rotating", segments=3)]}
    for method in ["Subscribe", verb.title()] if wait else [verb.title()]:
        for moment in range(len(answers[method])):
            script: dict[str, list[Any]] = {**answers, method: [*answers[method][:moment], KeyboardInterrupt()]}
            daemon = FakeDaemon().on("Get", one("failed" if verb == "retry" else "recording"))
            for name, told in script.items():
                daemon.on(name, *told)
            ran = run(daemon, verb, "demo", *wait)
            was_asked = verb.title() in daemon.methods
            unknown = "may have been asked for it or not" if was_asked else "was not asked for it and goes on"
            says = accepted if was_asked and method == "Subscribe" else unknown
            assert ran.err.splitlines()[-1] == (
                f"interrupted: recording 348 of 'demo' {says}; 'streamvaultctl status 348' shows it."
            )
            assert ran.code == ExitCode.INTERRUPTED
