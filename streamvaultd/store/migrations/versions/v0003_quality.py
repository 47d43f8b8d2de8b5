# SPDX-License-Identifier: GPL-3.0-or-later
"""The quality that a segment was recorded in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("segments", sa.Column("quality", sa.Text(), nullable=True))
