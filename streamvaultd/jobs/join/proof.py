# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof that a joined file is what was planned, read back from disk, before anything that it replaces may go (P8)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streamvaultd.media import timeline, ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.plan import Plan
from streamvaultd.media.seam import SeamKind
from streamvaultd.media.splice import Part, Splice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamvaultd.media.source import FileSource, Source

# Compared at a time: whole packets, about 4 MiB
WINDOW = 22_000 * ts.PACKET


def find_fault(
    plan: Plan,
    files: Sequence[Source],
    result: Source,
    progress: Callable[[int], None],
    known: Sequence[tuple[int, int]] = (),
) -> str | None:
    """Why the result is not what was planned, or None when every byte of it is. May raise OSError.

    The ranges that are `known` to be right are not compared.
    """
    if result.size != plan.size:
        return f"it has {result.size} bytes, {plan.size} were planned"
    planned = Splice(files, plan.pieces)
    for start, end in _between(known, plan.size):
        for at in range(start, end, WINDOW):
            data = result.read(at, min(WINDOW, end - at))
            if data != planned.read(at, min(WINDOW, end - at)):
                return f"it differs from its segments in the {len(data)} bytes from {at} on"
            progress(len(data))
    return _seam_fault(plan, result) if plan.container is FileFormat.TS else None


def _between(known: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """The other ranges, in order."""
    at = 0
    for start, end in [*sorted(known), (size, size)]:
        if at < start:
            yield at, start
        at = end


def _seam_fault(plan: Plan, result: Source) -> str | None:
    """A gap at which counters jump though the join had to announce it; elsewhere they are the segments' own."""
    for planned in plan.seams:
        if planned.seam.kind is not SeamKind.GAP or planned.offset is None:
            continue
        if jumps := timeline.jumps_at(result, planned.offset):
            return f"the counters of PIDs {sorted(jumps)} jump unannounced at the seam at byte {planned.offset}"
    return None


def own_range(plan: Plan, sources: Sequence[FileSource], fd: int) -> tuple[tuple[int, int], ...]:
    """What of a file needs no comparison because the file is a segment itself, with something appended."""
    first = plan.pieces[0]
    if not isinstance(first, Part) or first.start or not os.path.sameopenfile(fd, sources[first.file].fd):
        return ()
    return ((0, first.end),)
