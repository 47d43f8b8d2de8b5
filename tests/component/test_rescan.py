# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests beside the media, and a store that is rebuilt from them: real files, a real store, a real manager."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamvaultd.base.clock import SystemClock
from streamvaultd.base.lanes import Lanes
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Broadcast, Moment, Phase, Policy, Recorder, SeamRecord, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.errors import DirectoryUnusable
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.reporting.entry import Entry
from streamvaultd.reporting.notices import MANIFEST_FAILED
from streamvaultd.store.audit_rows import RecoverableStore
from streamvaultd.store.transfer import dump_to
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.manifests import format as manifest
from streamvaultd.upkeep.manifests.format import Manifest, ManifestSegment
from streamvaultd.upkeep.manifests.keeper import Manifests
from streamvaultd.upkeep.manifests.manifest_files import ManifestFiles
from streamvaultd.upkeep.manifests.rescan import Rescan, RescanVerdict
from tests.fakes.managing import new_manager
from tests.fakes.parts import Begun

CLOCK = SystemClock()
FILES = SegmentFiles()
MEDIA = b"media" * 100
SEAM = SeamRecord(older=1, newer=2, kind="gap", method="pts", gap_ms=28_000.0, certainty="measured", note="a note")
URL = "https://user:secret@example.org/live.m3u8?token=hidden"


class Executor:
    def __init__(self, store: RecoverableStore) -> None:
        self.store = store
        self.performed: list[fx.Effect] = []

    async def perform(self, recorder: Recorder, effects: tuple[fx.Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Save):
                await self.store.save(effect.recorder, effect.changed)
            else:
                self.performed.append(effect)


class Journal:
    def __init__(self) -> None:
        self.told: list[Entry] = []

    def tell(self, entry: Entry, recorder: Recorder | None = None, **values: object) -> None:
        entry.text.format_map({"streamer": "x", **values})
        self.told.append(entry)


class Writer:
    """Manifests, and a way to wait for them."""

    def __init__(self, store: RecoverableStore, files: Any = None, lanes: Lanes | None = None) -> None:
        self.journal = Journal()
        self.tasks = Begun()
        self.manifests = Manifests(
            tasks=self.tasks,
            store=store,
            lanes=lanes or Lanes(),
            files=files or ManifestFiles(),
            journal=cast("Any", self.journal),
        )

    async def note(self, recorder: Recorder) -> None:
        self.manifests.note(recorder)
        await asyncio.gather(*self.tasks)


class House:
    """A store, and what a daemon has around it."""

    def __init__(self, store: RecoverableStore, root: Path) -> None:
        self.store, self.root, self.journal = store, root, Journal()
        self.executor = Executor(store)
        self.manager = new_manager(self.executor, CLOCK)
        self.rescan = Rescan(
            manager=self.manager,
            store=store,
            files=ManifestFiles(),
            salvage=Salvage(),
            lanes=Lanes(),
            clock=CLOCK,
            journal=cast("Any", self.journal),
            settings=LiveSettings(Settings(directory=root)),
        )

    async def start(self, streamer: str = "demo") -> Recorder:
        return await self.store.create_recording(
            streamer=streamer,
            url=URL,
            quality="best",
            directory=str(self.root),
            duration=None,
            policy=Policy(),
            now=CLOCK.now(),
        )

    async def run(self, *, dry_run: bool = False) -> dict[str, RescanVerdict]:
        """What became of each recording on disk, by the name of what it was found by."""
        found = await self.rescan.run(None, dry_run=dry_run)
        return {Path(one.path).name: one.verdict for one in found}


@asynccontextmanager
async def house(database: Path, root: Path) -> AsyncIterator[House]:
    store = await RecoverableStore.open(
        database, paths=lambda recording, number: str(FILES.segment_path(recording, number))
    )
    try:
        yield House(store, root)
    finally:
        await store.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "recordings"
    made.mkdir()
    return made


def segment(number: int, now: Moment, **more: Any) -> Segment:
    return Segment(number=number, phase=Phase.ENDED, since=now, started=now, ended=now, media_at=now, **more)


def put(path: Path, media: bytes = MEDIA) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(media)


async def complete(home: House, streamer: str = "demo") -> Recorder:
    """A recording that is joined, with its manifest; its segments are gone."""
    recorder, now = await home.start(streamer), CLOCK.now()
    parts = tuple(
        replace(segment(number, now, size=250, cause="oom", memory_peak=7), phase=Phase.REMOVED) for number in (1, 2)
    )
    path = home.root / streamer / f"result_{recorder.recording.id}.ts"
    put(path)
    done = replace(
        recorder, state=State.COMPLETED, segments=parts, path=str(path), result_bytes=len(MEDIA), ended=now, since=now
    )
    await home.store.save(done, parts)
    await home.store.note_broadcast(recorder.recording.id, Broadcast(title="Café", category="Art"), now)
    await home.store.add_seams(recorder.recording.id, [SEAM])
    await Writer(home.store).note(done)
    return done


async def interrupted(home: House, streamer: str = "demo") -> Recorder:
    """A recording that ran when its store was lost: two segments on disk."""
    recorder, now = await home.start(streamer), CLOCK.now()
    parts = segment(1, now, size=len(MEDIA), cause="oom"), replace(segment(2, now), phase=Phase.WRITING)
    for part in parts:
        put(FILES.segment_path(recorder.recording, part.number))
    running = replace(recorder, state=State.RECORDING, segments=parts)
    await home.store.save(running, parts)
    await Writer(home.store).note(running)
    return running


def rows(database: Path, table: str, columns: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()  # noqa: S608


@pytest.fixture
def databases(tmp_path: Path) -> tuple[Path, Path]:
    """The store that is lost, and the one that is rebuilt."""
    return tmp_path / "lost.db", tmp_path / "new.db"


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_a_manifest_says_what_the_rows_say_without_secrets(root: Path, databases: tuple[Path, Path]) -> None:
    async with house(databases[0], root) as home:
        done = await complete(home)
    path = root / "demo" / f".stream_{done.recording.stream}.json"
    text = path.read_text()
    found = json.loads(text)
    assert (found["recording"], found["status"], found["result_bytes"]) == (1, "completed", len(MEDIA))
    assert [part["cause"] for part in found["segments"]] == ["oom", "oom"]
    assert "secret" not in text
    assert "hidden" not in text
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".new")] == []


async def test_a_mark_is_in_the_manifest_and_in_the_store_that_is_rebuilt(
    root: Path, databases: tuple[Path, Path]
) -> None:
    async with house(databases[0], root) as home:
        done = replace(await complete(home), kept=True)
        await home.store.save(done, ())
        await Writer(home.store).note(done)
        plain = await complete(home, "other")
    async with house(databases[1], root) as home:
        await home.run()
        found = [await home.store.find(each.recording.streamer) for each in (done, plain)]
    assert [each.kept for each in found] == [True, False]


async def test_nothing_is_written_before_media(root: Path, databases: tuple[Path, Path]) -> None:
    async with house(databases[0], root) as home:
        recorder = await home.start()
        (root / "demo").mkdir()
        await Writer(home.store).note(recorder)
    assert list((root / "demo").iterdir()) == []


async def test_only_changes_are_written(root: Path, databases: tuple[Path, Path]) -> None:
    written: list[bytes] = []

    class Counting(ManifestFiles):
        def write(self, path: Path, text: bytes) -> None:
            written.append(text)
            super().write(path, text)

    async with house(databases[0], root) as home:
        running = await interrupted(home)
        writer = Writer(home.store, Counting())
        await writer.note(running)
        grown = replace(running, segments=(running.segments[0], replace(running.segments[1], size=5)))
        await writer.note(grown)
        assert len(written) == 1
        await writer.note(replace(grown, state=State.FINALIZING))
        assert len(written) == 2


async def test_a_disk_that_refuses_is_told_once(root: Path, databases: tuple[Path, Path]) -> None:
    class Refusing(ManifestFiles):
        def write(self, path: Path, text: bytes) -> None:
            raise OSError(28, "No space left on device")

    async with house(databases[0], root) as home:
        running = await interrupted(home)
        writer = Writer(home.store, Refusing())
        await writer.note(running)
        await writer.note(replace(running, state=State.FINALIZING))
    assert writer.journal.told == [MANIFEST_FAILED]


async def test_a_disk_that_hangs_holds_nothing_up_but_its_manifests(root: Path, databases: tuple[Path, Path]) -> None:
    started, answers = threading.Event(), threading.Event()

    class Hanging(ManifestFiles):
        def write(self, path: Path, text: bytes) -> None:
            started.set()
            assert answers.wait(10)
            super().write(path, text)

    async with house(databases[0], root) as home:
        running = await interrupted(home)
        path = root / "demo" / f".stream_{running.recording.stream}.json"
        path.unlink()
        lanes = Lanes()
        writer = Writer(home.store, Hanging(), lanes)
        writer.manifests.note(running)
        assert await asyncio.to_thread(started.wait, 10)
        launched = await lanes.run(running.recording.directory, lambda: "launched")
        assert (launched, path.exists()) == ("launched", False)
        answers.set()
        await asyncio.gather(*writer.tasks)
        assert path.exists()


async def test_what_is_there_already_is_left(root: Path, databases: tuple[Path, Path]) -> None:
    async with house(databases[0], root) as home:
        done = await complete(home)
        path = root / "demo" / f".stream_{done.recording.stream}.json"
        before = path.stat()
        await Writer(home.store).note(done)
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_folder_that_went_with_its_media_is_no_trouble_and_a_disk_that_is_away_is(
    root: Path, databases: tuple[Path, Path]
) -> None:
    async with house(databases[0], root) as home:
        done = await complete(home)
        unjoined = replace(done, state=State.FAILED, path=None, segments=(segment(1, CLOCK.now(), size=250),))
        shutil.rmtree(root / "demo")
        for recorder, told in (
            (replace(done, path=None), []),
            (done, [MANIFEST_FAILED]),
            (unjoined, [MANIFEST_FAILED]),
        ):
            writer = Writer(home.store)
            await writer.note(recorder)
            assert writer.journal.told == told


# --- rebuilding ------------------------------------------------------------------------------------------------------


async def test_a_lost_store_is_rebuilt(root: Path, databases: tuple[Path, Path]) -> None:
    lost, new = databases
    async with house(lost, root) as home:
        first = await complete(home)
        running = await interrupted(home, "other")
    async with house(new, root) as home:
        names = f".stream_{first.recording.stream}.json", f".stream_{running.recording.stream}.json"
        assert await home.run(dry_run=True) == dict.fromkeys(names, RescanVerdict.REBUILT)
        assert await home.store.list(all=True) == []
        assert await home.run() == dict.fromkeys(names, RescanVerdict.REBUILT)
        await home.manager.drain()
        assert await home.run() == dict.fromkeys(names, RescanVerdict.KNOWN)
        assert list(home.manager.recorders) == [running.recording.id]
        assert home.manager.recorders[running.recording.id].state is State.FINALIZING
        assert any(isinstance(effect, fx.Join) for effect in home.executor.performed)
        assert await home.store.seams(first.recording.id) == [SEAM]
        assert await home.store.broadcast(first.recording.id) == Broadcast(title="Café", category="Art")
    columns = "id, stream_id, status, recording_path, start_time, bytes"
    assert rows(new, "recordings", columns)[0] == rows(lost, "recordings", columns)[0]
    assert [row[2] for row in rows(new, "recordings", columns)] == ["completed", "finalizing"]
    parts = "recording_id, number, path, unit, cause, memory_peak"
    assert rows(new, "segments", parts) == rows(lost, "segments", parts)
    media = [FILES.segment_path(running.recording, number).read_bytes() for number in (1, 2)]
    assert media == [MEDIA, MEDIA]


ABSURD = st.integers() | st.floats(allow_nan=False) | st.sampled_from([2**63, 10**12, 10**400, 1e308, -1])
JSON = ABSURD | st.none() | st.booleans() | st.text(max_size=4) | st.lists(ABSURD, max_size=2)
KEYS = sorted({*Manifest.__struct_fields__} - {"streamer", "segments"})
SEGMENT_KEYS = sorted(ManifestSegment.__struct_fields__)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    top=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=2),
    of_part=st.dictionaries(st.sampled_from(SEGMENT_KEYS), JSON, max_size=2),
    with_media=st.booleans(),
)
def test_whatever_a_manifest_says_a_rescan_makes_rows_or_tells_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, top: dict[str, Any], of_part: dict[str, Any], with_media: bool
) -> None:
    async def story(folder: Path) -> None:
        async with house(folder / "new.db", folder / "recordings") as home:
            verdicts = await home.run()
            assert set(verdicts.values()) <= {RescanVerdict.REBUILT, RescanVerdict.UNREADABLE}
            rebuilt = [verdict for verdict in verdicts.values() if verdict is RescanVerdict.REBUILT]
            assert len(await home.store.list(all=True)) == len(rebuilt)
        copied = await asyncio.to_thread(dump_to, folder / "new.db", io.BytesIO())
        assert copied.mended == ()

    folder = tmp_path_factory.mktemp("any")
    whole: dict[str, Any] = {
        "format": 1, "recording": 7, "stream": 8, "streamer": "demo", "url": "u", "quality": "best",
        "status": "stopped", "start_time": 1, "segments": [{"number": 1, "status": "ended", **of_part}],
    }  # fmt: skip
    put(folder / "recordings" / "demo" / ".stream_8.json", json.dumps(whole | top).encode())
    if with_media:
        put(folder / "recordings" / "demo" / "stream_8_segments" / "segment_001.ts")
    asyncio.run(story(folder))


async def test_a_manifest_with_an_absurd_number_is_told_of_and_the_others_are_taken(
    root: Path, databases: tuple[Path, Path]
) -> None:
    async with house(databases[0], root) as home:
        await complete(home)
        path = (await complete(home, "other")).recording.stream
    file = root / "other" / f".stream_{path}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"duration": 1e308}))
    async with house(databases[1], root) as home:
        found = {one.path: one for one in await home.rescan.run(None, dry_run=False)}
        assert found[str(file)].verdict is RescanVerdict.UNREADABLE
        assert "duration is 1e+308: expected `float` <= 315360000" in found[str(file)].text
        assert [recorder.recording.streamer for recorder in await home.store.list(all=True)] == ["demo"]


async def test_numbers_of_others_are_not_taken(root: Path, databases: tuple[Path, Path]) -> None:
    lost, new = databases
    async with house(lost, root) as home:
        joined, running = await complete(home), await interrupted(home, "other")
    async with house(new, root) as home:
        for number in (1, 2):
            await home.start(f"occupant-{number}")
        found = await home.rescan.run(None, dry_run=False)
        verdicts = {one.path: (one.verdict, one.recording) for one in found}
        folder = root / "demo" / f".stream_{joined.recording.stream}.json"
        assert verdicts[str(folder)] == (RescanVerdict.REBUILT, 3)
        conflict = root / "other" / f".stream_{running.recording.stream}.json"
        assert verdicts[str(conflict)] == (RescanVerdict.CONFLICT, None)
        assert await home.run() == {folder.name: RescanVerdict.KNOWN, conflict.name: RescanVerdict.CONFLICT}


async def test_what_cannot_be_read_is_told(root: Path, databases: tuple[Path, Path]) -> None:
    put(root / "demo" / ".stream_1.json", b"{")
    put(root / "demo" / ".stream_2.json", b'{"format": 99}')
    put(root / "demo" / "stream_3_segments" / "segment_001.ts")
    (root / "demo" / ".stream_4.json").symlink_to("/etc/passwd")
    async with house(databases[0], root) as home:
        assert await home.run() == {
            ".stream_1.json": RescanVerdict.UNREADABLE,
            ".stream_2.json": RescanVerdict.UNREADABLE,
            "stream_3_segments": RescanVerdict.NO_MANIFEST,
        }
        assert await home.store.list(all=True) == []


async def test_segments_that_are_written_to_wait(root: Path, databases: tuple[Path, Path]) -> None:
    lost, new = databases
    async with house(lost, root) as home:
        running = await interrupted(home)
    async with house(new, root) as home:
        name = f".stream_{running.recording.stream}.json"
        with FILES.segment_path(running.recording, 2).open("ab"):
            assert await home.run() == {name: RescanVerdict.BUSY}
        assert await home.run() == {name: RescanVerdict.REBUILT}


async def test_a_joined_file_that_is_cut_is_not_taken_for_the_whole(root: Path, databases: tuple[Path, Path]) -> None:
    lost, new = databases
    async with house(lost, root) as home:
        done = await complete(home)
    put(Path(done.path or ""), MEDIA[:-1])
    async with house(new, root) as home:
        await home.run()
        (found,) = await home.store.list(all=True)
    assert (found.state, found.path) == (State.COMPLETED, None)
    assert SegmentFiles().size(Path(done.path or "")) == len(MEDIA) - 1


async def test_a_directory_that_is_asked_for_must_be_one(root: Path, databases: tuple[Path, Path]) -> None:
    (root / "loop").symlink_to(root / "loop")
    (root / "file").touch()
    async with house(databases[0], root) as home:
        for name in ("loop", "file", "mistyped"):
            with pytest.raises(DirectoryUnusable):
                await home.rescan.run(str(root / name), dry_run=False)
        # the one that is known may not be there yet
        await asyncio.to_thread(root.rename, root.with_name("away"))
        assert await home.rescan.run(None, dry_run=False) == []


@pytest.mark.parametrize("result", ["../x", "a/b", "", ".."])
def test_a_manifest_names_no_file_elsewhere(result: str) -> None:
    found: dict[str, Any] = {
        "format": 1, "recording": 1, "stream": 1, "streamer": "x", "url": "", "quality": "best",
        "status": "completed", "start_time": 1,
    }  # fmt: skip
    for more in ({"result": result}, {"parts": [{"name": result, "bytes": 1}]}):
        with pytest.raises(manifest.ManifestUnreadable):
            manifest.parse(json.dumps(found | more).encode())


async def test_the_default_folder_is_looked_into_where_the_settings_name_another(tmp_path: Path) -> None:
    looked: list[str] = []

    class Looking(ManifestFiles):
        def find(self, directory: str, *, must_be: bool) -> Any:
            looked.append(directory)
            return ()

    async with house(tmp_path / "db", tmp_path / "media") as home:
        home.rescan._files = Looking()
        await home.run()
    assert looked == sorted(["/var/lib/streamvaultd/recordings", str(tmp_path / "media")])
