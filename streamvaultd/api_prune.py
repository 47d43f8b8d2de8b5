# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Prune, which removes media that nobody wants any more.

Files go first, then the rows say so: a crash between leaves rows that name files which are gone, which an audit finds
and puts right. Only files where a recording's own files are, are ever removed; links are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from streamvaultd.clock import Clock
from streamvaultd.core.events import MediaPruned
from streamvaultd.core.model import Recorder
from streamvaultd.core.requests import why_not_pruned
from streamvaultd.errors import NoSuchRecording, PruneUnbounded, RecordingUnreadable, VaultError
from streamvaultd.manager import Manager
from streamvaultd.ports import JobRow
from streamvaultd.removal import Removal
from streamvaultd.varlink.server import Call, Handler
from streamvaultd.views import View, optional

PRUNED_MAX: Final = 500
"""Recordings of one call; "more" says that there are others."""


class PruneStore(Protocol):
    """Raises StoreUnavailable and RecordingUnreadable."""

    async def find(self, name_or_id: str) -> Recorder | None: ...
    async def get(self, recording: int) -> Recorder | None: ...
    async def prunable(
        self, streamer: str | None, ended_before: int, *, failed: bool, limit: int
    ) -> Sequence[int]: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed of a recording, or would be; or why it is kept."""

    recorder: Recorder
    sizes: Mapping[Path, int]
    why: str | None = None


class PruneApi:
    """The handler; one call at a time."""

    def __init__(self, *, store: PruneStore, manager: Manager, removal: Removal, clock: Clock) -> None:
        self._store = store
        self._manager = manager
        self._removal = removal
        self._clock = clock
        self._turn = asyncio.Lock()

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Prune": self.prune}

    async def prune(self, call: Call) -> View:
        # a client that hangs up does not stop it between a file and its row
        return await asyncio.shield(self._prune(call.parameters))

    async def _prune(self, given: Mapping[str, Any]) -> View:
        failed, is_dry = given.get("failed", False), given.get("dryRun", False)
        async with self._turn:
            chosen, has_more = await self._chosen(given, failed=failed)
            found = []
            for recorder in chosen:
                found.append(await self._of_one(recorder, failed=failed, is_dry=is_dry))
        total = sum(sum(each.sizes.values()) for each in found if each.why is None)
        return {"pruned": [_view(each) for each in found], "bytes": total, "more": has_more}

    async def _chosen(self, given: Mapping[str, Any], *, failed: bool) -> tuple[list[Recorder], bool]:
        """The recordings that are meant, and whether there are others."""
        if "recording" in given:
            found = await self._store.find(given["recording"])
            if found is None:
                raise NoSuchRecording(recording=given["recording"])
            return [found], False
        age = given.get("olderThanUSec")
        if age is None or age < 0:
            raise PruneUnbounded(why="neither a recording nor an age is given")
        before = max(0, self._clock.now().realtime - age)
        numbers = await self._store.prunable(given.get("streamer"), before, failed=failed, limit=PRUNED_MAX + 1)
        found_all = [await self._readable(number) for number in numbers[:PRUNED_MAX]]
        return [recorder for recorder in found_all if recorder is not None], len(numbers) > PRUNED_MAX

    async def _readable(self, recording: int) -> Recorder | None:
        try:
            return await self._store.get(recording)
        except RecordingUnreadable:
            return None

    async def _of_one(self, stored: Recorder, *, failed: bool, is_dry: bool) -> Pruned:
        recording = stored.recording.id
        recorder = self._manager.known(recording) or stored
        why = why_not_pruned(recorder, failed=failed)
        if why is None and any(job.recording == recording for job in await self._store.unfinished_jobs()):
            why = "a job works on it"
        if why is not None:
            return Pruned(recorder=recorder, sizes={}, why=why)
        try:
            sizes = await self._removal.sizes(recorder)
            if not is_dry:
                await self._remove(recorder, sizes)
        except OSError as error:
            return Pruned(recorder=recorder, sizes={}, why=f"{error.filename or ''}: {error.strerror or error}")
        except VaultError as error:
            return Pruned(recorder=recorder, sizes={}, why=str(error))
        return Pruned(recorder=recorder, sizes=sizes)

    async def _remove(self, recorder: Recorder, sizes: Mapping[Path, int]) -> None:
        await self._removal.remove(recorder, list(sizes))
        recording = recorder.recording.id
        if self._manager.known(recording) is None:
            self._manager.take(recorder)
        event = MediaPruned(at=self._clock.now(), files=len(sizes), size=sum(sizes.values()))
        await self._manager.submit(recording, event)


def _view(each: Pruned) -> View:
    return {
        "recording": each.recorder.recording.id,
        "streamer": each.recorder.recording.streamer,
        "files": [str(path) for path in each.sizes],
        "bytes": sum(each.sizes.values()),
        "done": each.why is None,
    } | optional(why=each.why)
