# SPDX-License-Identifier: GPL-3.0-or-later
"""The few things the broker asks of systemd: start, stop and forget a scope, and wait for the job's result."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from dbus_fast import Message, MessageType, Variant

from streamvaultd.base import systemd1
from streamvaultd.base.networks import EVERYTHING, GUARDED
from streamvaultd.base.systemd1 import BusError
from streamvaultd.brokerd.process import require_alive
from streamvaultd.core.names import DAEMON, JOBS_SLICE
from streamvaultd.errors import JobFailed, NoSuchUnit, SystemdError, UnitExists, VaultError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from dbus_fast.aio import MessageBus

    from streamvaultd.base.networks import Network
    from streamvaultd.brokerd.checks import Bounds

JOB_SECONDS_MAX = 60.0  # a stop takes TimeoutStopUSec=, and a little more to kill and to clean up
STOP_USEC = 10_000_000
FROZEN = "frozen"  # the result of a job that systemd does not do to what somebody has frozen
SIGTERM = 15
NETWORKS = "a(iayu)"

Properties = list[tuple[str, Variant]]


def scope_properties(*, slice_name: str, description: str, bounds: Bounds, mounts_for: str | None) -> Properties:
    """Everything the scope is started with except its process; nothing else can be chosen by a caller."""
    values: list[tuple[str, str, Any]] = [
        ("Description", "s", description),
        ("Documentation", "as", ["man:streamvaultd(8)"]),
        ("Slice", "s", slice_name),
        ("After", "as", [DAEMON, "network.target"]),
        ("MemoryMax", "t", bounds.memory_max),
        ("MemorySwapMax", "t", 0),
        ("OOMPolicy", "s", "stop"),
        ("TasksMax", "t", bounds.tasks_max),
        ("KillMode", "s", "control-group"),
        ("KillSignal", "i", SIGTERM),
        ("SendSIGKILL", "b", True),
        ("TimeoutStopUSec", "t", STOP_USEC),
    ]
    if bounds.runtime_max_usec is not None:
        values.append(("RuntimeMaxUSec", "t", bounds.runtime_max_usec))
    if mounts_for is not None:
        values.append(("RequiresMountsFor", "as", [mounts_for]))
    if slice_name == JOBS_SLICE:
        values += [("CPUWeight", "t", 20), ("IOWeight", "t", 20)]
    if slice_name == JOBS_SLICE and not bounds.has_network:
        values.append(("IPAddressDeny", NETWORKS, _on_bus(EVERYTHING)))
    else:
        values.append(("IPAddressDeny", NETWORKS, _on_bus(GUARDED)))
        values.append(("IPAddressAllow", NETWORKS, _on_bus(bounds.reachable)))
    return [(name, Variant(signature, value)) for name, signature, value in values]


def _on_bus(networks: Iterable[Network]) -> list[list[Any]]:
    """Networks as systemd's manager takes them: family, address, length of the prefix."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return [[int(families[each.version]), each.network_address.packed, each.prefixlen] for each in networks]


class _Watch:
    """Collects the results of a unit's jobs, from before the job is known by name."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._results: dict[str, str] = {}
        self._changed = asyncio.Event()

    def on_result(self, job: str, result: str) -> None:
        self._results[job] = result
        self._changed.set()

    async def result_of(self, job: str) -> str:
        while job not in self._results:
            self._changed.clear()
            await self._changed.wait()
        return self._results[job]


class SystemdManager:
    """systemd's manager over one bus connection; `connect()` makes it."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._watches: set[_Watch] = set()

    @classmethod
    async def connect(cls) -> SystemdManager:
        """BusError when the bus cannot be reached."""
        manager = cls(await systemd1.connect())
        manager._bus.add_message_handler(manager._on_message)
        await systemd1.subscribe(manager._bus, f"interface='{systemd1.MANAGER}',member='JobRemoved'")
        return manager

    async def lost(self) -> None:
        """Return when the bus has closed the connection; nothing works any more then."""
        await systemd1.lost(self._bus)

    async def start(self, unit: str, properties: Properties, *, pidfd: int, pid: int) -> tuple[str, str]:
        """Move the process into a new scope; return the scope's control group and invocation ID."""
        await self._run_job("start", unit, self._start_transient(unit, properties, pidfd, pid))
        require_alive(pidfd, pid)
        try:
            group, invocation = await asyncio.gather(
                systemd1.get_property(self._bus, unit, systemd1.SCOPE, "ControlGroup"),
                systemd1.get_property(self._bus, unit, systemd1.UNIT, "InvocationID"),
            )
        except BusError as error:
            raise _typed("start", unit, error) from error
        return group, bytes(invocation).hex()

    async def mounts(self) -> list[str]:
        """The names of the mount units that are active."""
        try:
            [units] = await systemd1.call(self._bus, "ListUnitsByPatterns", "asas", [["active"], ["*.mount"]])
        except BusError as error:
            raise SystemdError(verb="list", unit="*.mount", error=error.name, why=error.why) from error
        return [unit[0] for unit in units]

    async def stop(self, unit: str) -> None:
        """Stop the scope and wait until nothing of it is left; systemd stops nothing that is frozen."""
        try:
            await self._run_job("stop", unit, self._stop_unit(unit))
        except JobFailed as error:
            if error.fields["result"] != FROZEN:
                raise
            await self._thaw(unit)
            await self._run_job("stop", unit, self._stop_unit(unit))

    async def reset_failed(self, unit: str) -> None:
        """Make systemd forget a failed scope."""
        try:
            await systemd1.call(self._bus, "ResetFailedUnit", "s", [unit])
        except BusError as error:
            raise _typed("reset", unit, error) from error

    async def describe(self, unit: str) -> dict[str, Any]:
        """What a service is, as far as a hook's start depends on it; systemd loads its files at need.

        `Job` is whether one waits or runs.
        """
        try:
            await systemd1.call(self._bus, "LoadUnit", "s", [unit])
            found = await systemd1.get_properties(self._bus, unit, systemd1.UNIT)
            service = await systemd1.get_properties(self._bus, unit, systemd1.SERVICE)
        except BusError as error:
            raise _typed("look at", unit, error) from error
        return found | service | {"Job": bool(found["Job"][0])}

    async def enqueue(self, unit: str) -> str:
        """Start a unit; return its invocation ID, "" while it has none, when systemd has taken the job.

        The job of a oneshot service is done when the service is over.
        """
        try:
            await systemd1.call(self._bus, "StartUnit", "ss", [unit, "fail"])
            invocation = await systemd1.get_property(self._bus, unit, systemd1.UNIT, "InvocationID")
        except BusError as error:
            raise _typed("start", unit, error) from error
        return bytes(invocation).hex()

    def _stop_unit(self, unit: str) -> Coroutine[Any, Any, list[Any]]:
        return systemd1.call(self._bus, "StopUnit", "ss", [unit, "replace"])

    async def _thaw(self, unit: str) -> None:
        try:
            await systemd1.call(self._bus, "ThawUnit", "s", [unit])
        except BusError as error:
            raise _typed("thaw", unit, error) from error

    async def _start_transient(self, unit: str, properties: Properties, pidfd: int, pid: int) -> list[Any]:
        signature = "ssa(sv)a(sa(sv))"
        own = [list(each) for each in properties]
        try:
            by_pidfd = [["PIDFDs", Variant("ah", [0])], *own]
            body = [unit, "fail", by_pidfd, []]
            return await systemd1.call(self._bus, "StartTransientUnit", signature, body, fds=[pidfd])
        except BusError as error:
            # systemd before 255 has no PIDFDs and says so in this way, as to any property it does not know
            if error.name != "org.freedesktop.DBus.Error.PropertyReadOnly":
                raise
        require_alive(pidfd, pid)
        by_pid = [["PIDs", Variant("au", [pid])], *own]
        return await systemd1.call(self._bus, "StartTransientUnit", signature, [unit, "fail", by_pid, []])

    async def _run_job(self, verb: str, unit: str, dispatch: Coroutine[Any, Any, list[Any]]) -> None:
        """Watch, then dispatch: a job may be done before its name is known here."""
        watch = _Watch(unit)
        self._watches.add(watch)
        try:
            async with asyncio.timeout(JOB_SECONDS_MAX):
                [job] = await dispatch
                result = await watch.result_of(job)
        except BusError as error:
            raise _typed(verb, unit, error) from error
        except TimeoutError:
            result = "timeout"
        finally:
            self._watches.remove(watch)
        if result != "done":
            raise JobFailed(verb=verb, unit=unit, result=result)

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL or message.member != "JobRemoved":
            return
        _, job, unit, result = message.body
        for watch in self._watches:
            if watch.unit == unit:
                watch.on_result(job, result)


def _typed(verb: str, unit: str, error: BusError) -> VaultError:
    match error.name:
        case "org.freedesktop.systemd1.UnitExists":
            return UnitExists(unit=unit)
        case "org.freedesktop.systemd1.NoSuchUnit":
            return NoSuchUnit(unit=unit)
        case _:
            return SystemdError(verb=verb, unit=unit, error=error.name, why=error.why)
