# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of the daemon when what it relies on is away, never answers, or is late; and SIGTERM while it waits."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.component.start_world import Started, silent, started

BUS = "STATUS=Starting: waiting for the system bus"
JOURNAL = "STATUS=Starting: waiting for the journal"
STORE = "STATUS=Starting: waiting for the end of what holds the store"


@contextmanager
def held(store: Path) -> Iterator[None]:
    """As import holds it."""
    with store.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ends_well(daemon: Started) -> None:
    """It is up, and stops as it does when nothing is away."""
    daemon.hear("READY=1")
    assert daemon.stop() == 0
    daemon.hear("STOPPING=1")


@pytest.mark.parametrize("name", ["bus", "broker", "probe"])
@pytest.mark.parametrize("is_there", [False, True], ids=["away", "silent"])
def test_what_is_away_or_never_answers_keeps_no_daemon_from_starting(
    tmp_path: Path, name: str, is_there: bool
) -> None:
    with ExitStack() as stack:
        if is_there:
            stack.enter_context(silent(tmp_path / name))
        daemon = stack.enter_context(started(tmp_path))
        daemon.hear(BUS)
        ends_well(daemon)


def test_a_journal_that_cannot_be_read_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    with started(tmp_path, journal="hangs") as daemon:
        daemon.hear(JOURNAL)
        ends_well(daemon)
        assert (tmp_path / "reading").exists()


def test_the_store_is_waited_for(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with started(tmp_path) as daemon:
        ends_well(daemon)
    (tmp_path / "notify").unlink()
    with ExitStack() as stack:
        holder = stack.enter_context(ExitStack())
        holder.enter_context(held(store))
        daemon = stack.enter_context(started(tmp_path))
        daemon.hear(STORE)
        assert "READY=1" not in daemon.heard
        holder.close()
        ends_well(daemon)


def test_a_store_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").mkdir()
    with started(tmp_path) as daemon:
        assert daemon.process.wait(60) == 1
        assert "READY=1" not in daemon.heard


@pytest.mark.parametrize(
    ("waits", "limit"), [(BUS, 60.0), (JOURNAL, 5.0), (STORE, 60.0)], ids=["bus", "journal", "store"]
)
def test_sigterm_ends_the_waiting(tmp_path: Path, waits: str, limit: float) -> None:
    """At once, by its default action: systemd counts that as a clean end."""
    with ExitStack() as stack:
        if waits == STORE:
            (tmp_path / "store.sqlite").touch()
            stack.enter_context(held(tmp_path / "store.sqlite"))
        daemon = stack.enter_context(started(tmp_path, journal="hangs", limit=limit))
        daemon.hear(waits)
        assert daemon.stop() == -signal.SIGTERM
