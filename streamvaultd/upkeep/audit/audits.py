# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits: what the daemon knows against rows, scopes, processes, files and stored descriptors; told, or repaired.

core/upkeep/audit.py has the rules, and says how they keep from crying wolf. Here is what they rely on: the order in
which things are looked at, and that everything which had happened by then is dealt with before the recorders are
compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streamvaultd.base.systemd1 import BusError
from streamvaultd.core.upkeep.audit import audit, confirmed
from streamvaultd.core.upkeep.violations import Violation
from streamvaultd.core.upkeep.world import World
from streamvaultd.errors import AuditFailed, VaultError
from streamvaultd.reporting.notices import AUDIT_FAILED, AUDIT_FOUND, AUDIT_REPAIRED, Journal
from streamvaultd.upkeep.audit.repairs import RepairOutcome, Repairs
from streamvaultd.upkeep.audit.snapshots import Snapshots

LOOKS: Final = 3
"""This many looks in a row must see a violation before it counts."""

SETTLE: Final = 2.0
"""Between two looks (s): what is under way and no rule knows of may end."""

LOOK_LIMIT: Final = 90.0
"""A look takes no longer (s); a file system that hangs is waited for no longer."""

TRIES: Final = 3
"""A bus or a systemd that starts anew loses what it was asked: it is asked again, this often in all."""

ROUNDS: Final = 4
"""A repair may bring something else to light: a scope that was stopped leaves a file. This often at most."""

TOLD_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How much was compared."""

    recordings: int
    segments: int
    units: int
    processes: int
    files: int
    pipes: int
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an audit found. `unseen` says what it could not look at."""

    violations: tuple[Violation, ...]
    checked: Compared
    unseen: tuple[str, ...]
    world: World


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """What a cleanup did, or would do; and what it left alone or could not do."""

    checked: Compared
    details: tuple[RepairOutcome, ...]
    errors: tuple[RepairOutcome, ...]


class Audits:
    """Audits one after the other: who asks meanwhile, waits."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        repairs: Repairs,
        journal: Journal,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._snapshots = snapshots
        self._repairs = repairs
        self._journal = journal
        self._pause = pause
        self._turn = asyncio.Lock()

    async def check(self) -> Report:
        """Audit; raises AuditFailed and StoreUnavailable."""
        async with self._turn:
            return await self._check()

    async def tell(self) -> None:
        """Audit, and tell what was found; never raises what an audit may raise."""
        try:
            report = await self.check()
        except VaultError as error:
            self._journal.tell(AUDIT_FAILED, why=error)
        else:
            self._tell(report.violations)

    async def clean_up(self, *, dry_run: bool) -> Cleanup:
        """Repair what can be repaired, and audit again; raises as check()."""
        async with self._turn:
            report = await self._check()
            checked = report.checked
            if dry_run:
                planned = tuple(self._repairs.planned(violation) for violation in report.violations)
                return _cleanup(checked, planned)
            outcomes: dict[object, RepairOutcome] = {}
            for _ in range(ROUNDS):
                fresh = [violation for violation in report.violations if violation.key not in outcomes]
                for violation in fresh:
                    outcomes[violation.key] = await self._repair(violation, report.world)
                if not fresh:
                    break
                report = await self._check()
            self._tell(report.violations)
            return _cleanup(checked, tuple(outcomes.values()))

    async def _repair(self, violation: Violation, world: World) -> RepairOutcome:
        outcome = await self._repairs.repair(violation, world)
        if outcome.is_done:
            self._journal.tell(AUDIT_REPAIRED, subject=violation.subject, done=outcome.text, **_told(violation))
        return outcome

    def _tell(self, violations: Sequence[Violation]) -> None:
        for violation in violations[:TOLD_MAX]:
            what = f"{violation.subject}: {violation.what} {violation.why} ({violation.rule})"
            self._journal.tell(AUDIT_FOUND, what=what, **_told(violation))
        if len(violations) > TOLD_MAX:
            what = f"{len(violations) - TOLD_MAX} more; 'streamvaultctl check' shows them all"
            self._journal.tell(AUDIT_FOUND, what=what)

    async def _check(self) -> Report:
        report = await self._look_once()
        for _ in range(LOOKS - 1):
            if not report.violations:
                break
            await self._pause(SETTLE)
            again = await self._look_once()
            report = replace(again, violations=confirmed(report.violations, again.violations))
        return report

    async def _look_once(self) -> Report:
        try:
            world = await self._look_patiently()
        except TimeoutError as error:
            raise AuditFailed(why=f"looking took longer than {LOOK_LIMIT:g} s") from error
        except (BusError, OSError) as error:
            raise AuditFailed(why=str(error)) from error
        # in a thread: with years of recordings it takes long enough to keep a death waiting
        violations = await asyncio.to_thread(audit, world)
        return Report(violations=violations, checked=_checked(world), unseen=_unseen(world), world=world)

    async def _look_patiently(self) -> World:
        async with asyncio.timeout(LOOK_LIMIT):
            for _ in range(TRIES - 1):
                try:
                    return await self._snapshots.look()
                except BusError:
                    await self._pause(SETTLE)
            return await self._snapshots.look()


def _told(violation: Violation) -> dict[str, Any]:
    return {} if violation.recording is None else {"recording": violation.recording}


def _cleanup(checked: Compared, outcomes: Sequence[RepairOutcome]) -> Cleanup:
    return Cleanup(
        checked=checked,
        details=tuple(outcome for outcome in outcomes if outcome.is_done),
        errors=tuple(outcome for outcome in outcomes if not outcome.is_done),
    )


def _checked(world: World) -> Compared:
    return Compared(
        recordings=len(world.rows),
        segments=sum(len(row.segments) for row in world.rows),
        units=len(world.units),
        processes=len(world.processes),
        files=len(world.disk.files),
        pipes=len(world.pipes),
        jobs=len(world.jobs),
    )


def _unseen(world: World) -> tuple[str, ...]:
    found = []
    if not world.disk.is_whole:
        found.append("some folders of recordings: they are too many, too slow, or not readable")
    if not world.rows_are_whole:
        found.append(f"all but the newest {len(world.rows)} recordings")
    return tuple(found)
