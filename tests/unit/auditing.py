# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits of the simulated world (world.py), made as upkeep/audit/audits.py makes them: one thing after the other."""

from __future__ import annotations

from streamvaultd.core.model import Recorder
from streamvaultd.core.names import Job, Run
from streamvaultd.core.upkeep.audit import audit, confirmed
from streamvaultd.core.upkeep.violations import Violation
from streamvaultd.core.upkeep.world import (
    Disk,
    Folder,
    JobRow,
    LoadedUnit,
    Pipe,
    ResultState,
    Row,
    RowSegment,
    SegmentFile,
    folder_of,
    moved,
)
from streamvaultd.core.upkeep.world import World as Census
from tests.unit.world import World

STEP = 0.02
"""Between two parts of a look (s)."""

CATCH_UP = 0.06
"""What the daemon was told reaches it within this time (s)."""

SETTLE = 2.0
LOOKS = 3


class Interrupted(Exception):
    """The daemon ended, and its audit with it."""


class Auditor:
    """An audit by the daemon that runs in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.crashes = world.crashes
        self.boot = world._epoch
        self.started = world.monotonic

    def run(self) -> tuple[Violation, ...]:
        """What every look has seen; raises Interrupted."""
        found = audit(self.look())
        for _ in range(LOOKS - 1):
            if not found:
                break
            self._advance(SETTLE)
            found = confirmed(found, audit(self.look()))
        return found

    def look(self) -> Census:
        """Recorders, files, units, rows, recorders."""
        world = self.world
        before = self._recorders()
        disk = disk_of(world)
        self._advance(STEP)
        units, pipes = units_of(world), pipes_of(world)
        self._advance(STEP)
        stored = world.rows.load()
        path = stored.path
        results = {} if path is None else {path: ResultState.THERE if world.joined else ResultState.GONE}
        jobs = () if world.job is None else (JobRow(id=world.job, recording=1),)
        self._advance(CATCH_UP)
        after = self._recorders()
        busy = world.watched | world.launching | {attempt for attempt, run in world.scopes.items() if run.stops}
        return Census(
            now=world.monotonic,
            started=self.started,
            recorders=tuple(after.values()),
            moving=moved(before, after),
            busy_runs=frozenset(Run(1, attempt) for attempt in busy),
            stored=(stored,) if not stored.state.is_final or not world.is_settled else (),
            rows=(row_of(stored),),
            results=results,
            jobs=jobs,
            units=units,
            pipes=pipes,
            disk=disk,
        )

    def _recorders(self) -> dict[int, Recorder]:
        return {1: self.world.recorder} if self.world.is_owned and not self.world.is_settled else {}

    def _advance(self, seconds: float) -> None:
        self.world.advance(seconds)
        if self.world.crashes != self.crashes or not self.world.up:
            raise Interrupted


def folder(world: World) -> Folder:
    return folder_of(world.recorder)


def disk_of(world: World) -> Disk:
    """The files of a world."""
    where = folder(world)
    files = tuple(
        SegmentFile(folder=where, number=attempt, path=path_of(attempt), size=world.size(attempt), modified=0)
        for attempt in sorted(world.files)
    )
    empty = ((where, "/srv/r/demo/stream_7_segments"),) if world.folder and not world.files else ()
    return Disk(there=frozenset({where[0]}), files=files, empty=empty)


def path_of(attempt: int) -> str:
    return f"/srv/r/demo/stream_7_segments/segment_{attempt:03d}.ts"


def units_of(world: World) -> tuple[LoadedUnit, ...]:
    """Its scopes, the failed ones, and the job's.

    The model's witnesses may tell of a failure when the unit is forgotten already: those are not units.
    """
    over = {segment.number for segment in world.recorder.segments if segment.phase.is_over}
    units = [
        LoadedUnit(name=f"scope-1-{attempt}", state="deactivating" if run.stops else "active", run=Run(1, attempt))
        for attempt, run in world.scopes.items()
    ]
    units += [
        LoadedUnit(name=f"scope-1-{attempt}", state="failed", run=Run(1, attempt))
        for attempt in world.failed
        if attempt not in world.scopes and attempt not in over
    ]
    if world.job is not None:
        units.append(LoadedUnit(name=f"job-{world.job}", state="active", job=Job(world.job)))
    return tuple(units)


def pipes_of(world: World) -> tuple[Pipe, ...]:
    """The exit pipes that are kept for it."""
    return tuple(Pipe(name=f"exit-1-{attempt}", run=Run(1, attempt)) for attempt in world.scopes.keys() | world.pipes)


def row_of(recorder: Recorder) -> Row:
    """A recorder's rows as they stand."""
    recording = recorder.recording
    return Row(
        id=recording.id,
        folder=folder_of(recorder),
        status=recorder.state.status,
        state=recorder.state.value,
        path=recorder.path,
        segments=tuple(
            RowSegment(number=segment.number, phase=segment.phase.value, size=segment.size)
            for segment in recorder.segments
        ),
    )
