# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new daemon does before it is ready: match rows, scopes, stored pipes and files, and go on from there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Recorder, Segment
from streamvaultd.core.names import ChatRun, Run, unit_of_pipe
from streamvaultd.core.recording.reconcile import Facts, orphans, takeover
from streamvaultd.core.upkeep.recovery import coherent
from streamvaultd.errors import StoreUnavailable, VaultError
from streamvaultd.recording.manager import Manager
from streamvaultd.recording.ports import RecordingFiles
from streamvaultd.reporting.notices import ORPHAN_STOPPED, ROW_MENDED, ROW_UNREADABLE, SCOPE_TROUBLE, Journal
from streamvaultd.scopes.ports import Found
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.witnesses.pidfd import last_words

DEAD: Final = frozenset({"failed", "inactive"})

LOOK_LIMIT: Final = 2.0
"""A disk is waited for no longer (s) than this: the recordings on the others are to be taken over."""

Written: TypeAlias = tuple[int, Instant | None]
"""Of a file: its bytes, and when it was last written to, on the monotonic clock; None if there is no file."""


class LoadedScope(Protocol):
    """A scope that systemd knows."""

    @property
    def unit(self) -> str: ...
    @property
    def active_state(self) -> str: ...
    @property
    def control_group(self) -> str: ...
    @property
    def result(self) -> str: ...


class UnfinishedStore(Protocol):
    """The store, as far as it is needed here."""

    async def load_unfinished(self) -> tuple[list[Recorder], list[tuple[int, str]]]:
        """Recorders; and the numbers of recordings whose rows cannot be read, and why."""

    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        """Write a recorder, and the segments that have changed."""


class Takeover:
    """Takes over what an earlier daemon left."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: UnfinishedStore,
        files: RecordingFiles,
        runs: Runs,
        journal: Journal,
        clock: Clock,
        lanes: Lanes,
        tasks: Tasks,
    ) -> None:
        self._manager = manager
        self._store = store
        self._files = files
        self._runs = runs
        self._journal = journal
        self._clock = clock
        self._lanes = lanes
        self._tasks = tasks

    async def run(
        self, scopes: Iterable[LoadedScope], fds: Mapping[str, list[int]], told: Mapping[Run, Evidence]
    ) -> int:
        """Take over; returns the number of segments that were adopted. `told`: what the journal says of runs."""
        loaded = {scope.unit: scope for scope in scopes}
        stored, unreadable = await self._store.load_unfinished()
        recorders = [await self._made_coherent(recorder) for recorder in stored]
        for recording, why in unreadable:
            self._journal.tell(ROW_UNREADABLE, recording=recording, why=why)
        unknown = frozenset(recording for recording, _ in unreadable)
        live = {unit: scope for unit, scope in loaded.items() if scope.active_state not in DEAD}
        pipes = self._sort_pipes(fds, live, unknown)
        self._runs.inherit(Found({unit: scope.control_group for unit, scope in live.items()}, pipes[0]))
        written = await self._written(recorders)
        facts = Facts(
            live=frozenset(run for unit in live if (run := Run.of(unit)) is not None),
            sizes={run: size for run, (size, _) in written.items()},
            grown={run: instant for run, (_, instant) in written.items() if instant is not None},
            evidence=self._evidence(loaded, pipes[1], told),
        )
        for recorder in recorders:
            self._manager.take(recorder)
            for event in takeover(recorder, facts, self._clock.now()):
                self._manager.post(recorder.recording.id, event)
        for orphan in (run for run in orphans(recorders, facts) if run.recording not in unknown):
            self._tasks.create_task(self._stop_orphan(orphan))
        await self._manager.drain()
        return sum(run in facts.live for recorder in recorders for run in recorder.runs_live)

    async def _made_coherent(self, stored: Recorder) -> Recorder:
        """A row that another hand has written is neither a reason to fall over nor to wait for ever."""
        recorder = coherent(stored, self._clock.now())
        if recorder != stored:
            before, after = stored.state.value, recorder.state.value
            self._journal.tell(ROW_MENDED, recorder, recording=recorder.recording.id, before=before, after=after)
            with suppress(StoreUnavailable):  # the next save tells that
                await self._store.save(recorder, recorder.segments)
        return recorder

    def _sort_pipes(
        self, fds: Mapping[str, list[int]], live: Mapping[str, LoadedScope], unknown: Set[int]
    ) -> tuple[dict[str, int], dict[Run, Evidence]]:
        """Stored exit pipes of live units, and what the others held; those are closed and forgotten.

        Those of `unknown` recordings stay as they are, for a daemon that can read their rows; those of chats are kept
        for their own takeover.
        """
        kept: dict[str, int] = {}
        records: dict[Run, Evidence] = {}
        for name, stored in fds.items():
            run, unit = Run.of_pipe(name), unit_of_pipe(name)
            if unit is None:
                continue
            fd, *surplus = stored
            if unit in live or ChatRun.of_pipe(name) is not None or (run and run.recording in unknown):
                kept[unit] = fd
            else:
                if run:
                    records[run] = last_words(fd)
                self._runs.drop_pipe(name)
                surplus.append(fd)
            for useless in surplus:
                os.close(useless)
        return kept, records

    async def _written(self, recorders: Iterable[Recorder]) -> dict[Run, Written]:
        """Of the files of live segments; those on a disk that fails, or does not answer, are left out."""
        found: dict[Run, Written] = {}
        looks = (self._look(recorder) for recorder in recorders if recorder.live)
        for files in await asyncio.gather(*looks):
            found |= files
        return found

    async def _look(self, recorder: Recorder) -> dict[Run, Written]:
        try:
            async with asyncio.timeout(LOOK_LIMIT):
                return await self._lanes.run(recorder.recording.directory, self._look_at, recorder)
        except OSError:  # TimeoutError is one
            return {}

    def _look_at(self, recorder: Recorder) -> dict[Run, Written]:
        now, found = self._clock.now(), dict[Run, Written]()
        for segment in recorder.live:
            path = self._files.segment_path(recorder.recording, segment.number)
            written = self._files.written(path)
            instant = None if written is None else now.monotonic - (now.realtime - written) / 1e6
            found[recorder.run(segment.number)] = self._files.size(path), instant
        return found

    def _evidence(
        self, loaded: Mapping[str, LoadedScope], records: Mapping[Run, Evidence], told: Mapping[Run, Evidence]
    ) -> dict[Run, Evidence]:
        """All that is known of each run, the witness that is trusted most first."""
        found = dict(records)
        results = {
            run: Evidence(unit_result=scope.result)
            for unit, scope in loaded.items()
            if (run := Run.of(unit)) and scope.active_state in DEAD and scope.result != "success"
        }
        for run, evidence in (*results.items(), *told.items()):
            found[run] = found.get(run, Evidence()).merged(evidence)
        return found

    async def _stop_orphan(self, run: Run) -> None:
        self._journal.tell(ORPHAN_STOPPED, unit=run.unit)
        try:
            await self._runs.forget(run.unit, run.pipe)
        except VaultError as error:
            self._journal.tell(SCOPE_TROUBLE, unit=run.unit, why=error)
