# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums over everything that was ever recorded, for metrics. Each function is one part of its caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from streamvaultd.core import ranges
from streamvaultd.store.schema import WANTED, recordings, seams, segments
from streamvaultd.store.step_rows import select_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Recordings by status and those marked to be kept, segments by cause of their end, bytes received, seams by kind
    with their gaps (ms), and steps by status.
    """

    recordings: Mapping[str, int]
    kept: int
    causes: Mapping[str, int]
    bytes: int
    seams: Mapping[str, int]
    gap_ms: float
    steps: Mapping[str, int]


def select_figures(connection: Connection) -> Figures:
    """The figures now: six statements, each over one table or one of its indexes."""
    by_status = select(recordings.c.status, func.count()).group_by(recordings.c.status)
    by_cause = select(segments.c.cause, func.count()).where(segments.c.cause.is_not(None)).group_by(segments.c.cause)
    by_kind = select(seams.c.kind, func.count(), func.coalesce(func.sum(seams.c.gap_ms), 0.0)).group_by(seams.c.kind)
    kinds = [(str(kind), int(count), float(gap)) for kind, count, gap in connection.execute(by_kind)]
    return Figures(
        recordings={str(status): int(count) for status, count in connection.execute(by_status)},
        kept=connection.scalar(select(func.count()).select_from(recordings).where(WANTED)) or 0,
        causes={str(cause): int(count) for cause, count in connection.execute(by_cause)},
        bytes=int(ranges.BYTES.nearest(connection.scalar(select(func.total(segments.c.bytes))) or 0.0)),
        seams={kind: count for kind, count, _ in kinds},
        gap_ms=sum(gap for _, _, gap in kinds),
        steps=select_counts(connection),
    )
