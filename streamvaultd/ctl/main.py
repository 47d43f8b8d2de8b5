# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl: the command itself, and how it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamvaultd import __version__
from streamvaultd.ctl import audit, commands, control, streamers, verify
from streamvaultd.ctl.options import Group, UnknownCommand, common_options
from streamvaultd.ctl.outcome import ExitCode, Failed, OutputClosed
from streamvaultd.ctl.records import BadAnswer
from streamvaultd.ctl.screen import Screen
from streamvaultd.ctl.session import Client, Session
from streamvaultd.ctl.text import Span, Style
from streamvaultd.errors import VaultError
from streamvaultd.varlink.client import Client as VarlinkClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = "streamvaultctl"


@click.group(PROGRAM, cls=Group, invoke_without_command=True)
@common_options
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Control streamvaultd, which records live streams. Without a command: list what is recorded.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not running, 4 no such recording or segment.
    """
    if context.invoked_subcommand is None:
        context.invoke(commands.list_)


for _command in (
    control.record,
    commands.list_,
    commands.status,
    commands.segments,
    commands.seams,
    commands.why,
    control.stop,
    control.rotate,
    commands.monitor,
    commands.logs,
    audit.check,
    audit.cleanup,
    verify.verify,
    streamers.streamers,
    streamers.add,
    streamers.remove,
    streamers.enable,
    streamers.disable,
    streamers.probe,
    commands.streamlink,
):
    cli.add_command(_command)


def main(
    argv: Sequence[str] | None = None,
    *,
    screen: Screen | None = None,
    client_of: Callable[[str], Client] | None = None,
    now: Callable[[], int] | None = None,
    execute: Callable[[list[str]], None] | None = None,
) -> int:
    """Run a command line (that of the process if None) and return its exit code."""
    session = Session(
        screen=screen or Screen.of_process(),
        client_of=client_of or (lambda path: VarlinkClient(Path(path))),
        now=now or (lambda: time.time_ns() // 1000),
        execute=execute or _replace_process,
    )
    try:
        result = cli.main(args=argv, prog_name=PROGRAM, obj=session, standalone_mode=False)
        session.screen.flush()
    except click.UsageError as exc:
        return _report(session, _usage_text(exc), _usage_hints(exc), ExitCode.USAGE)
    except VaultError as exc:
        return _report(session, str(exc), [exc.advice], exc.exit_code)
    except Failed as exc:
        return _report(session, str(exc), [exc.hint], ExitCode.FAILED)
    except BadAnswer as exc:
        hint = "are streamvaultctl and streamvaultd of the same version? Restart the daemon after an upgrade"
        return _report(session, f"cannot understand the daemon's answer: {exc}", [hint], ExitCode.FAILED)
    except OutputClosed:
        return ExitCode.OUTPUT_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.DONE


def _report(session: Session, text: str, hints: Sequence[str], code: int) -> int:
    session.screen.note_line((Span(f"{PROGRAM}: "), Span(text, Style.BAD)))
    for hint in hints:
        if hint:
            session.screen.note(f"  {hint}")
    return code


def _usage_text(exc: click.UsageError) -> str:
    message = exc.message if isinstance(exc, click.NoSuchOption) else exc.format_message()
    message = message.rstrip(".")
    return f"cannot understand this command: {message[:1].lower()}{message[1:]}"


def _usage_hints(exc: click.UsageError) -> list[str]:
    hints = []
    if isinstance(exc, (click.NoSuchOption, UnknownCommand)) and exc.possibilities:
        hints.append(f"did you mean {' or '.join(repr(name) for name in sorted(exc.possibilities))}?")
    path = exc.ctx.command_path if exc.ctx is not None else PROGRAM
    return [*hints, f"'{path} --help' shows how it is used"]


def _replace_process(argv: list[str]) -> None:
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell on purpose
    except OSError as exc:
        raise Failed(f"cannot run {argv[0]}: {exc.strerror}") from exc
