# SPDX-License-Identifier: GPL-3.0-or-later
"""Every named case in one box, all at a time: nothing lost, nothing repeated, no false word."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.odd.account import Account
from tests.odd.cases import CASES
from tests.odd.report import complaints, table
from tests.odd.run import FOLDER, run
from tests.testbed.deb import ensure_deb

NAMES = ("hevc", "map-kill", "opus", "png-kill")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def accounts() -> Mapping[str, Account]:
    """Of each case, by name."""
    logs = os.environ.get("STREAMVAULTD_TEST_LOGS")
    takes = [CASES[name]() for name in NAMES]
    found = run("cases", takes, ensure_deb(), folder=Path(logs) / "odd" if logs else FOLDER)
    print(table(found))
    return {account.name: account for account in found}


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, accounts: Mapping[str, Account]) -> None:
    account = accounts[name]
    assert not account.complaints, complaints(account)
    assert sum(count.found for count in account.counts.values()) > 0
