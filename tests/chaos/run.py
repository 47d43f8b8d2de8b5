# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign on a machine that is booted for it; it leaves its account behind, the journal and other reports."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos.campaign import Campaign, Result, as_json, media_for
from tests.chaos.faults import SMALL_DISK
from tests.chaos.schedule import WINDOW, Schedule
from tests.fakes.livesource import LiveSource
from tests.integration.harness import save_reports
from tests.testbed import layers, setup
from tests.testbed.box import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER: Final = setup.PROJECT / "build" / "chaos"


SMALL_DISK_SIZE: Final = 256 << 20
MOUNT: Final = """
mkdir -p "$2"
[ -b "$1" ] || mknod "$1" b "$3" "$4"
mount "$1" "$2"
chown _streamvault: "$2"
rmdir "$2/lost+found"
"""


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
        small_disk(reports / "disk.img") as device,
    ):
        number = Path(device).stat().st_rdev
        box.run(["sh", "-ec", MOUNT, "sh", device, SMALL_DISK, str(os.major(number)), str(os.minor(number))])
        try:
            result = Campaign(box, source, schedule, reports, say).run()
        finally:
            save_reports(box, reports)
    account_file(schedule, folder).write_text(json.dumps(as_json(result), indent=1))
    return result


@contextmanager
def small_disk(image: Path) -> Iterator[str]:
    """A block device of this host with a new file system on it."""
    with image.open("wb") as file:
        file.truncate(SMALL_DISK_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    shown = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = shown.stdout.strip()
    try:
        yield device
    finally:
        # at once, or as soon as the last mount of it is gone
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()
