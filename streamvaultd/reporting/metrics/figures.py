# SPDX-License-Identifier: GPL-3.0-or-later
"""What metrics say of the daemon at one moment: plain figures, no format. Pure: no file, no clock, no library.

Nothing here is labelled with what a client or a source can choose (names, URLs, numbers): labels are words of a fixed
list, or file systems that are recorded to, DISKS_MAX of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from streamvaultd.core.after.machine import StepStatus
from streamvaultd.core.cause import DEATHS, is_death, kind_of
from streamvaultd.core.model import Recorder, Segment, State
from streamvaultd.core.watching.model import Mood

DISKS_MAX: Final = 32
"""File systems that have figures."""

RECORDINGS_MAX: Final = 4096
"""Recordings of which is remembered which of their segments were counted."""

CAUSES: Final = (*DEATHS, "other")
"""Causes of deaths by their kind: what follows a colon is left out, and what is not listed is "other"."""

SEAM_KINDS: Final = ("exact", "union", "gap", "break", "other")
MOODS: Final = tuple(mood.value for mood in Mood)
STEP_STATUSES: Final = tuple(status.value for status in StepStatus)
STATUSES: Final = ("recording", "finalizing", "completed", "stopped", "failed")


class Stored(Protocol):
    """Sums over the store, see store/figures.py."""

    @property
    def recordings(self) -> Mapping[str, int]: ...
    @property
    def kept(self) -> int: ...
    @property
    def causes(self) -> Mapping[str, int]: ...
    @property
    def bytes(self) -> int: ...
    @property
    def seams(self) -> Mapping[str, int]: ...
    @property
    def gap_ms(self) -> float: ...
    @property
    def steps(self) -> Mapping[str, int]: ...


class Catalogue(Protocol):
    """How the catalogue is."""

    @property
    def backlog(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFigures:
    """A file system that is recorded to: free bytes, and how long (s) what is free above the floor lasts."""

    place: str
    free: int
    left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All figures, at one moment. `store_up` is False where the store's sums are those of before, and
    `has_sums` where there are none: they are 0 then, which is not to be told."""

    version: str
    store_up: bool
    has_sums: bool
    recordings: Mapping[str, int]
    kept: int
    states: Mapping[str, int]
    segments: int
    bytes: int
    deaths: Mapping[str, int]
    seams: Mapping[str, int]
    gap_seconds: float
    memory_used: int
    memory_limit: int
    memory_peak: int
    disks: tuple[DiskFigures, ...]
    backlog: int | None
    catalogue_up: bool
    streamlink_trouble: bool
    streamers: Mapping[str, int]
    steps: Mapping[str, int]


def snapshot(
    *,
    version: str,
    stored: Stored | None,
    store_up: bool,
    recorders: Iterable[Recorder],
    disks: Iterable[DiskFigures],
    catalogue: Catalogue | None,
    streamlink_trouble: bool,
    moods: Iterable[Mood],
) -> Snapshot:
    """The figures, from what is stored and what runs. Every word of the lists is there, with 0 if it has nothing."""
    owned = tuple(recorders)
    live = tuple(segment for recorder in owned for segment in recorder.live)
    fullest = max(live, key=_fullness, default=None)
    peaks = [segment.memory_peak or 0 for recorder in owned for segment in recorder.segments]
    return Snapshot(
        version=version,
        store_up=store_up,
        has_sums=stored is not None,
        recordings=_counted(STATUSES, stored.recordings if stored else {}),
        kept=stored.kept if stored else 0,
        states=_states(owned),
        segments=len(live),
        bytes=stored.bytes if stored else 0,
        deaths=deaths_by_kind(stored.causes if stored else {}),
        seams=_counted(SEAM_KINDS, stored.seams if stored else {}),
        gap_seconds=(stored.gap_ms if stored else 0.0) / 1e3,
        steps=_counted(STEP_STATUSES, stored.steps if stored else {}),
        memory_used=(fullest.anon or 0) if fullest else 0,
        memory_limit=(fullest.memory_max or 0) if fullest else 0,
        memory_peak=max(peaks, default=0),
        disks=tuple(disks)[:DISKS_MAX],
        backlog=None if catalogue is None else catalogue.backlog,
        catalogue_up=catalogue is not None and catalogue.trouble is None,
        streamlink_trouble=streamlink_trouble,
        streamers=_counted(MOODS, Counter(mood.value for mood in moods)),
    )


def deaths_by_kind(causes: Mapping[str, int]) -> dict[str, int]:
    """Deaths by kind of cause, of segments by cause; ends that were asked for are left out."""
    kinds: dict[str, int] = {}
    for cause, count in causes.items():
        if is_death(cause):
            kind = kind_of(cause)
            kinds[kind] = kinds.get(kind, 0) + count
    return _counted(CAUSES, kinds)


class Rising:
    """Makes sums that only rise of those that may fall when something is corrected: a death's cause, a file's size.

    Prometheus takes a counter that falls for one that began anew, and all of it for what came since.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], float] = {}

    def of(self, name: str, sums: Mapping[str, float]) -> dict[str, float]:
        """What is to be told of these sums, each with a word of its own."""
        for word, value in sums.items():
            key = name, word
            risen = max(0.0, value - self._seen.get(key, 0.0))
            self._told[key] = self._told.get(key, 0.0) + risen
            self._seen[key] = value
        return {word: self._told[name, word] for word in sums}


class Restarts:
    """How long it took until the successor of a segment that died was started, of each such successor once."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}

    def skip(self, recorder: Recorder) -> None:
        """What is there already is not to be counted."""
        self._counted[recorder.recording.id] = _last_started(recorder)

    def of(self, recorder: Recorder) -> list[float]:
        """Seconds from deaths to their successors' start, of successors that were not counted before."""
        recording = recorder.recording.id
        if recorder.state.is_final:  # all were counted when they started
            self._counted.pop(recording, None)
            return []
        last = self._counted.get(recording, 0)
        found = [
            newer.started.monotonic - older.ended.monotonic
            for older, newer in zip(recorder.segments, recorder.segments[1:], strict=False)
            if newer.number > last
            and (newer.started is not None and older.ended is not None)
            and older.cause is not None
            and is_death(older.cause)
        ]
        if recording not in self._counted and len(self._counted) >= RECORDINGS_MAX:
            return []
        self._counted[recording] = max(last, _last_started(recorder))
        # a successor that ran before, as in a rotation, was no restart
        return [seconds for seconds in found if seconds >= 0]


def _last_started(recorder: Recorder) -> int:
    return max((segment.number for segment in recorder.segments if segment.started is not None), default=0)


def _fullness(segment: Segment) -> float:
    return (segment.anon or 0) / (segment.memory_max or 1)


def _states(recorders: Iterable[Recorder]) -> dict[str, int]:
    found = {state.value: 0 for state in State if not state.is_final}
    for recorder in recorders:
        if not recorder.state.is_final:
            found[recorder.state.value] += 1
    return found


def _counted(words: tuple[str, ...], found: Mapping[str, int]) -> dict[str, int]:
    """A figure for each of the words; what is none of them is "other", where that is one."""
    counted = dict.fromkeys(words, 0)
    for word, count in found.items():
        known = word if word in counted else "other"
        if known in counted:
            counted[known] += count
    return counted
