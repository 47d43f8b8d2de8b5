# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of recordings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamvaultd.core.model import Moment, Policy, Recording
from streamvaultd.errors import DirectoryUnusable
from streamvaultd.recording.files.output import SegmentFiles, file_system_of

FILES = SegmentFiles(mounts=Path("/dev/null"))  # the tests' own folder may be in memory


def recording(directory: Path) -> Recording:
    return Recording(
        id=348,
        stream=77,
        streamer="demo",
        url="https://host/x",
        quality="best",
        directory=str(directory),
        created=Moment(monotonic=1.0, realtime=1_795_000_000_999_999),
        duration=None,
        policy=Policy(),
    )


def test_paths_follow_from_the_recording(tmp_path: Path) -> None:
    it = recording(tmp_path)
    assert FILES.segment_path(it, 2) == tmp_path / "demo" / "stream_77_segments" / "segment_002.ts"


def test_a_folder_is_made_and_proved(tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    FILES.prepare(directory, "demo")
    FILES.prepare(directory, "demo")
    assert [path.name for path in directory.iterdir()] == ["demo"]
    assert list((directory / "demo").iterdir()) == []
    assert (directory / "demo").stat().st_mode & 0o777 == 0o750 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryUnusable, match="Not a directory"):
        FILES.prepare(tmp_path / "file", "demo")
    with pytest.raises(DirectoryUnusable, match="No such file or directory"):
        FILES.prepare(tmp_path / "not" / "mounted", "demo")
    with pytest.raises(DirectoryUnusable):
        FILES.prepare(Path("/proc"), "demo")


def test_an_attempts_file_is_made_once(tmp_path: Path) -> None:
    path = FILES.segment_path(recording(tmp_path), 1)
    fd = FILES.create(path)
    os.write(fd, b"media")
    assert os.get_inheritable(fd) is False
    os.close(fd)
    assert FILES.size(path) == 5
    with pytest.raises(FileExistsError):
        FILES.create(path)
    assert path.read_bytes() == b"media"


def test_two_writers_of_one_file_append(tmp_path: Path) -> None:
    path = FILES.segment_path(recording(tmp_path), 1)
    fd = FILES.create(path)
    path.write_bytes(b"first")
    os.write(fd, b"second")
    os.close(fd)
    assert path.read_bytes() == b"firstsecond"


def test_sealing_keeps_media_and_takes_empty_files_away(tmp_path: Path) -> None:
    full, empty = (FILES.segment_path(recording(tmp_path), number) for number in (1, 2))
    for path in (full, empty):
        os.close(FILES.create(path))
    full.write_bytes(b"media")
    assert [FILES.seal(full), FILES.seal(full)] == [5, 5]
    assert [FILES.seal(empty), FILES.seal(empty)] == [0, 0]
    assert full.exists()
    assert not empty.exists()
    assert FILES.size(empty) == 0


def test_removing_segments_spares_what_is_not_theirs(tmp_path: Path) -> None:
    paths = [FILES.segment_path(recording(tmp_path), number) for number in (1, 2)]
    for path in paths:
        os.close(FILES.create(path))
    folder = paths[0].parent
    foreign = folder / "notes.txt"
    foreign.write_text("mine")
    (folder / ".segment_001.ts.intent").write_text("of a join")
    FILES.remove_segments(paths, folder)
    assert list(folder.iterdir()) == [foreign]
    foreign.unlink()
    FILES.remove_segments(paths, folder)
    assert not folder.exists()
    FILES.remove_segments(paths, folder)


def test_a_recording_without_media_leaves_no_folders(tmp_path: Path) -> None:
    FILES.prepare(tmp_path, "demo")
    folder = FILES.segment_path(recording(tmp_path), 1).parent
    FILES.discard_folder(folder)
    assert list(tmp_path.iterdir()) == []
    FILES.discard_folder(folder)
    assert tmp_path.exists()


def test_folders_with_something_in_them_stay(tmp_path: Path) -> None:
    FILES.prepare(tmp_path, "demo")
    result = tmp_path / "demo" / "result.ts"
    result.write_text("media")
    FILES.discard_folder(FILES.segment_path(recording(tmp_path), 1).parent)
    assert result.exists()


MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /tmp rw,nosuid,nodev shared:9 - tmpfs tmpfs rw
31 22 8:1 / /srv/big\\040disk rw - xfs /dev/sda1 rw
32 30 8:2 / /tmp/disk rw - ext4 /dev/sdb1 rw
"""


def test_a_folder_in_memory_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"30 22 0:26 / {tmp_path} rw shared:9 - tmpfs tmpfs rw\n")
    with pytest.raises(DirectoryUnusable, match="kept in memory"):
        SegmentFiles(mounts=mounts).prepare(tmp_path / "recordings", "demo")
    assert list(tmp_path.iterdir()) == [mounts]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/srv", "ext4"), ("/tmp", "tmpfs"), ("/tmp/a/b", "tmpfs"), ("/srv/big disk/x", "xfs"), ("/tmp/disk/x", "ext4")],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTINFO) == kind
    assert file_system_of(Path(path), "") == ""
