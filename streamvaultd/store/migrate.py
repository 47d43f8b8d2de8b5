# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a database to the present schema. Importing this imports Alembic, which takes as long as all the rest of the
start: only who has found an older schema does so.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Connection


_LOCK = threading.Lock()
"""Alembic keeps what it is about in a module: two threads that migrate two databases would take it from each other."""


def migrations(connection: Connection) -> Config:
    """Alembic's view of this package's migrations, to be run on `connection`."""
    config = Config(attributes={"connection": connection})
    # a '%' in the installation path is not an interpolation
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations inside the caller's transaction."""
    with _LOCK:
        command.upgrade(migrations(connection), revision)
