# SPDX-License-Identifier: GPL-3.0-or-later
"""A house in which real programs of steps run, confined by a real shim; the scopes alone are played."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from streamvaultd.base.growth import MediaWatch
from streamvaultd.base.lanes import Lanes
from streamvaultd.core.after.machine import StepStatus
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.errors import NoSuchUnit
from streamvaultd.jobs.after.step_runs import INTERPRETER, Destination, StepRuns
from streamvaultd.jobs.after.stepper import Steps
from streamvaultd.jobs.progress import JoinProgress, Unheard
from streamvaultd.scopes.launcher import Launcher, own_roots
from streamvaultd.scopes.runs import Runs
from streamvaultd.scopes.scratch import Scratch
from streamvaultd.scopes.witnesses.pidfd import ProcessWatch
from streamvaultd.store.stepped import SteppedStore
from tests.component.store_world import NOW, SetClock, start
from tests.fakes.parts import Begun, Noted

LIMIT = 120.0


class PlayedScopes:
    """Scopes of systemd and its fd store, as far as a job needs them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.limits: list[Any] = []

    async def start(self, name: str, _pidfd: int, _about: str, limits: Any, _mounts: Path | None) -> SimpleNamespace:
        self.started.append(name)
        self.limits.append(limits)
        return SimpleNamespace(control_group="/nowhere")

    async def stop(self, name: str) -> None:
        raise NoSuchUnit(unit=name)

    async def reset_failed(self, name: str) -> None:
        raise NoSuchUnit(unit=name)

    def store_fd(self, name: str, fd: int) -> None: ...
    def remove_fd(self, name: str) -> None: ...


class House:
    """A folder with a recording's result, its store, and daemons."""

    def __init__(self, store: SteppedStore, root: Path) -> None:
        self.store, self.root = store, root
        self.scopes, self.journal, self.clock = PlayedScopes(), Noted(), SetClock(NOW)
        self.folder = root / "recordings" / "demo"
        self.folder.mkdir(parents=True)
        (root / "state").mkdir()
        self.tasks: list[Begun] = []
        self.policy: dict[str, Any] = {"thumbnail": True}
        self.destination = Destination(remotes=())

    async def of(self, _recorder: Recorder) -> Destination:
        """As the settings have it."""
        return self.destination

    def begin(self, argv: tuple[str, ...] = INTERPRETER) -> Steps:
        """A daemon."""
        loop, tasks = asyncio.get_running_loop(), Begun()
        scratch = self.root / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        launcher = Launcher(environment=environment, scratch=Scratch(scratch), read=own_roots(), journal="/dev/null")
        played = cast("Any", self.scopes)
        runs = Runs(launcher=launcher, scopes=played, watcher=ProcessWatch(loop), fd_store=played, clock=self.clock)
        jobs = self.root / "state" / "jobs"
        progress = JoinProgress(folder=jobs, watcher=MediaWatch(loop), listener=Unheard())
        step_runs = StepRuns(runs=runs, progress=progress, reports=jobs, lanes=Lanes(), destinations=self, argv=argv)
        nobody = cast("Any", SimpleNamespace(is_at=lambda _recording: False))
        steps = Steps(
            store=self.store, runs=step_runs, pruning=nobody, journal=self.journal, clock=self.clock, tasks=tasks
        )
        tasks.create_task(steps.run())
        self.tasks.append(tasks)
        return steps

    async def joined(self, name: str = "show.ts") -> Recorder:
        """A recording of which the result is there."""
        made = await start(self.store)
        policy = replace(made.recording.policy, **self.policy)
        recording = replace(made.recording, policy=policy, directory=str(self.folder.parent))
        path = self.folder / name
        done = replace(
            made, recording=recording, state=State.COMPLETED, path=str(path), ended=NOW,
            segments=(Segment(number=1, phase=Phase.ENDED, since=NOW, ended=NOW, media_at=NOW, size=7),),
        )  # fmt: skip
        await self.store.save(done, done.segments)
        return done

    async def until(self, status: StepStatus) -> None:
        """Wait until the one step has this status."""

        async def has_it() -> bool:
            return [row.status for row in await self.store.steps(1)] == [status]

        await self.see(has_it)

    async def see(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so: a look after each thing that is written, and now and then."""
        async with asyncio.timeout(LIMIT):
            while not await is_so():
                self.store.written.clear()
                try:
                    async with asyncio.timeout(0.1):
                        await self.store.written.wait()
                except TimeoutError:
                    continue

    async def end(self) -> None:
        """Of all daemons."""
        for tasks in self.tasks:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
