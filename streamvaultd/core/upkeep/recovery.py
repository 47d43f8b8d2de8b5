# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders for what was lost: made of files without rows, or of rows that somebody called over before they were.

Both end in FINALIZING: nothing of them runs, and what there is is joined in the usual way. And recorders whose rows
somebody has changed, so that state and segments cannot both be true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State, StopReason
from streamvaultd.core.recording.policy import JOIN_CHECK
from streamvaultd.core.recording.steps import conclude, enter, last_end, move
from streamvaultd.core.upkeep.world import SegmentFile

UNKNOWN_QUALITY: Final = "unknown"


def recovered(files: Iterable[SegmentFile], *, stream: int, url: str, policy: Policy, at: Moment) -> Recorder:
    """A recorder for segment files of one folder that have no rows; its number is given by the store.

    When it was begun nobody knows: it is dated by the oldest last write.
    """
    found = sorted(files, key=lambda file: file.number)
    directory, streamer, _ = found[0].folder
    segments = tuple(
        Segment(number=file.number, phase=Phase.ENDED, since=at, ended=at.dated(file.modified), size=file.size)
        for file in found
    )
    recording = Recording(
        id=0,
        stream=stream,
        streamer=streamer,
        url=url,
        quality=UNKNOWN_QUALITY,
        directory=directory,
        created=at.dated(min(file.modified for file in found)),
        duration=None,
        policy=policy,
    )
    return _finalizing(Recorder(recording=recording, state=State.FINALIZING, since=at, segments=segments), at)


def reopened(recorder: Recorder, sizes: Mapping[int, int], at: Moment) -> Recorder:
    """A recorder that was called over while its segments were not: they end here, and are joined.

    `sizes` are those of the files. Without any media it has failed.
    """
    segments = tuple(_ended(segment, sizes.get(segment.number, 0), at) for segment in recorder.segments)
    after = replace(recorder, segments=segments, path=None, result_bytes=None)
    if after.size == 0:
        detail = "no media arrived"
        return replace(after, state=State.FAILED, since=at, ended=recorder.ended or at, retry_at=None, detail=detail)
    return _finalizing(after, at)


def _ended(segment: Segment, size: int, at: Moment) -> Segment:
    if segment.phase is Phase.REMOVED:
        return segment
    return replace(segment, phase=Phase.ENDED, since=at, ended=segment.ended or at, size=size)


def coherent(recorder: Recorder, at: Moment) -> Recorder:
    """The recorder in a state that its segments allow: itself, unless another hand has written its rows."""
    if recorder.state.is_final:
        return recorder
    if recorder.path is not None and recorder.segments and all(s.phase is Phase.REMOVED for s in recorder.segments):
        state = State.STOPPED if recorder.stop is StopReason.REQUESTED else State.COMPLETED
        return enter(recorder, state, at, ended=last_end(recorder, at))
    if recorder.state in _ENDING:
        return _ending(recorder, at)
    if recorder.state in _CAPTURING or _going_on(recorder):
        return _capturing(recorder, at)
    return recorder


_ENDING: Final = frozenset({State.STOPPING, State.FINALIZING, State.UNJOINED, State.DISCARDING})
_CAPTURING: Final = frozenset({State.STARTING, State.RECORDING, State.ROTATING})


def _going_on(recorder: Recorder) -> list[Segment]:
    return [segment for segment in recorder.live if segment.phase is not Phase.STOPPING]


def _ending(recorder: Recorder, at: Moment) -> Recorder:
    """What still goes on is to end first; and where nothing does, there is nothing to wait for."""
    for segment in _going_on(recorder):
        recorder = move(recorder, segment, Phase.STOPPING, at)
    if all(segment.phase.is_over for segment in recorder.segments):
        return conclude(recorder, at)[0] if recorder.state is State.STOPPING else recorder
    return recorder if recorder.state is State.STOPPING else enter(recorder, State.STOPPING, at)


def _capturing(recorder: Recorder, at: Moment) -> Recorder:
    """One segment goes on, or two in a rotation; where none does, the next one is due."""
    going_on = _going_on(recorder)
    if not going_on:
        is_new = recorder.state is State.STARTING and not recorder.segments
        return recorder if is_new else enter(recorder, State.BACKOFF, at, retry_at=at.monotonic)
    if recorder.state is State.ROTATING and _is_rotation(recorder, going_on):
        return recorder
    kept = next((s for s in reversed(going_on) if s.phase is Phase.WRITING), going_on[-1])
    for segment in going_on:
        if segment is not kept:
            recorder = move(recorder, segment, Phase.STOPPING, at)
    state = State.RECORDING if kept.phase is Phase.WRITING else State.STARTING
    return recorder if recorder.state is state else enter(recorder, state, at)


def _is_rotation(recorder: Recorder, going_on: list[Segment]) -> bool:
    if len(going_on) != 2 or going_on[0].phase is not Phase.WRITING or going_on[1] is not recorder.segments[-1]:
        return False
    return going_on[1].phase is not Phase.WRITING or recorder.rotation_until is not None


def _finalizing(recorder: Recorder, at: Moment) -> Recorder:
    return replace(
        recorder,
        state=State.FINALIZING,
        since=at,
        failures=0,
        joins=recorder.joins + 1,
        retry_at=at.monotonic + JOIN_CHECK,
        grace_until=None,
        probe_at=None,
        probing=False,
        ended=None,
        detail="recovered by an audit",
    )
