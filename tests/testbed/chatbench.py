# SPDX-License-Identifier: GPL-3.0-or-later
"""The capture of chats for a long time, with every fault in turn; and what many of them cost.

`python -m tests.testbed.chatbench --minutes 10 --rate 200` says so many messages a second to one capture. Meanwhile it
announces a reconnection, breaks the connection off, lets it go silent, puts the capture out of the channel and kills
it. In the end each message that was said to somebody has to be there, once and in order.

`--channels 200` starts so many captures, says one message a second to each, and prints memory and processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.component.test_chat_capture import Captured, ids, until
from tests.fakes.chat_server import ChatServer

SPELL = 12.0
"""Seconds between two faults."""

MEASURED = 30
TAIL = 1 << 20
PATIENCE = 600
TICKS = os.sysconf("SC_CLK_TCK")


class Long:
    """One capture after the other, into files of their own; the server goes on."""

    def __init__(self, folder: Path, server: ChatServer) -> None:
        self.folder, self.server = folder, server
        self.captures: list[Captured] = []
        self.start()

    def start(self) -> None:
        folder = self.folder / str(len(self.captures))
        self.captures.append(Captured(folder, self.server.port, self.server.ca))

    def kept(self) -> list[str]:
        every = itertools.chain.from_iterable(ids(capture.path) for capture in self.captures)
        return list(dict.fromkeys(every))

    def settle(self) -> None:
        """Everything that was said is on disk: what is lost by a fault after this would be the fault's."""
        until(lambda: self.server.sent[-1].encode() in self._tail(), "what was said")

    def _tail(self) -> bytes:
        with self.captures[-1].path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read()

    def reconnect(self) -> None:
        before = list(self.server.joined)
        self.server.order(":tmi.twitch.tv RECONNECT")
        self.server.wait_for_another(before)
        self.server.hang_up(before)

    def break_off(self) -> None:
        self.settle()
        self.server.break_off(list(self.server.joined))

    def go_silent(self) -> None:
        self.settle()
        self.server.freeze()
        self.server.wait(lambda: self.server.joined, "a connection instead of the silent one", PATIENCE)

    def kick(self) -> None:
        self.settle()
        self.server.kick(self.server.joined[0])

    def kill(self) -> None:
        self.settle()
        self.captures[-1].kill()
        self.server.wait(lambda: not self.server.joined, "its connection is gone")
        self.start()


def run_long(folder: Path, minutes: float, rate: int) -> dict[str, object]:
    """Messages that were said, and those that are there; and the faults."""
    faults: dict[str, int] = {}
    with ChatServer(folder / "tls") as server:
        story = Long(folder, server)
        ways: list[Callable[[], None]] = [story.reconnect, story.break_off, story.go_silent, story.kick, story.kill]
        end = time.monotonic() + minutes * 60
        for way in itertools.cycle(ways):
            spell = min(time.monotonic() + SPELL, end)
            while time.monotonic() < spell:
                server.say(rate // 10)
                threading.Event().wait(0.1)
            if time.monotonic() >= end:
                break
            way()
            faults[way.__name__] = faults.get(way.__name__, 0) + 1
        story.settle()
        story.captures[-1].end()
        kept = story.kept()
        return {"said": len(server.sent), "kept": len(kept), "equal": kept == server.sent, "faults": faults}


def run_many(folder: Path, channels: int) -> dict[str, object]:
    """Memory (KiB, shared pages by their share) and processor time (ms a second) of one capture, on average."""
    with ChatServer(folder / "tls") as server:
        captures = [Captured(folder / str(number), server.port, server.ca) for number in range(channels)]
        server.wait(lambda: len(server.joined) == channels, "all captures", PATIENCE)
        before, began = [_cpu(capture) for capture in captures], time.monotonic()
        for _ in range(MEASURED):
            server.say()
            threading.Event().wait(1.0)
        spent = [after - first for after, first in zip(map(_cpu, captures), before, strict=True)]
        passed = time.monotonic() - began
        memory = [_memory(capture) for capture in captures]
        for capture in captures:
            until(lambda path=capture.path: ids(path) == server.sent, "what was said")  # type: ignore[misc]
            capture.end()
        complete = sum(ids(capture.path) == server.sent for capture in captures)
    return {
        "channels": channels,
        "complete": complete,
        "pssKiB": round(sum(pss for pss, _ in memory) / channels),
        "rssKiB": round(sum(rss for _, rss in memory) / channels),
        "cpuMsPerSecond": round(sum(spent) / channels / passed * 1000, 2),
    }


def _cpu(capture: Captured) -> float:
    fields = Path(f"/proc/{capture.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(capture: Captured) -> tuple[int, int]:
    text = Path(f"/proc/{capture.process.pid}/smaps_rollup").read_text()
    found = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return found["Pss"], found["Rss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--channels", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.channels:
            found = run_many(Path(folder), options.channels)
            is_well = found["complete"] == options.channels
        else:
            found = run_long(Path(folder), options.minutes, options.rate)
            is_well = bool(found["equal"])
    print(json.dumps(found, indent=1))
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
