# SPDX-License-Identifier: GPL-3.0-or-later
"""The incident's second scenario as it was: out of memory, before the rotation was due, and nobody had noticed.

The other scenarios, and the checklist, are in tests/integration/test_seed_scenarios.py.
"""

from __future__ import annotations

from streamvaultd.core.recording.effects import Notice
from streamvaultd.reporting.announced import ENTRIES
from tests.fakes.livesource import LiveSource
from tests.integration.stories import ends_well, rotation_due, told, wait_segments
from tests.testbed.vm import Vm
from tests.vm.calls import VmCtl
from tests.vm.settings import settings

# A day is 40 seconds here.
ROTATION = '[rotation]\nage = "40s"\n'


def uptime(vm: Vm) -> float:
    """The vm's CLOCK_MONOTONIC, which has not been suspended."""
    return float(vm.run(["cat", "/proc/uptime"]).stdout.split()[0])


def test_scenario_2_out_of_memory_before_the_rotation(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """Scenario 2: the kernel kills streamlink, its rotation falls due, and the daemon comes back only then.

    One death, its cause is known from what remains, the recording goes on, and the next rotation is like any other.
    """
    with settings(vm, "rotation", ROTATION):
        ctl("record", vm.reach(source.url(channel)), "--name", "incident", timeout=120)
    recording, due = ctl.recording("incident")["id"], rotation_due(ctl, "incident")
    unit = f"streamvault-{recording}-001.scope"

    vm.run(["systemctl", "stop", "streamvaultd"])
    vm.run(["systemctl", "set-property", "--runtime", unit, "MemoryMax=20M"])
    result = ["systemctl", "show", "--property=Result", "--value", unit]
    vm.wait_for(lambda: vm.run(result).stdout.strip() == "oom-kill", "the kernel has killed it")
    vm.wait_for(lambda: uptime(vm) > due, "its rotation is due", timeout=60)
    vm.run(["systemctl", "start", "streamvaultd"], timeout=120)

    wait_segments(vm, ctl, "incident", ["oom", None], timeout=120)
    assert ctl.recording("incident")["runtime"]["deaths"] == 1
    wait_segments(vm, ctl, "incident", ["oom", "rotated", None], timeout=120)
    assert told(vm, ENTRIES[Notice.ROTATION_DONE], recording)[0].startswith("Successfully rotated to segment 003")
    ends_well(vm, ctl, source, channel, "incident")
