# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick parser and click: whatever the first understands, the second understands the same; and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.ctl import cli, quick
from streamvaultd.ctl.index import PLACES, find
from streamvaultd.ctl.options import COMMON, Command
from streamvaultd.ctl.outcome import Usage
from streamvaultd.ctl.session import Session
from streamvaultd.errors import NoSuchRecording
from tests.fakes.ctl import FakeDaemon, recording, run

WORDS = st.lists(
    st.sampled_from([
        *PLACES, "demo", "348", "install", "https://x/y", "--all", "-a", "-n", "5", "0", "-n5", "--limit", "--limit=3",
        "--json", "--json=short", "short", "--no-pager", "-q", "-aq", "--socket", "/tmp/s", "--", "-", "--wait",
        "--dry-run",
        "--older-than", "30d", "--since=2h", "-p", "err", "--lines", "-1", "", "--status", "failed", "--help", "-x",
        "bash",
    ]),
    max_size=6,
)  # fmt: skip


def by_click(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """The command that click runs, its parameters, and the common options; None if it runs none."""
    heard: list[tuple[str, dict[str, Any]]] = []

    def note(command: Command, _session: object, **values: object) -> object:
        heard.append((command.name, values))
        return 0

    monkeypatch.setattr(Command, "__call__", note)
    session: Any = type("Session", (Session,), {"__init__": lambda _self: None})()
    try:
        cli.run(argv, session)
    except (Usage, SystemExit):
        return None
    return (*heard[0], dict(vars(session))) if heard else None


@given(words=WORDS)
def test_the_two_parsers_agree(words: list[str]) -> None:
    quickly = quick.parse(words, find, COMMON, "list")
    if quickly is None:
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = by_click(words, monkeypatch)
    assert found is not None, words
    name, values, common = found
    assert quickly.command.name == name
    assert {k: v or None for k, v in quickly.values.items()} == {k: v or None for k, v in values.items()}
    assert quickly.common == common


@pytest.mark.parametrize(
    "argv",
    [
        [], ["list"], ["-q", "list", "demo", "--all"], ["list", "--json=short"], ["status", "demo", "--no-pager"],
        ["logs", "demo", "-f", "-n", "20"], ["streamlink", "install", "8.1"], ["record", "https://x", "--name", "a"],
        ["prune", "--older-than", "30d", "--dry-run"], ["list", "--limit=20", "--status", "failed"],
    ],
)  # fmt: skip
def test_what_is_written_plainly_needs_no_click(argv: list[str]) -> None:
    assert quick.parse(argv, find, COMMON, "list") is not None


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["list", "--help"], ["lst"], ["list", "-aq"], ["list", "-n5"], ["logs"], ["list", "--limit", "0"],
     ["list", "--", "x"], ["list", "a", "b"], ["list", "--json=xml"], ["list", "--all=yes"], ["streamlink"]],
)  # fmt: skip
def test_the_rest_is_left_to_click(argv: list[str]) -> None:
    assert quick.parse(argv, find, COMMON, "list") is None


def test_every_command_is_where_it_is_said_to_be() -> None:
    for name in PLACES:
        command = find(name)
        assert command is not None
        assert command.name == name
        assert command.help
    assert find("xyzzy") is None


def test_names_that_are_nearly_right_are_suggested() -> None:
    daemon = FakeDaemon().on("Get", NoSuchRecording(recording="alcie"))
    daemon.on("List", {"recordings": [recording(streamer="alice"), recording(streamer="bob")]})
    ran = run(daemon, "status", "alcie")
    assert ran.code == 4
    assert "did you mean 'alice'?" in ran.err
