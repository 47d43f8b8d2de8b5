# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test makes different about the daemon of the one vm, and makes undone again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.testbed.vm import Vm

SMALL = "/usr/local/bin/small-streamlink"


@contextmanager
def settings(vm: Vm, name: str, text: str) -> Iterator[None]:
    """What starts from now on goes by these settings, too."""
    file = f"/etc/streamvaultd/conf.d/{name}.toml"
    vm.write_file(file, text)
    vm.run(["systemctl", "reload", "streamvaultd"], timeout=120)
    try:
        yield
    finally:
        if vm.is_on:
            vm.run(["rm", "--force", file])
            vm.run(["systemctl", "reload", "streamvaultd"], timeout=120)


@contextmanager
def small_streamlink(vm: Vm) -> Iterator[None]:
    """What starts from now on runs the small one, which is there in half a second."""
    vm.write_file(SMALL, Path(__file__).with_name("small_streamlink.py").read_text())
    vm.run(["chmod", "755", SMALL])
    with settings(vm, "small", f'[streamlink]\ncommand = "{SMALL}"\n'):
        yield
