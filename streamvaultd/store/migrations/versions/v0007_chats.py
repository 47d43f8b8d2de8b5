# SPDX-License-Identifier: GPL-3.0-or-later
"""The chats of recordings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from streamvaultd.store.schema import Prose, Realtime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "chats",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recording_id", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", Realtime(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.Integer(), nullable=False),
        sa.Column("away", sa.Double(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("detail", Prose()),
        sa.PrimaryKeyConstraint("id", name="pk_chats"),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.id"], name="fk_chats_recording_id", ondelete="CASCADE"),
        sa.UniqueConstraint("recording_id", name="uq_chats_recording_id"),
    )
    unfinished = sa.text("state <> 'done'")
    op.create_index("ix_chats_unfinished", "chats", ["id"], sqlite_where=unfinished, postgresql_where=unfinished)
