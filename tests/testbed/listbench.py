# SPDX-License-Identifier: GPL-3.0-or-later
"""What lists cost when there are ten thousand recordings: `.venv/bin/python -m tests.testbed.listbench [ROWS] [RUNS]`.

Two daemons' sockets, one on an empty store and one on a full one, are asked by turns by the program that people call,
so that both have the same noise; and so is `python3 -c pass`, which is what starting anything in this language costs.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streamvaultd.core.model import Phase, Segment, State
from streamvaultd.varlink.client import Client
from tests.component.socket_world import served
from tests.component.store_world import NOW, later, move, start

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = "/usr/bin/python3"
PROGRAM: Final = (ROOT / "debian/streamvaultctl").read_text().replace("/usr/lib/python3/dist-packages", str(ROOT))
COMMANDS: Final = {
    "list": ["list"],
    "list STREAMER": ["list", "streamer-7", "--limit", "20"],
    "list --all --limit 20": ["list", "--all", "--limit", "20"],
    "list --status failed --limit 20": ["list", "--status", "failed", "--limit", "20"],
    "list --since 1d --limit 20": ["list", "--since", "1d", "--limit", "20"],
    "status": ["status"],
}
CALLS: Final[dict[str, dict[str, object]]] = {
    "List": {},
    "List, a page of 20 of all": {"all": True, "limit": 20},
    "List, 20 that failed": {"status": "failed", "limit": 20},
    "List, 20 of a streamer": {"streamer": "streamer-7", "limit": 20},
    "List, 20 of a time": {"since": NOW.realtime, "until": later(3600).realtime, "limit": 20},
    "ListStreams, 20": {"limit": 20},
    "ListEvents, 20": {"limit": 20},
    "ListEvents, 20 of a kind": {"kind": "segment-died", "limit": 20},
    "GetStatus": {},
}


def fill(path: Path, count: int) -> None:
    """So many recordings of a hundred streamers, with three segments and five events each."""
    asyncio.run(_make_one(path))
    with sqlite3.connect(path) as database:
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "  # noqa: S608 - a number
        streamers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
        _copy(database, streamers, "streamers", {"id": "i", "username": "'streamer-' || i"})
        _copy(database, numbers, "streams", {"id": "i", "streamer_id": "i % 100 + 1"})
        moved = "strftime('%Y-%m-%d %H:%M:%f', {0}, '-' || ({1} - i) || ' minutes') || '000'"
        dates = {name: moved.format(name, count) for name in ("start_time", "end_time", "since")}
        status = "CASE i % 10 WHEN 0 THEN 'failed' ELSE status END"
        keys = {"id": "i", "stream_id": "i", "streamer_id": "i % 100 + 1", "status": status, "state": status}
        _copy(database, numbers, "recordings", keys | dates)
        _copy(database, numbers, "segments", {"id": None, "recording_id": "i"})
        _copy(database, numbers, "events", {"id": None, "recording_id": "i"})


def _copy(database: sqlite3.Connection, numbers: str, table: str, changed: Mapping[str, str | None]) -> None:
    columns = [
        row[1] for row in database.execute(f"PRAGMA table_info({table})") if changed.get(row[1], "") is not None
    ]
    values = ", ".join(changed.get(name) or name for name in columns)
    first = "recording_id" if "recording_id" in columns else "id"
    database.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) {numbers}"  # noqa: S608 - names of our own
        f"SELECT {values} FROM n, (SELECT * FROM {table} WHERE {first} = 1)"
    )


async def _make_one(path: Path) -> None:
    async with served(path.parent) as world:
        parts = tuple(
            Segment(
                number=n,
                phase=Phase.REMOVED,
                since=NOW,
                started=NOW,
                media_at=NOW,
                ended=later(9),
                size=188,
                cause=cause,
            )
            for n, cause in ((1, "oom"), (2, "rotated"), (3, "source-ended"))
        )
        recorder = await start(world.store, "streamer-1")
        await move(world.store, recorder, State.COMPLETED, *parts, ended=later(10), path="/srv/x.ts", result_bytes=500)
        for kind in ("recording-started", "segment-died", "media-arrived", "rotation-done", "recording-completed"):
            await world.store.add_event(at=NOW, kind=kind, priority=5, message="A text of a usual length", recording=1)


async def serve(folder: Path) -> None:
    """Answer until killed."""
    async with served(folder):
        print("ready", flush=True)
        await asyncio.Event().wait()


def begin(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.testbed.listbench", "--serve", str(folder)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def clock(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def ctl(folder: Path, argv: list[str]) -> list[str]:
    return [PYTHON, "-IS", "-c", PROGRAM, "--socket", str(folder / "socket"), *argv]


def call(folder: Path, method: str, parameters: dict[str, object]) -> float:
    began = time.perf_counter()
    Client(folder / "socket").call(f"io.streamvault.Recorder.{method}", parameters)
    return (time.perf_counter() - began) * 1000


def rss(pid: int) -> float:
    """Resident memory (MiB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def measure(empty: Path, full: Path, runs: int) -> dict[str, dict[str, float]]:
    """Medians (ms) of all commands and calls, by turns."""
    times: dict[str, dict[str, list[float]]] = {}

    def note(what: str, which: str, took: float) -> None:
        times.setdefault(what, {}).setdefault(which, []).append(took)

    for _ in range(runs):
        note("python3 -c pass", "empty", clock([PYTHON, "-c", "pass"]))
        for what, argv in COMMANDS.items():
            note(f"streamvaultctl {what}", "empty", clock(ctl(empty, argv)))
            note(f"streamvaultctl {what}", "full", clock(ctl(full, argv)))
        for what, parameters in CALLS.items():
            for which, folder in (("empty", empty), ("full", full)):
                note(what, which, call(folder, what.partition(",")[0], dict(parameters)))
    return {what: {which: statistics.median(of) for which, of in found.items()} for what, found in times.items()}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
    rows, runs = (int(word) for word in [*sys.argv[1:], *["10000", "15"][len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as where:
        empty, full = Path(where, "empty"), Path(where, "full")
        for folder in (empty, full):
            folder.mkdir()
        fill(full / "store.db", rows)
        servers = [begin(folder) for folder in (empty, full)]
        try:
            found = measure(empty, full, runs)
            memory = [rss(server.pid) for server in servers]
        finally:
            for server in servers:
                server.kill()
                server.wait()
    base = found["python3 -c pass"]["empty"]
    print(f"{'medians in ms':48} {'empty':>8} {f'{rows} rows':>10} {'ratio':>6} {'/ pass':>6}")
    for what, of in found.items():
        ratio = f"{of['full'] / of['empty']:6.2f}" if "full" in of else ""
        print(f"{what:48} {of['empty']:8.1f} {of.get('full', 0):10.1f} {ratio:>6} {of['empty'] / base:6.2f}")
    print(f"{'resident memory of the server, MiB':48} {memory[0]:8.1f} {memory[1]:10.1f} {memory[1] / memory[0]:6.2f}")
    print(json.dumps({"rows": rows, "runs": runs, "ms": found, "rssMiB": memory}))


if __name__ == "__main__":
    main()
