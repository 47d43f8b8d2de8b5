# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl check and cleanup against a scripted daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamvaultd.errors import AuditFailed
from tests.fakes.ctl import FakeDaemon, not_running, run

CHECKED = {"recordings": 3, "segments": 7, "units": 1, "processes": 2, "files": 4, "pipes": 1, "jobs": 0}
COUNTS = "3 recordings, 7 segments, 1 unit, 2 processes, 4 files, 1 exit pipe, 0 jobs"


def violation(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "scope-unknown",
        "rule": "I1",
        "subject": "streamvault-9-001.scope",
        "text": "It runs, and no recording knows it. Nobody would join it.",
        "unit": "streamvault-9-001.scope",
        "repair": "the scope is stopped",
        **fields,
    }


def unreadable() -> dict[str, Any]:
    return violation(kind="row-unreadable", rule="P7", subject="recording 5", repair=None, advice="mend\x1b the row")


def check(*found: dict[str, Any], unseen: tuple[str, ...] = ()) -> FakeDaemon:
    return FakeDaemon().on("Check", {"violations": list(found), "checked": CHECKED, "unseen": list(unseen)})


def cleanup(*details: dict[str, Any], cleaned: int = 0) -> FakeDaemon:
    errors = sum(not detail["done"] for detail in details)
    answer = {"checked": CHECKED, "cleaned": cleaned, "errors": errors, "details": list(details)}
    return FakeDaemon().on("Cleanup", answer)


def repair(done: bool, text: str, **fields: Any) -> dict[str, Any]:
    return {"violation": violation(**fields), "done": done, "text": text}


def test_nothing_wrong() -> None:
    ran = run(check(), "check")
    assert (ran.code, ran.out, ran.err) == (0, f"0 violations. Checked: {COUNTS}.\n", "")
    assert run(check(), "check", "--quiet").out == ""


def test_violations_are_one_line_each() -> None:
    ran = run(check(violation(), unreadable(), unseen=("some folders",)), "check")
    assert ran.code == 1
    assert ran.out == (
        "I1 scope-unknown streamvault-9-001.scope: It runs, and no recording knows it. Nobody would join it. "
        "Cleanup: the scope is stopped.\n"
        "P7 row-unreadable recording 5: It runs, and no recording knows it. Nobody would join it. "
        "To do: mend\\x1b the row.\n"
        "\n"
        "Not looked at: some folders.\n"
        f"2 violations. Checked: {COUNTS}. 'streamvaultctl cleanup' repairs 1 of them.\n"
    )
    assert len(run(check(violation()), "check", "--no-legend").out.splitlines()) == 1


def test_check_as_json() -> None:
    ran = run(check(violation()), "check", "--json=short")
    assert ran.code == 1
    assert json.loads(ran.out)["violations"][0]["kind"] == "scope-unknown"


def test_a_dry_run_asks_for_one() -> None:
    daemon = cleanup(repair(True, "would be repaired: the scope is stopped"))
    ran = run(daemon, "cleanup", "--dry-run")
    assert daemon.calls == [("Cleanup", {"dryRun": True})]
    assert ran.code == 0
    assert ran.out == (
        "dry-run scope-unknown streamvault-9-001.scope: would be repaired: the scope is stopped.\n"
        "\n"
        f"Checked: {COUNTS}. 1 would be cleaned, 0 errors.\n"
    )


def test_what_was_done_and_what_was_not() -> None:
    left = repair(False, "somebody writes to it", kind="file-empty")
    daemon = cleanup(repair(True, "it was stopped"), left, cleaned=1)
    ran = run(daemon, "cleanup")
    assert daemon.calls == [("Cleanup", {})]
    assert ran.code == 1
    assert ran.out == (
        "cleaned scope-unknown streamvault-9-001.scope: it was stopped.\n"
        "error   file-empty streamvault-9-001.scope: It runs, and no recording knows it. Nobody would join it. "
        "Left alone: somebody writes to it.\n"
        "\n"
        f"Checked: {COUNTS}. 1 cleaned, 1 error.\n"
    )
    assert json.loads(run(daemon, "cleanup", "--json=short").out)["errors"] == 1


@pytest.mark.parametrize("command", ["check", "cleanup"])
def test_no_answer(command: str) -> None:
    method = command.capitalize()
    assert run(FakeDaemon().on(method, not_running()), command).code == 3
    failed = run(FakeDaemon().on(method, AuditFailed(why="the bus is away")), command)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("streamvaultctl: cannot check everything: the bus is away\n")


@pytest.mark.parametrize("answer", [{}, {"violations": [{}], "checked": CHECKED}, {"violations": [], "checked": 1}])
def test_an_answer_of_another_shape(answer: dict[str, Any]) -> None:
    ran = run(FakeDaemon().on("Check", answer), "check")
    assert ran.code == 1
    assert "cannot understand the daemon's answer" in ran.err
