# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of hooks: units of the administrator that are started when something happens to a recording."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "hook_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recording_id", sa.BigInteger(), nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("invocation", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("cleared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_calls")),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_hook_calls_recording_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "recording_id", "event", "number", "hook", name=op.f("uq_hook_calls_recording_id_event_number_hook")
        ),
        sa.CheckConstraint("status IN ('due', 'running', 'done', 'failed')", name=op.f("ck_hook_calls_status")),
        sqlite_autoincrement=True,
    )
    uncleared = sa.text("NOT cleared")
    op.create_index(
        "ix_hook_calls_uncleared", "hook_calls", ["id"], sqlite_where=uncleared, postgresql_where=uncleared
    )
