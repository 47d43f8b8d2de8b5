# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening on a descriptor, again whenever that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

RETRY_SECONDS: Final = 30.0


async def readable(fd: int) -> None:
    """Return when there is something to read, which there may be already."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _tell, told)
    try:
        await told
    finally:
        loop.remove_reader(fd)


async def persist(listen: Callable[[], Awaitable[NoReturn]], on_trouble: Callable[[str], None]) -> NoReturn:
    """Listen until cancelled, again RETRY_SECONDS after each OSError; `on_trouble(why)` is called for the first."""
    is_told = False
    while True:
        try:
            await listen()
        except OSError as error:
            if not is_told:
                on_trouble(str(error))
            is_told = True
        await asyncio.sleep(RETRY_SECONDS)


def _tell(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)
