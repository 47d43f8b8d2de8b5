# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manager and the executor need of the world, as narrow protocols. Only daemon/ knows who answers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streamvaultd.core.model import Broadcast, Moment, Policy, Recorder, Recording, ScopeLimits, SeamRecord, Segment
from streamvaultd.core.recording.disk import Room
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.model import Past


class JobRow(Protocol):
    """A job as the store knows it."""

    @property
    def id(self) -> int: ...
    @property
    def recording(self) -> int: ...
    @property
    def spec(self) -> Mapping[str, object]: ...


class DoneJob(Protocol):
    """A job that is done, and what it made."""

    @property
    def result(self) -> Mapping[str, object] | None: ...


class EventRow(Protocol):
    """Something that people were told of, as the store knows it."""

    @property
    def at(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def segment(self) -> int | None: ...
    @property
    def cause(self) -> str | None: ...


class Store(Protocol):
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
    async def create_job(self, recording: int, kind: str, spec: Mapping[str, object], now: Moment) -> int: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...
    async def result_before(self, recording: int) -> tuple[int, str] | None: ...
    async def finish_job(self, job: int, *, ok: bool, result: Mapping[str, object], now: Moment) -> None: ...
    async def add_seams(self, recording: int, seams: Iterable[SeamRecord]) -> None: ...


class Files(Protocol):
    """Blocking; called in threads. Raises DirectoryUnusable or OSError."""

    def prepare(self, directory: Path, streamer: str) -> None: ...
    def create(self, path: Path) -> int: ...
    def size(self, path: Path) -> int: ...
    def written(self, path: Path) -> int | None: ...
    def seal(self, path: Path) -> int: ...
    def remove_segments(self, paths: Iterable[Path], folder: Path) -> None: ...
    def discard_folder(self, folder: Path) -> None: ...
    def segment_path(self, recording: Recording, number: int) -> Path: ...
    def result_stem(self, recording: Recording, template: str) -> Path: ...


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

    async def missing(self, folder: Path, needed: int) -> str | None: ...
    async def kept(self, folder: Path) -> int: ...
    def state_of(self, recording: int) -> str | None: ...


class Writeback(Protocol):
    """Puts growing files on disk at intervals."""

    def watch(self, key: str, path: Path) -> None: ...
    def cancel(self, key: str) -> None: ...


class Spawned(Protocol):
    """A gated process; see scopes/launcher.py."""

    pid: int
    pidfd: int
    exit_fd: int

    def open_gate(self) -> None: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. The descriptors are the caller's to close; `secrets` are struck out of its log lines."""

    argv: Sequence[str]
    fields: Mapping[str, str]
    label: str
    stdin_fd: int | None = None
    stdout_fd: int | None = None
    extra_fds: Sequence[int] = ()
    secrets: Sequence[str] = ()


class Launcher(Protocol):
    """Blocking; called in threads. Raises OSError."""

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdin_fd: int | None = None,
        stdout_fd: int | None = None,
        extra_fds: Sequence[int] = (),
        fields: Mapping[str, str],
        label: str,
        secrets: Sequence[str] = (),
    ) -> Spawned: ...


class StartedScope(Protocol):
    """A scope that runs; its control group as /proc/PID/cgroup names it."""

    @property
    def control_group(self) -> str: ...


class Scopes(Protocol):
    """Starts and stops scopes by the broker; raises its typed errors, and ScopeFailed if it does not answer."""

    async def start(
        self, name: str, pidfd: int, description: str, limits: ScopeLimits, mounts_for: Path | None
    ) -> StartedScope: ...
    async def stop(self, name: str) -> None: ...
    async def reset_failed(self, name: str) -> None: ...


class FdStore(Protocol):
    """systemd's fd store."""

    def store_fd(self, name: str, fd: int) -> None: ...
    def remove_fd(self, name: str) -> None: ...


class Watcher(Protocol):
    """Calls back once when a process is gone; owns the descriptors."""

    def watch(
        self, key: str, pidfd: int, exit_fd: int | None, on_exit: Callable[[str, bytes | None, int | None], None]
    ) -> None: ...
    def pidfd(self, key: str) -> int | None: ...


class MediaWatcher(Protocol):
    """Calls back once when a growing file has its first media, or as many bytes as are asked for."""

    def watch(self, key: str, path: Path, on_media: Callable[[str], None], *, threshold: int = ...) -> None: ...
    def cancel(self, key: str) -> None: ...


class Capture(Protocol):
    """Knows how streamlink is run."""

    async def command(self, recording: Recording, preferred: str | None) -> tuple[Sequence[str], int, Sequence[str]]:
        """(argv, descriptor of its configuration, secrets in it); raises StreamlinkUnusable.

        `preferred` is the quality to take if it is there.
        """


class ProbeAnswer(Protocol):
    """What a source said of itself."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def detail(self) -> str: ...
    @property
    def mark(self) -> str: ...


class CatalogueState(Protocol):
    """`backlog` changes are not in the catalogue yet; `trouble` says why not."""

    @property
    def backlog(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...


class Catalogue(Protocol):
    """What is fed with a copy of all that the store holds."""

    async def state(self) -> CatalogueState: ...


class Prober(Protocol):
    """Asks a source; never raises, trouble is an answer."""

    async def probe(self, recording: Recording) -> ProbeAnswer: ...


class Plugins(Protocol):
    """What streamlink knows."""

    async def can_handle(self, url: str) -> bool:
        """Whether it knows this URL; raises StreamlinkUnusable."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a new daemon found of earlier ones: control groups of live scopes, and stored exit pipes, by unit name."""

    groups: Mapping[str, str] = field(default_factory=dict)
    pipes: Mapping[str, int] = field(default_factory=dict)
