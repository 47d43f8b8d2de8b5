# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording begins with that is not its own: the end of the broadcast before, still in the source's window.

A new capture reaches back to the oldest media segment that the playlist offers, and some sources leave those of the
show before in it. Nothing in a playlist says for sure where the new show begins, but the recording of the show before
does: it holds its media to the end, byte for byte. So what is left out is proven to be kept elsewhere, and what is not
proven stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamvaultd.media import fmp4, fragments, timeline
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.places import HEAD, HITS_MAX
from streamvaultd.media.plan import Plan
from streamvaultd.media.source import Clipped, find_back, is_equal
from streamvaultd.media.splice import Splice, cut, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.media.source import Source

# How far back from the end of the recording before its head is looked for: what a window of minutes holds. A recording
# that has nothing in common with it, which is the rule, costs so much reading.
REACH = 256 << 20


@dataclass(frozen=True, slots=True)
class Lead:
    """The start of a recording that is the end of another; `ms` of media, None if nothing tells.

    `whole`: there is nothing else in the part that it was looked for in.
    """

    start: int
    size: int
    ms: float | None
    whole: bool


def find_lead(files: Sequence[Source], plan: Plan, previous: Source) -> Lead | None:
    """The lead of a part of a result; None if it does not begin with the very end of `previous`."""
    mine = Splice(files, plan.pieces)
    if plan.container not in (FileFormat.TS, FileFormat.FMP4) or sniff(previous) is not plan.container:
        return None
    is_ts = plan.container is FileFormat.TS
    skip, end = (0, timeline.whole_end(previous)) if is_ts else (fmp4.header_end(mine), fmp4.whole_end(previous))
    if not is_ts and mine.read(0, skip) != previous.read(0, fmp4.header_end(previous)):
        return None
    head = mine.read(skip, HEAD)
    if len(head) < HEAD:
        return None
    for _, place in zip(range(HITS_MAX), find_back(previous, head, max(0, end - REACH), end), strict=False):
        size = min(end - place, mine.size - skip)
        if is_equal(previous, place, mine, skip, size):
            lead = Clipped(mine, skip + size)
            ms = timeline.duration_ms(lead) if is_ts else fragments.duration_ms(lead)
            return Lead(skip, size, None if ms is None else float(ms), whole=size == mine.size - skip)
    return None


def without_lead(plan: Plan, lead: Lead) -> Plan:
    """The part without its lead; the initialisation of fragmented MP4 stays."""
    end = lead.start + lead.size
    pieces = merged([*cut(plan.pieces, 0, lead.start), *cut(plan.pieces, end, plan.size)])
    seams = tuple(
        replace(seam, offset=seam.offset - lead.size if seam.offset > end else None)
        if seam.offset is not None
        else seam
        for seam in plan.seams
    )
    return replace(plan, pieces=pieces, seams=seams)
