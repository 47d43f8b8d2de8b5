# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd says about our scopes on the system bus, org.freedesktop.systemd1(5).

Any user may listen. A scope's Result is true while the scope is loaded: once it is unloaded, systemd answers
"success" for everything it does not know (the default), so LoadState is asked last and decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dbus_fast import Message, MessageType

from streamvaultd.base import systemd1
from streamvaultd.base.systemd1 import BusError
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.names import PREFIX, SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbus_fast.aio import MessageBus

SUCCESS: Final = "success"
INACTIVE: Final = "inactive"
FAILED: Final = "failed"
SHUTDOWN: Final = "shutdown.target"
"""Whatever brings the machine down (poweroff, reboot, halt, kexec, soft-reboot, exit) starts this unit."""

STOPPING: Final = "stopping"
RECONNECT_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_PATH_PREFIX: Final = systemd1.unit_path(PREFIX)
_UNKNOWN_UINT64: Final = (1 << 64) - 1
_RULES: Final = (
    f"interface='{systemd1.PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{systemd1.UNIT_PATH}',arg0='{systemd1.SCOPE}'",
    f"interface='{systemd1.PROPERTIES}',member='PropertiesChanged',"
    f"path_namespace='{systemd1.UNIT_PATH}',arg0='{systemd1.UNIT}'",
    f"interface='{systemd1.MANAGER}',member='UnitRemoved'",
    f"interface='{systemd1.MANAGER}',member='JobNew',arg2='{SHUTDOWN}'",
    f"interface='{systemd1.MANAGER}',member='JobRemoved',arg2='{SHUTDOWN}'",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScope:
    """A scope that systemd has loaded; a failed one stays so until it is reset."""

    unit: str
    active_state: str
    control_group: str
    result: str


class Results:
    """The last known result and state of each scope.

    `on_result(unit, result, active_state)` is called with each change of a scope that has been active. A result
    other than "success" stays until the scope is unloaded: forgetting a failed scope does not make it a success.
    """

    def __init__(self, on_result: Callable[[str, str, str], None]) -> None:
        self._on_result = on_result
        self._known: dict[str, tuple[str, str]] = {}

    def adopt(self, unit: str, result: str, active_state: str) -> None:
        """Take a scope's present state as known, unless a signal has told a later one."""
        self._known.setdefault(unit, (result, active_state))

    def change(self, unit: str, properties: Mapping[str, Any]) -> None:
        """Note changed properties of a unit; those of other kinds of units are ignored."""
        if not unit.endswith(".scope"):
            return
        # A new scope is announced as inactive before it is active: the end of nothing
        result, active_state = before = self._known.get(unit, (SUCCESS, INACTIVE))
        if result == SUCCESS:
            result = properties.get("Result", result)
        active_state = properties.get("ActiveState", active_state)
        if (result, active_state) != before:
            self._known[unit] = result, active_state
            self._on_result(unit, result, active_state)

    def forget(self, unit: str) -> None:
        """The unit is unloaded."""
        self._known.pop(unit, None)


class UnitBus:
    """Listens for the results of our scopes, and for the end of the machine.

    `on_result` is called as `Results` says. `on_reconnect()` is called after the bus was lost and found again:
    what happened meanwhile is lost, and `list_scopes()` tells what is left. `on_shutdown()` is called when systemd
    begins to bring the machine down, or does so already; it says so before it stops the first unit. A shutdown that
    is only planned is none yet. `on_shutdown_cancelled()`: what had begun was called off.

    Of a scope that failed, `on_memory(unit, peak, limit)` tells how much memory it had used at most, and MemoryMax= as
    it was in force (bytes, or None): nobody else can if the kernel has killed its shim, too.
    """

    def __init__(
        self,
        *,
        on_result: Callable[[str, str, str], None],
        on_memory: Callable[[str, int | None, int | None], None],
        on_reconnect: Callable[[], None],
        on_shutdown: Callable[[], None],
        on_shutdown_cancelled: Callable[[], None],
        tasks: Tasks,
    ) -> None:
        self._told = on_result
        self._on_memory = on_memory
        self._tasks = tasks
        self._on_reconnect = on_reconnect
        self._on_shutdown = on_shutdown
        self._on_shutdown_cancelled = on_shutdown_cancelled
        self._results = Results(self._on_result)
        self._bus: MessageBus | None = None
        self._connected = asyncio.Event()
        self._listings: list[set[str]] = []

    def _on_result(self, unit: str, result: str, active_state: str) -> None:
        self._told(unit, result, active_state)
        if result != SUCCESS and active_state == FAILED and self._bus is not None:
            self._tasks.create_task(self._ask_memory(self._bus, unit))

    async def _ask_memory(self, bus: MessageBus, unit: str) -> None:
        """It stays loaded until it is reset, which takes longer than this question; after it both are unknown."""
        try:
            scope = await systemd1.get_properties(bus, unit, systemd1.SCOPE)
        except BusError:
            return  # one witness less
        peak, limit = _known(scope.get("MemoryPeak")), _known(scope.get("MemoryMax"))
        if peak is not None:
            self._on_memory(unit, peak, limit)

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
                    self._results = Results(self._on_result)
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

    async def count_stored(self, service: str) -> int:
        """How many descriptors systemd keeps for a service; otherwise as list_scopes()."""
        await self._connected.wait()
        bus = self._bus
        assert bus is not None  # noqa: S101 - set before the event
        return int(await systemd1.get_property(bus, service, systemd1.SERVICE, "NFileDescriptorStore"))

    async def _list_scopes(self) -> tuple[LiveScope, ...]:
        bus = self._bus
        assert bus is not None  # noqa: S101 - set before the event
        removed: set[str] = set()  # what ends after its answer and before the last one must not be called live
        self._listings.append(removed)
        try:
            [units] = await systemd1.call(bus, "ListUnitsByPatterns", "asas", [[], [SCOPES]])
            scopes = await asyncio.gather(*(_live_scope(bus, unit[0]) for unit in units))
        finally:
            self._listings = [each for each in self._listings if each is not removed]
        live = tuple(scope for scope in scopes if scope is not None and scope.unit not in removed)
        for scope in live:
            self._results.adopt(scope.unit, scope.result, scope.active_state)
        return live

    async def _listen(self, bus: MessageBus, *, is_first: bool) -> None:
        bus.add_message_handler(self._on_message)
        await systemd1.subscribe(bus, *_RULES)
        if await systemd1.get_manager_property(bus, "SystemState") == STOPPING:
            self._on_shutdown()
        self._bus = bus
        self._connected.set()
        if not is_first:
            self._on_reconnect()
        await systemd1.lost(bus)

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "UnitRemoved":
            self._results.forget(message.body[0])
            for removed in self._listings:
                removed.add(message.body[0])
        elif message.member == "JobNew" and message.body[2] == SHUTDOWN:
            self._on_shutdown()
        elif message.member == "JobRemoved" and message.body[2] == SHUTDOWN:
            # It is done only when we have long been stopped: if we see it go, it was cancelled
            self._on_shutdown_cancelled()
        elif message.member == "PropertiesChanged" and (message.path or "").startswith(_PATH_PREFIX):
            changed = {name: variant.value for name, variant in message.body[1].items()}
            self._results.change(systemd1.unit_of(message.path or "") or "", changed)


async def _live_scope(bus: MessageBus, unit: str) -> LiveScope | None:
    scope = await systemd1.get_properties(bus, unit, systemd1.SCOPE)
    state = await systemd1.get_properties(bus, unit, systemd1.UNIT)
    if state["LoadState"] != "loaded":
        return None
    return LiveScope(
        unit=unit,
        active_state=state["ActiveState"],
        control_group=scope["ControlGroup"],
        result=scope["Result"],
    )


def _known(value: int | None) -> int | None:
    """An amount of memory, None where systemd says "infinity": there is no limit, or nothing was measured."""
    return None if value == _UNKNOWN_UINT64 else value
