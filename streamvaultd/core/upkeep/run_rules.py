# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the audit that are about runs: rows against scopes, processes and stored pipes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamvaultd.core.model import Phase, Recorder, State
from streamvaultd.core.names import ChatRun, Job, Run
from streamvaultd.core.recording.deadlines import next_deadline
from streamvaultd.core.recording.machine import RUNNING
from streamvaultd.core.upkeep.violations import Kind, Violation
from streamvaultd.core.upkeep.world import LoadedUnit, Process, World

OVERDUE: Final = 30.0
"""A deadline that passed this long ago (s) is not just late."""

GATE_LIMIT: Final = 180.0
"""A shim that waits this long (s) outside a scope is not just about to be moved."""

URL_MIN: Final = 8
"""A shorter URL may be part of anything."""

_RUNS: Final = frozenset({Phase.WAITING, Phase.WRITING})
_TWO: Final = frozenset({State.ROTATING})
_ONE: Final = frozenset({State.STARTING, State.RECORDING})


def name_of(recording: int, segment: int) -> str:
    """A segment for people."""
    return f"segment {segment:03d} of recording {recording}"


def runs(world: World) -> Iterator[Violation]:
    """Runs that are there by their row, and not in the world, or the other way round."""
    active = {unit.run for unit in world.units if unit.is_active}
    loaded = {unit.run for unit in world.units if unit.state not in ("failed", "inactive")}
    for recorder in world.steady:
        for segment in recorder.segments:
            run, subject = recorder.run(segment.number), name_of(recorder.recording.id, segment.number)
            if segment.phase not in _RUNS:
                continue
            if run not in loaded:
                what = f"It is {segment.phase.value} by its row, and its scope is not there."
                yield _of_run(Kind.RUN_LOST, subject, what, run)
            elif run in active and run not in world.busy_runs:
                yield _of_run(Kind.RUN_UNWATCHED, subject, "It runs, and the daemon does not watch it.", run)


def _of_run(kind: Kind, subject: str, what: str, run: Run) -> Violation:
    return Violation(kind=kind, subject=subject, what=what, recording=run.recording, segment=run.number)


def counts(world: World) -> Iterator[Violation]:
    """How many runs are meant to go on."""
    for recorder in world.steady:
        going_on = [segment for segment in recorder.live if segment.phase is not Phase.STOPPING]
        allowed = 2 if recorder.state in _TWO else 1 if recorder.state in _ONE else 0
        if len(going_on) > allowed:
            numbers = ", ".join(f"{segment.number:03d}" for segment in going_on)
            what = f"Segments {numbers} are meant to go on while it is {recorder.state.value}."
            recording = recorder.recording.id
            yield Violation(kind=Kind.RUNS_TOO_MANY, subject=f"recording {recording}", what=what, recording=recording)
    yield from _streamers(world)


def _streamers(world: World) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for recorder in world.steady:
        recording = recorder.recording
        if recorder.state in RUNNING and first.setdefault(recording.streamer, recording.id) != recording.id:
            what = f"Recordings {first[recording.streamer]} and {recording.id} of '{recording.streamer}' both run."
            yield Violation(
                kind=Kind.RUNS_TOO_MANY, subject=f"'{recording.streamer}'", what=what, recording=recording.id
            )


def scopes(world: World) -> Iterator[Violation]:
    """Scopes and stored pipes that belong to nothing."""
    known = _Known(world)
    for unit in world.units:
        if not known.is_sure(unit.run) or (unit.run is None and unit.job is None and unit.chat is None):
            continue
        is_known = known.has(unit.run, unit.job, unit.chat)
        if unit.state == "failed" and not is_known:
            yield _of_unit(Kind.UNIT_FAILED, unit, "It has failed, and nobody needs its result any more.")
        elif unit.is_active and is_known and unit.run is not None and unit.is_unlimited:
            yield _of_unit(Kind.LIMIT_MISSING, unit, "It runs without a memory limit.")
        elif unit.is_active and not is_known and (unit.run is not None or unit.chat is not None):
            yield _of_unit(Kind.SCOPE_UNKNOWN, unit, "It runs, and no recording knows it.")
        elif unit.is_active and not is_known:
            yield _of_unit(Kind.JOB_UNKNOWN, unit, "It runs, and no job of this number does by its row.")
    for pipe in world.pipes:
        if known.is_sure(pipe.run) and not known.has(pipe.run, pipe.job, pipe.chat):
            what = "The exit pipe of a run that is over is still in the fd store."
            job = pipe.job.number if pipe.job else None
            yield Violation(kind=Kind.PIPE_LEFT, subject=pipe.name, what=what, job=job)
    if world.surplus > 0:
        what = f"It has {world.surplus} descriptors that the daemon does not know."
        hold = "restart the daemon with 'systemctl restart streamvaultd', which sorts them out"
        yield Violation(kind=Kind.PIPE_LEFT, subject="the fd store", what=what, hold=hold)
    elif world.surplus < 0:
        what = f"{-world.surplus} exit pipes that were stored are not there."
        yield Violation(kind=Kind.PIPE_LOST, subject="the fd store", what=what)


class _Known:
    """What may be in the world: runs by their recorders, jobs by their rows, and what is just begun or ended."""

    def __init__(self, world: World) -> None:
        self._unsure = world.unsure
        self._runs = world.known_runs | world.busy_runs
        self._chats = world.chats
        self._jobs = {Job(job.id) for job in world.jobs} | world.busy_jobs

    def is_sure(self, run: Run | None) -> bool:
        return run is None or run.recording not in self._unsure

    def has(self, run: Run | None, job: Job | None, chat: ChatRun | None) -> bool:
        if chat is not None:
            return chat in self._chats
        return run in self._runs if run is not None else job in self._jobs


def _of_unit(kind: Kind, unit: LoadedUnit, what: str) -> Violation:
    run, job = unit.run, unit.job
    return Violation(
        kind=kind,
        subject=unit.name,
        what=what,
        recording=run.recording if run else unit.chat.recording if unit.chat else None,
        segment=run.number if run else None,
        job=job.number if job else None,
        unit=unit.name,
    )


def jobs_lost(world: World) -> Iterator[Violation]:
    """Jobs that run by their row alone."""
    running = {unit.job for unit in world.units if unit.state not in ("failed", "inactive")}
    unsure = world.unsure
    for job in world.jobs:
        if Job(job.id) not in running | world.busy_jobs and job.recording not in unsure:
            what = f"It runs by its row, for recording {job.recording}, and its scope is not there."
            yield Violation(
                kind=Kind.JOB_LOST, subject=f"job {job.id}", what=what, recording=job.recording, job=job.id
            )


def processes(world: World) -> Iterator[Violation]:
    """Processes that are not where they belong, or show what they should not."""
    shims = {process.pid for process in world.processes if process.is_shim}
    urls = {recorder.recording.id: recorder.recording.url for recorder in world.recorders}
    for process in world.processes:
        if process.run is None and process.job is None and process.chat is None and _is_outside(process, shims):
            what = f"Process {process.pid} ({process.argv[0][:60]}) is a run in {process.unit or 'no unit'}."
            yield Violation(
                kind=Kind.RUN_OUTSIDE, subject=f"process {process.pid}", what=what, pid=process.pid, unit=process.unit
            )
        url = urls.get(process.run.recording, "") if process.run else ""
        if len(url) >= URL_MIN and any(url in word for word in process.argv) and process.run:
            what = f"The command line of process {process.pid} shows what recording {process.run.recording} records."
            yield Violation(
                kind=Kind.URL_EXPOSED,
                subject=f"process {process.pid}",
                what=what,
                recording=process.run.recording,
                segment=process.run.number,
                pid=process.pid,
                unit=process.unit,
            )


def _is_outside(process: Process, shims: set[int]) -> bool:
    """In the daemon's own group, a shim waits at its gate for a while, and streamlink is asked whether one is live."""
    if not process.is_ours:
        return process.is_shim or process.is_streamlink
    return process.parent in shims or (process.is_shim and process.age > GATE_LIMIT)


def deadlines(world: World) -> Iterator[Violation]:
    """Whether the manager does what is due."""
    if world.silent_for > 0:
        what = f"The daemon has been dealing with one event for {world.silent_for:.0f} s."
        yield Violation(kind=Kind.DEADLINE_MISSED, subject="the daemon", what=what)
        return
    for recorder in world.steady:
        yield from _deadline(recorder, world.now)


def _deadline(recorder: Recorder, now: float) -> Iterator[Violation]:
    recording, instant = recorder.recording.id, next_deadline(recorder)
    if recorder.state.is_final:
        return
    subject = f"recording {recording}"
    if instant is None:
        what = f"It is {recorder.state.value} and has no deadline."
        yield Violation(kind=Kind.DEADLINE_MISSING, subject=subject, what=what, recording=recording)
    elif now - instant > OVERDUE:
        what = f"It is {recorder.state.value}, and what was due {now - instant:.0f} s ago has not happened."
        yield Violation(kind=Kind.DEADLINE_MISSED, subject=subject, what=what, recording=recording)
