# SPDX-License-Identifier: GPL-3.0-or-later
"""How large recordings are at this moment: files that grow are looked at when somebody looks at their recording."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Phase, Recorder, Recording, Segment
from streamvaultd.core.names import Run
from streamvaultd.recording.ports import RecordingFiles

LIMIT: Final = 0.5
"""How long (s) a disk's answer is waited for; after that the size that was measured last is shown."""

AGE: Final = 1.0
"""Seconds for which a size is not looked at again, by however many it is asked for."""


class Sizes(Protocol):
    """Tells a recorder with the sizes that its files have now; what is decided goes by those that were measured."""

    async def fresh(self, recorder: Recorder) -> Recorder: ...


class Glance:
    """Sizes of the files that are written, one look a second at most; never raises for a disk that cannot be asked."""

    def __init__(self, *, files: RecordingFiles, lanes: Lanes, clock: Clock) -> None:
        self._files = files
        self._lanes = lanes
        self._clock = clock
        self._seen: dict[Run, tuple[float, int]] = {}

    async def fresh(self, recorder: Recorder) -> Recorder:
        writing = [segment for segment in recorder.segments if segment.phase is Phase.WRITING]
        for segment in recorder.segments:
            if segment.phase is not Phase.WRITING:
                self._seen.pop(recorder.run(segment.number), None)
        if not writing:
            return recorder
        sizes = await asyncio.gather(*(self._size(recorder.recording, segment) for segment in writing))
        now = {segment.number: size for segment, size in zip(writing, sizes, strict=True)}
        segments = [replace(one, size=max(one.size, now.get(one.number, 0))) for one in recorder.segments]
        return replace(recorder, segments=tuple(segments))

    async def _size(self, recording: Recording, segment: Segment) -> int:
        key, now = recording.run(segment.number), self._clock.now().monotonic
        at, size = self._seen.get(key, (-AGE, 0))
        if now - at < AGE:
            return size
        path = self._files.segment_path(recording, segment.number)
        try:
            async with asyncio.timeout(LIMIT):
                size = await self._lanes.run(recording.directory, self._files.size, path)
        except OSError:  # it hangs or is gone, which who watches the disk tells
            pass
        self._seen[key] = (now, size)
        return size
