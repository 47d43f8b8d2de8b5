# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of chats: made, packed, named and removed, beside what others have left there."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from streamvaultd.recording.chat.chat_files import ChatFiles, close_all, draft_name, part_name

FILES = ChatFiles()
PACK = (sys.executable, "-I", "-m", "streamvaultd.recording.chat.capture.pack")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "disk" / "alice"
    made.mkdir(parents=True)
    return made


def capture(folder: Path, run: int, text: str) -> None:
    fd = FILES.create(folder, 7, run)
    os.write(fd, text.encode())
    os.close(fd)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def pack(folder: Path, run: int, *, has_room: bool = True) -> int:
    """What a run that packs does; how it exits."""
    parts = FILES.parts(folder, 7, run)
    draft = FILES.create_draft(folder, 7, run)
    done = subprocess.run(
        PACK, input=json.dumps({"parts": parts}).encode(), stdout=draft, stderr=subprocess.DEVNULL, pass_fds=parts,
        preexec_fn=None if has_room else limit_files,
    )  # fmt: skip
    close_all([*parts, draft])
    return done.returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def unpacked(path: Path) -> str:
    with gzip.open(path, "rt") as file:
        return file.read()


def test_a_chat_is_packed_and_its_parts_go(folder: Path) -> None:
    capture(folder, 1, "one\n")
    capture(folder, 2, "two\nto")
    assert pack(folder, 3) == 0
    found = FILES.finish(folder, 7, 3)
    assert found is not None
    assert unpacked(found[0]) == "one\ntwo\nto\n"
    FILES.clear(folder, 7, 3)
    assert names(folder) == ["chat_7.jsonl.gz"]
    FILES.clear(folder, 7, 3, "chat_7.jsonl.gz")
    assert names(folder) == []


def test_tries_that_fail_leave_one_draft_at_most_and_none_in_the_end(folder: Path) -> None:
    fd = FILES.create(folder, 7, 1)
    os.write(fd, os.urandom(100_000))
    os.close(fd)
    for run in (2, 3, 4):
        assert pack(folder, run, has_room=False) != 0
        assert names(folder) == sorted([draft_name(7, run), part_name(7, 1)])
    FILES.drop_draft(folder, 7, 4)
    assert names(folder) == [part_name(7, 1)]
    assert pack(folder, 5) == 0


def test_a_disk_that_is_not_mounted_is_an_error_and_nothing_is_made(folder: Path) -> None:
    capture(folder, 1, "one\n")
    away = folder.parent.with_name("away")
    folder.parent.rename(away)
    folder.parent.mkdir()
    for call in (FILES.create, FILES.create_draft, FILES.parts, FILES.finish, FILES.clear):
        with pytest.raises(FileNotFoundError):
            call(folder, 7, 2)
    assert names(folder.parent) == []
    assert names(away / "alice") == [part_name(7, 1)]


def test_the_chat_of_another_recording_of_the_number_stays(folder: Path) -> None:
    """Numbers come again where a store was lost."""
    old = {"chat_7.jsonl.gz": b"old", part_name(7, 1): b"old part", part_name(7, 9): b"late part"}
    for name, content in old.items():
        (folder / name).write_bytes(content)
    capture(folder, 1, "new\n")
    assert pack(folder, 2) == 0
    found = FILES.finish(folder, 7, 2)
    assert found is not None
    assert unpacked(found[0]) == "new\n"
    FILES.clear(folder, 7, 2, found[0].name)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert kept == {"chat_7.jsonl.gz": b"old", f"{part_name(7, 1)}.1": b"old part", part_name(7, 9): b"late part"}


def test_a_part_in_the_place_of_the_run_that_packs_is_not_packed(folder: Path) -> None:
    capture(folder, 1, "new\n")
    (folder / part_name(7, 2)).write_bytes(b"old")
    draft = FILES.create_draft(folder, 7, 2)
    parts = FILES.parts(folder, 7, 2)
    assert len(parts) == 1
    close_all([draft, *parts])
    assert names(folder) == sorted([draft_name(7, 2), part_name(7, 1), f"{part_name(7, 2)}.1"])


def test_what_was_named_and_not_told_of_is_taken_for_the_same(folder: Path) -> None:
    """The daemon was killed between the name and the row."""
    capture(folder, 1, "one\n")
    for run in (2, 3):
        assert pack(folder, run) == 0
        found = FILES.finish(folder, 7, run)
        assert found is not None
        assert found[0].name == "chat_7.jsonl.gz"
    assert names(folder) == ["chat_7.jsonl.gz", part_name(7, 1)]


def test_nothing_packed_is_no_file(folder: Path) -> None:
    assert pack(folder, 1) == 0
    assert FILES.finish(folder, 7, 1) is None
    assert names(folder) == []


def test_a_part_that_cannot_be_opened_leaves_none_open(folder: Path) -> None:
    capture(folder, 1, "one\n")
    (folder / part_name(7, 2)).symlink_to("/etc/passwd")
    before = open_files()
    with pytest.raises(OSError, match="no regular file"):
        FILES.parts(folder, 7, 2)
    assert open_files() == before


def test_an_empty_part_is_dropped_and_another_stays(folder: Path) -> None:
    capture(folder, 1, "")
    capture(folder, 2, "x")
    for run in (1, 2, 3):
        FILES.drop(folder, part_name(7, run))
    assert names(folder) == [part_name(7, 2)]
