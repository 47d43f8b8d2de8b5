# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of our scopes there are at the start: systemd says so, or the kernel where systemd does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from streamvaultd.base.systemd1 import BusError
from streamvaultd.scopes.witnesses.bus import SUCCESS, LiveScope, UnitBus
from streamvaultd.scopes.witnesses.cgroups import CGROUP_ROOT, populated_scopes


async def loaded_scopes(
    bus: UnitBus, *, limit: float, on_missing: Callable[[str], None], root: Path = CGROUP_ROOT
) -> tuple[LiveScope, ...]:
    """All scopes that systemd has loaded; those that live, if it has not told within `limit` seconds.

    What is lost by that is how scopes ended that are dead: the other witnesses of it remain. `on_missing(why)`.
    """
    try:
        async with asyncio.timeout(limit):
            return await bus.list_scopes()
    except (TimeoutError, BusError) as error:
        on_missing(str(error) or f"no answer within {limit:g} s")
    return tuple(
        LiveScope(unit=unit, active_state="active", control_group=group, result=SUCCESS)
        for unit, group in populated_scopes(root).items()
    )
