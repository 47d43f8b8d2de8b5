# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders and segments as values of table columns, and back. Pure: no database, file or clock.

What a Recorder holds comes back exactly within one boot. In a later boot its monotonic values mean nothing: moments
are moved by their date onto the present boot's scale, instants without a date become the present instant.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from streamvaultd.core.model import Moment, Phase, Policy, Recorder, Recording, Segment, State, StopReason
from streamvaultd.units import segment_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamvaultd.core.model import Instant

Row: TypeAlias = "Mapping[Any, Any]"
"""What was read, by column names."""

Values: TypeAlias = dict[str, Any]
"""What is to be written, by column names."""

RECORDER_INSTANTS = ("retry_at", "probe_at", "grace_until", "rotate_retry_at", "overlap_at", "rotation_until")
SEGMENT_INSTANTS = ("grown_at", "measure_at")
_POLICY = frozenset(field.name for field in fields(Policy))


@dataclass(frozen=True, slots=True)
class Present:
    """The boot that runs, and a moment of it."""

    boot: str
    now: Moment

    def moment(self, row: Row, column: str) -> Moment | None:
        """The moment in `column` on the present boot's scale, before whose zero it may lie."""
        realtime = row[column]
        if realtime is None:
            return None
        if row["boot_id"] == self.boot:
            return Moment(row[f"{column}_monotonic"], realtime)
        return Moment(self.now.monotonic - (self.now.realtime - realtime) / 1e6, realtime)

    def required_moment(self, row: Row, column: str) -> Moment:
        """As moment(), of a column that is never null."""
        moment = self.moment(row, column)
        if moment is None:
            raise ValueError(f"{column} is empty")
        return moment

    def instants(self, row: Row, names: Sequence[str]) -> dict[str, Any]:
        """The instants of these names; those of another boot are due now."""
        values = {name: row[f"{name}_monotonic"] for name in names}
        if row["boot_id"] == self.boot:
            return values
        return {name: None if value is None else self.now.monotonic for name, value in values.items()}


def recording_values(recorder: Recorder, boot: str) -> Values:
    """Every column of a recordings row except its keys."""
    wanted = recorder.recording
    return {
        "status": recorder.state.status,
        "state": recorder.state.value,
        "recording_path": recorder.path,
        "url": wanted.url,
        "quality": wanted.quality,
        "directory": wanted.directory,
        "duration": wanted.duration,
        "policy": asdict(wanted.policy),
        "boot_id": boot,
        "failures": recorder.failures,
        "stop_reason": recorder.stop.value if recorder.stop is not None else None,
        "probe": recorder.probe,
        "probing": recorder.probing,
        "joins": recorder.joins,
        "bytes": recorder.result_bytes,
        "detail": recorder.detail,
        **_moment_values("start_time", wanted.created),
        **_moment_values("end_time", recorder.ended),
        **_moment_values("since", recorder.since),
        **_instant_values(recorder, RECORDER_INSTANTS),
    }


def segment_values(segment: Segment, *, recording: int, path: str, boot: str) -> Values:
    """Every column of a segments row except its keys and its evidence."""
    return {
        "path": path,
        "unit": segment_unit(recording, segment.number),
        "status": segment.phase.value,
        "cause": segment.cause,
        "boot_id": boot,
        "bytes": segment.size,
        "stops": segment.stops,
        "rotated": segment.rotated,
        "memory_peak": segment.memory_peak,
        "exit_status": segment.exit_status,
        **_moment_values("started_at", segment.started),
        **_moment_values("ended_at", segment.ended),
        **_moment_values("media_at", segment.media_at),
        **_moment_values("since", segment.since),
        **_instant_values(segment, SEGMENT_INSTANTS),
    }


def parse_recorder(row: Row, segments: tuple[Segment, ...], present: Present) -> Recorder:
    """A Recorder from its recordings row (with `username`) and its segments in order; ValueError if it holds none."""
    return Recorder(
        recording=_parse_recording(row, present),
        state=State(row["state"]),
        since=present.required_moment(row, "since"),
        segments=segments,
        failures=row["failures"],
        probe=row["probe"],
        probing=row["probing"],
        stop=StopReason(row["stop_reason"]) if row["stop_reason"] is not None else None,
        joins=row["joins"],
        path=row["recording_path"],
        result_bytes=row["bytes"],
        ended=present.moment(row, "end_time"),
        detail=row["detail"],
        **present.instants(row, RECORDER_INSTANTS),
    )


def parse_segment(row: Row, present: Present) -> Segment:
    """A Segment from its row; ValueError if it holds none."""
    return Segment(
        number=row["number"],
        phase=Phase(row["status"]),
        since=present.required_moment(row, "since"),
        started=present.moment(row, "started_at"),
        ended=present.moment(row, "ended_at"),
        media_at=present.moment(row, "media_at"),
        size=row["bytes"],
        stops=row["stops"],
        rotated=row["rotated"],
        cause=row["cause"],
        memory_peak=row["memory_peak"],
        exit_status=row["exit_status"],
        **present.instants(row, SEGMENT_INSTANTS),
    )


def _parse_recording(row: Row, present: Present) -> Recording:
    return Recording(
        id=row["id"],
        stream=row["stream_id"],
        streamer=row["username"],
        url=row["url"],
        quality=row["quality"],
        directory=row["directory"],
        created=present.required_moment(row, "start_time"),
        duration=row["duration"],
        policy=_parse_policy(row["policy"]),
    )


def _parse_policy(stored: Mapping[str, Any]) -> Policy:
    # a recording outlives an upgrade: what another version wrote may lack a value (the default holds) or have more
    return Policy(**{name: value for name, value in stored.items() if name in _POLICY})


def _moment_values(column: str, moment: Moment | None) -> Values:
    if moment is None:
        return {column: None, f"{column}_monotonic": None}
    return {column: moment.realtime, f"{column}_monotonic": moment.monotonic}


def _instant_values(record: Recorder | Segment, names: Sequence[str]) -> dict[str, Instant | None]:
    return {f"{name}_monotonic": getattr(record, name) for name in names}
