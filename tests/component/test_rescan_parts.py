# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest names every file of a result, and what is kept beside it; a rescan knows them all again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.base.lanes import Lanes
from streamvaultd.core.model import JOIN, Phase, Recorder, State
from streamvaultd.jobs.made import Made, parse_made
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.removal import Removal
from tests.component.test_rescan import CLOCK, FILES, MEDIA, House, Writer, house, put, segment


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "recordings"
    made.mkdir()
    return made


@pytest.fixture
def databases(tmp_path: Path) -> tuple[Path, Path]:
    """The store that is lost, and the one that is rebuilt."""
    return tmp_path / "lost.db", tmp_path / "new.db"


class Joined:
    """A recording that was joined into two files, with something kept beside them; its store is lost."""

    def __init__(self, root: Path) -> None:
        self.paths = [root / "demo" / name for name in ("show.ts", "show.part2.mp4", "show.kept2.ts")]
        self.contents = [MEDIA, MEDIA * 2, b"what may not be in them"]
        self.notes = ["show.kept2.ts has what of segment_002.ts is not in the result: 7 bytes"]

    def parts(self) -> list[dict[str, Any]]:
        files = zip(self.paths, self.contents, strict=True)
        parts: list[dict[str, Any]] = [{"path": str(path), "bytes": len(content)} for path, content in files]
        parts[0]["duration_ms"] = 8000
        parts[2] |= {"is_kept": True, "segment": 2, "sha256": hashlib.sha256(self.contents[2]).hexdigest()}
        return parts

    async def make(self, home: House) -> Recorder:
        made, now = await home.start(), CLOCK.now()
        for path, content in zip(self.paths, self.contents, strict=True):
            put(path, content)
        result = {"path": str(self.paths[0]), "bytes": sum(map(len, self.contents)), "parts": self.parts()}
        job = await home.store.create_job(made.recording.id, JOIN, {"join": 1}, now)
        await home.store.finish_job(job, ok=True, result=result | {"notes": self.notes}, now=now)
        segments = tuple(replace(segment(number, now, size=250), phase=Phase.REMOVED) for number in (1, 2))
        done = replace(made, state=State.COMPLETED, segments=segments, path=str(self.paths[0]), ended=now)
        done = replace(done, result_bytes=sum(map(len, self.contents)))
        await home.store.save(done, segments)
        await Writer(home.store).note(done)
        return done


async def result_of(home: House) -> Made:
    job = await home.store.last_done_job(1, JOIN)
    return parse_made(None if job is None else job.result)


async def test_every_part_is_known_again_with_what_is_kept_beside(root: Path, databases: tuple[Path, Path]) -> None:
    joined = Joined(root)
    async with house(databases[0], root) as home:
        done = await joined.make(home)
        before = await result_of(home)
    assert [part.is_kept for part in before.parts] == [False, False, True]
    async with house(databases[1], root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
        assert (found.path, found.result_bytes) == (done.path, done.result_bytes)
        assert await result_of(home) == before
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        assert await removal.sizes(found) == {path: path.stat().st_size for path in joined.paths}
        await removal.remove(found, joined.paths)
    assert [path.name for path in (root / "demo").iterdir()] == [f".stream_{done.recording.stream}.json"]


async def test_a_manifest_names_what_is_kept_with_its_digest(root: Path, databases: tuple[Path, Path]) -> None:
    joined = Joined(root)
    async with house(databases[0], root) as home:
        done = await joined.make(home)
    found = json.loads((root / "demo" / f".stream_{done.recording.stream}.json").read_text())
    assert found["parts"][2] == {
        "name": "show.kept2.ts",
        "bytes": len(joined.contents[2]),
        "kept": True,
        "segment": 2,
        "sha256": hashlib.sha256(joined.contents[2]).hexdigest(),
    }
    assert found["notes"] == joined.notes


@pytest.mark.parametrize("other", [None, b"another file of it size"])
async def test_a_kept_file_that_is_gone_or_another_is_told_and_the_rest_is_taken(
    root: Path, databases: tuple[Path, Path], other: bytes | None
) -> None:
    joined = Joined(root)
    async with house(databases[0], root) as home:
        done = await joined.make(home)
    joined.paths[2].unlink()
    if other is not None:
        assert len(other) == len(joined.contents[2])
        joined.paths[2].write_bytes(other)
    async with house(databases[1], root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
        made = await result_of(home)
    assert found.path == done.path
    assert [part.path for part in made.parts] == [str(path) for path in joined.paths[:2]]
    assert list(made.notes) == [*joined.notes, "show.kept2.ts, kept beside it, is gone or another file"]


@pytest.mark.parametrize("left", [1, 2])
async def test_segments_are_joined_anew_if_what_was_kept_of_them_is_gone(
    root: Path, databases: tuple[Path, Path], left: int
) -> None:
    """Else the daemon would remove the only copy as it starts."""
    joined = Joined(root)
    async with house(databases[0], root) as home:
        done = await joined.make(home)
    kept = FILES.segment_path(done.recording, left)
    put(kept, MEDIA)
    joined.paths[2].unlink()
    async with house(databases[1], root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        is_removed = await removal.remove_segments(found)
    if left == 2:
        assert (found.state, found.path, is_removed) == (State.FINALIZING, None, False)
        assert kept.exists()
        assert joined.paths[0].exists(), "it stays, beside what is made anew"
    else:
        assert (found.state, found.path) == (State.COMPLETED, done.path), "nothing of this one was kept"


async def test_a_result_of_which_a_part_is_gone_is_not_whole(root: Path, databases: tuple[Path, Path]) -> None:
    joined = Joined(root)
    async with house(databases[0], root) as home:
        await joined.make(home)
    joined.paths[1].unlink()
    async with house(databases[1], root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
        assert await result_of(home) == Made()
    assert (found.path, found.detail) == (None, "its joined file is not there, or not whole")
