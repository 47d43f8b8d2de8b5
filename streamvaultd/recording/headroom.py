# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for what is about to be started, on the disk and in memory."""

from __future__ import annotations

from pathlib import Path

from streamvaultd.core.model import Policy, Recorder, State
from streamvaultd.errors import DiskFull, MemoryFull
from streamvaultd.recording.ports import Disk, Memory


class Headroom:
    """Says no before there is anything."""

    def __init__(self, *, disk: Disk, memory: Memory) -> None:
        self._disk = disk
        self._memory = memory

    async def admit(self, streamer: str, directory: Path, policy: Policy) -> None:
        """Make the folder of another recording; raises MemoryFull, DiskFull and DirectoryUnusable."""
        self._require_memory(streamer, policy.memory_max)
        await self._disk.admit(directory, streamer)

    async def require(self, recorder: Recorder, attempt: int) -> None:
        """Room for what a segment will hold and, in a rotation, for one more process; raises MemoryFull, DiskFull."""
        recording = recorder.recording
        if recorder.state is State.ROTATING:
            self._require_memory(recording.streamer, memory_max(recorder, attempt))
        why = await self._disk.trouble(recorder)
        if why is not None:
            raise DiskFull(directory=recording.directory, why=why)

    def _require_memory(self, streamer: str, wanted: int) -> None:
        why = self._memory.refusal(wanted)
        if why is not None:
            raise MemoryFull(streamer=streamer, why=why)


def memory_max(recorder: Recorder, attempt: int) -> int:
    """The limit of a segment's scope (bytes)."""
    segment = recorder.segment(attempt)
    return (segment.memory_max if segment else None) or recorder.recording.policy.memory_max
