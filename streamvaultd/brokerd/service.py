# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Broker: every call is checked, then done; what is not done is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from streamvaultd.base.membership import is_in_scope
from streamvaultd.brokerd import checks, installed, process
from streamvaultd.brokerd.installed import Facts
from streamvaultd.brokerd.notices import REFUSED, tell
from streamvaultd.brokerd.systemd_manager import Properties, scope_properties
from streamvaultd.errors import BROKER, NoSuchUnit, UnitExists, VaultError
from streamvaultd.varlink.server import Call, ServedInterface, read_definition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from streamvaultd.varlink.wire import Parameters


Inspect = Callable[[int, int], int]  # pidfd and service uid to PID


class Systemd(Protocol):
    """What the broker needs of systemd; `manager.Manager` is it."""

    async def start(self, unit: str, properties: Properties, *, pidfd: int, pid: int) -> tuple[str, str]: ...
    async def mounts(self) -> list[str]: ...
    async def stop(self, unit: str) -> None: ...
    async def reset_failed(self, unit: str) -> None: ...
    async def describe(self, unit: str) -> Mapping[str, Any]: ...
    async def enqueue(self, unit: str) -> str: ...


def interface(
    systemd: Systemd, service_uid: int, inspect: Inspect = process.inspect, facts: Facts | None = None
) -> ServedInterface:
    """The broker's interface, for callers of one uid only."""
    broker = _Broker(systemd, service_uid, inspect, facts or Facts())
    methods = {
        "StartScope": broker.start_scope,
        "StopScope": broker.stop_scope,
        "ResetFailed": broker.reset_failed,
        "StartHook": broker.start_hook,
        "ForgetHook": broker.forget_hook,
    }
    handlers = {name: partial(broker.answer, method) for name, method in methods.items()}
    return ServedInterface(read_definition(BROKER), handlers)


class _Broker:
    def __init__(self, systemd: Systemd, service_uid: int, inspect: Inspect, facts: Facts) -> None:
        self._systemd = systemd
        self._service_uid = service_uid
        self._inspect = inspect
        self._facts = facts
        self._hooks = asyncio.Lock()  # between the look at a unit and its start there is no other start

    async def answer(self, method: Callable[[Call], Awaitable[Parameters]], call: Call) -> Parameters:
        try:
            checks.check_peer(call.peer.uid, self._service_uid, is_in_scope=is_in_scope(call.peer.pid))
            return await method(call)
        except VaultError as error:
            if not isinstance(error, NoSuchUnit):  # a scope that has ended by itself meanwhile surprises nobody
                tell(REFUSED, f"{error} (asked by pid {call.peer.pid}, uid {call.peer.uid})")
            raise

    async def start_scope(self, call: Call) -> Parameters:
        parameters = call.parameters
        name = parameters["name"]
        properties = scope_properties(
            slice_name=checks.slice_of(name),
            description=checks.check_description(parameters["description"]),
            bounds=checks.check_limits(parameters["limits"]),
            mounts_for=await self._mount_of(checks.check_path(parameters.get("requiresMountsFor"))),
        )
        pidfd = checks.check_fds(parameters["pidFileDescriptor"], call.fds)
        pid = self._inspect(pidfd, self._service_uid)
        group, invocation = await self._systemd.start(name, properties, pidfd=pidfd, pid=pid)
        return {"controlGroup": group, "invocationId": invocation}

    async def _mount_of(self, path: str | None) -> str | None:
        """What the scope requires of a path: the mount that it is on now."""
        return None if path is None else checks.mount_above(path, await self._systemd.mounts())

    async def stop_scope(self, call: Call) -> Parameters:
        name = call.parameters["name"]
        checks.slice_of(name)
        await self._systemd.stop(name)
        return {}

    async def reset_failed(self, call: Call) -> Parameters:
        name = call.parameters["name"]
        checks.slice_of(name)
        await self._systemd.reset_failed(name)
        return {}

    async def start_hook(self, call: Call) -> Parameters:
        unit = installed.check_call(call.parameters["hook"], call.parameters["call"])
        data = installed.check_facts(call.parameters["facts"])
        async with self._hooks:
            found = await self._systemd.describe(unit.unit)
            installed.check_installed(unit, found)
            if found["ActiveState"] != installed.INACTIVE or found["Job"]:
                raise UnitExists(unit=unit.unit)
            self._facts.write(unit, data)
            return {"invocationId": await self._systemd.enqueue(unit.unit)}

    async def forget_hook(self, call: Call) -> Parameters:
        """Only of a unit that is over: nothing of the administrator's is ended at the caller's wish."""
        unit = installed.check_call(call.parameters["hook"], call.parameters["call"])
        async with self._hooks:
            found = await self._systemd.describe(unit.unit)
            if found["ActiveState"] == "failed":
                await self._systemd.reset_failed(unit.unit)
            elif found["ActiveState"] == "active" and found["SubState"] == "exited":
                await self._systemd.stop(unit.unit)
            elif found["ActiveState"] != installed.INACTIVE or found["Job"]:
                raise UnitExists(unit=unit.unit)
            self._facts.remove(unit)
        return {}
