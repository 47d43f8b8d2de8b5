# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows, live scopes and files -> events: how a new daemon takes over what an earlier one left.

I1: no scope without a row. A scope that no row claims is stopped; a row whose scope is gone gets the death that nobody
was there to see, with whatever its exit pipe still holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Instant, Moment, Phase, Recorder, Segment
from streamvaultd.core.names import Run
from streamvaultd.core.recording.events import (
    Event,
    EvidenceArrived,
    LaunchFailed,
    MediaArrived,
    Restarted,
    SegmentExited,
)
from streamvaultd.core.recording.policy import STEP_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found in the world: runs whose scope is active, and what witnesses told of runs.

    Of their files: how large they are, and when they were last written to.
    """

    live: frozenset[Run]
    sizes: Mapping[Run, int] = field(default_factory=dict)
    grown: Mapping[Run, Instant] = field(default_factory=dict)
    evidence: Mapping[Run, Evidence] = field(default_factory=dict)


def takeover(recorder: Recorder, facts: Facts, at: Moment) -> tuple[Event, ...]:
    """The events that bring one stored recorder up to date, in order."""
    live = {run.number: facts.sizes.get(run, 0) for run in recorder.runs_live if run in facts.live}
    ended = (
        event
        for segment in recorder.live
        if segment.number not in live
        for event in _ends(recorder, segment, facts, at)
    )
    told = (
        EvidenceArrived(at=at, attempt=segment.number, evidence=facts.evidence[run])
        for segment in recorder.segments
        if (run := recorder.run(segment.number)) in facts.evidence
        and (segment.number in live or not segment.phase.is_live)
    )
    grown = {number: facts.grown[run] for number in live if (run := recorder.run(number)) in facts.grown}
    return (Restarted(at=at, live=live, grown=grown), *ended, *told)


def _ends(recorder: Recorder, segment: Segment, facts: Facts, at: Moment) -> Iterator[Event]:
    """The end of a run that nobody was there to see, and what it had come to."""
    attempt, run = segment.number, recorder.run(segment.number)
    size, evidence = facts.sizes.get(run, 0), facts.evidence.get(run, Evidence())
    if segment.earlier_boot:
        evidence = evidence.merged(Evidence(host_down=True))
    if segment.phase is Phase.LAUNCHING and size == 0 and evidence == Evidence():
        yield LaunchFailed(at=at, attempt=attempt, why="the daemon ended before its scope had started")
        return
    if size > 0 and segment.media_at is None:
        yield MediaArrived(at=at, attempt=attempt, size=size)
    ended = _last_written(segment, facts.grown.get(run), at) if size > 0 else None
    yield SegmentExited(at=at, attempt=attempt, evidence=evidence, ended=ended)


def _last_written(segment: Segment, instant: Instant | None, at: Moment) -> Moment | None:
    """When a run wrote last whose end nobody saw; None where the clock was set meanwhile, and nobody can tell.

    It was seen to grow a moment after it had: the last write may lie before that.
    """
    known = segment.grown_at if segment.grown_at is not None and not segment.earlier_boot else float("-inf")
    if instant is None or not known - STEP_MIN <= instant <= at.monotonic:
        return None
    return at.at(max(instant, known))


def orphans(recorders: Iterable[Recorder], facts: Facts) -> frozenset[Run]:
    """Runs whose scope is active though no row says that they live."""
    claimed = {run for recorder in recorders for run in recorder.runs_live}
    return facts.live - claimed
