# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory as a real kernel counts it: page cache that is dropped, limits that are told, and slices that are full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.livesource import LiveSource
from tests.integration.harness import scopes, streamlink_pid
from tests.integration.stories import ends_well, wait_segments, wait_writing
from tests.testbed.vm import Vm
from tests.vm.calls import VmCtl
from tests.vm.settings import SMALL, settings, small_streamlink

MIB = 1 << 20
LEAKY = """
[limits]
memory_max = "64M"
[streamlink]
options = { leak = 600000 }
"""
SLICE = "streamvault.slice"
GREEDY = "/usr/local/bin/greedy-streamlink"
GREEDY_TEXT = f"""#!/usr/bin/python3 -IS
import os, sys
config = next((word.partition("=")[2] for word in sys.argv if word.startswith("--config=")), "/dev/null")
with open(config) as file:
    if "-greedy/" not in file.read():
        os.execv("{SMALL}", ["{SMALL}", *sys.argv[1:]])
filled = {{}}
for place in ("/run", "/run/user", "/run/lock", "/dev/shm", "/tmp", "/var/tmp", "/tmp/scratch", os.environ["HOME"]):
    filled[place] = 0
    try:
        with open(place + "/filler", "ab", buffering=0) as file:
            while filled[place] < 192:
                filled[place] += file.write(bytes(1 << 20)) == 1 << 20
    except OSError:
        pass
sys.stderr.write(f"filled {{sum(filled.values()) - filled[os.environ['HOME']]}} MiB of others, "
                 f"{{filled[os.environ['HOME']]}} MiB of its own\\n")
sys.stderr.flush()
held = []
while True:
    held.append(bytes([1]) * (4 << 20))
"""
"""Its source's name says whether it fills all that it can, and then holds memory until it is killed."""

FEW = 1000
"""KiB and names that systemd itself may write to /run meanwhile."""


def counts(vm: Vm, unit: str) -> dict[str, int]:
    """memory.stat of a unit's control group."""
    group = vm.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    words = vm.run(["cat", f"/sys/fs/cgroup{group}/memory.stat"]).stdout.split()
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}


@contextmanager
def limited(vm: Vm, size: str) -> Iterator[None]:
    """The slice has no more memory than this."""
    shown = vm.run(["systemctl", "show", "--property=MemoryMax", "--value", SLICE]).stdout.strip()
    vm.run(["systemctl", "set-property", "--runtime", SLICE, f"MemoryMax={size}"])
    try:
        yield
    finally:
        vm.run(["systemctl", "set-property", "--runtime", SLICE, f"MemoryMax={shown}"])


def test_a_slice_that_is_full(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """A new recording is refused and a rotation put off; a replacement after a death is started all the same."""
    ctl("record", vm.reach(source.url(channel)), "--name", "first", timeout=120)
    recording = ctl.recording("first")["id"]
    first = f"streamvault-{recording}-001.scope"
    used = counts(vm, first)["anon"]
    assert used > 20 * MIB

    with limited(vm, "280M"):
        refused = ctl("record", vm.reach(source.url(channel)), "--name", "second", check=False, timeout=120)
        assert refused.returncode == 1
        assert f"cannot record 'second': {SLICE} may have 280M of memory, " in refused.stderr
        assert "and a segment may take 256M" in refused.stderr
        ctl.call("Rotate", recording="first")
        vm.wait_journal(
            f"STREAMVAULT_RECORDING={recording}",
            until=lambda entry: "Rotation of 'first'" in entry["MESSAGE"] and "280M of memory" in entry["MESSAGE"],
        )
        assert scopes(vm) == [first]
        assert ctl.state("first") == "recording"

        vm.run(["kill", "-KILL", str(streamlink_pid(vm, first))])
        vm.wait_for(lambda: ctl.segments("first")[-1]["phase"] == "writing", "a replacement writes", timeout=120)
    newest = ctl.segments("first")[-1]["number"]
    assert newest > 1
    ctl.call("Rotate", recording="first")
    wait_writing(vm, ctl, "first", newest + 1, timeout=120)
    ends_well(vm, ctl, source, channel, "first")
    [evidence, *_] = [end["evidence"] for end in ctl.ends("first") if end["segment"] == 1]
    assert evidence["memoryMax"] == 256 * MIB


def test_what_is_on_disk_is_out_of_memory(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    source.channel(channel, {"bitrate": "6M", "seconds": 120})
    ctl("record", vm.reach(source.url(channel)), "--name", "large", timeout=120)
    recording = ctl.recording("large")["id"]
    path = Path(ctl.segments("large")[0]["path"])
    vm.wait_for(lambda: int(vm.run(["stat", "-c", "%s", str(path)]).stdout) > 20 * MIB, "20M", timeout=180)
    found = counts(vm, f"streamvault-{recording}-001.scope")
    assert found["file"] < 10 * MIB, found
    ends_well(vm, ctl, source, channel, "large")


def test_a_leak_is_rotated_away(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """A process that holds on to ever more is replaced before the kernel kills it: no death, and nothing is lost."""
    with small_streamlink(vm):
        with settings(vm, "leak", LEAKY):
            ctl("record", vm.reach(source.url(channel)), "--name", "leaky", timeout=120)
        wait_segments(vm, ctl, "leaky", ["rotated", None], timeout=100)
    assert ctl.recording("leaky")["runtime"]["deaths"] == 0
    first, second = ctl.segments("leaky")
    assert (first["memoryMax"], second["memoryMax"]) == (64 * MIB, 96 * MIB)
    ends_well(vm, ctl, source, channel, "leaky")


def taken(vm: Vm) -> list[int]:
    """KiB and names that are taken in /run and /dev/shm of the machine; and in memory by what recordings wrote."""
    shown = vm.run(["df", "--output=used,iused", "/run", "/dev/shm"]).stdout.splitlines()[1:]
    return [*(int(number) for line in shown for number in line.split()), counts(vm, SLICE)["shmem"] >> 10]


def test_what_takes_all_memory_that_it_can_takes_its_own(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """Before, while and after it is killed at its own limit, again and again, everything else goes on.

    systemd reads its units, a neighbour records and is joined, a new recording begins; and nothing is left of it.
    """
    before = taken(vm)
    vm.write_file(GREEDY, GREEDY_TEXT)
    vm.run(["chmod", "755", GREEDY])
    with small_streamlink(vm), settings(vm, "taken-over", f'[streamlink]\ncommand = "{GREEDY}"\n'):
        begin(vm, ctl, source, channel, "neighbour")
        greedy = ctl.call("Record", url=vm.reach(source.url(f"{channel}-greedy")), name="greedy")["recording"]["id"]
        vm.wait_for(lambda: ctl.ends("greedy")[0].get("cause") == "oom", "it was killed", timeout=180)
        said = vm.wait_journal(f"STREAMVAULT_RECORDING={greedy}", until=lambda entry: "filled" in entry["MESSAGE"])
        assert said["MESSAGE"] == "filled 0 MiB of others, 16 MiB of its own"
        first = ctl.ends("greedy")[0]
        assert (first["evidence"]["memoryMax"], first["memoryPeak"] > 250 * MIB) == (256 * MIB, True)
        vm.run(["systemctl", "daemon-reload"], timeout=120)
        begin(vm, ctl, source, f"{channel}-late", "late")
        ends_well(vm, ctl, source, channel, "neighbour")
        ctl("stop", "greedy", "--wait", check=False, timeout=120)
    ends_well(vm, ctl, source, f"{channel}-late", "late")
    for name in ("neighbour", "late"):
        assert ctl.recording(name)["runtime"]["deaths"] == 0
    assert all(after - then < FEW for after, then in zip(taken(vm), before, strict=True))


def begin(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str, name: str) -> None:
    ctl.call("Record", url=vm.reach(source.url(channel)), name=name)
    wait_writing(vm, ctl, name, 1, timeout=120)
