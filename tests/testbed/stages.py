# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.testbed.stages [STAGE…]: what "all tests pass" means, stage by stage, one line for each.

The output of each stage is in build/logs/STAGE.log; integration tests leave a folder for each failure there, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.testbed import deb, setup
from tests.testbed.box import BoxError

PROJECT = setup.PROJECT
LOGS = PROJECT / "build" / "logs"
TAIL_LINES = 60
# Who runs us in the background ignores SIGINT and SIGQUIT, and what is tested would inherit that.
DEFAULT_SIGNALS = ["env", "--default-signal"]
BIN = setup.VENV / "bin"
# Without what an earlier run made of them (-E): a document that is gone would stay. A warning is an error (-W).
HTML = [str(BIN / "sphinx-build"), "-q", "-E", "-W", "--keep-going", "-d", "build/doctrees", "docs", "build/html"]


def run_setup(log: Path) -> bool:
    """This host has all that the other stages need."""
    setup.ensure_tools(tests=True)
    setup.ensure_venv()
    log.touch()
    return True


def run_lint(log: Path) -> bool:
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
    return all(logged(command, log) for command in commands)


def run_html(log: Path) -> bool:
    """The documents as a web site, in build/html."""
    return logged(HTML, log)


def is_shell(path: Path) -> bool:
    """Whether a file is a script for sh or bash."""
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"/bash", b" bash"))


def run_deb(log: Path) -> bool:
    """The .deb is built, and lintian finds no error in it."""
    return logged([sys.executable, "-m", "tests.testbed", "deb"], log)


def pytest(*paths: str) -> Callable[[Path], bool]:
    """A stage that runs the tests in files and below folders, and shows their output."""

    def run(log: Path) -> bool:
        return logged([str(BIN / "python"), "-m", "pytest", *paths], log, show=True)

    return run


ON_BOTH_CORES = ["--numprocesses=2", "--dist=loadfile"]
IN_BOXES = ["--numprocesses=4", "--dist=loadfile", "tests/integration"]
"""Most of the time these wait for broadcasts, so that several boxes share this host."""
STAGES: dict[str, Callable[[Path], bool]] = {
    "setup": run_setup,
    "lint": run_lint,
    "html": run_html,
    "unit": pytest(*ON_BOTH_CORES, "tests/unit"),
    "component": pytest(*ON_BOTH_CORES, "tests/component"),
    "deb": run_deb,
    "integration": pytest(*IN_BOXES),
    "chaos": pytest("tests/chaos"),
    "seams": pytest("tests/seams"),
    "odd": pytest("tests/odd"),
    "vm": pytest("tests/vm"),
}


def logged(command: list[str], log: Path, *, show: bool = False) -> bool:
    """Run it with its output in the log; whether it succeeded.

    `show` puts all of its output on our stdout, otherwise a failure puts the end of the log there.
    """
    environment = {**os.environ, "STREAMVAULTD_TEST_LOGS": str(LOGS)}
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)[:200]}\n")
        file.flush()
        process = subprocess.Popen(
            [*DEFAULT_SIGNALS, *command],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            if show:
                print(line, end="", flush=True)
        is_ok = process.wait() == 0
    if not (is_ok or show):
        print(*log.read_text().splitlines()[-TAIL_LINES:], sep="\n")
    return is_ok


def run_stage(name: str) -> bool:
    """Run one stage and say how it ended."""
    log, started = LOGS / f"{name}.log", time.monotonic()
    try:
        is_ok = STAGES[name](log)
    except (setup.SetupError, BoxError, OSError, subprocess.CalledProcessError) as error:
        print(error)
        is_ok = False
    print(f"{name:<12} {'ok' if is_ok else 'FAIL'}  {time.monotonic() - started:.0f} s", flush=True)
    return is_ok


def main(names: list[str]) -> int:
    """Run these stages one after the other, or all of them; 0 when all are ok."""
    if unknown := [name for name in names if name not in STAGES]:
        print(f"no such stage: {' '.join(unknown)}; there are {' '.join(STAGES)}", file=sys.stderr)
        return 2
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    failed = [name for name in names or STAGES if not run_stage(name)]
    if failed:
        print(f"FAILED: {' '.join(failed)}; everything about it is in {LOGS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
