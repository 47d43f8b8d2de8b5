# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that a disk may keep waiting, and what their errors mean."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

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

    A disk that hangs fills its own lane and no other, and the end of the program does not wait for it, as it would
    for the threads of asyncio.to_thread(). A call that is not waited for any more goes on and keeps its place.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, asyncio.Semaphore] = {}

    async def run(self, lane: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread; what it raises is raised here."""
        places = self._lanes.setdefault(lane, asyncio.Semaphore(WIDTH))
        await places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = function(*args, **kwargs)
            except BaseException as caught:  # whoever waits for it is the one to deal with it
                error = caught
            with suppress(RuntimeError):  # the loop is closed, nobody waits any more
                loop.call_soon_threadsafe(_conclude, places, future, result, error)

        threading.Thread(target=work, name=f"disk {lane}", daemon=True).start()
        return await future


def _conclude(places: asyncio.Semaphore, future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    places.release()
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
