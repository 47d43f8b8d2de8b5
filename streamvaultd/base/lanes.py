# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that a disk may keep waiting, and what their errors mean."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

from streamvaultd.base.threads import in_thread

P = ParamSpec("P")
T = TypeVar("T")

WIDTH: Final = 8
"""Calls at once in one lane."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def is_no_room(error: BaseException) -> bool:
    """Whether it says that a disk takes nothing more: full, over quota, or read-only."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


class Lanes:
    """Runs blocking calls in threads, at most WIDTH at once in each lane; the others wait for their turn.

    A disk that hangs fills its own lane and no other, and the end of the program does not wait for it. A call that is
    not waited for any more goes on and keeps its place.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, asyncio.Semaphore] = {}

    async def run(self, lane: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread; what it raises is raised here."""
        places = self._lanes.setdefault(lane, asyncio.Semaphore(WIDTH))
        await places.acquire()
        return await in_thread(f"disk {lane}", partial(function, *args, **kwargs), ended=places.release)
