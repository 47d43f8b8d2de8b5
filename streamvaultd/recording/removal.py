# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes the files of finished recordings; nothing else does.

Only regular files below the streamer's folder are ever removed, whatever a row says; links are not followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.chatting import Chat
from streamvaultd.core.listing import DoneJob
from streamvaultd.core.model import JOIN, Phase, Recorder
from streamvaultd.jobs.after.belongings import is_name
from streamvaultd.jobs.after.facts import files_of
from streamvaultd.recording.ports import RecordingFiles


class RemovalStore(Protocol):
    """Raises StoreUnavailable."""

    async def last_done_job(self, recording: int, kind: str) -> DoneJob | None: ...
    async def chats(self, recordings: Iterable[int]) -> Mapping[int, Chat]: ...
    async def steps_made(self, recording: int) -> Sequence[tuple[str, Mapping[str, Any]]]: ...


class MediaFiles(Protocol):
    """Files of recordings; blocking, raises OSError."""

    def sizes(self, directory: Path, paths: Sequence[Path]) -> dict[Path, int]: ...
    def sizes_beside(self, directory: Path, paths: Sequence[Path]) -> dict[Path, int]: ...
    def remove(self, directory: Path, paths: Sequence[Path]) -> None: ...
    def remove_empty(self, directory: Path, folders: Sequence[Path]) -> None: ...


class Removal:
    """Raises OSError and StoreUnavailable; then some files may be gone, and others not."""

    def __init__(self, *, store: RemovalStore, files: RecordingFiles, media: MediaFiles, lanes: Lanes) -> None:
        self._store = store
        self._files = files
        self._media = media
        self._lanes = lanes

    async def sizes(self, recorder: Recorder) -> dict[Path, int]:
        """The files of a recording that are there, and their bytes: its chat, and its segments, or its result with all
        parts.

        What steps have made of a result goes with it, and before it.
        """
        if recorder.path is None:
            return await self._sizes(recorder, [*self._segments(recorder), *await self._chat(recorder)])
        media = await self._sizes(recorder, [*await self._result(recorder), *await self._chat(recorder)])
        directory = Path(recorder.recording.directory)
        made = await self._made(recorder)
        return await self._lanes.run(str(directory), self._media.sizes_beside, directory, made) | media

    async def remove(self, recorder: Recorder, paths: Sequence[Path]) -> None:
        """After this returns they are gone for good, and with them the streamer's folders that only they were in."""
        lane, streamer = recorder.recording.directory, _folder(recorder)
        await self._lanes.run(lane, self._media.remove, Path(lane), paths)
        inner = {folder for path in paths for folder in path.parents if streamer in folder.parents}
        await self._lanes.run(lane, self._media.remove_empty, Path(lane), sorted(inner, reverse=True))

    async def remove_segments(self, recorder: Recorder) -> bool:
        """Remove the segments of a recording whose result is there, with all that is kept beside it.

        False, and they stay, if it is not.
        """
        lane, result = recorder.recording.directory, await self._result(recorder)
        if recorder.path is None or not await self._lanes.run(lane, _are_there, result):
            return False
        paths = [self._files.segment_path(recorder.recording, segment.number) for segment in recorder.segments]
        await self._lanes.run(lane, self._files.remove_segments, paths, paths[0].parent)
        return True

    async def discard_folder(self, recorder: Recorder) -> None:
        """Remove the folder of segments if nothing is in it."""
        folder = self._files.segment_path(recorder.recording, 1).parent
        await self._lanes.run(recorder.recording.directory, self._files.discard_folder, folder)

    async def require_disk(self, recorder: Recorder) -> None:
        """Raises OSError if the streamer's folder is not there: then missing files do not mean that they are gone."""
        folder = _folder(recorder)
        if not await self._lanes.run(recorder.recording.directory, folder.is_dir):
            raise OSError(0, "it is not there; is its disk mounted?", str(folder))

    async def discard(self, recorder: Recorder) -> dict[Path, int]:
        """Remove the result of the last join, the segments and the chat; what was there of them. May be repeated."""
        await self.require_disk(recorder)
        lane = recorder.recording.directory
        segments = self._segments(recorder)
        result = [*await self._result(recorder), *await self._chat(recorder)]
        found = await self._sizes(recorder, [*segments, *result])
        if segments:
            await self._lanes.run(lane, self._files.remove_segments, segments, segments[0].parent)
        await self.remove(recorder, [path for path in result if path in found])
        return found

    async def _sizes(self, recorder: Recorder, paths: Sequence[Path]) -> dict[Path, int]:
        for path in paths:
            if not _is_own(recorder, path):
                raise OSError(0, "it is not where the files of this recording are", str(path))
        directory = Path(recorder.recording.directory)
        return await self._lanes.run(str(directory), self._media.sizes, directory, paths)

    def _segments(self, recorder: Recorder) -> list[Path]:
        kept = [segment for segment in recorder.segments if segment.phase is Phase.ENDED]
        return [self._files.segment_path(recorder.recording, segment.number) for segment in kept]

    async def _made(self, recorder: Recorder) -> list[Path]:
        made = await self._store.steps_made(recorder.recording.id)
        files = [file.path for file in files_of(made, recorder.path)]
        return [path for path in files if _is_own(recorder, path)]

    async def _chat(self, recorder: Recorder) -> list[Path]:
        """Its chat, if it has one that is packed; what a row does not name is of another recording."""
        number = recorder.recording.id
        chat = (await self._store.chats([number])).get(number)
        return [] if chat is None or chat.path is None else [Path(chat.path)]

    async def _result(self, recorder: Recorder) -> list[Path]:
        job = await self._store.last_done_job(recorder.recording.id, JOIN)
        result = job.result if job is not None and isinstance(job.result, dict) else {}  # or another hand's
        parts = result.get("parts")
        named = [part.get("path") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        paths = [recorder.path or result.get("path"), *named]
        return list(dict.fromkeys(Path(path) for path in paths if isinstance(path, str)))


def _are_there(paths: Sequence[Path]) -> bool:
    return all(path.exists() for path in paths)


def _folder(recorder: Recorder) -> Path:
    return Path(recorder.recording.directory) / recorder.recording.streamer


def _is_own(recorder: Recorder, path: Path) -> bool:
    """Whether a path is below the streamer's folder: a row may have been written by another hand."""
    folder = _folder(recorder)
    is_below = path.is_absolute() and path.is_relative_to(folder) and path != folder
    return is_below and ".." not in path.parts and is_name(path)
