# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts as a table and as JSON, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from tests.odd.account import Account
from tests.odd.look import KINDS, NAMES

COLUMNS: Final = ("offered", "found", "lost", "repeated", "foreign", "disordered")


def is_good(accounts: Sequence[Account]) -> bool:
    """Whether nobody complains."""
    return not any(account.complaints for account in accounts)


def table(accounts: Sequence[Account]) -> str:
    """For people: a row for each recording and kind, the totals, and what must not be."""
    clients = sorted({client for account in accounts for client in account.beside})
    rows = [
        ["", "kind", *COLUMNS, *(f"lost by {client}" for client in clients), "seconds", "told", "verdict", "state"]
    ]
    for account in accounts:
        for kind, found in account.counts.items():
            figures = [str(getattr(found, name)) for name in COLUMNS]
            others = [str(account.beside.get(client, {}).get(kind, "")) for client in clients]
            told = "" if account.told_ms is None else f"{account.told_ms / 1000:.1f}"
            words = [f"{account.real_ms / 1000:.1f}", told, account.verdict[:7], account.state]
            rows.append([account.name, NAMES[kind], *figures, *others, *words])
    for kind in KINDS:
        rows.append(["total", NAMES[kind], *_totals(accounts, kind, clients), "", "", "", ""])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    good = sum(not account.complaints for account in accounts)
    lines.append(f"{good} of {len(accounts)} recordings are as they must be")
    return "\n".join([*lines, *map(complaints, (account for account in accounts if account.complaints))])


def complaints(account: Account) -> str:
    """What is wrong with one recording, and what it says of itself."""
    lines = [f"{account.name} ({'; '.join(account.faults)}):", *(f"  {why}" for why in account.complaints)]
    lines += [f"    seam {seam}" for seam in account.seams] + [f"    note {note}" for note in account.notes]
    return "\n".join(lines)


def _totals(accounts: Sequence[Account], kind: str, clients: Sequence[str]) -> list[str]:
    counts = [account.counts[kind] for account in accounts if kind in account.counts]
    figures = [str(sum(getattr(found, name) for found in counts)) for name in COLUMNS]
    others = [str(sum(account.beside.get(client, {}).get(kind, 0) for account in accounts)) for client in clients]
    return figures + others


def as_json(seed: str, accounts: Sequence[Account]) -> dict[str, Any]:
    """Everything, for other programs."""
    return {"seed": seed, "good": is_good(accounts), "recordings": [asdict(account) for account in accounts]}
