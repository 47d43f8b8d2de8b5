# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that goes on by itself."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol


class Tasks(Protocol):
    """Where a part begins such work; asyncio.TaskGroup is one. What a task raises ends the daemon."""

    def create_task(self, work: Coroutine[Any, Any, None], /) -> object: ...
