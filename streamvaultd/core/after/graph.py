# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a recording after it is joined: a small static graph of steps, one row each.

A step makes something of the result and changes nothing of it: a picture, a description, a copy elsewhere. Each is a
program that runs as a job (jobs/after/step_program.py). To add one, add its row here, and its program; docs/HACKING.md
has an example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from streamvaultd.core.model import Library, Policy

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """A row of the graph. `name` is the kind of its jobs; `wanted` says for which recordings there is such a step.

    It begins when all of `after` that are wanted are over, whichever way. `program` is a module that is run. One that
    `is_required` is tried until it is done, and retention removes nothing before; any other one is given up after
    `tries`. A try that takes longer than `limit` (s) is stopped.
    """

    name: str
    wanted: Callable[[Policy], bool]
    program: str
    after: tuple[str, ...] = ()
    is_required: bool = False
    tries: int = 5
    limit: float = DAY


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
)
"""Each stands behind those that it comes after."""

KINDS: Final = {kind.name: kind for kind in GRAPH}


def wanted(policy: Policy) -> tuple[StepKind, ...]:
    """The steps of a recording with this policy."""
    return tuple(kind for kind in GRAPH if policy.has_steps and kind.wanted(policy))


def without_steps(policy: Policy) -> Policy:
    """The policy of a recording of which nothing more is to be made."""
    return replace(policy, has_steps=False)
