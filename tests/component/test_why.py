# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a segment ended, from a real exit record through the store and the socket to streamvaultctl."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Phase, Recorder, Segment, State
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.verdict import judge
from streamvaultd.scopes.witnesses.pidfd import parse_exit_record
from tests.component.api_world import daemon
from tests.component.captures import world
from tests.component.store_world import NOW, later, move, open_store, start

if TYPE_CHECKING:
    from streamvaultd.store.local import LocalStore

SCRIPT = """
echo "error: Unable to open URL: https://user:s3cret@example.org/live.m3u8?token=s3cret&sig=s3cret (500)" >&2
echo "info: header is Authorization=OAuth s3cret" >&2
kill -9 $$
"""


def killed() -> Evidence:
    """What a shim tells of a program that was killed, having told its log a secret in three ways."""
    with world() as at:
        record = at.start("/bin/sh", "-c", SCRIPT, secrets=["s3cret"]).ended()
    return parse_exit_record(json.dumps(record).encode())


async def died(store: LocalStore, evidence: Evidence) -> Recorder:
    """A recording whose first segment died of this and whose second one records, and what was told of it."""
    verdict = judge(evidence, asked=None)
    first = Segment(
        number=1, phase=Phase.ENDED, since=later(60), started=NOW, media_at=later(1), ended=later(60), size=188,
        cause=verdict.cause, evidence=evidence, memory_max=256 << 20,
    )  # fmt: skip
    second = Segment(number=2, phase=Phase.WRITING, since=later(61), started=later(60.25), media_at=later(61))
    recorder = await move(store, await start(store), State.RECORDING, first, second)
    told = [
        (1.0, Notice.MEDIA_ARRIVED, 1, "Segment 001 of 'demo' records", None),
        (60.001, Notice.SEGMENT_DIED, 1, "Segment 001 of 'demo' died", verdict.cause),
        (60.252, Notice.SEGMENT_STARTED, 2, "Segment 002 of 'demo' runs", None),
        (61.003, Notice.MEDIA_ARRIVED, 2, "Segment 002 of 'demo' records", None),
    ]
    for seconds, kind, segment, message, cause in told:
        await store.add_event(
            at=later(seconds), kind=kind, priority=5, message=message, recording=recorder.recording.id,
            segment=segment, cause=cause,
        )  # fmt: skip
    return recorder


async def test_a_death_is_explained_from_the_exit_record_to_the_terminal(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await died(store, killed())
    async with daemon(store, tmp_path) as ctl:
        code, shown = await ctl("why", "demo", "1")
    await store.close()
    assert code == 0
    told = dict(line.strip().split(": ", 1) for line in shown.splitlines()[1:] if ": " in line[:14])
    assert told["Cause"] == "signal:9, it was killed by signal 9"
    assert told["Exit"] == "killed by signal 9 (SIGKILL)"
    assert told["Replaced"] == "by segment 002, which ran 250ms later and recorded 1.0s later"
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["Events:", "+252ms", "+1.0s"]


async def test_what_streamlink_said_is_told_without_its_secrets(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await died(store, replace(killed(), status=1))
    async with daemon(store, tmp_path) as ctl:
        _, shown = await ctl("why", "demo")
        _, answer = await ctl("why", "demo", "--json=short")
    await store.close()
    first, second = json.loads(answer)
    assert first["evidence"]["log"] == [
        "error: Unable to open URL: https://***@example.org/live.m3u8?*** (500)",
        "info: header is Authorization=OAuth ***",
    ]
    assert "endedAt" not in second
    for text in (shown, answer):
        assert "Unable to open URL: https://***@example.org/" in text
        assert "s3cret" not in text


async def test_what_is_not_there_cannot_be_explained(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await died(store, Evidence())
    async with daemon(store, tmp_path) as ctl:
        codes = [(await ctl("why", *argv))[0] for argv in (["demo"], ["demo", "2"], ["demo", "3"], ["nobody"])]
    await store.close()
    assert codes == [0, 0, 4, 4]
