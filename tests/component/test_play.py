# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl play, with real files and a real player, before a daemon that answers from a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.component.test_event_playlist import whole
from tests.component.test_join_media import SECONDS, Source, transport
from tests.fakes.ctl import FakeDaemon, lost, not_running, one, run, segment

__all__ = ["transport"]

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine


@pytest.fixture
def files(tmp_path: Path, transport: Source) -> list[Path]:
    """Two segments, of which the second one began before the first one ended."""
    paths = [tmp_path / "segment_001.ts", tmp_path / "segment_002.ts"]
    paths[0].write_bytes(transport.capture(*range(9)))
    paths[1].write_bytes(transport.capture(*range(6, SECONDS)))
    return paths


def daemon(state: str, files: list[Path], *phases: str) -> FakeDaemon:
    told: list[dict[str, Any]] = [
        segment(number, phase, path=str(path))
        for number, (path, phase) in enumerate(zip(files, phases, strict=True), 1)
    ]
    return FakeDaemon().on("Get", one(state)).on("ListSegments", {"segments": told})


def player(folder: Path, *before: str) -> Path:
    """It writes down which pictures it shows."""
    script = folder / "player"
    show = 'ffmpeg -nostdin -v error -live_start_index 0 -i "$1" -map 0:v -fps_mode passthrough -f framemd5'
    script.write_text("\n".join(["#!/bin/sh", *before, f"{show} {folder}/shown", ""]))
    script.chmod(0o755)
    return script


def shown(folder: Path) -> list[str]:
    lines = (folder / "shown").read_text().splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def test_the_player_gets_every_picture_once_though_the_files_are_removed(
    tmp_path: Path, files: list[Path], transport: Source
) -> None:
    gone = " ".join(map(str, files))
    ran = run(
        daemon("finalizing", files, "ended", "ended"), "play", "demo", "--player", str(player(tmp_path, f"rm {gone}"))
    )
    assert (ran.code, ran.err) == (0, "")
    assert shown(tmp_path) == whole(tmp_path, transport)


def test_a_player_begins_while_it_is_recorded_and_a_daemon_may_be_away(
    tmp_path: Path, files: list[Path], transport: Source
) -> None:
    asked = daemon("rotating", files, "writing", "writing")
    asked.on("Get", one("rotating")).on("Get", lost()).on("Get", not_running()).on("Get", one("finalizing"))
    asked.on("ListSegments", {"segments": [segment(n, "ended", path=str(path)) for n, path in enumerate(files, 1)]})
    assert run(asked, "play", "demo", "--player", str(player(tmp_path))).code == 0
    assert shown(tmp_path) == whole(tmp_path, transport)


def test_a_playlist_is_printed_with_the_paths_of_the_files(files: list[Path]) -> None:
    ran = run(daemon("recording", files, "ended", "writing"), "play", "demo", "--print")
    lines = ran.out.splitlines()
    assert (ran.code, lines[0]) == (0, "#EXTM3U")
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in lines
    assert "#EXT-X-ENDLIST" not in lines
    assert list(dict.fromkeys(line for line in lines if not line.startswith("#"))) == [str(path) for path in files]


def test_of_a_result_the_files_are_played(tmp_path: Path) -> None:
    parts = [{"path": f"/srv/demo{number}.ts", "bytes": 1} for number in ("", ".part2")]
    parts.append({"path": "/srv/demo.kept2.ts", "bytes": 1, "isKept": True})
    done = FakeDaemon().on("Get", one("completed", path="/srv/demo.ts")).on("ListParts", {"parts": parts, "notes": []})
    ran = run(done, "play", "demo", "--player", "mpv --no-audio")
    assert ran.err == ""
    assert ran.executed == [["mpv", "--no-audio", "/srv/demo.ts", "/srv/demo.part2.ts"]]
    assert run(done, "play", "demo", "--print").out == "/srv/demo.ts\n/srv/demo.part2.ts\n"
    assert json.loads(run(done, "play", "demo", "--print", "--json=short").out)["files"] == [
        "/srv/demo.ts", "/srv/demo.part2.ts",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x1a\x45\xdf\xa3" + bytes(200_000), "it comes as Matroska, that can be read from its start alone, so"),
        (b"", "it has no media"),
        (None, "it has no media"),
    ],
)
def test_what_cannot_be_played_says_why(tmp_path: Path, data: bytes | None, why: str) -> None:
    path = tmp_path / "segment_001.ts"
    if data is not None:
        path.write_bytes(data)
    ran = run(daemon("finalizing", [path], "ended"), "play", "demo", "--print")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"streamvaultctl: cannot play recording 348: {why}")


def test_a_player_that_is_not_there_or_fails_is_told(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = daemon("finalizing", files, "ended", "ended")
    assert "cannot run /none: No such file" in run(asked, "play", "demo", "--player", "/none").err
    assert "false ended with status 1" in run(asked, "play", "demo", "--player", "false").err
    monkeypatch.setenv("PATH", "/none")
    assert "none of mpv, vlc, ffplay is installed" in run(asked, "play", "demo").err
