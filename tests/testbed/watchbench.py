# SPDX-License-Identifier: GPL-3.0-or-later
""".venv/bin/python -m tests.testbed.watchbench [--streamers N] [--live N] [--minutes M]: watching in numbers.

With --twitch all of them are channels of Twitch, whose interface is asked: its requests a minute are counted.

So many streamers are watched, and so many go live at random instants. Printed as JSON: how long the first round
takes, what probe and daemon cost while nobody is live, how long after going live a recording began, and how many
broadcasts have every frame, once. The exit status is 1 unless all have, and nobody else was recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fakes.channel import Channel
from tests.fakes.livesource import LiveSource
from tests.integration.harness import SETTINGS, Ctl, configure
from tests.integration.twitch import Twitch
from tests.testbed import layers
from tests.testbed.box import Box
from tests.testbed.deb import ensure_deb
from tests.testbed.frames import count_frames
from tests.testbed.measure import cpu_seconds, main_pid, memory_kib

INTERVAL = 10
WATCH = f"""
[watch]
interval = "{INTERVAL}s"
spacing = "20ms"
[network]
allow = ["127.0.0.1"]
"""
SPREAD = 60.0
"""The broadcasts begin at random within so many seconds."""


class Bench:
    """The streamers of one run."""

    def __init__(self, box: Box, source: LiveSource, number: int) -> None:
        self.box, self.source, self.ctl = box, source, Ctl(box)
        self.names = [f"watched{at:03d}" for at in range(number)]
        self.live: dict[str, Channel] = {}

    def begin(self) -> float:
        """Watch all of them; seconds until each was asked once."""
        self.write_files()
        started = time.monotonic()
        self.box.run(["systemctl", "restart", "streamvaultd"])
        self.box.wait_for(lambda: set(self.states().values()) == {"offline"}, "all were asked", timeout=300)
        return time.monotonic() - started

    def write_files(self) -> None:
        lines = ["mkdir -p /etc/streamvaultd/streamers.d"]
        for name in self.names:
            self.source.go_off_air(name)
            file = f"/etc/streamvaultd/streamers.d/{name}.toml"
            lines.append(f"printf '[streamer]\\nurl = \"{self.source.url(name)}\"\\n' >{file}")
        self.box.write_file("/root/streamers.sh", "\n".join(lines))
        self.box.run(["sh", "/root/streamers.sh"])

    def states(self) -> dict[str, str]:
        return {each["name"]: each["runtime"]["state"] for each in self.ctl.json("streamers")}

    def cost(self, minutes: float) -> dict[str, Any]:
        """Of the processes while nobody is live."""
        shown = self.box.run(["systemctl", "list-units", "--plain", "--no-legend", "streamvault-probe@*"]).stdout
        pids = {"daemon": main_pid(self.box, "streamvaultd"), "probe": main_pid(self.box, shown.split()[0])}
        before = {name: cpu_seconds(self.box, pid) for name, pid in pids.items()}
        asked, requests = self.questions(), self.requests()
        self.box.pause(minutes * 60)
        used = {name: cpu_seconds(self.box, pid) - before[name] for name, pid in pids.items()}
        questions, requested = self.questions() - asked, self.requests() - requests
        return {
            **self.interface(requested / minutes),
            "questions per minute": round(questions / minutes),
            **{f"{name} CPU % of a core": round(100 * used[name] / (minutes * 60), 2) for name in pids},
            **{f"{name} CPU ms per question": round(1000 * used[name] / max(questions, 1), 2) for name in pids},
            **{f"{name} KiB": memory_kib(self.box, pid) for name, pid in pids.items()},
        }

    def questions(self) -> int:
        """How often a channel was looked at so far."""
        return sum(channel.refused for channel in self.source.channels.values())

    def requests(self) -> int:
        """How often an interface was asked for many so far."""
        return 0

    def interface(self, _per_minute: float) -> dict[str, Any]:
        """What is to be said of that."""
        return {}

    def go_live(self, name: str) -> Channel:
        return self.source.go_live(name)

    def end(self, name: str) -> None:
        self.source.control(name, end=True)

    def broadcast(self, number: int) -> None:
        """So many go live, and end once all are recorded."""
        dice = random.Random(number)  # noqa: S311 - no secret
        names = dice.sample(self.names, number)
        begun = time.monotonic()
        for wait, name in sorted((dice.uniform(0, SPREAD), name) for name in names):
            self.box.pause(max(0.0, begun + wait - time.monotonic()))
            self.live[name] = self.go_live(name)
        self.box.wait_for(lambda: self.recorded() >= set(names), "all of them are recorded", timeout=180)
        for name in names:
            self.end(name)
        self.box.wait_for(lambda: len(self.completed()) >= number, "all are complete", timeout=600)

    def recorded(self) -> set[str]:
        """Whose media arrive: who is only about to be recorded must not end yet."""
        running = [each for each in self.ctl.json("list") if each["runtime"]["state"] == "recording"]
        return {each["context"]["streamer"] for each in running}

    def completed(self) -> list[Any]:
        found = self.ctl.json("list", "--all")
        return [each for each in found if each["runtime"]["state"] == "completed"]

    def result(self) -> dict[str, Any]:
        """What became of each broadcast."""
        told = self.ctl.json("list", "--all")
        late, perfect = [], 0
        for name, channel in self.live.items():
            mine = [each for each in told if each["context"]["streamer"] == name]
            late.append(mine[0]["runtime"]["startedAt"]["realtime"] / 1e6 - channel.started_at)
            perfect += len(mine) == 1 and self.is_perfect(mine[0]["runtime"]["path"], channel)
        return {
            "broadcasts": len(self.live),
            "recordings": len(told),
            "with every frame once": perfect,
            "seconds from live to recording": {
                "median": round(statistics.median(late), 1),
                "max": round(max(late), 1),
            },
        }

    def is_perfect(self, path: str, channel: Channel) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            fetched = self.box.fetch(path, Path(folder) / "fetched.ts")
            frames = count_frames(fetched, channel.media, first_segment=0, last_segment=channel.last())
        return frames.is_perfect


class TwitchBench(Bench):
    """All of them are channels of Twitch."""

    def __init__(self, box: Box, source: LiveSource, number: int, twitch: Twitch) -> None:
        super().__init__(box, source, number)
        self.twitch = twitch

    def write_files(self) -> None:
        self.twitch.install()
        self.twitch.watch(self.names)

    def questions(self) -> int:
        return len(self.twitch.site.looked_at)

    def requests(self) -> int:
        return len(self.twitch.helix.asked_at)

    def interface(self, per_minute: float) -> dict[str, Any]:
        expected = math.ceil(len(self.names) / 100) * 60 / INTERVAL
        return {"requests per minute": round(per_minute, 1), "requests per minute as computed": round(expected, 1)}

    def go_live(self, name: str) -> Channel:
        return self.twitch.go_live(name, f"broadcast-{name}")

    def end(self, name: str) -> None:
        self.twitch.end(name)


def main() -> int:
    """The bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streamers", type=int, default=200)
    parser.add_argument("--live", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--twitch", action="store_true", help="they are channels of Twitch")
    given = parser.parse_args()
    with (
        LiveSource() as source,
        Box(f"watchbench-{os.getpid()}", layers.installed(ensure_deb())) as box,
        Twitch(box, source) as twitch,
    ):
        configure(box, SETTINGS + WATCH)
        number = given.streamers
        bench = TwitchBench(box, source, number, twitch) if given.twitch else Bench(box, source, number)
        found: dict[str, Any] = {"streamers": given.streamers, "interval s": INTERVAL}
        found["first round s"] = round(bench.begin(), 1)
        found["while nobody is live"] = bench.cost(given.minutes)
        bench.broadcast(given.live)
        found["broadcasts"] = bench.result()
    print(json.dumps(found, indent=1))
    outcome = found["broadcasts"]
    return 0 if outcome["broadcasts"] == outcome["recordings"] == outcome["with every frame once"] else 1


if __name__ == "__main__":
    sys.exit(main())
