# SPDX-License-Identifier: GPL-3.0-or-later
"""Performs effects, in order. Saves are awaited: what follows a save may rely on it. The rest runs on as tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from streamvaultd.base.tasks import Tasks
from streamvaultd.core.model import Recorder
from streamvaultd.core.recording import effects as fx
from streamvaultd.jobs.joins import Joins
from streamvaultd.recording.asking import Asking
from streamvaultd.recording.books import Books
from streamvaultd.recording.cleaning import Cleaning
from streamvaultd.recording.footage import Footage
from streamvaultd.recording.ports import Disk
from streamvaultd.recording.segments import Captures

Work = Coroutine[Any, Any, None]


class Executor:
    """Turns effects into the world's doings; their outcomes are posted as events."""

    def __init__(
        self,
        *,
        tasks: Tasks,
        books: Books,
        captures: Captures,
        footage: Footage,
        disk: Disk,
        joins: Joins,
        cleaning: Cleaning,
        asking: Asking,
    ) -> None:
        self._tasks = tasks
        self._books = books
        self._captures = captures
        self._footage = footage
        self._disk = disk
        self._joins = joins
        self._cleaning = cleaning
        self._asking = asking
        self._brief = 0
        self._is_done = asyncio.Event()

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        """Perform these effects of one step. Nothing waits until an announcement is stored."""
        announcements = [effect for effect in effects if isinstance(effect, fx.Announce)]
        for effect in effects:
            match effect:
                case fx.Save(saved, changed):
                    await self._books.save(saved, changed)
                case fx.Announce():
                    continue
                case fx.Watch(attempt):
                    self._captures.adopt(recorder, attempt)
                case fx.Launch() | fx.Seal():
                    self._brief += 1
                    self._is_done.clear()
                    self._tasks.create_task(self._work_briefly(recorder, effect))
                case _:
                    self._tasks.create_task(self._work(recorder, effect))
        for announcement in announcements:
            await self._books.announce(recorder, announcement)

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
                return self._captures.stop(recorder, attempt)
            case fx.Measure(attempt):
                return self._captures.measure(recorder, attempt)
            case fx.SaveFile(attempt):
                return self._captures.save_file(recorder, attempt)
            case fx.CheckOverlap(attempt, older):
                return self._footage.check_overlap(recorder, attempt, older)
            case fx.Seal(attempt):
                return self._captures.seal(recorder, attempt)
            case fx.Probe(probe):
                return self._asking.ask(recorder, probe)
            case fx.CheckDisk():
                return self._disk.check(recorder)
            case fx.Join(join):
                return self._joins.join(recorder, join)
            case fx.RemoveSegments():
                return self._cleaning.remove_segments(recorder)
            case fx.DiscardFolder():
                return self._cleaning.discard_folder(recorder)
            case fx.Discard():
                return self._cleaning.discard(recorder)
            case _:
                raise TypeError(f"{type(effect).__name__} is not performed as a task")
