# SPDX-License-Identifier: GPL-3.0-or-later
"""Test media: an HLS folder in which no two frames look alike, made once by ffmpeg and cached."""

from __future__ import annotations

import fcntl
import shutil
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from tests.fakes import encode
from tests.fakes.encode import CHANGE_EVERY, FPS
from tests.fakes.ffmpeg import MediaError, frame_digests
from tests.testbed.spaces import cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["FPS", "KINDS", "Index", "Media", "MediaError", "MediaSpec", "ensure_media", "frame_digests"]

KINDS = ("ts", "fmp4", "aes", "audio", "separate", "change", "fmp4-change")
"""Transport streams; fragmented MP4; AES-128; audio only; audio in a playlist of its own; and those that change their
size (and in MP4 the initialisation) every now and then, after an EXT-X-DISCONTINUITY."""

OTHER_SIZE = "426x240"
"""Of the other encoder, where there are two."""


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """What the media are like; each media segment begins with a key frame and holds 30 frames per second of it."""

    segment: int = 2
    """seconds in a media segment"""
    seconds: int = 600
    size: str = "320x180"
    bitrate: str = "200k"
    kind: str = "ts"

    @property
    def name(self) -> str:
        suffix = "" if self.kind == "ts" else f"-{self.kind}"
        return f"{self.size}-{self.bitrate}-{self.segment}s-{self.seconds}s{suffix}"

    @property
    def is_first(self) -> bool:
        """Not the other one of two encoders."""
        return self.size != OTHER_SIZE

    @property
    def sources(self) -> tuple[MediaSpec, ...]:
        """The media that these are made of."""
        match self.kind:
            case "ts":
                return ()
            case "change" | "fmp4-change":
                same = replace(self, kind="ts" if self.kind == "change" else "fmp4")
                return same, replace(same, size=OTHER_SIZE)
            case _:
                return (replace(self, kind="ts"),)


@dataclass(frozen=True, slots=True)
class Index:
    """The frames (or packets) of a track: by digest their number, and the number that each media segment begins with.

    The last of `starts` is how many there are.
    """

    numbers: dict[str, int]
    starts: tuple[int, ...]

    def segment_of(self, number: int) -> int:
        """The media segment that a frame is in."""
        return bisect_right(self.starts, number) - 1


class Media:
    """An HLS folder: 00000.ts, 00001.ts, … and the MD5 of each decoded frame."""

    def __init__(self, folder: Path, spec: MediaSpec, *, prefix: str = "") -> None:
        self.folder = folder
        self.spec = spec
        self.count = spec.seconds // spec.segment
        self.frames_per_segment = FPS * spec.segment
        self._prefix = prefix

    @property
    def playlist(self) -> Path:
        """Of all media segments, for ffmpeg."""
        return self.folder / f"{self._prefix}index.m3u8"

    def sources(self) -> list[Media]:
        """What these were made of."""
        return [ensure_media(spec) for spec in self.spec.sources]

    @property
    def suffix(self) -> str:
        """Of media segments."""
        return ".m4s" if self.spec.kind.startswith("fmp4") else ".ts"

    def segment(self, index: int) -> Path:
        """The file of a media segment, counted from 0."""
        return self.folder / f"{self._prefix}{index:05d}{self.suffix}"

    def variant(self, index: int) -> int:
        """Which encoder made a media segment; only the kinds that change have a second one, number 1."""
        return index // CHANGE_EVERY % 2 if self.spec.kind.endswith("change") else 0

    def init(self, variant: int) -> Path | None:
        """The initialisation that fragmented MP4 has."""
        return self.folder / f"init{variant}.mp4" if self.suffix == ".m4s" else None

    @property
    def key(self) -> Path | None:
        """The key of encrypted media."""
        return self.folder / "key" if self.spec.kind == "aes" else None

    @property
    def audio(self) -> Media | None:
        """The audio that is in a playlist of its own."""
        return Media(self.folder, self.spec, prefix="audio-") if self.spec.kind == "separate" else None

    @property
    def tracks(self) -> tuple[str, ...]:
        """What can be counted."""
        return ("audio",) if self.spec.kind == "audio" else ("video", "audio")

    @cached_property
    def frames(self) -> dict[str, int]:
        """MD5 of a decoded frame → its number, counted from 0."""
        return self.index("video").numbers

    def index(self, track: str) -> Index:
        """The frames of the video, or the packets of the audio."""
        return self._video if track == "video" else self._audio

    @cached_property
    def _video(self) -> Index:
        starts = range(0, (self.count + 1) * self.frames_per_segment, self.frames_per_segment)
        return _load(self.folder / "frames.md5", starts)

    @cached_property
    def _audio(self) -> Index:
        """Made when it is first asked for."""
        with _locked(self.folder):
            if not (self.folder / "audio.md5").exists():
                encode.index_audio(self)
        starts = (self.folder / "audio.starts").read_text().split()
        return _load(self.folder / "audio.md5", map(int, starts))


def _load(file: Path, starts: Iterable[int]) -> Index:
    numbers = {digest: number for number, digest in enumerate(file.read_text().split())}
    return Index(numbers, tuple(starts))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_media(spec: MediaSpec) -> Media:
    """Media as specified, from the cache or made now (some 15 s for ten minutes)."""
    folder = cache() / "media" / spec.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    sources = [ensure_media(source) for source in spec.sources]
    with _locked(folder):
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            encode.make(Media(fresh, spec), sources)
            fresh.rename(folder)
    return Media(folder, spec)
