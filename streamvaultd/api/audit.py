# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Check and Cleanup."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Final

from streamvaultd.api.views import View, optional
from streamvaultd.core.names import Run
from streamvaultd.core.upkeep.violations import Violation
from streamvaultd.upkeep.audit.audits import Audits, Compared
from streamvaultd.upkeep.audit.repairs import RepairOutcome
from streamvaultd.varlink.server import Call, Handler

SHOWN_MAX: Final = 10_000
"""Violations in one answer: a message has a limit."""


class AuditApi:
    """Handlers of the two methods; `handlers()` is what the server is given."""

    def __init__(self, audits: Audits) -> None:
        self._audits = audits

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Check": self.check, "Cleanup": self.clean_up}

    async def check(self, call: Call) -> View:
        report = await self._audits.check()
        unseen = list(report.unseen)
        if len(report.violations) > SHOWN_MAX:
            unseen.append(f"{len(report.violations) - SHOWN_MAX} more violations")
        return {
            "violations": [violation_view(violation) for violation in report.violations[:SHOWN_MAX]],
            "checked": _checked_view(report.checked),
            "unseen": unseen,
        }

    async def clean_up(self, call: Call) -> View:
        dry_run = call.parameters.get("dryRun", False)
        # a client that hangs up does not stop it halfway
        done = await asyncio.shield(self._audits.clean_up(dry_run=dry_run))
        outcomes = (*done.errors, *done.details)[:SHOWN_MAX]
        return {
            "checked": _checked_view(done.checked),
            "cleaned": 0 if dry_run else len(done.details),
            "errors": len(done.errors),
            "details": [_outcome_view(outcome) for outcome in sorted(outcomes, key=lambda each: not each.is_done)],
        }


def violation_view(violation: Violation) -> View:
    """A Violation."""
    unit = violation.unit
    if unit is None and violation.recording is not None and violation.segment is not None:
        unit = Run(violation.recording, violation.segment).unit
    return {
        "kind": violation.kind.value,
        "rule": violation.rule,
        "subject": violation.subject,
        "text": f"{violation.what} {violation.why}",
    } | optional(
        recording=violation.recording,
        segment=violation.segment,
        unit=unit or None,
        path=violation.path,
        pid=violation.pid,
        repair=violation.repair or None,
        advice=violation.advice if not violation.repair else None,
    )


def _outcome_view(outcome: RepairOutcome) -> View:
    return {"violation": violation_view(outcome.violation), "done": outcome.is_done, "text": outcome.text}


def _checked_view(checked: Compared) -> View:
    return dict(asdict(checked))
