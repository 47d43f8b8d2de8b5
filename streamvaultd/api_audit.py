# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Check and Cleanup."""

from __future__ import annotations

from dataclasses import asdict

from streamvaultd.audits import Audits, Checked
from streamvaultd.core.violations import Violation
from streamvaultd.repairs import Outcome
from streamvaultd.units import segment_unit
from streamvaultd.varlink.server import Call, Handler
from streamvaultd.views import View, optional


class AuditApi:
    """Handlers of the two methods; `handlers()` is what the server is given."""

    def __init__(self, audits: Audits) -> None:
        self._audits = audits

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Check": self.check, "Cleanup": self.clean_up}

    async def check(self, call: Call) -> View:
        report = await self._audits.check()
        return {
            "violations": [violation_view(violation) for violation in report.violations],
            "checked": _checked_view(report.checked),
            "unseen": list(report.unseen),
        }

    async def clean_up(self, call: Call) -> View:
        done = await self._audits.clean_up(dry_run=call.parameters.get("dryRun", False))
        return {
            "checked": _checked_view(done.checked),
            "cleaned": 0 if call.parameters.get("dryRun", False) else len(done.details),
            "errors": len(done.errors),
            "details": [_outcome_view(outcome) for outcome in (*done.details, *done.errors)],
        }


def violation_view(violation: Violation) -> View:
    """A Violation."""
    unit = violation.unit
    if unit is None and violation.recording is not None and violation.segment is not None:
        unit = segment_unit(violation.recording, violation.segment)
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


def _outcome_view(outcome: Outcome) -> View:
    return {"violation": violation_view(outcome.violation), "done": outcome.is_done, "text": outcome.text}


def _checked_view(checked: Checked) -> View:
    return dict(asdict(checked))
