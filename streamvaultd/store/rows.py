# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders and segments as values of table columns, and back. Pure: no database, file or clock.

What a Recorder holds comes back exactly within one boot. In a later boot its monotonic values mean nothing: moments
are moved by their date onto the present boot's scale, instants without a date become the present instant.

SQLite keeps values of any type in any column: what is read is checked, so that nobody goes on with a row that another
hand wrote. Raised is ValueError, with the place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from streamvaultd.core import ranges
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Policy, Recorder, Recording, Segment
from streamvaultd.core.names import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamvaultd.core.model import Instant

Row: TypeAlias = "Mapping[Any, Any]"
"""What was read, by column names."""

Values: TypeAlias = dict[str, Any]
"""What is to be written, by column names."""

RECORDER_INSTANTS = (
    "retry_at", "probe_at", "grace_until", "silent_since", "rotate_retry_at", "overlap_at", "rotation_until",
    "memory_since", "filled_at",
)  # fmt: skip
SEGMENT_INSTANTS = ("grown_at", "measure_at")

RECORDER_RANGES = {
    "failures": ranges.COUNT, "probe": ranges.USEC, "joins": ranges.COUNT, "fills": ranges.COUNT,
}  # fmt: skip
SEGMENT_RANGES = {"number": ranges.SEGMENT, "size": ranges.BYTES, "stops": ranges.COUNT}

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Present:
    """The boot that runs, and a moment of it."""

    boot: str
    now: Moment

    def is_of(self, row: Row) -> bool:
        """Whether a row was written in the present boot."""
        return bool(row["boot_id"] == self.boot)

    def moment(self, row: Row, column: str) -> Moment | None:
        """The moment in `column` on the present boot's scale, before whose zero it may lie."""
        realtime = row[column]
        if realtime is None:
            return None
        if self.is_of(row):
            found = _checked(Moment, {"monotonic": row[f"{column}_monotonic"], "realtime": realtime}, column)
            _hold(f"{column}_monotonic", found.monotonic, ranges.INSTANT)
            return found
        return self.now.dated(realtime)

    def required_moment(self, row: Row, column: str) -> Moment:
        """As moment(), of a column that is never null."""
        moment = self.moment(row, column)
        if moment is None:
            raise ValueError(f"{column} is empty")
        return moment

    def instants(self, row: Row, names: Sequence[str]) -> dict[str, Any]:
        """The instants of these names; those of another boot are due now."""
        values = {name: row[f"{name}_monotonic"] for name in names}
        if self.is_of(row):
            for name, value in values.items():
                _hold(f"{name}_monotonic", value, ranges.INSTANT)
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
        "fills": recorder.fills,
        "memory_max": recorder.memory_max,
        "bytes": recorder.result_bytes,
        "detail": recorder.detail,
        "kept": recorder.kept,
        **_moment_values("start_time", wanted.created),
        **_moment_values("end_time", recorder.ended),
        **_moment_values("since", recorder.since),
        **_instant_values(recorder, RECORDER_INSTANTS),
    }


def segment_values(segment: Segment, *, recording: int, path: str, boot: str) -> Values:
    """Every column of a segments row except its keys."""
    return {
        "path": path,
        "unit": Run(recording, segment.number).unit,
        "status": segment.phase.value,
        "cause": segment.cause,
        "boot_id": boot,
        "quality": segment.quality,
        "bytes": segment.size,
        "stops": segment.stops,
        "rotated": segment.rotated,
        "memory_max": segment.memory_max,
        "memory_peak": segment.memory_peak,
        "exit_status": segment.exit_status,
        "evidence": None if segment.evidence is None else _evidence_values(segment.evidence),
        **_moment_values("started_at", segment.started),
        **_moment_values("ended_at", segment.ended),
        **_moment_values("media_at", segment.media_at),
        **_moment_values("since", segment.since),
        **_instant_values(segment, SEGMENT_INSTANTS),
    }


def parse_recorder(row: Row, segments: tuple[Segment, ...], present: Present) -> Recorder:
    """A Recorder from its recordings row (with `username`) and its segments in order."""
    values = {
        "recording": _parse_recording(row, present),
        "state": row["state"],
        "since": present.required_moment(row, "since"),
        "segments": segments,
        "failures": row["failures"],
        "probe": row["probe"],
        "probing": row["probing"],
        "stop": row["stop_reason"],
        "memory_max": ranges.fitting(row["memory_max"], ranges.BYTES),
        "joins": row["joins"],
        "fills": row["fills"],
        "path": row["recording_path"],
        "result_bytes": ranges.fitting(row["bytes"], ranges.BYTES),
        "ended": present.moment(row, "end_time"),
        "detail": row["detail"],
        "kept": row["kept"],
        **present.instants(row, RECORDER_INSTANTS),
    }
    for name, allowed in RECORDER_RANGES.items():
        _hold(name, values[name], allowed)
    return _checked(Recorder, values, "recording")


def parse_segment(row: Row, present: Present) -> Segment:
    """A Segment from its row."""
    values = {
        "number": row["number"],
        "phase": row["status"],
        "since": present.required_moment(row, "since"),
        "started": present.moment(row, "started_at"),
        "ended": present.moment(row, "ended_at"),
        "media_at": present.moment(row, "media_at"),
        "quality": row["quality"],
        "size": row["bytes"],
        "earlier_boot": not present.is_of(row),
        "stops": row["stops"],
        "rotated": row["rotated"],
        "cause": row["cause"],
        "evidence": None if row["evidence"] is None else _evidence(row["evidence"]),
        "memory_max": ranges.fitting(row["memory_max"], ranges.BYTES),
        "memory_peak": ranges.fitting(row["memory_peak"], ranges.BYTES),
        "exit_status": ranges.fitting(row["exit_status"], ranges.STATUS),
        **present.instants(row, SEGMENT_INSTANTS),
    }
    where = f"segment {row['number']}"
    found = _checked(Segment, values, where)
    for name, allowed in SEGMENT_RANGES.items():
        _hold(f"{where}: {name}", values[name], allowed)
    return found


def _parse_recording(row: Row, present: Present) -> Recording:
    values = {
        "id": row["id"],
        "stream": row["stream_id"],
        "streamer": row["username"],
        "url": row["url"],
        "quality": row["quality"],
        "directory": row["directory"],
        "created": present.required_moment(row, "start_time"),
        "duration": _duration(row["duration"]),
        "policy": _policy(row["policy"]),
    }
    _hold("id", row["id"], ranges.NUMBER)
    _hold("stream", row["stream_id"], ranges.NUMBER)
    return _checked(Recording, values, "recording")


def _duration(stored: object) -> object:
    """What was asked for, as far as anything lasts so long: rows may be older than the range that it has."""
    return ranges.SECONDS.nearest(stored) if isinstance(stored, float) else stored


def _evidence(stored: object) -> Evidence:
    """Without numbers that cannot be: rows may be older than their ranges."""
    return ranges.told_by(_checked(Evidence, stored, "evidence"))


def _policy(stored: object) -> Policy:
    found = _checked(Policy, stored, "policy")
    why = ranges.misfit(found, ranges.POLICY)
    if why is not None:
        raise ValueError(f"policy: {why}")
    return found


def _hold(name: str, value: object, allowed: ranges.Range) -> None:
    """Raise ValueError for a number that is not in its range; what is no number is for _checked()."""
    if isinstance(value, int | float) and not allowed.holds(value):
        raise ValueError(ranges.wrong(name, value, allowed))


def _checked(kind: type[Parsed], values: object, where: str) -> Parsed:
    """A record of these values. Those it lacks have their defaults, further ones are dropped.

    So a row outlives an upgrade: what another version wrote may have less, or more.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error


def _evidence_values(evidence: Evidence) -> Values:
    """By the names of its fields; what nobody told is left out."""
    return {name: value for name, value in asdict(evidence).items() if value not in (None, ())}


def _moment_values(column: str, moment: Moment | None) -> Values:
    if moment is None:
        return {column: None, f"{column}_monotonic": None}
    return {column: moment.realtime, f"{column}_monotonic": moment.monotonic}


def _instant_values(record: Recorder | Segment, names: Sequence[str]) -> dict[str, Instant | None]:
    return {f"{name}_monotonic": getattr(record, name) for name in names}
