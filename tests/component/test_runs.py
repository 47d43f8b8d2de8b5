# SPDX-License-Identifier: GPL-3.0-or-later
"""When the end of a run is told: at once, unless only systemd can say what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, ScopeLimits
from streamvaultd.errors import ScopeFailed
from streamvaultd.scopes import runs as module
from streamvaultd.scopes.ports import Access, Command
from streamvaultd.scopes.runs import Place, Runs
from tests.component.store_world import NOW, SetClock, later

UNIT = "streamvault-1-001.scope"
DIED = later(5)
RECORD = b'{"status":-9}'
KILLED = Evidence(shim_status=-9)
NOBODY = cast("Any", None)


class World:
    """A run that is launched, and ends when the test says so. It is launcher, scopes, fd store and watcher."""

    pidfd_number, exit_fd, control_group = 7, 8, "/streamvault.slice/streamvault-1-001.scope"

    def __init__(self) -> None:
        self.clock = SetClock(NOW)
        self.told: list[tuple[Evidence, Moment]] = []
        self.is_told = asyncio.Event()
        self._on_gone: Callable[[str, bytes | None, int | None], None] | None = None
        self.refused: Exception | None = None
        self.done: list[str] = []
        us = cast("Any", self)
        self.runs = Runs(launcher=us, scopes=us, watcher=us, fd_store=us, clock=self.clock)

    async def launched(self) -> World:
        place = Place(
            unit=UNIT, pipe="segment-1-1", description="", mounts_for=Path("/srv"),
            limits=ScopeLimits(memory_max=1, tasks_max=1, runtime_max_usec=1),
        )  # fmt: skip
        command = Command(argv=("true",), fields={}, label="1-001", rules=Access())
        await self.runs.launch(command, place, self._on_exit)
        return self

    def _on_exit(self, *told: Any) -> None:
        self.told.append(told)
        self.is_told.set()

    def dies(self, record: bytes | None) -> None:
        assert self._on_gone is not None
        self.clock.moment = DIED
        on_gone, self._on_gone = self._on_gone, None
        on_gone(UNIT, record, -9)
        self.clock.moment = later(6)

    def spawn(self, _argv: object, **_rest: object) -> World:
        return self

    async def start(self, *_what: object) -> World:
        if self.refused is not None:
            raise self.refused
        return self

    def abandon(self) -> None:
        self.done.append("abandoned")

    def tidy(self, unit: str) -> None:
        self.done.append(f"{unit} tidied")

    def store_fd(self, _name: str, _fd: int) -> None:
        return

    def remove_fd(self, _name: str) -> None:
        return

    def open_gate(self) -> None:
        return

    def watch(self, _key: str, _pidfd: int, _exit_fd: int | None, on_exit: Any) -> None:
        self._on_gone = on_exit

    def pidfd(self, _key: str) -> int | None:
        return None if self._on_gone is None else self.pidfd_number


async def test_an_end_with_a_record_is_told_at_once() -> None:
    world = await World().launched()
    world.dies(RECORD)
    assert world.told == [(Evidence(status=-9), DIED)]
    assert not world.runs.is_busy(UNIT)


async def test_an_end_without_a_record_waits_for_systemd_s_word() -> None:
    """The kernel killed the shim, too: nothing but the scope's result tells that from any other SIGKILL."""
    world = await World().launched()
    world.dies(None)
    assert (world.told, world.runs.is_busy(UNIT)) == ([], True)
    world.runs.on_result(UNIT)
    assert world.told == [(KILLED, DIED)]
    assert not world.runs.is_busy(UNIT)


async def test_systemd_may_have_said_it_before() -> None:
    world = await World().launched()
    world.runs.on_result(UNIT)
    world.dies(None)
    assert world.told == [(KILLED, DIED)]


async def test_systemd_may_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives on without a bus, or the shim alone was killed: the end is told all the same, once."""
    monkeypatch.setattr(module, "RESULT_WAIT", 0.01)
    world = await World().launched()
    world.dies(None)
    async with asyncio.timeout(60):
        await world.is_told.wait()
    world.runs.on_result(UNIT)
    assert world.told == [(KILLED, DIED)]


async def test_a_word_on_another_unit_ends_no_wait() -> None:
    world = await World().launched()
    world.dies(None)
    world.runs.on_result("streamvault-2-001.scope")
    assert world.told == []


@pytest.mark.parametrize("record", [b'{"status":13', b"{}\n", b""])
async def test_a_record_that_is_torn_is_as_good_as_none(record: bytes) -> None:
    world = await World().launched()
    world.dies(record)
    assert world.told == [(KILLED, DIED)]


async def test_what_gets_no_scope_keeps_no_scratch_folder() -> None:
    world = World()
    world.refused = ScopeFailed(unit=UNIT, why="no")
    with pytest.raises(ScopeFailed):
        await world.launched()
    assert world.done == ["abandoned", f"{UNIT} tidied"]
    assert not world.runs.is_busy(UNIT)
