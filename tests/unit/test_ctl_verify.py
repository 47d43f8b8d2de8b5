# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl verify: verdicts on files and on the results of recordings, and their exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.fakes.ctl import FakeDaemon, recording, run
from tests.unit.test_media_transport import Broadcast

LIVE = Broadcast(12)


def test_a_sound_file_needs_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "show.ts"
    path.write_bytes(LIVE.window(0, 9))
    ran = run(FakeDaemon(), "verify", str(path))
    assert ran.code == 0
    assert (
        ran.out
        == f"{path}: sound (ts, {len(LIVE.window(0, 9)) / 1024:.1f}K, 4s, {len(LIVE.window(0, 9)) // 188} packets)\n"
    )


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "show.ts"
    path.write_bytes(LIVE.window(0, 1) + LIVE.window(9, 11) + b"x")
    ran = run(FakeDaemon(), "verify", str(path))
    assert ran.code == 1
    assert "ms of media are missing" in ran.out
    answer = json.loads(run(FakeDaemon(), "verify", str(path), "--json=short").out)
    assert answer["verdict"] == "damaged"
    assert answer["problems"][-1] == {
        "offset": len(LIVE.window(0, 1) + LIVE.window(9, 11)),
        "atMs": answer["problems"][-1]["atMs"],
        "kind": "torn",
        "text": "1 bytes at the end are no whole packet",
    }


def test_foreign_files_are_unknown_and_missing_ones_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a holiday film" * 100)
    ran = run(FakeDaemon(), "verify", str(path))
    assert (ran.code, "unknown" in ran.out) == (1, True)
    ran = run(FakeDaemon(), "verify", str(tmp_path / "none"))
    assert ran.code == 1
    assert "cannot read" in ran.err


def test_a_recording_stands_for_its_joined_file(tmp_path: Path) -> None:
    path = tmp_path / "show.ts"
    path.write_bytes(LIVE.window(0, 9))
    done = FakeDaemon().on("Get", {"recording": recording("completed", path=str(path))})
    done.on("ListParts", {"parts": [], "notes": []})
    assert run(done, "verify", "demo").code == 0
    running = FakeDaemon().on("Get", {"recording": recording("recording")})
    ran = run(running, "verify", "demo")
    assert (ran.code, "it is not joined yet" in ran.err) == (1, True)


def test_all_parts_of_a_recording_are_looked_at(tmp_path: Path) -> None:
    paths = [tmp_path / "show.ts", tmp_path / "show.part2.ts"]
    paths[0].write_bytes(LIVE.window(0, 9))
    paths[1].write_bytes(LIVE.window(0, 9)[:-1])
    parts = [{"path": str(path), "bytes": path.stat().st_size} for path in paths]
    done = FakeDaemon().on("Get", {"recording": recording("completed", path=str(paths[0]))})
    done.on("ListParts", {"parts": parts, "notes": []})
    ran = run(done, "verify", "demo")
    assert ran.code == 1
    assert [line.partition(" (")[0] for line in ran.out.splitlines() if not line.startswith(" ")] == [
        f"{paths[0]}: sound",
        f"{paths[1]}: damaged",
    ]
    answers = [json.loads(line) for line in run(done, "verify", "demo", "--json=short").out.splitlines()]
    assert [answer["verdict"] for answer in answers] == ["sound", "damaged"]


@pytest.mark.parametrize(
    ("content", "verdict", "code"),
    [(b"ranges of a segment", "kept", 0), (b"something else", "damaged", 1), (None, "missing", 1)],
)
def test_of_what_is_kept_only_its_bytes_are_compared(
    tmp_path: Path, content: bytes | None, verdict: str, code: int
) -> None:
    path, beside = tmp_path / "show.ts", tmp_path / "show.kept2.ts"
    path.write_bytes(LIVE.window(0, 9))
    if content is not None:
        beside.write_bytes(content)
    digest = hashlib.sha256(b"ranges of a segment").hexdigest()
    kept = {"path": str(beside), "bytes": 19, "isKept": True, "segment": 2, "sha256": digest}
    done = FakeDaemon().on("Get", {"recording": recording("completed", path=str(path))})
    done.on("ListParts", {"parts": [{"path": str(path), "bytes": 1}, kept], "notes": []})
    ran = run(done, "verify", "demo")
    assert ran.code == code
    assert f"{beside}: {verdict} (19B of segment 002 that may not be in the result; " in ran.out
    assert ("not looked into" in ran.out) == (verdict == "kept")
    answers = [json.loads(line) for line in run(done, "verify", "demo", "--json=short").out.splitlines()]
    assert [answer["verdict"] for answer in answers] == ["sound", verdict]
