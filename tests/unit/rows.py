# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording's rows, and how they come back in another boot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

from streamvaultd.core.model import Moment, Policy, Recorder, Recording, Segment, State

EPOCH = 1_795_424_400_000_000  # 2026-11-23T09:00:00Z
BOOTED = 1000.0

POLICY = Policy(
    rotate_age=60.0, overlap_limit=20.0, grace=30.0, outage=300.0, start_timeout=40.0, stall_timeout=30.0,
)  # fmt: skip


_INSTANTS = (
    "retry_at", "probe_at", "grace_until", "silent_since", "rotate_retry_at", "overlap_at", "rotation_until",
    "memory_since", "grown_at", "measure_at",
)  # fmt: skip


_SEGMENT_WITHOUT: dict[str, Any] = {
    "anon": None, "anon_at": None, "anon_rate": 0.0, "filtering": False, "muxed": False, "earlier_boot": False,
    "suspect": None, "suspect_since": None, "suspect_until": None, "flows": (), "unfit": None,
    "pace": None, "looked_at": None, "asked_at": None, "asked_mark": "", "left_behind": False, "pause": 0.0,
    "answered_at": None, "ask_rest": 0.0,
}  # fmt: skip
_RECORDER_WITHOUT: dict[str, Any] = {"host_stopping": None, "gone": False, "mark": ""}
"""What is not stored, and what is read instead"""

_of_segment = attrgetter(*(each.name for each in fields(Segment) if each.name not in _SEGMENT_WITHOUT))
_of_recorder = attrgetter(
    *(each.name for each in fields(Recorder) if each.name not in {"segments", *_RECORDER_WITHOUT})
)
"""What is stored of them; compared after each step of each story, so without a copy"""


@dataclass
class Rows:
    """What Save wrote."""

    recorder: Recorder
    segments: dict[int, Segment] = field(default_factory=dict)

    def save(self, recorder: Recorder, changed: Iterable[Segment]) -> None:
        """Write what is stored of them."""
        self.recorder = replace(recorder, segments=(), **_RECORDER_WITHOUT)
        self.segments |= {segment.number: stored_segment(segment) for segment in changed}

    def is_like(self, recorder: Recorder) -> bool:
        """Whether this is what the rows hold."""
        if sorted(self.segments) != [segment.number for segment in recorder.segments]:
            return False
        of_segments = ((self.segments[segment.number], segment) for segment in recorder.segments)
        return _of_recorder(self.recorder) == _of_recorder(recorder) and all(
            saved is now or _of_segment(saved) == _of_segment(now) for saved, now in of_segments
        )

    def move_to_another_boot(self, now: Moment) -> None:
        """All that is dated keeps its date."""
        self.recorder = on_scale(self.recorder, now)
        self.segments = {
            number: replace(on_scale(segment, now), earlier_boot=True) for number, segment in self.segments.items()
        }

    def load(self) -> Recorder:
        """The recorder as a new daemon reads it."""
        return replace(self.recorder, segments=tuple(self.segments[number] for number in sorted(self.segments)))


def stored_segment(segment: Segment) -> Segment:
    """Without what is not stored, and as of the boot that wrote it."""
    return replace(segment, **_SEGMENT_WITHOUT)


def new_recorder(*, policy: Policy = POLICY, duration: float | None = None, at: float = BOOTED) -> Recorder:
    """A recording whose row was just written."""
    created = Moment(at, EPOCH)
    wanted = Recording(
        id=1, stream=7, streamer="demo", url="http://h/live.m3u8", quality="best", directory="/srv/r",
        created=created, duration=duration, policy=policy,
    )  # fmt: skip
    return Recorder(recording=wanted, state=State.STARTING, since=created)


def on_scale(record: Any, now: Moment) -> Any:
    """A record of another boot as the store gives it back: moments by their date, instants without one are due now."""
    changes: dict[str, object] = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if isinstance(value, Moment):
            changes[name] = Moment(now.monotonic - (now.realtime - value.realtime) / 1e6, value.realtime)
        elif name in _INSTANTS and value is not None:
            changes[name] = now.monotonic
        elif isinstance(value, Recording):
            changes[name] = on_scale(value, now)
    return replace(record, **changes)
