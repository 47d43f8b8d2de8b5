# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a campaign as a table and as JSON, and whether it is as it must be."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from tests.seams.account import Account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.seams.memory import Looks
    from tests.seams.plan import Plan

COLUMNS: Final = tuple(field.name for field in fields(Account) if field.name != "complaints")


def is_good(accounts: Sequence[Account]) -> bool:
    """Whether nobody complains."""
    return not any(account.complaints for account in accounts)


def table(accounts: Sequence[Account]) -> str:
    """For people: a row for each recording, the totals, and what must not be."""
    rows = [[name.replace("_", " ") for name in COLUMNS]]
    rows += [[_cell(getattr(account, name)) for name in COLUMNS] for account in accounts]
    rows.append(["total", "", *(_cell(_total(accounts, name)) for name in COLUMNS[2:])])
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *(f"{account.name}: {why}" for account in accounts for why in account.complaints)])


def _total(accounts: Sequence[Account], name: str) -> Any:
    values = [getattr(account, name) for account in accounts]
    return "" if any(isinstance(value, str) for value in values) else sum(values)


def _cell(value: Any) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def as_json(plan: Plan, accounts: Sequence[Account], looks: Looks = ()) -> dict[str, Any]:
    """Everything about a campaign, for other programs."""
    return {
        "seed": plan.seed,
        "rotations": plan.rotations,
        "kills": plan.kills,
        "good": is_good(accounts),
        "memory": [{"seconds": at, "daemonKib": held} for at, held in looks],
        "recordings": [asdict(account) for account in accounts],
        "plan": [asdict(take) for take in plan.takes],
    }
