# SPDX-License-Identifier: GPL-3.0-or-later
"""Troubles of what the daemon relies on, told in the journal."""

from __future__ import annotations

from streamvaultd.reporting.notices import (
    BUS_LOST,
    CATALOGUE_AWAY,
    CATALOGUE_BACK,
    DISK_HANGS,
    WITNESS_MISSING,
    Journal,
)


class Troubles:
    """Who meets one tells it once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def on_disk_hanging(self, lane: str) -> None:
        """A call to a disk has not ended in time."""
        self._journal.tell(DISK_HANGS, lane=lane)

    def on_bus_lost(self) -> None:
        """What was said on the system bus meanwhile is lost."""
        self._journal.tell(BUS_LOST, why="it was restarted")

    def on_bus_missing(self, why: str) -> None:
        """Systemd does not say how scopes ended."""
        self._miss("the system bus", why)

    def on_journal_missing(self, why: str) -> None:
        """The journal cannot be read."""
        self._miss("the journal", why)

    def on_network_missing(self, why: str) -> None:
        """The kernel does not tell of links and routes."""
        self._miss("the network", why)

    def on_catalogue_away(self, why: str) -> None:
        """The catalogue is not fed."""
        self._journal.tell(CATALOGUE_AWAY, why=why)

    def on_catalogue_back(self, backlog: int) -> None:
        """It is fed again."""
        self._journal.tell(CATALOGUE_BACK, backlog=backlog)

    def _miss(self, witness: str, why: str) -> None:
        self._journal.tell(WITNESS_MISSING, witness=witness, why=why)
