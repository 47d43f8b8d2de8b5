# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign on a machine that is booted for it, with what it leaves behind: its account, and reports if it failed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from tests.chaos.campaign import Campaign, Result, as_json, media_for
from tests.chaos.report import is_good
from tests.chaos.schedule import WINDOW, Schedule
from tests.fakes.livesource import LiveSource
from tests.integration.harness import save_reports
from tests.testbed import layers, setup
from tests.testbed.box import Box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER: Final = setup.PROJECT / "build" / "chaos"


def account_file(schedule: Schedule, folder: Path = FOLDER) -> Path:
    """Where the account of a campaign goes."""
    return folder / f"{schedule.seed}.json"


def reports_folder(schedule: Schedule, folder: Path = FOLDER) -> Path:
    """Where the schedule goes, and the journal and reports of a campaign that failed."""
    return folder / str(schedule.seed)


def run(schedule: Schedule, deb: Path, *, folder: Path = FOLDER, say: Callable[[str], None] = print) -> Result:
    """Boot a box, run the campaign in it, save its account."""
    reports = reports_folder(schedule, folder)
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "schedule.txt").write_text("".join(f"{fault}\n" for fault in schedule.faults))
    spec = media_for(schedule)
    with (
        LiveSource(spec, window=round(WINDOW / spec.segment)) as source,
        Box(f"chaos-{os.getpid()}", layers.installed(deb)) as box,
    ):
        try:
            result = Campaign(box, source, schedule, reports, say).run()
        except BaseException:
            save_reports(box, reports)
            raise
        account_file(schedule, folder).write_text(json.dumps(as_json(result), indent=1))
        if not is_good(result):
            save_reports(box, reports)
    return result
