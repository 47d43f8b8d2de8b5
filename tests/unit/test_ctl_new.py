# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl against a scripted daemon: filters, retry, prune, jobs, events, settings, reload, times."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamvaultd.ctl.commands import top
from streamvaultd.ctl.outcome import Usage
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.when import parse_when
from streamvaultd.errors import NothingToKeep, NothingToRetry
from tests.fakes.ctl import HOUR, NOW, FakeDaemon, at, event, one, recording, run, segment, zone

DAY = 24 * HOUR


def test_list_asks_for_what_is_filtered() -> None:
    daemon = FakeDaemon().on("List", {"recordings": []})
    ran = run(daemon, "list", "--status", "failed", "--since", "2h", "--until", "2026-11-18 11:00", "-n", "20")
    assert ran.out == "0 recordings listed.\n"
    minutes = 6 * 60_000_000 + 40_000_000
    asked = {"status": "failed", "since": NOW - 2 * HOUR, "until": NOW - minutes, "limit": 20}
    assert daemon.calls == [("List", asked)]


def test_an_empty_list_tells_the_first_steps_on_a_line_of_their_own() -> None:
    ran = run(FakeDaemon().on("List", {"recordings": []}).on("ListStreamers", {"streamers": []}), "list")
    first, steps = ran.out.splitlines()
    assert first.startswith("0 recordings listed.")
    assert steps.startswith("No streamer is watched yet: 'streamvaultctl add URL'")
    assert "\\n" not in ran.out


def test_list_says_why_there_is_no_file() -> None:
    why = "not kept: 8.0 s of media, and min_duration is 120 s"
    found = [
        recording("completed", number=2, detail=why),
        recording("backoff", number=1, detail="the network is away"),
    ]
    out = run(FakeDaemon().on("List", {"recordings": found}), "list", "--all").out
    assert why in out
    assert "the network is away" not in out


def test_list_goes_on_until_there_are_no_more_pages() -> None:
    daemon = FakeDaemon().on("List", {"recordings": [recording(number=3)], "next": 3})
    daemon.on("List", {"recordings": [recording(number=2)], "next": 2}).on("List", {"recordings": []})
    assert "2 recordings listed." in run(daemon, "list", "--all").out
    assert daemon.calls == [("List", {"all": True, **more}) for more in ({}, {"before": 3}, {"before": 2})]
    daemon = FakeDaemon().on("List", {"recordings": [recording(number=3)], "next": 3})
    assert len(json.loads(run(daemon, "list", "--all", "-n", "1", "--json=short").out)) == 1
    assert len(daemon.calls) == 1


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("now", NOW), ("2h", NOW - 2 * HOUR), ("30d ago", NOW - 30 * DAY), ("today", NOW - 11 * HOUR - 400_000_000),
        ("yesterday", NOW - 35 * HOUR - 400_000_000), ("2026-11-18", NOW - 11 * HOUR - 400_000_000),
        ("2026-11-18T11:06:40", NOW),
    ],
)  # fmt: skip
def test_times_are_written_as_people_write_them(text: str, when: int) -> None:
    with zone("UTC0"):
        assert parse_when(text, NOW) == when


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "5 parsecs", "2026-11-18 25:00"])
def test_what_is_no_time_is_explained(text: str) -> None:
    with pytest.raises(Usage, match="is no time"):
        parse_when(text, NOW)
    assert run(FakeDaemon(), "list", "--since", text or "?").code == 2


def test_retry_says_what_comes_of_it() -> None:
    daemon = FakeDaemon().on("Get", one("failed")).on("Retry", one("finalizing"))
    ran = run(daemon, "retry", "demo")
    assert (ran.code, ran.out, ran.err) == (0, "", "recording 348 of 'demo': finalizing\n")
    assert daemon.calls[-1] == ("Retry", {"recording": "348"})
    refused = NothingToRetry(recording=348, why="it is joined")
    ran = run(FakeDaemon().on("Get", one("completed")).on("Retry", refused), "retry", "demo")
    assert (ran.code, ran.out) == (1, "")
    assert "cannot try recording 348 again: it is joined" in ran.err


def test_retry_waits_for_the_file() -> None:
    daemon = FakeDaemon().on("Get", one("failed")).on("Retry", one("finalizing"))
    daemon.on("Subscribe", one("failed"), one("finalizing"), one("completed", path="/srv/x.ts"))
    ran = run(daemon, "retry", "demo", "--wait")
    assert (ran.code, ran.out) == (0, "/srv/x.ts\n")
    assert daemon.methods == ["Get", "Subscribe", "Retry"]


def test_a_mark_is_told_and_shown() -> None:
    marked = one("completed", path="/srv/x.ts", kept=True)
    daemon = FakeDaemon().on("Keep", marked).on("Unkeep", one("completed", path="/srv/x.ts"))
    ran = run(daemon, "keep", "demo")
    assert (ran.code, ran.out, ran.err) == (0, "", "recording 348 of 'demo' is marked to be kept.\n")
    ran = run(daemon, "unkeep", "348")
    assert (ran.code, ran.err) == (0, "recording 348 of 'demo' is not marked to be kept.\n")
    assert json.loads(run(daemon, "keep", "demo", "--json=short").out)["runtime"]["kept"] is True
    assert daemon.calls[:2] == [("Keep", {"recording": "demo"}), ("Unkeep", {"recording": "348"})]
    daemon = FakeDaemon().on("List", {"recordings": [marked["recording"]]})
    assert "completed, kept" in run(daemon, "list", "--kept").out
    assert daemon.calls == [("List", {"kept": True})]
    refused = FakeDaemon().on("Keep", NothingToKeep(recording=348, why="it has no media"))
    ran = run(refused, "keep", "demo")
    assert (ran.code, "cannot mark recording 348 to be kept: it has no media" in ran.err) == (1, True)


PRUNED: dict[str, Any] = {"recording": 7, "streamer": "demo", "files": ["/srv/x.ts"], "bytes": 2048, "done": True}
KEPT: dict[str, Any] = {**PRUNED, "recording": 8, "files": [], "bytes": 0, "done": False, "why": "it is recording"}


def test_prune_asks_on_a_terminal_and_shows_what_would_go() -> None:
    daemon = FakeDaemon().on("Prune", {"pruned": [PRUNED, KEPT], "bytes": 2048, "more": False})
    for answer, is_done in (("y\n", True), ("\n", False), ("n\n", False)):
        daemon.calls.clear()
        daemon.answers = [answer]
        ran = run(daemon, "prune", "--older-than", "30d", on_terminal=True, NO_COLOR="1")
        assert [call[1].get("dryRun") for call in daemon.calls] == [True, *([None] if is_done else [])]
        assert "dry-run" in ran.err
        assert ("Nothing is removed." in ran.err) is not is_done
        assert "Remove 2.0K? [y/N] " in ran.err
    for more in (["--yes"], ["--json=short"]):
        daemon.calls.clear()
        run(daemon, "prune", "--older-than", "30d", *more, on_terminal=True)
        assert [call[1].get("dryRun") for call in daemon.calls] == [None]


def test_prune_says_what_went_and_what_was_kept() -> None:
    daemon = FakeDaemon().on("Prune", {"pruned": [PRUNED, KEPT], "bytes": 2048, "more": False})
    ran = run(daemon, "prune", "--older-than", "30d")
    assert ran.code == 1
    assert ran.out == (
        "removed recording 7 of 'demo': 2.0K, /srv/x.ts.\n"
        "kept    recording 8 of 'demo': it is recording.\n\n"
        "2.0K removed, of 1 recording.\n"
    )
    assert daemon.calls == [("Prune", {"olderThanUSec": 30 * DAY})]


def test_prune_goes_on_while_there_is_more_but_not_for_a_dry_run() -> None:
    more = {"pruned": [PRUNED], "bytes": 2048, "more": True}
    daemon = FakeDaemon().on("Prune", more).on("Prune", {"pruned": [PRUNED], "bytes": 2048, "more": False})
    assert "4.0K removed, of 2 recordings." in run(daemon, "prune", "--older-than", "1w").out
    daemon = FakeDaemon().on("Prune", more)
    ran = run(daemon, "prune", "--older-than", "1w", "--dry-run", "--failed", "--force", "--streamer", "demo")
    assert "2.0K would be removed, of 1 recording. There are more" in ran.out
    asked = {"olderThanUSec": 7 * DAY, "dryRun": True, "failed": True, "force": True, "streamer": "demo"}
    assert daemon.calls == [("Prune", asked)]


def test_prune_shows_what_retention_will_remove() -> None:
    rule = "keep_recordings: there are 3 newer ones"
    answer = {"pruned": [PRUNED | {"rule": rule}], "bytes": 2048, "more": False, "notes": ["keep_for does not count"]}
    daemon = FakeDaemon().on("Prune", answer)
    ran = run(daemon, "prune", "--by-retention", "--dry-run", "--streamer", "demo")
    assert (ran.code, daemon.calls) == (0, [("Prune", {"streamer": "demo", "byRetention": True, "dryRun": True})])
    assert ran.out == (
        f"dry-run recording 7 of 'demo' ({rule}): 2.0K, /srv/x.ts.\n"
        "note: keep_for does not count.\n\n"
        "2.0K would be removed, of 1 recording.\n"
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["prune"],
        ["prune", "demo", "--older-than", "1d"],
        ["prune", "demo", "--streamer", "other"],
        ["prune", "demo", "--by-retention"],
        ["prune", "--older-than", "1d", "--by-retention"],
        ["prune", "--by-retention", "--failed"],
    ],
)
def test_prune_wants_a_recording_or_an_age(argv: list[str]) -> None:
    daemon = FakeDaemon()
    ran = run(daemon, *argv)
    assert (ran.code, daemon.calls) == (2, [])
    assert "give a recording, or --older-than" in ran.err


def test_jobs_are_listed_with_why_they_failed() -> None:
    failed = {
        "id": 4, "recording": 348, "kind": "join", "status": "failed", "attempts": 2, "why": "no space",
        "unit": "streamvault-job-4.scope", "createdAt": at(NOW - 60_000_000), "endedAt": at(NOW),
    }  # fmt: skip
    daemon = FakeDaemon().on("ListJobs", {"jobs": [failed]})
    ran = run(daemon, "jobs", "demo")
    assert ran.out.splitlines()[1].split() == [
        "4", "348", "join", "failed", "2", "2026-11-18", "11:05:40", "1min", "streamvault-job-4.scope", "no", "space",
    ]  # fmt: skip
    run(daemon, "jobs")
    run(daemon, "jobs", "--all", "-n", "3")
    assert [call[1] for call in daemon.calls] == [{"recording": "demo"}, {"status": "running"}, {"limit": 3}]


def test_events_are_shown_the_latest_last() -> None:
    daemon = FakeDaemon().on("ListEvents", {"events": [event(message="second"), event(message="first")]})
    ran = run(daemon, "events", "demo", "-p", "warning", "--kind", "segment-died")
    assert [line.rpartition(" ")[2] for line in ran.out.splitlines()] == ["first", "second"]
    assert daemon.calls == [("ListEvents", {"recording": "demo", "priority": 4, "kind": "segment-died", "limit": 50})]


def test_settings_that_are_not_as_by_default_stand_out() -> None:
    found = [
        {"section": "disk", "key": "floor", "value": "1G", "default": "16M", "about": "Left free."},
        {"section": "rotation", "key": "age", "value": "23h 58min 48s", "default": "23h58min48s", "about": "Age."},
    ]
    ran = run(FakeDaemon().on("GetSettings", {"settings": found}), "settings", on_terminal=True, COLUMNS="120")
    assert "\x1b[1m1G" in ran.out
    assert "\x1b[1m23h" not in ran.out


def test_reload_prints_every_mistake() -> None:
    mistake = {"file": "/etc/x.toml", "section": "disk", "key": "floor", "value": "-1", "why": "too small"}
    unreadable = {"file": "/etc/y.toml", "why": "not TOML"}
    ran = run(FakeDaemon().on("Reload", {"applied": False, "mistakes": [mistake, unreadable]}), "reload")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "/etc/x.toml: [disk] floor = -1: too small\n/etc/y.toml: not TOML\nthe old settings stay: 2 mistakes\n"
    )
    ran = run(FakeDaemon().on("Reload", {"applied": True, "mistakes": []}), "reload")
    assert (ran.code, ran.err) == (0, "settings reloaded\n")
    ran = run(FakeDaemon().on("Reload", {"applied": True, "mistakes": [unreadable]}), "reload")
    assert (ran.code, ran.err) == (1, "/etc/y.toml: not TOML\nsettings reloaded: 1 mistake\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_the_program(shell: str) -> None:
    ran = run(FakeDaemon(), "completion", shell)
    assert ran.code == 0
    assert f"_STREAMVAULTCTL_COMPLETE={shell}_complete" in ran.out
    assert run(FakeDaemon(), "completion", "tcsh").code == 2


# --- top -----------------------------------------------------------------------------------------------------------


def test_top_wants_a_terminal() -> None:
    ran = run(FakeDaemon(), "top")
    assert ran.code == 1
    assert "no terminal" in ran.err


def status() -> dict[str, Any]:
    return {
        "version": "1", "state": "running", "startedAt": at(NOW - HOUR), "recordings": 1, "segments": 1, "jobs": 0,
        "streamlinkCommand": "streamlink", "streamlinkVersion": "8.1", "store": "/var/lib/x.sqlite",
        "unreachableTargets": [],
        "unconfined": [], "mistakes": [],
    }  # fmt: skip


def test_top_shows_rates_of_the_last_interval_and_the_last_events() -> None:
    daemon = FakeDaemon().on("List", {"recordings": [recording(bytes=10 << 20)]})
    daemon.on("List", {"recordings": [recording(bytes=14 << 20)]}).on("GetStatus", status())
    runs = segment(2, memoryCurrent=48 << 20, memoryMax=256 << 20)
    daemon.on("ListSegments", {"segments": [segment(1, "ended"), runs]})
    daemon.on("ListEvents", {"events": [event(message="Segment 1 died")]})
    clock = iter([NOW, NOW + 2_000_000])
    screen: Any = None
    session = Session(screen=screen, client_of=daemon.client_of, now=lambda: next(clock), execute=lambda _argv: None)
    before, now = top.look(session), top.look(session)
    lines = ["".join(span.text for span in item) for item in top.view(session, now, before, 120)]
    row = next(item for item in lines if "demo" in item and "recording" in item)
    assert "14.0M  2.0M/s" in row
    assert "48.0M  256.0M" in row
    assert "1 recording, 2.0M/s" in lines
    assert lines[-1].endswith("Segment 1 died")
