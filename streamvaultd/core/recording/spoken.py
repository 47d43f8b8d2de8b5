# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from what streamlink says while it runs: its quality, advertisements, and media that it has missed."""

from __future__ import annotations

from typing import Final

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.loglines import Line
from streamvaultd.core.recording.policy import fills_in_a_row, may_fill
from streamvaultd.core.recording.steps import Step, launch, may_rotate, put, tell

_HOLES: Final = {
    Line.FETCH_FAILED: "a media segment could not be fetched",
    Line.SEQUENCE_GAP: "media segments left the window before they were fetched",
}


def on_spoke(recorder: Recorder, event: ev.SegmentSpoke) -> Step:
    """Advertisements that streamlink leaves out are no stall; it may take until after them to write again."""
    segment = recorder.segment(event.attempt)
    if segment is None or not segment.phase.is_live:
        return recorder, ()
    if event.quality is not None:
        return put(recorder, segment, quality=event.quality), ()
    if segment.phase is not Phase.WRITING:
        return recorder, ()
    if event.line is Line.FILTERING:
        return put(recorder, segment, filtering=True), ()
    if event.line is Line.RESUMING and segment.filtering:
        return put(recorder, segment, filtering=False, grown_at=event.at.monotonic), ()
    if event.line in _HOLES:
        return _fill_hole(recorder, segment, event)
    return recorder, ()


def _fill_hole(recorder: Recorder, segment: Segment, event: ev.SegmentSpoke) -> Step:
    """The next segment reaches back for what this one has missed, as far as it is still offered."""
    now = event.at.monotonic
    if not may_fill(recorder, now) or not may_rotate(recorder, segment, now):
        return recorder, ()
    fills = fills_in_a_row(recorder, now) + 1
    after, effects = launch(recorder, event.at, State.ROTATING, rotate_retry_at=None, filled_at=now, fills=fills)
    new = f"{after.segments[-1].number:03d}"
    return after, (*effects, tell(Notice.MEDIA_MISSED, segment, why=_HOLES[event.line], new=new))
