# SPDX-License-Identifier: GPL-3.0-or-later
"""The invariants of docs/design/001-recording.md, as far as one step of the core shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.deadlines import next_deadline

DUE_MAX = 30
"""More deadlines than this at one instant are a loop (I4)."""


def broken_by_step(before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...], event: ev.Event) -> list[str]:
    """The invariants that can be seen in the core alone."""
    return [
        *_of_state(before, after, effects),
        *_of_segments(before, after, event),
        *_of_launches(before, after, effects, event),
    ]


def _of_state(before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...]) -> list[str]:
    broken = []
    saves = [effect for effect in effects if isinstance(effect, fx.Save)]
    if (before != after) != bool(saves) or (saves and effects[0] != saves[0]) or len(saves) > 1:
        broken.append("I1: a change is not saved first")
    if (next_deadline(after) is None) != after.state.is_final:
        broken.append(f"I4: {after.state} has no deadline, or a final state has one")
    going_on = [segment for segment in after.live if segment.phase is not Phase.STOPPING]
    if len(going_on) not in _GOING_ON[after.state] and after.segments:
        broken.append(f"I5: {len(going_on)} segments are meant to go on in {after.state}")
    if after.state in _QUIET and any(not segment.phase.is_over for segment in after.segments):
        broken.append(f"I5: a segment lives in {after.state}")
    if after.path is not None and after.state not in (State.COMPLETED, State.STOPPED):
        broken.append(f"I8: there is a joined file in {after.state}")
    return broken


def _of_segments(before: Recorder, after: Recorder, event: ev.Event) -> list[str]:
    broken = []
    numbers = [segment.number for segment in after.segments]
    if numbers != sorted(set(numbers)) or numbers[: len(before.segments)] != [s.number for s in before.segments]:
        broken.append("I3: segment numbers are not unique and increasing")
    meant = getattr(event, "attempt", None)
    for old, new in zip(before.segments, after.segments, strict=False):
        if new is not old:
            broken += _of_segment(old, new, meant)
        if (new.cause is None) != (new.ended is None) and new.phase is not Phase.STOPPING:
            broken.append("a run has ended without a cause, or has a cause and has not ended")
    return broken


def _of_segment(old: Segment, new: Segment, meant: int | None) -> Iterator[str]:
    if _LIFE.index(new.phase) < _LIFE.index(old.phase):
        yield f"I3: a segment that was {old.phase} is {new.phase} again"
    if meant not in (None, old.number) and new != old and not _was_asked_to_stop(old, new):
        yield "I3: an event of one run has touched another"
    if old.ended is not None and new.ended != old.ended:
        yield "a run has ended twice"


def _was_asked_to_stop(old: Segment, new: Segment) -> bool:
    return old.phase.is_live and old.phase is not Phase.STOPPING and new.phase is Phase.STOPPING


def _of_launches(before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...], event: ev.Event) -> list[str]:
    broken = []
    policy = after.recording.policy
    base, ceiling = policy.memory_max, max(policy.memory_max, policy.memory_ceiling)
    if after.memory_max is not None and not base <= after.memory_max <= ceiling:
        broken.append(f"a memory limit of {after.memory_max}")
    launched = [effect.attempt for effect in effects if isinstance(effect, fx.Launch)]
    new = after.segments[len(before.segments) :]
    if launched != [segment.number for segment in new] or len(launched) > 1:
        broken.append("what is launched is not what is new")
    if launched and after.state not in (State.STARTING, State.ROTATING):
        broken.append(f"a launch leads to {after.state}")
    until = before.host_stopping
    if launched and until is not None and event.at.monotonic < until and not isinstance(event, ev.HostStays):
        broken.append("a launch on a machine that is going down")
    if any(segment.memory_max is None or not base <= segment.memory_max <= ceiling for segment in new):
        broken.append("a memory limit below what is configured, or above the ceiling")
    return broken


_LIFE = list(Phase)
_GOING_ON = {
    State.STARTING: (1,), State.RECORDING: (1,), State.ROTATING: (2,), State.BACKOFF: (0,), State.GRACE: (0,),
    State.PAUSED: (0,), State.STOPPING: (0,), State.FINALIZING: (0,), State.UNJOINED: (0,), State.DISCARDING: (0,),
    State.COMPLETED: (0,), State.STOPPED: (0,), State.FAILED: (0,),
}  # fmt: skip
_QUIET = frozenset(State) - frozenset(list(State)[: list(State).index(State.FINALIZING)])


def wrong_deaths(recorder: Recorder, killed: Mapping[int, frozenset[str]], told: Iterable[fx.Announce]) -> list[str]:
    """Runs that were killed and are not noted as killed, and ends that were told twice."""
    wrong = []
    for attempt, known in killed.items():
        segment = recorder.segment(attempt)
        asked = segment is not None and segment.evidence is not None and segment.evidence.asked is not None
        if not asked and (segment is None or segment.cause not in known):
            wrong.append(f"segment {attempt} is {segment and segment.cause}, not {' or '.join(sorted(known))}")
    ends = Counter(t.attempt for t in told if t.notice in (fx.Notice.SEGMENT_DIED, fx.Notice.SEGMENT_ENDED))
    return wrong + [f"the end of segment {attempt} is told {n} times" for attempt, n in ends.items() if n > 1]
