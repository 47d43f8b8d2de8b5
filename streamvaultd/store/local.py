# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a running daemon: what must survive a crash, in a database that only this process writes.

Every method is one transaction, executed in one thread of the store's own: the loop never waits for a disk, and calls
take effect in the order they were made. A call whose waiter is cancelled takes effect all the same, or not at all.
What the database refuses is raised as StoreUnavailable.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias, TypeVar

from sqlalchemy import select, true

from streamvaultd.base.clock import SystemClock
from streamvaultd.core.model import Recorder, Recording, SeamRecord
from streamvaultd.errors import NoSuchRecording
from streamvaultd.store import hook_rows, outbox
from streamvaultd.store.broadcasts import (
    note_broadcast,
    select_broadcast,
    select_past,
    select_result_before,
    select_titles,
)
from streamvaultd.store.engine import create_file, hold, open_engine, shown, sqlite_url, translated, unavailable
from streamvaultd.store.ledger import (
    end_job,
    insert_event,
    insert_job,
    replace_seams,
    select_events,
    select_jobs,
    select_last_done,
    select_outputs,
    select_seams,
)
from streamvaultd.store.recordings import (
    ROW_ERRORS,
    RUNNING,
    TO_CLEAN,
    RowContext,
    insert_recording,
    select_readable,
    select_recorder,
    update_recording,
)
from streamvaultd.store.records import EventRecord, JobRecord, JobStatus
from streamvaultd.store.rows import Present
from streamvaultd.store.schema import jobs, meta, recordings, streamers
from streamvaultd.store.step_rows import follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import URL, Connection, Engine

    from streamvaultd.base.clock import Clock
    from streamvaultd.core.model import Broadcast, Moment, Policy, Segment, Titled
    from streamvaultd.core.watching.model import Past

LIST_MAX: Final = 1000
"""Recordings, or events of one recording, in one answer unless another limit is asked for."""

ID_DIGITS_MAX: Final = 18
"""Longer numbers do not fit into a column and are nobody's id."""

Result = TypeVar("Result")
Recorders: TypeAlias = list[Recorder]


def read_boot_id() -> str:
    """The identity of the running boot: random(4), /proc/sys/kernel/random/boot_id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Listener(Protocol):
    """Hears what is stored."""

    def on_job(self, job: JobRecord, /) -> None:
        """A job has begun or ended."""


class LocalStore:
    """Recordings, events, jobs and seams; made by open()."""

    def __init__(
        self,
        *,
        engine: Engine,
        held: int | None,
        thread: ThreadPoolExecutor,
        place: RowContext,
        clock: Clock,
        listener: Listener | None,
    ) -> None:
        self.written = asyncio.Event()
        """Set by every change, for the one who feeds a copy of it all."""
        self._listener = listener
        self._engine = engine
        self._held = held
        self._reads = engine.execution_options(reads=True)
        self._thread = thread
        self._place = place
        self._clock = clock

    @classmethod
    async def open(
        cls,
        where: Path | URL,
        *,
        paths: Callable[[Recording, int], str],
        clock: Clock | None = None,
        boot: str | None = None,
        wait: bool = False,
        listener: Listener | None = None,
    ) -> Self:
        """Open the database in a file, or at a URL; a missing file is created, an older schema upgraded.

        A file is locked for this process: import must not change it meanwhile. `paths` names the file of a segment for
        its row, `listener` hears of jobs. Raises StoreUnavailable, StoreTooNew, and StoreInUse unless it is to `wait`
        for an import to end.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            engine, held = await asyncio.get_running_loop().run_in_executor(thread, _open, where, wait)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        place = RowContext(boot=boot or read_boot_id(), paths=paths)
        known = clock or SystemClock()
        return cls(engine=engine, held=held, thread=thread, place=place, clock=known, listener=listener)

    @property
    def url(self) -> str:
        """Where it is, as people write it."""
        return shown(self._engine.url)

    async def close(self) -> None:
        """Close the database after the calls that were made before; no call may follow."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _close, self._engine, self._held)
        self._thread.shutdown(wait=False)

    async def create_recording(
        self,
        *,
        streamer: str,
        url: str,
        quality: str,
        directory: str,
        duration: float | None,
        policy: Policy,
        now: Moment,
        broadcast: Broadcast | None = None,
    ) -> Recorder:
        """A new recording of a streamer, who is created at need, in State.STARTING and without segments.

        Raises AlreadyRecording.
        """
        wanted = Recording(
            id=0,
            stream=0,
            streamer=streamer,
            url=url,
            quality=quality,
            directory=directory,
            created=now,
            duration=duration,
            policy=policy,
        )
        return await self._write(lambda connection: insert_recording(connection, wanted, self._place.boot, broadcast))

    async def note_broadcast(self, recording: int, broadcast: Broadcast, now: Moment) -> None:
        """Title and category of what a recording records have changed."""
        await self._write(lambda connection: note_broadcast(connection, recording, broadcast, now.realtime))

    async def titles(self, recording: int) -> list[Titled]:
        """What a recording's broadcast was called, in order; see select_titles()."""
        return await self._read(lambda connection: select_titles(connection, recording))

    async def past(self) -> dict[str, Past]:
        """What is known of each streamer's earlier broadcasts, by name."""
        return await self._read(lambda connection: select_past(connection, self._clock.now().realtime))

    async def result_before(self, recording: int) -> tuple[int, str] | None:
        """The recording before of the same source, and the last file of its result; see select_result_before()."""
        return await self._read(lambda connection: select_result_before(connection, recording))

    async def outputs(self, recording: int) -> tuple[str | None, tuple[str, ...]]:
        """Where joins of a recording and of the streamer's others put their results; see select_outputs()."""
        return await self._read(lambda connection: select_outputs(connection, recording))

    async def save(self, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        """Write a recorder and those of its segments that changed, and plan its steps; raises NoSuchRecording."""
        await self._write(lambda connection: self._save(connection, recorder, changed))

    async def load_unfinished(self) -> tuple[Recorders, list[tuple[int, str]]]:
        """The recorders with which something still has to happen, newest first.

        These record or are joined, or their joined file is complete and segments' files are to be removed. Besides,
        the numbers of those whose rows cannot be read, and why: nothing else is known of them, and they are not
        changed.
        """
        return await self._read(lambda connection: select_readable(connection, RUNNING | TO_CLEAN, self._present()))

    async def get(self, recording: int) -> Recorder | None:
        """The recorder of this number; raises RecordingUnreadable."""
        return await self._read(
            lambda connection: select_recorder(connection, recordings.c.id == recording, self._present())
        )

    async def find(self, name_or_id: str) -> Recorder:
        """The recorder of this number; or a streamer's running one, or else the latest.

        Raises NoSuchRecording and RecordingUnreadable.
        """
        if name_or_id.isascii() and name_or_id.isdigit() and len(name_or_id) <= ID_DIGITS_MAX:
            numbered = await self.get(int(name_or_id))
            if numbered is not None:
                return numbered
        # a name may consist of digits too
        found = await self._read(lambda connection: self._find_streamer(connection, name_or_id))
        if found is None:
            raise NoSuchRecording(recording=name_or_id)
        return found

    async def list(
        self,
        streamer: str | None = None,
        *,
        all: bool = False,  # noqa: A002
        limit: int = LIST_MAX,
    ) -> Recorders:
        """The newest `limit` recorders, newest first: those of a streamer; or all; or those that are not final.

        Those whose rows cannot be read are left out.
        """
        which = true() if all else RUNNING
        if streamer is not None:
            which = streamers.c.username == streamer
        found, _ = await self._read(
            lambda connection: select_readable(connection, which, self._present(), limit=limit)
        )
        return found

    async def add_event(
        self,
        *,
        at: Moment,
        kind: str,
        priority: int,
        message: str,
        recording: int | None = None,
        segment: int | None = None,
        cause: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Keep what people were told; `fields` must be JSON-representable."""
        values = {
            "at": at.realtime,
            "kind": kind,
            "priority": priority,
            "message": message,
            "recording_id": recording,
            "segment": segment,
            "cause": cause,
            "fields": dict(fields) if fields is not None else None,
        }
        await self._write(lambda connection: insert_event(connection, values))

    async def events(self, recording: int, *, limit: int = LIST_MAX) -> Sequence[EventRecord]:
        """The last events of a recording, oldest first."""
        return await self._read(lambda connection: select_events(connection, recording, limit))

    async def create_job(self, recording: int, kind: str, spec: Mapping[str, object], now: Moment) -> int:
        """A new job, running; its number, from which its unit is named. `spec` must be JSON-representable."""
        return await self._write(lambda connection: insert_job(connection, recording, kind, spec, now.realtime))

    async def job(self, job: int) -> JobRecord | None:
        """The job of this number."""
        found = await self._read(lambda connection: select_jobs(connection, jobs.c.id == job))
        return found[0] if found else None

    async def last_done_job(self, recording: int, kind: str) -> JobRecord | None:
        """The latest job of this kind of a recording that did what it was to do."""
        return await self._read(lambda connection: select_last_done(connection, recording, kind))

    async def unfinished_jobs(self) -> Sequence[JobRecord]:
        """The jobs that run, or did when the daemon last knew, oldest first."""
        running = jobs.c.status == JobStatus.RUNNING.value
        return await self._read(lambda connection: select_jobs(connection, running))

    async def finish_job(self, job: int, *, ok: bool, result: Mapping[str, object], now: Moment) -> None:
        """Write how a job ended. `result` must be JSON-representable. Raises KeyError for no such job."""
        status = JobStatus.DONE if ok else JobStatus.FAILED
        if not await self._write(lambda connection: end_job(connection, job, status, result, now.realtime)):
            raise KeyError(job)

    async def add_seams(self, recording: int, seams: Iterable[SeamRecord]) -> None:
        """Keep the seams that a join found, in place of those of an earlier join of the same recording."""
        await self._write(lambda connection: replace_seams(connection, recording, seams))

    async def seams(self, recording: int) -> Sequence[SeamRecord]:
        """The seams of a recording, in order."""
        return await self._read(lambda connection: select_seams(connection, recording))

    async def broadcast(self, recording: int) -> Broadcast:
        """What the site said about a recording's stream."""
        return await self._read(lambda connection: select_broadcast(connection, recording))

    async def instance(self) -> str:
        """The identity of this store, given when it was made."""
        query = select(meta.c.value).where(meta.c.key == "instance")
        return await self._read(lambda connection: str(connection.execute(query).scalar_one()))

    async def feed_catalogue(self, *, wanted: bool) -> None:
        """Note for a catalogue what changes from now on, or stop doing so; see store/outbox.py."""
        await self._call(self._engine, outbox.attach if wanted else outbox.detach)

    async def outbox_claim(self, catalogue: str) -> None:
        """The catalogue of this identity is fed; if it was another one up to now, everything is noted for this one."""
        await self._call(self._engine, lambda connection: outbox.claim(connection, catalogue))

    async def outbox_backlog(self) -> int:
        """Changes that are not in the catalogue yet."""
        return await self._read(outbox.backlog)

    async def outbox_batch(self, limit: int) -> outbox.Batch | None:
        """The oldest of them, None if there are none."""
        return await self._read(lambda connection: outbox.next_batch(connection, limit))

    async def outbox_forget(self, last: int) -> None:
        """The catalogue has what was noted up to `last`."""
        await self._call(self._engine, lambda connection: outbox.forget(connection, last))

    def _save(self, connection: Connection, recorder: Recorder, changed: tuple[Segment, ...]) -> None:
        update_recording(connection, recorder, changed, self._place)
        follow(connection, recorder)
        hook_rows.follow(connection, recorder)

    def _find_streamer(self, connection: Connection, name: str) -> Recorder | None:
        named = streamers.c.username == name
        running = select_recorder(connection, named & (recordings.c.status == "recording"), self._present())
        return running or select_recorder(connection, named, self._present())

    def _present(self) -> Present:
        return Present(boot=self._place.boot, now=self._clock.now())

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        result = await self._call(self._engine, work)
        self.written.set()
        return result

    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        return await self._call(self._reads, work)

    async def _call(self, engine: Engine, work: Callable[[Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _transact, engine, work)


def _open(where: Path | URL, wait: bool) -> tuple[Engine, int | None]:  # noqa: FBT001 - by position, for the thread
    if not isinstance(where, Path):
        return open_engine(where), None
    create_file(where)
    held = hold(where, wait=wait)
    try:
        return open_engine(sqlite_url(where)), held
    except BaseException:
        os.close(held)
        raise


def _close(engine: Engine, held: int | None) -> None:
    engine.dispose()
    if held is not None:
        os.close(held)


def _transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    try:
        with translated(engine.url), engine.begin() as connection:
            return work(connection)
    except ROW_ERRORS as error:
        # a row that another hand wrote
        raise unavailable(engine.url, str(error)) from error
