# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated world around the core: rows, scopes, files, a source, and a daemon that can be crashed anywhere.

Theory of operation. `World` performs the effects that `step()` returns, the way the executor does, but on a model:
scopes come up a moment later, processes write while their scope is up, an exit leaves a record in `pipes`. What
follows is an event for the daemon, queued for its time. Time is a number that jumps from one happening to the next:
a happening of the world, an event for the daemon, or a deadline of the recorder.

A crash forgets what a process forgets: the recorder, the queued events, which runs are watched, launches that are
not through the gate. It leaves what a machine keeps: rows, scopes that write on, files, exit records, the join job.
A reboot leaves rows and files alone.

Media are numbered chunks of two seconds; the source offers the last fifteen. A run fetches from the oldest chunk
offered on, so whether a recording is complete is whether the numbers in its joined file are.

After everything that happens the invariants of docs/design/001-recording.md are checked as far as they can be seen
here; what is broken is in `broken`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import replace

from streamvaultd.core import effects as fx
from streamvaultd.core import events as ev
from streamvaultd.core.deadlines import due, next_deadline
from streamvaultd.core.machine import step
from streamvaultd.core.model import Moment, Phase, Policy, Recorder, State
from streamvaultd.core.reconcile import Facts, orphans, takeover
from streamvaultd.core.verdict import Evidence
from tests.unit.broadcast import CHUNK_BYTES, INTERRUPTED, PROBED, WINDOW, Air, Run, Source
from tests.unit.invariants import DUE_MAX, broken_by_step
from tests.unit.rows import BOOTED, EPOCH, POLICY, Rows, new_recorder, on_scale


class Crashed(Exception):
    """The daemon is gone, in the middle of what it did."""


class World:
    """One recording, everything that it touches, and the daemon."""

    def __init__(
        self,
        *,
        policy: Policy = POLICY,
        duration: float | None = None,
        crash_after: Iterable[int] = (),
        downtime: float = 0.5,
    ) -> None:
        self.crash_after = frozenset(crash_after)
        self.downtime = downtime
        self.monotonic = BOOTED
        self._realtime_base = EPOCH - int(BOOTED * 1e6)
        self._agenda: list[tuple[float, int, int, Callable[[], None]]] = []
        self._count = 0
        self.source = Source(EPOCH / 1e6)
        # what a machine keeps
        self.rows = Rows(new_recorder(policy=policy, duration=duration))
        self.scopes: dict[int, Run] = {}
        self.files: dict[int, list[int]] = {}
        self.pipes: dict[int, Evidence] = {}
        self.job: int | None = None
        self.job_results: dict[int, ev.JoinEnded] = {}
        self.joined: list[set[int]] = []
        self.folder = False
        # faults
        self.broker_refuses = 0
        self.permanently = False
        self.join_failures = 0
        self.seals_hang = 0
        self.launches_hang = 0
        self.scope_without_gate = False
        self.next_stops_needed = 1
        # the daemon
        self._epoch = 0
        self.up = True
        self.recorder = self.rows.load()
        self.watched: set[int] = set()
        self.launching: set[int] = set()
        self.seen: list[ev.Event] = []
        self.performed: list[fx.Effect] = []
        self.told: list[fx.Announce] = []
        self.deadlines_met = 0
        self.crashes = 0
        self.notes: set[str] = set()
        self.broken: list[str] = []

    # --- time ----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Moment:
        return Moment(self.monotonic, self._realtime_base + round(self.monotonic * 1e6))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Something of the world happens later, whatever becomes of the daemon."""
        self._plan(seconds, -1, action)

    def post(self, event: Callable[[Moment], ev.Event], seconds: float = 0.0) -> None:
        """The daemon gets an event later, if it still is the same daemon."""
        self._plan(seconds, self._epoch, lambda: self.handle(event(self.now)))

    def _plan(self, seconds: float, epoch: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.monotonic + seconds, self._count, epoch, action))

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.monotonic + seconds
        while (instant := self._next_instant()) is not None and instant <= end:
            self._happen(instant)
        self._clock_to(end)

    def advance_until(self, wanted: Callable[[World], bool], limit: float = 4000.0) -> bool:
        """Let time pass until something holds; False if it does not within the limit."""
        end = self.monotonic + limit
        while not wanted(self):
            instant = self._next_instant()
            if instant is None or instant > end:
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
        planned = [self._agenda[0][0]] if self._agenda else []
        deadline = next_deadline(self.recorder) if self.up else None
        return max(self.monotonic, min(planned + ([] if deadline is None else [deadline]))) if (
            planned or deadline is not None
        ) else None  # fmt: skip

    def _clock_to(self, instant: float) -> None:
        self.monotonic = max(self.monotonic, instant)
        self._write()

    def _happen(self, instant: float) -> None:
        """Whatever is planned or due at this instant, then look at the invariants."""
        self._clock_to(instant)
        self._try(self._do_planned)
        self._try(self._do_due)
        if not self._agenda or self._agenda[0][0] > self.monotonic:
            self._check_quiet()

    def _do_planned(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.monotonic:
            _, _, epoch, action = heapq.heappop(self._agenda)
            if epoch in (-1, self._epoch):
                action()

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

    # --- the source, and what processes write --------------------------------------------------------------------

    @property
    def aired(self) -> int:
        """How many chunks the source has offered so far."""
        return self.source.aired(self.now.realtime / 1e6)

    def change_air(self, air: Air) -> None:
        """The source goes on or off; runs notice it after a while."""
        self._write()
        self.source.change(air, self.now.realtime / 1e6)
        for attempt in list(self.scopes):
            self._notice_air(attempt)

    def _notice_air(self, attempt: int) -> None:
        ending = self.source.end_of_run(has_media=bool(self.files.get(attempt)))
        if ending is None:
            return
        seen = self.source.since

        def end() -> None:
            if self.source.since == seen and attempt in self.scopes and not self.scopes[attempt].gated:
                self.exit_run(attempt, ending[1])

        self.after(ending[0], end)

    def _write(self) -> None:
        """Bring every file up to now."""
        for attempt, run in self.scopes.items():
            chunks = self.files.get(attempt)
            if chunks and not run.stalled:
                chunks.extend(range(chunks[-1] + 1, self.aired))

    def _first_media(self, attempt: int) -> None:
        run = self.scopes.get(attempt)
        offered = self.source.has_media
        if run is None or run.gated or run.stalled or not offered or self.files[attempt]:
            return
        self.files[attempt].extend(range(max(0, self.aired - WINDOW), self.aired))
        if attempt in self.watched:
            self.post(lambda at: ev.MediaArrived(at=at, attempt=attempt, size=self.size(attempt)))

    def size(self, attempt: int) -> int:
        """Bytes of a segment's file."""
        return len(self.files.get(attempt, ())) * CHUNK_BYTES

    def exit_run(self, attempt: int, evidence: Evidence, *, record: bool = True) -> None:
        """The process ends, and its scope with it. Without `record` the shim was killed, too."""
        self._write()
        run = self.scopes.pop(attempt)
        if record and not run.gated:
            self.pipes[attempt] = evidence
        self._tell_exit(attempt)

    def _tell_exit(self, attempt: int) -> None:
        if attempt in self.watched:
            found = self.pipes.get(attempt, Evidence())
            self.post(lambda at: ev.SegmentExited(at=at, attempt=attempt, evidence=found), 0.01)

    # --- the daemon ----------------------------------------------------------------------------------------------

    def handle(self, event: ev.Event) -> None:
        """One step of the manager."""
        if not self.up or self.is_settled:
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
        if self.scope_without_gate:
            for attempt in self.launching:
                self.scopes[attempt] = Run(attempt, gated=True)
                self.after(0.6, lambda attempt=attempt: self._end_gated(attempt))  # type: ignore[misc]
        self.launching.clear()

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
        facts = Facts(
            live=frozenset((1, attempt) for attempt in self.scopes),
            sizes={(1, attempt): self.size(attempt) for attempt in self.files},
            evidence={(1, attempt): evidence for attempt, evidence in self.pipes.items()},
        )
        for _, attempt in sorted(orphans([self.recorder], facts)):
            self._stop_scope(attempt)
        if not self.is_settled:
            for event in takeover(self.recorder, facts, self.now):
                self.handle(event)
        self._check_quiet()

    def reboot(self, seconds: float = 60.0) -> None:
        """Power loss: nothing runs any more, CLOCK_MONOTONIC begins again, and what was dated keeps its date."""
        self.crash()
        self._write()
        passed = self.now.realtime + round(seconds * 1e6)
        self.scopes.clear()
        self.pipes.clear()
        self._agenda.clear()
        self.job = None
        self.monotonic = 20.0
        self._realtime_base = passed - round(self.monotonic * 1e6)
        self.rows = Rows(
            on_scale(self.rows.recorder, self.now),
            {number: on_scale(segment, self.now) for number, segment in self.rows.segments.items()},
        )
        self._try(self._restart)

    # --- effects -------------------------------------------------------------------------------------------------

    def perform(self, effect: fx.Effect) -> None:
        """As the executor does, on the model."""
        match effect:
            case fx.Save():
                self.rows.recorder = replace(effect.recorder, segments=())
                self.rows.segments |= {segment.number: segment for segment in effect.changed}
                if self.rows.load() != effect.recorder:
                    self._breaks("the rows are not what the recorder is")
            case fx.Launch(attempt):
                self._launch(attempt)
            case fx.StopScope(attempt):
                self._stop_scope(attempt)
            case fx.Watch(attempt):
                self._watch(attempt)
            case fx.Measure(attempt):
                self.post(lambda at: ev.SizeMeasured(at=at, attempt=attempt, size=self.size(attempt)))
            case fx.CheckOverlap(attempt, older):
                new, old = self.files.get(attempt, []), self.files.get(older, [])
                proven = bool(new) and new[0] in old
                self.post(lambda at: ev.OverlapChecked(at=at, attempt=attempt, proven=proven), 0.02)
            case fx.Seal(attempt):
                self._seal(attempt)
            case fx.Probe(probe):
                outcome = PROBED[self.source.air]
                self.post(lambda at: ev.SourceProbed(at=at, probe=probe, outcome=outcome, detail=""), 0.3)
            case fx.Join(join):
                self._join(join)
            case fx.RemoveSegments():
                self._remove_segments()
            case fx.DiscardFolder():
                self.folder = self.folder and bool(self.files)
            case fx.Announce():
                self.told.append(effect)

    def _launch(self, attempt: int) -> None:
        if attempt not in self.rows.segments:
            self._breaks(f"I1: segment {attempt} is launched before its row is saved")
        if attempt in self.files:
            self._breaks(f"I7: the file of segment {attempt} is opened twice")
        self.folder = True
        self.files[attempt] = []
        if self.broker_refuses:
            self.broker_refuses -= 1
            permanent = self.permanently
            self.post(lambda at: ev.LaunchFailed(at=at, attempt=attempt, why="refused", permanent=permanent), 0.05)
            return
        seconds, stops_needed, self.next_stops_needed = 0.1, self.next_stops_needed, 1
        if self.launches_hang:
            self.launches_hang -= 1
            seconds = 50.0
        self.launching.add(attempt)
        self.after(seconds, lambda: self._scope_up(attempt, stops_needed))

    def _scope_up(self, attempt: int, stops_needed: int) -> None:
        if attempt not in self.launching:
            return
        self.launching.discard(attempt)
        self.files.setdefault(attempt, [])
        self.scopes[attempt] = Run(attempt, stops_needed=stops_needed)
        self.watched.add(attempt)
        self.post(lambda at: ev.ScopeStarted(at=at, attempt=attempt))
        self.after(0.5, lambda: self._first_media(attempt))
        self._notice_air(attempt)

    def _stop_scope(self, attempt: int) -> None:
        run = self.scopes.get(attempt)
        if run is None:
            if attempt not in self.launching:
                self.post(lambda at: ev.SegmentExited(at=at, attempt=attempt, evidence=Evidence()))
            return
        run.stops += 1
        if run.stops == run.stops_needed:
            self.after(0.6, lambda: self._stopped(attempt))

    def _stopped(self, attempt: int) -> None:
        if attempt in self.scopes:
            self.exit_run(attempt, Evidence(status=130, log=(INTERRUPTED,)))

    def _watch(self, attempt: int) -> None:
        self.watched.add(attempt)
        if attempt not in self.scopes:
            self._tell_exit(attempt)
        elif self.files.get(attempt):
            self.post(lambda at: ev.MediaArrived(at=at, attempt=attempt, size=self.size(attempt)))

    def _seal(self, attempt: int) -> None:
        if self.seals_hang:
            self.seals_hang -= 1
            return
        if attempt in self.scopes:
            self._stop_scope(attempt)
        if not self.files.get(attempt, [0]):
            del self.files[attempt]
        self.pipes.pop(attempt, None)
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
            path, size = "/srv/r/demo/x.ts", len(self.joined[-1]) * CHUNK_BYTES
        self.job_results[join] = ev.JoinEnded(at=self.now, join=join, path=path, size=size, why=why)
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

    # --- invariants ----------------------------------------------------------------------------------------------

    def _breaks(self, text: str) -> None:
        if text not in self.broken:
            self.broken.append(text)

    def _check_step(self, before: Recorder, after: Recorder, effects: tuple[fx.Effect, ...], event: ev.Event) -> None:
        for text in broken_by_step(before, after, effects):
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

    def leftovers(self) -> list[str]:
        """What must not be left when a recording is over."""
        left = [f"scope {attempt}" for attempt in self.scopes]
        left += [f"empty file {attempt}" for attempt, chunks in self.files.items() if not chunks]
        left += [f"live segment {segment.number}" for segment in self.recorder.live]
        left += [f"exit record {attempt}" for attempt in self.pipes]
        if self.recorder.path is not None:
            left += [f"file {attempt}" for attempt in self.files]
        return left
