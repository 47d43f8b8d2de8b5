# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign in a box that is booted for it, with what it leaves behind: its account, and reports if it failed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from tests.fakes.livesource import LiveSource
from tests.integration.harness import save_reports
from tests.seams import campaign
from tests.seams.account import Account, draw_up
from tests.seams.memory import watched
from tests.seams.report import as_json, is_good
from tests.testbed import layers, setup
from tests.testbed.box import Box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.seams.plan import Plan

FOLDER: Final = setup.PROJECT / "build" / "seams"


def run(plan: Plan, deb: Path, *, folder: Path = FOLDER, say: Callable[[str], None] = print) -> list[Account]:
    """Boot a box, run the campaign in it, save its account; the reports and files of one that is not good, too."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        LiveSource(campaign.media_for(plan)) as source,
        Box(f"seams-{os.getpid()}", layers.installed(deb)) as box,
    ):
        try:
            with watched(box) as looks:
                accounts = [draw_up(facts) for facts in campaign.run(box, source, plan, say)]
        except BaseException:
            save_reports(box, folder / str(plan.seed))
            raise
        (folder / f"{plan.seed}.json").write_text(json.dumps(as_json(plan, accounts, looks), indent=1))
        say(f"the daemon held {looks[0][1]} KiB at the beginning, {looks[-1][1]} KiB at the end")
        if not is_good(accounts):
            save_reports(box, folder / str(plan.seed))
    return accounts
