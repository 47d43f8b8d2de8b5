# SPDX-License-Identifier: GPL-3.0-or-later
"""The join job: what it makes, what it refuses, and that it can be stopped after any step."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvaultd.errors import InvalidParameter
from streamvaultd.jobs.join import output
from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.jobs.join.spec import Spec, parse_spec
from streamvaultd.jobs.join.writer import Intent, Writer, intent_of, written_at
from streamvaultd.media import ts
from tests.unit.test_media_transport import FRAMES_PER_SEGMENT, Broadcast, fragments

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE = Broadcast(24)


class Crash(BaseException):
    """The process ends here."""


class Job:
    """A recording's folder, and the job on it."""

    def __init__(self, folder: Path, *segments: bytes) -> None:
        self.folder = folder
        self.paths = [folder / "segments" / f"segment_{number:03d}.ts" for number in range(1, len(segments) + 1)]
        self.contents = segments
        self.append_min = 1 << 30
        (folder / "segments").mkdir()
        for path, data in zip(self.paths, segments, strict=True):
            path.write_bytes(data)

    @property
    def spec(self) -> Spec:
        return Spec(
            recording=348,
            segments=tuple(self.paths),
            output=self.folder / "joined" / "alice_2026.11",
            report=self.folder / "report.json",
        )

    @property
    def results(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "joined").iterdir())

    def run(
        self, reached: Callable[[str], None] = lambda _: None, *, reserve: int = 0, append_min: int = 1 << 30
    ) -> dict[str, Any]:
        self.append_min = min(self.append_min, append_min)
        done = JoinProgram(self.spec, reached=reached, reserve=reserve, append_min=append_min).run()
        report: dict[str, Any] = json.loads(self.spec.report.read_text())
        assert report["ok"] is done
        self.assert_kept()
        return report

    def assert_kept(self) -> None:
        """No segment has lost a byte, and only one that might be appended to has won any."""
        for path, data in zip(self.paths, self.contents, strict=True):
            if path.is_file():
                found = path.read_bytes()
                assert found == data or (len(data) >= self.append_min and found.startswith(data))


def crash_at(step: int) -> Callable[[str], None]:
    steps = iter(range(step + 1))

    def reached(name: str) -> None:
        if next(steps) == step:
            raise Crash(name)

    return reached


def steps_of(job: Job) -> list[str]:
    steps: list[str] = []
    job.run(steps.append)
    return steps


def test_an_encoder_that_begins_anew_within_a_segment_hides_nothing(tmp_path: Path) -> None:
    """Both ends of the file tell of a moment, and there are two seconds between."""
    job = Job(tmp_path, LIVE.window(5, 7) + LIVE.window(0, 1))
    whole = 5 * FRAMES_PER_SEGMENT * 1000 // 30
    assert job.run()["durationMs"] == whole
    assert JoinProgram(replace(job.spec, least=60_000)).run()
    assert json.loads(job.spec.report.read_text())["durationMs"] == whole


def test_what_nobody_understands_is_not_measured_for_one_who_removes_what_is_short(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9) + scrambled(LIVE.window(10, 11)))
    assert job.run()["durationMs"] == 12 * FRAMES_PER_SEGMENT * 1000 // 30
    assert JoinProgram(replace(job.spec, least=60_000)).run()
    assert json.loads(job.spec.report.read_text())["durationMs"] is None


def scrambled(data: bytes) -> bytes:
    """The same packets, marked as scrambled."""
    changed = bytearray(data)
    for at in range(3, len(changed), ts.PACKET):
        changed[at] |= 0x80
    return bytes(changed)


def test_two_overlapping_segments_become_one_file(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15)[:-50])
    report = job.run()
    result = tmp_path / "joined" / "alice_2026.11.ts"
    expected = LIVE.window(0, 15)[: -ts.PACKET]
    assert result.read_bytes() == expected
    assert job.results == [result.name]
    assert (report["path"], report["bytes"]) == (str(result), len(expected))
    assert report["packets"] == len(expected) // ts.PACKET
    assert report["durationMs"] == 16 * FRAMES_PER_SEGMENT * 1000 // 30
    assert report["seams"] == [
        {
            "older": 1,
            "newer": 2,
            "offset": len(LIVE.window(0, 5)),
            "kind": "exact",
            "method": "bytes",
            "overlapBytes": len(LIVE.window(6, 9)),
            "overlapMs": 4 * FRAMES_PER_SEGMENT * 1000 // 30,
            "gapMs": 0,
            "certainty": "proven",
            "note": "",
        }
    ]


NO_MEDIA = tuple(bytes([value]) * 9000 for value in (1, 2, 3))


def test_gaps_that_no_clock_of_the_media_tells_are_estimated_and_said(tmp_path: Path) -> None:
    job = Job(tmp_path, *NO_MEDIA)
    assert JoinProgram(replace(job.spec, times=((0, 10_000), (12_500, 20_000), (19_000, 30_000)))).run()
    seams = json.loads(job.spec.report.read_text())["seams"]
    assert [(seam["method"], seam["certainty"], seam["gapMs"]) for seam in seams] == [
        ("wall-clock", "unknown", 2500.0),
        ("wall-clock", "unknown", 0.0),
    ]
    assert "some 1000 ms may be in both" in seams[1]["note"]


def test_a_gap_that_the_media_tell_is_not_estimated(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 4), LIVE.window(10, 12), *NO_MEDIA[:1])
    assert JoinProgram(replace(job.spec, times=((0, 1000), (9000, 9999), None))).run()
    [gap, *_] = json.loads(job.spec.report.read_text())["seams"]
    assert (gap["method"], gap["gapMs"]) == ("timestamps", 2000.0)


def test_one_segment_is_given_a_second_name(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9)[:-50])
    job.run()
    result = tmp_path / "joined" / "alice_2026.11.ts"
    assert result.samefile(job.paths[0])
    job.paths[0].unlink()
    assert result.read_bytes() == job.contents[0]


def test_fragmented_mp4_is_named_so(tmp_path: Path) -> None:
    header, *live = fragments(8)
    job = Job(tmp_path, header + b"".join(live[:5]), header + b"".join(live[3:]))
    report = job.run()
    assert job.results == ["alice_2026.11.mp4"]
    assert (tmp_path / "joined" / "alice_2026.11.mp4").read_bytes() == header + b"".join(live)
    assert (report["durationMs"], report["packets"]) == (None, None)


def test_a_change_of_format_makes_parts(tmp_path: Path) -> None:
    """One file cannot hold both: nothing is lost, and the report says what is where."""
    header, *live = fragments(8)
    job = Job(tmp_path, LIVE.window(0, 4), header + b"".join(live), LIVE.window(3, 6))
    report = job.run()
    assert job.results == ["alice_2026.11.part2.mp4", "alice_2026.11.ts"]
    assert (tmp_path / "joined" / "alice_2026.11.ts").read_bytes() == LIVE.window(0, 6)
    assert (tmp_path / "joined" / "alice_2026.11.part2.mp4").read_bytes() == header + b"".join(live)
    assert report["path"].endswith("alice_2026.11.ts")
    assert report["bytes"] == sum(part["bytes"] for part in report["parts"])
    assert [Path(part["path"]).name for part in report["parts"]] == ["alice_2026.11.ts", "alice_2026.11.part2.mp4"]
    assert [(seam["older"], seam["newer"], seam["kind"]) for seam in report["seams"]] == [
        (1, 2, "break"),
        (1, 3, "exact"),
    ]
    assert report["notes"] == ["part 2 begins in segment_002.ts: the formats differ"]
    assert job.run() == report


def test_empty_and_absent_segments_are_left_out_and_said(tmp_path: Path) -> None:
    job = Job(tmp_path, b"", LIVE.window(0, 4), b"", LIVE.window(3, 9), LIVE.window(5, 7))
    job.paths[2].unlink()
    report = job.run()
    assert (tmp_path / "joined" / "alice_2026.11.ts").read_bytes() == LIVE.window(0, 9)
    assert [(seam["older"], seam["newer"]) for seam in report["seams"]] == [(2, 4), (4, 5)]
    assert report["notes"] == ["segment_001.ts holds no media (0 bytes)", "segment_003.ts is not there"]


def test_a_segment_without_a_whole_fragment_is_said(tmp_path: Path) -> None:
    header, first = fragments(1)
    job = Job(tmp_path, LIVE.window(0, 3), (header + first)[:-1])
    assert job.run()["notes"][0] == f"segment_002.ts holds no whole fragment ({len(header + first) - 1} bytes)"
    assert (job.folder / "joined" / "alice_2026.11.kept2.mp4").read_bytes() == (header + first)[:-1]


def test_a_foreign_file_of_that_name_is_kept(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    foreign = tmp_path / "joined" / "alice_2026.11.ts"
    foreign.parent.mkdir()
    foreign.write_bytes(b"a holiday film")
    assert "is there already and is not this recording" in job.run()["error"]
    assert foreign.read_bytes() == b"a holiday film"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    foreign = tmp_path / "joined" / "alice_2026.11.ts"

    def appear(step: str) -> None:
        if step == "verified":
            foreign.write_bytes(b"a holiday film")

    assert "File exists" in job.run(appear)["error"]
    assert foreign.read_bytes() == b"a holiday film"
    assert job.results == [foreign.name]


@pytest.mark.parametrize("append_min", [1, 1 << 30])
def test_a_result_that_differs_from_its_segments_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, append_min: int
) -> None:
    """What the disk gives back is not what was put on it."""
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    end = len(LIVE.window(0, 15))
    monkeypatch.setattr(output, "write_out", lambda fd, *_: os.pwrite(fd, b"!", end - 5000))
    assert "is not what is read back" in job.run(append_min=append_min)["error"]
    assert job.results == []
    assert job.paths[0].read_bytes() == job.contents[0]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_job_stopped_after_any_step_makes_the_same_file_when_it_runs_again(tmp_path: Path, count: int) -> None:
    segments = (LIVE.window(0, 9), LIVE.window(6, 15), LIVE.window(18, 20), b"".join(fragments(3)))[:count]
    (tmp_path / "whole").mkdir()
    whole = Job(tmp_path / "whole", *segments)
    steps = steps_of(whole)
    expected, results = whole.run(), whole.results
    data = (whole.folder / "joined" / results[0]).read_bytes()
    for crashed in range(len(steps)):
        folder = tmp_path / f"crash-{crashed}"
        folder.mkdir()
        job = Job(folder, *segments)
        with pytest.raises(Crash):
            job.run(crash_at(crashed))
        report = job.run()
        assert job.results == results
        assert (folder / "joined" / results[0]).read_bytes() == data
        assert report == json.loads(json.dumps(expected).replace(str(whole.folder), str(folder)))
        assert sorted(path.name for path in folder.iterdir()) == ["joined", "report.json", "segments"]


APPENDED = (
    (LIVE.window(0, 9), LIVE.window(6, 15)),
    (LIVE.window(0, 9)[:-77], LIVE.window(6, 15), LIVE.window(12, 20)),
    (LIVE.window(0, 9), LIVE.window(12, 15)),
    (LIVE.window(0, 9), b"".join(fragments(3)), LIVE.window(8, 12)),
)


@pytest.mark.parametrize("segments", APPENDED)
def test_appending_makes_the_same_file_as_copying(tmp_path: Path, segments: tuple[bytes, ...]) -> None:
    for name in ("copied", "appended"):
        (tmp_path / name).mkdir()
    copied, appended = Job(tmp_path / "copied", *segments), Job(tmp_path / "appended", *segments)
    copied.run()
    appended.run(append_min=1)
    result = appended.folder / "joined" / "alice_2026.11.ts"
    assert result.samefile(appended.paths[0])
    assert appended.results == copied.results
    for name in copied.results:
        assert (appended.folder / "joined" / name).read_bytes() == (copied.folder / "joined" / name).read_bytes()


@pytest.mark.parametrize("segments", APPENDED)
def test_appending_may_be_stopped_anywhere(tmp_path: Path, segments: tuple[bytes, ...]) -> None:
    """Run again, also as a copy, it makes the same file; and a segment may always be cut to what it was."""
    (tmp_path / "whole").mkdir()
    steps: list[str] = []
    whole = Job(tmp_path / "whole", *segments)
    expected = whole.run(steps.append, append_min=1)
    contents = [(whole.folder / "joined" / name).read_bytes() for name in whole.results]
    for crashed in range(len(steps)):
        folder = tmp_path / f"crash-{crashed}"
        folder.mkdir()
        job = Job(folder, *segments)
        with pytest.raises(Crash):
            job.run(crash_at(crashed), append_min=1)
        job.assert_kept()
        report = job.run(append_min=1 if crashed % 2 else 1 << 30)
        assert report["bytes"] == expected["bytes"]
        assert report["seams"] == expected["seams"]
        assert [(folder / "joined" / name).read_bytes() for name in whole.results] == contents
        assert job.results == whole.results
        assert job.run() == report


def test_a_result_that_was_moved_away_is_not_cut(tmp_path: Path) -> None:
    """It is the same file as the first segment."""
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(12, 15))
    job.run(append_min=1)
    final, moved = tmp_path / "joined" / "alice_2026.11.ts", tmp_path / "moved.ts"
    final.rename(moved)
    job.run(append_min=1)
    assert moved.read_bytes() == final.read_bytes()
    assert not moved.samefile(final)


def test_a_result_with_its_name_stays_though_its_folder_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(12, 15))
    final = tmp_path / "joined" / "alice_2026.11.ts"
    final.parent.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(output, "sync_folder", _no_room)
        patched.setattr(output, "write_atomically", lambda path, data: path.write_bytes(data))
        assert not job.run(append_min=1)["ok"]
    published = final.read_bytes()
    assert job.run(append_min=1)["ok"]
    assert final.read_bytes() == published


def test_torn_writes_behind_a_segment_are_cut_off(tmp_path: Path) -> None:
    """After a power failure the file may be long and hold nothing: the intent tells how long it was."""
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    with pytest.raises(Crash):
        job.run(crash_at(3), append_min=1)
    with job.paths[0].open("ab") as file:
        file.write(bytes(50_000))
    job.run(append_min=1)
    assert (tmp_path / "joined" / "alice_2026.11.ts").read_bytes() == LIVE.window(0, 15)


def test_a_failed_try_leaves_the_segment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    monkeypatch.setattr(output, "write_out", _no_room)
    assert "No space left" in job.run(append_min=1)["error"]
    assert job.paths[0].read_bytes() == job.contents[0]
    assert job.results == []


def _no_room(*_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_stop_between_the_two_names_of_the_result_is_healed(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    job.run()
    final = tmp_path / "joined" / "alice_2026.11.ts"
    (tmp_path / "joined" / ".alice_2026.11.ts.part").hardlink_to(final)
    assert job.run()["ok"]
    assert job.results == [final.name]


def test_a_part_file_of_somebody_else_is_kept(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    part = tmp_path / "joined" / ".alice_2026.11.ts.part"
    part.mkdir(parents=True)
    assert "not a file of this job" in job.run()["error"]
    assert part.is_dir()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    secret = tmp_path / "secret"
    secret.write_bytes(job.contents[0])
    job.paths[0].unlink()
    job.paths[0].symlink_to(secret)
    assert not job.run()["ok"]
    assert not (tmp_path / "joined").exists()


def test_without_space_nothing_is_written(tmp_path: Path) -> None:
    job = Job(tmp_path, LIVE.window(0, 9), LIVE.window(6, 15))
    free = os.statvfs(tmp_path)
    report = job.run(reserve=free.f_blocks * free.f_frsize)
    assert "bytes free" in report["error"]
    assert job.results == []
    assert report["room"] == job.run()["bytes"]  # so much is missing beside the reserve


@pytest.mark.parametrize(
    ("number", "room"), [(errno.ENOSPC, 0), (errno.EDQUOT, 0), (errno.EROFS, 0), (errno.EIO, None)]
)
def test_a_disk_that_takes_nothing_more_is_told_from_one_that_fails(number: int, room: int | None) -> None:
    assert output.room_missing(OSError(number, os.strerror(number))) == room


def test_one_segment_on_another_file_system_is_copied(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        job = Job(tmp_path, LIVE.window(0, 9))
        elsewhere = Path(memory) / "segment_001.ts"
        elsewhere.write_bytes(job.contents[0])
        job.paths[0].unlink()
        job.paths[0] = elsewhere
        assert job.run()["ok"]
    assert (tmp_path / "joined" / "alice_2026.11.ts").read_bytes() == job.contents[0]


def test_a_copy_from_memory_to_disk_is_the_same(tmp_path: Path) -> None:
    """copy_file_range(2) refuses to copy between file systems of two kinds (EXDEV)."""
    told: list[int] = []
    source = os.memfd_create("source")
    try:
        os.write(source, LIVE.window(0, 9))
        with output.opened(tmp_path / "target", os.O_RDWR | os.O_CREAT) as target:
            output.copy(source, 100, 50_000, target, told.append)
    finally:
        os.close(source)
    assert (tmp_path / "target").read_bytes() == LIVE.window(0, 9)[100:50_000]
    assert sum(told) == 49_900


def test_a_segment_that_shrank_is_an_error(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"short")
    with (
        output.opened(source, os.O_RDONLY) as fd,
        output.opened(target, os.O_RDWR | os.O_CREAT) as out,
        pytest.raises(OSError, match="shorter than it was"),
    ):
        output.copy(fd, 0, 100, out, lambda _: None)


@given(
    shapes=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 4), st.binary(max_size=400), st.integers(0, 30_000)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_damaged_segments_are_joined_all_the_same(shapes: list[tuple[int, int, bytes, int]]) -> None:
    """Each is a window of the broadcast with noise somewhere, in any order."""
    captures = []
    for first, more, noise, at in shapes:
        data = LIVE.window(first, first + more)
        captures.append(data[:at] + noise + data[at + len(noise) // 2 :])
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), *captures)
        report = job.run()
        assert report["ok"], report["error"]
        assert report == job.run()


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("", "input"),
        ("[]", "recording"),
        ('{"recording": 1, "output": "/x", "report": "/r"}', "segments"),
        ('{"recording": 1, "segments": [], "output": "/x", "report": "/r"}', "segments"),
        ('{"recording": 1, "segments": [7], "output": "/x", "report": "/r"}', "segments"),
        ('{"recording": 1, "segments": ["/a"], "report": "/r"}', "output"),
        ('{"recording": 1, "segments": ["/a"], "output": "/x", "report": "/r", "times": [null, null]}', "times"),
        ('{"recording": 1, "segments": ["/a"], "output": "/x", "report": "/r", "times": [[1]]}', "times"),
    ],
)
def test_unusable_input_is_named(text: str, parameter: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_spec(text)
    assert caught.value.fields == {"parameter": parameter}


def test_what_is_appended_is_no_later_media(tmp_path: Path) -> None:
    """When the last bytes of a segment came is told after an interrupted append as it was before."""
    path = tmp_path / "segment_001.ts"
    path.write_bytes(LIVE.window(0, 1))
    os.utime(path, ns=(0, 5_000_000_000))
    found = path.stat()
    assert written_at(path, found) == 5000
    Intent(found.st_ino, found.st_size, written_at(path, found)).save(intent_of(path))
    with path.open("ab") as file:
        file.write(b"more")
    assert written_at(path, path.stat()) == 5000
    Writer(paths=[path], sources=[], reserve=0, reached=lambda _: None, moved=lambda _: None).undo(tmp_path / "part")
    assert (path.stat().st_size, written_at(path, path.stat())) == (found.st_size, 5000)
