# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for the calls of hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.store import hook_rows
from streamvaultd.store.stepped import SteppedStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamvaultd.core.after.hook_calls import Event, HookCall
    from streamvaultd.core.model import Recorder


class HookedStore(SteppedStore):
    """A store that knows what is called when something happens to a recording; made by open()."""

    @property
    def boot(self) -> str:
        """The identity of the boot that it was opened in."""
        return self._place.boot

    async def hook_calls(self, recording: int) -> Sequence[HookCall]:
        """The calls of a recording, oldest first."""
        return await self._read(lambda connection: hook_rows.select_calls(connection, recording))

    async def open_hook_calls(self) -> Sequence[HookCall]:
        """All calls with which something still has to happen and may, oldest first."""
        return await self._read(hook_rows.select_open)

    async def plan_prune_calls(self, recorder: Recorder, at: int) -> Sequence[HookCall]:
        """The calls that come before the removal of a recording's media; new ones unless some are under way."""
        return await self._write(lambda connection: hook_rows.plan_prune(connection, recorder, at))

    async def advance_hook_call(self, call: int, event: Event, at: int) -> HookCall | None:
        """Something has happened to a call: its row, and an event if it is over, in one transaction."""
        return await self._write(lambda connection: hook_rows.advance(connection, call, event, at))
