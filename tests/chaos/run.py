# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign on a machine that is booted for it; it leaves its account behind, the journal and other reports."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos import catalogue
from tests.chaos.campaign import Campaign, Result, as_json, media_for
from tests.chaos.faults import SMALL_DISK
from tests.chaos.schedule import Schedule, draw
from tests.fakes.livesource import LiveSource
from tests.integration.harness import save_reports
from tests.testbed import layers, setup
from tests.testbed.box import Box
from tests.testbed.vm import Vm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.testbed.machine import Machine

FOLDER: Final = setup.PROJECT / "build" / "chaos"


SLOWNESS: Final = {"box": 1.0, "vm": 4.0}
"""How much longer everything takes on each kind of machine."""
SMALL_DISK_SIZE: Final = 256 << 20
SETTLE: Final = f'mount "$1" {SMALL_DISK} && chown _streamvault: {SMALL_DISK} && rmdir {SMALL_DISK}/lost+found'
MOUNT_IN_BOX: Final = f'mkdir {SMALL_DISK}; mknod "$1" b "$2" "$3"; {SETTLE}'
MOUNT_IN_VM: Final = (
    f'modprobe loop; mkdir {SMALL_DISK}; truncate -s {SMALL_DISK_SIZE} "$1"; mkfs.ext4 -q -m 0 "$1"; {SETTLE}'
)


def account_file(schedule: Schedule, folder: Path = FOLDER) -> Path:
    """Where the account of a campaign goes."""
    return folder / f"{schedule.seed}.json"


def reports_folder(schedule: Schedule, folder: Path = FOLDER) -> Path:
    """Where the schedule goes, and the journal and reports of a campaign that failed."""
    return folder / str(schedule.seed)


def plan(seed: int, minutes: float, recordings: int, machine: str = "box", *, postgresql: bool = False) -> Schedule:
    """The schedule of a campaign on this kind of machine."""
    return draw(seed, minutes, recordings, slowness=SLOWNESS[machine], memory=machine == "vm", postgresql=postgresql)


def run(
    schedule: Schedule,
    deb: Path,
    *,
    machine: str = "box",
    folder: Path = FOLDER,
    say: Callable[[str], None] = print,
) -> Result:
    """Boot a machine, run the campaign on it, save its account."""
    reports = reports_folder(schedule, folder)
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "schedule.txt").write_text("".join(f"{fault}\n" for fault in schedule.faults))
    spec = media_for(schedule)
    with (
        LiveSource(spec, window=round(schedule.window / spec.segment)) as source,
        MACHINES[machine](layers_for(schedule, deb, machine), reports) as there,
    ):
        try:
            result = Campaign(there, source, schedule, reports, say).run()
        finally:
            save_reports(there, reports)
            if schedule.postgresql:
                catalogue.save_log(there, reports)
    account_file(schedule, folder).write_text(json.dumps(as_json(result), indent=1))
    return result


def layers_for(schedule: Schedule, deb: Path, machine: str) -> tuple[Path, ...]:
    """The root of the machine: what the campaign needs, and the package on top."""
    below = layers.kernel() if machine == "vm" else layers.base()
    return layers.installed(deb, layers.postgresql(below) if schedule.postgresql else below)


@contextmanager
def in_box(root: tuple[Path, ...], reports: Path) -> Iterator[Machine]:
    """A box with a small disk."""
    with Box(f"chaos-{os.getpid()}", root) as box, small_disk(reports / "disk.img") as device:
        number = Path(device).stat().st_rdev
        box.run(["sh", "-ec", MOUNT_IN_BOX, "sh", device, str(os.major(number)), str(os.minor(number))])
        yield box


@contextmanager
def in_vm(root: tuple[Path, ...], reports: Path) -> Iterator[Machine]:
    """A vm with a small disk."""
    del reports
    with Vm(f"chaos-{os.getpid()}", root) as vm:
        vm.run(["sh", "-ec", MOUNT_IN_VM, "sh", "/var/tmp/disk.img"], timeout=120)
        yield vm


MACHINES: Final = {"box": in_box, "vm": in_vm}


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
