# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of what a segment has and the result could not be shown to have: what is in them, and how they are named."""

from __future__ import annotations

import hashlib
import os
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from streamvaultd.jobs.join import output
from streamvaultd.media import fmp4
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.plan import Plan
from streamvaultd.media.splice import Part, merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamvaultd.jobs.join.describe import OpenSegment
    from streamvaultd.media.left_out import LeftOut

NAMES_MAX: Final = 1000


def by_file(lost: Sequence[LeftOut]) -> Iterator[tuple[int, list[LeftOut]]]:
    """What is to be kept of each segment."""
    return ((index, list(each)) for index, each in groupby(lost, key=attrgetter("file")))


def plan_kept(index: int, segment: OpenSegment, lost: Sequence[LeftOut]) -> Plan:
    """Those ranges of a segment, behind its initialisation where it has one."""
    kind = sniff(segment.source)
    header = fmp4.header_end(segment.source) if kind is FileFormat.FMP4 else 0
    ranges = [Part(index, 0, header), *(Part(index, max(one.start, header), one.end) for one in lost)]
    return Plan(kind, merged(ranges), (), 0)


def suffixes(segment: OpenSegment) -> Iterator[str]:
    """What may stand behind the result's name: the first one that is free, or is this very file."""
    yield f".kept{segment.number}"
    yield from (f".kept{segment.number}-{count}" for count in range(2, NAMES_MAX))


def describe_kept(final: Path, segment: OpenSegment, size: int) -> dict[str, Any]:
    """For the report; nothing says how long the media in it are."""
    with output.opened(final, os.O_RDONLY) as fd, os.fdopen(os.dup(fd), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = {"path": str(final), "bytes": size, "durationMs": None, "packets": None}
    return found | {"isKept": True, "segment": segment.number, "sha256": digest}
