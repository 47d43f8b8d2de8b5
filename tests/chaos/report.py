# SPDX-License-Identifier: GPL-3.0-or-later
"""The account as a table and as JSON, and whether it is as it must be."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from tests.chaos.account import MUST_BE_ZERO, Account

if TYPE_CHECKING:
    from tests.chaos.campaign import Result
    from tests.chaos.facts import CatalogueFacts, Leaks

COUNTS = tuple(field.name for field in fields(Account) if field.name not in ("name", "losses", "complaints"))
WIDTH = 12


def leaked(leaks: Leaks) -> dict[str, int]:
    """How many of each kind were left."""
    return {name: value if isinstance(value, int) else len(value) for name, value in asdict(leaks).items()}


def total(accounts: list[Account], name: str) -> int:
    return sum(getattr(account, name) for account in accounts)


def is_good(result: Result) -> bool:
    """0 in everything that must be 0."""
    wrong = [total(result.accounts, name) for name in MUST_BE_ZERO] + list(leaked(result.leaks).values())
    return not any(wrong) and not any(lacking(result.catalogue).values())


def lacking(catalogue: CatalogueFacts | None) -> dict[str, int]:
    """What the catalogue lacks; nothing where there is none."""
    if catalogue is None:
        return {}
    return {"rows differing": len(catalogue.differing), "backlog": catalogue.backlog}


def table(result: Result) -> str:
    """For people: a column for each recording and the total; "must be 0" is marked where it is not."""
    head = ["", *(account.name for account in result.accounts), "total"]
    lines = [_line(head)]
    for name in COUNTS:
        values = [getattr(account, name) for account in result.accounts]
        lines.append(_line([name.replace("_", " "), *values, sum(values)], marked=name in MUST_BE_ZERO))
    empty = [""] * len(result.accounts)
    for name, value in leaked(result.leaks).items():
        lines.append(_line([f"leaked: {name.replace('_', ' ')}", *empty, value], marked=True))
    if result.catalogue is not None:
        lines.append(_line(["catalogue: rows", *empty, result.catalogue.rows]))
        lines += [
            _line([f"catalogue: {name}", *empty, value], marked=True)
            for name, value in lacking(result.catalogue).items()
        ]
    lines.append(f"\n{len(result.strikes)} faults, {len(result.missed)} found nothing to strike")
    lost = [f"{account.name}: {loss}" for account in result.accounts for loss in account.losses]
    wrong = [f"MUST NOT BE: {complaint}" for complaint in complaints(result)]
    return "\n".join([*lines, *lost, *wrong])


def _line(cells: list[Any], *, marked: bool = False) -> str:
    text = f"{cells[0]:<24}" + "".join(f"{cell:>{WIDTH}}" for cell in cells[1:])
    mark = "" if not marked else "  = 0" if not cells[-1] else "  MUST BE 0"
    return text + mark


def complaints(result: Result) -> list[str]:
    """What must not be, in words."""
    found = [f"{account.name}: {complaint}" for account in result.accounts for complaint in account.complaints]
    for name, value in asdict(result.leaks).items():
        found += [f"{name}: {item}" for item in (value if isinstance(value, tuple) else [value] if value else [])]
    if result.catalogue is not None:
        found += [f"catalogue: {row}" for row in result.catalogue.differing]
        found += [f"catalogue: {result.catalogue.backlog} changes are left"] if result.catalogue.backlog else []
    return found
