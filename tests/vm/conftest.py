# SPDX-License-Identifier: GPL-3.0-or-later
"""Vms with the .deb of this tree installed and its daemon started, and live sources for them.

Everything in a vm takes ten times as long as elsewhere: few boots, few commands, long stories.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.conftest import channel, deb, pytest_runtest_makereport
from tests.integration.harness import CONFIG
from tests.testbed import layers
from tests.testbed.vm import Vm
from tests.vm.calls import VmCtl

__all__ = ["channel", "deb", "pytest_runtest_makereport"]

TIMEOUT = 1500
# Spans in which streamlink, which takes ten seconds to start here, can do what it has to.
SETTINGS = """
[recording]
grace = "20s"
start_timeout = "90s"
stall_timeout = "60s"
"""
# Enough media for the longest story, and a window that outlasts the slowest replacement.
SPEC = MediaSpec(seconds=1200)
WINDOW = 45


def pytest_addoption(parser: pytest.Parser) -> None:
    """The campaign may be longer than it is in "make test"."""
    parser.addoption("--kills", type=int, help="how many segments are killed for want of memory, beside a neighbour")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These wait for real broadcasts in a slow machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def booted(deb: Path) -> Iterator[Vm]:
    """The one vm of a worker's tests; the daemon in it has read its settings.

    With one processor: an emulated one costs more the more there are, and the other worker has the other of this host.
    """
    with Vm(f"vm-{os.getpid()}", layers.installed(deb, layers.kernel()), cpus=1) as booted:
        booted.write_file(CONFIG, SETTINGS)
        booted.run(["systemctl", "reload", "streamvaultd"], timeout=120)
        yield booted


@pytest.fixture
def vm(booted: Vm) -> Iterator[Vm]:
    """A vm in which nothing is recorded, whatever the test before has left."""
    yield booted
    ctl = VmCtl(booted)
    for recording in ctl.call("List")["recordings"] if booted.is_on else ():
        ctl.call("Stop", recording=str(recording["id"]))


@pytest.fixture
def ctl(vm: Vm) -> VmCtl:
    """streamvaultctl in the module's vm."""
    return VmCtl(vm)


@pytest.fixture(scope="session")
def source() -> Iterator[LiveSource]:
    """Live channels on this host's loopback; `vm.reach()` makes their URLs the vm's."""
    with LiveSource(SPEC, window=WINDOW) as served:
        yield served
