# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the audit that are about rows and files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.upkeep.run_rules import name_of
from streamvaultd.core.upkeep.violations import Kind, Violation
from streamvaultd.core.upkeep.world import (
    Folder,
    ResultState,
    Row,
    RowSegment,
    SegmentFile,
    World,
    by_folder,
    folder_of,
    outline,
)

REMOVAL_LIMIT: Final = 60.0
"""Removing the segments of a joined recording takes no longer (s)."""

_STATES: Final = {state.value: state for state in State}
_JOINED: Final = frozenset({State.COMPLETED.value, State.STOPPED.value})
_GIVEN_UP: Final = _JOINED | {State.DISCARDING.value}
_GONE: Final = frozenset({ResultState.GONE, ResultState.FOLDER_GONE})
_WITH_MEDIA: Final = frozenset({Phase.WRITING.value, Phase.ENDED.value})


def rows(world: World) -> Iterator[Violation]:
    """What the daemon knows against what is stored."""
    for recording, why in world.unreadable:
        what = f"Its rows cannot be read: {why}."
        yield _of_recording(Kind.ROW_UNREADABLE, recording, what)
    stored = {recorder.recording.id: recorder for recorder in world.stored}
    known = {row.id for row in world.rows}
    for recorder in world.steady:
        yield from _stored(recorder, stored.get(recorder.recording.id), is_known=recorder.recording.id in known)
    owned = {recorder.recording.id for recorder in world.recorders}
    for recording, recorder in stored.items():
        if recording not in owned | world.moving and not recorder.state.is_final:
            what = f"It is {recorder.state.value} by its row, and the daemon does not know it."
            yield _of_recording(Kind.ROW_UNOWNED, recording, what)
    unsure = owned | world.unsure
    for row in world.rows:
        if row.fault is not None and row.id not in owned:
            yield _of_recording(Kind.ROW_UNREADABLE, row.id, f"Its rows cannot be read: {row.fault}.")
        elif row.id not in unsure:
            yield from _status(row)


def _of_recording(kind: Kind, recording: int, what: str, hold: str = "") -> Violation:
    return Violation(kind=kind, subject=f"recording {recording}", what=what, hold=hold, recording=recording)


def _stored(recorder: Recorder, row: Recorder | None, *, is_known: bool) -> Iterator[Violation]:
    recording = recorder.recording.id
    if row is None and not is_known:
        what = f"It is {recorder.state.value}, and the store has no row of it."
        yield _of_recording(Kind.ROW_MISSING, recording, what)
    elif row is None or outline(row) != outline(recorder):
        told = "over" if row is None else row.state.value
        what = f"It is {recorder.state.value}, and {told} by its row, or its segments are others."
        yield _of_recording(Kind.ROW_BEHIND, recording, what)


def _status(row: Row) -> Iterator[Violation]:
    """A row that nobody owns, of a recording that is over: by its state, by its status, and by its segments?"""
    state = _STATES.get(row.state)
    if state is None:
        yield _of_recording(Kind.ROW_UNREADABLE, row.id, f"Its state '{row.state}' is none.")
    elif state.is_final and row.status != state.status:
        yield _of_recording(Kind.STATUS_WRONG, row.id, f"Its status is '{row.status}', its state '{row.state}'.")
    elif row.status in (State.COMPLETED, State.STOPPED, State.FAILED):
        live = [segment for segment in row.segments if not segment.is_over]
        if not state.is_final or live:
            what = f"Its status is '{row.status}', and it is '{row.state}' with {len(live)} segments not over."
            yield _of_recording(Kind.STATUS_WRONG, row.id, what)


# --- files -------------------------------------------------------------------------------------------------------


def directories(world: World) -> Iterator[Violation]:
    """Recording directories, and streamers' folders in them, that are gone though rows need them."""
    needed = {place for row in world.rows if _has_files(row) for place in _places(row)}
    for directory, why in world.disk.gone.items():
        if directory in needed:
            what = f"It cannot be looked at: {why}."
            yield Violation(kind=Kind.DIRECTORY_GONE, subject=directory, what=what, path=directory)


def _places(row: Row) -> tuple[str, str]:
    return row.folder[0], f"{row.folder[0]}/{row.folder[1]}"


def _is_seen(world: World, row: Row) -> bool:
    """Whether the folders that a recording's folder is in could be looked at."""
    return row.folder[0] in world.disk.there and not any(place in world.disk.gone for place in _places(row))


def _has_files(row: Row) -> bool:
    return row.path is not None or any(segment.phase in _WITH_MEDIA and segment.size for segment in row.segments)


def files(world: World) -> Iterator[Violation]:
    """Files that no row knows, or that should be gone, or that two write."""
    yield from _shared(world)
    for file, segment in _judged(world):
        if file.size == 0 and (segment is None or segment.is_over):
            yield _of_file(Kind.FILE_EMPTY, file, "It holds nothing, and nobody writes to it.")
        elif file.size > 0 and segment is not None and segment.phase == Phase.REMOVED:
            yield _of_file(Kind.MEDIA_BACK, file, "It was removed after it was joined, and is there again.")
    for folder, found in unknown_media(world).items():
        yield _unknown_media(folder, found)


def unknown_media(world: World) -> dict[str, list[SegmentFile]]:
    """Files with media that no row knows, by the path of their folder."""
    found: dict[str, list[SegmentFile]] = {}
    for file, segment in _judged(world):
        if file.size > 0 and segment is None:
            found.setdefault(file.path.rpartition("/")[0], []).append(file)
    return found


def _judged(world: World) -> Iterator[tuple[SegmentFile, RowSegment | None]]:
    """Files that nobody writes and whose recording, if there is one, is known for sure; and their rows."""
    if not world.rows_are_whole:
        return
    claims = {(row.folder, segment.number): segment for row in world.rows for segment in row.segments}
    for recorder in world.recorders:
        claims |= {(folder_of(recorder), segment.number): _row_segment(segment) for segment in recorder.segments}
    unsure = _unsure_folders(world)
    written = {path for process in world.processes for path in process.writes}
    for file in world.disk.files:
        if file.folder not in unsure and file.path not in written:
            yield file, claims.get((file.folder, file.number))


def _unsure_folders(world: World) -> set[Folder]:
    unsure = world.unsure
    moving = {folder_of(recorder) for recorder in world.recorders if recorder.recording.id in unsure}
    return moving | {row.folder for row in world.rows if row.id in unsure}


def _of_file(kind: Kind, file: SegmentFile, what: str) -> Violation:
    return Violation(kind=kind, subject=file.path, what=what, path=file.path)


def _unknown_media(folder: str, found: list[SegmentFile]) -> Violation:
    numbers = ", ".join(f"{file.number:03d}" for file in sorted(found, key=lambda file: file.number)[:8])
    size = sum(file.size for file in found)
    what = f"No row knows {len(found)} of its segments ({numbers}), {size} bytes."
    # the greatest first: new numbers of streams count on from there
    return Violation(kind=Kind.MEDIA_UNKNOWN, subject=folder, what=what, path=folder, rank=-found[0].folder[2])


def _shared(world: World) -> Iterator[Violation]:
    writers: dict[str, dict[str, int]] = {}
    for process in world.processes:
        if not process.is_ours:
            for path in process.writes:
                writers.setdefault(path, {}).setdefault(process.unit or f"process {process.pid}", process.pid)
    segments = {file.path for file in world.disk.files}
    for path, units in writers.items():
        if len(units) > 1 and path in segments:
            what = f"{' and '.join(sorted(units))} both write to it."
            yield Violation(kind=Kind.FILE_SHARED, subject=path, what=what, path=path)
    unfinished = {recorder.recording.id for recorder in world.steady if not recorder.state.is_final}
    for rows_of_one in by_folder(row for row in world.rows if row.id in unfinished).values():
        if len(rows_of_one) > 1:
            ids = " and ".join(str(row.id) for row in rows_of_one)
            what = f"Recordings {ids} have one folder."
            yield Violation(kind=Kind.FILE_SHARED, subject=f"recordings {ids}", what=what)


def media(world: World) -> Iterator[Violation]:
    """Media that a row counts on and that are not there."""
    if not world.disk.is_whole:
        return
    there = {(file.folder, file.number): file for file in world.disk.files}
    unsure = world.unsure
    steady = {recorder.recording.id: recorder for recorder in world.steady}
    for row in world.rows:
        recorder = steady.get(row.id)
        if not _is_seen(world, row) or row.id in unsure:
            continue
        segments = row.segments if recorder is None else tuple(map(_row_segment, recorder.segments))
        wanted = [segment for segment in segments if segment.phase in _WITH_MEDIA and segment.size > 0]
        missing = [segment for segment in wanted if (row.folder, segment.number) not in there]
        # what was joined is in the result, or not kept; what has failed for good may be thrown away
        is_over = row.state in _GIVEN_UP or (row.state == State.FAILED and len(missing) == len(wanted))
        if not is_over and (recorder is not None or row.state == State.FAILED):
            for segment in missing:
                what = f"Its file with {segment.size} bytes is not there any more."
                subject = name_of(row.id, segment.number)
                yield Violation(
                    kind=Kind.MEDIA_GONE, subject=subject, what=what, recording=row.id, segment=segment.number
                )


def _row_segment(segment: Segment) -> RowSegment:
    return RowSegment(number=segment.number, phase=segment.phase.value, size=segment.size)


def results(world: World) -> Iterator[Violation]:
    """Recordings that are joined: their result is there, and their segments are not."""
    there = {(file.folder, file.number) for file in world.disk.files}
    owned = {recorder.recording.id: recorder for recorder in world.recorders}
    joining = {job.recording for job in world.jobs}
    unsure = world.unsure
    for row in world.rows:
        if row.status not in _JOINED or row.state not in _JOINED or row.path is None or row.id in unsure:
            continue
        recorder = owned.get(row.id)
        if recorder is not None and world.now - max(recorder.since.monotonic, world.started) <= REMOVAL_LIMIT:
            continue
        result = world.results.get(row.path, ResultState.UNKNOWN)
        left = [s for s in row.segments if s.phase == Phase.ENDED and (row.folder, s.number) in there]
        if left and row.id not in joining:
            yield _segments_left(row, left, result)
        elif not left and result in _GONE and world.disk.is_whole and _is_seen(world, row):
            yield _result_gone(row, result)


def _segments_left(row: Row, left: list[RowSegment], result: ResultState) -> Violation:
    numbers = ", ".join(f"{segment.number:03d}" for segment in left)
    joined = "and its joined file is not" if result in _GONE else "though it is joined"
    return _of_recording(Kind.SEGMENTS_LEFT, row.id, f"Its segments {numbers} are still there, {joined}.")


def _result_gone(row: Row, result: ResultState) -> Violation:
    hold = ""
    if result is ResultState.FOLDER_GONE:
        hold = "mount or restore its folder; if all of it is to be given up, make the folder anew and clean up again"
    return Violation(
        kind=Kind.RESULT_GONE,
        subject=f"recording {row.id}",
        what=f"Its joined file {row.path} is not there any more.",
        hold=hold,
        recording=row.id,
        path=row.path,
    )


def folders(world: World) -> Iterator[Violation]:
    """Folders of segments with nothing in them."""
    wanted = {folder_of(recorder) for recorder in world.recorders} | _unsure_folders(world)
    for folder, path in world.disk.empty:
        if folder not in wanted:
            what = "It is empty, and its recording is over or unknown."
            yield Violation(kind=Kind.FOLDER_LEFT, subject=path, what=what, path=path)
