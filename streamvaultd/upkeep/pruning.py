# SPDX-License-Identifier: GPL-3.0-or-later
"""How the media of one recording are given up: by retention, or by people.

Files go first, then an event tells the recorder, whose rows say so: a crash between leaves rows that name files which
are gone, which an audit finds and the next try puts right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.listing import JobRow
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.events import MediaPruned
from streamvaultd.core.recording.on_request import why_not_pruned
from streamvaultd.errors import VaultError
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal


class JobStore(Protocol):
    """Raises StoreUnavailable."""

    async def unfinished_jobs(self) -> Sequence[JobRow]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed of a recording, or would be, and by which rule; or why it is kept."""

    recorder: Recorder
    sizes: Mapping[Path, int]
    why: str | None = None
    rule: str | None = None


class Pruning:
    """Removes media; may be repeated."""

    def __init__(self, *, store: JobStore, manager: Manager, removal: Removal, clock: Clock) -> None:
        self._store = store
        self._manager = manager
        self._removal = removal
        self._clock = clock

    async def prune(
        self, stored: Recorder, *, failed: bool = False, is_dry: bool = False, rule: str | None = None
    ) -> Pruned:
        """Give up the media of a recording, if they may go. `rule` is that of retention, where nobody asked for it.

        `failed`: also segments that nobody has joined. Trouble is an answer, StoreUnavailable included.
        """
        recorder = self._manager.known(stored.recording.id) or stored
        try:
            why = why_not_pruned(recorder, failed=failed) or await self._why_busy(recorder)
            if why is not None:
                return Pruned(recorder=recorder, sizes={}, why=why, rule=rule)
            if rule is not None:  # nobody is there to be surprised
                await self._removal.require_disk(recorder)
            sizes = await self._removal.sizes(recorder)
            if not is_dry:
                await self._remove(recorder, sizes, rule)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return Pruned(recorder=recorder, sizes={}, why=f"{where}{error.strerror or error}", rule=rule)
        except VaultError as error:
            return Pruned(recorder=recorder, sizes={}, why=str(error), rule=rule)
        return Pruned(recorder=recorder, sizes=sizes, rule=rule)

    async def _why_busy(self, recorder: Recorder) -> str | None:
        jobs = await self._store.unfinished_jobs()
        return "a job works on it" if any(job.recording == recorder.recording.id for job in jobs) else None

    async def _remove(self, recorder: Recorder, sizes: Mapping[Path, int], rule: str | None) -> None:
        await self._removal.remove(recorder, list(sizes))
        recording = recorder.recording.id
        if self._manager.known(recording) is None:
            self._manager.take(recorder)
        event = MediaPruned(at=self._clock.now(), files=len(sizes), size=sum(sizes.values()), rule=rule)
        await self._manager.submit(recording, event)
