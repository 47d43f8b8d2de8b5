# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that may block for long, in threads that end with the program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(
    name: str,
    work: Callable[[], T],
    *,
    ended: Callable[[], None] = lambda: None,
    late: Callable[[T], object] = lambda _result: None,
) -> T:
    """`work()` in a thread of its own; what it raises is raised here.

    The end of the program does not wait for it, as it would for the threads of asyncio.to_thread(). Whoever waits may
    be cancelled; the work goes on. `ended` is called when it is over, whether anybody still waits or not, and `late`
    with what it has returned if nobody does.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def succeed(result: T) -> None:
        if outcome.done():
            late(result)
        else:
            outcome.set_result(result)

    def fail(error: BaseException) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    def conclude(settle: Callable[[], None]) -> None:
        ended()
        settle()

    def run() -> None:
        try:
            settle = partial(succeed, work())
        except BaseException as error:  # whoever waits for it is the one to deal with it
            settle = partial(fail, error)
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(conclude, settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome
