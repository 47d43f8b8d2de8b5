# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a database to the present schema. Importing this imports Alembic, which takes as long as all the rest of the
start: only who has found an older schema does so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Connection


def migrations(connection: Connection) -> Config:
    """Alembic's view of this package's migrations, to be run on `connection`."""
    config = Config(attributes={"connection": connection})
    # a '%' in the installation path is not an interpolation
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations inside the caller's transaction."""
    command.upgrade(migrations(connection), revision)
