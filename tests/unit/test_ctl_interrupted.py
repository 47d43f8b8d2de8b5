# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that is interrupted at any instant ends with 130 and says what holds; it never shows a traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamvaultd.ctl import main as entry
from streamvaultd.varlink import idl
from streamvaultd.varlink.server import read_definition
from tests.fakes.ctl import Answer, FakeDaemon, Ran, lost, not_running, one, recording, run, segment
from tests.unit.test_ctl_files import TEXT, editor, streamer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from streamvaultd.errors import VaultError

CTL = str(Path(entry.__file__).parent)
URL = "https://example.org/live.m3u8"
INSTANTS = 20
EVERY = 60
"""Instants of a command that changes files: nearly every line."""
DONE = one("completed", path="/srv/media/demo.ts")["recording"]

COMMANDS = {
    "record": ("record", URL), "record --wait": ("record", URL, "--wait"), "stop": ("stop", "demo"),
    "stop --wait": ("stop", "demo", "--wait"), "rotate": ("rotate", "demo"),
    "rotate --wait": ("rotate", "demo", "--wait"), "retry": ("retry", "demo"),
    "retry --wait": ("retry", "demo", "--wait"), "wait": ("wait", "demo"),
}  # fmt: skip


def daemon(what: str) -> FakeDaemon:
    state = "backoff" if what.startswith("retry") else "recording"
    becomes = [{"recording": recording("finalizing")}, {"recording": DONE}]
    if what.startswith("rotate"):
        becomes = [{"recording": recording("rotating", segments=3)}, {"recording": recording(segments=3)}]
    found = FakeDaemon().on("Get", one(state)).on("Subscribe", one(state), *becomes)
    found.on("Record", one("starting", bytes=0), one(), *([{"recording": DONE}] if "--wait" in what else []))
    found.on("ListSegments", {"segments": [segment(2)]}).on(
        "ListSegments", {"segments": [segment(2, "ended"), segment(3)]}
    )
    return found.on("Stop", one("stopping")).on("Rotate", one("rotating", segments=3)).on("Retry", one("starting"))


class Interruption:
    """Counts the lines of streamvaultctl that are run; at one of them Ctrl-C comes."""

    def __init__(self, line: int | None) -> None:
        self.line = line
        self.count = 0

    def __call__(self, frame: FrameType, event: str, _arg: object) -> Interruption | None:
        if not frame.f_code.co_filename.startswith(CTL):
            return None
        if event == "line" and _is_run(frame):
            self.count += 1
            if self.count == self.line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def _is_run(frame: FrameType | None) -> bool:
    """Inside of what main() guards: before, the process ends by the signal; after, it is over."""
    while frame is not None:
        if frame.f_code is entry._run.__code__:
            return True
        frame = frame.f_back
    return False


def interrupted(what: str, line: int | None) -> tuple[Ran, int, FakeDaemon]:
    asked = daemon(what)
    return *traced(asked, line, *COMMANDS[what]), asked


def traced(asked: FakeDaemon, line: int | None, *argv: str, on_terminal: bool = False) -> tuple[Ran, int]:
    """How a command ends that is interrupted at this line, and how many it has run."""
    interruption = Interruption(line)
    before = sys.gettrace()
    sys.settrace(interruption)
    try:
        ran = run(asked, *argv, on_terminal=on_terminal, NO_COLOR="1" if on_terminal else "")
    finally:
        sys.settrace(before)
    return ran, interruption.count


@pytest.mark.parametrize("what", COMMANDS)
def test_it_says_what_holds(what: str) -> None:
    interrupted(what, None)  # what is imported once is run once
    whole, lines, _ = interrupted(what, None)
    assert whole.code == 0
    assert lines > INSTANTS
    for instant in range(INSTANTS):
        ran, _, asked = interrupted(what, 1 + instant * (lines - 1) // (INSTANTS - 1))
        holds(what, ran, asked)


def holds(what: str, ran: Ran, asked: FakeDaemon) -> None:
    method = what.split()[0].capitalize()
    assert ran.code == 130
    assert "Traceback" not in ran.err
    told = ran.err.splitlines()[-1]
    assert told.startswith("interrupted"), ran.err
    if what == "wait":
        assert "goes on" in told or "asked for nothing" in told
    elif method not in asked.methods:
        assert any(text in told for text in NOT_YET), told
    else:
        assert any(text in told for text in ASKED), told
        assert "not asked" not in told


NOT_YET = (
    "the daemon was asked for nothing", "was not asked for it and goes on", "may have been asked for it or not",
    "before the daemon answered", "after the daemon was asked",
)  # fmt: skip
ASKED = (
    "is being stopped", "is being rotated", "is being tried again", "goes on", "may have been asked for it or not",
    "before the daemon answered", "after the daemon was asked",
)  # fmt: skip


# --- what changes a file, and what asks first ----------------------------------------------------------------------

WRONG = TEXT + "# wrong\n"
RIGHT = TEXT + "# right\n"


class Reader(FakeDaemon):
    """Knows what the file said when it was last told to read it, and what is wrong with it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.knows = file.read_text()
        self.on("GetStreamer", {"streamer": streamer("ada", file)}).on("GetStatus", {"mistakes": []})

    def more(self, method: str, parameters: Mapping[str, object]) -> Iterator[Answer]:
        if not method.endswith(".Reload"):
            yield from super().more(method, parameters)
            return
        self.knows = self.file.read_text()
        is_wrong = "wrong" in self.knows or "parsecs" in self.knows
        yield {"applied": True, "mistakes": [{"file": str(self.file), "why": "it is wrong"}] if is_wrong else []}


CHANGES = {
    "set": (("set", "ada", "max_duration=2h"), []),
    "set wrongly": (("set", "ada", "max_duration=2 parsecs"), []),
    "edit": (("edit", "ada"), [RIGHT]),
    "edit twice": (("edit", "ada"), [WRONG, RIGHT]),
}


CHANGE_TOLD = {
    "interrupted: nothing is changed.", "interrupted: the daemon was asked for nothing.",
    "interrupted after the daemon was asked: 'streamvaultctl status' shows what came of it.",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", CHANGES)
def test_an_interrupted_change_is_none(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv, texts = CHANGES[what]

    def change(number: int, line: int | None) -> tuple[Ran, int, Reader]:
        place = tmp_path / str(number)
        file = place / "streamers.d" / "ada.toml"
        file.parent.mkdir(parents=True)
        file.write_text(TEXT)
        monkeypatch.setenv("VISUAL", editor(place, *texts))
        asked = Reader(file)
        asked.answers = ["\n"]
        return *traced(asked, line, *argv), asked

    change(0, None)
    whole, lines, _ = change(1, None)
    assert whole.code == (1 if "wrongly" in what else 0)
    for instant in range(EVERY):
        line = 1 + instant * (lines - 1) // (EVERY - 1)
        ran, _, asked = change(instant + 2, line)
        assert ran.code == 130, (line, ran)
        told = ran.err.splitlines()[-1].rpartition("[Y/n] ")[2]
        assert told in CHANGE_TOLD, (line, ran)
        assert asked.knows == asked.file.read_text(), (line, ran)
        assert [path.name for path in asked.file.parent.iterdir()] == ["ada.toml"]
        if "nothing" in told:
            assert asked.knows == TEXT, (line, ran)


def test_what_is_interrupted_twice_says_what_is_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "streamers.d" / "ada.toml"
    file.parent.mkdir()
    file.write_text(TEXT)
    asked = FakeDaemon().on("GetStreamer", {"streamer": streamer("ada", file)}).on("Reload", KeyboardInterrupt())
    ran = run(asked, "set", "ada", "max_duration=2h")
    assert (ran.code, file.read_text(), asked.methods) == (130, TEXT, ["GetStreamer", "Reload", "Reload"])
    assert ran.err == f"interrupted: {file} is as it was; 'streamvaultctl reload' has the daemon read it.\n"


@pytest.mark.parametrize("error", [lost(), not_running()], ids=["lost", "away"])
@pytest.mark.parametrize("what", ["set", "edit"])
def test_without_a_daemon_nothing_is_changed(
    what: str, error: VaultError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went away between the question for the file and its reading it."""
    file = tmp_path / "streamers.d" / "ada.toml"
    file.parent.mkdir()
    file.write_text(TEXT)
    monkeypatch.setenv("VISUAL", editor(tmp_path, RIGHT))
    asked = FakeDaemon().on("GetStreamer", {"streamer": streamer("ada", file)}).on("Reload", error)
    ran = run(asked, *CHANGES[what][0])
    assert (ran.code, file.read_text()) == (error.exit_code, TEXT)
    assert f"{file} is as it was.\n" in ran.err


PRUNED = {"recording": 7, "streamer": "demo", "files": ["/srv/x.ts"], "bytes": 2048, "done": True}


def test_an_interrupted_prune_says_whether_anything_was_asked_to_go() -> None:
    def prune(line: int | None) -> tuple[Ran, int, FakeDaemon]:
        asked = FakeDaemon().on("Prune", {"pruned": [PRUNED], "bytes": 2048, "more": False})
        asked.answers = ["y\n"]
        return *traced(asked, line, "prune", "demo", on_terminal=True), asked

    prune(None)
    whole, lines, _ = prune(None)
    assert whole.code == 0
    seen = set()
    for line in range(1, lines + 1):
        ran, _, asked = prune(line)
        is_asked = any(method == "Prune" and not given.get("dryRun") for method, given in asked.calls)
        told = ran.err.splitlines()[-1].partition("[y/N] ")[2] or ran.err.splitlines()[-1]
        assert ran.code == 130
        assert told in PRUNE_TOLD, (line, ran)
        assert not (is_asked and "nothing" in told), (line, ran)
        seen.add(told)
    assert seen == PRUNE_TOLD


PRUNE_TOLD = {
    "interrupted: the daemon was asked for nothing.", "interrupted: nothing is removed.",
    "interrupted after the daemon was asked: 'streamvaultctl list --all' shows what came of it.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("add", URL), "'streamvaultctl streamers' shows what came of it"),
        (("disable", "ada"), "'streamvaultctl streamers' shows what came of it"),
        (("reload",), "'streamvaultctl status' shows what came of it"),
        (("cleanup",), "'streamvaultctl check' shows what came of it"),
        (("cleanup", "--dry-run"), "the daemon was asked for nothing"),
        (("streamlink", "install"), "'streamvaultctl streamlink status' shows what came of it"),
        (("streamlink", "status"), ""),
        (("check",), ""),
        (("keep", "demo"), "'streamvaultctl list --all' shows what came of it"),
        (("notify", "phone"), "a message may have been sent or not"),
    ],
)
def test_what_shows_what_came_of_it_is_named(argv: tuple[str, ...], told: str) -> None:
    asked = FakeDaemon()
    for method in sorted(idl.parse(read_definition("io.streamvault.Recorder")).methods):
        asked.on(method, KeyboardInterrupt())
    ran = run(asked, *argv)
    assert ran.code == 130
    assert told in ran.err
    assert bool(ran.err) == bool(told)


class Interrupting:
    """An attribute whose making is interrupted; Python 3.11 makes a RuntimeError of that."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_while_an_import_makes_a_class_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_word: str) -> None:
        type("Imported", (), {"attribute": Interrupting()})

    monkeypatch.setattr(entry, "find", find)
    ran = run(FakeDaemon(), "list")
    assert (ran.code, ran.err) == (130, "interrupted: the daemon was asked for nothing.\n")


def test_any_other_error_is_not_taken_for_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_word: str) -> None:
        raise RuntimeError("defect") from ValueError("another")

    monkeypatch.setattr(entry, "find", find)
    with pytest.raises(RuntimeError, match="defect"):
        run(FakeDaemon(), "list")
