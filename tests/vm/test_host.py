# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a machine of its own can show: clocks that are set, a daemon out of memory, a reboot, a power cut.

Clean shutdowns are looked at more closely in tests/integration/test_host.py, where they take two seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import count
from tests.integration.stories import ends_well, main_pid, wait_segments
from tests.testbed.vm import Vm
from tests.vm.calls import VmCtl
from tests.vm.settings import settings, small_streamlink

ROTATE_AGE = 90.0
SYNC_INTERVAL = 5.0
DAY = 86400
DROP_IN = "/run/systemd/system/streamvaultd.service.d"
# Daylight saving without a package of time zones
TIME_ZONE = "[Service]\nEnvironment=TZ=CET-1CEST,M3.5.0,M10.5.0/3\n"
JUST_BEFORE_SUMMER = "2027-03-28T00:59:58Z"
JUST_BEFORE_WINTER = "2027-10-31T00:59:58Z"
OUT_OF_MEMORY = "fe6faa94e7774663a0da52717891d8ef"
"""SD_MESSAGE_UNIT_OUT_OF_MEMORY"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while a segment runs."""

    recording: int
    number: int
    pid: int
    started: int
    rotation_due: int
    memory_max: str


def identity(vm: Vm, ctl: VmCtl, name: str) -> Identity:
    told, newest = ctl.recording(name), ctl.segments(name)[-1]
    return Identity(
        recording=told["id"],
        number=newest["number"],
        pid=newest["pid"],
        started=newest["startedAt"]["monotonic"],
        rotation_due=told["runtime"]["rotationDueAt"]["monotonic"],
        memory_max=vm.run(["systemctl", "show", "--property=MemoryMax", "--value", newest["unit"]]).stdout.strip(),
    )


def wait_back(vm: Vm, ctl: VmCtl, name: str, ends: list[str | None]) -> None:
    """Until it records again, and its segments that ran have ended so. A machine that goes down may have refused
    one that replaced a segment whose end was seen first.
    """
    seen: list[dict[str, Any]] = []

    def is_so() -> bool:
        seen[:] = ctl.segments(name)
        found = [segment for segment in seen if segment.get("cause") != "launch-failed"]
        return [segment.get("cause") for segment in found] == ends and bool(found[-1]["phase"] == "writing")

    vm.wait_for(is_so, f"{name} is back", timeout=60, seen=seen)


def sizes(vm: Vm, paths: list[str]) -> list[int]:
    """Bytes in files, all looked at within milliseconds."""
    return [int(size) for size in vm.run(["stat", "--format=%s", *paths]).stdout.split()]


def wait_growth(vm: Vm, path: str, source: LiveSource, channel: str, chunks: int) -> None:
    """Until so many further media segments are in a file."""
    goal = sizes(vm, [path])[0] + chunks * largest_chunk(source, channel)
    vm.wait_for(lambda: sizes(vm, [path])[0] >= goal, f"{chunks} chunks more in {path}", timeout=90)


def largest_chunk(source: LiveSource, channel: str) -> int:
    media = source.channels[channel].media
    return max(media.segment(index).stat().st_size for index in range(media.count))


@pytest.fixture(autouse=True)
def small(vm: Vm) -> Iterator[None]:
    """streamlink's small stand-in: what is looked at here is not streamlink, and there are many starts."""
    with small_streamlink(vm):
        yield


@pytest.fixture
def summer_and_winter(vm: Vm) -> Iterator[None]:
    """The daemon lives where clocks are changed twice a year."""
    vm.write_file(f"{DROP_IN}/zone.conf", TIME_ZONE)
    vm.run(["systemctl", "daemon-reload"])
    vm.run(["systemctl", "restart", "streamvaultd"], timeout=120)
    yield
    vm.run(["rm", "-r", DROP_IN])
    vm.run(["systemctl", "daemon-reload"])


@pytest.mark.usefixtures("summer_and_winter")
def test_clocks_that_are_set(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """A day forth, two back, into summer time and out of it: the segment is rotated at its age all the same, no
    earlier and no later, and nothing took it for a stall or a death.
    """
    now = int(vm.run(["date", "+%s"]).stdout)
    with settings(vm, "rotation", f'[rotation]\nage = "{ROTATE_AGE:g}s"\n'):
        ctl("record", vm.reach(source.url(channel)), "--name", "timeless", timeout=120)
    before, path = identity(vm, ctl, "timeless"), ctl.segments("timeless")[0]["path"]
    for when in (f"@{now + DAY}", f"@{now - DAY}", JUST_BEFORE_SUMMER, JUST_BEFORE_WINTER, f"@{now}"):
        vm.run(["date", f"--set={when}"])
        wait_growth(vm, path, source, channel, 1)
        assert identity(vm, ctl, "timeless") == before
    wait_segments(vm, ctl, "timeless", ["rotated", None], timeout=ROTATE_AGE + 60)
    first, second = (segment["startedAt"]["monotonic"] / 1e6 for segment in ctl.segments("timeless"))
    assert ROTATE_AGE <= second - first < ROTATE_AGE + 60
    ends_well(vm, ctl, source, channel, "timeless")


def test_a_daemon_out_of_memory(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """The kernel kills it for reaching its own limit; the segment never notices, and the next daemon adopts it."""
    ctl("record", vm.reach(source.url(channel)), "--name", "fatherless", timeout=120)
    before, daemon = identity(vm, ctl, "fatherless"), main_pid(vm)
    limit = vm.run(["systemctl", "show", "--property=MemoryMax", "--value", "streamvaultd"]).stdout.strip()
    vm.run(["systemctl", "set-property", "--runtime", "streamvaultd.service", "MemoryMax=20M"])
    vm.wait_journal(f"MESSAGE_ID={OUT_OF_MEMORY}", "UNIT=streamvaultd.service", timeout=60)
    vm.run(["systemctl", "set-property", "--runtime", "streamvaultd.service", f"MemoryMax={limit}"])
    vm.wait_for(lambda: main_pid(vm) not in (0, daemon), "a new daemon", timeout=60)
    assert identity(vm, ctl, "fatherless") == before
    ends_well(vm, ctl, source, channel, "fatherless")


@pytest.mark.timeout(1200)
def test_a_reboot_and_a_power_cut(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """Two recordings, continued after both. What the power cut costs is what was written since the last sync, and one
    chunk; the source still offered it after the boot, so that in the end no frame is missing.
    """
    names = ("first", "second")
    for name in names:
        ctl("record", vm.reach(source.url(f"{channel}-{name}")), "--name", name, timeout=120)
    recordings = {name: ctl.recording(name)["id"] for name in names}
    vm.reboot()
    for name in names:
        wait_back(vm, ctl, name, ["host-shutdown", None])

    newest = {name: ctl.segments(name)[-1] for name in names}
    paths = [newest[name]["path"] for name in names]
    for name, path in zip(names, paths, strict=True):
        wait_growth(vm, path, source, f"{channel}-{name}", 4)
    written = sizes(vm, paths)
    vm.cut_power()
    vm.power_on()
    kept = sizes(vm, paths)
    chunk = largest_chunk(source, f"{channel}-first")
    allowed = chunk * (1 + math.ceil(SYNC_INTERVAL / source.spec.segment))
    print({"written": written, "kept": kept, "allowed to lose": allowed})
    assert all(before - after <= allowed for before, after in zip(written, kept, strict=True))

    ends: list[str | None] = ["host-shutdown", "host-shutdown", None]
    for name in names:
        wait_back(vm, ctl, name, ends)
    assert {name: ctl.recording(name)["id"] for name in names} == recordings
    for name in names:
        source.control(f"{channel}-{name}", end=True)
    for name in names:
        vm.wait_for(lambda name=name: ctl.state(name) == "completed", f"{name} is complete", timeout=180)  # type: ignore[misc]
        path = ctl.recording(name)["runtime"]["path"]
        frames = count(vm, path, source, f"{channel}-{name}", first_segment=0)
        assert frames.is_perfect, f"{name}: {frames}"
