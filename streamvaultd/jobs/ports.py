# SPDX-License-Identifier: GPL-3.0-or-later
"""What the jobs need of the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from streamvaultd.core.listing import JobRow
from streamvaultd.core.model import Moment, Recording, SeamRecord
from streamvaultd.core.recording.events import JoinEnded


class JobLedger(Protocol):
    """The rows of jobs and seams; durable when a call returns, raises StoreUnavailable."""

    async def create_job(self, recording: int, kind: str, spec: Mapping[str, object], now: Moment) -> int: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...
    async def result_before(self, recording: int) -> tuple[int, str] | None: ...
    async def finish_job(self, job: int, *, ok: bool, result: Mapping[str, object], now: Moment) -> None: ...
    async def add_seams(self, recording: int, seams: Iterable[SeamRecord]) -> None: ...


class Inbox(Protocol):
    """Where the end of a join is told."""

    def post(self, recording: int, event: JoinEnded) -> None: ...


class ResultFiles(Protocol):
    """Names of a recording's files."""

    def segment_path(self, recording: Recording, number: int) -> Path: ...
    def result_stem(self, recording: Recording, template: str) -> Path: ...


class Names(Protocol):
    """How results are called."""

    def template_for(self, recording: Recording) -> str: ...


class Disk(Protocol):
    """Whether there is room for what a job makes."""

    async def missing(self, folder: Path, needed: int) -> str | None: ...
    async def kept(self, folder: Path) -> int: ...
