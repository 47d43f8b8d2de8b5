# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory limits of recordings and their segments, and since when a source is silent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("recordings", sa.Column("silent_since_monotonic", sa.Double(), nullable=True))
    op.add_column("recordings", sa.Column("memory_max", sa.BigInteger(), nullable=True))
    op.add_column("recordings", sa.Column("memory_since_monotonic", sa.Double(), nullable=True))
    op.add_column("segments", sa.Column("memory_max", sa.BigInteger(), nullable=True))
