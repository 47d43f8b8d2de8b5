# SPDX-License-Identifier: GPL-3.0-or-later
"""What jobs this daemon has under way, of whatever kind."""

from __future__ import annotations

from typing import Protocol


class Kind(Protocol):
    """Who begins and ends jobs of a kind."""

    def is_at(self, job: int) -> bool:
        """Whether a job is being started, or its end is being dealt with."""


class AtWork:
    """All kinds together."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = kinds

    def is_at(self, job: int) -> bool:
        """Whether any of them is at a job."""
        return any(kind.is_at(job) for kind in self._kinds)
