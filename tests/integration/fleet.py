# SPDX-License-Identifier: GPL-3.0-or-later
"""Several recordings at once, and what must not change about them whatever happens to the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.integration.harness import Ctl, count, scopes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.livesource import LiveSource
    from tests.testbed.machine import Machine


@dataclass(frozen=True, slots=True)
class Identity:
    """Of a running segment: none of it may change while it runs."""

    recording: int
    number: int
    pid: int
    started_at: Any
    rotation_due_at: int
    memory_max: str


class Fleet:
    """Recordings NAME0 … of channels of their own."""

    def __init__(self, machine: Machine, source: LiveSource, name: str, size: int) -> None:
        self.machine = machine
        self.source = source
        self.ctl = Ctl(machine)
        self.names = [f"{name}{number}" for number in range(size)]

    def record(self) -> None:
        """Start them all and wait until they write."""
        for name in self.names:
            self.ctl("record", self.source.url(name), "--name", name, "--no-block")
        self.wait_steady()

    def runtimes(self) -> dict[str, Any]:
        """Name → recording, of those that run."""
        return {told["context"]["streamer"]: told for told in self.ctl.json("list")}

    def wait_steady(self) -> None:
        """Until each of them records, with one scope and one only, and the daemon agrees with systemd about that."""

        def is_steady() -> bool:
            told = self.runtimes()
            mine = [told[name] for name in self.names if name in told]
            wanted = sorted(f"streamvault-{each['id']}-" for each in mine if each["runtime"]["state"] == "recording")
            found = sorted(unit[: unit.rindex("-") + 1] for unit in scopes(self.machine))
            return len(wanted) == len(self.names) and found == wanted

        self.machine.wait_for(is_steady, "all of them record, in one scope each", timeout=60)

    def segments(self) -> dict[str, Any]:
        """Name → its segments."""
        return {name: self.ctl.segments(name) for name in self.names}

    def identities(self) -> dict[str, Identity]:
        """Name → its newest segment."""
        return {name: self.identity(name) for name in self.names}

    def identity(self, name: str) -> Identity:
        """Its newest segment, which must run."""
        told, newest = self.ctl.recording(name), self.ctl.segments(name)[-1]
        shown = ["systemctl", "show", "--property=MemoryMax", "--value", newest["unit"]]
        return Identity(
            recording=told["id"],
            number=newest["number"],
            pid=newest["pid"],
            started_at=newest["startedAt"],
            rotation_due_at=told["runtime"]["rotationDueAt"]["monotonic"],
            memory_max=self.machine.run(shown).stdout.strip(),
        )

    def stop(self) -> None:
        """Stop those that still run, whatever state a failed test has left them in."""
        for name in self.runtimes():
            self.ctl("stop", name, check=False)

    def end_well(self, names: Sequence[str] = ()) -> None:
        """Their broadcasts end: each is one file that has every frame once, and nothing of them is left."""
        names = names or self.names
        for name in names:
            self.source.control(name, end=True)
        for name in names:
            self.machine.wait_for(
                lambda name=name: self.ctl.state(name) == "completed",  # type: ignore[misc]
                f"{name} is complete",
                timeout=90,
            )
            path = self.ctl.recording(name)["runtime"]["path"]
            frames = count(self.machine, path, self.source, name, first_segment=0)
            assert frames.is_perfect, f"{name}: {frames}"
