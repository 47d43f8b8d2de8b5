# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon in a box, as campaigns ask it from this host, and what it says of a result's seams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from streamvaultd.errors import RECORDER
from streamvaultd.varlink.client import Client
from tests.testbed.box import Box

SOCKET: Final = "/run/streamvaultd/io.streamvault.Recorder"
RECORDINGS: Final = Path("streamvault.slice/streamvault-recordings.slice")


class Seam(NamedTuple):
    """As the daemon tells it."""

    older: int
    newer: int
    kind: str
    method: str
    certainty: str
    gap_ms: float | None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Seam:
        gap = answer.get("gapUSec")
        words = {name: answer[name] for name in ("older", "newer", "kind", "method", "certainty")}
        return cls(**words, gap_ms=None if gap is None else gap / 1000)

    def __str__(self) -> str:
        gap = "" if self.gap_ms is None else f", {self.gap_ms:.0f} ms missing"
        return f"{self.older}-{self.newer} {self.kind} ({self.method}, {self.certainty}{gap})"


@dataclass(slots=True)
class Recorder:
    """It and its processes."""

    box: Box

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call the daemon in the box."""
        return Client(self.box.path(SOCKET)).call(f"{RECORDER}.{method}", parameters)

    def seams(self, name: str) -> list[Seam]:
        """Of the result of a recording."""
        return [Seam.parse(seam) for seam in self.call("ListSeams", recording=name)["seams"]]

    def streamlink(self, unit: str) -> int:
        """The process of streamlink in a scope, as this host numbers it; 0 when there is none."""
        try:
            pids = (self.box.cgroup / RECORDINGS / unit / "cgroup.procs").read_text().split()
            lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
        except OSError:
            return 0
        return next((pid for pid, line in lines.items() if b"--config=" in line and b"shim.py" not in line), 0)
