# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl top: what is recorded, live, on the whole screen."""

from __future__ import annotations

import os
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from streamvaultd.base.units import format_size
from streamvaultd.ctl import records
from streamvaultd.ctl.commands.history import event_answers
from streamvaultd.ctl.options import Command, command, option
from streamvaultd.ctl.outcome import Failed, Usage
from streamvaultd.ctl.records import Recording, Segment
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show import render
from streamvaultd.ctl.show.table import Column, Table
from streamvaultd.ctl.show.text import Line, Span, Style, escape, format_elapsed, format_relative, line, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.text import Text

EVENTS: Final = 8
INTERVAL: Final = 2
INTERVAL_MAX: Final = 86400
COLOURS: Final = {
    Style.GOOD: "bold green", Style.BUSY: "bold yellow", Style.BAD: "bold red", Style.STRONG: "bold",
    Style.FAINT: "dim", Style.HEAD: "underline", Style.PLAIN: "",
}  # fmt: skip


class Sample:
    """What was looked at at one time: recordings, their newest segments, and the bytes they had."""

    def __init__(self, at: int, found: list[tuple[Recording, Segment | None]]) -> None:
        self.at = at
        self.found = found
        self.sizes = {recording.id: recording.bytes for recording, _ in found}


@command("top")
@option("--interval", metavar="SECONDS", least=1, help=f"Look again after so many seconds. [default: {INTERVAL}]")
def top(session: Session, *, interval: int | None) -> None:
    """Show what is recorded, live, on the whole screen.

    The rates are of the last interval. Ends with q or Ctrl-C.
    """
    if interval is not None and interval > INTERVAL_MAX:
        raise Usage(f"--interval is {INTERVAL_MAX} seconds at most")
    if not session.screen.is_terminal:
        raise _no_view("the output is no terminal")
    from rich.console import Console
    from rich.live import Live

    console = Console(color_system="auto" if session.screen.has_colour else None, highlight=False)
    if console.is_dumb_terminal:
        raise _no_view("this terminal cannot move its cursor")
    before = look(session)
    with _keys() as read_key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = look(session)
            columns, rows = console.size
            live.update(_text(view(session, now, before, columns)[:rows]), refresh=True)
            before = now
            if read_key(interval or INTERVAL) in ("q", "Q", "\x03"):
                return


def _no_view(why: str) -> Failed:
    hint = "'streamvaultctl monitor' prints what happens, line by line"
    return Failed(f"cannot show a live view: {why}", hint=hint)


def look(session: Session) -> Sample:
    """What runs now."""
    running = [records.parse_recording(item) for item in session.pages("List", "recordings")]
    found = []
    for recording in running:
        segments = session.segments(recording.id) if recording.segments else []
        found.append((recording, segments[-1] if segments else None))
    return Sample(session.now(), found)


def view(session: Session, now: Sample, before: Sample, columns: int) -> list[Line]:
    """The lines of the screen."""
    status = records.parse_status(session.call("GetStatus"))
    lines = [*render.daemon_block(status, now.at), line("")]
    table = Table(_COLUMNS, tuple(_row(recording, segment, now, before) for recording, segment in now.found))
    lines += session.table_lines(table, columns) if table.rows else [line("Nothing is recorded.")]
    total = sum(_rate(recording, now, before) for recording, _ in now.found)
    lines += [line(""), line(f"{plural(len(now.found), 'recording')}, {format_size(round(total))}/s", Style.FAINT)]
    told = event_answers(session, EVENTS)
    return [*lines, line(""), *(render.event_line(records.parse_event(item), None) for item in told)]


_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("STREAMER", least=10),
    Column("STATE"),
    Column("SEG", is_number=True, drop=4),
    Column("DEATHS", is_number=True),
    Column("SIZE", is_number=True, drop=2),
    Column("RATE", is_number=True, drop=1),
    Column("RUNTIME", drop=5),
    Column("MEMORY", is_number=True, drop=3),
    Column("LIMIT", is_number=True, drop=7),
    Column("ROTATION", drop=6),
)


def _row(recording: Recording, segment: Segment | None, now: Sample, before: Sample) -> tuple[Span, ...]:
    memory, limit = (segment.memory_now, segment.memory_max) if segment else (None, None)
    due = recording.rotation_due
    return (
        Span(str(recording.id)),
        Span(recording.streamer, Style.STRONG),
        Span(recording.state, render.state_style(recording.state)),
        Span(str(recording.segments)),
        Span(str(recording.deaths), Style.BAD if recording.deaths else Style.PLAIN),
        Span(format_size(recording.bytes)),
        Span(f"{format_size(round(_rate(recording, now, before)))}/s"),
        Span(format_elapsed(now.at - recording.started)),
        Span("" if memory is None else format_size(memory)),
        Span("" if limit is None else format_size(limit)),
        Span("" if due is None else format_relative(due, now.at)),
    )


def _rate(recording: Recording, now: Sample, before: Sample) -> float:
    """Bytes per second of the last interval."""
    seconds = (now.at - before.at) / 1e6
    gained = recording.bytes - before.sizes.get(recording.id, recording.bytes)
    return max(0.0, gained / seconds) if seconds > 0 else 0.0


def _text(lines: list[Line]) -> Text:
    from rich.text import Text

    shown = Text(no_wrap=True, overflow="ellipsis")
    for item in lines:
        for span in item:
            shown.append(escape(span.text), style=COLOURS[span.style])
        shown.append("\n")
    return shown


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Waits so many seconds for a key, without echo; "" if none came, or if there is no keyboard."""
    import termios
    import tty

    try:
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
    except (OSError, ValueError, termios.error):
        yield _no_key
        return

    def read(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1).decode(errors="replace") if ready else ""

    tty.setcbreak(keyboard)
    try:
        yield read
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    select.select([], [], [], seconds)
    return ""


COMMANDS: dict[str, Command] = {"top": top}
