# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manager and the executor need of the world, as narrow protocols. Only daemon/ knows who answers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from streamvaultd.core.flows import Pulse
from streamvaultd.core.listing import EventRow
from streamvaultd.core.model import Broadcast, Moment, Policy, Recorder, Recording, Segment
from streamvaultd.core.names import Run
from streamvaultd.core.recording.disk import Room
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Past
from streamvaultd.scopes.ports import Access


class RecordingStore(Protocol):
    """Durable when a call returns; raises StoreUnavailable."""

    async def create_recording(
        self,
        *,
        streamer: str,
        url: str,
        quality: str,
        directory: str,
        duration: float | None,
        policy: Policy,
        now: Moment,
        broadcast: Broadcast | None = None,
    ) -> Recorder: ...
    async def note_broadcast(self, recording: int, broadcast: Broadcast, now: Moment) -> None: ...
    async def past(self) -> Mapping[str, Past]: ...
    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None: ...
    async def find(self, name_or_id: str) -> Recorder: ...
    async def list(self, streamer: str | None = None, *, all: bool = False, limit: int = 1000) -> list[Recorder]: ...  # noqa: A002
    async def add_event(
        self,
        *,
        at: Moment,
        kind: str,
        priority: int,
        message: str,
        recording: int | None = None,
        segment: int | None = None,
        cause: str | None = None,
    ) -> None: ...
    async def events(self, recording: int, *, limit: int) -> Sequence[EventRow]: ...


class RecordingFiles(Protocol):
    """Blocking; called in threads. Raises DirectoryUnusable or OSError."""

    def prepare(self, directory: Path, streamer: str) -> None: ...
    def create(self, path: Path) -> int: ...
    def size(self, path: Path) -> int: ...
    def written(self, path: Path) -> int | None: ...
    def seal(self, path: Path) -> int: ...
    def remove_segments(self, paths: Iterable[Path], folder: Path) -> None: ...
    def discard_folder(self, folder: Path) -> None: ...
    def segment_path(self, recording: Recording, number: int) -> Path: ...


class Looks(Protocol):
    """Looks at what a growing file has come to. Blocking; called in threads. Raises OSError."""

    def look(self, run: Run, path: Path) -> tuple[tuple[Pulse, ...], str | None]:
        """How far its streams have come, and why an MP4 cannot hold them, if that is known."""

    def forget(self, run: Run) -> None: ...
    def is_overlap_proven(self, older: Path | int, newer: Path | int) -> bool: ...


class Space(Protocol):
    """Blocking; called in threads. Raises OSError."""

    def measure(self, folders: Sequence[Path]) -> list[Room]: ...
    def try_writing(self, folder: Path, size: int) -> None: ...


class Disk(Protocol):
    """Whether there is room on the disks that are recorded to; each method says why not, see disk_guard.py."""

    async def check(self, recorder: Recorder) -> None: ...
    async def trouble(self, recorder: Recorder) -> str | None: ...
    async def admit(self, directory: Path, streamer: str) -> None:
        """Raises DiskFull, DirectoryUnusable."""

    def state_of(self, recording: int) -> str | None: ...


class Memory(Protocol):
    """The memory of segments."""

    def refusal(self, wanted: int) -> str | None:
        """Why one more that may take so much does not fit; None if it does."""


class Link(Protocol):
    """This machine's network."""

    @property
    def is_down(self) -> bool: ...


class Writeback(Protocol):
    """Puts growing files on disk at intervals."""

    def watch(self, run: Run, path: Path) -> None: ...
    def cancel(self, run: Run) -> None: ...


class Capture(Protocol):
    """Knows how streamlink is run."""

    async def command(
        self, recording: Recording, preferred: str | None, limit: float | None
    ) -> tuple[Sequence[str], int, Sequence[str]]:
        """(argv, descriptor of its configuration, secrets in it); raises StreamlinkUnusable.

        `preferred` is the quality to take if it is there.
        """

    async def rules(self, recording: Recording) -> Access:
        """What it may reach; raises StreamlinkUnusable."""

    async def reachable(self, recording: Recording) -> tuple[str, ...]:
        """Networks that it may reach although they are closed to scopes."""


class ProbeAnswer(Protocol):
    """What a source said of itself."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def detail(self) -> str: ...
    @property
    def mark(self) -> str: ...
    @property
    def is_another(self) -> bool:
        """Whether the source has another broadcast now: the recording does not go on in it."""


class Prober(Protocol):
    """Asks a source; never raises, trouble is an answer."""

    async def probe(self, recording: Recording) -> ProbeAnswer: ...
