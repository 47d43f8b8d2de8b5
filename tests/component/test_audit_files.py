# SPDX-License-Identifier: GPL-3.0-or-later
"""Real folders, files and processes: what an audit sees of them, and what it may do to them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.core.upkeep.world import Process, ResultState
from streamvaultd.upkeep.audit.folders import LookLimits, look_at_folders, look_at_results
from streamvaultd.upkeep.audit.procfs import look_at_processes
from streamvaultd.upkeep.audit.salvage import Salvage

WRITER = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
OPENER = """
import os, sys
for _ in range(20000):
    try:
        os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        pass
"""
READER = "import sys; f = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"


@contextmanager
def holding(program: str, path: Path) -> Iterator[int]:
    """A process that has a file open; its PID."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def make(root: Path, name: str, data: bytes = b"media") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- folders -------------------------------------------------------------------------------------------------------


def test_only_what_has_our_names_is_seen(tmp_path: Path) -> None:
    one = make(tmp_path, "demo/stream_7_segments/segment_001.ts", b"12345")
    make(tmp_path, "demo/stream_7_segments/notes.txt")
    make(tmp_path, "demo/stream_x_segments/segment_001.ts")
    make(tmp_path, "demo/segment_001.ts")
    make(tmp_path, "demo/deep/stream_8_segments/segment_001.ts")
    (tmp_path / "demo" / "stream_7_segments" / "segment_002.ts").symlink_to(one)
    (tmp_path / "demo" / "stream_7_segments" / "segment_003.ts").mkdir()
    os.mkfifo(tmp_path / "demo" / "stream_7_segments" / "segment_004.ts")
    (tmp_path / "linked").symlink_to(tmp_path / "demo")
    (tmp_path / "demo" / "stream_9_segments").mkdir()
    disk = look_at_folders([str(tmp_path), str(tmp_path / "missing")])
    assert [(file.folder, file.number, file.path, file.size) for file in disk.files] == [
        ((str(tmp_path), "demo", 7), 1, str(one), 5)
    ]
    assert disk.empty == (((str(tmp_path), "demo", 9), str(tmp_path / "demo" / "stream_9_segments")),)
    assert disk.there == {str(tmp_path)}
    assert set(disk.gone) == {str(tmp_path / "missing")}
    assert disk.is_whole


def test_a_folder_that_nobody_may_enter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "open/stream_7_segments/segment_001.ts")
    make(tmp_path, "closed/stream_8_segments/segment_001.ts")
    scandir = os.scandir

    def refuse(path: Path) -> Any:  # root may enter everything
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    disk = look_at_folders([str(tmp_path)])
    assert [file.folder[1] for file in disk.files] == ["open"]
    assert disk.gone == {str(tmp_path / "closed"): "Permission denied"}


@pytest.mark.parametrize("bounds", [LookLimits(files=2), LookLimits(folders=1), LookLimits(seconds=-1.0)])
def test_limits_are_told(tmp_path: Path, bounds: LookLimits) -> None:
    for stream in range(3):
        for number in range(1, 3):
            make(tmp_path, f"demo/stream_{stream + 1}_segments/segment_{number:03d}.ts")
    disk = look_at_folders([str(tmp_path)], bounds)
    assert not disk.is_whole
    assert len(disk.files) <= 2


def test_results(tmp_path: Path) -> None:
    there, empty = make(tmp_path, "a/x.ts"), make(tmp_path, "a/empty.ts", b"")
    paths = [str(there), str(empty), str(tmp_path / "a/y.ts"), str(tmp_path / "b/x.ts")]
    assert list(look_at_results(paths).values()) == [
        ResultState.THERE,
        ResultState.GONE,
        ResultState.GONE,
        ResultState.FOLDER_GONE,
    ]
    assert look_at_results(paths, LookLimits(files=1)) == {str(there): ResultState.THERE}


# --- processes -----------------------------------------------------------------------------------------------------


def found(pid: int) -> Process:
    return next(process for process in look_at_processes() if process.pid == pid)


def test_who_writes_is_seen(tmp_path: Path) -> None:
    path = make(tmp_path, "x.ts")
    with holding(WRITER, path) as writer, holding(READER, path) as reader:
        process = found(writer)
        assert str(path) in process.writes
        assert str(path) not in found(reader).writes
        assert process.parent == os.getpid()
        assert process.argv[:2] == (sys.executable, "-c")
        assert 0 <= process.age < 20
        path.unlink()
        assert found(writer).writes == frozenset()
    assert os.getpid() not in [process.pid for process in look_at_processes()]


def test_processes_of_others_are_not_looked_at() -> None:
    assert look_at_processes(uid=4_000_000) == ()


# --- what may be done ----------------------------------------------------------------------------------------------


def test_a_file_that_is_written_is_not_free(tmp_path: Path) -> None:
    path = make(tmp_path, "x.ts", b"")
    salvage = Salvage()
    with holding(WRITER, path):
        assert not salvage.is_free(path, 0)
        assert not salvage.remove_empty(path)
        assert path.exists()
    with holding(READER, path):
        assert salvage.is_free(path, 0)
    assert not salvage.is_free(path, 5)
    assert salvage.remove_empty(path)
    assert not path.exists()
    assert not salvage.remove_empty(path)


def test_whoever_opens_it_meanwhile_does_not_end_us(tmp_path: Path) -> None:
    """The kernel tells the holder of a lease by a signal; SIGIO would end the process."""
    path = make(tmp_path, "x.ts")
    salvage = Salvage()
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
    with subprocess.Popen([sys.executable, "-c", OPENER, str(path)]) as process:
        seen = set()
        while process.poll() is None:
            seen.add(salvage.is_free(path, 5))
    assert seen <= {True, False}
    assert True in seen


def test_a_folder_that_can_be_used(tmp_path: Path) -> None:
    assert Salvage().is_ours(make(tmp_path, "demo/stream_1_segments/segment_001.ts").parent)
    assert not Salvage().is_ours(tmp_path / "never")


def test_links_are_not_followed(tmp_path: Path) -> None:
    path = make(tmp_path, "x.ts", b"")
    link = tmp_path / "link.ts"
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        Salvage().remove_empty(link)
    assert path.exists()


def test_a_whole_folder_is_renamed(tmp_path: Path) -> None:
    paths = [make(tmp_path, f"stream_1_segments/segment_{number:03d}.ts", b"%d" % number) for number in (1, 2)]
    Salvage().move(paths, tmp_path / "stream_9_segments")
    assert sorted(path.name for path in (tmp_path / "stream_9_segments").iterdir()) == [
        "segment_001.ts",
        "segment_002.ts",
    ]
    assert not (tmp_path / "stream_1_segments").exists()


def test_files_move_singly_where_others_are(tmp_path: Path) -> None:
    path = make(tmp_path, "stream_1_segments/segment_001.ts")
    other = make(tmp_path, "stream_1_segments/segment_002.ts")
    Salvage().move([path], tmp_path / "stream_9_segments")
    assert (tmp_path / "stream_9_segments" / "segment_001.ts").read_bytes() == b"media"
    assert other.exists()
    assert not path.exists()


def test_nothing_is_replaced(tmp_path: Path) -> None:
    path = make(tmp_path, "stream_1_segments/segment_001.ts")
    taken = make(tmp_path, "stream_9_segments/segment_001.ts", b"other")
    with pytest.raises(FileExistsError):
        Salvage().move([path], taken.parent)
    assert (path.read_bytes(), taken.read_bytes()) == (b"media", b"other")


def test_folders_go_only_if_they_are_empty(tmp_path: Path) -> None:
    full = make(tmp_path, "full/x").parent
    (tmp_path / "empty").mkdir()
    salvage = Salvage()
    assert salvage.remove_folder(tmp_path / "empty")
    assert not salvage.remove_folder(full)
    assert not salvage.remove_folder(tmp_path / "never")
    assert full.exists()
