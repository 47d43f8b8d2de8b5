# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world shows an audit: scopes and stored descriptors (systemd), processes (proc(5)), folders and files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.names import DAEMON, ChatRun, Job, Run
from streamvaultd.core.upkeep.world import Disk, LoadedUnit, Pipe, Process, ResultState
from streamvaultd.scopes.witnesses.bus import LiveScope, UnitBus
from streamvaultd.upkeep.audit.folders import look_at_folders, look_at_results
from streamvaultd.upkeep.audit.procfs import look_at_processes

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
LANE: Final = "audit"


class FdStore(Protocol):
    """What the daemon has stored with systemd."""

    @property
    def stored(self) -> frozenset[str]: ...


class Survey:
    """Looks at the world; raises BusError and OSError."""

    def __init__(self, bus: UnitBus, lanes: Lanes, fd_store: FdStore) -> None:
        self._bus = bus
        self._lanes = lanes
        self._fd_store = fd_store

    async def units(self) -> tuple[LoadedUnit, ...]:
        """Our scopes that are loaded."""
        return tuple(_unit(scope) for scope in await self._bus.list_scopes())

    async def pipes(self) -> tuple[tuple[Pipe, ...], int]:
        """Exit pipes in the fd store, as the daemon knows them, and how many more descriptors systemd has.

        Which they are it tells root alone. It deals with what it was told before it answers, so its count is that of
        the names unless these change meanwhile; then it says nothing.
        """
        names = self._fd_store.stored
        count = await self._bus.count_stored(DAEMON)
        pipes = tuple(_pipe(name) for name in sorted(names) if Run.of_file(name) is None)
        return pipes, count - len(names) if names == self._fd_store.stored else 0

    async def processes(self) -> tuple[Process, ...]:
        """The processes of our user."""
        return await self._lanes.run(LANE, look_at_processes)

    async def disk(self, directories: Iterable[str]) -> Disk:
        """What is below the recording directories."""
        return await self._lanes.run(LANE, look_at_folders, tuple(directories))

    async def results(self, paths: Iterable[str]) -> dict[str, ResultState]:
        """Whether joined files are there."""
        return await self._lanes.run(LANE, look_at_results, tuple(paths))


def _unit(scope: LiveScope) -> LoadedUnit:
    return LoadedUnit(
        name=scope.unit,
        state=scope.active_state,
        run=Run.of(scope.unit),
        job=Job.of(scope.unit),
        chat=ChatRun.of(scope.unit),
        is_unlimited=_is_unlimited(scope.control_group),
    )


def _is_unlimited(control_group: str) -> bool:
    try:
        text = (CGROUP_ROOT / control_group.lstrip("/") / "memory.max").read_text(encoding="ascii")
    except OSError:
        return False
    return bool(control_group) and text.strip() == "max"


def _pipe(name: str) -> Pipe:
    return Pipe(name=name, run=Run.of_pipe(name), job=Job.of_pipe(name), chat=ChatRun.of_pipe(name))
