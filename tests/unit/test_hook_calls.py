# SPDX-License-Identifier: GPL-3.0-or-later
"""How calls of hooks go on, with a daemon that is killed after every effect, and machines that are rebooted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from streamvaultd.core.after import hook_calls as core
from streamvaultd.core.after.hook_calls import (
    Asked,
    CallCleared,
    CallEnded,
    CallStatus,
    Gone,
    HookCall,
    HookEvent,
    Refused,
    Started,
    step,
)
from streamvaultd.core.after.pauses import USEC
from streamvaultd.core.model import Policy

DUE = HookCall(id=17, recording=3, hook="nas", event=HookEvent.RECORDING_STARTED, number=0, status=CallStatus.DUE)


class Killed(Exception):
    """The daemon is."""


@dataclass
class Machine:
    """A row, and a systemd that knows one unit. `left` effects happen before the daemon is killed."""

    row: HookCall = DUE
    unit: str | None = None
    runs: int = 0
    boot: str = "b1"
    left: int = 10**6
    fails: bool = False
    log: list[str] = field(default_factory=list)

    def _effect(self, what: str) -> None:
        self.log.append(what)
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, event: core.Event) -> None:
        self._effect(type(event).__name__)
        self.row = step(self.row, event)

    def start(self) -> None:
        """The broker: none that is loaded."""
        self._effect("start")
        if self.unit is None:
            self.runs += 1
            self.unit = "failed" if self.fails else "exited"

    def forget(self) -> None:
        self._effect("forget")
        self.unit = None

    def reboot(self) -> None:
        self.unit, self.boot = None, "b2"

    def daemon(self) -> None:
        """As jobs/after/hook_caller.py goes on, until nothing is left to do."""
        while not self.row.is_cleared:
            if self.row.status is CallStatus.DUE:
                self.write(Asked(boot=self.boot))
                self.start()
                self.write(Started(invocation="4711"))
            elif self.row.status is CallStatus.RUNNING:
                why = "exit-code, status 3" if self.unit == "failed" else None
                self.write(CallEnded(why=why) if self.unit is not None else Gone(self.boot))
            else:
                self.forget()
                self.write(CallCleared())


EFFECTS = ["Asked", "start", "Started", "CallEnded", "forget", "CallCleared"]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("first", range(len(EFFECTS)))
@pytest.mark.parametrize("second", range(len(EFFECTS)))
def test_a_call_runs_once_whenever_two_daemons_are_killed(first: int, second: int, fails: bool) -> None:
    machine = Machine(fails=fails)
    for left in (first, second):
        machine.left = left
        try:
            machine.daemon()
        except Killed:
            continue
    machine.left = 10**6
    machine.daemon()
    assert (machine.runs, machine.unit, machine.row.is_cleared) == (1, None, True)
    assert machine.row.status is (CallStatus.FAILED if fails else CallStatus.DONE)


def test_without_a_kill_these_are_the_effects() -> None:
    machine = Machine()
    machine.daemon()
    assert machine.log == EFFECTS


@pytest.mark.parametrize(("at", "runs"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 1), (5, 1)])
def test_what_a_reboot_has_ended_runs_again_and_what_was_over_does_not(at: int, runs: int) -> None:
    machine = Machine(left=at)
    with pytest.raises(Killed):
        machine.daemon()
    machine.reboot()
    machine.left = 10**6
    machine.daemon()
    assert (machine.runs, machine.row.status) == (runs, CallStatus.DONE)


def test_a_unit_that_another_hand_has_stopped_is_not_started_again() -> None:
    started = step(step(DUE, Asked(boot="b1")), Started(invocation="4711"))
    after = step(started, Gone("b1"))
    assert (after.status, after.why) == (CallStatus.FAILED, "its unit was stopped by another hand")


def test_what_cannot_be_started_is_tried_some_times_with_pauses_and_given_up() -> None:
    call, at, waits = DUE, 0, []
    while call.status is CallStatus.DUE:
        call = step(step(call, Asked(boot="b1")), Refused(at=at, why="no bus"))
        if call.retry_at is not None:
            waits.append((call.retry_at - at) // USEC)
            assert core.startable([call], call.retry_at - 1, ()) == ()
            at = call.retry_at
    assert (call.status, call.tries, waits) == (CallStatus.FAILED, core.GIVEN_UP_AFTER, [10, 60, 300, 1800])
    assert step(step(DUE, Asked(boot="b1")), Refused(at=0, why="none", for_good=True)).status is CallStatus.FAILED


def test_of_each_hook_one_runs_at_a_time_the_oldest_first() -> None:
    calls = [replace(DUE, id=number, hook=hook) for number, hook in ((3, "nas"), (1, "nas"), (2, "chat"))]
    assert [call.id for call in core.startable(calls, 0, ())] == [1, 2]
    assert [call.id for call in core.startable(calls, 0, {"nas"})] == [2]


@pytest.mark.parametrize(
    ("statuses", "age", "stands"),
    [
        ((), 0, False),
        (("due",), 10**12, True),
        (("done", "running"), 10**12, True),
        (("done",), core.SUCCESS_HOLDS - 1, True),
        (("done",), core.SUCCESS_HOLDS, False),
        (("done", "failed"), core.FAILURE_HOLDS - 1, True),
        (("done", "failed"), core.FAILURE_HOLDS, False),
        (("done",), -1, False),
    ],
)
def test_how_long_the_answer_before_a_removal_holds(statuses: tuple[str, ...], age: int, *, stands: bool) -> None:
    assert core.must_wait([replace(DUE, status=CallStatus(status)) for status in statuses], age) is stands


def test_a_recording_that_was_found_again_calls_nothing_but_what_guards_its_media() -> None:
    policy = Policy(hooks_started=("nas",), hooks_complete=("nas",), hooks_prune=("guard",))
    assert core.hooks_of(policy, HookEvent.RECORDING_STARTED) == ("nas",)
    found_again = replace(policy, has_steps=False)
    called = {event: hooks for event in HookEvent if (hooks := core.hooks_of(found_again, event))}
    assert called == {HookEvent.BEFORE_PRUNE: ("guard",)}
