# SPDX-License-Identifier: GPL-3.0-or-later
"""Performs effects, in order. Saves are awaited: what follows a save may rely on it. The rest runs on as tasks.

A save that fails does not stop a capture: it is told, kept, and tried again until the store takes it, whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.units import segment_unit
from streamvaultd.core.model import Recorder, Segment
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.errors import StoreUnavailable, VaultError
from streamvaultd.jobs.joins import Joins
from streamvaultd.recording.ports import Disk, Files, Prober, Store
from streamvaultd.recording.removal import Removal
from streamvaultd.recording.segments import Captures
from streamvaultd.reporting.hub import Hub, News
from streamvaultd.reporting.notices import FILES_TROUBLE, SCOPE_TROUBLE, STORE_FAILED, Journal

SAVE_RETRY: Final = 2.0
"""Seconds between tries to save what the store did not take."""

Work = Coroutine[Any, Any, None]


class Executor:
    """Turns effects into the world's doings; their outcomes are posted as events."""

    def __init__(
        self,
        *,
        post: Callable[[int, ev.Event], None],
        spawn: Callable[[Work], None],
        clock: Clock,
        store: Store,
        files: Files,
        captures: Captures,
        disk: Disk,
        lanes: Lanes,
        joins: Joins,
        removal: Removal,
        prober: Prober,
        journal: Journal,
        hub: Hub,
    ) -> None:
        self._post = post
        self._spawn = spawn
        self._clock = clock
        self._store = store
        self._files = files
        self._captures = captures
        self._disk = disk
        self._lanes = lanes
        self._joins = joins
        self._removal = removal
        self._prober = prober
        self._journal = journal
        self._hub = hub
        self._unsaved: dict[int, Recorder] = {}
        self._brief = 0
        self._is_done = asyncio.Event()

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        """Perform these effects of one step. Nothing waits until an announcement is stored."""
        announcements = [effect for effect in effects if isinstance(effect, fx.Announce)]
        for effect in effects:
            match effect:
                case fx.Save(saved, changed):
                    await self._save(saved, changed)
                case fx.Announce():
                    continue
                case fx.Watch(attempt):
                    self._captures.adopt(recorder, attempt)
                case fx.Launch() | fx.Seal():
                    self._brief += 1
                    self._is_done.clear()
                    self._spawn(self._work_briefly(recorder, effect))
                case _:
                    self._spawn(self._work(recorder, effect))
        for announcement in announcements:
            await self._announce(recorder, announcement)

    @property
    def is_idle(self) -> bool:
        """No launch and no seal is under way."""
        return self._brief == 0

    async def finish(self) -> None:
        """Wait until no launch and no seal is under way. Other work can be begun anew by the next daemon."""
        while not self.is_idle:
            await self._is_done.wait()

    async def _work_briefly(self, recorder: Recorder, effect: fx.Effect) -> None:
        try:
            await self._work(recorder, effect)
        finally:
            self._brief -= 1
            if self.is_idle:
                self._is_done.set()

    def _work(self, recorder: Recorder, effect: fx.Effect) -> Work:
        match effect:
            case fx.Launch(attempt):
                return self._captures.launch(recorder, attempt)
            case fx.StopScope(attempt):
                return self._stop(recorder, attempt)
            case fx.Measure(attempt):
                return self._captures.measure(recorder, attempt)
            case fx.SaveFile(attempt):
                return self._save_file(recorder, attempt)
            case fx.CheckOverlap(attempt, older):
                return self._captures.check_overlap(recorder, attempt, older)
            case fx.Seal(attempt):
                return self._seal(recorder, attempt)
            case fx.Probe(probe):
                return self._probe(recorder, probe)
            case fx.CheckDisk():
                return self._disk.check(recorder)
            case fx.Join(join):
                return self._joins.join(recorder, join)
            case fx.RemoveSegments():
                return self._remove_segments(recorder)
            case fx.DiscardFolder():
                return self._discard_folder(recorder)
            case fx.Discard():
                return self._discard(recorder)
            case _:
                raise TypeError(f"{type(effect).__name__} is not performed as a task")

    # --- the store -------------------------------------------------------------------------------------------------

    async def _save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        recording = recorder.recording.id
        whole = recorder.segments if recording in self._unsaved else changed
        try:
            await self._store.save(recorder, whole)
        except StoreUnavailable as error:
            if recording not in self._unsaved:
                self._journal.tell(STORE_FAILED, recorder, why=error)
                self._spawn(self._save_later(recording))
            self._unsaved[recording] = recorder
        else:
            self._unsaved.pop(recording, None)

    async def _save_later(self, recording: int) -> None:
        while recording in self._unsaved:
            await asyncio.sleep(SAVE_RETRY)
            recorder = self._unsaved.get(recording)
            if recorder is not None:
                await self._save(recorder, recorder.segments)

    async def _announce(self, recorder: Recorder, announce: fx.Announce) -> None:
        at = self._clock.now()
        told = self._journal.announce(recorder, announce)
        self._hub.publish(News(at, recorder, told))
        try:
            await self._store.add_event(
                at=at,
                kind=told.kind,
                priority=told.priority,
                message=told.message,
                recording=recorder.recording.id,
                segment=told.attempt,
                cause=told.cause,
            )
        except StoreUnavailable:
            return  # the journal has it; that the store fails is told by the save

    # --- scopes and files ------------------------------------------------------------------------------------------

    async def _stop(self, recorder: Recorder, attempt: int) -> None:
        try:
            await self._captures.stop(recorder, attempt)
        except VaultError as error:
            # not stuck: StopTimedOut asks again
            unit = segment_unit(recorder.recording.id, attempt)
            self._journal.tell(SCOPE_TROUBLE, recorder, unit=unit, why=error)

    async def _save_file(self, recorder: Recorder, attempt: int) -> None:
        try:
            await self._captures.save_file(recorder, attempt)
        except OSError as error:
            # it stays open, and is saved when it is sealed
            self._journal.tell(FILES_TROUBLE, recorder, why=error)

    async def _seal(self, recorder: Recorder, attempt: int) -> None:
        try:
            await self._captures.seal(recorder, attempt)
        except VaultError as error:
            unit = segment_unit(recorder.recording.id, attempt)
            self._journal.tell(SCOPE_TROUBLE, recorder, unit=unit, why=error)
        except OSError as error:
            self._journal.tell(FILES_TROUBLE, recorder, why=error)

    async def _remove_segments(self, recorder: Recorder) -> None:
        paths = [self._files.segment_path(recorder.recording, segment.number) for segment in recorder.segments]
        lane = recorder.recording.directory
        try:
            if recorder.path is None or not await self._lanes.run(lane, Path(recorder.path).exists):
                self._journal.tell(FILES_TROUBLE, recorder, why=f"{recorder.path} is not there, the segments stay")
                return
            await self._lanes.run(lane, self._files.remove_segments, paths, paths[0].parent)
        except OSError as error:
            self._journal.tell(FILES_TROUBLE, recorder, why=error)
            return
        self._post(recorder.recording.id, ev.SegmentsRemoved(at=self._clock.now()))

    async def _discard_folder(self, recorder: Recorder) -> None:
        folder = self._files.segment_path(recorder.recording, 1).parent
        try:
            await self._lanes.run(recorder.recording.directory, self._files.discard_folder, folder)
        except OSError as error:
            self._journal.tell(FILES_TROUBLE, recorder, why=error)

    async def _discard(self, recorder: Recorder) -> None:
        try:
            sizes = await self._removal.discard(recorder)
        except (OSError, VaultError) as error:
            # not stuck: DiscardOverdue asks again
            self._journal.tell(FILES_TROUBLE, recorder, why=error)
            return
        discarded = ev.MediaDiscarded(at=self._clock.now(), files=len(sizes), size=sum(sizes.values()))
        self._post(recorder.recording.id, discarded)

    # --- the source ------------------------------------------------------------------------------------------------

    async def _probe(self, recorder: Recorder, probe: int) -> None:
        answer = await self._prober.probe(recorder.recording)
        probed = ev.SourceProbed(
            at=self._clock.now(), probe=probe, outcome=answer.outcome, detail=answer.detail, mark=answer.mark
        )
        self._post(recorder.recording.id, probed)
