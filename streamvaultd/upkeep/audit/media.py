# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of recordings, as repairs look at them and change them: all in the audit's lane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Recorder
from streamvaultd.core.names import Run
from streamvaultd.recording.ports import RecordingFiles

LANE: Final = "audit"


class Salvage(Protocol):
    """Files of recordings that are not in the store; blocking, raises OSError."""

    def is_free(self, path: Path, size: int) -> bool: ...
    def is_ours(self, folder: Path) -> bool: ...
    def remove_empty(self, path: Path) -> bool: ...
    def remove_folder(self, folder: Path) -> bool: ...
    def move(self, paths: Sequence[Path], folder: Path) -> None: ...


class Media:
    """Raises OSError."""

    def __init__(self, *, lanes: Lanes, files: RecordingFiles, salvage: Salvage) -> None:
        self._lanes = lanes
        self._files = files
        self._salvage = salvage

    def path(self, recorder: Recorder, number: int) -> Path:
        """Where a segment is."""
        return self._files.segment_path(recorder.recording, number)

    async def sizes(self, recorder: Recorder) -> dict[Run, int]:
        """Bytes in each segment's file."""
        return {
            recorder.run(segment.number): await self._lanes.run(
                LANE, self._files.size, self.path(recorder, segment.number)
            )
            for segment in recorder.segments
        }

    async def exists(self, path: Path) -> bool:
        """Whether there is such a file."""
        return await self._lanes.run(LANE, path.exists)

    async def is_free(self, path: Path, size: int) -> bool:
        """Whether nobody writes to a file."""
        return await self._lanes.run(LANE, self._salvage.is_free, path, size)

    async def is_ours(self, folder: Path) -> bool:
        """Whether the daemon may write there."""
        return await self._lanes.run(LANE, self._salvage.is_ours, folder)

    async def remove_empty(self, path: Path) -> bool:
        """Remove an empty file that nobody writes to; False if it is none."""
        return await self._lanes.run(LANE, self._salvage.remove_empty, path)

    async def remove_folder(self, folder: Path) -> bool:
        """Remove an empty folder; False if it is none."""
        return await self._lanes.run(LANE, self._salvage.remove_folder, folder)

    async def move(self, paths: Sequence[Path], folder: Path) -> None:
        """Move files into another folder."""
        await self._lanes.run(LANE, self._salvage.move, paths, folder)
