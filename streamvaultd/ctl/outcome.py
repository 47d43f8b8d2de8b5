# SPDX-License-Identifier: GPL-3.0-or-later
"""How streamvaultctl ends: its exit codes and its own failures (the daemon's are in streamvaultd.errors)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """As documented in streamvaultctl(1); errors of the daemon carry their own `exit_code`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_DAEMON = 3
    NO_SUCH = 4
    INTERRUPTED = 130  # 128 + SIGINT, as shells tell it
    OUTPUT_CLOSED = 141  # 128 + SIGPIPE: the reader of our output went away


class Failed(Exception):
    """What was asked for did not come about; the text starts with "cannot", the hint says what can be done."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Usage(Exception):
    """The command line makes no sense; `hints` are lines that say how it would."""

    def __init__(self, text: str, hints: list[str] | None = None) -> None:
        super().__init__(text)
        self.hints = hints or []


class OutputClosed(Exception):
    """Nobody reads our output any more."""
