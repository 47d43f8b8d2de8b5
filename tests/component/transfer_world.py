# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of export and import share: a store with something in every table, and ways to compare."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select

from streamvaultd.core.after.machine import Done
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Broadcast, Phase, SeamRecord, Segment, State
from streamvaultd.store import transfer
from streamvaultd.store.engine import sqlite_url
from streamvaultd.store.outbox import TABLES
from streamvaultd.store.schema import metadata
from tests.component.store_world import NOW, later, open_store, start

ROWS = 1300
"""Events: several batches."""


async def fill(path: Path) -> None:
    """A store with something in every table: a finished recording, one that runs, and values that are hard to keep."""
    store = await open_store(path)
    evidence = Evidence(status=9, log=('löst\n"it"', "\x1b[31m"), memory_peak=1 << 33)
    first = await start(store, "alice")
    dead = Segment(
        number=1, phase=Phase.REMOVED, since=NOW, started=NOW, ended=later(1 / 3), size=1 << 40, cause="oom",
        evidence=evidence, memory_max=256 << 20, exit_status=137,
    )  # fmt: skip
    pictured = replace(
        first.recording, policy=replace(first.recording.policy, thumbnail=True, hooks_complete=("nas",))
    )
    await store.save(
        replace(
            first, recording=pictured, state=State.COMPLETED, segments=(dead,), path="/srv/ä.ts", ended=later(0.1)
        ),
        (dead,),
    )
    job = await store.create_job(first.recording.id, "join", {"parts": [1, {"a": None}], "é": 1.5}, NOW)
    await store.finish_job(job, ok=True, result={}, now=later(3))
    [step] = await store.steps(first.recording.id)
    made = {"files": [{"path": "/srv/ä-thumb.jpg", "bytes": 1 << 40, "sha256": "ab"}], "notes": ["x\ny"]}
    picture = await store.begin_step(step, {"step": step.step}, NOW.realtime)
    await store.end_step(step, Done(at=later(4).realtime, job=picture or 0), made)
    await store.add_seams(
        first.recording.id,
        [SeamRecord(older=1, newer=2, kind="gap", method="none", certainty="proven", gap_ms=0.1 + 0.2, note="x\ny")],
    )
    second = await start(store, "bob", now=later(10))
    await store.note_broadcast(second.recording.id, Broadcast(title="日本 \u2028", category=""), later(11))
    for number in range(ROWS):
        await store.add_event(at=later(number), kind="x", priority=6, message=f"m{number}")
    await store.close()
    with closing(sqlite3.connect(path)) as local, local:
        local.execute(
            "INSERT INTO chats (recording_id, site, channel, folder, state, since, run, messages, gaps, away)"
            " VALUES (1, 'twitch', 'alice', '/srv/ä', 'done', '2026-11-23 09:28:30.740318', 1, 2, 3, 0.1)"
        )


async def open_and_close(path: Path) -> None:
    await (await open_store(path)).close()


def rows(where: transfer.Where) -> dict[str, list[dict[str, Any]]]:
    """Everything in a database, by the tables' own types, and who it is."""
    engine = create_engine(sqlite_url(where) if isinstance(where, Path) else where)
    with closing(engine.connect()) as connection:
        found = {
            table.name: [
                dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return found


def content(where: transfer.Where) -> dict[str, list[dict[str, Any]]]:
    return {name: found for name, found in rows(where).items() if name != "meta"}


def known(where: transfer.Where) -> dict[str, str]:
    return {row["key"]: row["value"] for row in rows(where)["meta"]}


def raw(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What is in the file, as SQLite itself has it."""
    with closing(sqlite3.connect(path)) as local:
        return {table.name: local.execute(f"SELECT * FROM {table.name} ORDER BY id").fetchall() for table in TABLES}  # noqa: S608


def dumped(store: transfer.Where) -> bytes:
    file = io.BytesIO()
    transfer.dump_to(store, file)
    return file.getvalue()


def load(text: bytes, target: transfer.Where) -> transfer.Copied:
    return transfer.load_from(io.BytesIO(text), "the file", target)


def sealed(lines: list[dict[str, Any]] | bytes) -> bytes:
    """A dump of these lines with a right end, as somebody may write one who knows how."""
    text = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"rows": text.count(b"\n") - 1, "sha256": hashlib.sha256(text).hexdigest()}
    return text + json.dumps({"end": end}, separators=(",", ":")).encode() + b"\n"
