# SPDX-License-Identifier: GPL-3.0-or-later
"""The campaign's catalogue: a PostgreSQL server in the machine, and whether it has in the end what the store has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.chaos.facts import CatalogueFacts
from tests.chaos.faults import POSTGRESQL
from tests.chaos.gather import STORE, query
from tests.testbed.machine import WaitError
from tests.testbed.tables import ASK_POSTGRESQL, ASK_SQLITE, NAMES, differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.testbed.machine import Machine

SETTINGS: Final = """
[store]
catalogue = "postgresql://_streamvault@/streamvault"
"""
LOG: Final = "/var/log/postgresql/postgresql-17-main.log"
BACKLOG_LIMIT: Final = 100.0
"""Seconds until all is fed: the longest pause between two tries, and the time to feed it."""


def psql(machine: Machine, statement: str, database: str = "streamvault") -> str:
    """What a statement gives, without any decoration."""
    command = ["runuser", "-u", "postgres", "--", "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database]
    return machine.run([*command, "-c", statement]).stdout


def prepare(machine: Machine) -> None:
    """A database for the service's user, who is trusted on the server's socket (peer)."""
    machine.run(["systemctl", "start", POSTGRESQL])
    psql(machine, 'CREATE ROLE "_streamvault" LOGIN', "postgres")
    psql(machine, 'CREATE DATABASE streamvault OWNER "_streamvault"', "postgres")


def catalogue_of(machine: Machine, slowness: float, say: Callable[[str], None]) -> CatalogueFacts:
    """How both are when the catalogue had the time to be told everything."""

    def backlog() -> int:
        [row] = query(machine, "SELECT count(*) AS backlog FROM outbox")
        return int(row["backlog"])

    try:
        machine.wait_for(lambda: backlog() == 0, "the catalogue is fed", timeout=BACKLOG_LIMIT * slowness)
    except WaitError as error:
        say(str(error))
    left = backlog()
    store = json.loads(machine.run(["python3", "-I", "-S", "-c", ASK_SQLITE, STORE, *NAMES]).stdout)
    catalogue = json.loads(psql(machine, ASK_POSTGRESQL))
    rows = sum(len(store[name]) for name in NAMES)
    return CatalogueFacts(rows=rows, differing=tuple(differences(store, catalogue)), backlog=left)


def save_log(machine: Machine, folder: Path) -> None:
    """What the server said."""
    machine.fetch(LOG, folder / "postgresql.log")
