# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Prune, which removes media that nobody wants any more, or shows what retention will; and
Keep and Unkeep, for media that somebody wants for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from streamvaultd.api.present import Presenter
from streamvaultd.api.views import View, optional
from streamvaultd.base.clock import Clock
from streamvaultd.core.model import Recorder
from streamvaultd.errors import PruneUnbounded, RecordingUnreadable
from streamvaultd.upkeep.pruning import Pruned, Pruning, RemovalRequest
from streamvaultd.upkeep.retention import Reprieve, Retention
from streamvaultd.varlink.server import Call, Handler

PRUNED_MAX: Final = 500
"""Recordings of one call; "more" says that there are others."""


class PruneStore(Protocol):
    """Raises StoreUnavailable and RecordingUnreadable; NoSuchRecording where there is none."""

    async def find(self, name_or_id: str) -> Recorder: ...
    async def get(self, recording: int) -> Recorder | None: ...
    async def prunable(
        self, streamer: str | None, ended_before: int, *, failed: bool, kept: bool, limit: int
    ) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The recordings that are meant, by which rules of retention; and whether there are others."""

    recorders: Sequence[Recorder]
    rules: Mapping[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    has_more: bool = False


class PruneApi:
    """The handlers; one Prune at a time."""

    def __init__(
        self,
        *,
        store: PruneStore,
        pruning: Pruning,
        retention: Retention,
        reprieve: Reprieve,
        presenter: Presenter,
        clock: Clock,
    ) -> None:
        self._store = store
        self._pruning = pruning
        self._retention = retention
        self._reprieve = reprieve
        self._presenter = presenter
        self._clock = clock
        self._turn = asyncio.Lock()

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Keep": self.keep, "Unkeep": self.unkeep, "Prune": self.prune}

    async def keep(self, call: Call) -> View:
        return await self._mark(call, keep=True)

    async def unkeep(self, call: Call) -> View:
        self._reprieve.begin()  # it may have been the wrong one
        return await self._mark(call, keep=False)

    async def _mark(self, call: Call, *, keep: bool) -> View:
        found = await self._store.find(call.parameters["recording"])
        after = await asyncio.shield(self._pruning.keep(found, keep=keep))
        return {"recording": await self._presenter.recording(after)}

    async def prune(self, call: Call) -> View:
        # a client that hangs up does not stop it between a file and its row
        return await asyncio.shield(self._prune(call.parameters))

    async def _prune(self, given: Mapping[str, Any]) -> View:
        failed, force, is_dry = given.get("failed", False), given.get("force", False), given.get("dryRun", False)
        async with self._turn:
            chosen = await self._chosen(given, failed=failed, force=force)
            found = []
            for recorder in chosen.recorders:
                wish = RemovalRequest(failed=failed, force=force, rule=chosen.rules.get(recorder.recording.id))
                found.append(await self._pruning.prune(recorder, wish, is_dry=is_dry))
        total = sum(sum(each.sizes.values()) for each in found if each.why is None)
        answer = {"pruned": [_view(each) for each in found], "bytes": total, "more": chosen.has_more}
        return answer | ({"notes": list(chosen.notes)} if chosen.notes else {})

    async def _chosen(self, given: Mapping[str, Any], *, failed: bool, force: bool) -> _Chosen:
        if given.get("byRetention", False):
            return await self._expired(given)
        if "recording" in given:
            if "olderThanUSec" in given or "streamer" in given:
                raise PruneUnbounded(why="it is asked for one recording, and for all of an age or of a streamer")
            return _Chosen(recorders=[await self._store.find(given["recording"])])
        age = given.get("olderThanUSec")
        if age is None or age < 0:
            raise PruneUnbounded(why="neither a recording nor an age is given, nor that retention decides")
        before = max(0, self._clock.now().realtime - age)
        numbers = await self._store.prunable(
            given.get("streamer"), before, failed=failed, kept=force, limit=PRUNED_MAX + 1
        )
        return _Chosen(recorders=await self._readable(numbers), has_more=len(numbers) > PRUNED_MAX)

    async def _expired(self, given: Mapping[str, Any]) -> _Chosen:
        if "recording" in given or "olderThanUSec" in given or given.keys() & {"failed", "force"}:
            why = "retention decides, so neither a recording nor an age nor 'failed' nor 'force' can be given"
            raise PruneUnbounded(why=why)
        outlook = await self._retention.outlook(given.get("streamer"))
        rules = {one.recording: one.why for one in outlook.expired}
        recorders = await self._readable(list(rules))
        return _Chosen(recorders=recorders, rules=rules, notes=outlook.notes, has_more=len(rules) > PRUNED_MAX)

    async def _readable(self, recordings: Sequence[int]) -> list[Recorder]:
        found = []
        for recording in recordings[:PRUNED_MAX]:
            with suppress(RecordingUnreadable):
                found.append(await self._store.get(recording))
        return [recorder for recorder in found if recorder is not None]


def _view(each: Pruned) -> View:
    return {
        "recording": each.recorder.recording.id,
        "streamer": each.recorder.recording.streamer,
        "files": [str(path) for path in each.sizes],
        "bytes": sum(each.sizes.values()),
        "done": each.why is None,
    } | optional(why=each.why, rule=each.rule)
