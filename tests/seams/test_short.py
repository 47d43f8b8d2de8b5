# SPDX-License-Identifier: GPL-3.0-or-later
"""Some rotations and kills of every format; `make seams` has as many as you like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.seams.plan import draw
from tests.seams.report import is_good, table
from tests.seams.run import FOLDER, run
from tests.testbed.deb import ensure_deb

SEED = 11
ROTATIONS = 8
KILLS = 8
AWAY_WINDOW = 6


@pytest.mark.integration
@pytest.mark.timeout(1200)
def test_no_frame_is_lost_or_repeated() -> None:
    logs = os.environ.get("STREAMVAULTD_TEST_LOGS")
    plan = draw(SEED, ROTATIONS, KILLS, absences=1, away_window=AWAY_WINDOW)
    accounts = run(plan, ensure_deb(), folder=Path(logs) / "seams" if logs else FOLDER)
    print(table(accounts))
    assert is_good(accounts), table(accounts)
    assert sum(account.exact + account.union for account in accounts) >= ROTATIONS + KILLS
    assert sum(account.gap for account in accounts) == sum(take.is_away for take in plan.takes)
