# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that reads clocks."""

from __future__ import annotations

import time
from typing import Protocol

from streamvaultd.core.model import Moment


class Clock(Protocol):
    """Tells the present moment on both clocks."""

    def now(self) -> Moment: ...


class SystemClock:
    """CLOCK_MONOTONIC, which asyncio's loop.time() is too, and UTC."""

    def now(self) -> Moment:
        return Moment(monotonic=time.monotonic(), realtime=time.time_ns() // 1000)
