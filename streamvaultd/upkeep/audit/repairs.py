# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs of what an audit has found. Each looks again before it acts, and may be done again.

What a recorder can do about it goes through the recorder: it is told of a death, or asked to go on, as ever. Nothing
is called over that was not joined, and nothing is removed that has media and no proven copy (P8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.layout import segments_folder
from streamvaultd.config.inputs import is_name
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.listing import RECOVERED, JobRow
from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.names import ChatRun, Job, Run
from streamvaultd.core.recording.events import JoinEnded, JoinOverdue, Restarted, SegmentExited
from streamvaultd.core.recording.reconcile import Facts, takeover
from streamvaultd.core.upkeep.recovery import coherent, recovered, reopened
from streamvaultd.core.upkeep.row_rules import unknown_media
from streamvaultd.core.upkeep.violations import Kind, Violation
from streamvaultd.core.upkeep.world import SegmentFile, World
from streamvaultd.errors import VaultError
from streamvaultd.jobs.joins import Joins
from streamvaultd.recording.manager import Manager
from streamvaultd.reporting.entry import NOTICE
from streamvaultd.reporting.notices import AUDIT_UNPROVEN, Journal
from streamvaultd.scopes.runs import Runs
from streamvaultd.upkeep.audit.media import Media

_RUNS: Final = frozenset({Phase.WAITING, Phase.WRITING})


class NotRepaired(Exception):
    """Why something stays as it is."""


class RepairStore(Protocol):
    """The store, as far as it is repaired; raises StoreUnavailable."""

    async def get(self, recording: int) -> Recorder | None: ...
    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None: ...
    async def claim_stream(self, streamer: str, url: str, stream: int, now: Moment) -> int: ...
    async def insert_recovered(self, recorder: Recorder) -> Recorder: ...
    async def forget_result(self, recording: int, path: str, now: Moment) -> bool: ...
    async def unfinished_jobs(self) -> Sequence[JobRow]: ...
    async def finish_job(self, job: int, *, ok: bool, result: dict[str, object], now: Moment) -> None: ...
    async def add_event(self, *, at: Moment, kind: str, priority: int, message: str, recording: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOutcome:
    """What was done about a violation, or would be done; or why nothing was, and what people can do."""

    violation: Violation
    is_done: bool
    text: str


class Repairs:
    """Does what can be done about violations."""

    def __init__(
        self,
        *,
        manager: Manager,
        store: RepairStore,
        media: Media,
        runs: Runs,
        joins: Joins,
        clock: Clock,
        journal: Journal,
        settings: LiveSettings,
    ) -> None:
        self._manager = manager
        self._store = store
        self._media = media
        self._runs = runs
        self._joins = joins
        self._clock = clock
        self._journal = journal
        self._settings = settings
        self._verifying: dict[int, Recorder] = {}
        self._ways: dict[Kind, Callable[[Violation, World], Awaitable[str]]] = {
            Kind.RUN_LOST: self._tell_of_death,
            Kind.RUN_UNWATCHED: self._tell_of_death,
            Kind.SCOPE_UNKNOWN: self._stop_scope,
            Kind.JOB_UNKNOWN: self._stop_scope,
            Kind.JOB_LOST: self._find_job,
            Kind.UNIT_FAILED: self._reset_unit,
            Kind.PIPE_LEFT: self._remove_pipe,
            Kind.ROW_MISSING: self._save,
            Kind.ROW_BEHIND: self._save,
            Kind.ROW_UNOWNED: self._take_over,
            Kind.STATUS_WRONG: self._reopen,
            Kind.FILE_EMPTY: self._remove_empty,
            Kind.MEDIA_UNKNOWN: self._recover,
            Kind.SEGMENTS_LEFT: self._verify,
            Kind.RESULT_GONE: self._forget_result,
            Kind.FOLDER_LEFT: self._remove_folder,
        }

    def planned(self, violation: Violation) -> RepairOutcome:
        """What repair() would do."""
        if violation.repair:
            return RepairOutcome(violation=violation, is_done=True, text=f"would be repaired: {violation.repair}")
        return RepairOutcome(violation=violation, is_done=False, text=violation.advice)

    async def repair(self, violation: Violation, world: World) -> RepairOutcome:
        """Do what can be done; `world` is what was looked at last."""
        way = self._ways.get(violation.kind)
        if way is None or not violation.repair:
            return RepairOutcome(violation=violation, is_done=False, text=violation.advice)
        try:
            done = await way(violation, world)
        except (VaultError, NotRepaired) as error:
            return RepairOutcome(violation=violation, is_done=False, text=str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return RepairOutcome(violation=violation, is_done=False, text=f"{where}{error.strerror or error}")
        return RepairOutcome(violation=violation, is_done=True, text=done)

    # --- runs ------------------------------------------------------------------------------------------------------

    async def _tell_of_death(self, violation: Violation, world: World) -> str:
        recording, attempt = violation.recording or 0, violation.segment or 0
        recorder = self._manager.recorders.get(recording)
        segment = recorder.segment(attempt) if recorder else None
        if segment is None or segment.phase not in _RUNS:
            return "it has moved on by itself"
        exited = SegmentExited(at=self._clock.now(), attempt=attempt, evidence=Evidence())
        after = await self._manager.submit(recording, exited)
        return f"its death was told to the recorder, which is {after.state.value if after else 'over'} now"

    async def _stop_scope(self, violation: Violation, world: World) -> str:
        unit = violation.unit or ""
        owner = Run.of(unit) or ChatRun.of(unit) or Job.of(unit)
        if owner is None:
            raise NotRepaired(f"'{unit}' is not a scope of ours")
        await self._runs.forget(unit, owner.pipe)
        return "it was stopped"

    async def _reset_unit(self, violation: Violation, world: World) -> str:
        await self._runs.reset(violation.unit or "")
        return "systemd has forgotten it"

    async def _remove_pipe(self, violation: Violation, world: World) -> str:
        self._runs.drop_pipe(violation.subject)
        return "it was removed from the fd store"

    async def _find_job(self, violation: Violation, world: World) -> str:
        row = next((job for job in await self._store.unfinished_jobs() if job.id == violation.job), None)
        if row is None:
            return "it has ended by now"
        recorder = self._manager.recorders.get(row.recording)
        is_awaited = recorder is not None and recorder.state is State.FINALIZING
        if recorder is not None and is_awaited and row.spec.get("join") == recorder.joins:
            await self._manager.submit(row.recording, JoinOverdue(at=self._clock.now()))
            return "the join was asked for again"
        why = {"why": "nobody waits for it any more"}
        await self._store.finish_job(row.id, ok=False, result=dict(why), now=self._clock.now())
        return "its row was ended: nobody waits for it any more"

    # --- rows ------------------------------------------------------------------------------------------------------

    async def _save(self, violation: Violation, world: World) -> str:
        recorder = self._manager.recorders.get(violation.recording or 0)
        if recorder is None:
            return "it is over by now"
        await self._store.save(recorder, recorder.segments)
        return "its rows were written again"

    async def _take_over(self, violation: Violation, world: World) -> str:
        recorder = coherent(await self._stored(violation), self._clock.now())
        await self._store.save(recorder, recorder.segments)
        await self._own(recorder, Facts(live=frozenset(), sizes=await self._media.sizes(recorder)))
        present = self._manager.recorders.get(recorder.recording.id)
        return f"the daemon has taken it over, it is {present.state.value if present else 'over'} now"

    async def _reopen(self, violation: Violation, world: World) -> str:
        recorder = await self._stored(violation)
        if recorder.state.is_final and all(segment.phase.is_over for segment in recorder.segments):
            await self._store.save(recorder, ())
            return f"its status is '{recorder.state.status}' again, as its state is"
        sizes = await self._media.sizes(recorder)
        for segment in recorder.segments:
            if size := sizes[recorder.run(segment.number)]:
                await self._require_free(self._media.path(recorder, segment.number), size)
        numbered = {run.number: size for run, size in sizes.items()}
        after = reopened(recorder, numbered, self._clock.now())
        await self._store.save(after, after.segments)
        if not after.state.is_final:
            await self._own(after, Facts(live=frozenset()))
        return f"it is {after.state.value} now"

    async def _stored(self, violation: Violation) -> Recorder:
        recorder = await self._store.get(violation.recording or 0)
        if recorder is None or recorder.recording.id in self._manager.recorders:
            raise NotRepaired("it has changed meanwhile, check again")
        return recorder

    async def _own(self, recorder: Recorder, facts: Facts) -> None:
        """Take a recorder from its rows, as at the daemon's start."""
        self._manager.take(recorder)
        for event in takeover(recorder, facts, self._clock.now()):
            await self._manager.submit(recorder.recording.id, event)

    # --- files -----------------------------------------------------------------------------------------------------

    async def _remove_empty(self, violation: Violation, world: World) -> str:
        if not await self._media.remove_empty(Path(violation.path or "")):
            raise NotRepaired("somebody writes to it, or it is gone by now")
        return "it was removed"

    async def _remove_folder(self, violation: Violation, world: World) -> str:
        if not await self._media.remove_folder(Path(violation.path or "")):
            raise NotRepaired("it is gone by now, or is not empty any more")
        return "it was removed"

    async def _require_free(self, path: Path, size: int) -> None:
        if not await self._media.is_free(path, size):
            raise NotRepaired(f"somebody writes to {path}: find out who ('fuser {path}'), and clean up again then")

    async def _recover(self, violation: Violation, world: World) -> str:
        """Claim a stream, give the folder its name, insert the recording: each step leaves what the next audit finds.

        The stream's number is in the folder's name; if another one has it, the files move below a new one.
        """
        files = unknown_media(world).get(violation.path or "", [])
        if not files:
            raise NotRepaired("it has changed meanwhile, check again")
        _, streamer, wanted = files[0].folder
        if not is_name(streamer):
            raise NotRepaired(f"'{streamer}' is no streamer's name: rename the folder, and clean up again")
        folder = Path(violation.path or "")
        if not await self._media.is_ours(folder):
            raise NotRepaired(
                f"the daemon may not write there: 'chown -R _streamvault: {folder.parent}', and clean up again"
            )
        for file in files:
            await self._require_free(Path(file.path), file.size)
        url = folder.as_uri()
        stream = await self._store.claim_stream(streamer, url, wanted, self._clock.now())
        made = recovered(files, stream=stream, url=url, policy=self._settings.now.policy, at=self._clock.now())
        if stream != wanted:
            await self._media.move([Path(file.path) for file in files], self._media.path(made, 1).parent)
        return await self._insert(made, files, is_moved=stream != wanted)

    async def _insert(self, made: Recorder, files: Sequence[SegmentFile], *, is_moved: bool) -> str:
        recorder = await self._store.insert_recovered(made)
        recording = recorder.recording.id
        where = f", in {segments_folder(recorder.recording.stream)} now" if is_moved else ""
        text = f"recording {recording} was recovered from {len(files)} segment files{where}, and is being joined"
        await self._store.add_event(
            at=self._clock.now(), kind=RECOVERED, priority=NOTICE, message=text, recording=recording
        )
        await self._own(recorder, Facts(live=frozenset()))
        return text

    async def _forget_result(self, violation: Violation, world: World) -> str:
        path = violation.path or ""
        if await self._media.exists(Path(path)):
            return "it is there again"
        recording = violation.recording or 0
        if not await self._store.forget_result(recording, path, self._clock.now()):
            raise NotRepaired("it has changed meanwhile, check again")
        fresh = await self._store.get(recording)
        if fresh is not None and recording not in self._manager.recorders and self._manager.known(recording):
            self._manager.take(fresh)  # it was settled lately: what comes next would write the path again
        return "its row says now that the file is gone"

    # --- joined, and segments left ---------------------------------------------------------------------------------

    async def _verify(self, violation: Violation, world: World) -> str:
        recording = violation.recording or 0
        recorder = self._manager.recorders.get(recording) or await self._store.get(recording)
        if recorder is None or recorder.path is None:
            raise NotRepaired("it has changed meanwhile, check again")
        sizes = await self._media.sizes(recorder)
        missing = [run.number for run, size in sizes.items() if size == 0 and _had_media(recorder, run.number)]
        if missing:
            numbers = ", ".join(f"{number:03d}" for number in missing)
            raise NotRepaired(
                f"its segments {numbers} are gone, so the others cannot be compared with {recorder.path}: "
                "play that, then remove the segments by hand"
            )
        self._verifying[recording] = recorder
        await self._joins.verify(recorder)
        return "a join job compares the joined file with them, or makes it anew; they are removed if it succeeds"

    def on_join_ended(self, recording: int, event: JoinEnded) -> None:
        """A join has ended; if it was begun here and agrees with the row, its segments are removed by the recorder."""
        recorder = self._verifying.pop(recording, None)
        if recorder is None:
            return
        if event.why is not None or event.path != recorder.path or recorder.result_bytes not in (None, event.size):
            why = event.why or f"they make {event.path} with {event.size} bytes"
            self._journal.tell(AUDIT_UNPROVEN, recorder, recording=recording, path=recorder.path, why=why)
            return
        if recording not in self._manager.recorders:
            self._manager.take(recorder)
        self._manager.post(recording, Restarted(at=self._clock.now()))


def _had_media(recorder: Recorder, number: int) -> bool:
    segment = recorder.segment(number)
    return segment is not None and segment.size > 0
