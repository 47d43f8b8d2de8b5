# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials with options for streamlink."""

from __future__ import annotations

from pathlib import Path

from streamvaultd.config import credentials


def test_options_of_each_credential(tmp_path: Path) -> None:
    (tmp_path / "streamvault.twitch").write_text(
        "# mine\ntwitch-api-header=Authorization=OAuth planted\n\nffmpeg-no-validation\n"
    )
    (tmp_path / "pgpass").write_text("something else")
    found, mistakes = credentials.load(tmp_path)
    assert mistakes == ()
    assert found == {
        "twitch": (("twitch-api-header", "Authorization=OAuth planted"), ("ffmpeg-no-validation", "true"))
    }


def test_mistakes_do_not_show_what_they_are_about(tmp_path: Path) -> None:
    (tmp_path / "streamvault.bad").write_text("planted secret\nstdout=planted\nhttp-cookie=fine\n")
    (tmp_path / "streamvault.worse").write_bytes(b"\xff\xfe")
    found, mistakes = credentials.load(tmp_path)
    assert found == {}
    assert [mistake.fields["file"] for mistake in mistakes] == ["streamvault.bad"] * 2 + ["streamvault.worse"]
    assert not [mistake for mistake in mistakes if "planted" in str(mistake)]


def test_a_service_without_credentials() -> None:
    assert credentials.load(None) == ({}, ())
