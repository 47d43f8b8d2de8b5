# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated machine: a source, a network, a disk, systemd's scopes, the processes in them, and what they leave.

What is here outlives a daemon; what the daemon may hear of it is handed to `tell()` and `tell_exit()`, which the world
overrides. Scopes come up a moment after they were asked for, processes write while their scope is up, an end leaves a
record in `pipes`, a result in `failed` until the unit is forgotten, and entries in `journal`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.loglines import Line
from tests.unit.agenda import Agenda
from tests.unit.broadcast import (
    CHUNK_BYTES,
    CHUNK_SECONDS,
    INTERRUPTED,
    NO_SPACE,
    READ_ONLY,
    SILENT,
    UNREACHABLE,
    WINDOW,
    Air,
    Run,
    Source,
)
from tests.unit.rows import EPOCH

EventAt = Callable[[Moment], ev.Event]

TELLING = 10.0
"""All witnesses have told by then (s)."""

_OOM = frozenset({"oom"})
_BY_HOST = frozenset({"host-shutdown"})
_UNSEEN = frozenset({"signal:9", "unknown"})
"""The first if the daemon is the shim's parent, the second if another one was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """Who tells that a run was killed for want of memory: seconds after the end, negative before it, None never.

    The exit record is "counted"; or the cgroup was gone, and it has the "status" only; or the shim was killed, too,
    and there is "none".
    """

    record: str = "counted"
    unit: float | None = None
    journal: float | None = None
    kernel: float | None = None
    twice: bool = False


class Host(Agenda):
    """The machine on which one recording is made."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Source(EPOCH / 1e6)
        self.scopes: dict[int, Run] = {}
        self.files: dict[int, list[int]] = {}
        self.nameless: set[int] = set()  # of these files, those that somebody has removed
        self.stored_files: set[int] = set()  # and systemd keeps open
        self.pipes: dict[int, Evidence] = {}
        self.failed: dict[int, Evidence] = {}
        self.journal: dict[int, Evidence] = {}
        self.is_reachable = True
        self.missed: set[tuple[int, int]] = set()  # runs, and chunks that they do not get
        self.disk: str | None = None  # "full" or "read-only"
        self.disk_seems_free = False  # whatever the disk is, it looks as if it had room
        self.is_going_down = False
        self.anon: int | None = None  # anonymous memory of each run when it starts, in bytes
        self.leak = 0.0  # bytes per second
        self.killed: dict[int, frozenset[str]] = {}
        """Runs that were killed, with the causes that can be known."""
        self.untold: set[int] = set()  # those of them of which a witness may still tell

    def tell(self, event: EventAt, seconds: float = 0.0) -> None:
        """The daemon that runs now hears of it so much later."""
        raise NotImplementedError

    def tell_exit(self, attempt: int, evidence: Evidence) -> None:
        """The supervising process of a run is gone; whoever watches it knows."""
        raise NotImplementedError

    # --- the source ------------------------------------------------------------------------------------------------

    @property
    def aired(self) -> int:
        """How many chunks the source has offered so far."""
        return self.source.aired(self.now.realtime / 1e6)

    def change_air(self, air: Air) -> None:
        """The source goes on or off; runs notice it after a while."""
        self._write()
        before, had_media = self.source.air, self.source.has_media
        self.source.change(air, self.now.realtime / 1e6)
        for attempt in list(self.scopes):
            self._notice_air(attempt)
            if not had_media:
                self._fetch_soon(attempt)
            if Air.ADS in (before, air) and before is not air and self.files.get(attempt):
                self._speak(attempt, Line.FILTERING if air is Air.ADS else Line.RESUMING)

    def _speak(self, attempt: int, line: Line) -> None:
        self.tell(lambda at: ev.SegmentSpoke(at=at, attempt=attempt, line=line), 0.02)

    def _notice_air(self, attempt: int) -> None:
        ending = self.source.end_of_run(has_media=bool(self.files.get(attempt)))
        if ending is not None:
            seen = self.source.since
            self._end_later(attempt, *ending, unless=lambda: self.source.since != seen)

    def _end_later(self, attempt: int, seconds: float, evidence: Evidence, unless: Callable[[], bool]) -> None:
        def end() -> None:
            if attempt in self.scopes and not self.scopes[attempt].gated and not unless():
                self.exit_run(attempt, evidence)

        self.after(seconds, end)

    def miss(self, attempt: int, line: Line = Line.FETCH_FAILED) -> None:
        """A run does not get the next chunk, and says so."""
        self._write()
        if self.files.get(attempt):
            self.missed.add((attempt, self.files[attempt][-1] + 1))
            self.after(1.5 * CHUNK_SECONDS, lambda: self._speak(attempt, line))

    # --- the network -----------------------------------------------------------------------------------------------

    def lose_network(self) -> None:
        """Nobody can be reached; runs notice it after a while."""
        self._write()
        self.is_reachable = False
        for attempt in list(self.scopes):
            self._notice_network(attempt)

    def _notice_network(self, attempt: int) -> None:
        if not self.is_reachable:
            evidence = Evidence(status=0, log=(SILENT,)) if self.files.get(attempt) else _UNREACHED
            self._end_later(attempt, 8.0 if self.files.get(attempt) else 3.0, evidence, lambda: self.is_reachable)

    def regain_network(self, *, told: bool = True) -> None:
        """The source can be reached again; runs that have not given up go on where they were."""
        self.is_reachable = True
        if told:
            self.tell(lambda at: ev.NetworkBack(at=at))
        for attempt in list(self.scopes):
            self._fetch_soon(attempt)

    # --- files, and the disk they are on ---------------------------------------------------------------------------

    def size(self, attempt: int) -> int:
        """Bytes of a segment's file."""
        return len(self.files.get(attempt, ())) * CHUNK_BYTES

    def _clock_to(self, instant: float) -> None:
        self.monotonic = max(self.monotonic, instant)
        self._write()

    def _write(self) -> None:
        """Bring every file up to now."""
        if self.disk is not None or not self.is_reachable:
            return
        for attempt, run in self.scopes.items():
            chunks = self.files.get(attempt)
            if chunks and not run.stalled:
                fresh = range(chunks[-1] + 1, self.aired)
                chunks.extend(chunk for chunk in fresh if (attempt, chunk) not in self.missed)

    def _fetch_soon(self, attempt: int) -> None:
        self.after(0.5, lambda: self._first_media(attempt))

    def _first_media(self, attempt: int) -> None:
        run = self.scopes.get(attempt)
        if run is None or run.gated or run.stalled or self.files.get(attempt) or not self.is_reachable:
            return
        if not self.source.has_media:
            return
        if self.disk is not None:
            self.exit_run(attempt, _DISK_ERROR[self.disk])
            return
        self.files[attempt] = list(range(max(0, self.aired - WINDOW), self.aired))
        self.tell_media(attempt)

    def tell_media(self, attempt: int) -> None:
        """The first media of a run are there; whoever watches its file knows."""
        raise NotImplementedError

    def take_file(self, attempt: int, how: ev.Taken = ev.Taken.REMOVED) -> None:
        """Somebody removes, moves or cuts a file that is written."""
        self._write()
        if how is ev.Taken.CUT:
            self.files[attempt] = self.files[attempt][-1:]
        elif how is ev.Taken.REMOVED:
            self.nameless.add(attempt)
        self.tell(lambda at: ev.FileTaken(at=at, attempt=attempt, how=how, size=self.size(attempt)), 0.01)

    def save_file(self, attempt: int) -> None:
        """What has no name gets it again."""
        self.nameless.discard(attempt)
        self.stored_files.discard(attempt)

    def lose_files(self) -> None:
        """What has no name is gone when no run has it open any more, nor the daemon, nor systemd."""
        for attempt in self.nameless - self.stored_files - self.scopes.keys():
            self.files[attempt] = []

    def fill_disk(self, why: str = "full") -> None:
        """There is no room any more: whoever writes ends."""
        self._write()
        self.disk = why
        for attempt in list(self.scopes):
            if self.files.get(attempt):
                self._end_later(attempt, 0.5, _DISK_ERROR[why], lambda: self.disk is None)

    def free_disk(self) -> None:
        """There is room again."""
        self.disk = None
        for attempt in list(self.scopes):
            self._fetch_soon(attempt)

    # --- processes and their scopes --------------------------------------------------------------------------------

    def start_run(self, run: Run) -> None:
        """Its scope is up, its gate is open."""
        self.scopes[run.attempt] = run
        run.started = self.monotonic
        self._fetch_soon(run.attempt)
        self._notice_air(run.attempt)
        self._notice_network(run.attempt)

    def exit_run(self, attempt: int, evidence: Evidence, *, record: bool = True) -> None:
        """The process ends, and its scope with it. Without `record` the shim was killed, too."""
        self._write()
        run = self.scopes.pop(attempt)
        if not run.shim:
            return  # that was told when the shim was killed
        if record and not run.gated:
            self.pipes[attempt] = evidence
        self.tell_exit(attempt, self.pipes.get(attempt, Evidence(shim_status=-9)))

    def kill(self, attempt: int, *, record: bool = True) -> None:
        """Somebody kills streamlink, and with it the shim if there is no record."""
        self._note_killed(attempt, frozenset({"signal:9"}) if record and self.scopes[attempt].shim else _UNSEEN)
        self.exit_run(attempt, Evidence(status=-9), record=record)

    def _note_killed(self, attempt: int, known: frozenset[str]) -> None:
        run = self.scopes[attempt]
        if run.is_doomed:
            known |= _OOM
        if self.is_going_down and "unknown" in known:
            known |= _BY_HOST
        if not run.stops:
            self.killed[attempt] = known
            self.after(TELLING, lambda: self.untold.discard(attempt))
            self.untold.add(attempt)

    def run_out_of_memory(self, attempt: int, witnesses: Witnesses) -> None:
        """The kernel kills it in a second. Whoever tells does so that much before or after."""
        self.scopes[attempt].is_doomed = True
        if attempt in self.killed:  # its shim was
            self.killed[attempt] |= _OOM
        told = (witnesses.unit, witnesses.journal, witnesses.kernel)
        for _ in range(1 + witnesses.twice):
            self.witness(attempt, Evidence(unit_result="oom-kill"), witnesses.unit, where=self.failed)
            self.witness(attempt, Evidence(journal_oom=True), witnesses.journal, where=self.journal)
            self.witness(attempt, Evidence(kernel_oom="oom-kill: ..."), witnesses.kernel, where=self.journal)

        def end() -> None:
            if attempt not in self.scopes:
                return
            self.scopes[attempt].is_doomed = False
            known = _OOM
            if witnesses.record != "counted" and told == (None, None, None):
                known = frozenset({"signal:9"} if witnesses.record == "status" else _UNSEEN)
            self._note_killed(attempt, known)
            counted = 1 if witnesses.record == "counted" else None
            self.exit_run(attempt, Evidence(status=-9, oom_kills=counted), record=witnesses.record != "none")

        self.after(1.0, end)

    def kill_shim(self, attempt: int) -> None:
        """The supervising process is killed; streamlink goes on without it."""
        self.scopes[attempt].shim = False
        self._note_killed(attempt, _UNSEEN)
        self.tell_exit(attempt, Evidence(shim_status=-9))

    def stop_run(self, attempt: int) -> None:
        """SIGTERM to all of a scope, and SIGKILL after a while."""
        run = self.scopes[attempt]
        run.stops += 1
        if run.stops == run.stops_needed:
            self.after(0.6, lambda: self._stopped(attempt))

    def _stopped(self, attempt: int) -> None:
        if attempt in self.scopes:
            self.exit_run(attempt, Evidence(status=130, log=(INTERRUPTED,)))

    def witness(self, attempt: int, evidence: Evidence, seconds: float | None, *, where: dict[int, Evidence]) -> None:
        """Somebody else tells of an end that comes in a second, so much before or after it, or not at all."""
        if seconds is None:
            return

        def note() -> None:
            where[attempt] = where.get(attempt, Evidence()).merged(evidence)

        self.after(1.0 + seconds, note)
        self.tell(lambda at: ev.EvidenceArrived(at=at, attempt=attempt, evidence=evidence), 1.0 + seconds)

    def anon_of(self, attempt: int) -> int | None:
        """Anonymous memory of a run, in bytes."""
        run = self.scopes.get(attempt)
        if run is None or self.anon is None:
            return None
        return round(self.anon + self.leak * (self.monotonic - run.started))

    # --- the machine -----------------------------------------------------------------------------------------------

    def begin_shutdown(self, *, told: float | None = 0.0) -> None:
        """systemd ends every scope and starts none any more; the daemon hears of it in so many seconds, or never."""
        self.is_going_down = True
        self.killed |= {attempt: known | _BY_HOST for attempt, known in self.killed.items() if "unknown" in known}
        if told is not None:
            self.tell(lambda at: ev.HostStopping(at=at), told)
        for attempt in list(self.scopes):
            self.stop_run(attempt)

    def call_off_shutdown(self, *, told: bool = True) -> None:
        """It stays; what was ended stays so."""
        self.is_going_down = False
        if told:
            self.tell(lambda at: ev.HostStays(at=at))

    def go_down(self, seconds: float, unsynced: int) -> None:
        """Nothing runs any more; growing files lose their last chunks; it is up again after so many seconds."""
        self._write()
        for attempt in self.scopes:
            chunks = self.files.get(attempt, [])
            del chunks[max(0, len(chunks) - unsynced) :]
        self.scopes.clear()
        self.pipes.clear()
        self.failed.clear()
        self.is_going_down = False
        for attempt in self.untold:  # whoever knew has not told, or it could not be stored
            self.killed[attempt] |= _UNSEEN | _BY_HOST
        self.untold.clear()
        self._boot(seconds)


_UNREACHED = Evidence(status=1, log=(UNREACHABLE,))
_DISK_ERROR = {
    "full": Evidence(status=1, log=(NO_SPACE,)),
    "read-only": Evidence(status=1, log=(READ_ONLY,)),
}
