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

DEADLINE: Final = 300.0
"""A call that has taken longer (s) hangs: nothing that is done in one goes on for so long on a disk that works."""

OVERDUE_MAX: Final = 64
"""Threads of one lane that hang, at most."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def is_no_room(error: BaseException) -> bool:
    """Whether it says that a disk takes nothing more: full, over quota, or read-only."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


class _Lane:
    """Its places, and how many calls in it are overdue."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(WIDTH)
        self.overdue = 0


class _Turn:
    """One call's place in a lane, which it keeps until it ends or is overdue."""

    def __init__(self, lane: _Lane, deadline: float, on_overdue: Callable[[], None]) -> None:
        self._lane, self._on_overdue, self._is_overdue = lane, on_overdue, False
        self._timer = asyncio.get_running_loop().call_later(deadline, self._give_up)

    def _give_up(self) -> None:
        self._is_overdue = True
        self._lane.overdue += 1
        self._lane.places.release()
        self._on_overdue()

    def end(self) -> None:
        self._timer.cancel()
        if self._is_overdue:
            self._lane.overdue -= 1
        else:
            self._lane.places.release()


class Lanes:
    """Runs blocking calls in threads, at most WIDTH at once in each lane; the others wait for their turn.

    A disk that hangs fills its own lane and no other, and the end of the program does not wait for it. A call that is
    not waited for any more goes on and keeps its place, until its deadline: whoever waits for it has a TimeoutError
    then, its place goes to the next one, and `on_overdue` is told of the lane. Its thread cannot be ended. Where
    OVERDUE_MAX of them hang the next calls fail at once, until one comes back.
    """

    def __init__(self, *, deadline: float = DEADLINE, on_overdue: Callable[[str], None] = lambda _lane: None) -> None:
        self._deadline = deadline
        self._on_overdue = on_overdue
        self._lanes: dict[str, _Lane] = {}

    async def run(self, lane: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread; what it raises is raised here. TimeoutError: it has not ended in time."""
        return await self.call(lane, partial(function, *args, **kwargs))

    async def call(
        self,
        lane: str,
        work: Callable[[], T],
        *,
        deadline: float | None = None,
        late: Callable[[T], object] = lambda _result: None,
    ) -> T:
        """As run(), with a deadline of its own (s); `late` gets what it returns after that."""
        limit, found = deadline or self._deadline, self._lanes.setdefault(lane, _Lane())
        if found.overdue >= OVERDUE_MAX:
            raise _hangs(lane, f"{found.overdue} calls hang")
        try:
            async with asyncio.timeout(limit):
                await found.places.acquire()
        except TimeoutError:
            raise _hangs(lane, f"no call has ended for {limit:g} s") from None
        turn = _Turn(found, limit, partial(self._on_overdue, lane))
        try:
            async with asyncio.timeout(limit):
                return await in_thread(f"disk {lane}", work, ended=turn.end, late=late)
        except TimeoutError:
            raise _hangs(lane, f"it has not answered for {limit:g} s") from None


def _hangs(lane: str, why: str) -> OSError:
    return OSError(errno.ETIMEDOUT, why, lane)
