# SPDX-License-Identifier: GPL-3.0-or-later
"""Why segments ended, as io.streamvault.Recorder tells it: the witnesses, the verdict on them, and what followed.

The verdict is made anew of what is stored, by the same function that made it first. What followed is what people were
told meanwhile: the notices from the first sign of trouble until the next segment recorded, or the recording was over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from streamvaultd.api.views import View, optional, timestamp, usec
from streamvaultd.core.cause import is_death
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.listing import EventRow
from streamvaultd.core.model import Recorder, Segment
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.verdict import judge

EVENTS_MAX: Final = 10_000
"""How many events of one recording are looked through, the latest."""

STORY_MAX: Final = 100
"""How many before and after the end of a segment."""

_ENDS: Final = frozenset({Notice.SEGMENT_ENDED, Notice.SEGMENT_DIED, Notice.LAUNCH_FAILED})
_STEADY: Final = frozenset({Notice.SEGMENT_STARTED, Notice.MEDIA_ARRIVED, Notice.ADOPTED})
"""After such a notice about a segment all is well with it."""

_SIGNS: Final = frozenset({
    Notice.ROTATION_STARTED, Notice.MEDIA_MISSED, Notice.STREAM_STILL, Notice.SUSPECTED, Notice.FILE_TAKEN,
    Notice.MEMORY_NEAR,
    Notice.STALLED, Notice.DISK_LOW, Notice.STOPPING, Notice.STOP_OVERDUE,
})  # fmt: skip
"""What may lead to the end of a segment."""

_OVER: Final = frozenset({
    Notice.RECORDING_COMPLETED, Notice.RECORDING_STOPPED, Notice.RECORDING_FAILED, Notice.NOT_KEPT,
})  # fmt: skip
_NAMES: Final = {
    "max_rss": "maxRSS", "cpu_usec": "cpuUSec", "journal_oom": "journalOOM", "journal_oomd": "journalOOMD",
    "unit_stopped": "unitStopped", "oom_kills": "oomKills", "kernel_oom": "kernelOOM",
}  # fmt: skip


def end_views(recorder: Recorder, events: Sequence[EventRow], segment: int | None = None) -> list[View]:
    """The Ends of all segments of a recording or of one, oldest first; `events` are the recording's, oldest first."""
    stories = _Stories(events)
    wanted = [one for one in recorder.segments if segment in (None, one.number)]
    return [end_view(recorder, one, stories.around_end(one.number)) for one in wanted]


def end_view(recorder: Recorder, segment: Segment, story: Sequence[EventRow]) -> View:
    """An End."""
    return {
        "segment": segment.number,
        "phase": segment.phase.value,
        "bytes": segment.size,
        "events": [_event_view(recorder, event) for event in story],
    } | optional(
        startedAt=timestamp(segment.started) if segment.started else None,
        endedAt=timestamp(segment.ended) if segment.ended else None,
        cause=segment.cause,
        death=is_death(segment.cause) if segment.cause is not None and segment.ended else None,
        why=_why(segment),
        memoryMax=segment.memory_max,
        memoryPeak=segment.memory_peak,
        evidence=evidence_view(segment.evidence) if segment.evidence is not None else None,
        **_successor(recorder, segment),
    )


def evidence_view(evidence: Evidence) -> View:
    """An Evidence; what nobody told is left out."""
    told = {_camel(name): value for name, value in asdict(evidence).items() if value is not None}
    return told | {"log": list(evidence.log)}


def _camel(name: str) -> str:
    return _NAMES.get(name) or re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _why(segment: Segment) -> str | None:
    """The verdict's words; none where a cause is noted that does not follow from the evidence."""
    if segment.evidence is None:
        return None
    verdict = judge(segment.evidence, asked=segment.evidence.asked)
    return verdict.why if verdict.cause == segment.cause else None


def _successor(recorder: Recorder, ended: Segment) -> View:
    """The first later segment that ran, and how long after the end it ran and recorded; before it in a rotation."""
    later = (segment for segment in recorder.segments if segment.number > ended.number)
    successor = next((segment for segment in later if segment.started is not None), None)
    if ended.ended is None or successor is None or successor.started is None:
        return {}
    runs, records = successor.started, successor.media_at
    return {
        "replacedBy": successor.number,
        "replacedAfterUSec": usec(runs.monotonic - ended.ended.monotonic),
        "recordedAfterUSec": usec(records.monotonic - ended.ended.monotonic) if records else None,
    }


class _Stories:
    """What was told around the end of each segment."""

    def __init__(self, events: Sequence[EventRow]) -> None:
        self._events = events
        self._ends = {event.segment: index for index, event in enumerate(events) if event.kind in _ENDS}
        self._corrections = [event for event in events if event.kind == Notice.CAUSE_CORRECTED]

    def around_end(self, number: int) -> list[EventRow]:
        """From the first sign of trouble with a segment until the next one recorded, and later corrections."""
        end = self._ends.get(number)
        if end is None:
            return []
        story = [*self._before(number, end), self._events[end]]
        if not any(_is_settled(event, number) for event in story):
            story += self._after(number, end)
        return story + [event for event in self._corrections if event.segment == number]

    def _before(self, number: int, end: int) -> list[EventRow]:
        recent: list[EventRow] = []
        for event in reversed(self._events[max(0, end - STORY_MAX) : end]):
            if _is_steady(event, number):
                break
            recent.insert(0, event)
        signs = [at for at, event in enumerate(recent) if event.kind in _SIGNS and event.segment in (None, number)]
        return recent[signs[0] :] if signs else []

    def _after(self, number: int, end: int) -> Iterator[EventRow]:
        for event in self._events[end + 1 : end + STORY_MAX]:
            if event.kind != Notice.CAUSE_CORRECTED:  # that of this segment stands where it comes
                yield event
            if _is_settled(event, number):
                return


def _is_steady(event: EventRow, number: int) -> bool:
    """Whether all was well with a segment, or it was not there yet."""
    if event.kind in _ENDS:
        return event.segment is not None and event.segment < number
    return event.kind == Notice.ROTATION_FAILED or (event.kind in _STEADY and event.segment == number)


def _is_settled(event: EventRow, number: int) -> bool:
    """Whether it is known how the recording goes on after the end of a segment."""
    is_later = event.segment is not None and event.segment > number
    return event.kind in _OVER or (is_later and event.kind in _ENDS | {Notice.MEDIA_ARRIVED})


def _event_view(recorder: Recorder, event: EventRow) -> View:
    return {
        "at": {"realtime": event.at},
        "kind": event.kind,
        "priority": event.priority,
        "message": event.message,
        "recording": recorder.recording.id,
    } | optional(segment=event.segment, cause=event.cause)
