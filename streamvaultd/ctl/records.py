# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's answers as typed records: parsed once, here. Fields as in io.streamvault.Recorder.varlink.

Times are microseconds of UTC since 1970, spans microseconds, sizes bytes.
"""

from __future__ import annotations

from streamvaultd.ctl.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")

Answer: TypeAlias = "Mapping[str, object]"

FINAL = frozenset({"completed", "stopped", "failed"})
CAPTURING = frozenset({"recording", "rotating"})


class BadAnswer(ValueError):
    """The answer does not have the shape that the interface promises; says at which field."""


class Progress(Record):
    """Of a join: bytes of the result, and microseconds that are left."""

    done: int
    total: int
    left: int | None


class Recording(Record):
    id: int
    stream: int
    streamer: str
    url: str
    quality: str
    directory: str
    duration: int | None
    rotate_size: int
    memory_max: int
    state: str
    since: int
    started: int
    ended: int | None
    bytes: int
    segments: int
    deaths: int
    rotation_due: int | None
    retry_at: int | None
    given_up: int | None
    path: str | None
    detail: str | None
    kept: bool
    progress: Progress | None
    answer: Answer
    """The object that all this was parsed from."""

    @property
    def is_final(self) -> bool:
        """Nothing will happen to it any more."""
        return self.state in FINAL

    @property
    def has_media(self) -> bool:
        """Media arrive, or have arrived."""
        return self.state in CAPTURING or self.bytes > 0


class Segment(Record):
    number: int
    unit: str
    path: str
    phase: str
    started: int | None
    ended: int | None
    bytes: int
    pid: int | None
    quality: str | None
    trouble: str | None
    cause: str | None
    is_death: bool
    memory_max: int | None
    memory_peak: int | None
    memory_now: int | None


class Evidence(Record):
    asked: str | None
    status: int | None
    error: str | None
    shim_status: int | None
    oom_kills: int | None
    memory_peak: int | None
    memory_max: int | None
    max_rss: int | None
    cpu: int | None
    unit_result: str | None
    journal_oom: bool | None
    journal_oomd: bool | None
    unit_stopped: bool | None
    kernel_oom: str | None
    host_down: bool | None
    link_down: bool | None
    disk: str | None
    file: str | None
    log: tuple[str, ...]


class End(Record):
    segment: int
    phase: str
    started: int | None
    ended: int | None
    bytes: int
    cause: str | None
    is_death: bool
    why: str | None
    memory_max: int | None
    memory_peak: int | None
    evidence: Evidence | None
    replaced_by: int | None
    replaced_after: int | None
    recorded_after: int | None
    events: tuple[Event, ...]


class Event(Record):
    at: int
    kind: str
    priority: int
    message: str
    recording: int | None


class DaemonStatus(Record):
    version: str
    state: str
    started: int
    recordings: int
    segments: int
    jobs: int
    streamlink_command: str
    streamlink_version: str | None
    streamlink_trouble: str | None
    store: str
    catalogue: Catalogue | None
    unreachable: tuple[str, ...]
    unconfined: tuple[str, ...]
    mistakes: tuple[Mistake, ...]


class Mistake(Record):
    """`text` names section, key and value, as far as they are known, and what is wrong."""

    file: str
    text: str


class Catalogue(Record):
    backlog: int
    trouble: str | None


class Fields:
    """A JSON object whose fields are taken by type; `where` is its place in the answer."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadAnswer(f"{where} is not an object")
        self._value: dict[str, object] = value
        self._where = where

    def _get(self, key: str, kind: type[T]) -> T | None:
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadAnswer(f"{self._where}.{key} is not of type {kind.__name__}")
        return value

    def need(self, key: str, kind: type[T]) -> T:
        value = self._get(key, kind)
        if value is None:
            raise BadAnswer(f"{self._where}.{key} is missing")
        return value

    def integer(self, key: str) -> int | None:
        return self._get(key, int)

    def text(self, key: str) -> str | None:
        return self._get(key, str)

    def truth(self, key: str) -> bool | None:
        return self._get(key, bool)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.need(key, list)
        if not all(isinstance(value, str) for value in values):
            raise BadAnswer(f"{self._where}.{key} is not a list of texts")
        return tuple(values)

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def child(self, key: str) -> Fields:
        return Fields(self._value.get(key), f"{self._where}.{key}")

    def time(self, key: str) -> int:
        return self.child(key).need("realtime", int)

    def maybe_time(self, key: str) -> int | None:
        return self.time(key) if self.has(key) else None


def objects(answer: Answer, key: str) -> list[Answer]:
    """The list of objects in a field of an answer, as they are."""
    value = answer.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadAnswer(f"{key} is not a list of objects")
    return value


def object_of(answer: Answer, key: str) -> Answer:
    """The object in a field of an answer, as it is."""
    value = answer.get(key)
    if not isinstance(value, dict):
        raise BadAnswer(f"{key} is not an object")
    return value


def parse_recording(answer: Answer) -> Recording:
    """From type Recording; raises BadAnswer."""
    top = Fields(answer, "recording")
    context, runtime = top.child("context"), top.child("runtime")
    return Recording(
        id=top.need("id", int),
        stream=top.need("stream", int),
        streamer=context.need("streamer", str),
        url=context.need("url", str),
        quality=context.need("quality", str),
        directory=context.need("directory", str),
        duration=context.integer("durationUSec"),
        rotate_size=context.need("rotateSize", int),
        memory_max=context.need("memoryMax", int),
        state=runtime.need("state", str),
        since=runtime.time("since"),
        started=runtime.time("startedAt"),
        ended=runtime.maybe_time("endedAt"),
        bytes=runtime.need("bytes", int),
        segments=runtime.need("segments", int),
        deaths=runtime.need("deaths", int),
        rotation_due=runtime.maybe_time("rotationDueAt"),
        retry_at=runtime.maybe_time("retryAt"),
        given_up=runtime.maybe_time("givenUpAt"),
        path=runtime.text("path"),
        detail=runtime.text("detail"),
        kept=runtime.truth("kept") or False,
        progress=_parse_progress(runtime),
        answer=answer,
    )


def _parse_progress(runtime: Fields) -> Progress | None:
    if not runtime.has("progress"):
        return None
    found = runtime.child("progress")
    done, total = found.need("doneBytes", int), found.need("totalBytes", int)
    return Progress(done=done, total=total, left=found.integer("etaUSec"))


def parse_segment(answer: Answer) -> Segment:
    """From type Segment; raises BadAnswer."""
    top = Fields(answer, "segment")
    return Segment(
        number=top.need("number", int),
        unit=top.need("unit", str),
        path=top.need("path", str),
        phase=top.need("phase", str),
        started=top.maybe_time("startedAt"),
        ended=top.maybe_time("endedAt"),
        bytes=top.need("bytes", int),
        pid=top.integer("pid"),
        quality=top.text("quality"),
        trouble=top.text("trouble"),
        cause=top.text("cause"),
        is_death=top.truth("death") or False,
        memory_max=top.integer("memoryMax"),
        memory_peak=top.integer("memoryPeak"),
        memory_now=top.integer("memoryCurrent"),
    )


def parse_end(answer: Answer) -> End:
    """From type End; raises BadAnswer."""
    top = Fields(answer, "end")
    return End(
        segment=top.need("segment", int),
        phase=top.need("phase", str),
        started=top.maybe_time("startedAt"),
        ended=top.maybe_time("endedAt"),
        bytes=top.need("bytes", int),
        cause=top.text("cause"),
        is_death=top.truth("death") or False,
        why=top.text("why"),
        memory_max=top.integer("memoryMax"),
        memory_peak=top.integer("memoryPeak"),
        evidence=_parse_evidence(top.child("evidence")) if top.has("evidence") else None,
        replaced_by=top.integer("replacedBy"),
        replaced_after=top.integer("replacedAfterUSec"),
        recorded_after=top.integer("recordedAfterUSec"),
        events=tuple(parse_event(event) for event in objects(answer, "events")),
    )


def _parse_evidence(top: Fields) -> Evidence:
    return Evidence(
        asked=top.text("asked"),
        status=top.integer("status"),
        error=top.text("error"),
        shim_status=top.integer("shimStatus"),
        oom_kills=top.integer("oomKills"),
        memory_peak=top.integer("memoryPeak"),
        memory_max=top.integer("memoryMax"),
        max_rss=top.integer("maxRSS"),
        cpu=top.integer("cpuUSec"),
        unit_result=top.text("unitResult"),
        journal_oom=top.truth("journalOOM"),
        journal_oomd=top.truth("journalOOMD"),
        unit_stopped=top.truth("unitStopped"),
        kernel_oom=top.text("kernelOOM"),
        host_down=top.truth("hostDown"),
        link_down=top.truth("linkDown"),
        disk=top.text("disk"),
        file=top.text("file"),
        log=top.texts("log"),
    )


def parse_event(answer: Answer) -> Event:
    """From type Event; raises BadAnswer."""
    top = Fields(answer, "event")
    return Event(
        at=top.time("at"),
        kind=top.need("kind", str),
        priority=top.need("priority", int),
        message=top.need("message", str),
        recording=top.integer("recording"),
    )


def parse_mistake(answer: Answer) -> Mistake:
    """From type Mistake; raises BadAnswer."""
    top = Fields(answer, "mistake")
    key = top.text("key")
    where = f" [{top.text('section')}]{f' {key}' if key else ''} = {top.text('value')}:" if top.has("section") else ""
    return Mistake(file=top.need("file", str), text=f"{where} {top.need('why', str)}".strip())


def parse_status(answer: Answer) -> DaemonStatus:
    """From the reply of GetStatus; raises BadAnswer."""
    top = Fields(answer, "status")
    return DaemonStatus(
        version=top.need("version", str),
        state=top.need("state", str),
        started=top.time("startedAt"),
        recordings=top.need("recordings", int),
        segments=top.need("segments", int),
        jobs=top.need("jobs", int),
        streamlink_command=top.need("streamlinkCommand", str),
        streamlink_version=top.text("streamlinkVersion"),
        streamlink_trouble=top.text("streamlinkTrouble"),
        store=top.need("store", str),
        catalogue=_parse_catalogue(answer.get("catalogue")),
        unreachable=top.texts("unreachableTargets"),
        unconfined=top.texts("unconfined"),
        mistakes=tuple(parse_mistake(item) for item in objects(answer, "mistakes")),
    )


def _parse_catalogue(answer: object) -> Catalogue | None:
    if answer is None:
        return None
    top = Fields(answer, "catalogue")
    return Catalogue(backlog=top.need("backlog", int), trouble=top.text("trouble"))
