# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.testbed.stages [STAGE…]: what "all tests pass" means, stage by stage, and a table of them.

Without names all are run, those that wait for broadcasts beside each other. The output of each stage is in
build/logs/STAGE.log; tests in boxes leave a folder for each failure there, too. With --repeat N they are run N times,
the logs are in build/logs/ROUND/, and what is told at the end is how many times each stage passed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.testbed import deb, setup
from tests.testbed.lanes import Commands, Lanes, Stage, interrupt_once

PROJECT = setup.PROJECT
LOGS = PROJECT / "build" / "logs"
BIN = setup.VENV / "bin"
# What is told of a stage's failures at the very end, where a reader of CI's last lines sees it
ERROR_LINES, SUMMARY_LINES, LINE = 12, 10, 200
# Without what an earlier run made of them (-E): a document that is gone would stay. A warning is an error (-W).
HTML = [str(BIN / "sphinx-build"), "-q", "-E", "-W", "--keep-going", "-d", "build/doctrees", "docs", "build/html"]


def run_setup(stage: Stage) -> bool:
    """This host has all that the other stages need."""
    return stage.run([sys.executable, "-m", "tests.testbed", "setup", "--tests"], show=True)


def run_lint(stage: Stage) -> bool:
    """Style, types, spelling, and documents that Sphinx understands."""
    files = [str(file) for file in deb.source_files()]
    commands = [
        [str(BIN / "ruff"), "check"],
        [str(BIN / "ruff"), "format", "--check"],
        [str(BIN / "mypy")],
        [str(BIN / "codespell"), *files],
        ["shellcheck", *(file for file in files if is_shell(PROJECT / file))],
        HTML,
    ]
    return all(stage.run(command) for command in commands)


def run_html(stage: Stage) -> bool:
    """The documents as a web site, in build/html; lint makes it, too."""
    return stage.run(HTML)


def is_shell(path: Path) -> bool:
    """Whether a file is a script for sh or bash."""
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"/bash", b" bash"))


def run_deb(stage: Stage) -> bool:
    """The .deb is built, and lintian finds no error in it."""
    return stage.run([sys.executable, "-m", "tests.testbed", "deb"])


def pytest(*paths: str) -> Callable[[Stage], bool]:
    """A stage that runs the tests in files and below folders, and shows their output."""

    def run(stage: Stage) -> bool:
        return stage.run([str(BIN / "python"), "-m", "pytest", *paths], show=True)

    return run


ON_BOTH_CORES = ["--numprocesses=2", "--dist=loadfile"]
IN_BOXES = ["--numprocesses=4", "--dist=loadfile", "--no-loadscope-reorder", "tests/integration"]
"""Most of the time these wait for broadcasts, so that several boxes share this host."""
IN_VMS = ["--numprocesses=2", "--dist=worksteal", "tests/vm"]
"""Two, for each has most of a processor; any test in either, so that both end at about the same time."""
STAGES: dict[str, Callable[[Stage], bool]] = {
    "setup": run_setup,
    "lint": run_lint,
    "html": run_html,
    "unit": pytest(*ON_BOTH_CORES, "--no-loadscope-reorder", "tests/unit"),
    "component": pytest(*ON_BOTH_CORES, "tests/component"),
    "deb": run_deb,
    "integration": pytest(*IN_BOXES),
    "chaos": pytest("tests/chaos"),
    "seams": pytest("tests/seams"),
    "odd": pytest("tests/odd"),
    "vm": pytest(*IN_VMS),
}


Schedule = Sequence[Sequence[Sequence[str]]]
SCHEDULE: Schedule = (
    (("setup",),),
    (("lint", "unit"), ("deb",)),
    (("vm",),),
    (("component",), ("odd",)),
    (("integration",),),
    (("chaos",), ("seams",)),
)
"""Steps one after the other, of lanes side by side. Emulated machines beside boxes are too slow for what they show:
a process that imports streamlink needs 25 s there, and a probe that does not begin within 20 s is given up.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """How a stage ended."""

    name: str
    is_ok: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.name:<12} {'ok  ' if self.is_ok else 'FAIL'} {self.seconds:5.0f} s"


class Round:
    """All stages of a schedule, run once."""

    def __init__(self, schedule: Schedule, logs: Path) -> None:
        self.schedule = schedule
        self.logs = logs
        self.results: dict[str, Result] = {}

    def run(self, lanes: Lanes) -> None:
        """Run them; what fails keeps no other from being run."""
        self.logs.mkdir(parents=True)
        for step in self.schedule:
            lanes.run(step, partial(self._run, lanes.commands, len(step) > 1))

    def _run(self, commands: Commands, beside: bool, name: str) -> None:
        stage, began = Stage(name, self.logs / f"{name}.log", commands, beside=beside), time.monotonic()
        try:
            is_ok = STAGES[name](stage)
        except (OSError, subprocess.CalledProcessError) as error:
            stage.say(str(error))
            is_ok = False
        self.results[name] = result = Result(name, is_ok, time.monotonic() - began)
        stage.say(str(result))

    @property
    def names(self) -> list[str]:
        return [name for step in self.schedule for lane in step for name in lane]

    def is_ok(self, name: str) -> bool:
        """Whether a stage has come to its end, and passed."""
        return name in self.results and self.results[name].is_ok

    def table(self, seconds: float) -> list[str]:
        """A line for each stage."""
        lines = [str(self.results.get(name, f"{name:<12} not run to its end")) for name in self.names]
        good = sum(self.is_ok(name) for name in self.names)
        count = f"stages: {good} passed, {len(self.names) - good} failed"
        return ["", *lines, f"{'in all':<17} {seconds:5.0f} s", count]


def culprits(log: Path) -> list[str]:
    """What a stage's log says of its failures: pytest's summary, after the lines that tell the errors."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    summary = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    errors = [line for line in lines if line.startswith("E  ")]
    return [line[:LINE] for line in [*errors[:ERROR_LINES], *summary[:SUMMARY_LINES]]]


def passed(rounds: Sequence[Round]) -> list[str]:
    """How many times each stage passed, and how long it took."""
    lines = []
    for name in rounds[0].names:
        took = [one.results[name].seconds for one in rounds if name in one.results]
        times = f"{min(took):.0f}-{max(took):.0f} s" if took else "never run"
        lines.append(f"{name:<12} passed {sum(one.is_ok(name) for one in rounds)} of {len(rounds)}, {times}")
    return lines


def run_rounds(schedule: Schedule, count: int, logs: Path) -> int:
    """Run a schedule so many times, and tell how each round went; 0 when all is ok."""
    shutil.rmtree(logs, ignore_errors=True)
    folders = [logs] if count == 1 else [logs / str(number) for number in range(1, count + 1)]
    rounds, lanes = [Round(schedule, folder) for folder in folders], Lanes(Commands(PROJECT))
    is_over = False
    for one in rounds:
        began = time.monotonic()
        try:
            one.run(lanes)
        except KeyboardInterrupt:
            print("interrupted: what runs is ended, and its boxes are removed", flush=True)
            lanes.end()
            is_over = True
        print(*one.table(time.monotonic() - began), sep="\n", flush=True)
        if is_over:
            break
    if count > 1:
        print("", *passed(rounds), sep="\n")
    failed = [name for name in rounds[0].names if not all(one.is_ok(name) for one in rounds)]
    for one in rounds:
        for name in one.names:
            for line in [] if one.is_ok(name) else culprits(one.logs / f"{name}.log"):
                print(f"{name:<12}| {line}")
    if failed:
        print(f"FAILED: {' '.join(failed)}; everything about it is in {logs}")
    return 130 if is_over else 1 if failed else 0


def main(arguments: list[str]) -> int:
    """Run these stages one after the other, or all of them by the schedule; 0 when all are ok."""
    parser = argparse.ArgumentParser(prog="tests.testbed.stages", description="run stages of the tests, or all")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run them N times, and count what passed")
    parser.add_argument("names", nargs="*", metavar="STAGE", help=" ".join(STAGES))
    parsed = parser.parse_args(arguments)
    if unknown := [name for name in parsed.names if name not in STAGES]:
        parser.error(f"no such stage: {' '.join(unknown)}; there are {' '.join(STAGES)}")
    interrupt_once()
    schedule = [[[name]] for name in parsed.names] or SCHEDULE
    return run_rounds(schedule, max(1, parsed.repeat), LOGS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
