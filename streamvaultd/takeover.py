# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new daemon does before it is ready: match rows, scopes, stored pipes and files, and go on from there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Set
from typing import Any, Final, Protocol

from streamvaultd.clock import Clock
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Recorder
from streamvaultd.core.reconcile import Facts, Run, orphans, takeover
from streamvaultd.errors import VaultError
from streamvaultd.manager import Manager
from streamvaultd.notices import ORPHAN_STOPPED, ROW_UNREADABLE, SCOPE_TROUBLE, Journal
from streamvaultd.ports import FdStore, Files, Found
from streamvaultd.runs import Runs
from streamvaultd.units import (
    job_unit,
    parse_job_fd_name,
    parse_segment_fd_name,
    parse_segment_unit,
    segment_fd_name,
    segment_unit,
)

DEAD: Final = frozenset({"failed", "inactive"})


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


class Takeover:
    """Takes over what an earlier daemon left."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: UnfinishedStore,
        files: Files,
        runs: Runs,
        journal: Journal,
        fd_store: FdStore,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        parse_record: Callable[[bytes | None], Evidence],
        take_record: Callable[[int], bytes | None],
    ) -> None:
        self._manager = manager
        self._store = store
        self._files = files
        self._runs = runs
        self._journal = journal
        self._fd_store = fd_store
        self._clock = clock
        self._spawn = spawn
        self._parse_record = parse_record
        self._take_record = take_record

    async def run(
        self, scopes: Iterable[LoadedScope], fds: Mapping[str, list[int]], told: Mapping[str, Evidence]
    ) -> int:
        """Take over; returns the number of segments that were adopted. `told`: what the journal says of units."""
        loaded = {scope.unit: scope for scope in scopes}
        recorders, unreadable = await self._store.load_unfinished()
        for recording, why in unreadable:
            self._journal.tell(ROW_UNREADABLE, recording=recording, why=why)
        unknown = frozenset(recording for recording, _ in unreadable)
        live = {unit: scope for unit, scope in loaded.items() if scope.active_state not in DEAD}
        pipes = self._sort_pipes(fds, live, unknown)
        self._runs.inherit(Found({unit: scope.control_group for unit, scope in live.items()}, pipes[0]))
        facts = Facts(
            live=frozenset(run for unit in live if (run := parse_segment_unit(unit)) is not None),
            sizes=await asyncio.to_thread(self._sizes, recorders),
            grown=await asyncio.to_thread(self._grown, recorders),
            evidence=self._evidence(loaded, pipes[1], told),
        )
        for recorder in recorders:
            self._manager.take(recorder)
            for event in takeover(recorder, facts, self._clock.now()):
                self._manager.post(recorder.recording.id, event)
        for orphan in (run for run in orphans(recorders, facts) if run[0] not in unknown):
            self._spawn(self._stop_orphan(segment_unit(*orphan)))
        await self._manager.drain()
        return sum((r.recording.id, segment.number) in facts.live for r in recorders for segment in r.live)

    def _sort_pipes(
        self, fds: Mapping[str, list[int]], live: Mapping[str, LoadedScope], unknown: Set[int]
    ) -> tuple[dict[str, int], dict[Run, bytes | None]]:
        """Stored exit pipes of live units, and what the others held; those are closed and forgotten.

        Those of `unknown` recordings stay as they are, for a daemon that can read their rows.
        """
        kept: dict[str, int] = {}
        records: dict[Run, bytes | None] = {}
        for name, stored in fds.items():
            run, job = parse_segment_fd_name(name), parse_job_fd_name(name)
            unit = segment_unit(*run) if run else job_unit(job) if job else None
            if unit is None:
                continue
            fd, *surplus = stored
            if unit in live or (run and run[0] in unknown):
                kept[unit] = fd
            else:
                if run:
                    records[run] = self._take_record(fd)
                self._fd_store.remove_fd(name)
                surplus.append(fd)
            for useless in surplus:
                os.close(useless)
        return kept, records

    def _sizes(self, recorders: Iterable[Recorder]) -> dict[Run, int]:
        return {
            (recorder.recording.id, segment.number): self._files.size(
                self._files.segment_path(recorder.recording, segment.number)
            )
            for recorder in recorders
            for segment in recorder.live
        }

    def _grown(self, recorders: Iterable[Recorder]) -> dict[Run, Instant]:
        """When the files of live segments were last written to, on the monotonic clock."""
        now, found = self._clock.now(), {}
        for recorder in recorders:
            for segment in recorder.live:
                written = self._files.written(self._files.segment_path(recorder.recording, segment.number))
                if written is not None:
                    found[recorder.recording.id, segment.number] = now.monotonic - (now.realtime - written) / 1e6
        return found

    def _evidence(
        self, loaded: Mapping[str, LoadedScope], records: Mapping[Run, bytes | None], told: Mapping[str, Evidence]
    ) -> dict[Run, Evidence]:
        """All that is known of each run, the witness that is trusted most first."""
        found = {run: self._parse_record(record) for run, record in records.items()}
        results = {
            unit: Evidence(unit_result=scope.result)
            for unit, scope in loaded.items()
            if scope.active_state in DEAD and scope.result != "success"
        }
        for unit, evidence in (*results.items(), *told.items()):
            if (run := parse_segment_unit(unit)) is not None:
                found[run] = found.get(run, Evidence()).merged(evidence)
        return found

    async def _stop_orphan(self, unit: str) -> None:
        self._journal.tell(ORPHAN_STOPPED, unit=unit)
        run = parse_segment_unit(unit)
        try:
            await self._runs.forget(unit, segment_fd_name(*run) if run else "")
        except VaultError as error:
            self._journal.tell(SCOPE_TROUBLE, unit=unit, why=error)
