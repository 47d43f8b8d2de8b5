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
from tests.vm.settings import settings, small_streamlink

MIB = 1 << 20
LEAKY = """
[limits]
memory_max = "64M"
[streamlink]
options = { leak = 600000 }
"""
SLICE = "streamvault.slice"


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
