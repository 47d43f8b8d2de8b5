# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the disks that are recorded to. Each has a limit: a disk that does not answer is no better than a full
one."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.disk import Room
from streamvaultd.recording.ports import RecordingFiles, Space

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_LIMIT: Final = 25.0
"""A disk that takes longer (s) to say how full it is does not answer."""


class Disks:
    """All raise OSError; `lane` is the directory that is asked for."""

    def __init__(self, *, lanes: Lanes, files: RecordingFiles, space: Space) -> None:
        self._lanes = lanes
        self._files = files
        self._space = space

    def folder(self, recorder: Recorder) -> Path:
        """Where the segments of a recording are."""
        return self._files.segment_path(recorder.recording, 1).parent

    async def measure(self, lane: str, folders: Sequence[Path]) -> list[Room]:
        """The file system of each folder."""
        return await self._answer(lane, self._space.measure, folders)

    async def try_writing(self, lane: str, folder: Path, size: int) -> None:
        """Find out whether so much can be written there."""
        await self._answer(lane, self._space.try_writing, folder, size)

    async def prepare(self, directory: Path, streamer: str) -> None:
        """Make the folder of a streamer."""
        await self._answer(str(directory), self._files.prepare, directory, streamer)

    async def _answer(self, lane: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                return await self._lanes.run(lane, function, *args, **kwargs)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, f"the disk has not answered for {ANSWER_LIMIT:g} s") from error
