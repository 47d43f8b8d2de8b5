# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the recordings in a box, each in a thread of its own, from the first request to the joined file."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamvaultd.errors import VaultError
from tests.integration.harness import configure
from tests.odd.account import Facts
from tests.odd.beside import Beside, Run
from tests.odd.look import Looked, look
from tests.odd.show import Show
from tests.odd.site import Site
from tests.odd.take import Step, Take
from tests.testbed.box import Box
from tests.testbed.machine import RunError
from tests.testbed.recorder import Recorder

STREAMERS: Final = "/etc/streamvaultd/streamers.d"
RECORDINGS: Final = "/var/lib/streamvaultd/recordings"
SETTINGS: Final = """
[recording]
grace = "10s"
outage = "20s"
start_timeout = "40s"
stall_timeout = "40s"
"""
BETWEEN: Final = 1.0
"""Seconds from the start of one recording to that of the next: a streamlink needs the processor for so long."""
LOOK: Final = 1.0
BEGIN_LIMIT: Final = 240.0
END_LIMIT: Final = 400.0
FINAL: Final = ("completed", "stopped", "failed")
LOOKING: Final = threading.Semaphore(2)
"""Files are decoded on all cores, and not more at a time."""


class PlayError(AssertionError):
    """A recording did not come to where it should."""


@dataclass(slots=True)
class Stage(Recorder):
    """What all recordings share."""

    site: Site
    say: Callable[[str], None]
    clients: tuple[Beside, ...] = ()
    began: float = field(default_factory=time.monotonic)
    reloading: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, name: str, text: str) -> None:
        """A streamer's file; the daemon reads it now."""
        with self.reloading:
            self.box.write_file(f"{STREAMERS}/{name}.toml", text)
            self.call("Reload")


def play(
    box: Box,
    site: Site,
    takes: Sequence[Take],
    *,
    clients: tuple[Beside, ...] = (),
    say: Callable[[str], None] = print,
) -> list[Facts]:
    """All of them at a time; recordings go on whatever happens to another."""
    configure(box, SETTINGS)
    box.run(["systemctl", "restart", "streamvaultd"])
    stage = Stage(box, site, say, clients)
    performances = [Performance(stage, take, BETWEEN * number) for number, take in enumerate(takes)]
    with ThreadPoolExecutor(max(1, len(takes))) as pool:
        return [future.result() for future in [pool.submit(each.play) for each in performances]]


class Performance:
    """One recording."""

    def __init__(self, stage: Stage, take: Take, delay: float) -> None:
        self._stage = stage
        self._take = take
        self._delay = delay
        self._show: Show = take.show()

    def play(self) -> Facts:
        """All steps, the end, and what came of them."""
        why = ""
        self._stage.site.add(self._show)
        self._sleep_until(self._stage.began + self._delay)
        beside = [
            client.start(self._stage.site.url(self._show, client.name), self._show) for client in self._stage.clients
        ]
        for act in (self._perform, self._wait_over):
            try:
                act()
            except (PlayError, RunError, VaultError, OSError) as error:
                why = why or str(error)
                self._say(why)
        facts = self._facts(why, beside)
        self._say(facts.state)
        return facts

    def _perform(self) -> None:
        self._begin()
        for step in self._take.steps:
            assert self._show.begun is not None
            self._sleep_until(self._show.begun + step.at)
            self._do(step)
            self._say(f"{step.what} {step.how}")

    def _wait_over(self) -> None:
        if self._runtime():
            self._wait(lambda now: now["state"] in FINAL, "is over", self._show.over + END_LIMIT)

    @staticmethod
    def _sleep_until(moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))

    def _say(self, text: str) -> None:
        self._stage.say(f"{time.monotonic() - self._stage.began:7.2f}  {self._take.name}: {text}")

    # --- what is done ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        take, url = self._take, self._stage.box.reach(self._stage.site.url(self._show))
        if not take.settings:
            self._stage.call("Record", url=url, name=take.name)
        else:
            sections = {"streamer": {"url": url}, **take.settings}
            lines = [
                line
                for section, keys in sections.items()
                for line in (f"[{section}]", *(f'{key} = "{value}"' for key, value in keys.items()))
            ]
            self._stage.watch(take.name, "\n".join([*lines, ""]))
        if not take.is_refused:
            self._wait(lambda now: now["segments"] > 0 and self._show.begun is not None, "begins", BEGIN_LIMIT)

    def _do(self, step: Step) -> None:
        match step.what:
            case "rotate":
                self._wait(lambda now: now["state"] == "recording", "records", BEGIN_LIMIT)
                self._stage.call("Rotate", recording=self._take.name)
            case "away":
                self._show.go_away(step.seconds)
            case "kill":
                self._kill(step.how or "KILL")
            case "remove":
                self._stage.box.path(self._segments()[-1]["path"]).unlink()
            case "move":
                self._stage.box.run(["mv", f"{RECORDINGS}/{self._take.name}", f"{RECORDINGS}/{self._take.name}.old"])
            case _:
                raise PlayError(f"no such step: {step.what}")

    def _kill(self, name: str) -> None:
        """Every streamlink of the recording that runs."""
        for segment in self._segments():
            if pid := self._stage.streamlink(segment["unit"]):
                os.kill(pid, getattr(signal, f"SIG{name}"))

    def _segments(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self._stage.call("ListSegments", recording=self._take.name)["segments"]
        return answer

    def _wait(self, is_so: Callable[[dict[str, Any]], bool], what: str, limit: float) -> dict[str, Any]:
        """How the recording is, once it is so."""
        deadline = time.monotonic() + limit
        while True:
            now = self._runtime()
            if now and is_so(now):
                return now
            if time.monotonic() > deadline:
                state = now["state"] if now else "not there"
                raise PlayError(f"{what}: not within {limit:.0f} s, it is {state}")
            time.sleep(LOOK)

    def _runtime(self) -> dict[str, Any]:
        """Empty before it is there."""
        try:
            found: dict[str, Any] = self._stage.call("Get", recording=self._take.name)["recording"]["runtime"]
        except VaultError:
            return {}
        return found

    # --- what came of it -------------------------------------------------------------------------------------------

    def _facts(self, why: str, beside: list[Run]) -> Facts:
        others = {run.name: self._look_beside(run) for run in beside}
        runtime = self._runtime()
        if not runtime:
            return Facts(take=self._take, show=self._show, state="not there", why=why)
        name, call = self._take.name, self._stage.call
        parts = call("ListParts", recording=name)
        verdict, problems = self._verify()
        told = [part.get("durationUSec") for part in parts["parts"]]
        with LOOKING:
            looked = [self._look(part["path"]) for part in parts["parts"]]
        return Facts(
            take=self._take,
            show=self._show,
            state=runtime["state"],
            why=why
            or ("" if runtime["state"] == "completed" or self._take.is_refused else runtime.get("detail") or ""),
            deaths=runtime["deaths"],
            segments=runtime["segments"],
            parts=[Path(part["path"]).name for part in parts["parts"]],
            told_ms=sum(told) / 1000 if told and all(told) else None,
            notes=parts["notes"],
            told=[event["kind"] for event in call("ListEvents", recording=name)["events"]],
            seams=self._stage.seams(name),
            verdict=verdict,
            problems=problems,
            looked=looked,
            beside=others,
        )

    @staticmethod
    def _look_beside(run: Run) -> list[Looked]:
        files = run.finish()
        with LOOKING:
            looked = [look(file) for file in files]
        run.remove()
        return looked

    def _look(self, path: str) -> Looked:
        file = self._stage.box.path(path)
        return look(file) if file.exists() else Looked()

    def _verify(self) -> tuple[str, list[str]]:
        try:
            found = self._stage.call("Verify", recording=self._take.name)
        except VaultError as error:
            return str(error), []
        return found["verdict"], [problem["text"] for problem in found["problems"][:5]]
