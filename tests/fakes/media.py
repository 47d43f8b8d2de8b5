# SPDX-License-Identifier: GPL-3.0-or-later
"""Test media: an HLS folder in which no two frames look alike, made once by ffmpeg and cached."""

from __future__ import annotations

import fcntl
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.testbed.spaces import cache

FPS = 30


class MediaError(Exception):
    """Media could not be made, or are not as they must be."""


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """What the media are like; each media segment begins with a key frame and holds 30 frames per second of it."""

    segment: int = 2
    """seconds in a media segment"""
    seconds: int = 600
    size: str = "320x180"
    bitrate: str = "200k"

    @property
    def name(self) -> str:
        return f"{self.size}-{self.bitrate}-{self.segment}s-{self.seconds}s"


class Media:
    """An HLS folder: 00000.ts, 00001.ts, … and the MD5 of each decoded frame."""

    def __init__(self, folder: Path, spec: MediaSpec) -> None:
        self.folder = folder
        self.spec = spec
        self.count = spec.seconds // spec.segment
        self.frames_per_segment = FPS * spec.segment

    def segment(self, index: int) -> Path:
        """The file of a media segment, counted from 0."""
        return self.folder / f"{index:05d}.ts"

    @cached_property
    def frames(self) -> dict[str, int]:
        """MD5 of a decoded frame → its number, counted from 0."""
        digests = (self.folder / "frames.md5").read_text().split()
        return {digest: number for number, digest in enumerate(digests)}


def ensure_media(spec: MediaSpec) -> Media:
    """Media as specified, from the cache or made now (some 15 s for ten minutes)."""
    folder = cache() / "media" / spec.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            fresh.mkdir(exist_ok=True)
            _make(fresh, spec)
            _index(Media(fresh, spec))
            fresh.rename(folder)
    return Media(folder, spec)


def _make(folder: Path, spec: MediaSpec) -> None:
    gop = str(FPS * spec.segment)
    length = f"duration={spec.seconds}"
    _ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={spec.size}:rate={FPS}:{length}"),
        *("-f", "lavfi", "-i", f"anoisesrc=color=pink:seed=1:amplitude=0.2:sample_rate=48000:{length}"),
        *("-map", "0:v", "-map", "1:a", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b:v", spec.bitrate),
        *("-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"),
        *("-f", "hls", "-hls_time", str(spec.segment), "-hls_list_size", "0"),
        *("-hls_segment_filename", str(folder / "%05d.ts"), str(folder / "index.m3u8")),
    )


def _index(media: Media) -> None:
    digests = frame_digests(media.folder / "index.m3u8")
    wanted = media.count * media.frames_per_segment
    if len(digests) != wanted or len(set(digests)) != wanted:
        raise MediaError(f"{media.folder}: {len(digests)} frames, {len(set(digests))} differ; want {wanted}")
    (media.folder / "frames.md5").write_text("\n".join(digests))


def frame_digests(file: Path) -> list[str]:
    """MD5 of each frame of the first video track, in order of presentation; ffmpeg decodes it, errors raise."""
    out = _ffmpeg("-i", str(file), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-")
    return [line.rpartition(",")[2].strip() for line in out.splitlines() if not line.startswith("#")]


def _ffmpeg(*arguments: str) -> str:
    command = ["ffmpeg", "-nostdin", "-v", "error", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise MediaError(f"ffmpeg gave {done.returncode}: {done.stderr.strip()}")
    return done.stdout
