# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the main job, measured in a box: `python3 -m tests.testbed.measure [--minutes N] [--recordings N]`.

Memory of the daemon, the broker and a shim; the daemon's CPU while recordings run and nothing happens; from `record`
to the first media; from a kill of streamlink to the replacement's exec; how long old and new segment run side by side
in a rotation. Printed as JSON; nothing is asserted: machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.harness import Ctl, configure
from tests.testbed import layers
from tests.testbed.box import Box
from tests.testbed.deb import ensure_deb

ROUNDS = 10


def memory_kib(box: Box, pid: int) -> dict[str, int]:
    """Rss and Pss of a process in KiB (proc_pid_smaps_rollup)."""
    lines = box.run(["cat", f"/proc/{pid}/smaps_rollup"]).stdout.splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.endswith("kB")}
    return {"rss": found["Rss"], "pss": found["Pss"], "anonymous": found["Anonymous"]}


def main_pid(box: Box, unit: str) -> int:
    return int(box.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout)


def cpu_seconds(box: Box, pid: int) -> float:
    """User and system time of a process so far (proc_pid_stat(5))."""
    fields = box.run(["cat", f"/proc/{pid}/stat"]).stdout.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child_of(box: Box, pid: int) -> int:
    return int(box.run(["cat", f"/proc/{pid}/task/{pid}/children"]).stdout.split()[0])


def idle(box: Box, ctl: Ctl, source: LiveSource, *, recordings: int, minutes: float) -> dict[str, Any]:
    """Many recordings, and nothing happens."""
    for number in range(recordings):
        ctl("record", source.url(f"idle{number}"), "--name", f"idle{number}")
    daemon, shim = main_pid(box, "streamvaultd"), ctl.segments("idle0")[0]["pid"]
    before = cpu_seconds(box, daemon)
    box.pause(minutes * 60)
    used = cpu_seconds(box, daemon) - before
    found = {
        "recordings": recordings,
        "minutes": minutes,
        "daemon CPU s": round(used, 2),
        "daemon CPU % of a core": round(100 * used / (minutes * 60), 3),
        "daemon KiB": memory_kib(box, daemon),
        "shim KiB": memory_kib(box, shim),
        "streamlink KiB": memory_kib(box, child_of(box, shim)),
    }
    if broker := main_pid(box, "streamvault-brokerd"):
        found["broker KiB"] = memory_kib(box, broker)
    for number in range(recordings):
        ctl("stop", f"idle{number}")
    return found


def spread(values: list[float]) -> dict[str, float]:
    return {"min": round(min(values), 3), "median": round(statistics.median(values), 3), "max": round(max(values), 3)}


def first_media(ctl: Ctl, source: LiveSource) -> dict[str, float]:
    """Seconds from the start of `streamvaultctl record` to its return, which is when media have arrived."""
    seconds = []
    for number in range(ROUNDS):
        begun = time.monotonic()
        ctl("record", source.url(f"first{number}"), "--name", f"first{number}")
        seconds.append(time.monotonic() - begun)
        ctl("stop", f"first{number}")
    return spread(seconds)


def replacement(box: Box, ctl: Ctl, source: LiveSource) -> dict[str, float]:
    """Seconds from SIGKILL of streamlink to the moment the gate of its replacement opened."""
    seconds = []
    for number in range(ROUNDS):
        name = f"kill{number}"
        ctl("record", source.url(name), "--name", name)
        victim = child_of(box, ctl.segments(name)[0]["pid"])
        killed = time.monotonic()
        box.run(["kill", "-KILL", str(victim)])
        box.wait_for(lambda name=name: len(s := ctl.segments(name)) == 2 and "startedAt" in s[1], "a replacement")  # type: ignore[misc]
        seconds.append(ctl.segments(name)[1]["startedAt"]["monotonic"] / 1e6 - killed)
        ctl("stop", name)
    return spread(seconds)


def rotation(box: Box, ctl: Ctl, source: LiveSource) -> dict[str, float]:
    """Seconds for which the old and the new segment run side by side."""
    seconds = []
    ctl("record", source.url("rotate"), "--name", "rotate")
    for number in range(1, ROUNDS + 1):
        ctl("rotate", "rotate", "--wait")
        box.wait_for(lambda n=number: "endedAt" in ctl.segments("rotate")[n - 1], "the old one has ended")  # type: ignore[misc]
        old, new = ctl.segments("rotate")[number - 1 : number + 1]
        seconds.append((old["endedAt"]["monotonic"] - new["startedAt"]["monotonic"]) / 1e6)
    ctl("stop", "rotate")
    return spread(seconds)


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--recordings", type=int, default=10)
    given = parser.parse_args()
    source = LiveSource(MediaSpec(seconds=round(given.minutes * 60) + 120))
    with source, Box(f"measure-{os.getpid()}", layers.installed(ensure_deb())) as box:
        configure(box)
        box.run(["systemctl", "restart", "streamvaultd"])
        ctl = Ctl(box)
        found = {
            "record to first media s": first_media(ctl, source),
            "kill to replacement's exec s": replacement(box, ctl, source),
            "the same after 70 quiet s": replacement_after_quiet(box, ctl, source),
            "rotation: both run s": rotation(box, ctl, source),
            "idle": idle(box, ctl, source, recordings=given.recordings, minutes=given.minutes),
        }
    print(json.dumps(found, indent=1))


def replacement_after_quiet(box: Box, ctl: Ctl, source: LiveSource) -> float:
    """One replacement when nobody has needed the broker for longer than it waits for work."""
    ctl("record", source.url("quiet"), "--name", "quiet")
    victim = child_of(box, ctl.segments("quiet")[0]["pid"])
    box.pause(75)
    killed = time.monotonic()
    box.run(["kill", "-KILL", str(victim)])
    box.wait_for(lambda: len(s := ctl.segments("quiet")) == 2 and "startedAt" in s[1], "a replacement")
    started: int = ctl.segments("quiet")[1]["startedAt"]["monotonic"]
    ctl("stop", "quiet")
    return round(started / 1e6 - killed, 3)


if __name__ == "__main__":
    main()
