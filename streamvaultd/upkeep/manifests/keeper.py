# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the manifests of recordings up to date, behind everything else.

Each directory has a lane of its own for them: a disk that hangs delays its own manifests, and no launch or seal. A
recording that changes while its manifest is written is written once more, as it is then. What a disk refuses is told
once until it takes one again; the recording is not concerned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamvaultd.base.lanes import Lanes
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.listing import DoneJob
from streamvaultd.core.model import JOIN, Broadcast, Recorder, Recording, SeamRecord
from streamvaultd.core.recording.on_request import has_segments
from streamvaultd.errors import StoreUnavailable
from streamvaultd.jobs.after.facts import files_of
from streamvaultd.jobs.made import Made, parse_made
from streamvaultd.reporting.notices import MANIFEST_FAILED, Journal
from streamvaultd.upkeep.manifests import format as manifest


class ManifestFolder(Protocol):
    """Blocking; raises OSError."""

    def path(self, recording: Recording) -> Path: ...
    def write(self, path: Path, text: bytes) -> None: ...


class ManifestStore(Protocol):
    """Raises StoreUnavailable."""

    async def broadcast(self, recording: int) -> Broadcast: ...
    async def seams(self, recording: int) -> Sequence[SeamRecord]: ...
    async def last_done_job(self, recording: int, kind: str) -> DoneJob | None: ...
    async def steps_made(self, recording: int) -> Sequence[tuple[str, Mapping[str, Any]]]: ...


class Manifests:
    """Writes a recording's manifest when what it says has changed."""

    def __init__(
        self,
        *,
        tasks: Tasks,
        store: ManifestStore,
        lanes: Lanes,
        files: ManifestFolder,
        journal: Journal,
    ) -> None:
        self._tasks = tasks
        self._store = store
        self._lanes = lanes
        self._files = files
        self._journal = journal
        self._gists: dict[int, object] = {}
        self._next: dict[int, Recorder] = {}
        self._busy: set[int] = set()
        self._troubled: set[str] = set()

    def renew(self, recorder: Recorder) -> None:
        """Something has changed that the recorder does not say, such as what a step has made; never waits."""
        self._gists.pop(recorder.recording.id, None)
        self.note(recorder)

    def note(self, recorder: Recorder) -> None:
        """This is how a recording is now; never waits."""
        recording, gist = recorder.recording.id, manifest.gist(recorder)
        if not manifest.is_worth_writing(recorder) or self._gists.get(recording) == gist:
            return
        self._gists[recording] = gist
        self._next[recording] = recorder
        if recording not in self._busy:
            self._busy.add(recording)
            self._tasks.create_task(self._write(recording))

    async def _write(self, recording: int) -> None:
        try:
            while (recorder := self._next.pop(recording, None)) is not None:
                await self._write_one(recorder)
                if recorder.state.is_final and recording not in self._next:
                    self._gists.pop(recording, None)  # written again at worst, when its segments are removed
        finally:
            self._busy.discard(recording)

    async def _write_one(self, recorder: Recorder) -> None:
        directory = recorder.recording.directory
        path = self._files.path(recorder.recording)
        try:
            text = await self._text(recorder)
            await self._lanes.run(f"manifests {directory}", self._files.write, path, text)
        except (OSError, StoreUnavailable) as error:
            if isinstance(error, FileNotFoundError) and not _has_media(recorder):
                return  # its folder went with them
            self._gists.pop(recorder.recording.id, None)  # the next change tries again
            if directory not in self._troubled:
                self._troubled.add(directory)
                number, why = recorder.recording.id, getattr(error, "strerror", None) or error
                self._journal.tell(MANIFEST_FAILED, recorder, path=path, recording=number, why=why)
        else:
            self._troubled.discard(directory)

    async def _text(self, recorder: Recorder) -> bytes:
        recording = recorder.recording.id
        seams = await self._store.seams(recording)
        files = files_of(await self._store.steps_made(recording), recorder.path)
        broadcast, made = await self._store.broadcast(recording), await self._made(recording)
        return manifest.to_text(recorder, broadcast, seams, made, files)

    async def _made(self, recording: int) -> Made:
        job = await self._store.last_done_job(recording, JOIN)
        try:
            return parse_made(None if job is None else job.result)
        except msgspec.ValidationError:  # another hand has written it
            return Made()


def _has_media(recorder: Recorder) -> bool:
    """Whether there are any by its rows, or will be: then a folder that is missing is on a disk that is away."""
    return not recorder.state.is_final or recorder.path is not None or has_segments(recorder)
