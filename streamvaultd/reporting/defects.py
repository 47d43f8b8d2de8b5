# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes of this program that were answered instead of ending it, told in the journal with their place."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import Final

from streamvaultd.reporting.notices import LOOK_FAILED, Journal

FRAMES_MAX: Final = 4


class Defects:
    """Tells of each, `heard()` is given to the servers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def heard(self, method: str, error: Exception) -> None:
        """A method that only looks has raised what nobody foresaw."""
        self._journal.tell(LOOK_FAILED, method=method, why=place_of(error))


def place_of(error: BaseException) -> str:
    """The kind of an error and the innermost places it came from; its text may show what is secret."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}()" for frame in reversed(frames)]
    return " in ".join([type(error).__name__, *places])
