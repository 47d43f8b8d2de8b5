# SPDX-License-Identifier: GPL-3.0-or-later
"""What "make" runs: it has to be there on a machine where nothing but Python is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COMMAND = re.compile(r"^(?P<python>python3|\.venv/bin/python) -m (?P<module>[\w.]+)", re.MULTILINE)


def commands(target: str, *settings: str) -> list[tuple[str, str]]:
    """(Python, module) of what a target runs."""
    argv = ["make", "--dry-run", "--no-print-directory", target, "PYTHON=python3", *settings]
    shown = subprocess.run(argv, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return [(found["python"], found["module"]) for found in COMMAND.finditer(shown)]


@pytest.mark.parametrize(
    "target", ["demo", "deb", "box", "pictures", "autopkgtest", "chaos", "seams", "odd", "bench", "upgrade", "test"]
)
def test_a_bare_python_is_given_only_what_it_can_run(target: str) -> None:
    """-S: without anything that was installed for Python; the venv comes to be by the first command."""
    bare = {module for python, module in commands(target) if python == "python3"}
    assert bare
    for module in bare:
        # Packages are run by their __main__
        name = f"{module}.__main__" if (PROJECT / module.replace(".", "/")).is_dir() else module
        program = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import {name}"
        subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


@pytest.mark.parametrize("target", ["pictures", "chaos", "seams", "odd", "bench", "upgrade"])
def test_what_needs_the_tests_packages_has_them(target: str) -> None:
    first, *rest = commands(target)
    assert first == ("python3", "tests.testbed")
    assert {python for python, _ in rest} == {".venv/bin/python"}
