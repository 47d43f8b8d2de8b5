# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers in rows that are outside of their ranges: refused where rows come in, mended where they go out. Pure.

A store may be older than the ranges, or another hand may have written into it. What leaves it, as a dump or for a
catalogue, holds only what every other store takes: a number that need not be there is left out, one that must be is
the nearest that can be, and a row whose place it is (a segment's number) stays behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Double, Table

from streamvaultd.core import ranges
from streamvaultd.core.ranges import Range

_PLACES: Final = frozenset({("segments", "number"), ("seams", "older"), ("seams", "newer")})
_NEAREST: Final = frozenset({("recordings", "duration")})
"""Without it, the recording would have been asked for without an end."""

_RANGES: Final[Mapping[str, Mapping[str, Range]]] = {
    "recordings": {
        "duration": ranges.SECONDS, "failures": ranges.COUNT, "probe": ranges.USEC, "joins": ranges.COUNT,
        "fills": ranges.COUNT, "memory_max": ranges.BYTES, "bytes": ranges.BYTES,
    },
    "segments": {
        "number": ranges.SEGMENT, "bytes": ranges.BYTES, "stops": ranges.COUNT, "memory_max": ranges.BYTES,
        "memory_peak": ranges.BYTES, "exit_status": ranges.STATUS,
    },
    "seams": ranges.SEAM,
    "events": {"priority": Range(0, 7), "segment": ranges.SEGMENT},
    "jobs": {"attempts": ranges.COUNT},
    "steps": {"tries": ranges.COUNT, "losses": ranges.COUNT},
    "hook_calls": {"number": ranges.COUNT, "tries": ranges.COUNT},
    "chats": {
        "run": ranges.COUNT, "messages": ranges.COUNT, "gaps": ranges.COUNT, "away": ranges.SECONDS,
        "bytes": ranges.BYTES,
    },
}  # fmt: skip


def ranges_of(table: Table) -> dict[str, Range]:
    """The ranges of the columns that have one; an instant's is that of the clock."""
    clocks = {
        column.name: ranges.INSTANT
        for column in table.c
        if isinstance(column.type, Double) and column.name.endswith("_monotonic")
    }
    return clocks | dict(_RANGES.get(table.name, {}))


def misfit(table: Table, row: Mapping[str, Any]) -> str | None:
    """What is wrong with the first number of a row outside its range; None: all are well."""
    why = ranges.misfit(row, ranges_of(table))
    policy = row.get("policy") if table.name == "recordings" else None
    if why is None and isinstance(policy, Mapping):
        found = ranges.misfit(policy, ranges.POLICY)
        why = None if found is None else f"policy.{found}"
    return None if why is None else f"row {row.get('id')!r} of {table.name}: {why}"


def mended(table: Table, row: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The row as it may leave the store, None if it stays; `tell` hears of each change. What is no number is left."""
    found = dict(row)
    for name, allowed in ranges_of(table).items():
        value = found.get(name)
        if not _is_outside(value, allowed):
            continue
        if (table.name, name) in _PLACES:
            tell(f"row {row['id']} of {table.name} is left out: {ranges.wrong(name, value, allowed)}")
            return None
        must_be = (table.name, name) in _NEAREST or not table.c[name].nullable
        found[name] = allowed.nearest(value) if must_be else None
        instead = f"is taken for {found[name]}" if must_be else "is left out"
        tell(f"row {row['id']} of {table.name}: {name} {instead}, {ranges.shown(value)} is no such number")
    policy = found.get("policy")
    if table.name == "recordings" and isinstance(policy, Mapping):
        found["policy"] = _mended_policy(policy, lambda text: tell(f"row {row['id']} of recordings: {text}"))
    return found


def _mended_policy(policy: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    found = dict(policy)
    for name, allowed in ranges.POLICY.items():
        if _is_outside(found.get(name), allowed):
            found[name] = allowed.nearest(found[name])
            tell(f"policy.{name} is taken for {found[name]}, {ranges.shown(policy[name])} is no such number")
    return found


def _is_outside(value: object, allowed: Range) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not allowed.holds(value)
