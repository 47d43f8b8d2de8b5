# SPDX-License-Identifier: GPL-3.0-or-later
"""When a source that gives nothing is asked whether it is back. Pure."""

from __future__ import annotations

import re
from typing import Final

from streamvaultd.core.model import Instant

PROBE_MIN: Final = 0.5
PROBE_FIRST: Final = 1.0
PROBE_SOON: Final = 4.0
PROBE_MAX: Final = 15.0
"""Seconds between two questions at most: in the first minute of a silence of which nobody can tell what it is, in the
first minutes, and later.

When the source is back its window reaches back for what was sent meanwhile, and shrinks by this until it is noticed.
"""
PROBE_HASTE: Final = 60.0
PROBE_PATIENCE: Final = 150.0
"""How long (s) a silence is asked about each second, and how long often: two usual windows, and five."""

PROBE_REST: Final = 2.0
"""A question that took long is followed by a rest this many times as long: the machine is slow, or the site."""

PROBE_LAST: Final = 2.0
"""The source is asked once more so long (s) before it is given up."""

_TOO_OFTEN: Final = re.compile(r"\b429 Client Error|Too Many Requests", re.IGNORECASE)


def next_probe(
    at: Instant, *, since: Instant, until: Instant, took: float = 0.0, longest: float = PROBE_SOON
) -> Instant:
    """When to ask a silent source again: after as long again as it has been silent, and shortly before the end.

    `took` is how long (s) the last answer took; in the first minutes it is asked after `longest` seconds at most.
    """
    longest = longest if at - since < PROBE_PATIENCE else PROBE_MAX
    wait = min(max(at - since, PROBE_MIN), longest)
    again = at + max(wait, min(took * PROBE_REST, PROBE_MAX))
    return max(min(again, until - PROBE_LAST), at + PROBE_MIN)


def trouble_pause(at: Instant, *, since: Instant) -> float:
    """At most so long (s) after an answer that told nothing a source that is silent since then is asked.

    It may be back in any second, with a window that holds what was sent meanwhile.
    """
    return PROBE_FIRST if at - since < PROBE_HASTE else PROBE_SOON


def is_too_often(detail: str) -> bool:
    """Whether a site answers that it is asked too often."""
    return _TOO_OFTEN.search(detail) is not None
