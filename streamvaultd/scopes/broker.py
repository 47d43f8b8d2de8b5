# SPDX-License-Identifier: GPL-3.0-or-later
"""Scopes for the daemon: the broker, called over its socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamvaultd.core.model import ScopeLimits
from streamvaultd.errors import BROKER, ConnectionLost, DaemonNotRunning, ScopeFailed
from streamvaultd.varlink.aclient import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamvaultd.core.names import HookUnit
    from streamvaultd.varlink.wire import Parameters

START_SECONDS_MAX: Final = 75.0  # the broker gives systemd's jobs 60 s
STOP_SECONDS_MAX: Final = 75.0
RESET_SECONDS_MAX: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedScope:
    """A scope that systemd has started: its control group below /sys/fs/cgroup, and its invocation ID in hex."""

    unit: str
    control_group: str
    invocation_id: str


class Scopes:
    """Starts and stops scopes; every method may run any number of times at once.

    Errors: the broker's own (UnitExists, NoSuchUnit, JobFailed, ProcessRefused, …), and ScopeFailed when it cannot
    be reached or its answer is lost; whether the scope was started or stopped is unknown then.
    """

    def __init__(self, broker: Path) -> None:
        """`broker` is the broker's socket."""
        self._client = AsyncClient(broker)

    async def start(
        self, name: str, pidfd: int, description: str, limits: ScopeLimits, mounts_for: Path | None
    ) -> StartedScope:
        """Move the process into a new scope; return when systemd has done it. `pidfd` stays the caller's."""
        parameters: Parameters = {
            "name": name,
            "pidFileDescriptor": 0,
            "description": description,
            "limits": _limits_on_wire(limits),
        }
        if mounts_for is not None:
            parameters["requiresMountsFor"] = str(mounts_for)
        reply = await self._call("StartScope", parameters, START_SECONDS_MAX, [pidfd])
        return StartedScope(unit=name, control_group=reply["controlGroup"], invocation_id=reply["invocationId"])

    async def stop(self, name: str) -> None:
        """Stop the scope and return when none of its processes is left; NoSuchUnit when it was gone already."""
        await self._call("StopScope", {"name": name}, STOP_SECONDS_MAX)

    async def reset_failed(self, name: str) -> None:
        """Make systemd forget a failed scope, and with it its Result=."""
        await self._call("ResetFailed", {"name": name}, RESET_SECONDS_MAX)

    async def start_hook(self, unit: HookUnit, facts: str) -> str:
        """Start the unit of a hook's call; its invocation ID, "" if systemd has it only queued. UnitExists."""
        parameters: Parameters = {"hook": unit.hook, "call": unit.call, "facts": facts}
        return str((await self._call("StartHook", parameters, RESET_SECONDS_MAX, unit=unit.unit))["invocationId"])

    async def forget_hook(self, unit: HookUnit) -> None:
        """Forget the unit of a call that is over, and its facts."""
        parameters: Parameters = {"hook": unit.hook, "call": unit.call}
        await self._call("ForgetHook", parameters, STOP_SECONDS_MAX, unit=unit.unit)

    def close(self) -> None:
        """Close what is kept open between calls."""
        self._client.close()

    async def _call(
        self, method: str, parameters: Parameters, seconds: float, fds: Sequence[int] = (), unit: str | None = None
    ) -> Parameters:
        try:
            return await self._client.call(f"{BROKER}.{method}", parameters, fds=fds, timeout=seconds)
        except (DaemonNotRunning, ConnectionLost) as error:
            why = f"the broker at {error.fields['address']} does not answer: {error.fields['why']}"
            raise ScopeFailed(unit=unit or parameters["name"], why=why) from error


def _limits_on_wire(limits: ScopeLimits) -> Parameters:
    named: Parameters = {
        "memoryMax": limits.memory_max,
        "tasksMax": limits.tasks_max,
        "runtimeMaxUSec": limits.runtime_max_usec,
    }
    if limits.has_network:
        named["hasNetwork"] = True
    if limits.reachable:
        named["reachable"] = list(limits.reachable)
    return {name: value for name, value in named.items() if value is not None}
