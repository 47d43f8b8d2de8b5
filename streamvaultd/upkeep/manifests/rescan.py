# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebuilds the store's rows from the manifests of recordings, for a store that was lost or began anew.

A recording is the same as one in the store if it is of the same streamer and began at the same moment: those are left
alone, so a rescan may be done again. Media are looked at and never touched. What has segments and no whole joined
file is taken over by the daemon, which joins it as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.lanes import Lanes
from streamvaultd.base.layout import segment_file, segments_folder
from streamvaultd.config.inputs import is_name
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.after.graph import without_steps
from streamvaultd.core.model import Broadcast, Moment, Recorder, SeamRecord
from streamvaultd.core.recording.reconcile import Facts, takeover
from streamvaultd.core.upkeep.recovery import reopened
from streamvaultd.errors import DirectoryUnusable, VaultError
from streamvaultd.jobs.after.belongings import belongs
from streamvaultd.recording.manager import Manager
from streamvaultd.reporting.notices import RESCAN_DONE, Journal
from streamvaultd.upkeep.manifests import format as manifest
from streamvaultd.upkeep.manifests.format import Manifest, ManifestFile, ManifestPart, ManifestUnreadable

LANE = "rescan"
LOOK_LIMIT = 3600.0
"""A directory that takes longer (s) to look through is on a disk that hangs."""


class RescanVerdict(StrEnum):
    """What became of one recording on disk."""

    KNOWN = "known"  # the store has it
    REBUILT = "rebuilt"  # its rows were made, or would be
    CONFLICT = "conflict"  # its numbers belong to others, and its segments' folder bears one of them
    UNREADABLE = "unreadable"  # its manifest cannot be read
    BUSY = "busy"  # somebody writes to its segments
    NO_MANIFEST = "no-manifest"  # a folder of segments without one


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOnDisk:
    """One recording on disk; `recording` is its number in the store."""

    path: str
    verdict: RescanVerdict
    text: str
    recording: int | None = None


class Traces(Protocol):
    """See upkeep/manifests/manifest_files.py."""

    @property
    def directory(self) -> str: ...
    @property
    def streamer(self) -> str: ...
    @property
    def stream(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def text(self) -> bytes | None: ...
    @property
    def trouble(self) -> str | None: ...
    @property
    def sizes(self) -> Mapping[int, int]: ...


class RescanFiles(Protocol):
    """Blocking; raises OSError."""

    def find(self, directory: str, *, must_be: bool) -> Iterable[Traces]: ...
    def result_size(self, path: Path) -> int | None: ...
    def digest(self, folder: Path, name: str) -> str | None: ...


class Salvage(Protocol):
    """Blocking; raises OSError."""

    def is_free(self, path: Path, size: int) -> bool: ...


class RescanStore(Protocol):
    """Raises StoreUnavailable."""

    async def directories(self) -> list[str]: ...
    async def known_as(self, streamer: str, started: int) -> int | None: ...
    async def is_stream_used(self, stream: int) -> bool: ...
    async def insert_rebuilt(
        self,
        recorder: Recorder,
        broadcast: Broadcast,
        made: Mapping[str, object] | None = None,
        steps: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Recorder: ...
    async def add_seams(self, recording: int, seams: Iterable[SeamRecord]) -> None: ...


class Rescan:
    """Looks for manifests, and inserts what the store does not have. One at a time."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: RescanStore,
        files: RescanFiles,
        salvage: Salvage,
        lanes: Lanes,
        clock: Clock,
        journal: Journal,
        settings: LiveSettings,
    ) -> None:
        self._manager = manager
        self._store = store
        self._files = files
        self._salvage = salvage
        self._lanes = lanes
        self._clock = clock
        self._journal = journal
        self._settings = settings
        self._turn = asyncio.Lock()

    async def run(self, directory: str | None, *, dry_run: bool) -> list[RecordingOnDisk]:
        """Rescan a directory, or all that are known; raises DirectoryUnusable and StoreUnavailable."""
        async with self._turn:
            wanted = {directory} if directory else await self._known()
            found: list[RecordingOnDisk] = []
            for each in sorted(wanted):
                for traces in await self._look(each, is_asked=directory is not None):
                    found.append(await self._take(traces, dry_run=dry_run))
            rebuilt = sum(one.verdict is RescanVerdict.REBUILT for one in found)
            if rebuilt and not dry_run:
                self._journal.tell(RESCAN_DONE, rebuilt=rebuilt, found=len(found))
            return found

    async def _known(self) -> set[str]:
        """Where recordings are, were, or go to where nobody says otherwise."""
        ours = {str(self._settings.now.directory), str(Settings().directory)}
        return ours | set(await self._store.directories())

    async def _look(self, directory: str, *, is_asked: bool) -> Iterable[Traces]:
        try:
            look = partial(self._files.find, directory, must_be=is_asked)
            return await self._lanes.call(LANE, look, deadline=LOOK_LIMIT)
        except OSError as error:
            raise DirectoryUnusable(directory=directory, why=error.strerror or str(error)) from error

    async def _take(self, traces: Traces, *, dry_run: bool) -> RecordingOnDisk:
        if traces.text is None and traces.trouble is None:
            return await self._without_manifest(traces)
        try:
            wanted = _parse(traces)
        except ManifestUnreadable as error:
            return RecordingOnDisk(path=traces.path, verdict=RescanVerdict.UNREADABLE, text=f"cannot be read: {error}")
        known = self._owned(wanted) or await self._store.known_as(wanted.streamer, wanted.start_time)
        if known is not None:
            return RecordingOnDisk(
                path=traces.path,
                verdict=RescanVerdict.KNOWN,
                text=f"is recording {known} of the store",
                recording=known,
            )
        try:
            return await self._rebuild(traces, wanted, dry_run=dry_run)
        except (OSError, VaultError) as error:
            return RecordingOnDisk(
                path=traces.path, verdict=RescanVerdict.UNREADABLE, text=f"cannot be taken: {error}"
            )

    def _owned(self, wanted: Manifest) -> int | None:
        """The number of a recording that the daemon has, whatever became of its rows."""
        for recorder in self._manager.recorders.values():
            recording = recorder.recording
            if (recording.streamer, recording.created.realtime) == (wanted.streamer, wanted.start_time):
                return recording.id
        return None

    async def _without_manifest(self, traces: Traces) -> RecordingOnDisk:
        if await self._store.is_stream_used(traces.stream):
            return RecordingOnDisk(
                path=traces.path, verdict=RescanVerdict.KNOWN, text="has no manifest; its stream is in the store"
            )
        advice = "has no manifest: 'streamvaultctl cleanup' makes a recording of its segments"
        return RecordingOnDisk(path=traces.path, verdict=RescanVerdict.NO_MANIFEST, text=advice)

    async def _rebuild(self, traces: Traces, wanted: Manifest, *, dry_run: bool) -> RecordingOnDisk:
        if traces.sizes and await self._store.is_stream_used(wanted.stream):
            text = (
                f"has stream {wanted.stream}, which is another one's in the store, and so has its segments' folder:"
                " move both to a streamer's folder of their own under a free number, and rescan"
            )
            return RecordingOnDisk(path=traces.path, verdict=RescanVerdict.CONFLICT, text=text)
        folder = Path(traces.directory) / traces.streamer
        there = [part for part in wanted.parts if await self._is_there(folder, part)]
        made = await self._made(traces, wanted, there)
        if made is None:
            return RecordingOnDisk(
                path=traces.path, verdict=RescanVerdict.BUSY, text="has segments that somebody writes to"
            )
        if dry_run:
            return RecordingOnDisk(
                path=traces.path, verdict=RescanVerdict.REBUILT, text=f"would be {made.state.value}"
            )
        result = None if made.path is None else manifest.made_again(wanted, folder, there)
        named = _named(wanted, folder, made.path)
        steps = manifest.steps_again(folder, [file for file in named if await self._is_as_made(folder, file)])
        kept = await self._store.insert_rebuilt(made, wanted.broadcast, result if wanted.parts else None, steps)
        recording = kept.recording.id
        if kept.path is not None:
            await self._store.add_seams(recording, wanted.seams)
        if not kept.state.is_final:
            self._own(kept, self._clock.now())
        other = "" if recording == wanted.recording else f" (its number {wanted.recording} is another one's)"
        text = f"is recording {recording}{other} again, {kept.state.value}"
        return RecordingOnDisk(path=traces.path, verdict=RescanVerdict.REBUILT, text=text, recording=recording)

    async def _is_as_made(self, folder: Path, file: ManifestFile) -> bool:
        """Whether a file is what a step has made; one that somebody has changed is theirs."""
        return await self._lanes.run(LANE, self._files.digest, folder, file.name) == file.sha256

    async def _is_there(self, folder: Path, part: ManifestPart) -> bool:
        """Whether a file is what its join made: of that size, and with those bytes if its digest is known."""
        path = folder / part.name
        if await self._lanes.run(LANE, self._files.result_size, path) != part.bytes:
            return False
        return part.sha256 is None or await self._lanes.run(LANE, self._files.digest, folder, part.name) == part.sha256

    async def _result_bytes(self, folder: Path, wanted: Manifest, there: Sequence[ManifestPart]) -> int | None:
        """Bytes of a result that is there; what is kept beside it may be gone."""
        if wanted.result is None or not wanted.parts:
            path = None if wanted.result is None else folder / wanted.result
            return None if path is None else await self._lanes.run(LANE, self._files.result_size, path)
        return wanted.result_bytes if all(part.kept or part in there for part in wanted.parts) else None

    async def _made(self, traces: Traces, wanted: Manifest, there: Sequence[ManifestPart]) -> Recorder | None:
        """The recorder of a manifest, None while somebody writes to its segments."""
        now = self._clock.now()
        folder = Path(traces.directory) / traces.streamer
        lost = [part for part in wanted.parts if part.kept and part not in there]
        is_only_copy = any(_segment_is_there(part, traces.sizes) for part in lost)  # and would be removed
        result = None if is_only_copy else await self._result_bytes(folder, wanted, there)
        made = manifest.rebuilt(
            wanted,
            directory=traces.directory,
            sizes=traces.sizes,
            result_bytes=result,
            policy=self._settings.now.policy,
            at=now,
        )
        if made.path is not None:  # its steps were done, or given up, long ago
            recording = replace(made.recording, policy=without_steps(made.recording.policy))
            return replace(made, recording=recording)
        if not any(traces.sizes.values()):
            return made
        for number, size in traces.sizes.items():
            path = folder / segments_folder(traces.stream) / segment_file(number)
            if not await self._lanes.run(LANE, self._salvage.is_free, path, size):
                return None
        return replace(reopened(made, dict(traces.sizes), now), detail="rebuilt from its manifest")

    def _own(self, recorder: Recorder, at: Moment) -> None:
        """Take a recorder from its rows, as at the daemon's start."""
        self._manager.take(recorder)
        for event in takeover(recorder, Facts(live=frozenset()), at):
            self._manager.post(recorder.recording.id, event)


def _named(wanted: Manifest, folder: Path, result: str | None) -> list[ManifestFile]:
    """What steps made of a result that is there, as far as it can be."""
    return [file for file in wanted.made if result is not None and belongs(folder / file.name, Path(result))]


def _segment_is_there(kept: ManifestPart, sizes: Mapping[int, int]) -> bool:
    """Whether there is still the segment of which this was kept, as far as it is known which one that is."""
    return any(sizes.values()) if kept.segment is None else sizes.get(kept.segment, 0) > 0


def _parse(traces: Traces) -> Manifest:
    """Its manifest; raises ManifestUnreadable."""
    if traces.text is None:
        raise ManifestUnreadable(traces.trouble)
    found = manifest.parse(traces.text)
    if found.streamer != traces.streamer or not is_name(found.streamer):
        raise ManifestUnreadable(f"it is of streamer '{found.streamer}', whose folder this is not")
    found.stream = traces.stream  # who moved it under another number did so for its folder as well
    return found
