# SPDX-License-Identifier: GPL-3.0-or-later
"""Which qualities a recording asks for: those that are wanted, and what comes nearest where none is offered. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = re.compile(r"(\d{3,4})p(\d{2,3})?(?:_\w{1,10}|\+)?", re.ASCII)
SYNONYMS = frozenset({"best", "worst", "best-unfiltered", "worst-unfiltered"})
DEFAULT_FPS = 30
NEAR_MAX = 6
LIST_MAX = 256
"""Characters of the list that streamlink may be given."""


def size_of(name: str) -> tuple[int, int] | None:
    """(height, frames per second) of a quality's name, None if it has none."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or DEFAULT_FPS)) if match else None


def is_sized(wanted: str) -> bool:
    """Whether all that is wanted are sizes, none of which a source need offer: `with_fallback` has more."""
    names = set(wanted.split(","))
    return not names & SYNONYMS and any(size_of(name) for name in names)


def with_fallback(wanted: str, offered: Sequence[str]) -> str:
    """The list for streamlink, which takes the first that is offered: `wanted`, then the nearest below the last
    wanted one, then the nearest above it. Names without a size (best, audio_only) have none that are near.
    """
    names = wanted.split(",")
    sized = [(size_of(name), name) for name in dict.fromkeys(offered) if name not in names and name not in SYNONYMS]
    near = sorted((size, name) for size, name in sized if size is not None)
    goals = [size for name in names if (size := size_of(name)) is not None]
    if not is_sized(wanted):
        return wanted
    goal = min(goals)
    below = [name for size, name in reversed(near) if size <= goal]
    above = [name for size, name in near if size > goal]
    found = wanted
    for name in (*below[:NEAR_MAX], *above[:NEAR_MAX], "best"):
        if len(found) + 1 + len(name) <= LIST_MAX:
            found += f",{name}"
    return found
