# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that autopkgtest talks to, as its autopkgtest-virt-… are: a box without the package, fresh when it wants.

Its library calls the functions of the program that imports it by their names.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from tests.testbed import layers
from tests.testbed.box import Box

sys.path.insert(0, "/usr/share/autopkgtest/lib")
subproc: Any = importlib.import_module("VirtSubproc")
box = Box(f"autopkgtest-{os.getpid()}", layers.base())


def hook_open() -> None:
    """Boot a box."""
    box.boot()
    pairs = [f"{name}={value}" for name, value in box.environment().items()]
    subproc.auxverb = ["/usr/bin/env", "-i", *pairs, *box.argv([])]


def hook_downtmp(path: str | None) -> object:
    """A folder in the box for its files."""
    return subproc.downtmp_mktemp(path)


def hook_revert() -> None:
    """A fresh box."""
    box.close()
    hook_open()


def hook_cleanup() -> None:
    """The box goes, and all that is in it."""
    subproc.downtmp = None
    box.close()


def hook_capabilities() -> list[str]:
    """What tests may do in it."""
    return ["root-on-testbed", "isolation-container", "isolation-machine", "revert", "revert-full-system"]


if __name__ == "__main__":
    subproc.main()
