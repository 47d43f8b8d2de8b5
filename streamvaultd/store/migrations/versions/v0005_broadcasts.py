# SPDX-License-Identifier: GPL-3.0-or-later
"""A streamer has at most one stream under way of each identity that the site gives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    under_way = sa.text("site_id IS NOT NULL AND ended_at IS NULL")
    op.create_index(
        "uq_streams_under_way",
        "streams",
        ["streamer_id", "site_id"],
        unique=True,
        sqlite_where=under_way,
        postgresql_where=under_way,
    )
