# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the watcher: one queue of what happens, one deadline, and its wishes performed.

As the manager does for recordings: events go through core.watching.step(), and what comes of its wishes returns as
events. Recordings are begun by `admission` and heard of by on_recorder(), those that others asked for, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from streamvaultd.base.clock import Clock
from streamvaultd.base.cpu_limit import TookTooLong, cpu_limit
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.model import Broadcast, Moment, Recorder, Recording, State, StopReason
from streamvaultd.core.recording.events import BroadcastOver, Outcome
from streamvaultd.core.watching import model as wt
from streamvaultd.core.watching.answers import is_another
from streamvaultd.core.watching.machine import Step, next_deadline, step
from streamvaultd.core.watching.model import Configured, Ended, Mood, Sighting, Watched, WatchRules, WatchState
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.errors import AlreadyRecording, NoSuchStreamer, StoreUnavailable, VaultError
from streamvaultd.recording.inbox import Recorders
from streamvaultd.reporting.hub import Hub, StreamerNews
from streamvaultd.reporting.notices import REMARKS, STORE_FAILED, Journal
from streamvaultd.watching.plugins import QUESTIONS_MAX

EVENTS_MAX: Final = 10_000
"""Events that may wait; one is there for each question and each change of a recording, so there are never so many."""

MATCH_LIMIT: Final = 0.2
"""What follows from an answer takes a thousandth of this (s of the processor), unless a filter's pattern runs wild."""

Work = Coroutine[Any, Any, None]


class Asker(Protocol):
    """Asks a streamer's source; never raises, trouble is an answer."""

    async def sight(self, streamer: Streamer) -> Sighting: ...


class Admission(Protocol):
    """Where recordings begin."""

    async def begin(self, streamer: Streamer, sighting: Sighting) -> Recorder:
        """Raises VaultError."""

    async def note_broadcast(self, recording: int, broadcast: Broadcast, now: Moment) -> None:
        """Raises StoreUnavailable."""


class Watches:
    """Owns the watch. `admission` begins a recording of what was seen."""

    def __init__(
        self,
        *,
        asker: Asker,
        admission: Admission,
        recorders: Recorders,
        tasks: Tasks,
        journal: Journal,
        hub: Hub,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self._asker = asker
        self._admission = admission
        self._recorders = recorders
        self._tasks = tasks
        self._journal = journal
        self._hub = hub
        self._clock = clock
        self._chance = chance
        self._watch = WatchState()
        self._queue: asyncio.Queue[wt.Happening] = asyncio.Queue(EVENTS_MAX)
        self._answered: dict[str, list[asyncio.Future[None]]] = {}

    @property
    def watched(self) -> Mapping[str, Watched]:
        """Every streamer that is known, by name."""
        return self._watch.streamers

    @property
    def streamers(self) -> Sequence[Streamer]:
        """What the files say of all of them."""
        return [watched.streamer for watched in self._watch.streamers.values()]

    def streamer(self, name: str) -> Streamer | None:
        """What the files say of a streamer."""
        found = self._watch.streamers.get(name)
        return found.streamer if found else None

    def configure(self, streamers: Mapping[str, Streamer], rules: WatchRules, past: Mapping[str, wt.Past]) -> None:
        """These are the streamers from now on. Takes effect before it returns."""
        self._handle(
            Configured(at=self._clock.now(), chance=self._chance(), streamers=streamers, rules=rules, past=past)
        )
        self._compare()
        self._queue_event(wt.Due)  # the deadline may be another one now

    def _compare(self) -> None:
        """What the recordings did while it was read who is watched."""
        recorders = self._recorders
        for recorder in recorders.values():
            self.on_recorder(recorder)
        for name, known in self._watch.streamers.items():
            if known.recording is not None and known.recording not in recorders:
                self._queue_event(wt.RecordingOver, name=name, recording=known.recording, ended=Ended.BROADCAST)

    def on_recorder(self, recorder: Recorder) -> None:
        """A recording has changed."""
        name, recording = recorder.recording.streamer, recorder.recording.id
        known = self._watch.streamers.get(name)
        if known is None:
            return
        if recorder.state.status == "recording":
            if known.recording != recording:
                foreign = recorder.recording.url != known.streamer.url
                self._queue_event(wt.RecordingBegan, name=name, recording=recording, foreign=foreign)
        elif known.recording == recording:
            self._queue_event(wt.RecordingOver, name=name, recording=recording, ended=_how_it_ended(recorder))

    def on_network_back(self) -> None:
        """A link or a route is there that was not."""
        self._queue_event(wt.NetworkReturned)

    def push(self, streamer: Streamer, sighting: Sighting) -> None:
        """Something was learnt of a streamer that was not asked for."""
        self._queue_event(wt.Sighted, name=streamer.name, sighting=sighting, offset=self._offset(streamer))

    def hint(self, name: str) -> None:
        """There is a reason to ask this streamer's source soon."""
        self._queue_event(wt.Hinted, name=name)

    def is_seen(self, name: str) -> bool:
        """Whether a broadcast of this streamer is known of."""
        found = self._watch.streamers.get(name)
        return found is not None and found.mood in (Mood.LIVE, Mood.STARTING, Mood.RECORDING)

    async def probe(self, name: str) -> Watched:
        """Ask a streamer's source now, and wait for the answer; raises NoSuchStreamer."""
        if name not in self._watch.streamers:
            raise NoSuchStreamer(streamer=name)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answered.setdefault(name, []).append(answered)
        self._queue_event(wt.ProbeWanted, name=name)
        await answered
        found = self._watch.streamers.get(name)
        if found is None:
            raise NoSuchStreamer(streamer=name)
        return found

    async def run(self) -> None:
        """Deal with events and the deadline until cancelled."""
        while True:
            deadline = next_deadline(self._watch)
            wait = None if deadline is None else max(0.0, deadline - self._clock.now().monotonic)
            try:
                async with asyncio.timeout(wait):
                    event = await self._queue.get()
            except TimeoutError:
                event = wt.Due(at=self._clock.now(), chance=self._chance())
            self._handle(event)

    def _queue_event(self, kind: type[wt.Happening], **values: Any) -> None:
        self._queue.put_nowait(kind(at=self._clock.now(), chance=self._chance(), **values))

    def _handle(self, event: wt.Happening) -> None:
        before = self._watch.streamers
        self._watch, wishes = self._step(event)
        self._tell_changes(before)
        for wish in wishes:
            self._perform(wish)
        for name in list(self._answered):
            found = self._watch.streamers.get(name)
            if isinstance(event, wt.ProbeAnswered | Configured) and (found is None or found.asked_at is None):
                self._tell_answered(name)

    def _step(self, event: wt.Happening) -> Step:
        """What follows. Patterns of filters are matched with what sites tell, and there are pairs that never end."""
        if not isinstance(event, wt.ProbeAnswered | wt.Sighted):
            return step(self._watch, event)
        try:
            with cpu_limit(MATCH_LIMIT):
                return step(self._watch, event)
        except TookTooLong:
            why = "its filters take too long with this title and category, simplify their patterns"
            sighting = Sighting(outcome=Outcome.TROUBLE, detail=why, trouble=wt.Trouble.SITE)
            return step(self._watch, replace(event, sighting=sighting))

    def _tell_changes(self, before: Mapping[str, Watched]) -> None:
        """Whom subscribers would see otherwise now, and who is not watched any more."""
        for name, watched in self._watch.streamers.items():
            known = before.get(name)
            if known is not watched and (known is None or known.shown != watched.shown):
                self._hub.publish(StreamerNews(watched))
        for name in before.keys() - self._watch.streamers.keys():
            self._hub.publish(StreamerNews(before[name], is_gone=True))

    def _tell_answered(self, name: str) -> None:
        for future in self._answered.pop(name, []):
            if not future.done():
                future.set_result(None)

    def _perform(self, wish: wt.Wish) -> None:
        streamer = self._watch.streamers[wish.name].streamer
        match wish:
            case wt.Ask(_, probe):
                self._tasks.create_task(self._ask(streamer, probe))
            case wt.Begin(_, sighting):
                self._tasks.create_task(self._start(streamer, sighting))
            case wt.EndBroadcast(_, recording, why, unwanted):
                self._recorders.post(recording, BroadcastOver(at=self._clock.now(), why=why, unwanted=unwanted))
            case wt.NoteChange(name, recording, title, category):
                self._tasks.create_task(self._note(name, recording, Broadcast(title=title, category=category)))
            case wt.Tell(name, remark, why):
                self._journal.tell(REMARKS[remark], streamer=name, why=why)

    async def _ask(self, streamer: Streamer, probe: int) -> None:
        sighting = await self._asker.sight(streamer)
        offset = self._offset(streamer)
        self._queue_event(wt.ProbeAnswered, name=streamer.name, probe=probe, sighting=sighting, offset=offset)

    def _offset(self, streamer: Streamer) -> int:
        """Seconds that the filters' time zone is ahead of UTC now."""
        zone = streamer.filters.timezone
        if zone == "UTC":
            return 0
        now = datetime.fromtimestamp(self._clock.now().realtime / 1e6, UTC)
        ahead = now.astimezone(ZoneInfo(zone)).utcoffset()
        return round(ahead.total_seconds()) if ahead is not None else 0

    async def _start(self, streamer: Streamer, sighting: Sighting) -> None:
        if not sighting.streams:  # it was pushed: which qualities there are, only the source tells
            offered = await self._asker.sight(streamer)
            sighting = replace(sighting, streams=offered.streams)
        try:
            recorder = await self._admission.begin(streamer, sighting)
        except AlreadyRecording as error:
            recording = int(error.fields["recording"])
            other = self._recorders.get(recording)
            foreign = other is not None and other.recording.url != streamer.url
            self._queue_event(wt.RecordingBegan, name=streamer.name, recording=recording, foreign=foreign)
        except VaultError as error:
            self._queue_event(wt.RecordingRefused, name=streamer.name, why=str(error))
        else:
            self._queue_event(wt.RecordingBegan, name=streamer.name, recording=recorder.recording.id)

    async def _note(self, name: str, recording: int, broadcast: Broadcast) -> None:
        try:
            await self._admission.note_broadcast(recording, broadcast, self._clock.now())
        except StoreUnavailable as error:
            self._journal.tell(STORE_FAILED, self._recorders.get(recording), streamer=name, why=error)


def _how_it_ended(recorder: Recorder) -> Ended:
    match recorder.stop:
        case StopReason.REQUESTED:
            return Ended.REQUESTED
        case StopReason.DURATION:
            return Ended.DURATION
        case StopReason.CHANGED | StopReason.UNWANTED:
            return Ended.CHANGED
        case _:
            return Ended.FAILED if recorder.state is State.FAILED and recorder.size == 0 else Ended.BROADCAST


class Alone(Protocol):
    """Asks a source without knowing its streamer."""

    async def probe(self, url: str, quality: str) -> Sighting: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """What the source of a recording said; `is_another`: it has another broadcast now."""

    outcome: Outcome
    detail: str = ""
    mark: str = ""
    is_another: bool = False


class SourceProbes:
    """Asks whether the source of a recording is back, as its streamer's file has it if there is one."""

    def __init__(self, *, watches: Watches, asker: Asker, plugins: Alone) -> None:
        self._watches = watches
        self._asker = asker
        self._plugins = plugins
        self._turns = asyncio.Semaphore(QUESTIONS_MAX)
        self._open: dict[int, asyncio.Future[SourceAnswer]] = {}

    async def probe(self, recording: Recording) -> SourceAnswer:
        """What the source offers now; who asks again meanwhile gets the same answer."""
        asked = self._open.get(recording.id)
        if asked is None:
            asked = self._open[recording.id] = asyncio.ensure_future(self._ask(recording))
            asked.add_done_callback(lambda _: self._open.pop(recording.id, None))
        return await asyncio.shield(asked)

    async def _ask(self, recording: Recording) -> SourceAnswer:
        async with self._turns:
            return await self._look(recording)

    async def _look(self, recording: Recording) -> SourceAnswer:
        streamer = self._watches.streamer(recording.streamer)
        if streamer is None or streamer.url != recording.url:
            return _answer(await self._plugins.probe(recording.url, recording.quality))
        sighting = await self._asker.sight(streamer)
        known = self._watches.watched.get(recording.streamer)
        if known is not None and known.recording == recording.id and is_another(known.site_id, sighting):
            return SourceAnswer(outcome=Outcome.ENDED, detail="another broadcast has begun", is_another=True)
        return _answer(sighting)


def _answer(sighting: Sighting) -> SourceAnswer:
    return SourceAnswer(outcome=sighting.outcome, detail=sighting.detail, mark=sighting.mark)
