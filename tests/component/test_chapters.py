# SPDX-License-Identifier: GPL-3.0-or-later
"""Chapters in an MP4 that is made of real captures: each begins with the picture at which the title changed."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.jobs.join.spec import Spec, parse_spec
from streamvaultd.media.chapters import Change
from streamvaultd.media.inspect import Soundness, inspect_file
from tests.component.test_join_media import Source, ffmpeg, make_source

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

FPS = 10
SECONDS = 80
AT = 1_700_000_000_000
"""When the broadcast began, ms since 1970."""

HOSTILE = "a=b;c#d\\e [CHAPTER] START=1 'q' \"r\" 🎮👨\u200d👩\u200d👧 שלום עולם é"
TITLES = (
    Change(0, "opening"),
    Change(AT + 12_300, HOSTILE),
    Change(AT + 26_000, "third"),
    Change(AT + 62_700, "é" * 300),
)


def make(folder: Path, offset: float) -> Source:
    """One media segment a second, whose clock begins anywhere."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=192x108:rate={FPS}", "-f", "lavfi", "-i", "sine=sample_rate=48000"),
        *("-t", str(SECONDS), "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", str(FPS), "-bf", "2"),
        *("-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k", "-output_ts_offset", str(offset)),
        *("-f", "hls", "-hls_time", "1", "-hls_list_size", "0"),
        *("-hls_segment_filename", folder / "%03d.ts", folder / "index.m3u8"),
    )
    return Source(b"", [path.read_bytes() for path in sorted(folder.glob("[0-9]*.ts"))])


@pytest.fixture(scope="module", params=[1000.0, 95_443.7 - 30.0], ids=["steady", "wrapping"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make(tmp_path_factory.mktemp("source"), request.param)


def job(folder: Path, *captures: tuple[Source, range], dated: bool, titles: tuple[Change, ...] = TITLES) -> Spec:
    """Of captures that got each media segment when it ended, 3 s of them at their start at once."""
    paths, times = [], []
    for number, (source, seconds) in enumerate(captures, 1):
        path = folder / f"segment_{number:03d}.ts"
        path.write_bytes(source.capture(*seconds))
        until = AT + 1000 * seconds.stop
        os.utime(path, ns=(until * 10**6, until * 10**6))
        paths.append(path)
        times.append((AT + 1000 * (seconds.start + 3), until + 2500))  # it waited for more before it ended
    dates = tuple(AT + 1000 * seconds.start if dated else None for _, seconds in captures)
    return Spec(
        recording=1, segments=tuple(paths), times=tuple(times), dates=dates, titles=titles, mp4=True,
        output=folder / "joined", report=folder / "report.json",
    )  # fmt: skip


def run(spec: Spec) -> Path:
    assert JoinProgram(spec).run()
    report = json.loads(spec.report.read_text())
    assert report["notes"] == []
    return Path(report["path"])


def chapters(path: Path) -> list[tuple[float, str]]:
    shown = json.loads(_ask(path, "-show_chapters"))["chapters"]
    return [(float(each["start_time"]), each["tags"]["title"]) for each in shown]


def _ask(path: Path, *options: str) -> str:
    command = ["ffprobe", "-v", "error", *options, "-of", "json", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pictures(path: Path, *options: str) -> list[tuple[float, str]]:
    """(seconds, checksum) of each picture, as it is shown."""
    lines = ffmpeg(*options, "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-").splitlines()
    [base] = [line.split(": ")[1] for line in lines if line.startswith("#tb 0")]
    above, below = map(int, base.split("/"))
    fields = [line.split(",") for line in lines if not line.startswith("#")]
    return [(int(each[2]) * above / below, each[5].strip()) for each in fields]


def shown_at(made: Path, source: Source, folder: Path, *frames: int) -> list[float]:
    """When the MP4 shows these pictures of the broadcast."""
    whole = folder / "whole.ts"
    whole.write_bytes(source.capture(*range(SECONDS)))
    marks = [mark for _, mark in pictures(whole)]
    assert len(set(marks)) == SECONDS * FPS
    when = {mark: at for at, mark in pictures(made)}
    return [when[marks[frame]] for frame in frames]


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_after_a_rotation_a_kill_and_a_hole(tmp_path: Path, source: Source, *, dated: bool) -> None:
    spec = job(
        tmp_path, (source, range(22)), (source, range(19, 33)), (source, range(32, 41)), (source, range(53, 80)),
        dated=dated,
    )  # fmt: skip
    made = run(spec)
    found = chapters(made)
    assert [text for _, text in found] == [title.text for title in TITLES]
    assert [at for at, _ in found] == pytest.approx([0, *shown_at(made, source, tmp_path, 123, 260, 627)], abs=0.1)
    looked = inspect_file(str(made))
    assert [(problem.kind, round(problem.at_ms or 0, -3)) for problem in looked.problems] == 2 * [("gap", 41_000)]


def test_what_changes_in_a_hole_begins_behind_it(tmp_path: Path, source: Source) -> None:
    titles = (Change(0, "before"), Change(AT + 45_000, "after"))
    spec = job(tmp_path, (source, range(30)), (source, range(50, 80)), dated=True, titles=titles)
    made = run(spec)
    assert [text for _, text in chapters(made)] == ["before", "after"]
    assert [at for at, _ in chapters(made)] == pytest.approx([0, *shown_at(made, source, tmp_path, 500)], abs=0.1)


def test_behind_a_clock_that_begins_anew(
    tmp_path: Path, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An encoder that starts again: the second half stands where the first one ends, whatever passed between."""
    other = make(tmp_path_factory.mktemp("other"), 5.0)
    titles = (Change(0, "before"), Change(AT + 20_000, "second"), Change(AT + 55_500, "third"))
    spec = job(tmp_path, (source, range(30)), (other, range(40, 80)), dated=True, titles=titles)
    made = run(spec)
    assert [text for _, text in chapters(made)] == ["before", "second", "third"]
    assert [at for at, _ in chapters(made)] == pytest.approx([0, *shown_at(made, source, tmp_path, 200, 555)], abs=0.1)


@pytest.mark.parametrize("offset", [970.0, 2800.0], ids=["anew", "half an hour ahead"])
def test_a_clock_that_begins_anew_inside_a_capture_without_dates(
    tmp_path: Path, source: Source, tmp_path_factory: pytest.TempPathFactory, offset: float
) -> None:
    other = make(tmp_path_factory.mktemp("other"), offset)
    mixed = Source(b"", [*source.segments[:30], *other.segments[30:]])
    titles = (Change(0, "before"), Change(AT + 20_000, "second"), Change(AT + 55_500, "third"))
    made = run(job(tmp_path, (mixed, range(80)), dated=False, titles=titles))
    assert [text for _, text in chapters(made)] == ["before", "second", "third"]
    assert [at for at, _ in chapters(made)] == pytest.approx([0, *shown_at(made, source, tmp_path, 200, 555)], abs=0.1)


@pytest.mark.parametrize(("hours", "dated"), [(-2, False), (2, False), (2, True)], ids=["ahead", "back", "dated"])
def test_our_clock_is_set_during_a_capture(tmp_path: Path, source: Source, hours: int, *, dated: bool) -> None:
    """What was told since then is where it belongs."""
    spec = job(tmp_path, (source, range(60)), dated=dated)
    [received] = spec.times
    assert received is not None
    made = run(replace(spec, times=((received[0] + hours * 3_600_000, received[1]),)))
    wanted = [0, *shown_at(made, source, tmp_path, 123, 260)]
    assert [at for at, _ in chapters(made)] == pytest.approx(wanted, abs=0.1)


def test_of_a_capture_that_nobody_saw_begin_a_date_far_from_all_titles_says_nothing(
    tmp_path: Path, source: Source
) -> None:
    """Else all titles would belong to the capture that came last."""
    spec = job(tmp_path, (source, range(40)), (source, range(40, 80)), dated=True)
    made = run(replace(spec, times=(spec.times[0], None), dates=(AT, AT - 365 * 86_400_000)))
    wanted = [0, *shown_at(made, source, tmp_path, 123, 260, 627)]
    assert [at for at, _ in chapters(made)] == pytest.approx(wanted, abs=0.1)


def test_each_part_of_a_result_has_chapters_of_its_own(
    tmp_path: Path, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A site that changes its format for a while: of fragmented MP4 nothing is made, so it gets none."""
    other = make_source(tmp_path_factory.mktemp("other"), "fmp4")
    spec = job(tmp_path, (source, range(40)), (other, range(4)), (source, range(40, 80)), dated=True)
    assert JoinProgram(spec).run()
    made = [Path(part["path"]) for part in json.loads(spec.report.read_text())["parts"]]
    assert [[(round(at), text) for at, text in chapters(path)] for path in made] == [
        [(0, "opening"), (12, HOSTILE), (26, "third")], [], [(0, "third"), (23, "é" * 300)],
    ]  # fmt: skip


@pytest.mark.parametrize("dates", [AT + 86_400_000, 0], ids=["ahead", "1970"])
def test_dates_that_cannot_be_are_not_believed(tmp_path: Path, source: Source, dates: int) -> None:
    spec = replace(job(tmp_path, (source, range(60)), dated=False), dates=(dates,))
    made = run(spec)
    wanted = [0, *shown_at(made, source, tmp_path, 123, 260)]
    assert [at for at, _ in chapters(made)] == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("titles", [(), TITLES[:1]], ids=["none", "one"])
def test_a_broadcast_that_keeps_its_title_has_none(tmp_path: Path, source: Source, titles: tuple[Change, ...]) -> None:
    made = run(job(tmp_path, (source, range(30)), dated=True, titles=titles))
    assert chapters(made) == []
    streams: list[dict[str, Any]] = json.loads(_ask(made, "-show_streams"))["streams"]
    assert sorted(stream["codec_type"] for stream in streams) == ["audio", "video"]


def test_what_another_version_asked_for_has_none_and_is_made(tmp_path: Path, source: Source) -> None:
    spec = job(tmp_path, (source, range(30)), dated=False)
    asked = {
        "recording": 1, "segments": [str(path) for path in spec.segments], "mp4": True, "times": [None],
        "output": str(spec.output), "report": str(spec.report),
    }  # fmt: skip
    made = run(parse_spec(json.dumps(asked)))
    assert chapters(made) == []


def test_a_file_of_the_run_before_is_taken_as_it_is(tmp_path: Path, source: Source) -> None:
    """It was killed before its report: the MP4 is there, and its chapters in it."""
    spec = job(tmp_path, (source, range(40)), dated=True)
    made = run(spec)
    before, inode = chapters(made), made.stat().st_ino
    assert [text for _, text in before] == [title.text for title in TITLES[:3]]
    assert inspect_file(str(made)).soundness is Soundness.SOUND
    (tmp_path / "segment_001.ts").write_bytes(source.capture(*range(40)))
    assert run(spec) == made
    assert (chapters(made), made.stat().st_ino) == (before, inode)
