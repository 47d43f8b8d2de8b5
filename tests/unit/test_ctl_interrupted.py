# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that is interrupted at any instant ends with 130 and says what holds; it never shows a traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamvaultd.ctl import main as entry
from tests.fakes.ctl import FakeDaemon, Ran, one, recording, run, segment

if TYPE_CHECKING:
    from types import FrameType

CTL = str(Path(entry.__file__).parent)
URL = "https://example.org/live.m3u8"
INSTANTS = 20
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


def interrupted(what: str, line: int | None) -> tuple[Ran, FakeDaemon, int]:
    asked, interruption = daemon(what), Interruption(line)
    before = sys.gettrace()
    sys.settrace(interruption)
    try:
        ran = run(asked, *COMMANDS[what])
    finally:
        sys.settrace(before)
    return ran, asked, interruption.count


@pytest.mark.parametrize("what", COMMANDS)
def test_it_says_what_holds(what: str) -> None:
    interrupted(what, None)  # what is imported once is run once
    whole, _, lines = interrupted(what, None)
    assert whole.code == 0
    assert lines > INSTANTS
    for instant in range(INSTANTS):
        ran, asked, _ = interrupted(what, 1 + instant * (lines - 1) // (INSTANTS - 1))
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
