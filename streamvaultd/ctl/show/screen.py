# SPDX-License-Identifier: GPL-3.0-or-later
"""Where output goes: plain and whole into a pipe; coloured, fitted and paged on a terminal. Notes go to stderr.

Everything printed passes `escape`, so no text from outside can drive the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, suppress

from streamvaultd.ctl.outcome import Failed, OutputClosed
from streamvaultd.ctl.show.text import Line, Span, Style, escape, escape_json, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Final, TextIO

_ASCII: Final = str.maketrans(
    {"●": "*", "○": "o", "\N{MULTIPLICATION SIGN}": "x", "…": "~", "━": "=", "▶": ">", "▒": "#", "│": "|"}
)
_FALLBACK_SIZE: Final = (80, 24)


class Screen:
    """stdout and stderr of this process."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str], given: TextIO | None = None) -> None:
        self._out, self._err, self._environ, self._given = out, err, environ, given
        self.is_terminal = out.isatty()
        self.has_colour = self.is_terminal and _may_colour(environ)
        self._err_has_colour = err.isatty() and _may_colour(environ)

    @classmethod
    def of_process(cls) -> Screen:
        """The real one; what the process was started without leads nowhere."""
        return cls(sys.stdout or _nowhere(), sys.stderr or _nowhere(), os.environ, sys.stdin)

    @property
    def columns(self) -> int | None:
        """Width to fit tables to; None in a pipe, where nothing is left out."""
        return self._size()[0] if self.is_terminal else None

    def show(self, lines: Iterable[Line], *, paged: bool = False) -> None:
        """Print lines to stdout; through a pager if asked and if they do not fit the terminal."""
        painted = [self._painted(item, self._out, has_colour=self.has_colour) for item in lines]
        text = "".join(f"{item}\n" for item in painted)
        if paged and self.is_terminal and len(painted) >= self._size()[1]:
            from streamvaultd.ctl.show.pager import page  # only where it is needed: it costs an import of subprocess

            if page(text, self._environ):
                return
        self._write(text)

    def show_text(self, text: str) -> None:
        """Print one plain line to stdout: what a script wants."""
        self.show([line(text)])

    def show_whole(self, text: str) -> None:
        """Print text that is made for other programs, as it is; it has line ends of its own."""
        self._write(text)

    def show_json(self, value: object, *, pretty: bool) -> None:
        """Print one JSON value: on one line, or indented."""
        indent, separators = (2, None) if pretty else (None, (",", ":"))
        text = json.dumps(value, ensure_ascii=not _is_utf8(self._out), indent=indent, separators=separators)
        self._write(escape_json(text) + "\n")

    def note(self, text: str, style: Style = Style.PLAIN) -> None:
        """Print a line to stderr; if nobody reads that, nothing is lost."""
        self.note_line(line(text, style))

    def note_line(self, item: Line) -> None:
        """As `note`, in pieces."""
        with suppress(OSError):
            print(self._painted(item, self._err, has_colour=self._err_has_colour), file=self._err, flush=True)

    def ask(self, question: str) -> str | None:
        """What people answer; None where nobody can be asked."""
        if self._given is None or not self._given.isatty():
            return None
        try:
            self._err.write(question)
            self._err.flush()
            return self._given.readline()
        except KeyboardInterrupt:
            self._err.write("\n")  # what comes then begins a line
            raise

    @property
    def is_updating(self) -> bool:
        """Whether `progress` keeps one line up to date, so that what changes often may be told."""
        return self._err_has_colour

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """A line that tells what is waited for: kept up to date on a terminal, else a note for each change."""
        if self._err_has_colour:
            from rich.console import Console
            from rich.text import Text

            with Console(file=self._err).status("") as status:
                yield lambda text: status.update(Text(escape(text)))
        else:
            latest = [""]

            def tell(text: str) -> None:
                if text != latest[0]:
                    latest[0] = text
                    self.note(text)

            yield tell

    def flush(self) -> None:
        """Raises OutputClosed or Failed if what was printed cannot be delivered."""
        self._write("")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError as exc:
            self._abandon()
            raise OutputClosed from exc
        except OSError as exc:
            self._abandon()
            raise Failed(f"cannot write the output: {exc.strerror}") from exc

    def _abandon(self) -> None:
        # the interpreter flushes stdout once more when it ends, and would complain again
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - pathlib costs an import
            os.dup2(nowhere.fileno(), self._out.fileno())

    def _painted(self, item: Line, stream: TextIO, *, has_colour: bool) -> str:
        return "".join(_paint(span, has_colour=has_colour) for span in _as_encodable(item, stream))

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            size = os.terminal_size(_FALLBACK_SIZE)
        return self._number("COLUMNS") or size.columns or 80, self._number("LINES") or size.lines or 24

    def _number(self, variable: str) -> int:
        value = self._environ.get(variable, "")
        return int(value) if value.isdecimal() and len(value) < 6 else 0


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - pathlib costs an import


def _may_colour(environ: Mapping[str, str]) -> bool:
    # no-color.org: when present and not an empty string, regardless of its value
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def _paint(span: Span, *, has_colour: bool) -> str:
    return f"\x1b[{span.style.value}m{span.text}\x1b[0m" if has_colour and span.style else span.text


def _as_encodable(item: Line, stream: TextIO) -> Iterator[Span]:
    for span in item:
        yield Span(_encodable(escape(span.text), stream), span.style)


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "utf-8").lower().replace("_", "-") in {"utf-8", "utf8"}


def _encodable(text: str, stream: TextIO) -> str:
    if text.isascii() or _is_utf8(stream):
        return text
    return text.translate(_ASCII).encode(stream.encoding, "backslashreplace").decode(stream.encoding)
