# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of recordings that are over: what is made of a result after the join."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recording_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("made", sa.JSON(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        sa.ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name=op.f("fk_steps_recording_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("recording_id", "step", name=op.f("uq_steps_recording_id_step")),
        sa.CheckConstraint(
            "status IN ('waiting', 'due', 'running', 'done', 'failed', 'skipped')", name=op.f("ck_steps_status")
        ),
    )
    unfinished = sa.text("status IN ('waiting', 'due', 'running')")
    op.create_index(
        "ix_steps_unfinished", "steps", ["recording_id"], sqlite_where=unfinished, postgresql_where=unfinished
    )
