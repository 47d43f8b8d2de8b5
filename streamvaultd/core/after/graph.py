# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a recording after it is joined: a small static graph of steps, one row each.

A step makes something of the result and changes nothing of it: a picture, a description, a copy elsewhere. Each is a
program that runs as a job (jobs/after/step_program.py). To add one, add its row here, and its program; docs/HACKING.md
has an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamvaultd.core.model import Library, Policy

DAY: Final = 86_400.0

SIDECARS: Final = ("ass", "vtt", "json", "text")
"""Formats of a chat."""
LIBRARY_SIDECARS: Final = ("ass",)
"""What media servers and players show beside a file without being asked."""
CHAT_PAUSES: Final = (10, 60, 300, 900, 3600)
CHAT_TRIES: Final = 50
"""It waits until the chat is packed, two days if a disk takes nothing."""

UPLOAD: Final = "upload"
UPLOAD_PAUSES: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600)
"""A remote may be away for days, and is not to be asked every few minutes meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """A row of the graph. `name` is the kind of its jobs; `wanted` says for which recordings there is such a step.

    It begins when all of `after` that are wanted are over, whichever way. `program` is a module that is run. One that
    `is_required` is tried until it is done, and retention removes nothing before; any other one is given up after
    `tries`, or never if that is None. `pauses` (s) come before the second, the third, … try; without them those of
    machine.py do. A try that takes longer than `limit` (s) is stopped. One that `is_sent` reaches the network, and
    reads media without being able to change them; a recording that was found again has it, too.
    """

    name: str
    wanted: Callable[[Policy], bool]
    program: str
    after: tuple[str, ...] = ()
    is_required: bool = False
    tries: int | None = 5
    pauses: tuple[int, ...] = ()
    limit: float = DAY
    is_sent: bool = False


def sidecars(named: Sequence[str], library: str) -> tuple[str, ...]:
    """The formats in which a chat is made beside the result."""
    return tuple(named) or (LIBRARY_SIDECARS if library == Library.JELLYFIN else ())


GRAPH: Final = (
    StepKind(
        name="thumbnail",
        wanted=lambda policy: policy.thumbnail or policy.library is Library.JELLYFIN,
        program="streamvaultd.jobs.after.thumbnail",
    ),
    StepKind(
        name="nfo",
        wanted=lambda policy: policy.nfo or policy.library is Library.JELLYFIN,
        program="streamvaultd.jobs.after.nfo",
    ),
    StepKind(
        name="sheets",
        wanted=lambda policy: policy.sheets or policy.library is Library.JELLYFIN,
        program="streamvaultd.jobs.after.sheets",
        after=("thumbnail",),
    ),
    StepKind(
        name="chat",
        wanted=lambda policy: policy.chat and bool(sidecars(policy.sidecars, policy.library)),
        program="streamvaultd.jobs.after.chat_beside",
        tries=CHAT_TRIES,
        pauses=CHAT_PAUSES,
    ),
    StepKind(
        name=UPLOAD,
        wanted=lambda policy: bool(policy.upload),
        program="streamvaultd.jobs.after.upload",
        after=("thumbnail", "nfo", "sheets", "chat"),
        tries=None,
        pauses=UPLOAD_PAUSES,
        limit=30 * DAY,
        is_sent=True,
    ),
)
"""Each stands behind those that it comes after."""

KINDS: Final = {kind.name: kind for kind in GRAPH}


def is_sent(step: str) -> bool:
    """Whether a step is of a kind that is sent; none that this program does not know is."""
    kind = KINDS.get(step)
    return kind is not None and kind.is_sent


def wanted(policy: Policy) -> tuple[StepKind, ...]:
    """The steps of a recording with this policy."""
    return tuple(kind for kind in GRAPH if (policy.has_steps or kind.is_sent) and kind.wanted(policy))


def without_steps(policy: Policy) -> Policy:
    """The policy of a recording of which nothing more is to be made; it may still have to be sent."""
    return replace(policy, has_steps=False)
