# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C typed on a terminal at twenty instants of a command, as it is installed, over a real socket.

The instants are parts of the time that the command takes by itself, so each run may also end first; what is said has
to hold whichever came first. They begin where the command does: an interpreter that starts answers for itself.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamvaultd.config.streamers import FOLDER
from streamvaultd.varlink.sockets import listen
from tests.component.test_ctl_process import ROOT, URL, Recorder, read_terminal, served

INSTANTS = 20
AT_ONCE = 4
LIMIT = 120.0
COMMAND = ROOT / "debian" / "streamvaultctl"
CTRL_C = b"\x03"
TEXT = '[streamer]\nurl = "https://site.example/ada"\n'
RUN = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.write(int(sys.argv.pop(1)), b"!")
sys.path[:] = {[str(ROOT), *sys.path]!r}
exec(compile(open({str(COMMAND)!r}).read(), {str(COMMAND)!r}, "exec"))
"""
"""The command, with the packages of the tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended, what it wrote on the terminal, and what the daemon was asked."""

    code: int
    shown: str
    asked: tuple[str, ...]
    took: float


async def typed(
    place: Path,
    argv: tuple[str, ...],
    after: float | None,
    *,
    hangs: bool = False,
    recorder: Recorder | None = None,
    first: bytes = b"",
    **environ: str,
) -> Ran:
    """Run a command on a terminal of its own, and type Ctrl-C so many seconds later; or once it waits.

    `first` is typed before it is run.
    """
    recorder = recorder or Recorder()
    if argv[0] in ("record", "wait") and not hangs:
        recorder.go_on.set()
    master, slave = pty.openpty()
    os.write(master, first)
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    try:
        with listen(place, 0o600) as listener:
            async with served(recorder, listener), asyncio.timeout(LIMIT):
                process = await asyncio.create_subprocess_exec(
                    *("setsid", "--ctty", sys.executable, "-ISc", RUN, str(writing), "--socket", str(place), *argv),
                    stdin=slave, stdout=slave, stderr=slave, pass_fds=[writing],
                    env={**os.environ, "TERM": "dumb", **environ},
                )  # fmt: skip
                os.close(slave)
                os.close(writing)
                shown = asyncio.create_task(read_terminal(master))
                await asyncio.to_thread(os.read, reading, 1)
                began = loop.time()
                if hangs:
                    await recorder.subscribed.wait()
                elif after is not None:
                    await asyncio.sleep(after)
                if hangs or after is not None:
                    os.write(master, CTRL_C)
                code = await process.wait()
                took = loop.time() - began
                return Ran(code=code, shown=await shown, asked=tuple(recorder.order), took=took)
    finally:
        os.close(master)
        os.close(reading)


COMMANDS = {
    "record": ("record", URL, "--wait"),
    "stop": ("stop", "demo", "--wait"),
    "rotate": ("rotate", "demo", "--wait"),
    "retry": ("retry", "demo", "--wait"),
    "wait": ("wait", "demo"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COMMANDS)
async def test_ctrl_c_at_any_instant_says_what_holds(name: str, tmp_path: Path) -> None:
    argv = COMMANDS[name]
    whole = await typed(tmp_path / "whole", argv, None)
    assert whole.code == 0, whole.shown
    free = asyncio.Semaphore(AT_ONCE)

    async def one(instant: int) -> Ran:
        async with free:
            return await typed(tmp_path / str(instant), argv, whole.took * instant / INSTANTS)

    for ran in await asyncio.gather(*map(one, range(INSTANTS))):
        holds(name, ran)


CHANGES = {
    "set": (("set", "ada", "max_duration=2h"), b""),
    "edit": (("edit", "ada"), b""),
    "prune": (("prune", "demo"), b"y\n"),
}
EDITOR = 'sh -c \'echo "# changed" >> "$0"\''


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHANGES)
async def test_ctrl_c_in_a_change_says_what_is_changed(name: str, tmp_path: Path) -> None:
    """What is on disk, and what the daemon has read of it, is what the command says, or would have said next."""
    argv, first = CHANGES[name]
    free = asyncio.Semaphore(AT_ONCE)

    async def one(instant: int | None, after: float | None) -> tuple[Ran, Recorder]:
        place = tmp_path / str(instant) / FOLDER
        place.mkdir(parents=True)
        recorder = Recorder()
        recorder.file = place / "ada.toml"
        recorder.file.write_text(TEXT)
        recorder.knows = TEXT
        async with free:
            asked = place.parent / "socket"
            return await typed(asked, argv, after, recorder=recorder, first=first, VISUAL=EDITOR), recorder

    whole, asked = await one(None, None)
    assert whole.code == 0, whole.shown
    assert (asked.file.read_text() != TEXT) == (name != "prune")
    every = [one(instant, whole.took * instant / INSTANTS) for instant in range(INSTANTS)]
    for ran, recorder in await asyncio.gather(*every):
        assert "Traceback" not in ran.shown
        assert [path.name for path in recorder.file.parent.iterdir()] == ["ada.toml"]
        assert recorder.knows == recorder.file.read_text(), ran.shown
        is_changed = "Prune" in ran.asked if name == "prune" else recorder.knows != TEXT
        assert ran.code in (0, 130, -signal.SIGINT), ran.shown
        if ran.code == 0:
            assert is_changed, ran.shown
        elif ran.code == 130 and is_changed:
            assert "after the daemon was asked" in ran.shown.splitlines()[-1], ran.shown
        elif ran.code == 130:
            assert "interrupted" in ran.shown.splitlines()[-1], ran.shown
        else:  # before it could say anything
            assert not is_changed, ran.shown


@pytest.mark.timeout(300)
async def test_ctrl_c_at_the_question_removes_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    master, slave = pty.openpty()
    try:
        with listen(tmp_path / "socket", 0o600) as listener:
            async with served(recorder, listener), asyncio.timeout(LIMIT):
                process = await asyncio.create_subprocess_exec(
                    *("setsid", "--ctty", sys.executable, "-ISc", RUN, "1"),
                    *("--socket", str(tmp_path / "socket"), "prune", "demo"),
                    stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "dumb"},
                )  # fmt: skip
                os.close(slave)
                shown = await asyncio.to_thread(interrupt_at, master, b"[y/N] ")
                code = await process.wait()
    finally:
        os.close(master)
    assert (code, recorder.order) == (130, ["dry run"]), shown
    assert shown.splitlines()[-1] == b"interrupted: nothing is removed.", shown


def interrupt_at(master: int, question: bytes) -> bytes:
    """Type Ctrl-C once this is asked; all that is written to the terminal."""
    shown, is_asked = b"", False
    with suppress(OSError):  # EIO: the other side is closed
        while data := os.read(master, 65536):
            shown += data
            if question in shown and not is_asked:
                is_asked = True
                os.write(master, CTRL_C)
    return shown


@pytest.mark.timeout(300)
async def test_ctrl_c_while_it_waits_leaves_the_recording_alone(tmp_path: Path) -> None:
    """Whatever the machine does: this one is interrupted."""
    ran = await typed(tmp_path / "waiting", COMMANDS["wait"], None, hangs=True)
    holds("wait", ran)
    assert ran.code == 130
    assert "recording 348 of 'demo' goes on" in ran.shown


def holds(name: str, ran: Ran) -> None:
    """What was said is true."""
    assert "Traceback" not in ran.shown
    was_asked = name.capitalize() in ran.asked
    if ran.code == -signal.SIGINT:  # before it could say anything
        assert not was_asked
        return
    if ran.code == 0:
        return
    assert ran.code == 130, ran.shown
    told = ran.shown.splitlines()[-1]
    assert "interrupted" in told, ran.shown
    if name != "wait" and not was_asked:
        assert any(text in told for text in NOT_YET), told
    if "is being" in told:
        assert was_asked, told


NOT_YET = (
    "the daemon was asked for nothing", "was not asked for it and goes on", "may have been asked for it or not",
    "before the daemon answered", "after the daemon was asked",
)  # fmt: skip
