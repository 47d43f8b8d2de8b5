# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fills up, and one that fails, under recordings: a real ext4 of 64 MiB, mounted in the box."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.small_disk import MIB, run
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure, count, scopes
from tests.integration.stories import wait_up, wait_writing
from tests.testbed.box import Box

POINT = "/srv/small"
FLOOR = 4 * MIB
DISK_SETTINGS = (
    SETTINGS
    + """
sync_interval = "1s"

[disk]
reserve = "10s"
floor = "4M"
"""
)
DROP_IN = "/etc/systemd/system/streamvaultd.service.d/small.conf"
WINDOW = 120
"""Media segments of 2 s that the source offers: nothing leaves it while a recording is paused."""


class Disk:
    """A file system in an image on this host, mounted in a box."""

    def __init__(self, box: Box, image: Path) -> None:
        self.box = box
        with image.open("wb") as file:
            file.truncate(64 * MIB)
        run("mkfs.ext4", "-q", "-m", "0", image)
        self.device = run("losetup", "--find", "--show", image).strip()
        number = Path(self.device).stat().st_rdev
        # The box has no devices of its own, and no shared mounts as a host has where systemd is the first process.
        box.run(["mount", "--make-rshared", "/"])
        box.run(["mknod", self.device, "b", str(os.major(number)), str(os.minor(number))])
        box.run(["mkdir", "-p", POINT])
        self.mount()
        box.run(["chown", "_streamvault:", POINT])

    def mount(self) -> None:
        self.box.run(["mount", "-o", "errors=remount-ro", self.device, POINT])

    def unmount(self) -> None:
        self.box.run(["umount", POINT])

    def repair(self) -> None:
        """fsck, of a disk that nobody has mounted."""
        done = subprocess.run(["fsck.ext4", "-p", self.device], check=False, capture_output=True, text=True)
        assert done.returncode <= 1, done.stdout + done.stderr

    def fail(self) -> None:
        """An error of the file system, on which the kernel makes it read-only."""
        Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error").write_text("test")

    def free(self) -> int:
        shown = self.box.run(["stat", "--file-system", "--format=%a %S", POINT]).stdout.split()
        return int(shown[0]) * int(shown[1])

    def fill(self, leave: int) -> None:
        size = self.free() - leave
        self.box.run(["sh", "-c", f"head -c {size} /dev/zero > {POINT}/filler && sync {POINT}/filler"])

    def make_room(self) -> None:
        self.box.run(["rm", f"{POINT}/filler"])

    def files(self, *options: str) -> list[str]:
        """Files of recordings that are there, manifests left out."""
        others = ["!", "-name", "filler", "!", "-name", ".stream_*"]
        found = self.box.run(["find", POINT, "-type", "f", *others, *options]).stdout
        return sorted(found.splitlines())

    def close(self) -> None:
        run("losetup", "--detach", self.device)


@pytest.fixture(scope="module", name="box")
def _box(boot: Callable[[str], Box]) -> Iterator[Box]:
    booted = boot("test-disk")
    try:
        yield booted
    finally:
        booted.close()


@pytest.fixture(scope="module", name="disk")
def _disk(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    found = Disk(box, tmp_path_factory.mktemp("disk") / "image")
    configure(box, DISK_SETTINGS)
    box.write_file(DROP_IN, f"[Service]\nReadWritePaths={POINT}\n")
    box.run(["systemctl", "daemon-reload"])
    box.run(["systemctl", "restart", "streamvaultd"])
    try:
        yield found
    finally:
        found.close()


def record(ctl: Ctl, source: LiveSource, channel: str, name: str, *, window: int = WINDOW) -> None:
    source.channel(channel, {"window": window})
    ctl("record", source.url(channel), "--name", name, "--directory", POINT)
    wait_writing(ctl.machine, ctl, name, 1)


def wait_state(ctl: Ctl, name: str, state: str, timeout: float = 60) -> dict[str, Any]:
    """Until the recording is in this state; what the daemon tells of it then."""
    ctl.machine.wait_for(lambda: ctl.state(name) == state, f"{name} is {state}", timeout=timeout)
    found: dict[str, Any] = ctl.recording(name)["runtime"]
    return found


def wait_media(box: Box, source: LiveSource, channel: str, more: int) -> None:
    goal = source.state(channel)["last"] + more
    box.wait_for(lambda: source.state(channel)["last"] >= goal, f"{more} media segments", timeout=60)


def is_whole(box: Box, ctl: Ctl, source: LiveSource, channel: str, name: str) -> None:
    frames = count(box, ctl.recording(name)["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_a_disk_that_fills_up_pauses_its_recording_until_there_is_room(
    box: Box, disk: Disk, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    record(ctl, source, channel, "small")
    disk.fill(leave=FLOOR + 5 * MIB // 4)
    paused = wait_state(ctl, "small", "paused", timeout=90)
    box.wait_for(lambda: scopes(box) == [], "nothing runs any more")
    assert paused["detail"].startswith(f"{POINT}: ")
    assert re.search(r"less than \d+s remain$", paused["detail"])
    left, files = disk.free(), disk.files()
    assert left >= FLOOR
    assert disk.files("-empty") == []
    assert [segment["cause"] for segment in ctl.segments("small")] == ["disk-full"]

    refused = ctl("record", source.url(channel), "--name", "other", "--directory", POINT, check=False)
    assert refused.returncode == 1
    assert f"cannot record to {POINT}" in refused.stderr
    box.run(["systemctl", "restart", "streamvaultd"])
    wait_up(box, ctl)
    wait_media(box, source, channel, 4)
    assert ctl.state("small") == "paused"
    assert (disk.free(), disk.files()) == (left, files)
    assert [recording["context"]["streamer"] for recording in ctl.json("list")] == ["small"]

    disk.make_room()
    wait_state(ctl, "small", "recording")
    wait_writing(box, ctl, "small", 2)
    wait_media(box, source, channel, 2)
    source.control(channel, end=True)
    wait_state(ctl, "small", "completed")
    is_whole(box, ctl, source, channel, "small")
    assert len(disk.files()) == 1


def test_a_join_waits_for_room(box: Box, disk: Disk, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """The second segment does not reach back to the beginning of the first: both are needed."""
    record(ctl, source, channel, "joining", window=4)
    wait_media(box, source, channel, 6)
    ctl("rotate", "joining")
    wait_writing(box, ctl, "joining", 2)
    disk.fill(leave=FLOOR // 2)
    wait_state(ctl, "joining", "paused")
    ctl("stop", "joining")
    recording = ctl.recording("joining")["id"]
    box.wait_journal(
        f"STREAMVAULT_RECORDING={recording}", until=lambda entry: "waits for room" in entry["MESSAGE"], timeout=40
    )
    assert ctl.state("joining") == "finalizing"
    box.run(["systemctl", "restart", "streamvaultd"])
    wait_up(box, ctl)
    assert ctl.state("joining") == "finalizing"
    disk.make_room()
    ended = wait_state(ctl, "joining", "stopped")
    assert Path(ended["path"]).parent == Path(POINT) / "joining"
    failures = [
        entry for entry in box.journal(f"STREAMVAULT_RECORDING={recording}") if "Cannot join" in entry["MESSAGE"]
    ]
    assert failures == []


def test_a_disk_that_fails_pauses_its_recording_until_it_is_repaired(
    box: Box, disk: Disk, ctl: Ctl, source: LiveSource, channel: str
) -> None:
    """The kernel makes a file system with an error read-only; it is unmounted, repaired and mounted again."""
    record(ctl, source, channel, "failing")
    synced = wait_synced(ctl, "failing")
    disk.fail()
    paused = wait_state(ctl, "failing", "paused")
    assert "Read-only file system" in paused["detail"]
    box.wait_for(lambda: scopes(box) == [], "nothing runs any more")
    refused = ctl("record", source.url(channel), "--name", "other", "--directory", POINT, check=False)
    assert refused.returncode == 1
    disk.unmount()
    disk.repair()
    disk.mount()
    wait_state(ctl, "failing", "recording", timeout=90)
    assert int(box.run(["stat", "--format=%s", ctl.segments("failing")[0]["path"]]).stdout) >= synced
    wait_media(box, source, channel, 2)
    source.control(channel, end=True)
    wait_state(ctl, "failing", "completed", timeout=150)
    is_whole(box, ctl, source, channel, "failing")


def wait_synced(ctl: Ctl, name: str) -> int:
    """Until some of a segment has been put on disk: its bytes are not in memory any more (fincore(1))."""

    def synced() -> int:
        path = ctl.segments(name)[0]["path"]
        shown = json.loads(run("fincore", "--json", "--bytes", ctl.machine.path(path)))["fincore"][0]
        return max(int(shown["size"]) - int(shown["res"]) - MIB, 0)

    return int(ctl.machine.wait_for(synced, "something is synced", timeout=60))
