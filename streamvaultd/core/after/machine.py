# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of a recording's steps: one table, and what each event does to their rows.

A recording that is over and joined has a row for each of its steps. Whatever happens to one of them is an event;
`step()` looks up the handler for (status, event) and returns the rows that are to be written, in one transaction with
whatever the event itself writes. So a row never says that a step is over before the rows of those behind it say that
they are due. Nothing here knows a process: a row that runs has a job, which may have been lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from streamvaultd.core.after.graph import KINDS, wanted
from streamvaultd.core.after.pauses import again, due_at
from streamvaultd.core.model import Policy

PAUSES: Final = (10, 60, 300, 1800, 3600)
"""Seconds before the next try, after the first, the second, … one that failed; the last one for all further ones.

A kind may have others; after a try that was lost these hold for all.
"""


class StepStatus(StrEnum):
    """Of a step."""

    WAITING = "waiting"  # a step before it is not over
    DUE = "due"  # it runs as soon as it may
    RUNNING = "running"  # its job does
    DONE = "done"
    FAILED = "failed"  # nobody tries again
    SKIPPED = "skipped"  # the media are gone

    @property
    def is_over(self) -> bool:
        """Nothing will happen to it any more."""
        return self in (StepStatus.DONE, StepStatus.FAILED, StepStatus.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """How a step of a recording is. `job` is its try that runs, or the last one; `tries` are those that failed.

    `losses` are tries that came to nothing by no fault of the step. `retry_at` (µs since 1970) is when it is due
    again; `why` says what the last try failed of.
    """

    recording: int
    step: str
    status: StepStatus
    is_required: bool = False
    tries: int = 0
    losses: int = 0
    retry_at: int | None = None
    job: int | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A job has been written down for it."""

    at: int
    job: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Its job has made what it was to make."""

    at: int
    job: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Its job has not. `for_good`: no other one would. `is_lost`: it is not the step's fault, and counts as no try."""

    at: int
    job: int
    why: str
    for_good: bool = False
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaGone:
    """The media of the recording are given up."""

    at: int


Event: TypeAlias = Begun | Done | Failed | MediaGone
Handler: TypeAlias = Callable[[StepRow, Any], StepRow]


def _on_begun(row: StepRow, event: Begun) -> StepRow:
    return replace(row, status=StepStatus.RUNNING, job=event.job, retry_at=None)


def _on_done(row: StepRow, event: Done) -> StepRow:
    return row if row.job != event.job else replace(row, status=StepStatus.DONE, why=None)


def _on_failed(row: StepRow, event: Failed) -> StepRow:
    if row.job != event.job:
        return row
    if event.is_lost:
        losses = row.losses + 1
        retry_at = again(event.at, losses, PAUSES)
        return replace(row, status=StepStatus.DUE, losses=losses, retry_at=retry_at, why=event.why)
    tries, kind = row.tries + 1, KINDS.get(row.step)
    is_last = not row.is_required and (kind is None or (kind.tries is not None and tries >= kind.tries))
    if event.for_good or is_last:
        return replace(row, status=StepStatus.FAILED, tries=tries, why=event.why)
    retry_at = again(event.at, tries, _pauses(row))
    return replace(row, status=StepStatus.DUE, tries=tries, retry_at=retry_at, why=event.why)


def _pauses(row: StepRow) -> Sequence[int]:
    kind = KINDS.get(row.step)
    return PAUSES if kind is None or not kind.pauses else kind.pauses


def _on_media_gone(row: StepRow, _event: MediaGone) -> StepRow:
    return replace(row, status=StepStatus.SKIPPED, retry_at=None)


def _nothing(row: StepRow, _event: Event) -> StepRow:
    return row


TABLE: Final[Mapping[tuple[StepStatus, type[Event]], Handler]] = {
    (StepStatus.DUE, Begun): _on_begun,
    (StepStatus.RUNNING, Done): _on_done,
    (StepStatus.RUNNING, Failed): _on_failed,
    (StepStatus.WAITING, MediaGone): _on_media_gone,
    (StepStatus.DUE, MediaGone): _on_media_gone,
    (StepStatus.RUNNING, MediaGone): _on_media_gone,
}
"""What is not here changes nothing: it is late, or comes again."""


def planned(recording: int, policy: Policy) -> tuple[StepRow, ...]:
    """The rows of a recording that has just been joined; those of steps that come after no other one are due."""
    names = {kind.name for kind in wanted(policy)}
    rows = [
        StepRow(
            recording=recording,
            step=kind.name,
            status=StepStatus.WAITING if names & set(kind.after) else StepStatus.DUE,
            is_required=kind.is_required,
        )
        for kind in wanted(policy)
    ]
    return tuple(rows)


def step(rows: Sequence[StepRow], name: str, event: Event) -> tuple[StepRow, ...]:
    """Those of a recording's rows that an event of one of its steps changes, as they are after it."""
    after = {row.step: row for row in rows}
    if name in after:
        after[name] = _handled(after[name], event)
    return _changed(rows, _released(after))


def media_gone(rows: Sequence[StepRow], at: int) -> tuple[StepRow, ...]:
    """The rows that change when the media of their recording are given up."""
    return _changed(rows, {row.step: _handled(row, MediaGone(at=at)) for row in rows})


def _handled(row: StepRow, event: Event) -> StepRow:
    return TABLE.get((row.status, type(event)), _nothing)(row, event)


def _released(rows: dict[str, StepRow]) -> dict[str, StepRow]:
    """Those that wait for nothing any more are due."""
    return {
        name: replace(row, status=StepStatus.DUE) if row.status is StepStatus.WAITING and _is_free(row, rows) else row
        for name, row in rows.items()
    }


def _is_free(row: StepRow, rows: Mapping[str, StepRow]) -> bool:
    kind = KINDS.get(row.step)  # None: an older or newer program's
    before = () if kind is None else kind.after
    return all(rows[name].status.is_over for name in before if name in rows)


def _changed(before: Iterable[StepRow], after: Mapping[str, StepRow]) -> tuple[StepRow, ...]:
    return tuple(after[row.step] for row in before if after[row.step] != row)


# --- which of all that are due ---------------------------------------------------------------------------------------


def next_due(rows: Iterable[StepRow], now: int) -> int | None:
    """When the next step is due by its date, of those that are not yet."""
    later = [_due_at(row, now) for row in rows if row.status is StepStatus.DUE and row.step in KINDS]
    return min((at for at in later if at > now), default=None)


def startable(rows: Iterable[StepRow], now: int, busy: Iterable[str]) -> tuple[StepRow, ...]:
    """Of the rows that are not over, those to begin now: of each kind one at a time, the oldest first.

    `busy`: the kinds of which one runs. So a step that takes a day holds up those of its own kind, and no other one.
    """
    taken, found = set(busy), []
    for row in sorted(rows, key=lambda row: row.recording):
        if row.status is StepStatus.DUE and row.step in KINDS and row.step not in taken and _due_at(row, now) <= now:
            taken.add(row.step)
            found.append(row)
    return tuple(found)


def _due_at(row: StepRow, now: int) -> int:
    return due_at(row.retry_at, now, max(*PAUSES, *_pauses(row)))
