# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the slices have memory for one more segment.

A segment that is admitted although its slice is full would not just fail: the kernel would kill some segment of the
slice, maybe one that records. So the whole limit of the new one must fit beside what is in use. In use counts only
what the kernel cannot take back, for page cache gives way. A replacement after a death is not asked for here: it takes
the room of the one that died, and turning it down would lose the recording for sure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemory:
    """A slice with a limit: bytes in use that cannot be reclaimed, and bytes it may have."""

    name: str
    used: int
    limit: int


def refusal(groups: Iterable[GroupMemory], wanted: int) -> str | None:
    """Why a segment that may take `wanted` bytes does not fit into these slices; None if it does."""
    for group in groups:
        if group.used + wanted > group.limit:
            free = max(group.limit - group.used, 0)
            return (
                f"{group.name} may have {_mib(group.limit)} of memory, {_mib(free)} of it is free, "
                f"and a segment may take {_mib(wanted)}"
            )
    return None


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}M"
