# SPDX-License-Identifier: GPL-3.0-or-later
"""The first tables. Frozen: a later schema gets a migration of its own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_streamers()
    _create_recordings()
    _create_segments()
    _create_seams()
    _create_events()
    _create_jobs()


def _create_streamers() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "streamers",
        *_id("streamers"),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=True),
        _date("created_at", nullable=False),
        sa.UniqueConstraint("username", name=op.f("uq_streamers_username")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "streams",
        *_id("streams"),
        *_reference("streams", "streamer_id", "streamers.id"),
        sa.Column("site_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        _date("started_at", nullable=False),
        _date("ended_at"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_streams_streamer_id"), "streams", ["streamer_id"])


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        *_id("recordings"),
        *_reference("recordings", "stream_id", "streams.id"),
        *_reference("recordings", "streamer_id", "streamers.id"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("recording_path", sa.Text(), nullable=True),
        *_moment("start_time", nullable=False),
        *_moment("end_time"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        *_moment("since", nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("probe", sa.BigInteger(), nullable=False),
        sa.Column("probing", sa.Boolean(), nullable=False),
        sa.Column("joins", sa.Integer(), nullable=False),
        sa.Column("retry_at_monotonic", sa.Double(), nullable=True),
        sa.Column("probe_at_monotonic", sa.Double(), nullable=True),
        sa.Column("grace_until_monotonic", sa.Double(), nullable=True),
        sa.Column("rotate_retry_at_monotonic", sa.Double(), nullable=True),
        sa.Column("overlap_at_monotonic", sa.Double(), nullable=True),
        sa.Column("rotation_until_monotonic", sa.Double(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('recording', 'finalizing', 'completed', 'stopped', 'failed')",
            name=op.f("ck_recordings_status"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_recordings_streamer_id"), "recordings", ["streamer_id"])
    op.create_index(op.f("ix_recordings_status"), "recordings", ["status"])
    running = sa.text("status = 'recording'")
    op.create_index(
        "uq_recordings_running",
        "recordings",
        ["streamer_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )


def _create_segments() -> None:
    op.create_table(
        "segments",
        *_id("segments"),
        *_reference("segments", "recording_id", "recordings.id"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        *_moment("started_at"),
        *_moment("ended_at"),
        *_moment("media_at"),
        sa.Column("boot_id", sa.Text(), nullable=False),
        *_moment("since", nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("grown_at_monotonic", sa.Double(), nullable=True),
        sa.Column("measure_at_monotonic", sa.Double(), nullable=True),
        sa.Column("stops", sa.Integer(), nullable=False),
        sa.Column("rotated", sa.Boolean(), nullable=False),
        sa.Column("memory_peak", sa.BigInteger(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.UniqueConstraint("recording_id", "number", name=op.f("uq_segments_recording_id_number")),
    )
    kept = sa.text("status <> 'removed'")
    op.create_index("ix_segments_kept", "segments", ["recording_id"], sqlite_where=kept, postgresql_where=kept)


def _create_seams() -> None:
    op.create_table(
        "seams",
        *_id("seams"),
        *_reference("seams", "recording_id", "recordings.id"),
        sa.Column("older", sa.Integer(), nullable=False),
        sa.Column("newer", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("overlap_bytes", sa.BigInteger(), nullable=True),
        sa.Column("overlap_ms", sa.Double(), nullable=True),
        sa.Column("gap_ms", sa.Double(), nullable=True),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.UniqueConstraint("recording_id", "older", "newer", name=op.f("uq_seams_recording_id_older_newer")),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        *_id("events"),
        _date("at", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        *_reference("events", "recording_id", "recordings.id", nullable=True),
        sa.Column("segment", sa.Integer(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("fields", sa.JSON(), nullable=True),
    )
    op.create_index(op.f("ix_events_recording_id"), "events", ["recording_id"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        *_id("jobs"),
        *_reference("jobs", "recording_id", "recordings.id"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        _date("created_at", nullable=False),
        _date("started_at"),
        _date("ended_at"),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('running', 'done', 'failed')", name=op.f("ck_jobs_status")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_jobs_recording_id"), "jobs", ["recording_id"])
    op.create_index(op.f("ix_jobs_status"), "jobs", ["status"])


def _id(table: str) -> tuple[Any, ...]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, nullable=False), sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))


def _reference(table: str, name: str, target: str, *, nullable: bool = False) -> tuple[Any, ...]:
    key = sa.ForeignKeyConstraint([name], [target], name=op.f(f"fk_{table}_{name}"), ondelete="CASCADE")
    return sa.Column(name, sa.BigInteger(), nullable=nullable), key


def _date(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _moment(name: str, *, nullable: bool = True) -> tuple[sa.Column[Any], sa.Column[Any]]:
    return _date(name, nullable=nullable), sa.Column(f"{name}_monotonic", sa.Double(), nullable=nullable)
