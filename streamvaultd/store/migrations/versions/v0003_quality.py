# SPDX-License-Identifier: GPL-3.0-or-later
"""The quality that a segment was recorded in, and how often one was started for what another had missed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("segments", sa.Column("quality", sa.Text(), nullable=True))
    op.add_column("recordings", sa.Column("fills", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("recordings", sa.Column("filled_at_monotonic", sa.Double(), nullable=True))
