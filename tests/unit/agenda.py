# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated time: it jumps from one thing that happens to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from streamvaultd.core.model import Moment
from tests.unit.rows import BOOTED, EPOCH

ANYBODY = -1
"""The epoch of what happens whatever becomes of the daemon."""


class Agenda:
    """Both clocks, and what is planned to happen."""

    def __init__(self) -> None:
        self.monotonic = BOOTED
        self._realtime_base = EPOCH - int(BOOTED * 1e6)
        self._agenda: list[tuple[float, int, int, Callable[[], None]]] = []
        self._count = 0
        self._epoch = 0

    @property
    def now(self) -> Moment:
        return Moment(self.monotonic, self._realtime_base + round(self.monotonic * 1e6))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Something of the world happens later, whatever becomes of the daemon."""
        self._plan(seconds, ANYBODY, action)

    def _plan(self, seconds: float, epoch: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.monotonic + seconds, self._count, epoch, action))

    @property
    def planned(self) -> float | None:
        """When the next thing that is planned happens."""
        return self._agenda[0][0] if self._agenda else None

    def _do_planned(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.monotonic:
            _, _, epoch, action = heapq.heappop(self._agenda)
            if epoch in (ANYBODY, self._epoch):
                action()

    def _boot(self, seconds: float) -> None:
        """The machine is off for so long: nothing that was planned happens, and CLOCK_MONOTONIC begins again."""
        passed = self.now.realtime + round(seconds * 1e6)
        self._agenda.clear()
        self.monotonic = 20.0
        self._realtime_base = passed - round(self.monotonic * 1e6)
