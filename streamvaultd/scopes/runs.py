# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs: launching something gated into a scope, watching it, taking it over from an earlier daemon, stopping it.

I2: nothing runs outside its scope. The gate opens only after systemd's job has moved the shim; a refused scope leaves
no process behind. A crash in between closes the gate, and the shim ends without having started anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from streamvaultd.base.clock import Clock
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, ScopeLimits
from streamvaultd.errors import NoSuchUnit
from streamvaultd.scopes.hold import hold, let_go
from streamvaultd.scopes.ports import Command, FdStore, Found, Launcher, Scopes, Watcher
from streamvaultd.scopes.witnesses.cgroups import scope_memory
from streamvaultd.scopes.witnesses.pidfd import last_words, parse_exit_record

OnExit = Callable[[Evidence, Moment], None]
"""Called with what the exit record says, or else how the shim itself ended if that is known; and when it ended."""

RESULT_WAIT: Final = 2.0
"""How long (s) an end without an exit record waits for systemd's word on the scope; nobody else knows of OOM kills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The scope something runs in, and the name of its exit pipe in the fd store."""

    unit: str
    pipe: str
    description: str
    limits: ScopeLimits
    mounts_for: Path


class Runs:
    """Everything that this daemon has running in scopes, by unit name."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        scopes: Scopes,
        watcher: Watcher,
        fd_store: FdStore,
        clock: Clock,
    ) -> None:
        self._launcher = launcher
        self._scopes = scopes
        self._watcher = watcher
        self._fd_store = fd_store
        self._clock = clock
        self._found = Found()
        self._groups: dict[str, str] = {}
        self._launching: set[str] = set()
        self._stopping: set[str] = set()
        self._told: set[str] = set()
        self._untold: dict[str, Callable[[], None]] = {}

    def inherit(self, found: Found) -> None:
        """What may be adopted."""
        self._found = found

    def is_busy(self, unit: str) -> bool:
        """Whether the unit is being launched, its process is watched, or its end is not told yet."""
        return unit in self._launching or unit in self._untold or self._watcher.pidfd(unit) is not None

    def is_stopping(self, unit: str) -> bool:
        """Whether somebody waits for the end of its stop."""
        return unit in self._stopping

    async def launch(self, command: Command, place: Place, on_exit: OnExit) -> None:
        """Run a command in its scope; raises VaultError or OSError, and then nothing of it runs."""
        self._launching.add(place.unit)
        try:
            await self._launch(command, place, on_exit)
        finally:
            self._launching.discard(place.unit)

    async def _launch(self, command: Command, place: Place, on_exit: OnExit) -> None:
        spawned = await asyncio.to_thread(self._launcher.spawn, command)
        started = False
        try:
            self._fd_store.store_fd(place.pipe, spawned.exit_fd)
            scope = await self._scopes.start(
                place.unit, spawned.pidfd, place.description, place.limits, place.mounts_for
            )
            self._groups[place.unit] = scope.control_group
            started = True
        finally:
            if not started:
                self._fd_store.remove_fd(place.pipe)
                spawned.abandon()
                self._launcher.tidy(place.unit)
        self._watch(place.unit, spawned.pidfd, spawned.exit_fd, on_exit)
        try:
            spawned.open_gate()
        except BrokenPipeError:
            return  # the shim was killed meanwhile: its pidfd tells

    def adopt(self, unit: str, on_exit: OnExit) -> bool:
        """Watch what an earlier daemon launched; False if its supervising process is gone."""
        group = self._found.groups.get(unit)
        process = self._watcher.adopt(group) if group is not None else None
        if group is None or process is None:
            return False
        self._groups[unit] = group
        self._watch(unit, process[1], self._found.pipes.get(unit), on_exit)
        return True

    def last_words(self, unit: str) -> Evidence:
        """The exit record of a run that ended after its scope was found and before it could be adopted.

        Its pipe is closed, so it is to be asked for once.
        """
        pipe = self._found.pipes.get(unit)
        if pipe is None:
            return Evidence()
        try:
            return last_words(pipe)
        finally:
            os.close(pipe)

    def memory(self, unit: str) -> tuple[int | None, int | None]:
        """Bytes that the processes of a run hold, and its limit; None is what is not known. See scope_memory()."""
        group = self._groups.get(unit)
        return (None, None) if group is None else scope_memory(group)

    def hold(self, unit: str, *, is_held: bool) -> None:
        """Let the processes of a run rest, or go on; see scopes/hold.py."""
        group = self._groups.get(unit)
        if group is not None:
            (hold if is_held else let_go)(group)

    async def stop(self, unit: str) -> bool:
        """Stop a scope; False if there is none. Raises VaultError when that cannot be told."""
        self._stopping.add(unit)
        try:
            await self._scopes.stop(unit)
        except NoSuchUnit:
            return False
        finally:
            self._stopping.discard(unit)
        return True

    async def forget(self, unit: str, pipe: str) -> None:
        """Make sure that nothing is left of a run that is over: processes, failed unit, stored pipe, scratch."""
        self._groups.pop(unit, None)
        self._told.discard(unit)
        self.drop_pipe(pipe)
        if await self.stop(unit):
            await self.reset(unit)
        await asyncio.to_thread(self._launcher.tidy, unit)

    def drop_pipe(self, pipe: str) -> None:
        """Have an exit pipe removed from the fd store."""
        self._fd_store.remove_fd(pipe)

    async def reset(self, unit: str) -> None:
        """Let systemd forget a failed scope; that it is not there is as good."""
        try:
            await self._scopes.reset_failed(unit)
        except NoSuchUnit:
            return

    def on_result(self, unit: str) -> None:
        """systemd has said how the run in a scope ended: an end without a record waits no longer."""
        if unit in self._untold:
            self._tell(unit)
        elif unit in self._groups:
            self._told.add(unit)

    def _watch(self, unit: str, pidfd: int, exit_fd: int | None, on_exit: OnExit) -> None:
        def on_gone(_unit: str, record: bytes | None, status: int | None) -> None:
            told = parse_exit_record(record)
            if told == Evidence():  # none, or one that is torn
                told = Evidence(shim_status=status)
            self._untold[unit] = partial(on_exit, told, self._clock.now())
            if record is not None or unit in self._told:
                self._tell(unit)
            else:
                asyncio.get_running_loop().call_later(RESULT_WAIT, self._tell, unit)

        self._watcher.watch(unit, pidfd, exit_fd, on_gone)

    def _tell(self, unit: str) -> None:
        if unit in self._untold:
            self._untold.pop(unit)()
