# SPDX-License-Identifier: GPL-3.0-or-later
"""The join job as a process, on media that ffmpeg made and ffmpeg judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from streamvaultd.media.inspect import Soundness, inspect_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = 16
FPS = 30
# The clock of 33 bits at 90 kHz goes round after 95443.7 s: eight seconds into these media
BEFORE_WRAP = 95_435.7 - 1.4


def ffmpeg(*arguments: str | Path) -> str:
    command = ["ffmpeg", "-nostdin", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@dataclass(frozen=True)
class Source:
    """The media segments of a broadcast, one second each; `header` stands before them in fMP4."""

    header: bytes
    segments: Sequence[bytes]

    def capture(self, *numbers: int) -> bytes:
        return self.header + b"".join(self.segments[number] for number in numbers)


def make_source(folder: Path, kind: str, offset: float = 0.0) -> Source:
    suffix = {"mpegts": "ts", "fmp4": "m4s"}[kind]
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=192x108:rate={FPS}", "-f", "lavfi", "-i", "sine=sample_rate=48000"),
        *("-t", str(SECONDS), "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", str(FPS), "-bf", "2"),
        *("-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k", "-output_ts_offset", str(offset)),
        *("-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_type", kind),
        *("-hls_segment_filename", folder / f"%03d.{suffix}", folder / "index.m3u8"),
    )
    header = (folder / "init.mp4").read_bytes() if kind == "fmp4" else b""
    return Source(header, [path.read_bytes() for path in sorted(folder.glob(f"[0-9]*.{suffix}"))])


@pytest.fixture(scope="module")
def transport(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("transport"), "mpegts")


@pytest.fixture(scope="module")
def wrapping(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("wrapping"), "mpegts", BEFORE_WRAP)


@pytest.fixture(scope="module")
def fragmented(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("fragmented"), "fmp4")


def write_job(folder: Path, *captures: bytes) -> str:
    paths = [folder / f"segment_{number:03d}.ts" for number in range(1, len(captures) + 1)]
    for path, data in zip(paths, captures, strict=True):
        path.write_bytes(data)
    spec = {
        "recording": 1,
        "segments": [str(path) for path in paths],
        "output": str(folder / "joined"),
        "report": str(folder / "report.json"),
        "progress": str(folder / "progress"),
    }
    return json.dumps(spec)


def start_job() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamvaultd.jobs.join.main"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def join(folder: Path, *captures: bytes) -> tuple[Path, dict[str, Any]]:
    progress = folder / "progress"
    progress.write_bytes(b"")
    with start_job() as job:
        out, errors = job.communicate(write_job(folder, *captures))
    assert (job.returncode, out, errors) == (0, "", "")
    steps = [json.loads(line) for line in progress.read_text().splitlines()]
    assert [step["done"] for step in steps] == sorted(step["done"] for step in steps)
    assert steps[-1]["done"] == steps[-1]["total"]
    progress.unlink()
    report = json.loads((folder / "report.json").read_text())
    assert report["ok"]
    assert report["bytes"] == (folder / "report.json").with_name(report["path"].rpartition("/")[2]).stat().st_size
    return folder / report["path"], report


def frames(path: Path) -> list[tuple[str, str]]:
    """(stream, checksum) of every decoded picture and every packet of sound."""
    lines = ffmpeg("-i", path, "-map", "0:v", "-map", "0:a", "-c:a", "copy", "-f", "framemd5", "-").splitlines()
    rows = [[column.strip() for column in line.split(",")] for line in lines if not line.startswith("#")]
    return [(row[0], row[-1]) for row in rows]


def count_pictures(path: Path) -> int:
    return sum(stream == "0" for stream, _ in frames(path))


@pytest.mark.parametrize("name", ["transport", "wrapping"])
def test_overlapping_torn_and_holed_segments_join_to_the_broadcast(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    source: Source = request.getfixturevalue(name)
    expected = source.capture(*range(SECONDS))
    result, report = join(
        tmp_path,
        source.capture(0, 1, 2, 3, 4, 5)[:-3000],
        source.capture(3, 4, 5, 6, 7, 9),
        source.capture(6, 7, 8, 9, 10, 12, 13)[:-77],
        source.capture(10, 11, 12, 13, 14, 15),
    )
    assert result.read_bytes() == expected
    assert [seam["kind"] for seam in report["seams"]] == ["exact", "union", "union"]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(expected)
    assert frames(result) == frames(whole)
    assert count_pictures(result) == SECONDS * FPS
    assert report["durationMs"] == pytest.approx(SECONDS * 1000, abs=100)


def test_a_gap_is_kept_measured_and_decodes_without_an_error(tmp_path: Path, transport: Source) -> None:
    result, report = join(tmp_path, transport.capture(0, 1, 2, 3), transport.capture(7, 8, 9))
    assert report["seams"][0]["kind"] == "gap"
    assert report["seams"][0]["gapMs"] == pytest.approx(3000, abs=1)
    assert count_pictures(result) == 7 * FPS
    assert report["durationMs"] == pytest.approx(10_000, abs=100)


def test_fragments_join_to_the_broadcast(tmp_path: Path, fragmented: Source) -> None:
    result, report = join(tmp_path, fragmented.capture(*range(9))[:-500], fragmented.capture(*range(6, SECONDS)))
    assert result.suffix == ".mp4"
    assert result.read_bytes() == fragmented.capture(*range(SECONDS))
    assert report["seams"][0]["method"] == "bytes"
    assert count_pictures(result) == SECONDS * FPS


def test_a_job_that_is_killed_leaves_nothing_in_the_way_of_the_next(tmp_path: Path, transport: Source) -> None:
    captures = transport.capture(*range(9)), transport.capture(*range(6, SECONDS))
    with start_job() as job:
        assert job.stdin is not None
        os.mkfifo(tmp_path / "progress")
        job.stdin.write(write_job(tmp_path, *captures))
        job.stdin.close()
        # the first line of progress: the copy is under way
        with (tmp_path / "progress").open() as lines:
            assert json.loads(lines.readline())["done"] > 0
        job.kill()
        job.wait()
    (tmp_path / "progress").unlink()
    result, _ = join(tmp_path, *captures)
    assert result.read_bytes() == transport.capture(*range(SECONDS))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "joined.ts",
        "report.json",
        "segment_001.ts",
        "segment_002.ts",
    ]


def test_a_failed_job_says_why_in_its_report_and_exit_status(tmp_path: Path, transport: Source) -> None:
    with start_job() as job:
        (tmp_path / "joined.ts").write_bytes(b"a holiday film")
        _, errors = job.communicate(write_job(tmp_path, transport.capture(0)))
    assert (job.returncode, errors) == (1, "")
    assert "is not this recording" in json.loads((tmp_path / "report.json").read_text())["error"]


def test_unusable_input_is_a_usage_error() -> None:
    with start_job() as job:
        _, errors = job.communicate("{}")
    assert (job.returncode, errors) == (2, "cannot use parameter 'recording'\n")


def test_pictures_that_a_transport_stream_has_no_name_for_are_told(tmp_path: Path) -> None:
    """As ffmpeg muxes AV1: private data without a description. They stay in the file, and it is not called sound."""
    made = tmp_path / "av1.ts"
    encode = ("-c:v", "libsvtav1", "-preset", "12", "-c:a", "aac", "-f", "mpegts")
    source = ("-f", "lavfi", "-i", "testsrc2=size=128x72:rate=10", "-f", "lavfi", "-i", "sine", "-t", "2")
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *source, *encode, made], check=True, capture_output=True)
    found, report = join(tmp_path, made.read_bytes())
    assert found.read_bytes() == made.read_bytes()
    assert report["notes"] == [f"{found.name} has pictures (PID 256) that a transport stream has no name for"]
    assert inspect_file(str(found)).soundness is Soundness.UNKNOWN
