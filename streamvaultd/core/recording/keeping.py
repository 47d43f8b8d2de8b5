# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recordings are too short to be kept, and how their media go.

Media are given up only by a decision that is saved first (DISCARDING), and only when nothing more can come: the
recording was begun by the watcher, whose streamer's file asks for it; the join has measured what there is; and the
source said that the broadcast is over, or another one has begun. Where nobody can tell, everything is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamvaultd.core.model import Phase, Recorder, State, StopReason
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import DISCARD_CHECK
from streamvaultd.core.recording.steps import Step, enter, last_end, move, tell

_OVER: Final = frozenset({StopReason.OVER, StopReason.CHANGED})


def is_too_short(recorder: Recorder, duration: float | None) -> bool:
    """Whether what was joined, so many seconds, is not to be kept; what nobody could measure is."""
    return recorder.stop in _OVER and duration is not None and duration < recorder.recording.policy.min_duration


def discard(recorder: Recorder, event: ev.JoinEnded) -> Step:
    """From now on it is on record that the media go, and why; then they go."""
    why = f"{event.duration or 0.0:.1f} s of media, and min_duration is {recorder.recording.policy.min_duration:g} s"
    again = event.at.monotonic + DISCARD_CHECK
    after = enter(recorder, State.DISCARDING, event.at, retry_at=again, detail=f"not kept: {why}")
    return after, (fx.Discard(), tell(Notice.NOT_KEPT, why=why))


def on_discard_overdue(recorder: Recorder, event: ev.DiscardOverdue) -> Step:
    return replace(recorder, retry_at=event.at.monotonic + DISCARD_CHECK), (fx.Discard(),)


def on_media_discarded(recorder: Recorder, event: ev.MediaDiscarded) -> Step:
    """Its media are gone; its rows say so from now on."""
    told = tell(Notice.MEDIA_DISCARDED, files=event.files, size=event.size)
    for segment in recorder.segments:
        if segment.phase is Phase.ENDED:
            recorder = move(recorder, segment, Phase.REMOVED, event.at)
    after = enter(recorder, State.COMPLETED, event.at, ended=last_end(recorder, event.at))
    return after, (fx.DiscardFolder(), told)
