# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention at work: sees to it that results which are outside of their streamer's limits are removed.

core/upkeep/retention.py decides, upkeep/pruning.py removes, and here is when. Nothing is urgent: after a start and
after a reload there is time to look at what would go, a sweep removes a few recordings and lets others have the disk,
and what cannot be removed is tried again another day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.units import format_span
from streamvaultd.core.model import Recorder
from streamvaultd.core.upkeep.retention import Expired, Result, RetentionRules, begin, expired
from streamvaultd.errors import RecordingUnreadable, StoreUnavailable
from streamvaultd.reporting.notices import CLOCK_STEPPED, RETENTION_FAILED, Journal
from streamvaultd.upkeep.pruning import Pruned, Pruning, RemovalRequest

REPRIEVE: Final = 600.0
"""After a start of the daemon and after a reload nothing is removed for so long (s)."""

INTERVAL: Final = 86_400.0
"""How often (s) ages are looked at, whatever else happens."""

SWEEP_MAX: Final = 20
"""Recordings that are removed in one sweep."""

PAUSE: Final = 10.0
"""Between two sweeps (s)."""

REMOVAL_LIMIT: Final = 120.0
"""A disk that takes longer for one recording (s) is left alone until it is done with that."""


NAMED_MAX: Final = 5


class RetentionStore(Protocol):
    """Raises StoreUnavailable; get() also RecordingUnreadable."""

    async def streamer_names(self) -> Sequence[str]: ...
    async def results(self, streamer: str) -> Sequence[Result]: ...
    async def get(self, recording: int) -> Recorder | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is outside of its limits now; `notes` say for whom, or by which rule, nothing is decided, and why."""

    expired: tuple[Expired, ...]
    notes: tuple[str, ...]


class Limits(Protocol):
    """What is kept of each streamer's recordings."""

    def retention_of(self, name: str) -> RetentionRules | None:
        """None if nobody can tell at present: then nothing of the streamer's goes."""


class Reprieve:
    """A time in which nothing is removed, so that somebody can look at what would go; it begins with the daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.wanted = asyncio.Event()
        """There may be something to remove, by then."""
        self.begin()

    def begin(self) -> None:
        """The rules may be others now: remove nothing before somebody could look, then what they say."""
        self.until = self._clock.now().monotonic + REPRIEVE
        self.wanted.set()


class Retention:
    """Removes what is outside of `limits`; not before the end of the `reprieve`."""

    def __init__(
        self,
        *,
        store: RetentionStore,
        pruning: Pruning,
        limits: Limits,
        reprieve: Reprieve,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._store = store
        self._pruning = pruning
        self._limits = limits
        self._reprieve = reprieve
        self._clock = clock
        self._journal = journal
        self._wall = begin(clock.now())
        self._wanted = reprieve.wanted
        self._rests_until = 0.0
        self._counts_ages = False
        self._told: dict[int, str] = {}
        self._hanging: dict[str, asyncio.Task[Pruned]] = {}

    def on_change(self, recorder: Recorder) -> None:
        """A recording has changed; never waits."""
        if recorder.state.is_final and recorder.path is not None:
            self._wanted.set()

    def on_step(self, _recording: int) -> None:
        """A step of a recording has ended: its media may go now; never waits."""
        self._wanted.set()

    @property
    def _held_until(self) -> float:
        return max(self._reprieve.until, self._rests_until)

    @property
    def _now(self) -> float:
        return self._clock.now().monotonic

    async def run(self) -> None:
        """Sweep whenever there may be something, for ever."""
        while True:
            await self._wait()
            if (left := self._held_until - self._now) > 0:
                await asyncio.sleep(left)
                continue
            self._wanted.clear()
            with suppress(StoreUnavailable):  # whoever saves something tells that; tomorrow is another day
                if await self.sweep() >= SWEEP_MAX:
                    self._wanted.set()
            self._rests_until = self._now + PAUSE

    async def _wait(self) -> None:
        """Return when there may be something to remove."""
        try:
            async with asyncio.timeout(self._rest()):
                await self._wanted.wait()
        except TimeoutError:
            self._wanted.set()

    def _rest(self) -> float:
        """How long nothing has to be done unless something happens."""
        settles = self._wall.settles_in(self._clock.now())
        return min(INTERVAL, settles) if self._counts_ages and settles > 0 else INTERVAL

    async def outlook(self, streamer: str | None = None) -> Outlook:
        """What is to go, of one streamer or of all; oldest first of each."""
        now = self._clock.now()
        settles = self._look_at_clock()
        found: list[Expired] = []
        unclear: list[str] = []
        counts_ages = False
        for name in await self._store.streamer_names() if streamer is None else [streamer]:
            rules = self._limits.retention_of(name)
            if rules is None:
                unclear.append(name)
            elif rules.are_limits:
                counts_ages |= rules.keep_for is not None
                results = await self._store.results(name)
                found += expired(results, rules, now.realtime, are_ages_sure=settles == 0)
        if streamer is None:
            self._counts_ages = counts_ages
        return Outlook(expired=tuple(found), notes=tuple(_notes(unclear, settles if counts_ages else 0.0)))

    def _look_at_clock(self) -> float:
        """How long ages do not count."""
        now = self._clock.now()
        before, self._wall = self._wall, self._wall.seen(now)
        settles = self._wall.settles_in(now)
        if self._wall.since != before.since and self._counts_ages:
            self._journal.tell(CLOCK_STEPPED, wait=_span(settles))
        return settles

    async def sweep(self) -> int:
        """Remove some of what is to go; how many recordings that were. Raises StoreUnavailable."""
        outlook = await self.outlook()
        self._told = {one.recording: why for one in outlook.expired if (why := self._told.get(one.recording))}
        removed = 0
        for one in outlook.expired:
            if removed >= SWEEP_MAX or self._now < self._held_until:
                break
            recorder = await self._get(one.recording)
            if recorder is not None and recorder.path is not None and not self._is_hanging(recorder):
                removed += await self._remove(recorder, one.why)
        return removed

    async def _get(self, recording: int) -> Recorder | None:
        try:
            return await self._store.get(recording)
        except RecordingUnreadable:
            return None

    def _is_hanging(self, recorder: Recorder) -> bool:
        """Whether what was tried on its disk has not ended yet."""
        work = self._hanging.get(recorder.recording.directory)
        if work is None or not work.done():
            return work is not None
        del self._hanging[recorder.recording.directory]
        work.result()
        return False

    async def _remove(self, recorder: Recorder, rule: str) -> bool:
        work = asyncio.create_task(self._pruning.prune(recorder, RemovalRequest(rule=rule)))
        await asyncio.wait([work], timeout=REMOVAL_LIMIT)
        if work.done():
            pruned = work.result()
        else:
            self._hanging[recorder.recording.directory] = work
            pruned = Pruned(recorder=recorder, sizes={}, why=f"it takes longer than {_span(REMOVAL_LIMIT)}", rule=rule)
        if pruned.why is not None and self._told.get(recorder.recording.id) != pruned.why:
            self._told[recorder.recording.id] = pruned.why
            self._journal.tell(RETENTION_FAILED, recorder, recording=recorder.recording.id, rule=rule, why=pruned.why)
        return pruned.why is None


def _notes(unclear: Sequence[str], settles: float) -> Iterator[str]:
    if unclear:
        names = ", ".join(unclear[:NAMED_MAX]) + (" and others" if len(unclear) > NAMED_MAX else "")
        yield f"nothing is removed of {names} while the settings or the file of a streamer have mistakes"
    if settles > 0:
        yield f"keep_for does not count before the clock has run undisturbed for {_span(settles)} more"


def _span(seconds: float) -> str:
    return format_span(round(seconds) * 1_000_000)
