# SPDX-License-Identifier: GPL-3.0-or-later
"""A store, a folder with results, and daemons that remove what exceeds its limits, one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording.effects import Announce, Effect, Save
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.removal import Removal
from streamvaultd.reporting.entry import Entry
from streamvaultd.store.queries import QueryableStore
from streamvaultd.upkeep.pruning import Pruning
from streamvaultd.upkeep.retention import REPRIEVE, Reprieve, Retention
from tests.component.store_world import NOW, SetClock, later, move, start
from tests.fakes.managing import new_manager
from tests.fakes.no_hooks import NoHooks

DAY = 86_400.0
SIZE = 100
ENDED = Segment(number=1, phase=Phase.ENDED, since=NOW, ended=NOW, size=SIZE)


class Crash(BaseException):
    """The daemon is gone."""


class Media(MediaRemover):
    """Files of recordings; the daemon may be gone after so many of them, or the disk hang."""

    def __init__(self) -> None:
        self.crash_after: int | None = None
        self.hangs: threading.Event | None = None

    def remove(self, directory: Path, paths: Sequence[Path]) -> None:
        if self.hangs is not None:
            self.hangs.wait()
        for path in paths if self.crash_after is None else paths[: self.crash_after]:
            super().remove(directory, [path])
        if self.crash_after is not None:
            raise Crash


class World:
    """A store, a folder, and daemons one after the other."""

    def __init__(self, store: QueryableStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.media = Media()
        self.rules: dict[str, RetentionRules | None] = {}
        self.clock = SetClock(later(30 * DAY))
        self.told: list[tuple[Entry, dict[str, Any]]] = []
        self.announced: list[Announce] = []
        self.removed = asyncio.Event()
        self.crash_at_event = False
        self.begin()

    def begin(self) -> None:
        """A new daemon, that has run for longer than its reprieve."""
        self.manager = new_manager(self, self.clock, self._on_change)
        removal = Removal(store=self.store, files=SegmentFiles(), media=self.media, lanes=Lanes())
        self.pruning = pruning = Pruning(
            store=self.store, manager=self.manager, removal=removal, clock=self.clock, limits=self, hooks=NoHooks()
        )
        self.reprieve = Reprieve(self.clock)
        self.retention = Retention(
            store=self.store,
            pruning=pruning,
            limits=self,
            reprieve=self.reprieve,
            clock=self.clock,
            journal=cast("Any", self),
        )
        self.pass_by(REPRIEVE)

    def pass_by(self, seconds: float, step: float = 0.0) -> None:
        now = self.clock.moment
        self.clock.moment = Moment(now.monotonic + seconds, now.realtime + round((seconds + step) * 1e6))

    def retention_of(self, name: str) -> RetentionRules | None:
        return self.rules.get(name)

    def _on_change(self, recorder: Recorder) -> None:
        self.retention.on_change(recorder)

    async def perform(self, _recorder: Recorder, effects: tuple[Effect, ...]) -> None:
        """As the executor does."""
        if self.crash_at_event:
            raise Crash
        for effect in effects:
            if isinstance(effect, Save):
                await self.store.save(effect.recorder, effect.changed)
            if isinstance(effect, Announce):
                self.announced.append(effect)
                self.removed.set()

    def tell(self, entry: Entry, _recorder: Recorder | None = None, **values: Any) -> None:
        """As the journal does."""
        self.told.append((entry, values))

    async def sweep(self) -> int:
        """One sweep, or what a crash leaves of it."""
        running = asyncio.create_task(self.manager.run())
        sweeping = asyncio.create_task(self.retention.sweep())
        await asyncio.wait([running, sweeping], return_when=asyncio.FIRST_COMPLETED)
        for task in (running, sweeping):
            task.cancel()
        with suppress(asyncio.CancelledError, Crash):
            await running
        with suppress(asyncio.CancelledError, Crash):
            return await sweeping
        return -1

    async def over(
        self, days_ago: float, streamer: str = "alice", state: State = State.COMPLETED, **more: Any
    ) -> Recorder:
        """A recording that ended before now, with a result of two parts; or with segments if there is no path."""
        made = await start(self.store, streamer)
        made = replace(made, recording=replace(made.recording, directory=str(self.folder)))
        end = Moment(0.0, self.clock.moment.realtime - round(days_ago * DAY * 1e6))
        parts = self.parts(made)
        parts[0].parent.mkdir(exist_ok=True)
        for path in parts:
            path.write_bytes(b"x" * (SIZE // 2))
        part = Segment(number=1, phase=Phase.REMOVED, since=NOW, ended=end, size=SIZE)
        values: dict[str, Any] = {"path": str(parts[0]), "ended": end, "result_bytes": SIZE}
        recorder = await move(self.store, made, state, *more.pop("segments", [part]), **(values | more))
        job = await self.store.create_job(recorder.recording.id, "join", {"join": 1}, NOW)
        result = {"path": str(parts[0]), "parts": [{"path": str(path), "bytes": SIZE // 2} for path in parts]}
        await self.store.finish_job(job, ok=True, result=result, now=later(1))
        return recorder

    def parts(self, recorder: Recorder) -> list[Path]:
        home = self.folder / recorder.recording.streamer
        return [home / f"{recorder.recording.id}.ts", home / f"{recorder.recording.id}.part2.ts"]

    async def kept(self) -> list[int]:
        """The recordings whose rows name a file; each has its files, and no other has any."""
        found = [one for one in await self.store.list(all=True) if one.path is not None]
        files = {path for path in self.folder.glob("*/*.ts") if path.is_file()}
        assert files == {part for one in found for part in self.parts(one)}
        return sorted(one.recording.id for one in found)
