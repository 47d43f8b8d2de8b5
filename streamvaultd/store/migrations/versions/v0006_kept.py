# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings that somebody wants for good, and an index that has these alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("recordings", sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.false()))
    wanted = sa.text("kept")
    op.create_index("ix_recordings_kept", "recordings", ["id"], sqlite_where=wanted, postgresql_where=wanted)
