# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store keeps beside recorders: events, jobs and seams. Dates are microseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One thing that happened, as people were told of it. `priority` is a syslog level."""

    id: int
    at: int
    kind: str
    priority: int
    message: str
    recording: int | None
    segment: int | None
    cause: str | None
    fields: Mapping[str, object]


class JobStatus(StrEnum):
    """Of a job; one that runs may have lost its process in a crash."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Work on a recording in a unit of its own; `spec` is all that is needed to do it (again).

    Each try is a job; `attempts` says how often this work was tried for the recording, this time included.
    """

    id: int
    recording: int
    kind: str
    status: JobStatus
    attempts: int
    unit: str
    spec: Mapping[str, object]
    result: Mapping[str, object] | None
    created: int
    started: int
    ended: int | None
