# SPDX-License-Identifier: GPL-3.0-or-later
"""One minute of faults, the catalogue's included: `make chaos` has as many as you like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.report import is_good, table
from tests.chaos.run import FOLDER, plan, run
from tests.testbed.deb import ensure_deb

SEED = 1011  # of the first thousands the one with the most kinds of faults
MINUTES = 1.0
RECORDINGS = 3


@pytest.mark.integration
@pytest.mark.timeout(1200)
def test_a_short_campaign() -> None:
    logs = os.environ.get("STREAMVAULTD_TEST_LOGS")
    folder = Path(logs) / "chaos" if logs else FOLDER
    result = run(plan(SEED, MINUTES, RECORDINGS, postgresql=True), ensure_deb(), folder=folder)
    print(table(result))
    assert is_good(result), table(result)
    assert result.catalogue is not None
    assert result.catalogue.rows > RECORDINGS
    # a campaign in which nothing died and nothing was lost for a moment would show nothing
    assert sum(account.deaths_recorded for account in result.accounts) >= RECORDINGS
