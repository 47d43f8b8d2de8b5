# SPDX-License-Identifier: GPL-3.0-or-later
"""Joining on file systems that share extents: next to nothing is written, and players see the same frames."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.jobs.join.spec import Spec
from streamvaultd.jobs.join.writer import SHARE_MIN, align
from streamvaultd.media.container import FileFormat
from streamvaultd.media.plan import Plan, plan_join
from streamvaultd.media.splice import Literal, Part
from tests.component.test_join_media import ffmpeg
from tests.fakes.memory import BytesSource

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

MAKERS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
IMAGE_SIZE = 400 << 20
SECONDS = 60


@pytest.fixture(scope="module", params=sorted(MAKERS))
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that shares extents, in a loop device."""
    image = tmp_path_factory.mktemp("disk") / "disk.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_SIZE)
    subprocess.run([*MAKERS[request.param], str(image)], check=True, capture_output=True)
    place = image.with_name("mounted")
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module", params=["mpegts", "fmp4"])
def media(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """[header, media segment, …] of two seconds each, at a rate at which a few of them are worth sharing."""
    folder = tmp_path_factory.mktemp(request.param)
    suffix = {"mpegts": "ts", "fmp4": "m4s"}[request.param]
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"),
        *("-t", str(SECONDS), "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-g", "60", "-c:a", "aac"),
        *("-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_segment_type", request.param),
        *("-hls_segment_filename", folder / f"%03d.{suffix}", folder / "index.m3u8"),
    )
    header = (folder / "init.mp4").read_bytes() if request.param == "fmp4" else b""
    return [header, *(path.read_bytes() for path in sorted(folder.glob(f"[0-9]*.{suffix}")))]


def frames(path: Path) -> list[str]:
    lines = ffmpeg("-i", path, "-map", "0:v", "-c", "copy", "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def written(folder: Path) -> int:
    """Bytes that the file system holds, shared ones once."""
    subprocess.run(["sync", "-f", str(folder)], check=True)
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def test_extents_are_shared(mounted: Path, media: list[bytes]) -> None:
    header, *live = media
    folder = mounted / f"case-{len(header)}"
    folder.mkdir()
    captures = [live[:14], live[10:22], live[20:]]
    paths = [folder / f"segment_{number:03d}.ts" for number in (1, 2, 3)]
    for path, capture in zip(paths, captures, strict=True):
        path.write_bytes(header + b"".join(capture))
    size = sum(path.stat().st_size for path in paths)
    assert size > 10 * SHARE_MIN
    before = written(folder)
    spec = Spec(recording=1, segments=tuple(paths), output=folder / "joined", report=folder / "report.json")
    assert JoinProgram(spec).run()
    assert written(folder) - before < size / 5
    [joined] = folder.glob("joined.*")
    reference = folder / "reference"
    reference.write_bytes(header + b"".join(live))
    assert frames(joined) == frames(reference)
    assert ffmpeg("-i", joined, "-f", "null", "-") == ""
    # a run whose report was lost finds its own file again
    assert JoinProgram(spec).run()
    for path in paths:
        path.unlink()
    assert frames(joined) == frames(reference)


@pytest.mark.parametrize("container", [FileFormat.TS, FileFormat.FMP4])
def test_filling_puts_blocks_on_blocks(container: FileFormat) -> None:
    pieces = (Part(0, 0, 188 * 9000), Literal(b"x" * 188), Part(1, 188 * 77, 188 * 20_000), Part(2, 188, 376))
    plan = align(Plan(container, pieces, (), 0), 4096)
    at = 0
    for piece in plan.pieces:
        if isinstance(piece, Part) and piece.size >= SHARE_MIN:
            assert (at - piece.start) % 4096 == 0
        at += piece.size
    assert [piece for piece in plan.pieces if isinstance(piece, Part)] == [
        piece for piece in pieces if isinstance(piece, Part)
    ]
    filling = plan.size - sum(piece.size for piece in pieces)
    assert 0 < filling < 188 * 4096


def test_filling_is_no_media() -> None:
    """Planned again, a joined file with filling in it is one part, whole."""
    filled = align(Plan(FileFormat.TS, (Part(0, 0, 188), Part(1, 564, 188 * 12_000)), (), 0), 4096)
    [_, filling, _] = filled.pieces
    assert isinstance(filling, Literal)
    [plan] = plan_join([BytesSource(filling.data)])
    assert plan.size == len(filling.data)
