# SPDX-License-Identifier: GPL-3.0-or-later
"""What the jobs need of the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from streamvaultd.core.listing import JobRow
from streamvaultd.core.model import Broadcast, Moment, Recording, SeamRecord, Titled
from streamvaultd.core.recording.events import JoinEnded


class JobLedger(Protocol):
    """The rows of jobs and seams; durable when a call returns, raises StoreUnavailable."""

    async def create_job(self, recording: int, kind: str, spec: Mapping[str, object], now: Moment) -> int: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...
    async def result_before(self, recording: int) -> tuple[int, str] | None: ...
    async def titles(self, recording: int) -> Sequence[Titled]: ...
    async def finish_job(self, job: int, *, ok: bool, result: Mapping[str, object], now: Moment) -> None: ...
    async def add_seams(self, recording: int, seams: Iterable[SeamRecord]) -> None: ...


class Inbox(Protocol):
    """Where the end of a join goes to."""

    def post(self, recording: int, event: JoinEnded) -> None: ...


class ResultFiles(Protocol):
    """Where a recording's files are."""

    def segment_path(self, recording: Recording, number: int) -> Path: ...


class NameLedger(Protocol):
    """The rows that names of results are made of; raises StoreUnavailable."""

    async def broadcast(self, recording: int) -> Broadcast: ...
    async def outputs(self, recording: int) -> tuple[str | None, Sequence[str]]:
        """Where a join of the recording was to put its result; and where those of the streamer's others are or go."""


class Templates(Protocol):
    """How results are called."""

    def template_for(self, recording: Recording) -> str: ...


class Disk(Protocol):
    """Whether there is room for what a job makes."""

    async def missing(self, folder: Path, needed: int) -> str | None: ...
    async def kept(self, folder: Path) -> int: ...
