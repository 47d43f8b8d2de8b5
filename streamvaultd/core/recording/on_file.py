# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody removes, moves or cuts the file of a segment while it is written.

Its process has the file open and writes on, to where nobody finds it. So what it has is kept, and the next segment
starts beside it at once: it reaches back for what was cut, and takes over as in a rotation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.pace import suspect_look
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Effect, Notice
from streamvaultd.core.recording.policy import SUSPECT_HOLD_MAX
from streamvaultd.core.recording.steps import Step, launch, may_rotate, put, tell

_KEPT: Final = {
    ev.Taken.REMOVED: "what it has is kept open, and saved under its name once it has ended",
    ev.Taken.MOVED: "it has its name here, too",
    ev.Taken.CUT: "what is gone is fetched again as far as it is still offered",
}


def on_file_taken(recorder: Recorder, event: ev.FileTaken) -> Step:
    segment = recorder.segment(event.attempt)
    if segment is None or segment.phase.is_over:
        return recorder, ()
    effects: tuple[Effect, ...] = () if event.how is ev.Taken.CUT else (fx.SaveFile(segment.number),)
    known = segment.evidence or Evidence()
    is_new = known.file != event.how.value
    changes: dict[str, Any] = {"evidence": replace(known, file=event.how.value)}
    if event.how is ev.Taken.CUT:
        changes |= {"size": event.size, "grown_at": event.at.monotonic}
    after = put(recorder, segment, **changes | _suspicion(segment, event.at))
    if may_rotate(after, segment, event.at.monotonic) and segment.phase is Phase.WRITING:
        after, more = launch(after, event.at, State.ROTATING, rotate_retry_at=None)
        effects += more
    if is_new:
        effects += (tell(Notice.FILE_TAKEN, segment, how=event.how.value, then=_KEPT[event.how]),)
    return after, effects


def _suspicion(segment: Segment, at: Moment) -> dict[str, Any]:
    """Should the next one fail to start, another one follows."""
    if segment.phase is not Phase.WRITING:
        return {}
    now = at.monotonic
    return {
        "suspect": "its file was taken away",
        "suspect_since": now,
        "suspect_until": now + SUSPECT_HOLD_MAX,
        "measure_at": now + suspect_look(segment.pace),
    }
