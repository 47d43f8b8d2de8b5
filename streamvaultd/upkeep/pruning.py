# SPDX-License-Identifier: GPL-3.0-or-later
"""How the media of one recording are given up: by retention, or by people. and how they are marked to be kept.

Files go first, then an event tells the recorder, whose rows say so: a crash between leaves rows that name files which
are gone, which an audit finds and the next try puts right. One of the two happens to a recording at a time, so nobody
hears that media are kept which are on their way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.core.after.graph import UPLOAD
from streamvaultd.core.after.machine import StepRow, StepStatus
from streamvaultd.core.listing import JobRow
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording.events import KeepRequested, MediaPruned
from streamvaultd.core.recording.on_request import why_not_kept, why_not_pruned
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.errors import NothingToKeep, StoreUnavailable, VaultError
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.removal import Removal


class JobStore(Protocol):
    """Raises StoreUnavailable; get() also RecordingUnreadable."""

    @property
    def url(self) -> str: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...
    async def get(self, recording: int) -> Recorder | None: ...
    async def steps(self, recording: int) -> Sequence[StepRow]: ...


class Limits(Protocol):
    """What is kept of each streamer's recordings."""

    def retention_of(self, name: str) -> RetentionRules | None:
        """None if nobody can tell at present."""


class Hooks(Protocol):
    """jobs/after/hook_caller.py; raises StoreUnavailable."""

    async def before_prune(self, recorder: Recorder) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """Which media may go: `failed`: also segments that nobody has joined; `force`: also what is marked to be kept,
    and what is not uploaded yet.

    `rule` is that of retention, where nobody asked for it.
    """

    failed: bool = False
    force: bool = False
    rule: str | None = None


JOINED: Final = RemovalRequest()

_MARKED: Final = {True: "marked to be kept", False: "no longer marked to be kept"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed of a recording, or would be, and by which rule; or why it is kept."""

    recorder: Recorder
    sizes: Mapping[Path, int]
    why: str | None = None
    rule: str | None = None


class Pruning:
    """Removes media, or marks them to be kept; may be repeated."""

    def __init__(
        self, *, store: JobStore, manager: Manager, removal: Removal, clock: Clock, limits: Limits, hooks: Hooks
    ) -> None:
        self._store = store
        self._manager = manager
        self._removal = removal
        self._clock = clock
        self._limits = limits
        self._hooks = hooks
        self._taken: set[int] = set()

    def is_at(self, recording: int) -> bool:
        """Whether the media of a recording are being removed, or it is being marked."""
        return recording in self._taken

    async def keep(self, stored: Recorder, *, keep: bool) -> Recorder:
        """The recording, marked to be kept or not any longer, and so in the store.

        Raises NothingToKeep; StoreUnavailable if the mark is not saved yet.
        """
        recording = stored.recording.id
        if recording in self._taken:
            raise NothingToKeep(recording=recording, why="its media are being removed, or it is being marked")
        self._taken.add(recording)
        try:
            recorder = await self._present(stored)
            why = why_not_kept(recorder) if keep else None
            if why is not None:
                raise NothingToKeep(recording=recording, why=why)
            event = KeepRequested(at=self._clock.now(), keep=keep)
            after = await self._submit(recorder, event) or recorder
            if after.kept is not keep:  # what was queued before has changed it
                raise NothingToKeep(recording=recording, why=why_not_kept(after) or "it has changed meanwhile")
            await self._require_saved(after)
            return after
        finally:
            self._taken.discard(recording)

    async def prune(self, stored: Recorder, wish: RemovalRequest = JOINED, *, is_dry: bool = False) -> Pruned:
        """Give up the media of a recording, if they may go. Trouble is an answer, StoreUnavailable included."""
        if is_dry:
            return await self._prune(stored, wish, is_dry=True)
        recording = stored.recording.id
        if recording in self._taken:
            return Pruned(recorder=stored, sizes={}, why="it is being marked or removed already", rule=wish.rule)
        self._taken.add(recording)
        try:
            return await self._prune(stored, wish, is_dry=False)
        finally:
            self._taken.discard(recording)

    async def _prune(self, recorder: Recorder, wish: RemovalRequest, *, is_dry: bool) -> Pruned:
        try:
            recorder = await self._present(recorder)
            why = why_not_pruned(recorder, failed=wish.failed, force=wish.force) or await self._why_busy(recorder)
            if why is None and not wish.force:
                why = await self._why_not_uploaded(recorder)
            if why is not None:
                return Pruned(recorder=recorder, sizes={}, why=why, rule=wish.rule)
            if not is_dry and (why := await self._hooks.before_prune(recorder)) is not None:
                return Pruned(recorder=recorder, sizes={}, why=why, rule=wish.rule)
            if wish.rule is not None:  # nobody is there to be surprised
                await self._removal.require_disk(recorder)
            sizes = await self._removal.sizes(recorder)
            if not is_dry:
                await self._remove(recorder, sizes, wish.rule)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return Pruned(recorder=recorder, sizes={}, why=f"{where}{error.strerror or error}", rule=wish.rule)
        except (VaultError, ValueError) as error:  # a ValueError: another hand wrote what is no name
            return Pruned(recorder=recorder, sizes={}, why=str(error), rule=wish.rule)
        return Pruned(recorder=recorder, sizes=sizes, rule=wish.rule)

    async def _present(self, stored: Recorder) -> Recorder:
        """As it is now: `stored` was read some time ago."""
        recording = stored.recording.id
        return self._manager.known(recording) or await self._store.get(recording) or stored

    async def _require_saved(self, marked: Recorder) -> None:
        """Raises StoreUnavailable if the store does not have the mark as it is: a restart would lose it."""
        stored = await self._store.get(marked.recording.id)
        if stored is None or stored.kept is not marked.kept:
            why = f"recording {marked.recording.id} is {_MARKED[marked.kept]}, but this is not saved yet"
            raise StoreUnavailable(url=self._store.url, why=f"{why}; the daemon goes on trying until it stops")

    async def _why_busy(self, recorder: Recorder) -> str | None:
        jobs = await self._store.unfinished_jobs()
        return "a job works on it" if any(job.recording == recorder.recording.id for job in jobs) else None

    async def _why_not_uploaded(self, recorder: Recorder) -> str | None:
        """Why a result is the only copy of what is to be at a remote, if the rules have it stay then."""
        rules = self._limits.retention_of(recorder.recording.streamer)
        if recorder.path is None or (rules is not None and not rules.require_upload):
            return None
        for row in await self._store.steps(recorder.recording.id):
            if row.step == UPLOAD and row.status is not StepStatus.DONE:
                return "it is not uploaded yet" + (f" ({row.why})" if row.why else "")
        return None

    async def _remove(self, recorder: Recorder, sizes: Mapping[Path, int], rule: str | None) -> None:
        await self._removal.remove(recorder, list(sizes))
        event = MediaPruned(at=self._clock.now(), files=len(sizes), size=sum(sizes.values()), rule=rule)
        await self._submit(recorder, event)

    async def _submit(self, recorder: Recorder, event: KeepRequested | MediaPruned) -> Recorder | None:
        recording = recorder.recording.id
        if self._manager.known(recording) is None:
            self._manager.take(recorder)
        return await self._manager.submit(recording, event)
