# SPDX-License-Identifier: GPL-3.0-or-later
"""What steps have made is in the manifest, comes back with a rescan, goes with the media, and is waited for."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from streamvaultd.base.beneath import NotOurs
from streamvaultd.base.lanes import Lanes
from streamvaultd.core.after import graph
from streamvaultd.core.after.graph import KINDS, StepKind
from streamvaultd.core.after.machine import Done, Failed, StepStatus
from streamvaultd.core.model import Recorder, State
from streamvaultd.recording.files.discard import MediaRemover
from streamvaultd.recording.removal import Removal
from streamvaultd.store.queries import QueryableStore
from streamvaultd.upkeep.manifests.rescan import RescanVerdict
from tests.component.store_world import BOOT, NOW, SetClock, segment_path, start
from tests.component.test_rescan import FILES, House, Writer, house, put
from tests.component.test_rescan_parts import Joined

PICTURE, SHEET = b"\xff\xd8\xff picture", b"\xff\xd8\xff sheet"


@pytest.fixture(autouse=True)
def _graph(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        StepKind(name="thumbnail", wanted=lambda policy: policy.thumbnail, program="x"),
        StepKind(name="copy", wanted=lambda policy: policy.thumbnail, program="x", is_required=True),
    )
    monkeypatch.setattr(graph, "GRAPH", rows)
    for row in rows:
        monkeypatch.setitem(KINDS, row.name, row)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "recordings"
    made.mkdir()
    return made


class Pictured:
    """A recording that was joined, and of which a step has made two files."""

    def __init__(self, root: Path) -> None:
        self.joined = Joined(root)
        self.picture = root / "demo" / "show-thumb.jpg"
        self.sheet = root / "demo" / "show.trickplay" / "320 - 10x10" / "0.jpg"

    async def make(self, home: House) -> Recorder:
        done = await self.joined.make(home)
        recording = done.recording
        wanted = replace(done, recording=replace(recording, policy=replace(recording.policy, thumbnail=True)))
        await home.store.save(wanted, ())
        [row, _] = await home.store.steps(recording.id)
        job = await home.store.begin_step(row, {"step": row.step}, NOW.realtime)
        assert job is not None
        files = []
        for path, content in ((self.picture, PICTURE), (self.sheet, SHEET)):
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, content)
            files.append({"path": str(path), "bytes": len(content), "sha256": sha256(content).hexdigest()})
        await home.store.end_step(row, Done(at=NOW.realtime, job=job), {"files": files, "notes": []})
        await Writer(home.store).note(wanted)
        return wanted


def manifest_of(root: Path, done: Recorder) -> Path:
    return root / "demo" / f".stream_{done.recording.stream}.json"


async def test_a_manifest_names_what_was_made_and_a_rescan_knows_it_again(root: Path, tmp_path: Path) -> None:
    pictured = Pictured(root)
    async with house(tmp_path / "lost.db", root) as home:
        done = await pictured.make(home)
        before = await home.store.steps_made(done.recording.id)
    assert json.loads(manifest_of(root, done).read_text())["made"] == [
        {"step": "thumbnail", "name": name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in (("show-thumb.jpg", PICTURE), ("show.trickplay/320 - 10x10/0.jpg", SHEET))
    ]
    async with house(tmp_path / "new.db", root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
        assert list(await home.store.steps_made(found.recording.id)) == list(before)
        assert [row.status for row in await home.store.steps(found.recording.id)] == [StepStatus.DONE]
        await home.store.save(found, ())
        assert await home.store.unfinished_steps() == []  # nothing is made anew of what is old


async def test_what_somebody_has_changed_is_theirs(root: Path, tmp_path: Path) -> None:
    pictured = Pictured(root)
    async with house(tmp_path / "lost.db", root) as home:
        await pictured.make(home)
    pictured.picture.write_bytes(b"mine")
    async with house(tmp_path / "new.db", root) as home:
        await home.run()
        [(_, told)] = await home.store.steps_made(1)
        assert [file["path"] for file in told["files"]] == [str(pictured.sheet)]


async def assert_unreadable(root: Path, folder: Path, **made: str) -> None:
    """A manifest that says this of what was made brings nothing back."""
    pictured = Pictured(root)
    async with house(folder / "lost.db", root) as home:
        done = await pictured.make(home)
    manifest = manifest_of(root, done)
    told = json.loads(manifest.read_text())
    told["made"][0] |= made
    manifest.write_text(json.dumps(told))
    async with house(folder / "new.db", root) as home:
        assert list((await home.run()).values()) == [RescanVerdict.UNREADABLE]
        assert await home.store.list(all=True) == []


@pytest.mark.parametrize("name", ["../other/show.ts", "/etc/passwd", "a/../b", "", "a//b", "."])
async def test_a_manifest_that_names_what_is_elsewhere_is_none(root: Path, tmp_path: Path, name: str) -> None:
    await assert_unreadable(root, tmp_path, name=name)


async def test_it_goes_with_the_media_and_leaves_no_folder(root: Path, tmp_path: Path) -> None:
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        sizes = await removal.sizes(done)
        assert {pictured.picture, pictured.sheet} < set(sizes)
        await removal.remove(done, list(sizes))
        assert [path.name for path in (root / "demo").iterdir()] == [manifest_of(root, done).name]


async def test_a_folder_in_which_somebody_has_put_something_stays(root: Path, tmp_path: Path) -> None:
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        theirs = pictured.sheet.parent / "mine.txt"
        theirs.write_text("mine")
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        await removal.remove(done, list(await removal.sizes(done)))
        assert theirs.read_text() == "mine"


def write_row(database: Path, *paths: Path | str) -> None:
    """The row of its step, as whoever wrote it would have it."""
    files = [{"path": str(path), "bytes": 1, "sha256": sha256(b"x").hexdigest()} for path in paths]
    made = json.dumps({"files": files, "notes": []})
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE steps SET made = ? WHERE status = 'done'", (made,))


async def test_no_link_leads_it_to_the_files_of_others(root: Path, tmp_path: Path) -> None:
    """A folder of pictures may hold a link, or be one: what is behind it stays. The picture beside it goes."""
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        (root / "bob").mkdir()
        precious = root / "bob" / "0.jpg"
        precious.write_bytes(b"x")
        pictured.sheet.unlink()
        pictured.sheet.parent.rmdir()
        (pictured.sheet.parent.parent / "in").symlink_to(root / "bob")
        pictured.sheet.parent.symlink_to(root / "bob")
        (root / "demo" / "show.part2.trickplay").symlink_to(root / "bob")
        behind = pictured.sheet.parent.parent / "in" / "0.jpg", root / "demo" / "show.part2.trickplay" / "0.jpg"
        write_row(tmp_path / "store.db", pictured.picture, pictured.sheet, *behind)
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        sizes = await removal.sizes(done)
        assert set(sizes) == {pictured.picture, *pictured.joined.paths}
        await removal.remove(done, list(sizes))
        with pytest.raises(NotOurs):
            await removal.remove(done, behind)
        assert precious.read_bytes() == b"x"
        assert not any(path.exists() for path in (pictured.picture, *pictured.joined.paths))


async def test_a_row_has_nothing_but_what_is_of_its_result(root: Path, tmp_path: Path) -> None:
    """Names that no file can have are none either, and retention goes on."""
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        others = [root / "demo" / name for name in ("other.ts", "show (2).ts", ".stream_9.json", "other-thumb.jpg")]
        for path in others:
            path.write_bytes(b"x")
        write_row(
            tmp_path / "store.db", pictured.picture, *others, f"{root}/demo/show.a\0b", f"{root}/demo/show.\ud800/a"
        )
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        assert set(await removal.sizes(done)) == {pictured.picture, *pictured.joined.paths}


@pytest.mark.parametrize("is_folder", [False, True])
async def test_what_its_user_put_in_its_place_is_theirs_and_holds_up_nothing(
    root: Path, tmp_path: Path, *, is_folder: bool
) -> None:
    """A link instead of the picture, a file instead of the folder of sheets."""
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        if is_folder:
            shutil.rmtree(pictured.sheet.parent.parent)
            pictured.sheet.parent.parent.write_text("mine")
        else:
            pictured.picture.unlink()
            pictured.picture.symlink_to("/srv/mine.jpg")
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        await removal.remove(done, list(await removal.sizes(done)))
        mine = pictured.sheet.parent.parent if is_folder else pictured.picture
        assert sorted((root / "demo").iterdir()) == sorted([manifest_of(root, done), mine])


async def test_a_link_in_place_of_the_result_is_refused(root: Path, tmp_path: Path) -> None:
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        pictured.joined.paths[1].unlink()
        pictured.joined.paths[1].symlink_to("/srv/mine.mp4")
        removal = Removal(store=home.store, files=FILES, media=MediaRemover(), lanes=Lanes())
        with pytest.raises(NotOurs):
            await removal.sizes(done)


@pytest.mark.parametrize("name", ["other.ts", "show.trickplay/l/0.jpg"])
async def test_a_rescan_believes_a_manifest_for_what_is_of_its_result(root: Path, tmp_path: Path, name: str) -> None:
    """Another recording's file, and one behind a link, have the bytes that it tells of; the picture has them too."""
    pictured = Pictured(root)
    async with house(tmp_path / "lost.db", root) as home:
        done = await pictured.make(home)
    (root / "bob").mkdir()
    (pictured.sheet.parent.parent / "l").symlink_to(root / "bob")
    (root / "bob" / "0.jpg").write_bytes(SHEET)
    (root / "demo" / "other.ts").write_bytes(SHEET)
    manifest = manifest_of(root, done)
    told = json.loads(manifest.read_text())
    told["made"][1]["name"] = name
    manifest.write_text(json.dumps(told))
    async with house(tmp_path / "new.db", root) as home:
        assert list((await home.run()).values()) == [RescanVerdict.REBUILT]
        [(_, row)] = await home.store.steps_made(1)
        assert [file["path"] for file in row["files"]] == [str(pictured.picture)]


@pytest.mark.parametrize("column", ["retry_at", "changed_at", "made", "tries"])
async def test_a_row_that_another_hand_broke_costs_itself(root: Path, tmp_path: Path, column: str) -> None:
    """The other step goes on, and the recording is saved."""
    pictured = Pictured(root)
    async with house(tmp_path / "store.db", root) as home:
        done = await pictured.make(home)
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
            connection.execute(f"UPDATE steps SET {column} = '{{bad' WHERE step = 'thumbnail'")  # noqa: S608
        assert [row.step for row in await home.store.unfinished_steps()] == ["copy"]
        await home.store.steps_made(done.recording.id)
        await home.store.save(replace(done, path=None), ())
        rows = {row.step: row.status for row in await home.store.steps(done.recording.id)}
        assert rows["copy"] is StepStatus.SKIPPED


@pytest.mark.parametrize("step", ["", "a\0b", "../x", "A", "a\n", "x" * 65])
async def test_a_manifest_whose_step_has_no_name_is_none(root: Path, tmp_path: Path, step: str) -> None:
    await assert_unreadable(root, tmp_path, step=step)


END = dict[str, Callable[[int], Done | Failed]]
ENDS: END = {
    "done": lambda job: Done(at=NOW.realtime, job=job),
    "failed": lambda job: Failed(at=NOW.realtime, job=job, why="refused"),
}


@pytest.mark.parametrize(("end", "is_held"), [("done", False), ("failed", True)])
async def test_retention_waits_for_a_required_step_alone(tmp_path: Path, end: str, is_held: bool) -> None:
    store = await QueryableStore.open(tmp_path / "store.db", paths=segment_path, clock=SetClock(), boot=BOOT)
    made = await start(store)
    policy = replace(made.recording.policy, thumbnail=True)
    made = replace(made, recording=replace(made.recording, policy=policy))
    done = replace(made, state=State.COMPLETED, path="/srv/recordings/demo/a.ts", ended=NOW, result_bytes=7)
    await store.save(done, ())
    [held] = await store.results("demo")
    assert held.has_steps
    rows = {row.step: row for row in await store.steps(1)}
    job = await store.begin_step(rows["copy"], {}, NOW.realtime)
    assert job is not None
    await store.end_step(rows["copy"], ENDS[end](job), {})
    [found] = await store.results("demo")
    assert found.has_steps is is_held  # the optional one is not over either way
    await store.save(replace(done, path=None), ())
    assert {row.status for row in await store.steps(1)} <= {StepStatus.SKIPPED, StepStatus.DONE}
    await store.close()


async def test_a_job_begins_for_a_step_that_is_due_and_for_no_other(tmp_path: Path) -> None:
    store = await QueryableStore.open(tmp_path / "store.db", paths=segment_path, clock=SetClock(), boot=BOOT)
    made = await start(store)
    made = replace(made, recording=replace(made.recording, policy=replace(made.recording.policy, thumbnail=True)))
    await store.save(replace(made, state=State.COMPLETED, path="/srv/recordings/demo/a.ts", ended=NOW), ())
    row = (await store.steps(1))[0]
    job = await store.begin_step(row, {}, NOW.realtime)
    assert await store.begin_step(row, {}, NOW.realtime) is None
    [known] = await store.unfinished_jobs()
    assert (known.id, known.kind) == (job, "thumbnail")
    await store.close()
