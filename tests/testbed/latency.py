# SPDX-License-Identifier: GPL-3.0-or-later
"""From a death to its replacement's exec, side by side with systemd: `python3 -m tests.testbed.latency [--kills N]`.

In one box, by turns under the same load: streamlink of a recording is killed, and streamlink of a plain service with
Restart=always and RestartSec=0. A death is CLOCK_MONOTONIC right before kill(2); an exec is the same clock as the
first thing that the new process does, which is a small program that then becomes streamlink. Its own start is in both
figures, and is measured, too. Each recording is killed once: after several deaths in a row replacements are delayed
on purpose. Printed as a table and, in the last line, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.fleet import Fleet
from tests.integration.harness import configure
from tests.testbed import layers
from tests.testbed.box import Box
from tests.testbed.deb import ensure_deb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAMP = "/usr/local/bin/stamp"
# Isolated and without site: a Python that starts as fast as one can.
STAMP_TEXT = """#!/usr/bin/python3 -IS
import time
now = time.monotonic()
import os, sys
line = f"{now:.6f} {' '.join(sys.argv[2:])}"
try:
    with open(sys.argv[1], "a") as file:
        file.write(line + "\\n")
except PermissionError:  # in a segment, which is confined; its stderr goes to the journal
    print("info stamp:", line, file=sys.stderr, flush=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""
STATE = "/var/lib/streamvaultd"
STAMPS = {"streamvaultd": f"{STATE}/segment.stamps", "systemd": f"{STATE}/service.stamps"}
MARK = "info stamp: "
SETTINGS = f"""
[recording]
grace = "2s"
[streamlink]
command = ["{STAMP}", "{STAMPS["streamvaultd"]}", "/usr/bin/streamlink"]
"""
SERVICE = f"""
[Unit]
StartLimitIntervalSec=0
[Service]
User=_streamvault
ExecStart={STAMP} {STAMPS["systemd"]} /usr/bin/streamlink --stdout --hls-live-edge 99 {{url}} best
StandardOutput=append:{STATE}/service.ts
StandardError=journal
Restart=always
RestartSec=0
"""
UNIT = "plain.service"
Figures = dict[str, dict[str, float]]
BATCH = 10
PATIENCE = 20.0


def prepare(box: Box, source: LiveSource) -> None:
    """Install the stamp for both, and start the plain service."""
    box.write_file(STAMP, STAMP_TEXT)
    box.run(["chmod", "755", STAMP])
    configure(box, SETTINGS)
    box.write_file(f"/run/systemd/system/{UNIT}", SERVICE.format(url=source.url("plain")))
    box.run(["systemctl", "daemon-reload"])
    box.run(["systemctl", "restart", "streamvaultd", UNIT])


def stamps(box: Box, who: str) -> list[float]:
    """When what records was executed, oldest first; asking streamlink for its version is not that."""
    if who == "systemd":
        file = box.path(STAMPS[who])
        lines = file.read_text().splitlines() if file.exists() else []
    else:
        said = box.run(["journalctl", "--output=cat", "--identifier=streamlink"]).stdout.splitlines()
        lines = [line.removeprefix(MARK) for line in said if line.startswith(MARK)]
    return [float(line.split()[0]) for line in lines]


def group(box: Box, unit: str) -> Path:
    """The control group of a unit, as this host sees it."""
    shown = box.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    return box.cgroup / shown.lstrip("/")


def streamlink_in(folder: Path) -> int:
    """The PID of streamlink in a control group, as this host numbers it; 0 while there is none."""
    for pid in folder.joinpath("cgroup.procs").read_text().split():
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"/streamlink\0" in argv and b"shim.py\0" not in argv and STAMP.encode() not in argv:
            return int(pid)
    return 0


def seconds_from_death_to_exec(box: Box, who: str, unit: str) -> float:
    """Kill streamlink in a unit, and wait for what replaces it."""
    folder = group(box, unit)
    victim = box.wait_for(lambda: streamlink_in(folder), f"streamlink runs in {unit}")
    known = len(stamps(box, who))
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    box.wait_for(lambda: len(stamps(box, who)) > known, f"{who} replaces it", timeout=PATIENCE)
    return stamps(box, who)[known] - killed


def own_start(box: Box, rounds: int) -> Iterator[float]:
    """Seconds from a fork to the stamp, at its fastest: what the measurement itself adds."""
    file = box.path("/root/own.stamps")
    for number in range(rounds):
        command = f"{STAMP} /root/own.stamps true"
        script = f"import os, time; print(time.monotonic(), flush=True); os.execvp('{STAMP}', '{command}'.split())"
        begun = float(box.run(["python3", "-IS", "-c", script]).stdout)
        yield float(file.read_text().splitlines()[number].split()[0]) - begun


def measure(box: Box, source: LiveSource, kills: int) -> dict[str, list[float]]:
    """Seconds for each kill, by turns."""
    found: dict[str, list[float]] = {who: [] for who in STAMPS}
    while (left := kills - len(found["streamvaultd"])) > 0:
        fleet = Fleet(box, source, f"batch{left}-", min(BATCH, left))
        fleet.record()
        for name in fleet.names:
            segment = fleet.ctl.segments(name)[-1]["unit"]
            found["streamvaultd"].append(seconds_from_death_to_exec(box, "streamvaultd", segment))
            found["systemd"].append(seconds_from_death_to_exec(box, "systemd", UNIT))
        fleet.stop()
        box.wait_for(lambda fleet=fleet: not fleet.runtimes(), "they are stopped", timeout=60)  # type: ignore[misc]
    return found


def spread(seconds: list[float]) -> dict[str, float]:
    """The distribution in milliseconds."""
    ordered = sorted(value * 1000 for value in seconds)
    figures = {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
        "max": ordered[-1],
    }
    return {name: round(value, 1) for name, value in figures.items()}


ROWS = {
    "streamvaultd": "streamvaultd, a segment of a recording",
    "systemd": "systemd, Restart=always RestartSec=0",
    "stamp": "the measuring program itself, in both",
}


def table(found: Figures, kills: int) -> str:
    """The figures for people."""
    head = f"death to exec, ms ({kills} kills each)"
    rows = [(ROWS[who], [f"{value:.1f}" for value in figures.values()]) for who, figures in found.items()]
    lines = [(head, list(found["systemd"])), *rows]
    return "\n".join(f"{title:<40}" + "".join(f"{value:>9}" for value in values) for title, values in lines)


def run(box: Box, source: LiveSource, kills: int, *, say: Callable[[str], None] = print) -> Figures:
    """Measure in a box and say what was found."""
    prepare(box, source)
    found = {who: spread(seconds) for who, seconds in measure(box, source, kills).items()}
    found["stamp"] = spread(list(own_start(box, min(kills, 20))))
    say(table(found, kills))
    say(json.dumps({"kills": kills, "unit": "ms", **found}))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    given = parser.parse_args()
    source = LiveSource(MediaSpec(seconds=max(600, 15 * given.kills)))
    with source, Box(f"latency-{os.getpid()}", layers.installed(ensure_deb())) as box:
        run(box, source, given.kills)


if __name__ == "__main__":
    main()
