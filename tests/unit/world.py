# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated world around the core: a machine, rows, a join job, and a daemon that can be crashed anywhere.

Theory of operation. `World` performs the effects that `step()` returns, the way the executor does, but on a model of a
machine (host.py). What follows is an event for the daemon, queued for its time. Time is a number that jumps from one
happening to the next: a happening of the world, an event for the daemon, or a deadline of the recorder.

A crash forgets what a process forgets: the recorder, the queued events, which runs are watched, launches that are
not through the gate. It leaves what a machine keeps: rows, scopes that write on, files, exit records, failed units,
the journal, the join job. A reboot leaves rows, files and the journal.

Media are numbered chunks of two seconds; the source offers the last fifteen. A run fetches from the oldest chunk
offered on, so whether a recording is complete is whether the numbers in its joined file are.

After everything that happens the invariants of docs/design/001-recording.md are checked as far as they can be seen
here; what is broken is in `broken`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from streamvaultd.core import names
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.deadlines import due, next_deadline
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.reconcile import Facts, orphans, takeover
from tests.unit.agenda import ANYBODY
from tests.unit.broadcast import CHUNK_BYTES, CHUNK_SECONDS, Run
from tests.unit.host import EventAt, Host
from tests.unit.invariants import DUE_MAX, broken_by_step, wrong_deaths
from tests.unit.rows import POLICY, Rows, new_recorder


class Crashed(Exception):
    """The daemon is gone, in the middle of what it did."""


class World(Host):
    """One recording, everything that it touches, and the daemon."""

    def __init__(
        self,
        *,
        policy: Policy = POLICY,
        duration: float | None = None,
        crash_after: Iterable[int] = (),
        downtime: float = 0.5,
    ) -> None:
        super().__init__()
        self.crash_after = frozenset(crash_after)
        self.downtime = downtime
        # what a machine keeps
        self.rows = Rows(new_recorder(policy=policy, duration=duration))
        self.job: int | None = None
        self.job_results: dict[int, ev.JoinEnded] = {}
        self.joined: list[set[int]] = []
        self.folder = self.result = False
        # faults
        self.broker_refuses = self.discards_fail = 0
        self.permanently = False
        self.join_failures, self.joins_fail_for_good = 0, False
        self.seals_hang = self.launches_hang = 0
        self.probes_hang = False
        self.probe_seconds = 0.3
        self.scope_without_gate = False
        self.next_stops_needed = 1
        # the daemon
        self.up = True
        self.recorder = self.rows.load()
        self.is_owned = True
        self.watched: set[int] = set()
        self.children: set[int] = set()
        self.launching: set[int] = set()
        self.seen: list[ev.Event] = []
        self.performed: list[fx.Effect] = []
        self.told: list[fx.Announce] = []
        self.deadlines_met = 0
        self.crashes = 0
        self.notes: set[object] = set()
        self.broken: list[str] = []

    # --- time ----------------------------------------------------------------------------------------------------

    def post(self, event: EventAt, seconds: float = 0.0) -> None:
        """The daemon gets an event later, if it still is the same daemon."""
        self._plan(seconds, self._epoch, lambda: self.handle(event(self.now)))

    def tell(self, event: EventAt, seconds: float = 0.0) -> None:
        self.after(seconds, lambda: self._tell_now(event))

    def _tell_now(self, event: EventAt) -> None:
        told = event(self.now)
        is_of_stranger = isinstance(told, ev.SegmentSpoke | ev.FileTaken) and told.attempt not in self.watched
        if self.up and not is_of_stranger:
            self.handle(told)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, as a clock on the wall shows it."""
        self._advance(seconds, lambda _: False)
        self._clock_to(self.monotonic)

    def advance_until(self, wanted: Callable[[World], bool], limit: float = 4000.0) -> bool:
        """Let time pass until something holds; False if it does not within the limit."""
        return self._advance(limit, wanted)

    def _advance(self, seconds: float, wanted: Callable[[World], bool]) -> bool:
        end, boot = self.monotonic + seconds, self._realtime_base
        while not wanted(self):
            if self._realtime_base != boot:  # CLOCK_MONOTONIC has begun anew
                end, boot = end - (self._realtime_base - boot) / 1e6, self._realtime_base
            instant = self._next_instant()
            if instant is None or instant > end:
                self._clock_to(end)
                return False
            self._happen(instant)
        return True

    def finish(self, limit: float = 4000.0) -> State:
        """Let time pass until the recording is over and tidy, and return its state."""
        self.advance_until(lambda world: world.up and world.is_settled, limit)
        self.advance(0.2)
        return self.recorder.state

    @property
    def is_settled(self) -> bool:
        """As the manager decides which recordings it still has to care for."""
        recorder = self.recorder
        return recorder.state.is_final and (
            recorder.path is None or all(segment.phase is Phase.REMOVED for segment in recorder.segments)
        )

    def _next_instant(self) -> float | None:
        deadline = next_deadline(self.recorder) if self.up else None
        instants = [instant for instant in (self.planned, deadline) if instant is not None]
        return max(self.monotonic, min(instants)) if instants else None

    def _happen(self, instant: float) -> None:
        """Whatever is planned or due at this instant, then look at the invariants."""
        self._clock_to(instant)
        self._try(self._do_planned)
        self._try(self._do_due)
        if self.planned is None or self.planned > self.monotonic:
            self._check_quiet()

    def _do_due(self) -> None:
        for _ in range(DUE_MAX):
            event = due(self.recorder, self.now) if self.up else None
            if event is None:
                return
            self.deadlines_met += 1
            self.handle(event)
        self._breaks(f"I4: {DUE_MAX} deadlines at one instant in {self.recorder.state}")
        self._clock_to(self.monotonic + 1.0)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Crashed:
            self.crash()
            self.after(self.downtime, self._restart)

    # --- what is watched -------------------------------------------------------------------------------------------

    def tell_media(self, attempt: int) -> None:
        if attempt in self.watched:
            self.post(lambda at: ev.MediaArrived(at=at, attempt=attempt, size=self.size(attempt)))

    def tell_exit(self, attempt: int, evidence: Evidence) -> None:
        if not self.up:
            self.lose_files()
        if attempt in self.watched:
            self.watched.discard(attempt)
            known = evidence if attempt in self.children else replace(evidence, shim_status=None)
            self.post(lambda at: ev.SegmentExited(at=at, attempt=attempt, evidence=known), 0.01)

    # --- the daemon ----------------------------------------------------------------------------------------------

    def handle(self, event: ev.Event) -> None:
        """One step of the manager."""
        if not self.up or not self.is_owned:
            return
        before = self.recorder
        self.seen.append(event)
        after, effects = step(before, event)
        self._check_step(before, after, effects, event)
        self.recorder = after
        for effect in effects:
            self.perform(effect)
            self.performed.append(effect)
            if len(self.performed) in self.crash_after:
                raise Crashed

    def ask(self, event: Callable[[Moment], ev.Event]) -> None:
        """Somebody asks for something, and asks again while the daemon is down."""
        if self.up:
            self.handle(event(self.now))
        else:
            self.after(0.3, lambda: self.ask(event))

    def crash(self) -> None:
        """kill -9 of the daemon."""
        self.up = False
        self.crashes += 1
        self._epoch += 1
        self.watched.clear()
        self.children.clear()
        if self.scope_without_gate:
            for attempt in self.launching:
                self.scopes[attempt] = Run(attempt, gated=True)
                self.after(0.6, lambda attempt=attempt: self._end_gated(attempt))  # type: ignore[misc]
        self.launching.clear()
        self.lose_files()

    def _end_gated(self, attempt: int) -> None:
        if attempt in self.scopes:
            self.exit_run(attempt, Evidence(), record=False)

    def restart(self) -> None:
        """Crash, if it is up, and start again at once."""
        if self.up:
            self.crash()
        self._try(self._restart)

    def _restart(self) -> None:
        if self.up:
            return
        self.up = True
        self._epoch += 1
        self.recorder = self.rows.load()
        facts = self._facts()
        for run in sorted(orphans([self.recorder], facts)):
            self._stop_scope(run.number)
        self.is_owned = not self.is_settled
        if self.is_owned:
            for event in takeover(self.recorder, facts, self.now):
                self.handle(event)
        self._check_quiet()

    def _facts(self) -> Facts:
        told = self.pipes.keys() | self.failed.keys() | self.journal.keys()
        nothing = Evidence()
        return Facts(
            live=frozenset(names.Run(1, attempt) for attempt in self.scopes),
            sizes={names.Run(1, attempt): self.size(attempt) for attempt in self.files},
            evidence={
                names.Run(1, attempt): self.pipes.get(attempt, nothing)
                .merged(self.failed.get(attempt, nothing))
                .merged(self.journal.get(attempt, nothing))
                for attempt in told
            },
        )

    def reboot(self, seconds: float = 60.0, *, unsynced: int = 0) -> None:
        """Power loss: nothing runs any more, CLOCK_MONOTONIC begins again, and what was dated keeps its date."""
        if self.up:
            self.crash()
        self.go_down(seconds, unsynced)
        self.job = None
        self.rows.move_to_another_boot(self.now)
        self._try(self._restart)

    def shut_down(self, *, told: float | None = 0.0) -> None:
        """An ordered reboot: scopes are stopped, then the daemon, then it is another boot."""
        self.begin_shutdown(told=told)
        self.after(2.0, lambda: self.reboot() if self.is_going_down else None)

    # --- effects -------------------------------------------------------------------------------------------------

    def perform(self, effect: fx.Effect) -> None:
        """As the executor does, on the model."""
        match effect:
            case fx.Save():
                self.rows.save(effect.recorder, effect.changed)
                if not self.rows.is_like(effect.recorder):
                    self._breaks("the rows are not what the recorder is")
            case fx.Launch(attempt):
                self._launch(attempt)
            case fx.StopScope(attempt):
                self._stop_scope(attempt)
            case fx.Watch(attempt):
                self._watch(attempt)
            case fx.Measure(attempt):
                self.post(
                    lambda at: ev.SizeMeasured(
                        at=at, attempt=attempt, size=self.size(attempt), anon=self.anon_of(attempt)
                    )
                )
            case fx.SaveFile(attempt):
                self.stored_files |= {attempt} & self.nameless
            case fx.CheckOverlap(attempt, older):
                new, old = self.files.get(attempt, []), self.files.get(older, [])
                proven = bool(new) and new[0] in old
                self.post(lambda at: ev.OverlapChecked(at=at, attempt=attempt, proven=proven), 0.02)
            case fx.Seal(attempt):
                self._seal(attempt)
            case fx.Probe(probe):
                if self.probes_hang:
                    return
                seconds = self.probe_seconds if self.is_reachable else 2.0
                answer = self.source.answer(probe, self.now.realtime / 1e6, is_reachable=self.is_reachable)
                self.post(answer, seconds)
            case fx.CheckDisk():
                self._check_disk()
            case fx.Join(join):
                self._join(join)
            case fx.RemoveSegments():
                self._remove_segments()
            case fx.DiscardFolder():
                self.folder = self.folder and bool(self.files)
            case fx.Discard():
                self._discard()
            case fx.Announce():
                self.told.append(effect)

    def _launch(self, attempt: int) -> None:
        if attempt not in self.rows.segments:
            self._breaks(f"I1: segment {attempt} is launched before its row is saved")
        if attempt in self.files:
            self._breaks(f"I7: the file of segment {attempt} is opened twice")
        self.folder = True
        if self._refuse_launch(attempt):
            return
        self.files[attempt] = []
        seconds, stops_needed, self.next_stops_needed = 0.1, self.next_stops_needed, 1
        if self.launches_hang:
            self.launches_hang -= 1
            seconds = 50.0
        self.launching.add(attempt)
        self._plan(seconds, ANYBODY, lambda: self._scope_up(attempt, stops_needed))

    def _refuse_launch(self, attempt: int) -> bool:
        is_full = self.disk is not None and not self.disk_seems_free
        if not is_full and not self.is_going_down and not self.broker_refuses:
            return False
        if not is_full:
            self.files[attempt] = []
        self.broker_refuses = max(0, self.broker_refuses - 1)
        permanent = self.permanently
        self.post(
            lambda at: ev.LaunchFailed(at=at, attempt=attempt, why="refused", permanent=permanent, disk=is_full), 0.05
        )
        return True

    def _check_disk(self) -> None:
        if self.disk is None or self.disk_seems_free:
            self.post(lambda at: ev.DiskFreed(at=at), 0.1)
        else:
            why = self.disk
            self.post(lambda at: ev.DiskLow(at=at, why=why), 0.1)

    def _scope_up(self, attempt: int, stops_needed: int) -> None:
        if attempt not in self.launching:
            return
        self.launching.discard(attempt)
        self.files.setdefault(attempt, [])
        if self.is_going_down:
            self.post(lambda at: ev.LaunchFailed(at=at, attempt=attempt, why="refused"))
            return
        self.watched.add(attempt)
        self.children.add(attempt)
        self.start_run(Run(attempt, stops_needed=stops_needed))
        self.post(lambda at: ev.ScopeStarted(at=at, attempt=attempt))

    def _stop_scope(self, attempt: int) -> None:
        if attempt in self.scopes:
            self.stop_run(attempt)
        elif attempt not in self.launching:
            self.post(lambda at: ev.SegmentExited(at=at, attempt=attempt, evidence=Evidence()))

    def _watch(self, attempt: int) -> None:
        self.watched.add(attempt)
        if attempt not in self.scopes or not self.scopes[attempt].shim:
            self.tell_exit(attempt, self.pipes.get(attempt, Evidence()))
        elif self.files.get(attempt):
            self.tell_media(attempt)
            if attempt in self.nameless:
                self.post(lambda at: ev.FileTaken(at=at, attempt=attempt, how=ev.Taken.REMOVED, size=1))

    def _seal(self, attempt: int) -> None:
        if attempt in self.scopes:
            if not self.scopes[attempt].shim:  # nobody tells any more, so this is waited for until SIGKILL
                self.scopes[attempt].stops_needed = self.scopes[attempt].stops + 1
            self._stop_scope(attempt)
        if self.seals_hang:
            self.seals_hang -= 1
            return
        self.save_file(attempt)
        if not self.files.get(attempt, [0]):
            del self.files[attempt]
        self.pipes.pop(attempt, None)
        self.failed.pop(attempt, None)
        self.post(lambda at: ev.SegmentSealed(at=at, attempt=attempt, size=self.size(attempt)), 0.05)

    def _join(self, join: int) -> None:
        if join in self.job_results:
            self._tell_join(join)
        elif self.job is None:
            self.job = join
            self.after(2.0, lambda: self._end_job(join))

    def _end_job(self, join: int) -> None:
        self.job = None
        path, size, why = None, 0, None
        if self.join_failures:
            self.join_failures -= 1
            why = "cannot read segment 002"
        else:
            self.joined.append({chunk for chunks in self.files.values() for chunk in chunks})
            path, size, self.result = "/srv/r/demo/x.ts", len(self.joined[-1]) * CHUNK_BYTES, True
        seconds = size / CHUNK_BYTES * CHUNK_SECONDS
        told = ev.JoinEnded(at=self.now, join=join, path=path, size=size, duration=seconds, why=why)
        self.job_results[join] = replace(told, for_good=why is not None and self.joins_fail_for_good)
        if self.up and fx.Join(join) in self.performed:
            self._tell_join(join)

    def _tell_join(self, join: int) -> None:
        self.post(lambda at: replace(self.job_results[join], at=at), 0.02)

    def _remove_segments(self) -> None:
        saved = self.rows.recorder
        kept = {chunk for chunks in self.files.values() for chunk in chunks}
        if saved.path is None or saved.state not in (State.COMPLETED, State.STOPPED):
            self._breaks("I8: segments are removed before the row says where the joined file is")
        elif kept and (not self.joined or not kept <= self.joined[-1]):
            self._breaks("I8: segments are removed that are not in the joined file")
        self.files.clear()
        self.folder = False
        self.post(lambda at: ev.SegmentsRemoved(at=at), 0.02)

    def _discard(self) -> None:
        """The segments first; a daemon that ends on the way leaves the result."""
        if self.rows.recorder.state is not State.DISCARDING:
            self._breaks("I8: media are discarded before the row says so")
        self.discards_fail -= 1
        if self.discards_fail < 0:
            self.files.clear()
            self._plan(0.05, self._epoch, self._discard_result)

    def _discard_result(self) -> None:
        self.result = False
        self.post(lambda at: ev.MediaDiscarded(at=at, files=2, size=CHUNK_BYTES))

    # --- invariants ----------------------------------------------------------------------------------------------

    def _breaks(self, text: str) -> None:
        if text not in self.broken:
            self.broken.append(text)

    def _check_step(self, before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...], event: ev.Event) -> None:
        for text in broken_by_step(before, after, effects, event):
            self._breaks(f"{text} ({type(event).__name__} in {before.state})")
        for effect in effects:
            if isinstance(effect, fx.StopScope):
                self._check_rotation(before, after, effect.attempt)

    def _check_rotation(self, before: Recorder, after: Recorder, attempt: int) -> None:
        """I6, at the moment the old segment is asked to stop."""
        old, was = after.segment(attempt), before.segment(attempt)
        if old is None or was is None or not old.rotated or was.rotated:
            return
        new = self.files.get(after.segments[-1].number, [])
        if not new:
            self._breaks("I6: the old segment is stopped before the new one has media")
        until = before.rotation_until
        if new and new[0] not in self.files[attempt] and (until is None or self.monotonic < until):
            self._breaks("I6: the old segment is stopped though it does not reach the new one")

    def _check_quiet(self) -> None:
        """What holds whenever nothing is under way at this instant."""
        if not self.up:
            return
        for attempt, run in self.scopes.items():
            segment = self.recorder.segment(attempt)
            claimed = segment is not None and segment.phase.is_live
            if not claimed and not run.stops and not run.gated:
                self._breaks(f"I1: the scope of segment {attempt} runs and no row says that it lives")
        going_on = [run for run in self.scopes.values() if not run.stops and not run.gated]
        if len(going_on) > (2 if self.recorder.state is State.ROTATING else 1):
            self._breaks(f"I5: {len(going_on)} scopes are meant to go on in {self.recorder.state}")

    def wrong_deaths(self) -> list[str]:
        """Runs that were killed and are not noted as killed, and ends that were told twice."""
        return wrong_deaths(self.recorder, self.killed, self.told)

    def leftovers(self) -> list[str]:
        """What must not be left when a recording is over."""
        left = [f"scope {attempt}" for attempt in self.scopes]
        left += [f"empty file {attempt}" for attempt, chunks in self.files.items() if not chunks]
        left += [f"live segment {segment.number}" for segment in self.recorder.live]
        left += [f"exit record {attempt}" for attempt in self.pipes]
        if self.result and self.recorder.path is None:
            left.append("joined file")
        if self.recorder.path is not None:
            left += [f"file {attempt}" for attempt in self.files]
        return left
