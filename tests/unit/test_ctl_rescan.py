# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl rescan against a scripted daemon."""

from __future__ import annotations

from typing import Any

from tests.fakes.ctl import FakeDaemon, run

KNOWN = {"path": "/r/a/.stream_1.json", "verdict": "known", "text": "is recording 1 of the store", "recording": 1}
REBUILT = {"path": "/r/a/.stream_2.json", "verdict": "rebuilt", "text": "is recording 2 again", "recording": 2}
LEFT = {"path": "/r/a/stream_3_segments", "verdict": "no-manifest", "text": "has no\x1b manifest"}


def rescan(*found: dict[str, Any]) -> FakeDaemon:
    return FakeDaemon().on("Rescan", {"found": list(found)})


def test_what_was_rebuilt_is_shown_and_what_is_known_is_counted() -> None:
    ran = run(rescan(KNOWN, REBUILT), "rescan")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "rebuilt /r/a/.stream_2.json: is recording 2 again.\n"
        "\n"
        "2 recordings on disk: 1 known, 1 rebuilt, 0 left alone.\n"
    )


def test_what_was_left_alone_fails_and_is_escaped() -> None:
    ran = run(rescan(REBUILT, LEFT), "rescan", "--dry-run")
    assert ran.code == 1
    assert "\x1b" not in ran.out
    assert ran.out.endswith("2 recordings on disk: 0 known, 1 would be rebuilt, 1 left alone.\n")
