# SPDX-License-Identifier: GPL-3.0-or-later
"""A real kernel kills a real streamlink for want of memory: each time one death, its cause, and a replacement."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamvaultd.core.recording.effects import Notice
from tests.fakes.livesource import LiveSource
from tests.integration.harness import count
from tests.integration.stories import ends_well, wait_scopes, wait_writing
from tests.testbed.vm import Vm
from tests.vm.calls import Feed, VmCtl
from tests.vm.settings import small_streamlink

MIB = 1 << 20
VICTIMS = 5
KILLS = 10
"""Of all victims; --kills has more"""
# What leaves little room for streamlink, and for its small stand-in.
TIGHT = 60 * MIB
TIGHT_SMALL = 24 * MIB
# tail(1) keeps all of a line that has no end: it fills what the limit leaves, and streamlink is chosen to die
HOG = 'echo $$ > /sys/fs/cgroup"$1"/cgroup.procs && exec tail /dev/zero'
# Looks at a file's size until stdin ends, then prints how long it has stood still at most.
GROWTH = """
import json, os, select, sys, time
begun = last = time.monotonic()
size = changes = longest = 0
while not select.select([0], [], [], 0.1)[0]:
    now, new = time.monotonic(), os.stat(sys.argv[1]).st_size
    longest = max(longest, now - last)
    if new != size:
        last, size, changes = now, new, changes + 1
print(json.dumps({"seconds": now - begun, "bytes": size, "changes": changes, "longest": longest}))
"""


def squeeze(vm: Vm, unit: str, limit: int) -> None:
    """Leave the unit a limit that it keeps, and somebody in it who reaches it: the kernel chooses whom to kill."""
    vm.run(["systemctl", "set-property", "--runtime", unit, f"MemoryMax={limit}"])
    group = vm.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    vm.run(["sh", "-c", HOG, "sh", group], check=False)


def limit_of(segment: int) -> int:
    """What a segment of a victim is left."""
    return TIGHT if segment == 1 else TIGHT_SMALL


def deaths(vm: Vm, recording: int) -> int:
    """How many deaths of a recording the daemon has stored."""
    query = f"SELECT count(*) FROM events WHERE recording_id = {recording} AND kind = '{Notice.SEGMENT_DIED}'"  # noqa: S608
    return int(vm.run(["sqlite3", "/var/lib/streamvaultd/streamvaultd.sqlite", query]).stdout)


def test_a_limit_below_what_is_used(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str) -> None:
    """As the seed's incident: out of memory, noticed, told as such, replaced in the same recording, joined.

    The kernel makes room at once, and where streamlink does not vanish quickly enough it kills the shim, too.
    """
    ctl("record", vm.reach(source.url(channel)), "--name", "squeezed", timeout=120)
    recording = ctl.recording("squeezed")["id"]
    unit = f"streamvault-{recording}-001.scope"
    vm.run(["systemctl", "set-property", "--runtime", unit, "MemoryMax=20M"])
    wait_writing(vm, ctl, "squeezed", 2, timeout=120)
    vm.wait_for(lambda: ctl.segments("squeezed")[0].get("cause") == "oom", "the cause is known")
    assert ctl.recording("squeezed")["id"] == recording
    wait_scopes(vm, f"streamvault-{recording}-002.scope")
    (end, _) = ctl.ends("squeezed")
    assert (end["death"], end["evidence"]["journalOOM"], end["replacedBy"]) == (True, True, 2)
    assert deaths(vm, recording) == 1
    ends_well(vm, ctl, source, channel, "squeezed")


@dataclass
class Victims:
    """Recordings whose segments are killed as soon as they record, and what is told about them."""

    vm: Vm
    names: dict[int, str]
    kills_each: int
    kills: Counter[int] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    died: dict[int, int] = field(default_factory=dict)
    replaced: list[float] = field(default_factory=list)
    """seconds from a death to its replacement's exec"""

    def see(self, event: Any) -> None:
        """Kill what records now; note the rest."""
        recording = event["recording"]
        if recording not in self.names:
            return
        self.told[event["kind"]] += 1
        at = event["at"]["monotonic"]
        if event["kind"] == Notice.SEGMENT_DIED:
            self.died[recording] = at
        elif event["kind"] == Notice.SEGMENT_STARTED and recording in self.died:
            self.replaced.append((at - self.died.pop(recording)) / 1e6)
        elif event["kind"] == Notice.MEDIA_ARRIVED and self.kills[recording] < self.kills_each:
            self.kills[recording] += 1
            squeeze(self.vm, f"streamvault-{recording}-{event['segment']:03}.scope", limit_of(event["segment"]))

    @property
    def are_done(self) -> bool:
        """All were killed as often as they are to be, and record again."""
        wanted = VICTIMS * self.kills_each
        return self.kills.total() == wanted and self.told[Notice.MEDIA_ARRIVED] == wanted + VICTIMS


@pytest.fixture
def kills_each(request: pytest.FixtureRequest) -> int:
    """How many times each victim is killed: at least once as streamlink, and once as its stand-in."""
    return max(2, int(request.config.getoption("--kills", default=0) or KILLS) // VICTIMS)


@pytest.mark.timeout(1800)
def test_many_kills_and_a_neighbour(vm: Vm, ctl: VmCtl, source: LiveSource, channel: str, kills_each: int) -> None:
    """As many deaths, causes and replacements in 5 recordings; the sixth never notices."""
    ctl("record", vm.reach(source.url(f"{channel}-neighbour")), "--name", "neighbour", timeout=120)
    (neighbour,) = ctl.segments("neighbour")
    growth = vm.popen(["python3", "-S", "-c", GROWTH, neighbour["path"]], stdin=subprocess.PIPE)
    names = [f"victim{number}" for number in range(VICTIMS)]
    with Feed(vm) as feed:
        started = {record(vm, ctl, source.url(f"{channel}-{name}"), name): name for name in names}
        victims = Victims(vm, started, kills_each)
        with small_streamlink(vm):
            for event in feed.events(timeout=1500):
                victims.see(event)
                if victims.are_done:
                    break
    seen = json.loads(growth.communicate(b"\n", timeout=120)[0])
    told = {"deaths": victims.told[Notice.SEGMENT_DIED], "death to exec": spread(victims.replaced), "neighbour": seen}
    print(json.dumps(told))

    for recording, name in started.items():
        is_as_wanted(vm, ctl, recording, name, kills_each)
    assert victims.told[Notice.SEGMENT_DIED] == VICTIMS * kills_each
    assert victims.told[Notice.CAUSE_CORRECTED] == 0

    assert len(ctl.segments("neighbour")) == 1
    assert ctl.recording("neighbour")["runtime"]["deaths"] == 0
    assert ctl.segments("neighbour")[0]["phase"] == "writing"
    for name in ("neighbour", *names):
        source.control(f"{channel}-{name}", end=True)
    for name in ("neighbour", *names):
        vm.wait_for(lambda name=name: ctl.state(name) == "completed", f"{name} is complete", timeout=300)  # type: ignore[misc]
        path = ctl.recording(name)["runtime"]["path"]
        frames = count(vm, path, source, f"{channel}-{name}", first_segment=0)
        assert frames.is_perfect, f"{name}: {frames}"


def record(vm: Vm, ctl: VmCtl, url: str, name: str) -> int:
    """Have it recorded, and wait until its streamlink runs; the recording's number."""
    number = int(ctl.call("Record", url=vm.reach(url), name=name)["recording"]["id"])
    vm.wait_for(lambda: ctl.segments(name)[0]["phase"] in ("waiting", "writing"), f"{name} runs", timeout=60)
    return number


def is_as_wanted(vm: Vm, ctl: VmCtl, recording: int, name: str, kills: int) -> None:
    """So many deaths, each for want of memory, each with its limit and peak, each replaced, none counted twice."""
    assert ctl.recording(name)["id"] == recording
    assert ctl.recording(name)["runtime"]["deaths"] == kills
    assert deaths(vm, recording) == kills
    *ended, running = ctl.ends(name)
    assert (len(ended), running["phase"]) == (kills, "writing")
    for number, end in enumerate(ended, start=1):
        assert (end["cause"], end["replacedBy"]) == ("oom", number + 1), end
        assert end["evidence"]["memoryMax"] == limit_of(number), end
        assert limit_of(number) / 2 < end["memoryPeak"] <= limit_of(number) + MIB, end


def spread(values: list[float]) -> dict[str, float]:
    """The distribution of measured seconds."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {key: round(value, 2) for key, value in found.items()}
