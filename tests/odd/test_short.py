# SPDX-License-Identifier: GPL-3.0-or-later
"""Some sources that are drawn, always the same ones; `make odd` has as many as you like."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.odd.account import Account
from tests.odd.report import complaints

SEED = 1
NUMBERS = (2, 3, 5, 6)


@pytest.mark.integration
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("take", [f"odd-{SEED}-{number}" for number in NUMBERS])
def test_nothing_is_lost(take: str, accounts: Mapping[str, Account]) -> None:
    account = accounts[take]
    assert not account.complaints, complaints(account)
    assert sum(count.found for count in account.counts.values()) > 0
