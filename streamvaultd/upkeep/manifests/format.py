# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording's manifest: what its rows say, in a small JSON file beside its media. Pure: no file, no clock.

It holds no credentials: the URL is written as it is shown, with *** in their place. Paths are relative to the
streamer's folder, so a disk that is mounted elsewhere keeps its meaning. Dates are microseconds since 1970, UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Final

import msgspec

from streamvaultd.base.redaction import redact_url
from streamvaultd.core import ranges
from streamvaultd.core.model import Broadcast, Moment, Phase, Policy, Recorder, Recording, SeamRecord, Segment, State
from streamvaultd.jobs.after.step_program import MadeFile
from streamvaultd.jobs.made import Made, ResultPart

NOTHING: Final = Made()
FORMAT: Final = 1
"""Of what is written; a file of another one is told of, and not read."""

SEGMENTS_MAX: Final = 100_000
_FINAL: Final = {state.status: state for state in State if state.is_final}


def _within(allowed: ranges.Range) -> msgspec.Meta:
    return msgspec.Meta(ge=allowed.low, le=allowed.high)


Bytes = Annotated[int, _within(ranges.BYTES)]
Date = Annotated[int, _within(ranges.DATE)]


class ManifestSegment(msgspec.Struct, omit_defaults=True):
    """A segment's row, as far as it matters once nothing of it runs."""

    number: Annotated[int, _within(ranges.SEGMENT)]
    status: str
    bytes: Bytes = 0
    cause: str | None = None
    started_at: Date | None = None
    ended_at: Date | None = None
    media_at: Date | None = None
    quality: str | None = None
    rotated: bool = False
    exit_status: Annotated[int, _within(ranges.STATUS)] | None = None
    memory_max: Bytes | None = None
    memory_peak: Bytes | None = None


class ManifestPart(msgspec.Struct, omit_defaults=True):
    """A file of the result; a kept one has what of a segment could not be shown to be in the others."""

    name: str
    bytes: Bytes
    duration_ms: Annotated[int, msgspec.Meta(ge=0, le=ranges.MILLISECONDS.high)] | None = None
    kept: bool = False
    segment: Annotated[int, _within(ranges.SEGMENT)] | None = None
    sha256: str | None = None


class ManifestFile(msgspec.Struct, omit_defaults=True):
    """What a step has made of the result; `name` is its path in the streamer's folder."""

    step: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}\\Z")]
    name: str
    bytes: Bytes
    sha256: str


class Manifest(msgspec.Struct, omit_defaults=True):
    """A recording's rows. `result` is the name of its joined file, the first of its `parts`."""

    format: int
    recording: Annotated[int, _within(ranges.NUMBER)]
    stream: Annotated[int, _within(ranges.NUMBER)]
    streamer: str
    url: str
    quality: str
    status: str
    start_time: Date
    end_time: Date | None = None
    duration: Annotated[float, _within(ranges.SECONDS)] | None = None
    result: str | None = None
    result_bytes: Bytes | None = None
    detail: str | None = None
    segments: tuple[ManifestSegment, ...] = ()
    site_id: str = ""
    title: str = ""
    category: str = ""
    kept: bool = False
    seams: tuple[SeamRecord, ...] = ()
    parts: tuple[ManifestPart, ...] = ()
    notes: tuple[str, ...] = ()
    made: tuple[ManifestFile, ...] = ()

    @property
    def broadcast(self) -> Broadcast:
        """What the site said about the stream."""
        return Broadcast(site_id=self.site_id, title=self.title, category=self.category)


class ManifestUnreadable(ValueError):
    """Why a file is no manifest that this program can read."""


def is_worth_writing(recorder: Recorder) -> bool:
    """Whether media have arrived: before that there is nothing that a store could be rebuilt for."""
    return recorder.path is not None or any(segment.media_at or segment.size for segment in recorder.segments)


def gist(recorder: Recorder) -> object:
    """What a manifest is written anew for: two recorders of one gist have manifests that differ in sizes at most."""
    parts = tuple((segment.number, segment.phase, segment.cause) for segment in recorder.segments)
    return recorder.state.status, recorder.path, recorder.result_bytes, recorder.detail, recorder.kept, parts


def to_text(
    recorder: Recorder,
    broadcast: Broadcast,
    seams: Sequence[SeamRecord],
    made: Made = NOTHING,
    files: Sequence[MadeFile] = (),
) -> bytes:
    """The manifest of a recorder, of its stream as the site describes it, and of what its join made and found.

    `files` are what its steps have made.
    """
    recording = recorder.recording
    found = Manifest(
        format=FORMAT,
        recording=recording.id,
        stream=recording.stream,
        streamer=recording.streamer,
        url=redact_url(recording.url),
        quality=recording.quality,
        status=recorder.state.status,
        start_time=recording.created.realtime,
        end_time=_realtime(recorder.ended),
        duration=recording.duration,
        result=None if recorder.path is None else PurePath(recorder.path).name,
        result_bytes=recorder.result_bytes,
        detail=recorder.detail,
        segments=tuple(_segment(segment) for segment in recorder.segments),
        site_id=broadcast.site_id,
        title=broadcast.title,
        category=broadcast.category,
        kept=recorder.kept,
        seams=tuple(seams),
        parts=() if recorder.path is None else tuple(_part(part) for part in made.parts),
        notes=() if recorder.path is None else made.notes,
        made=() if recorder.path is None else tuple(_files(recorder, files)),
    )
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def parse(text: bytes) -> Manifest:
    """The manifest in a file; raises ManifestUnreadable."""
    try:
        found = msgspec.json.decode(text, type=Manifest)
    except msgspec.ValidationError as error:
        raise ManifestUnreadable(_placed(str(error), text)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestUnreadable(str(error)) from error
    except RecursionError:
        raise ManifestUnreadable("it is nested too deeply") from None
    if found.format != FORMAT:
        raise ManifestUnreadable(f"it has format {found.format}, this program knows {FORMAT}")
    numbers = [segment.number for segment in found.segments]
    if numbers != sorted(set(numbers)) or len(numbers) > SEGMENTS_MAX or (numbers and numbers[0] < 1):
        raise ManifestUnreadable("its segments are not numbered in order")
    if len(found.seams) > SEGMENTS_MAX:
        raise ManifestUnreadable("it has more seams than segments can have")
    named = [part.name for part in found.parts] + ([] if found.result is None else [found.result])
    if not all(map(_is_file_name, named)):
        raise ManifestUnreadable("its result is no file name")
    if not all(map(_is_path, (file.name for file in found.made))) or len(found.made) > SEGMENTS_MAX:
        raise ManifestUnreadable("what steps have made of it is not in its folder")
    if len(found.parts) > SEGMENTS_MAX:
        raise ManifestUnreadable("it has more parts than segments can make")
    for name in ("url", "quality"):
        if "\0" in (getattr(found, name) or ""):
            raise ManifestUnreadable(f"{name} holds a NUL, which is in no text")
    for number, seam in enumerate(found.seams):
        why = ranges.misfit(seam, ranges.SEAM)
        if why is not None:
            raise ManifestUnreadable(f"seams[{number}].{why}")
    return found


def _is_file_name(name: str) -> bool:
    return PurePath(name).name == name and name not in ("", "..") and "\0" not in name


def _is_path(name: str) -> bool:
    """Whether it is the path of a file below a folder."""
    return not PurePath(name).is_absolute() and all(map(_is_file_name, name.split("/")))


_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d{1,9})\]")


def _placed(mistake: str, text: bytes) -> str:
    """What msgspec says of a value, with its key and the value itself."""
    place = _PLACE.search(mistake)
    if place is None:
        return mistake
    try:
        value: Any = msgspec.json.decode(text)
        for key, index in _STEP.findall(place[1]):
            value = value[key] if key else value[int(index)]
    except (LookupError, TypeError, msgspec.DecodeError):
        return mistake
    return f"{place[1]} is {ranges.shown(value)}: {mistake[: place.start()].lower()}"


def rebuilt(
    manifest: Manifest,
    *,
    directory: str,
    sizes: Mapping[int, int],
    result_bytes: int | None,
    policy: Policy,
    at: Moment,
) -> Recorder:
    """A recorder in which nothing runs, of a manifest and of what is on disk now.

    `sizes` are those of the segments' files that are there, `result_bytes` that of the joined file, None without one.
    A joined file that is whole makes it what the manifest says it was; without one, segments that are there make it
    one that ended and is to be joined anew (the state is FAILED and `path` None: core.recovery.reopened() goes on).
    """
    is_whole = result_bytes is not None and result_bytes == manifest.result_bytes and manifest.status in _FINAL
    detail = manifest.detail
    if not is_whole and manifest.result is not None:
        detail = "its joined file is not there, or not whole"
    elif manifest.status not in _FINAL:
        detail = "rebuilt from its manifest"
    recording = Recording(
        id=manifest.recording,
        stream=manifest.stream,
        streamer=manifest.streamer,
        url=manifest.url,
        quality=manifest.quality,
        directory=directory,
        created=at.dated(manifest.start_time),
        duration=manifest.duration,
        policy=policy,
    )
    path = str(PurePath(directory) / manifest.streamer / manifest.result) if is_whole and manifest.result else None
    # where some segments are to be joined, one that is not there is one without media
    gone = Phase.ENDED if sizes and not is_whole else Phase.REMOVED
    parts = {part.number: _parse_segment(part, sizes.get(part.number), gone, at) for part in manifest.segments}
    for number in sorted(sizes.keys() - parts.keys()):
        parts[number] = Segment(number=number, phase=Phase.ENDED, since=at, ended=at, size=sizes[number])
    ended = manifest.end_time
    return Recorder(
        recording=recording,
        state=_FINAL.get(manifest.status, State.FAILED),
        since=at,
        segments=tuple(parts[number] for number in sorted(parts)),
        path=path,
        result_bytes=manifest.result_bytes if path is not None else None,
        ended=at if ended is None else at.dated(ended),
        detail=detail,
        kept=manifest.kept,
    )


def _part(part: ResultPart) -> ManifestPart:
    return ManifestPart(
        name=PurePath(part.path).name,
        bytes=part.bytes,
        duration_ms=part.duration_ms,
        kept=part.is_kept,
        segment=part.segment,
        sha256=part.sha256,
    )


def _files(recorder: Recorder, files: Sequence[MadeFile]) -> Iterator[ManifestFile]:
    folder = PurePath(recorder.recording.directory) / recorder.recording.streamer
    for file in files:
        if file.path.is_relative_to(folder):  # a row may have been written by another hand
            name = str(file.path.relative_to(folder))
            yield ManifestFile(step=file.step, name=name, bytes=file.bytes, sha256=file.sha256)


def steps_again(folder: PurePath, there: Sequence[ManifestFile]) -> dict[str, dict[str, object]]:
    """The rows of the steps that made these files, by their names."""
    found: dict[str, dict[str, object]] = {}
    for file in there:
        made = {"path": str(folder / file.name), "bytes": file.bytes, "sha256": file.sha256}
        files = found.setdefault(file.step, {"files": [], "notes": []})["files"]
        if isinstance(files, list):
            files.append(made)
    return found


def made_again(manifest: Manifest, folder: PurePath, there: Sequence[ManifestPart]) -> dict[str, object]:
    """The row of the join that made these files; of a part that is not there it says so."""
    parts = [
        ResultPart(
            path=str(folder / part.name),
            bytes=part.bytes,
            duration_ms=part.duration_ms,
            is_kept=part.kept,
            segment=part.segment,
            sha256=part.sha256,
        )
        for part in there
    ]
    gone = [f"{part.name}, kept beside it, is gone or another file" for part in manifest.parts if part not in there]
    path = None if manifest.result is None else str(folder / manifest.result)
    return {
        "path": path,
        "bytes": manifest.result_bytes,
        "parts": [msgspec.structs.asdict(part) for part in parts],
        "notes": [*manifest.notes, *gone],
    }


def _realtime(found: Moment | None) -> int | None:
    return None if found is None else found.realtime


def _segment(segment: Segment) -> ManifestSegment:
    return ManifestSegment(
        number=segment.number,
        status=segment.phase.value,
        bytes=segment.size,
        cause=segment.cause,
        started_at=_realtime(segment.started),
        ended_at=_realtime(segment.ended),
        media_at=_realtime(segment.media_at),
        quality=segment.quality,
        rotated=segment.rotated,
        exit_status=segment.exit_status,
        memory_max=segment.memory_max,
        memory_peak=segment.memory_peak,
    )


def _parse_segment(found: ManifestSegment, size: int | None, gone: Phase, at: Moment) -> Segment:
    def dated(realtime: int | None) -> Moment | None:
        return None if realtime is None else at.dated(realtime)

    return Segment(
        number=found.number,
        phase=gone if size is None else Phase.ENDED,
        since=at,
        started=dated(found.started_at),
        ended=dated(found.ended_at) or at,
        media_at=dated(found.media_at),
        quality=found.quality,
        size=found.bytes if size is None else size,
        rotated=found.rotated,
        cause=found.cause,
        exit_status=found.exit_status,
        memory_max=found.memory_max,
        memory_peak=found.memory_peak,
    )
