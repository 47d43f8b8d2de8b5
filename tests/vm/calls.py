# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the daemon in a vm by varlinkctl(1): a C program, where streamvaultctl's Python takes two seconds to start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.integration.harness import Ctl
from tests.testbed.machine import Machine, WaitError, read_lines

SOCKET = "/run/streamvaultd/io.streamvault.Recorder"
RECORD_SEPARATOR = "\x1e"


def command(method: str, *options: str, **parameters: Any) -> list[str]:
    """A call as a command."""
    name = f"io.streamvault.Recorder.{method}"
    return ["varlinkctl", "call", "--json=short", *options, SOCKET, name, json.dumps(parameters)]


class VmCtl(Ctl):
    """streamvaultctl, but what tests ask again and again is asked the short way."""

    def call(self, method: str, *, timeout: float = 60, **parameters: Any) -> Any:
        """The answer of one call."""
        return json.loads(self.machine.run(command(method, **parameters), timeout=timeout).stdout)

    def recording(self, name: str) -> Any:
        return self.call("Get", recording=name)["recording"]

    def segments(self, name: str) -> Any:
        return self.call("ListSegments", recording=name)["segments"]

    def ends(self, name: str) -> Any:
        """How and why its segments ended, as "why" tells."""
        return self.call("Why", recording=name)["ends"]


class Feed:
    """What the daemon tells its subscribers, from now on; to be read once."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        options = ("--more", "--timeout=infinity")
        self.process = machine.popen(command("Subscribe", *options), stderr=subprocess.DEVNULL)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def events(self, *, timeout: float) -> Iterator[Any]:
        """Events as they come, {"kind", "recording", "segment", …}; raises when that goes on for longer."""
        for line in read_lines(self.process, timeout=timeout):
            answer = json.loads(line.lstrip(RECORD_SEPARATOR))
            if "event" in answer:
                yield answer["event"]
        raise WaitError(f"the events of {self.machine.name} have ended, or {timeout} s are over")
