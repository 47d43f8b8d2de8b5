# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for steps: how they are, and what begins and ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamvaultd.core.after.machine import StepRow
from streamvaultd.store import step_rows
from streamvaultd.store.chatted import ChattedStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamvaultd.core.after.machine import Done, Failed


class SteppedStore(ChattedStore):
    """A store that knows what is made of recordings after their joins; made by open(). Its listener hears of jobs."""

    async def steps(self, recording: int) -> Sequence[StepRow]:
        """The steps of a recording."""
        return await self._read(lambda connection: step_rows.select_steps(connection, recording))

    async def unfinished_steps(self) -> Sequence[StepRow]:
        """All steps with which something still has to happen."""
        return await self._read(step_rows.select_unfinished)

    async def steps_made(self, recording: int) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """What each step of a recording made."""
        return await self._read(lambda connection: step_rows.select_made(connection, recording))

    async def begin_step(self, row: StepRow, spec: Mapping[str, object], at: int) -> int | None:
        """A job for a step that is due; None if it is not any more. Both rows are written in one transaction."""
        job = await self._write(lambda connection: step_rows.begin(connection, row, spec, at))
        if job is not None:
            await self._tell_job(job)
        return job

    async def skip_steps(self, recording: int, at: int) -> None:
        """A recording has no media any more: its steps are over."""
        await self._write(lambda connection: step_rows.skip(connection, recording, at))

    async def end_step(self, row: StepRow, event: Done | Failed, result: Mapping[str, object]) -> StepRow | None:
        """A step's job is over; the step's row, if this changed it.

        The job's row, the step's, and those of the steps that are due now are written in one transaction.
        """
        after = await self._write(lambda connection: step_rows.end(connection, row, event, result))
        await self._tell_job(event.job)
        return after

    async def _tell_job(self, job: int) -> None:
        """The listener hears of a job that has begun or ended."""
        found = await self.job(job)
        if found is not None and self._listener is not None:
            self._listener.on_job(found)
