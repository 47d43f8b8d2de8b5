# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl set, edit and add: streamers' files changed by people, against a scripted daemon and real files."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.config.inputs import name_of
from streamvaultd.errors import NoSuchStreamer, StreamerExists
from tests.fakes.ctl import NOW, FakeDaemon, at, run

TEXT = '# Ada\n[streamer]\nurl = "https://site.example/ada"  # her page\n'
APPLIED: dict[str, Any] = {"applied": True, "mistakes": []}


def streamer(name: str, file: Path) -> dict[str, Any]:
    return {
        "name": name,
        "context": {"url": f"https://site.example/{name}", "file": str(file), "own": True, "enabled": True},
        "runtime": {"state": "offline", "since": at(NOW), "failures": 0},
    }


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "streamers.d" / "ada.toml"
    file.parent.mkdir()
    file.write_text(TEXT)
    file.chmod(0o640)
    return file


def daemon(file: Path, *reloads: dict[str, Any]) -> FakeDaemon:
    found = FakeDaemon().on("GetStreamer", {"streamer": streamer("ada", file)})
    for reload in reloads or (APPLIED,):
        found.on("Reload", reload)
    return found


def wrong(file: Path) -> dict[str, Any]:
    mistake = {"file": str(file), "section": "recording", "key": "max_duration", "value": "'2 parsecs'", "why": "no"}
    return {"applied": True, "mistakes": [mistake, {"file": "/etc/other.toml", "why": "it is no TOML"}]}


def test_set_changes_keys_and_leaves_comments(file: Path) -> None:
    ran = run(daemon(file), "set", "ada", "enabled=false", "max_duration=2h", "quality=720p,best")
    assert (ran.code, ran.out) == (0, "")
    assert file.read_text() == (
        '# Ada\n[streamer]\nurl = "https://site.example/ada"  # her page\nenabled = false\n'
        'quality = "720p,best"\n\n[recording]\nmax_duration = "2h"\n'
    )
    assert file.stat().st_mode & 0o777 == 0o640
    assert run(daemon(file), "set", "ada", "max_duration=").code == 0
    assert "max_duration" not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["ada.toml"]


def test_a_mistake_changes_nothing(file: Path) -> None:
    asked = daemon(file, wrong(file), APPLIED)
    ran = run(asked, "set", "ada", "max_duration=2 parsecs")
    assert (ran.code, file.read_text()) == (1, TEXT)
    assert "max_duration = '2 parsecs': no" in ran.err
    assert "other.toml" not in ran.err
    assert asked.methods == ["GetStreamer", "Reload", "Reload"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("max_duration", "is no KEY=VALUE"),
        ("colour=red", "there is no setting 'colour' of a streamer"),
        ("streamer.max_duration=2h", "there is no setting"),
    ],
)
def test_what_is_no_setting_is_said_to_be_none(file: Path, change: str, told: str) -> None:
    ran = run(daemon(file), "set", "ada", change)
    assert (ran.code, file.read_text()) == (2, TEXT)
    assert told in ran.err


def test_a_streamer_that_there_is_not(file: Path) -> None:
    asked = FakeDaemon().on("GetStreamer", NoSuchStreamer(streamer="bob"))
    assert run(asked, "set", "bob", "enabled=false").code == 4
    file.unlink()
    file.symlink_to("/etc/passwd")
    ran = run(daemon(file), "set", "ada", "enabled=false")
    assert ran.code == 1
    assert "symbolic link" in ran.err


def editor(folder: Path, *texts: str) -> str:
    """A program that puts one of these texts after the other into the file it is given."""
    for number, text in enumerate(texts):
        (folder / f"text{number}").write_text(text)
    script = folder / "editor"
    script.write_text(
        f'#!/bin/sh\ncd {folder}\nn=$(cat n 2>/dev/null || echo 0)\ncat "text$n" > "$1"\necho $((n + 1)) > n\n'
    )
    script.chmod(0o755)
    return str(script)


def test_edit_opens_it_again_until_it_is_right(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, TEXT + "# wrong\n", TEXT + "# right\n"))
    asked = daemon(file, wrong(file), APPLIED)
    asked.answers = ["\n"]
    ran = run(asked, "edit", "ada")
    assert (ran.code, file.read_text()) == (0, TEXT + "# right\n")
    assert "Edit it again? [Y/n] " in ran.err
    assert "2 parsecs" in ran.err


@pytest.mark.parametrize("answers", [["n\n"], []])
def test_edit_leaves_the_old_text_where_a_mistake_stays(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, TEXT + "# wrong\n"))
    asked = daemon(file, wrong(file), APPLIED)
    asked.answers = answers
    assert run(asked, "edit", "ada").code == 1
    assert file.read_text() == TEXT


def test_edit_that_changes_nothing_asks_for_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "true")
    asked = daemon(file)
    ran = run(asked, "edit", "ada")
    assert (ran.code, ran.err, asked.methods) == (0, "Nothing is changed.\n", ["GetStreamer"])
    monkeypatch.setenv("VISUAL", "false")
    assert "false ended with status 1" in run(asked, "edit", "ada").err


def test_edit_mends_a_file_whose_streamer_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, TEXT + "# mended\n"))
    asked = FakeDaemon().on("GetStreamer", NoSuchStreamer(streamer="ada")).on("Reload", APPLIED)
    asked.on("GetStatus", {"mistakes": [{"file": str(file), "why": "it is no TOML"}]})
    assert run(asked, "edit", "ada").code == 0
    assert file.read_text().endswith("# mended\n")


def test_add_takes_several_urls_and_a_list(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = FakeDaemon().on("AddStreamer", {"streamer": streamer("ada", file)})
    asked.on("AddStreamer", StreamerExists(streamer="ada")).on("AddStreamer", {"streamer": streamer("bob", file)})
    monkeypatch.setattr(sys, "stdin", io.StringIO("# friends\n\nhttps://site.example/bob \n"))
    ran = run(asked, "add", "https://site.example/ada", "https://site.example/ada", "-")
    assert ran.code == 1
    assert [call[1]["url"].rpartition("/")[2] for call in asked.calls] == ["ada", "ada", "bob"]
    assert "a streamer of this name is watched already" in ran.err
    assert "2 streamers added, 1 not." in ran.err
    assert run(asked, "add", "https://a", "https://b", "--name", "c").code == 2


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://www.twitch.tv/ada", "ada"), ("twitch.tv/ada", "ada"), ("https://site.example/ada/live.m3u8", "ada"),
        ("https://host.example/live.m3u8", "host.example"), ("https://www.youtube.com/@ada/live", "ada"),
        ("https://host.example/hls/ada/1080p/index.m3u8?token=x", "ada"), ("https://host.example/", "host.example"),
        ("http://127.0.0.1:8080/demo/live.m3u8", "demo"), ("https://site.example/c/ada", "ada"),
    ],
)  # fmt: skip
def test_a_name_from_a_url_tells_one_address_from_another(url: str, name: str) -> None:
    assert name_of(url) == name
