# SPDX-License-Identifier: GPL-3.0-or-later
"""The segments that are joined, and what the report says of the seams between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamvaultd.jobs.join.spec import Span
from streamvaultd.media import fragments, timeline, ts
from streamvaultd.media.container import FileFormat
from streamvaultd.media.plan import Plan, PlannedSeam
from streamvaultd.media.programs import nameless_pictures, opaque_pids
from streamvaultd.media.seam import Seam, SeamKind
from streamvaultd.media.source import FileSource
from streamvaultd.media.splice import Part

_WORST_FIRST = tuple(kind.value for kind in (SeamKind.BREAK, SeamKind.GAP, SeamKind.UNION, SeamKind.EXACT))


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """An open segment that holds something, and its number: the one in its name, else its place in the list."""

    number: int
    path: Path
    source: FileSource
    received: Span | None
    until: int | None
    """When its last bytes came (ms); streamlink waits for more before it ends."""
    dated: int | None = None
    """When its first media were broadcast (ms), by the source's own dates."""


def unused(segments: Sequence[OpenSegment], plans: Sequence[Plan]) -> Iterator[OpenSegment]:
    """Those of which nothing is used, and nothing is in another one."""
    used = {piece.file for plan in plans for piece in plan.pieces if isinstance(piece, Part)}
    used |= {index for plan in plans for planned in plan.seams for index in (planned.older, planned.newer)}
    yield from (segment for index, segment in enumerate(segments) if index not in used)


def one_each(seams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One seam for each two segments, in order: the worst, where they meet in several parts."""
    worst: dict[tuple[int, int], dict[str, Any]] = {}
    for seam in sorted(seams, key=lambda seam: _WORST_FIRST.index(seam["kind"])):
        if seam["older"] != seam["newer"]:
            worst.setdefault((seam["older"], seam["newer"]), seam)
    return [worst[pair] for pair in sorted(worst, key=lambda pair: (pair[1], pair[0]))]


def describe_seam(planned: PlannedSeam, segments: list[OpenSegment]) -> dict[str, Any]:
    older, newer = segments[planned.older], segments[planned.newer]
    seam = _estimated(planned, older.received, newer.received)
    return {
        "older": older.number,
        "newer": newer.number,
        "offset": planned.offset,
        "kind": seam.kind.value,
        "method": seam.method,
        "overlapBytes": seam.overlap_bytes,
        "overlapMs": seam.overlap_ms,
        "gapMs": seam.gap_ms,
        "certainty": seam.certainty.value,
        "note": seam.note,
    }


def _estimated(planned: PlannedSeam, older: Span | None, newer: Span | None) -> Seam:
    """A gap of which the media do not tell how long it is, by when the two segments were received."""
    seam = planned.seam
    if seam.kind is not SeamKind.GAP or seam.gap_ms is not None or planned.offset is None or not older or not newer:
        return seam
    ms = float(newer[0] - older[1])
    both = f"some {-ms:.0f} ms may be in both" if ms < 0 else ""
    note = "; ".join(filter(None, (seam.note, "estimated by when they were received", both)))
    return replace(seam, method="wall-clock", gap_ms=max(0.0, ms), note=note)


def counted_ms(plan: Plan, result: FileSource) -> int | None:
    """How long it is for one who removes what is short: nothing if there may be more than was understood."""
    if plan.torn >= ts.PACKET:
        return None
    if plan.container is not FileFormat.TS:
        return fragments.counted_ms(result)
    return None if opaque_pids(result) else timeline.counted_ms(result, plan.places())


def remarks(plan: Plan, final: Path, result: FileSource) -> Iterator[str]:
    """What players will not show of a part, or not as it should be."""
    if plan.container is FileFormat.TS and (nameless := sorted(nameless_pictures(result))):
        pids = ", ".join(map(str, nameless))
        yield f"{final.name} has pictures (PID {pids}) that a transport stream has no name for"
