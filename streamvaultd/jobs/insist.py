# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done though a broker, a store or a disk is away for now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from streamvaultd.errors import VaultError


async def insist(
    work: Callable[[], Awaitable[None]], tell: Callable[[VaultError | OSError], None], *, every: float
) -> None:
    """Do it again, so many seconds after each VaultError and OSError, until it is done; `tell` hears of the first."""
    is_told = False
    while True:
        try:
            return await work()
        except (VaultError, OSError) as error:
            if not is_told:
                tell(error)
            is_told = True
        await asyncio.sleep(every)
