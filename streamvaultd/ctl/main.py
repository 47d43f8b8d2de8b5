# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl: the command itself, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import time

from streamvaultd.ctl import quick
from streamvaultd.ctl.index import PROGRAM, find
from streamvaultd.ctl.options import COMMON, remember
from streamvaultd.ctl.outcome import ExitCode, Failed, OutputClosed, Usage
from streamvaultd.ctl.records import BadAnswer
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.screen import Screen
from streamvaultd.ctl.show.text import Span, Style
from streamvaultd.errors import NoSuchRecording, VaultError
from streamvaultd.varlink.client import Client as VarlinkClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from sys import UnraisableHookArgs

    from streamvaultd.ctl.session import Client

COMPLETION = "_STREAMVAULTCTL_COMPLETE"
"""Set by a shell that wants to know what may come next."""

AGAIN_SECONDS = 0.005
SHOWN_BY = {"Streamlink": "streamlink status", "Streamer": "streamers", "Reload": "status", "Cleanup": "check"}
"""What tells whether a method did what it was asked for, by a word in its name."""


def main(
    argv: Sequence[str] | None = None,
    *,
    screen: Screen | None = None,
    client_of: Callable[[str], Client] | None = None,
    now: Callable[[], int] | None = None,
    execute: Callable[[list[str]], None] | None = None,
    read: Callable[[list[str]], list[str]] | None = None,
    is_program: bool = False,
) -> int:
    """Run a command line (that of the process if None) and return its exit code.

    A program takes interrupts from the moment on at which it can say what holds until all is said.
    """
    session = Session(
        screen=screen or Screen.of_process(),
        client_of=client_of or VarlinkClient,
        now=now or (lambda: time.time_ns() // 1000),
        execute=execute or _replace_process,
        read=read or _read_lines,
    )
    try:
        if is_program:
            _take_interrupts()
        result = _unwrapped(sys.argv[1:] if argv is None else argv, session)
        session.screen.flush()
        if is_program:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except Usage as exc:
        text = f"cannot understand this command: {str(exc)[:1].lower()}{str(exc)[1:]}"
        return _report(session, text, exc.hints, ExitCode.USAGE)
    except NoSuchRecording as exc:
        return _report(session, str(exc), [_meant(session, exc), exc.advice], exc.exit_code)
    except VaultError as exc:
        return _report(session, str(exc), [exc.advice], exc.exit_code)
    except Failed as exc:
        return _report(session, str(exc), [exc.hint], ExitCode.FAILED)
    except BadAnswer as exc:
        hint = "are streamvaultctl and streamvaultd of the same version? Restart the daemon after an upgrade"
        return _report(session, f"cannot understand the daemon's answer: {exc}", [hint], ExitCode.FAILED)
    except OutputClosed:
        return ExitCode.OUTPUT_CLOSED
    except KeyboardInterrupt:
        return _interrupted(session)
    return result if isinstance(result, int) else ExitCode.DONE


def process() -> int:
    """`main` as the whole program: an interrupt shows no traceback, wherever it comes, and is never lost."""
    try:
        return main(is_program=True)
    except KeyboardInterrupt:  # while something else is reported
        return ExitCode.INTERRUPTED


def _take_interrupts() -> None:
    sys.unraisablehook = _postpone
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _postpone(unraisable: UnraisableHookArgs) -> None:
    """An interrupt that came where none can be raised, as in the callbacks of an import, comes again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(unraisable)


def _unwrapped(argv: Sequence[str], session: Session) -> object:
    """Before 3.12, Python makes another error of an interrupt that comes while an import makes a class."""
    try:
        return _run(argv, session)
    except RuntimeError as exc:
        if isinstance(exc.__cause__, KeyboardInterrupt):
            raise exc.__cause__ from None
        raise


def _run(argv: Sequence[str], session: Session) -> object:
    parsed = None if COMPLETION in os.environ else quick.parse(argv, find, COMMON, "list")
    if parsed is None:
        from streamvaultd.ctl import cli  # click costs as much as all the rest

        return cli.run(argv, session)
    for name, value in parsed.common.items():
        remember(session, name, value)
    return parsed.command(session, **parsed.values)


def _interrupted(session: Session) -> int:
    """Say what holds, where that may be in doubt."""
    if session.requested == "Notify":
        session.note("interrupted after the daemon was asked: a message may have been sent or not.")
    elif session.requested is not None:
        shown = next((command for word, command in SHOWN_BY.items() if word in session.requested), "list --all")
        session.note(f"interrupted after the daemon was asked: '{PROGRAM} {shown}' shows what came of it.")
    elif session.may_change:
        session.note("interrupted: the daemon was asked for nothing.")
    return ExitCode.INTERRUPTED


def _meant(session: Session, error: NoSuchRecording) -> str:
    """Which name may have been mistyped."""
    from difflib import get_close_matches

    from streamvaultd.ctl.commands.completion import known_names

    close = get_close_matches(str(error.fields["recording"]), known_names(session), n=2)
    return f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def _report(session: Session, text: str, hints: Sequence[str], code: int) -> int:
    session.screen.note_line((Span(f"{PROGRAM}: "), Span(text, Style.BAD)))
    for hint in hints:
        if hint:
            session.screen.note(f"  {hint}")
    return code


def _replace_process(argv: list[str]) -> None:
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell on purpose
    except OSError as exc:
        raise Failed(f"cannot run {argv[0]}: {exc.strerror}") from exc


def _read_lines(argv: list[str]) -> list[str]:
    import subprocess

    try:
        ran = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return []
    return ran.stdout.splitlines() if ran.returncode == 0 else []
