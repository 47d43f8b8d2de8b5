# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says of the units of hooks, org.freedesktop.systemd1(5). Any user may ask and listen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamvaultd.base import systemd1

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

    from streamvaultd.core.names import HookUnit

INACTIVE: Final = "inactive"
SUCCESS: Final = "success"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookState:
    """Of a unit that does nothing any more: systemd does not know it (any more), or how it ended.

    `result` and `status` are those of systemd.service(5), Result= and the exit status of the main process.
    """

    is_known: bool
    invocation: str = ""
    result: str = SUCCESS
    status: int = 0

    @property
    def why(self) -> str | None:
        """What it failed of, None if it did not."""
        if self.result == SUCCESS:
            return None
        return f"{self.result}, status {self.status}" if self.status else self.result


class HookUnits:
    """Watches units to their ends."""

    async def ended(self, unit: HookUnit) -> HookState:
        """Wait until the unit does nothing any more; raises BusError, and then nothing is known."""
        bus = await systemd1.connect()
        try:
            return await _ended(bus, unit.unit)
        finally:
            bus.disconnect()


async def _ended(bus: MessageBus, unit: str) -> HookState:
    changed = asyncio.Event()
    path = systemd1.unit_path(unit)

    def on_message(message: Message) -> None:
        if message.path == path or message.member == "UnitRemoved":
            changed.set()

    bus.add_message_handler(on_message)
    await systemd1.subscribe(
        bus,
        f"interface='{systemd1.PROPERTIES}',member='PropertiesChanged',path='{path}'",
        f"interface='{systemd1.MANAGER}',member='UnitRemoved',arg0='{unit}'",
    )
    lost = asyncio.create_task(systemd1.lost(bus))
    lost.add_done_callback(lambda _task: changed.set())
    try:
        while True:
            changed.clear()
            state = await _look(bus, unit)
            if state is not None:
                return state
            await changed.wait()
    finally:
        lost.cancel()


async def _look(bus: MessageBus, unit: str) -> HookState | None:
    """None while it runs, or is about to."""
    found = await systemd1.get_properties(bus, unit, systemd1.UNIT)
    service = await systemd1.get_properties(bus, unit, systemd1.SERVICE)
    state = found["ActiveState"]
    if found["Job"][0] or not (state in (INACTIVE, "failed") or found["SubState"] == "exited"):
        return None
    return HookState(
        is_known=state != INACTIVE,
        invocation=bytes(found["InvocationID"]).hex(),
        result=service["Result"],
        status=service["ExecMainStatus"],
    )
