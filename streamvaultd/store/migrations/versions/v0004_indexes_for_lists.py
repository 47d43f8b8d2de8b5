# SPDX-License-Identifier: GPL-3.0-or-later
"""Indexes for what lists are filtered by: without them a list costs what the store holds, not what it shows."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

INDEXES = (
    ("recordings", "state"),
    ("recordings", "stream_id"),
    ("recordings", "start_time"),
    ("streams", "started_at"),
    ("events", "kind"),
    ("events", "at"),
)


def upgrade() -> None:
    for table, column in INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column])
