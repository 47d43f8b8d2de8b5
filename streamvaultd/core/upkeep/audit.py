# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: rows, units, processes, files and stored pipes against each other and against the invariants.

It must never cry wolf, however busy the daemon is. So a rule speaks only of what cannot be a transition under way:

- of recorders whose outline was the same before and after the world was looked at, every event up to then dealt with;
- of what is due only when its own limit has passed, as the policy or the rule sets it;
- and `confirmed()` keeps what two looks have seen, with a while in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from streamvaultd.core.upkeep import row_rules as audit_rows
from streamvaultd.core.upkeep import run_rules as audit_runs
from streamvaultd.core.upkeep.violations import Kind, Violation
from streamvaultd.core.upkeep.world import World

Rule = Callable[[World], Iterator[Violation]]

RULES: Final[tuple[Rule, ...]] = (
    audit_runs.runs,
    audit_runs.counts,
    audit_runs.scopes,
    audit_runs.jobs_lost,
    audit_runs.processes,
    audit_rows.rows,
    audit_rows.directories,
    audit_rows.files,
    audit_rows.media,
    audit_rows.results,
    audit_rows.folders,
)

_ORDER: Final = {kind: at for at, kind in enumerate(Kind)}


def audit(world: World) -> tuple[Violation, ...]:
    """Every violation that this look shows, in the order in which they are repaired.

    While the manager does not answer, its recorders are not what was looked at: then that alone is told.
    """
    found = list(audit_runs.deadlines(world))
    if world.silent_for == 0:
        found += [violation for rule in RULES for violation in rule(world)]
    unique = {violation.key: violation for violation in found}
    return tuple(sorted(unique.values(), key=_order))


def _order(violation: Violation) -> tuple[int, int, str]:
    return _ORDER[violation.kind], violation.rank, violation.subject


def confirmed(first: Iterable[Violation], second: Iterable[Violation]) -> tuple[Violation, ...]:
    """What was seen twice, as it was seen the second time."""
    seen = {violation.key for violation in first}
    return tuple(violation for violation in second if violation.key in seen)
