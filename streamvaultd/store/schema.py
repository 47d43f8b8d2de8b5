# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables, once for both databases: SQLite holds the operational truth, PostgreSQL can hold a catalogue of it.

Columns that people query (start_time, ended_at, ...) are UTC dates. A column `<name>_monotonic` holds the same moment,
or an instant that has no date, in seconds of CLOCK_MONOTONIC of the boot in `boot_id`. A change here needs a migration
in migrations/versions and a new entry in REVISIONS; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import Dialect

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Every schema this program knows, oldest first."""

HEAD: Final = REVISIONS[-1]

STATUSES: Final = ("recording", "finalizing", "completed", "stopped", "failed")
JOB_STATUSES: Final = ("running", "done", "failed")
STEP_STATUSES: Final = ("waiting", "due", "running", "done", "failed", "skipped")
CALL_STATUSES: Final = ("due", "running", "done", "failed")
CHAT_UNFINISHED: Final = text("state <> 'done'")
"""Chats with which something still has to happen; as KEPT, in these very words."""

KEPT: Final = text("status <> 'removed'")
"""Segments whose file may be there; a query finds them by their index only if it says so in these very words."""

UNFINISHED: Final = text("status IN ('waiting', 'due', 'running')")
"""Steps with which something still has to happen; as KEPT, in these very words."""

UNCLEARED: Final = text("NOT cleared")
"""Calls of hooks with which something still has to happen; as KEPT, in these very words."""

WANTED: Final = text("kept")
"""Recordings that somebody wants for good; as KEPT, in these very words."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = _EPOCH.replace(tzinfo=None)
_USEC: Final = timedelta(microseconds=1)


class Realtime(TypeDecorator[int]):
    """Microseconds since 1970 in the program, a UTC date in the database; exact both ways."""

    impl: Any = DateTime(timezone=True)
    cache_ok: bool | None = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        # SQLite keeps the digits and forgets the zone
        return (value - (_EPOCH if value.tzinfo is not None else _NAIVE_EPOCH)) // _USEC


class Prose(TypeDecorator[str]):
    """Text that may quote a child's output: what no database can store (NUL, lone surrogates) becomes U+FFFD."""

    impl: Any = Text
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def storable(value: str) -> str:
    """`value` without the characters that SQLite or PostgreSQL refuse in text."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _id() -> Column[int]:
    # only an INTEGER is the rowid on SQLite
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _reference(name: str, target: str) -> Column[int]:
    return Column(name, BigInteger, ForeignKey(target, ondelete="CASCADE"), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> tuple[Column[int], Column[float]]:
    return Column(name, Realtime, nullable=nullable), Column(f"{name}_monotonic", Double, nullable=nullable)


def _instant(name: str) -> Column[float]:
    return Column(f"{name}_monotonic", Double)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _json(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

streamers = Table(
    "streamers",
    metadata,
    _id(),
    Column("username", Text, nullable=False),
    Column("url", Text, nullable=False),
    _json("settings"),
    Column("created_at", Realtime, nullable=False),
    UniqueConstraint("username"),
    sqlite_autoincrement=True,
)

# Ids are never used twice (AUTOINCREMENT): they are part of folder and unit names.
streams = Table(
    "streams",
    metadata,
    _id(),
    _reference("streamer_id", "streamers.id"),
    Column("site_id", Prose),
    Column("title", Prose),
    Column("category", Prose),
    Column("started_at", Realtime, nullable=False),
    Column("ended_at", Realtime),
    Index(None, "streamer_id"),
    Index(
        "uq_streams_under_way",
        "streamer_id",
        "site_id",
        unique=True,
        sqlite_where=text("site_id IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=text("site_id IS NOT NULL AND ended_at IS NULL"),
    ),
    Index(None, "started_at"),
    sqlite_autoincrement=True,
)

recordings = Table(
    "recordings",
    metadata,
    _id(),
    _reference("stream_id", "streams.id"),
    _reference("streamer_id", "streamers.id"),
    Column("status", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("recording_path", Text),
    *_moment("start_time"),
    *_moment("end_time", nullable=True),
    Column("url", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("duration", Double),
    _json("policy", nullable=False),
    Column("boot_id", Text, nullable=False),
    *_moment("since"),
    Column("failures", Integer, nullable=False),
    Column("stop_reason", Text),
    Column("probe", BigInteger, nullable=False),
    Column("probing", Boolean, nullable=False),
    Column("joins", Integer, nullable=False),
    _instant("retry_at"),
    _instant("probe_at"),
    _instant("grace_until"),
    _instant("silent_since"),
    _instant("rotate_retry_at"),
    _instant("overlap_at"),
    _instant("rotation_until"),
    Column("fills", Integer, nullable=False, server_default="0"),
    _instant("filled_at"),
    Column("memory_max", BigInteger),
    _instant("memory_since"),
    Column("bytes", BigInteger),
    Column("detail", Prose),
    Column("kept", Boolean, nullable=False, server_default=false()),
    _one_of("status", STATUSES),
    Index(None, "streamer_id"),
    Index(None, "status"),
    Index(None, "state"),
    Index(None, "stream_id"),
    Index(None, "start_time"),
    Index("ix_recordings_kept", "id", sqlite_where=WANTED, postgresql_where=WANTED),
    Index(
        "uq_recordings_running",
        "streamer_id",
        unique=True,
        sqlite_where=text("status = 'recording'"),
        postgresql_where=text("status = 'recording'"),
    ),
    sqlite_autoincrement=True,
)

segments = Table(
    "segments",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("number", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("cause", Prose),
    *_moment("started_at", nullable=True),
    *_moment("ended_at", nullable=True),
    *_moment("media_at", nullable=True),
    Column("quality", Prose),
    Column("boot_id", Text, nullable=False),
    *_moment("since"),
    Column("bytes", BigInteger, nullable=False),
    _instant("grown_at"),
    _instant("measure_at"),
    Column("stops", Integer, nullable=False),
    Column("rotated", Boolean, nullable=False),
    Column("memory_max", BigInteger),
    Column("memory_peak", BigInteger),
    Column("exit_status", Integer),
    _json("evidence"),
    UniqueConstraint("recording_id", "number"),
    Index("ix_segments_kept", "recording_id", sqlite_where=KEPT, postgresql_where=KEPT),
)

seams = Table(
    "seams",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("older", Integer, nullable=False),
    Column("newer", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("overlap_bytes", BigInteger),
    Column("overlap_ms", Double),
    Column("gap_ms", Double),
    Column("certainty", Text, nullable=False),
    Column("note", Prose),
    UniqueConstraint("recording_id", "older", "newer"),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("at", Realtime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("message", Prose, nullable=False),
    Column("recording_id", BigInteger, ForeignKey("recordings.id", ondelete="CASCADE")),
    Column("segment", Integer),
    Column("cause", Prose),
    _json("fields"),
    Index(None, "recording_id"),
    Index(None, "kind"),
    Index(None, "at"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _json("spec", nullable=False),
    _json("result"),
    Column("created_at", Realtime, nullable=False),
    Column("started_at", Realtime),
    Column("ended_at", Realtime),
    Column("unit", Text),
    _one_of("status", JOB_STATUSES),
    Index(None, "recording_id"),
    Index(None, "status"),
    sqlite_autoincrement=True,
)

steps = Table(
    "steps",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("step", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("required", Boolean, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("retry_at", Realtime),
    Column("job_id", BigInteger),
    Column("why", Prose),
    _json("made"),
    Column("changed_at", Realtime, nullable=False),
    _one_of("status", STEP_STATUSES),
    UniqueConstraint("recording_id", "step"),
    Index("ix_steps_unfinished", "recording_id", sqlite_where=UNFINISHED, postgresql_where=UNFINISHED),
)

chats = Table(
    "chats",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("site", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Realtime, nullable=False),
    Column("run", Integer, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("gaps", Integer, nullable=False),
    Column("away", Double, nullable=False),
    Column("path", Text),
    Column("bytes", BigInteger),
    Column("detail", Prose),
    UniqueConstraint("recording_id"),
    Index("ix_chats_unfinished", "id", sqlite_where=CHAT_UNFINISHED, postgresql_where=CHAT_UNFINISHED),
)

# An id is the instance of a unit, and never used twice (AUTOINCREMENT).
hook_calls = Table(
    "hook_calls",
    metadata,
    _id(),
    _reference("recording_id", "recordings.id"),
    Column("hook", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("retry_at", Realtime),
    Column("boot_id", Text),
    Column("invocation", Text),
    Column("why", Prose),
    Column("cleared", Boolean, nullable=False),
    Column("created_at", Realtime, nullable=False),
    Column("changed_at", Realtime, nullable=False),
    _one_of("status", CALL_STATUSES),
    UniqueConstraint("recording_id", "event", "number", "hook"),
    Index("ix_hook_calls_uncleared", "id", sqlite_where=UNCLEARED, postgresql_where=UNCLEARED),
    sqlite_autoincrement=True,
)
