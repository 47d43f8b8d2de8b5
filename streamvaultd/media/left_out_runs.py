# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a range of a transport stream the result has at other times, as muxers give them where a clock was set back.

A single unit at another time is not where it belongs. Many in a row are, if the same ones follow each other in the
result, and if one of them at least is at one place of either only: neither a still picture nor silence tells a place.
And only where a clock stands still, in the range or in the result: where clocks go on, what is on air twice has to be
there twice.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final

from streamvaultd.media import ts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamvaultd.media.sought import Item

RUN_MIN: Final = 8
"""Units in a row that are at another time, at least."""

STILL: Final = ts.TICKS_PER_MS
"""Units of one stream that are so near (ticks) to each other, and RUN_MIN of them, are not where they belong."""

ITEMS_MAX: Final = 300_000
"""Of the result that are held in memory, some 100 bytes each."""


class MovedRuns:
    """Looks slice after slice: a run that goes on in the next one counts there, too."""

    def __init__(self) -> None:
        self._before: dict[int | str, list[bytes]] = {}
        self._has_stood = False

    def without(self, items: Sequence[Item], missing: Sequence[Item], places: Iterable[Iterable[Item]]) -> list[Item]:
        """Those in no run; `items` are all of the slice in order, `places` has those of parts of the result."""
        before, self._before = self._before, {}
        moved, wanted, ours = set[int](), {id(item) for item in missing}, _by_stream(items)
        self._has_stood = self._has_stood or _stands(ours)
        for there in places:
            theirs = _by_stream(islice(there, ITEMS_MAX))
            if not (self._has_stood or _stands(theirs)):
                continue
            for whose, mine in ours.items():
                moved |= self._moved(whose, mine, wanted, before.get(whose, []), theirs.get(whose, []))
            if moved >= wanted:
                break
        return [item for item in missing if id(item) not in moved]

    def _moved(
        self, whose: int | str, mine: Sequence[Item], wanted: set[int], carried: list[bytes], theirs: Sequence[Item]
    ) -> set[int]:
        """The ids of those of one stream that are in runs."""
        digests = carried + [item.key[1] for item in mine]
        is_missing = [True] * len(carried) + [id(item) in wanted for item in mine]
        held = _held(digests, is_missing, [item.key[1] for item in theirs])
        # the last one may be torn
        if ends := [at for at in range(max(0, len(digests) - 2), len(digests)) if at in held]:
            last = range(max(0, ends[-1] + 1 - RUN_MIN), ends[-1] + 1)
            self._before[whose] = [digests[at] for at in last]
        return {id(item) for at, item in enumerate(mine, len(carried)) if at in held}


def _by_stream(items: Iterable[Item]) -> dict[int | str, list[Item]]:
    found: dict[int | str, list[Item]] = {}
    for item in items:
        found.setdefault(item.key[0], []).append(item)
    return found


def _stands(streams: Mapping[int | str, Sequence[Item]]) -> bool:
    """Whether units of one stream follow each other in no time."""
    for items in streams.values():
        still = 0
        for before, after in pairwise(item.ticks for item in items if item.ticks is not None):
            still = still + 1 if 0 <= ts.difference(after, before) < STILL else 0
            if still >= RUN_MIN:
                return True
    return False


def _held(mine: Sequence[bytes], is_missing: Sequence[bool], theirs: Sequence[bytes]) -> set[int]:
    """The places in mine that belong to a run of what is missing."""
    places = _once(theirs)
    held, done = set[int](), -1
    for digest, at in _once(mine).items():
        if at <= done or digest not in places:
            continue
        start, there = at, places[digest]
        while start and there and mine[start - 1] == theirs[there - 1]:
            start, there = start - 1, there - 1
        end, there = at, places[digest]
        while end < len(mine) and there < len(theirs) and mine[end] == theirs[there]:
            end, there = end + 1, there + 1
        done = end - 1
        if sum(is_missing[start:end]) >= RUN_MIN:
            held.update(range(start, end))
    return held


def _once(digests: Sequence[bytes]) -> dict[bytes, int]:
    """The place of each that is there once, in order."""
    counts = Counter(digests)
    return {digest: at for at, digest in enumerate(digests) if counts[digest] == 1}
