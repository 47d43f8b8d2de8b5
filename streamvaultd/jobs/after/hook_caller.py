# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls hooks: what is due by its row is started, what runs by its row is watched, what is over is forgotten.

Nothing of it is remembered but what is under way, so a look after a start is as any other one. The row says that the
unit is asked for before it is; a unit that has ended stays loaded until its row says so (RemainAfterExit=yes, which
the broker insists on). So a daemon that finds the row of a call looks at its unit, and asks for none that is there or
was there.

No recording waits for any of it. While one is at risk, no hook is started, as no step is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from streamvaultd.base.clock import Clock
from streamvaultd.base.systemd1 import BusError
from streamvaultd.base.tasks import Tasks
from streamvaultd.core.after.hook_calls import (
    Asked,
    CallCleared,
    CallEnded,
    CallStatus,
    Event,
    Gone,
    HookCall,
    HookEvent,
    Refused,
    Started,
    has_hooks,
    hooks_of,
    startable,
)
from streamvaultd.core.after.risk import is_at_risk
from streamvaultd.core.model import Recorder
from streamvaultd.core.names import HookUnit
from streamvaultd.errors import InvalidParameter, NameRefused, NoSuchUnit, ScopeFailed, UnitExists, VaultError
from streamvaultd.jobs.after.facts import FactStore
from streamvaultd.jobs.after.hook_facts import gather_hook_facts, write_facts
from streamvaultd.reporting.notices import HOOK_FAILED, Journal
from streamvaultd.scopes.witnesses.hook_units import HookState

INTERVAL: Final = 60.0
"""How often (s) rows are looked at though nothing is known to have happened."""

REST: Final = 10.0
"""What the store, the broker or the bus holds up is tried again after so long (s)."""

PRUNE_WAIT: Final = 30.0
"""Who removes media waits so long (s) for the hooks before it, and leaves the media alone then."""


class CallStore(FactStore, Protocol):
    """Durable when a call returns; raises StoreUnavailable."""

    @property
    def boot(self) -> str: ...
    async def open_hook_calls(self) -> Sequence[HookCall]: ...
    async def plan_prune_calls(self, recorder: Recorder, at: int) -> Sequence[HookCall]: ...
    async def advance_hook_call(self, call: int, event: Event, at: int) -> HookCall | None: ...


class Broker(Protocol):
    """scopes/broker.py."""

    async def start_hook(self, unit: HookUnit, facts: str) -> str: ...
    async def forget_hook(self, unit: HookUnit) -> None: ...


class Units(Protocol):
    """scopes/witnesses/hook_units.py."""

    async def ended(self, unit: HookUnit) -> HookState: ...


class HookCalls:
    """Begins and ends the calls of hooks."""

    def __init__(
        self, *, store: CallStore, broker: Broker, units: Units, journal: Journal, clock: Clock, tasks: Tasks
    ) -> None:
        self._store = store
        self._broker = broker
        self._units = units
        self._journal = journal
        self._clock = clock
        self._tasks = tasks
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._at: dict[int, str] = {}  # calls that are under way, and their hooks
        self._resting: set[int] = set()
        self._risks: set[int] = set()

    def on_recorder(self, recorder: Recorder) -> None:
        """A recording has changed: there may be calls now, or it may be at risk; never waits."""
        was_held = bool(self._risks)
        (self._risks.add if is_at_risk(recorder) else self._risks.discard)(recorder.recording.id)
        if has_hooks(recorder.recording.policy) or was_held != bool(self._risks):
            self._wanted.set()

    def on_step(self, _recording: int) -> None:
        """A step of a recording is over: a hook may have waited for it; never waits."""
        self._wanted.set()

    async def run(self) -> None:
        """Look whenever there may be something to do, for ever."""
        while True:
            self._wanted.clear()
            try:
                await self._look()
            except VaultError:
                self._wake_later()  # the one that saves says so
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def before_prune(self, recorder: Recorder) -> str | None:
        """Have the hooks called that come before a removal; why the media stay, None if they may go."""
        if not hooks_of(recorder.recording.policy, HookEvent.BEFORE_PRUNE):
            return None
        try:
            async with asyncio.timeout(PRUNE_WAIT):
                calls = await self._prune_calls(recorder)
        except TimeoutError:
            return "a hook before it has not ended yet"
        failed = [call for call in calls if call.status is CallStatus.FAILED]
        return f"hook {failed[0].hook} before it failed: {failed[0].why}" if failed else None

    async def _prune_calls(self, recorder: Recorder) -> Sequence[HookCall]:
        """Those before a removal, once all of them are over."""
        while True:
            changed = self._changed
            calls = await self._store.plan_prune_calls(recorder, self._clock.now().realtime)
            if all(call.status.is_over for call in calls):
                return calls
            self._wanted.set()
            await changed.wait()

    async def _look(self) -> None:
        calls = [
            call
            for call in await self._store.open_hook_calls()
            if call.id not in self._at and call.id not in self._resting
        ]
        for call in calls:
            if call.status is CallStatus.RUNNING:
                self._begin(call, self._follow(call))
            elif call.status.is_over:
                self._begin(call, self._clear(call))
        if not self._risks:
            for call in startable(calls, self._clock.now().realtime, set(self._at.values())):
                self._begin(call, self._start(call))

    def _begin(self, call: HookCall, work: Coroutine[Any, Any, bool]) -> None:
        self._at[call.id] = call.hook
        self._tasks.create_task(self._work(call, work))

    async def _work(self, call: HookCall, work: Awaitable[bool]) -> None:
        """Do it; what is held up rests."""
        try:
            is_well = await work
        except (VaultError, BusError, OSError):
            is_well = False
        del self._at[call.id]
        if is_well:
            self._wanted.set()
        else:
            self._resting.add(call.id)
            asyncio.get_running_loop().call_later(REST, self._wake, call.id)

    def _wake(self, call: int) -> None:
        self._resting.discard(call)
        self._wanted.set()

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(REST, self._wanted.set)

    # --- a call's life; each part is True, or what is to be done rests ----------------------------------------------

    async def _start(self, call: HookCall) -> bool:
        facts = await gather_hook_facts(self._store, call.recording)
        if facts is None:
            return False
        asked = await self._advance(call, Asked(boot=self._store.boot))
        if asked is None or asked.status is not CallStatus.RUNNING:
            return True
        unit = HookUnit(call.hook, call.id)
        try:
            invocation = await self._broker.start_hook(unit, write_facts(call, facts))
        except UnitExists:
            invocation = ""
        except ScopeFailed:  # it may have been started, or not
            return False
        except VaultError as error:
            for_good = isinstance(error, NameRefused | InvalidParameter)
            at = self._clock.now().realtime
            after = await self._advance(call, Refused(at=at, why=str(error), for_good=for_good))
            return after is None or after.status.is_over
        await self._advance(call, Started(invocation=invocation))
        return await self._follow(asked)

    async def _follow(self, call: HookCall) -> bool:
        """Its unit has been asked for: watch it to its end."""
        state = await self._units.ended(HookUnit(call.hook, call.id))
        event: Event = CallEnded(why=state.why) if state.is_known else Gone(self._store.boot)
        after = await self._advance(call, event)
        return after is None or not after.status.is_over or await self._clear(after)

    async def _clear(self, call: HookCall) -> bool:
        """Its row says how it ended: its unit and its facts are not needed any more."""
        with suppress(NoSuchUnit, NameRefused):  # of the second, another hand has written the row
            await self._broker.forget_hook(HookUnit(call.hook, call.id))
        await self._advance(call, CallCleared())
        return True

    async def _advance(self, call: HookCall, event: Event) -> HookCall | None:
        after = await self._store.advance_hook_call(call.id, event, self._clock.now().realtime)
        if after is not None and after.status.is_over and not isinstance(event, CallCleared):
            if after.status is CallStatus.FAILED:
                await self._tell(after)
            self._changed.set()
            self._changed = asyncio.Event()
        return after

    async def _tell(self, call: HookCall) -> None:
        recorder = await self._store.get(call.recording)
        if recorder is not None:
            self._journal.tell(
                HOOK_FAILED, recorder, hook=call.hook, event=call.event.value, recording=call.recording, why=call.why,
                unit=HookUnit(call.hook, call.id).unit,
            )  # fmt: skip
