# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders for what was lost: made of files without rows, or of rows that somebody called over before they were.

Both end in FINALIZING: nothing of them runs, and what there is is joined in the usual way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from streamvaultd.core.census import SegmentFile
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State
from streamvaultd.core.policy import JOIN_CHECK

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


def _finalizing(recorder: Recorder, at: Moment) -> Recorder:
    return replace(
        recorder,
        state=State.FINALIZING,
        since=at,
        joins=recorder.joins + 1,
        retry_at=at.monotonic + JOIN_CHECK,
        grace_until=None,
        probe_at=None,
        probing=False,
        ended=None,
        detail="recovered by an audit",
    )
