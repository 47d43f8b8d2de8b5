# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command on terminals of any width, in a pipe, as JSON, without a daemon or the right to reach it, and with a
name that there is not: it ends as it should, says what to do, and loses nothing without a sign.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.ctl.commands import top
from streamvaultd.ctl.index import PLACES
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.screen import Screen
from streamvaultd.ctl.show.text import line, width
from streamvaultd.errors import (
    DaemonNotRunning,
    NoSuchRecording,
    NoSuchSegment,
    NoSuchStreamer,
    VaultError,
)  # fmt: skip
from streamvaultd.varlink import idl
from streamvaultd.varlink.server import read_definition
from tests.fakes.ctl import NOW, FakeDaemon, Ran, Terminal, at, event, one, recording, run, segment
from tests.unit.test_ctl_files import TEXT, editor, streamer
from tests.unit.test_ctl_widths import ANSWERS

METHODS = sorted(idl.parse(read_definition("io.streamvault.Recorder")).methods)
URL = "https://example.org/live.m3u8"
RESULT = "/srv/media/demo/demo_2026-11-18T09-03-40_348.ts"
CHECKED = dict.fromkeys(("recordings", "segments", "units", "processes", "files", "pipes", "jobs"), 1)
VIOLATION = {"rule": "A1", "kind": "stray-scope", "subject": "streamvault-9-001.scope", "text": "It has no row."}
END = {
    "segment": 2, "phase": "ended", "startedAt": at(NOW - 90_000_000), "endedAt": at(NOW - 60_000_000), "bytes": 4096,
    "cause": "signal:9", "death": True, "why": "it was killed by signal 9", "events": [event()],
}  # fmt: skip

WAYS: dict[str, tuple[str, ...]] = {
    "record": ("record", URL, "--wait"),
    "list": ("list", "--all", "--long"),
    "list kept": ("list", "--kept"),
    "status": ("status", "demo"),
    "status of all": ("status",),
    "segments": ("segments", "demo"),
    "seams": ("seams", "demo"),
    "why": ("why", "demo"),
    "timeline": ("timeline", "demo"),
    "timeline svg": ("timeline", "demo", "--svg"),
    "chat": ("chat", "demo"),
    "stop": ("stop", "demo", "--wait"),
    "wait": ("wait", "demo"),
    "rotate": ("rotate", "demo"),
    "retry": ("retry", "demo", "--wait"),
    "keep": ("keep", "demo"),
    "unkeep": ("unkeep", "demo"),
    "jobs": ("jobs", "demo"),
    "events": ("events", "demo"),
    "monitor": ("monitor", "demo"),
    "top": ("top",),
    "logs": ("logs", "demo"),
    "play": ("play", "demo", "--print"),
    "check": ("check",),
    "cleanup": ("cleanup",),
    "rescan": ("rescan",),
    "export": ("export", "{tmp}/dump", "--from", "{tmp}/store.sqlite"),
    "import": ("import", "{tmp}/given", "--to", "{tmp}/other.sqlite"),
    "prune": ("prune", "demo", "--yes"),
    "verify": ("verify", "{tmp}/media.ts"),
    "verify result": ("verify", "demo"),
    "streamers": ("streamers",),
    "add": ("add", URL),
    "set": ("set", "ada", "max_duration=2h"),
    "edit": ("edit", "ada"),
    "remove": ("remove", "ada"),
    "enable": ("enable", "ada"),
    "disable": ("disable", "ada"),
    "probe": ("probe", "ada"),
    "notify": ("notify", "phone"),
    "settings": ("settings",),
    "reload": ("reload",),
    "streamlink": ("streamlink", "status"),
    "streamlink install": ("streamlink", "install"),
    "streamlink update": ("streamlink", "update"),
    "completion": ("completion", "bash"),
}
"""Each command as people call it."""

ALONE = {"export", "import", "verify", "completion", "top"}
"""What needs no daemon; top needs a real terminal first."""

NO_JSON = {"timeline svg", "completion", "top", "set", "edit", "logs"}
"""What has no answer of the daemon to print."""

OF_ONE = [
    "status", "segments", "seams", "why", "timeline", "timeline svg", "stop", "wait", "rotate", "retry", "keep",
    "unkeep", "jobs", "events", "monitor", "logs", "play", "prune", "verify result", "set", "edit", "remove", "enable",
    "disable", "probe", "notify", "chat",
]  # fmt: skip
CODES = {"top": 1, "chat": 1, "check": 1, "export": 1, "import": 1, "verify": 1, "verify result": 1, "monitor": 130}
"""How they end where there is no real terminal, no store, no sound media, no chat, a finding, or Ctrl-C."""

WIDTHS = [40, 80, 200, None]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands find on disk."""
    file = tmp_path / "streamers.d" / "ada.toml"
    file.parent.mkdir()
    file.write_text(TEXT)
    (tmp_path / "media.ts").write_bytes(b"")
    monkeypatch.setenv("VISUAL", editor(tmp_path, TEXT + "# changed\n"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def daemon(folder: Path, name: str) -> FakeDaemon:
    """Answers whatever a command asks for."""
    whose = {"streamer": streamer("ada", folder / "streamers.d" / "ada.toml")}
    state = "failed" if name == "retry" else "recording"
    done = one("completed", path=RESULT, endedAt=at(NOW), kept=True)
    more: dict[str, Any] = {
        **dict.fromkeys(("GetStreamer", "AddStreamer", "EnableStreamer", "DisableStreamer", "ProbeStreamer"), whose),
        **dict.fromkeys(("Keep", "Unkeep", "Stop"), done),
        "Get": done if name in ("verify result", "play") else one(state),
        "Rotate": one("rotating", segments=3), "Retry": one("starting"),
        "RemoveStreamer": {}, "Notify": {}, "Reload": {"applied": True, "mistakes": []},
        "GetStream": {"stream": {"id": 77, "streamer": "demo", "startedAt": at(NOW), "recordings": [348]}},
        "ListStreams": {"streams": [{"id": 77, "title": "A title that says much", "category": "Chess"}]},
        "ListParts": {"parts": [{"path": str(folder / "media.ts"), "bytes": 0}], "notes": ["nothing is missing"]},
        "Why": {"ends": [END]},
        "Check": {"violations": [VIOLATION], "checked": CHECKED, "unseen": []},
        "Cleanup": {"checked": CHECKED, "cleaned": 0, "errors": 0, "details": []},
        "Rescan": {"found": [{"path": "/srv/media/demo/.stream_77.json", "verdict": "rebuilt", "text": "it is back"}]},
        "Prune": {"pruned": [{"recording": 348, "streamer": "demo", "files": [RESULT], "bytes": 9, "done": True}],
                  "bytes": 9, "more": False},
        "ManageStreamlink": {"command": "/usr/bin/streamlink", "version": "8.6.3", "managed": False},
    }  # fmt: skip
    found = FakeDaemon()
    for method, answer in {**ANSWERS, **more}.items():
        found.on(method, answer)
    found.on("Record", one("starting"), done)
    found.on("Subscribe", one(state), done, *([KeyboardInterrupt()] if name == "monitor" else []))
    return found


def failing(error: Exception) -> FakeDaemon:
    found = FakeDaemon()
    for method in METHODS:
        found.on(method, error)
    return found


def shown(asked: FakeDaemon, folder: Path, name: str, columns: int | None, *more: str) -> Ran:
    argv = [word.replace("{tmp}", str(folder)) for word in WAYS[name]]
    if columns is None or name == "top":
        return run(asked, *argv, *more)
    about = {"COLUMNS": str(columns), "NO_COLOR": "1", "SYSTEMD_PAGER": ""}
    return run(asked, *argv, *more, on_terminal=True, **about)


def test_every_command_is_here() -> None:
    assert {argv[0] for argv in WAYS.values()} == set(PLACES)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("name", WAYS)
def test_a_command_answers_at_any_width(name: str, columns: int | None, folder: Path) -> None:
    ran = shown(daemon(folder, name), folder, name, columns)
    assert ran.code == CODES.get(name, 0), ran
    assert "Traceback" not in ran.out + ran.err
    assert ran.out or ran.err or ran.executed
    if ran.code:
        assert re.match(r"streamvaultctl: cannot |[\w-]+ |/", ran.err or ran.out), ran
    if columns is None:
        assert "…" not in ran.out + ran.err


@pytest.mark.parametrize("name", sorted(WAYS.keys() - NO_JSON))
def test_json_is_the_same_at_any_width(name: str, folder: Path) -> None:
    every = [shown(daemon(folder, name), folder, name, columns, "--json=short") for columns in WIDTHS]
    assert len({ran.out for ran in every}) == 1
    for text in every[0].out.splitlines():
        json.loads(text)
    assert every[0].out or CODES.get(name), every[0]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("why", ["connection refused", "permission denied"])
@pytest.mark.parametrize("name", WAYS)
def test_without_a_daemon_it_says_what_to_do(name: str, why: str, columns: int | None, folder: Path) -> None:
    ran = shown(failing(DaemonNotRunning(address="/run/socket", why=why)), folder, name, columns)
    if WAYS[name][0] in ALONE and name != "verify result":
        assert ran.code == CODES.get(name, 0)
        assert "cannot reach" not in ran.err
        return
    assert (ran.code, ran.out, ran.executed) == (3, "", [])
    assert f"cannot reach streamvaultd at /run/socket: {why}" in ran.err
    assert ("adduser" if why == "permission denied" else "systemctl start streamvaultd") in ran.err


def test_the_journal_of_a_number_needs_no_daemon() -> None:
    ran = run(failing(DaemonNotRunning(address="/run/socket", why="connection refused")), "logs", "348")
    assert (ran.code, ran.executed) == (0, [["journalctl", "STREAMVAULT_RECORDING=348"]])


@pytest.mark.parametrize("columns", [40, None])
@pytest.mark.parametrize("name", OF_ONE)
def test_a_wrong_name_is_said_to_be_one(name: str, columns: int | None, folder: Path) -> None:
    wrong = WAYS[name][1]
    is_streamer = wrong == "ada"
    error: VaultError = NoSuchStreamer(streamer=wrong) if is_streamer else NoSuchRecording(recording=wrong)
    ran = shown(failing(error).on("GetStatus", {"mistakes": []}), folder, name, columns)
    assert (ran.code, ran.out) == (4, "")
    assert f"cannot find a {'streamer' if is_streamer else 'recording'} called '{wrong}'" in ran.err
    assert ("streamvaultctl streamers" if is_streamer else "streamvaultctl list --all") in ran.err


def test_a_wrong_segment_is_said_to_be_one() -> None:
    asked = FakeDaemon().on("Get", one()).on("Why", NoSuchSegment(recording="348", segment=9))
    ran = run(asked, "why", "demo", "9")
    assert (ran.code, ran.out) == (4, "")
    assert "cannot find segment 9 of recording 348" in ran.err


def test_a_command_that_there_is_not(folder: Path) -> None:
    for words in (["segmentz"], ["streamlink", "updatez"], ["list", "--al1"]):
        ran = run(FakeDaemon(), *words)
        assert (ran.code, ran.out) == (2, "")
        assert "did you mean" in ran.err


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_top_says_what_it_leaves_out(columns: int) -> None:
    asked = FakeDaemon().on("List", {"recordings": [recording(rotationDueAt=at(NOW))]})
    asked.on("ListSegments", {"segments": [segment(memoryCurrent=48 << 20, memoryMax=256 << 20)]})
    asked.on("GetStatus", ANSWERS["GetStatus"]).on("ListEvents", ANSWERS["ListEvents"])
    screen = Screen(Terminal(), Terminal(), {})
    session = Session(screen=screen, client_of=asked.client_of, now=lambda: NOW, execute=lambda _argv: None)
    sample = top.look(session)
    lines = ["".join(span.text for span in item) for item in top.view(session, sample, sample, columns)]
    head = next(item for item in lines if "STREAMER" in item)
    told = " ".join(lines).partition("Not shown for want of room: ")[2].partition(".")[0]
    left_out = {name for name in told.split(", ") if name}
    titles = {column.title for column in top._COLUMNS}
    assert {*head.split()} | left_out == titles
    assert not {*head.split()} & left_out
    assert bool(left_out) == (columns < 100)
    assert width(head) <= columns
    assert top._text([line("x" * 999)]).overflow == "ellipsis"
