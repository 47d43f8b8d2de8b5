# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody puts in the place of our files and folders is neither opened nor followed, and holds nothing up."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamvaultd.base import beneath
from streamvaultd.base.clock import SystemClock
from streamvaultd.base.growth import MediaWatch
from streamvaultd.base.lanes import OVERDUE_MAX, WIDTH, Lanes
from streamvaultd.config.live_settings import LiveSettings
from streamvaultd.config.settings import Settings
from streamvaultd.core.model import Moment, Policy, Recording
from streamvaultd.core.names import Run
from streamvaultd.errors import DirectoryUnusable
from streamvaultd.jobs.join import output
from streamvaultd.jobs.join.writer import Intent, intent_of
from streamvaultd.media.inspect import inspect_file
from streamvaultd.media.overlap import are_overlapping
from streamvaultd.recording.files.output import SegmentFiles
from streamvaultd.recording.files.writeback import Writeback
from streamvaultd.upkeep.audit.salvage import Salvage
from streamvaultd.upkeep.manifests.manifest_files import ManifestFiles
from tests.component.held_world import held_files

MEDIA = b"media" * 1000


def make_socket(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFSOCK)


def make_device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: endless for whoever reads it


def make_link(path: Path) -> None:
    target = path.parents[3] / "precious"
    target.write_bytes(MEDIA)
    path.symlink_to(target)


STRANGERS: dict[str, Callable[[Path], None]] = {
    "a fifo": os.mkfifo, "a socket": make_socket, "a device": make_device, "a link": make_link, "a folder": Path.mkdir,
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "recordings"
    found.mkdir()
    return found


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    mounts = tmp_path / "mounts"
    mounts.write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    return SegmentFiles(mounts)


def recording_in(directory: Path) -> Recording:
    return Recording(
        id=1, stream=1, streamer="demo", url="u", quality="best", directory=str(directory), created=Moment(0.0, 0),
        duration=None, policy=Policy(),
    )  # fmt: skip


def segment_of(directory: Path) -> Path:
    return directory / "demo" / "stream_1_segments" / "segment_001.ts"


def put(path: Path, kind: str) -> os.stat_result:
    """Something else in the place of a file; what lstat says of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    STRANGERS[kind](path)
    return path.lstat()


def fill(fd: int) -> None:
    os.write(fd, MEDIA)
    os.close(fd)


def is_there(path: Path, before: os.stat_result) -> bool:
    found = path.lstat()
    return (found.st_ino, found.st_mode) == (before.st_ino, before.st_mode)


# --- in the place of a segment's file --------------------------------------------------------------------------------


def test_a_regular_file_is_sealed_and_measured(directory: Path, files: SegmentFiles) -> None:
    path = segment_of(directory)
    fill(files.create(path))
    assert (files.seal(path), files.size(path)) == (len(MEDIA), len(MEDIA))
    assert files.written(path) is not None
    assert path.read_bytes() == MEDIA


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_file_is_sealed_at_once_and_stays(directory: Path, files: SegmentFiles, kind: str) -> None:
    path = segment_of(directory)
    before = put(path, kind)
    for _ in range(2):  # the daemon that is started next does the same
        assert (files.seal(path), files.size(path), files.written(path)) == (0, 0, None)
    assert is_there(path, before)
    with pytest.raises(FileExistsError):
        files.create(path)


@pytest.mark.parametrize("kind", STRANGERS)
async def test_more_fifos_than_a_lane_has_places_stop_no_directory(
    directory: Path, files: SegmentFiles, kind: str
) -> None:
    paths = [segment_of(directory).with_name(f"segment_{number:03d}.ts") for number in range(1, WIDTH + 3)]
    for path in paths[: 1 if kind == "a link" else None]:
        put(path, kind)
    for _ in range(2):  # restart included
        lanes = Lanes()
        sizes = await asyncio.gather(*(lanes.run(str(directory), files.seal, path) for path in paths))
        assert sizes == [0] * len(paths)
        fd = await lanes.run(str(directory), files.create, paths[0].with_name(f"segment_{100 + _:03d}.ts"))
        os.close(fd)


@pytest.mark.parametrize("kind", STRANGERS)
async def test_nothing_else_opens_it_either(directory: Path, kind: str) -> None:
    path = segment_of(directory)
    before = put(path, kind)
    good = path.with_name("segment_002.ts")
    good.write_bytes(MEDIA)
    with pytest.raises(OSError, match=r"regular file|symbolic link|such device"):
        are_overlapping(path, good)
    with pytest.raises(OSError, match="no regular file"), output.opened(path, os.O_RDONLY):
        pass
    with output.opened(good, os.O_RDONLY) as fd:
        assert os.fstat(fd).st_size == len(MEDIA)
    put(intent_of(path), kind) if kind != "a link" else intent_of(path).symlink_to(good)
    assert Intent.load(intent_of(path)) is None
    told: list[Run] = []
    seen = asyncio.Event()

    def on_trouble(run: Run, _error: OSError) -> None:
        told.append(run)
        seen.set()

    loop = asyncio.get_running_loop()
    writeback = Writeback(
        loop, clock=SystemClock(), settings=LiveSettings(Settings(sync_interval=60.0)), held=held_files()
    )
    writeback.listeners.append(on_trouble)
    writeback.watch(Run(1, 1), path)
    async with asyncio.timeout(20):
        await seen.wait()
    writeback.close()
    assert told == [Run(1, 1)]
    assert is_there(path, before)


@pytest.mark.parametrize("kind", sorted(set(STRANGERS) - {"a link"}))
def test_a_verification_does_not_wait_for_it(directory: Path, kind: str) -> None:
    path = segment_of(directory)
    put(path, kind)
    with pytest.raises(OSError, match=r"not a regular file|No such device|Is a directory"):
        inspect_file(str(path))


async def test_growth_is_watched_of_regular_files_alone(directory: Path) -> None:
    path = segment_of(directory)
    put(path, "a link")  # to a file that is large enough
    good = path.with_name("segment_002.ts")
    good.write_bytes(MEDIA)
    watch: MediaWatch[str] = MediaWatch(asyncio.get_running_loop())
    arrived = asyncio.get_running_loop().create_future()
    heard: list[str] = []

    def on_media(key: str) -> None:
        heard.append(key)
        if key == "good":
            arrived.set_result(None)

    watch.watch("bad", path, on_media, threshold=10)
    watch.watch("good", good, on_media, threshold=10)
    await arrived
    watch.close()
    assert heard == ["good"]


@pytest.mark.parametrize("kind", STRANGERS)
def test_manifests_are_read_from_regular_files(directory: Path, kind: str) -> None:
    manifest = directory / "demo" / ".stream_1.json"
    manifest.parent.mkdir()
    if kind == "a link":
        (directory / "precious").write_text(json.dumps({"secret": 1}))
        manifest.symlink_to(directory / "precious")
    else:
        STRANGERS[kind](manifest)
    assert ManifestFiles().find(str(directory), must_be=True) == []
    other = directory / "demo" / ".stream_2.json"
    ManifestFiles().write(other, b"{}")
    assert [traces.text for traces in ManifestFiles().find(str(directory), must_be=True)] == [b"{}"]


@pytest.mark.parametrize("kind", sorted(set(STRANGERS) - {"a link"}))
def test_an_audit_takes_none_for_a_file_that_is_free(directory: Path, kind: str) -> None:
    path = segment_of(directory)
    put(path, kind)
    try:
        is_free = Salvage().is_free(path, path.lstat().st_size)
    except OSError:
        is_free = False
    assert not is_free


# --- in the place of a folder ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_of_ours_that_is_a_link_is_not_followed(directory: Path, files: SegmentFiles, depth: int) -> None:
    path = segment_of(directory)
    elsewhere = directory.parent / "elsewhere" / "stream_1_segments"
    elsewhere.mkdir(parents=True)
    there = elsewhere / path.name
    there.write_bytes(MEDIA)
    if depth == 1:
        (directory / "demo").symlink_to(elsewhere.parent)
    else:
        (directory / "demo").mkdir()
        (directory / "demo" / "stream_1_segments").symlink_to(elsewhere)
    assert path.read_bytes() == MEDIA  # for whoever follows it
    assert (files.size(path), files.seal(path), files.written(path)) == (0, 0, None)
    with pytest.raises(OSError, match="symbolic link"):
        files.create(path.with_name("segment_002.ts"))
    with pytest.raises(OSError, match="symbolic link"):
        files.remove_segments([path], path.parent)
    with pytest.raises(OSError, match="symbolic link"), output.opened(path, os.O_RDONLY):
        pass
    files.discard_folder(path.parent)
    assert there.read_bytes() == MEDIA
    assert [entry.name for entry in elsewhere.iterdir()] == [path.name]


def test_a_recording_is_refused_in_a_folder_that_is_a_link(directory: Path, files: SegmentFiles) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (directory / "demo").symlink_to(elsewhere)
    with pytest.raises(DirectoryUnusable) as refusal:
        files.prepare(directory, "demo")
    assert f"{directory}/demo is a symbolic link" in str(refusal.value)
    with pytest.raises(OSError, match="symbolic link"):
        ManifestFiles().write(ManifestFiles().path(recording_in(directory)), b"{}")
    assert list(elsewhere.iterdir()) == []


def test_the_directory_itself_may_be_a_link(directory: Path, files: SegmentFiles, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory)
    files.prepare(link, "demo")
    path = segment_of(link)
    fill(files.create(path))
    assert files.seal(path) == len(MEDIA)
    assert segment_of(directory).read_bytes() == MEDIA
    files.remove_segments([path], path.parent)
    files.discard_folder(path.parent)
    assert list(directory.iterdir()) == []


def test_folders_are_made_as_ever(directory: Path, files: SegmentFiles) -> None:
    os.close(files.create(segment_of(directory)))
    for folder in (segment_of(directory).parent, directory / "demo"):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0


def test_what_is_opened_goes_on_meaning_the_same(directory: Path) -> None:
    path = segment_of(directory)
    path.parent.mkdir(parents=True)
    path.write_bytes(MEDIA)
    with beneath.opened_folder(path.parent, beneath.SEGMENTS_DEPTH) as folder:
        path.parent.rename(directory / "moved")
        path.parent.symlink_to("/")
        assert (folder / path.name).read_bytes() == MEDIA


# --- deadlines -------------------------------------------------------------------------------------------------------


async def test_calls_that_hang_give_their_places_to_others_and_are_told_of() -> None:
    told: list[str] = []
    gate, lanes = threading.Event(), Lanes(deadline=0.05, on_overdue=told.append)
    stuck = [asyncio.create_task(lanes.run("/stuck", gate.wait)) for _ in range(WIDTH + 1)]
    outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
    assert await lanes.call("/stuck", lambda: "answered", deadline=30) == "answered"
    assert set(told) == {"/stuck"}
    gate.set()


async def test_where_too_many_hang_no_more_threads_are_made_until_one_comes_back() -> None:
    gate, lanes = threading.Event(), Lanes(deadline=0.01)
    for _ in range(OVERDUE_MAX // WIDTH):
        stuck = (lanes.call("/stuck", gate.wait, deadline=0.01) for _ in range(WIDTH))
        await asyncio.gather(*stuck, return_exceptions=True)
    threads = [thread for thread in threading.enumerate() if thread.name == "disk /stuck"]
    assert 0 < len(threads) <= OVERDUE_MAX
    while len([thread for thread in threading.enumerate() if thread.name == "disk /stuck"]) < OVERDUE_MAX:
        await asyncio.gather(lanes.call("/stuck", gate.wait, deadline=0.01), return_exceptions=True)
    with pytest.raises(TimeoutError, match=f"{OVERDUE_MAX} calls hang"):
        await lanes.call("/stuck", lambda: "answered", deadline=30)
    assert await lanes.call("/srv", lambda: "answered", deadline=30) == "answered"
    gate.set()
    while True:  # until the loop has heard of an end
        try:
            assert await lanes.call("/stuck", lambda: "answered", deadline=30) == "answered"
            break
        except TimeoutError:
            await asyncio.sleep(0)


async def test_what_a_call_that_was_given_up_returns_is_not_lost(tmp_path: Path) -> None:
    gate, lanes = threading.Event(), Lanes()
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def open_late() -> int:
        gate.wait()
        return os.open(tmp_path, os.O_RDONLY)

    def close(fd: int) -> None:
        os.close(fd)
        closed.set_result(fd)

    with pytest.raises(TimeoutError):
        await lanes.call("/stuck", open_late, deadline=0.01, late=close)
    gate.set()
    fd = await closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_folder_that_has_a_manifests_name_costs_no_descriptor(tmp_path: Path) -> None:
    manifest = tmp_path / "recordings" / "demo" / ".stream_1.json"
    manifest.mkdir(parents=True)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="directory"):
            ManifestFiles().write(manifest, b"{}")
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
