# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the growing files of runs: how far each stream has come."""

from __future__ import annotations

from pathlib import Path

from streamvaultd.core.flows import Pulse
from streamvaultd.core.names import Run
from streamvaultd.media.overlap import are_overlapping
from streamvaultd.media.pulse import Cursor, look
from streamvaultd.media.source import FileSource


class Looks:
    """Blocking; one call at a time for each run."""

    def __init__(self) -> None:
        self._cursors: dict[Run, Cursor] = {}

    def look(self, run: Run, path: Path) -> tuple[tuple[Pulse, ...], str | None]:
        """What came since the last look, and why an MP4 cannot hold it. May raise OSError."""
        cursor = self._cursors.setdefault(run, Cursor())
        with FileSource.opened(path) as source:
            found = look(source, cursor)
        return tuple(Pulse(**each._asdict()) for each in found), cursor.unfit

    def is_overlap_proven(self, older: Path | int, newer: Path | int) -> bool:
        """Whether the newer of two files that grow may take over. May raise OSError."""
        return are_overlapping(older, newer)

    def forget(self, run: Run) -> None:
        """Nothing more comes."""
        self._cursors.pop(run, None)
