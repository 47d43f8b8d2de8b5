# SPDX-License-Identifier: GPL-3.0-or-later
"""What a join found and made, from the store through the socket to streamvaultctl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamvaultd.core.model import Phase, SeamRecord, Segment, State
from tests.component.api_world import daemon
from tests.component.store_world import NOW, later, move, open_store, start

if TYPE_CHECKING:
    from streamvaultd.store.local import LocalStore

RESULT = "/srv/recordings/demo/demo.ts"
EXACT = SeamRecord(
    older=1, newer=2, kind="exact", method="bytes", overlap_bytes=188_000, overlap_ms=1500.0, gap_ms=0.0,
    certainty="proven", note="",
)  # fmt: skip
GAP = SeamRecord(older=2, newer=3, kind="gap", method="timestamps", gap_ms=4033.3, certainty="likely", note="?")
TWO_PARTS = [{"path": RESULT, "bytes": 400, "duration_ms": 1}, {"path": f"{RESULT}.part2.mp4", "bytes": 5}]


async def joined(store: LocalStore, *seams: SeamRecord, result: dict[str, Any]) -> None:
    """A recording of three segments whose second try to join it gave these."""
    parts = [Segment(number=number, phase=Phase.REMOVED, since=NOW, size=188) for number in (1, 2, 3)]
    recorder = await move(store, await start(store), State.COMPLETED, *parts, path=RESULT, ended=later(9))
    number = recorder.recording.id
    for ok, outcome in ((False, {"why": "no space"}), (True, result)):
        job = await store.create_job(number, "join", {}, NOW)
        await store.finish_job(job, ok=ok, result=outcome, now=later(8))
    await store.create_job(number, "join", {}, NOW)
    await store.add_seams(number, seams)


async def test_seams_and_parts_are_listed_and_totalled(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await joined(store, EXACT, GAP, result={"path": RESULT, "parts": TWO_PARTS, "notes": ["part 2 begins there"]})
    async with daemon(store, tmp_path) as ctl:
        _, table = await ctl("seams", "demo")
        _, answer = await ctl("seams", "1", "--json=short")
        code, status = await ctl("status", "demo")
    await store.close()
    assert code == 0
    assert [row.split() for row in table.splitlines()[1:3]] == [
        ["001-002", "exact", "bytes", "proven", "183.6K", "1500", "0", "-"],
        ["002-003", "gap", "timestamps", "likely", "0B", "?", "4033.3", "?"],
    ]
    assert json.loads(answer)[1] == {
        "older": 2, "newer": 3, "kind": "gap", "method": "timestamps", "certainty": "likely", "gapUSec": 4_033_300,
        "note": "?",
    }  # fmt: skip
    for line in ("Seams: 2 (1 exact, 1 gap), likely", "Missing: 4033.3 ms in 1 gap", "Notes: part 2 begins there"):
        assert line in status
    assert f"Parts: {RESULT} (400B, 0s)\n" in status
    assert f"{RESULT}.part2.mp4 (5B)\n" in status


async def test_a_recording_that_is_not_joined_has_none(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await start(store)
    async with daemon(store, tmp_path) as ctl:
        assert await ctl("seams", "demo") == (0, "0 seams listed.\n")
        assert (await ctl("seams", "nobody"))[0] == 4
        assert (await ctl("status", "demo"))[0] == 0
    await store.close()


async def test_a_result_that_another_hand_wrote_is_an_error_of_its_own(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await joined(store, result={"parts": [{"path": 7}]})
    async with daemon(store, tmp_path) as ctl:
        assert (await ctl("status", "demo"))[0] == 1
    await store.close()
