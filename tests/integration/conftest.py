# SPDX-License-Identifier: GPL-3.0-or-later
"""Boxes with the .deb of this tree installed and its daemon started, and live sources for them.

The network of a box is this host's: a source that is served here on loopback is reachable inside.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, configure, folder_name, save_reports
from tests.testbed import layers
from tests.testbed.box import Box
from tests.testbed.deb import PROJECT, ensure_deb
from tests.testbed.machine import Machine

LOGS = Path(os.environ.get("STREAMVAULTD_TEST_LOGS", PROJECT / "build" / "logs"))
TIMEOUT = 900
LONGEST = (
    *("test_confinement", "test_helix", "test_main_job", "test_seed_scenarios", "test_watch", "test_daemon_faults"),
    *(
        "test_audit_rows",
        "test_audit",
        "test_validation",
        "test_witnesses",
        "test_meeting",
        "test_broker",
        "test_units",
    ),
)
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these are integration tests, and wait for real broadcasts. The longest files come first: where several
    are run side by side, the last one is short.
    """
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Save what the machines and sources of a failed test say, while they are there."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]  # pluggy's result has no type here
        save_failure(item)
    return report


def save_failure(item: pytest.Item) -> None:
    """One folder for each failure: journal, daemon, files, source."""
    folder = LOGS / folder_name(item.nodeid)
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Machine):
            save_reports(value, folder / value.name)
        elif isinstance(value, LiveSource):
            folder.mkdir(parents=True, exist_ok=True)
            states = {name: value.state(name) for name in value.channels}
            (folder / "source.json").write_text(json.dumps(states, indent=1))


@pytest.fixture(scope="session")
def deb() -> Path:
    """The .deb of this tree."""
    return ensure_deb()


@pytest.fixture(scope="session")
def boot(deb: Path) -> Callable[[str], Box]:
    """Boots a box with the daemon installed, configured for tests and started; the caller closes it."""

    def boot_box(name: str) -> Box:
        box = Box(f"{name}-{os.getpid()}", layers.installed(deb))
        box.boot()
        configure(box)
        box.run(["systemctl", "restart", "streamvaultd"])
        return box

    return boot_box


@pytest.fixture(scope="module")
def box(request: pytest.FixtureRequest, boot: Callable[[str], Box]) -> Iterator[Box]:
    """The box of this module's tests."""
    booted = boot(request.module.__name__.rpartition(".")[2].replace("_", "-"))
    try:
        yield booted
    finally:
        booted.close()


@pytest.fixture
def ctl(box: Box) -> Ctl:
    """streamvaultctl in the module's box."""
    return Ctl(box)


@pytest.fixture(scope="session")
def source() -> Iterator[LiveSource]:
    """Live channels, on this host's loopback: 2 s media segments, a window of 15."""
    with LiveSource() as served:
        yield served


@pytest.fixture
def channel(request: pytest.FixtureRequest, source: LiveSource) -> Iterator[str]:
    """A channel name of this test's own; its broadcast is over when the test is."""
    name = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")
    yield name
    source.control(name, end=True)
