# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the box: asks the broker for what stdin says, and tells on stdout what came of it.

stdin is a JSON list of steps, stdout a JSON list of their results, in the same order:

{"start": NAME, "pid": PID, "limits": {…}}   pid: a number, or "child" (a new sleeper), "stubborn" (one that ignores
                                             SIGTERM), "zombie"; result: {"unit", "control_group", "invocation_id",
                                             "pid"}
{"stop": NAME}, {"reset": NAME}              result: {}
{"list": true}                               result: [[unit, active state, result], …]
{"watch": true}                              result: what UnitBus has told up to now: [[unit, result, active state], …]

A step that fails has {"error": class, "text": message} as its result.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamvaultd.core.model import ScopeLimits
from streamvaultd.errors import VaultError
from streamvaultd.scopes.broker import Scopes
from streamvaultd.scopes.witnesses.bus import UnitBus

BROKER = Path("/run/streamvault-brokerd/io.streamvault.Broker")
SLEEPER = "import sys, time; print(flush=True); time.sleep(600)"
CHILDREN: list[subprocess.Popen[bytes]] = []  # one that is dropped is reaped: no zombie any more
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER


def spawn(kind: str) -> int:
    """Start a process and return its PID when it has come as far as `kind` says."""
    code = {"child": SLEEPER, "stubborn": STUBBORN, "zombie": ""}[kind]
    # It outlives this agent: it must not hold on to the agent's stderr, whose end the test waits for
    child = subprocess.Popen(
        [sys.executable, "-ISc", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    CHILDREN.append(child)
    if kind == "zombie":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child.pid


async def start(scopes: Scopes, step: dict[str, Any]) -> dict[str, Any]:
    pid = step["pid"] if isinstance(step["pid"], int) else spawn(step["pid"])
    pidfd = os.pidfd_open(pid)
    try:
        limits = ScopeLimits(**step.get("limits", {}))
        started = await scopes.start(
            step["start"], pidfd, "a test's segment", limits, Path(step.get("mounts_for", "/var/lib"))
        )
    finally:
        os.close(pidfd)
    return {**asdict(started), "pid": pid}


async def perform(scopes: Scopes, bus: UnitBus, told: list[Any], step: dict[str, Any]) -> Any:
    match step:
        case {"start": _}:
            return await start(scopes, step)
        case {"stop": str(name)}:
            await scopes.stop(name)
        case {"reset": str(name)}:
            await scopes.reset_failed(name)
        case {"list": True}:
            return [[each.unit, each.active_state, each.result] for each in await bus.list_scopes()]
        case {"watch": True}:
            await bus.list_scopes()  # an answer over the same connection comes after all signals before it
            return list(told)
        case _:
            raise ValueError(step)
    return {}


class Begun(list[asyncio.Task[None]]):
    """Tasks, kept."""

    def create_task(self, work: Coroutine[Any, Any, None], /) -> None:
        self.append(asyncio.create_task(work))


async def main() -> None:
    scopes = Scopes(BROKER)
    told: list[Any] = []
    bus = UnitBus(
        on_result=lambda *result: told.append(result),
        on_memory=lambda *_: None,
        tasks=Begun(),
        on_reconnect=lambda: None,
        on_shutdown=lambda: None,
        on_shutdown_cancelled=lambda: None,
    )
    listening = asyncio.create_task(bus.run())
    await bus.list_scopes()
    results = []
    for step in json.load(sys.stdin):
        try:
            results.append(await perform(scopes, bus, told, step))
        except VaultError as error:
            results.append({"error": type(error).__name__, "text": str(error)})
    print(json.dumps(results))
    listening.cancel()
    scopes.close()


if __name__ == "__main__":
    asyncio.run(main())
