# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says about our scopes on the system bus, org.freedesktop.systemd1(5).

Any user may listen. A scope's Result is true while the scope is loaded: once it is unloaded, systemd answers
"success" for everything it does not know (the default), so LoadState is asked last and decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dbus_fast import Message, MessageType

from streamvaultd import systemd1
from streamvaultd.systemd1 import BusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbus_fast import Variant
    from dbus_fast.aio import MessageBus

UNITS: Final = "streamvault-*.scope"
SUCCESS: Final = "success"
INACTIVE: Final = "inactive"
RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_PATH_PREFIX: Final = systemd1.unit_path("streamvault-")
_UNKNOWN_UINT64: Final = (1 << 64) - 1
_RULES: Final = (
    f"interface='{systemd1.PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{systemd1.UNIT_PATH}',arg0='{systemd1.SCOPE}'",
    f"interface='{systemd1.PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{systemd1.UNIT_PATH}',arg0='{systemd1.UNIT}'",
    f"interface='{systemd1.MANAGER}',member='UnitRemoved'",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScope:
    """A scope that systemd has loaded; a failed one stays so until it is reset. `memory_peak` is in bytes."""

    unit: str
    active_state: str
    sub_state: str
    control_group: str
    result: str
    memory_peak: int | None


class UnitBus:
    """Listens for the results of our scopes.

    `on_result(unit, result, active_state)` is called with each change of a scope that has been active. A result
    other than "success" stays until the scope is unloaded: forgetting a failed scope does not make it a success.

    `on_reconnect()` is called after the bus was lost and found again: what happened meanwhile is lost, and
    `list_scopes()` tells what is left.
    """

    def __init__(self, *, on_result: Callable[[str, str, str], None], on_reconnect: Callable[[], None]) -> None:
        self._on_result = on_result
        self._on_reconnect = on_reconnect
        self._known: dict[str, tuple[str, str]] = {}
        self._bus: MessageBus | None = None
        self._connected = asyncio.Event()
        self._listings: list[set[str]] = []

    async def run(self) -> None:
        """Listen until cancelled, connecting again as often as it takes."""
        attempt = 0
        while True:
            try:
                bus = await systemd1.connect()
                try:
                    await self._listen(bus, is_first=self._bus is None)
                    attempt = 0
                finally:
                    self._connected.clear()
                    self._known.clear()
                    bus.disconnect()
            except BusError:
                attempt += 1
            await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])

    async def list_scopes(self) -> tuple[LiveScope, ...]:
        """Return our scopes that are loaded; waits for the bus. BusError when systemd does not answer."""
        while True:
            await self._connected.wait()
            try:
                return await self._list_scopes()
            except BusError as error:
                if error.name != systemd1.DISCONNECTED:
                    raise
                self._connected.clear()

    async def _list_scopes(self) -> tuple[LiveScope, ...]:
        bus = self._bus
        assert bus is not None  # noqa: S101 - set before the event
        removed: set[str] = set()  # what ends after its answer and before the last one must not be called live
        self._listings.append(removed)
        try:
            [units] = await systemd1.call(bus, "ListUnitsByPatterns", "asas", [[], [UNITS]])
            scopes = await asyncio.gather(*(_live_scope(bus, unit[0]) for unit in units))
        finally:
            self._listings.remove(removed)
        live = tuple(scope for scope in scopes if scope is not None and scope.unit not in removed)
        for scope in live:
            self._known.setdefault(scope.unit, (scope.result, scope.active_state))
        return live

    async def _listen(self, bus: MessageBus, *, is_first: bool) -> None:
        bus.add_message_handler(self._on_message)
        await systemd1.subscribe(bus, *_RULES)
        self._bus = bus
        self._connected.set()
        if not is_first:
            self._on_reconnect()
        await systemd1.lost(bus)

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "UnitRemoved":
            self._known.pop(message.body[0], None)
            for removed in self._listings:
                removed.add(message.body[0])
        elif message.member == "PropertiesChanged" and (message.path or "").startswith(_PATH_PREFIX):
            self._on_changed(systemd1.unit_of(message.path or "") or "", message.body[1])

    def _on_changed(self, unit: str, changed: dict[str, Variant]) -> None:
        if not unit.endswith(".scope"):
            return
        result, active_state = before = self._known.get(unit, (SUCCESS, INACTIVE))
        if "Result" in changed and result == SUCCESS:
            result = changed["Result"].value
        if "ActiveState" in changed:
            active_state = changed["ActiveState"].value
        if (result, active_state) != before:
            self._known[unit] = result, active_state
            self._on_result(unit, result, active_state)


async def _live_scope(bus: MessageBus, unit: str) -> LiveScope | None:
    scope = await systemd1.get_properties(bus, unit, systemd1.SCOPE)
    state = await systemd1.get_properties(bus, unit, systemd1.UNIT)
    if state["LoadState"] != "loaded":
        return None
    peak = scope.get("MemoryPeak", _UNKNOWN_UINT64)
    return LiveScope(
        unit=unit,
        active_state=state["ActiveState"],
        sub_state=state["SubState"],
        control_group=scope["ControlGroup"],
        result=scope["Result"],
        memory_peak=None if peak == _UNKNOWN_UINT64 else peak,
    )
