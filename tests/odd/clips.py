# SPDX-License-Identifier: GPL-3.0-or-later
"""Small media in which no two pictures look alike, in many formats: each is made once by ffmpeg, and cached."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Final

from tests.fakes.ffmpeg import MediaError, run
from tests.odd.look import KINDS, look, positions
from tests.testbed.spaces import cache

CODECS: Final = {
    "h264": ("libx264", "-preset", "ultrafast", "-sc_threshold", "0"),
    "hevc": ("libx265", "-preset", "ultrafast", "-tag:v", "hvc1"),
    "vp9": ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "150k"),
    "av1": ("libsvtav1", "-preset", "12", "-svtav1-params", "scd=0"),
}
SOUNDS: Final = {"aac": ("aac",), "opus": ("libopus",)}


@dataclass(frozen=True, slots=True)
class Spec:
    """`clock`: where the timestamps begin, in seconds. `look`: other pictures and another sound for each number."""

    seconds: int = 60
    segment: int = 2
    kind: str = "ts"
    tracks: str = KINDS
    codec: str = "h264"
    sound: str = "aac"
    rate: str = "25"
    clock: int = 0
    look: int = 1
    b_frames: int = 0
    size: str = "160x90"
    pictures: int = 0
    """seconds after which there are none any more, and the sound goes on; 0: never"""

    @property
    def name(self) -> str:
        """As a folder."""
        words = (self.size, self.kind, self.tracks, self.codec, self.sound, self.rate.replace("/", "in"))
        return "-".join(
            (*words, *map(str, (self.seconds, self.segment, self.clock, self.look, self.b_frames, self.pictures)))
        )

    @property
    def suffix(self) -> str:
        return ".ts" if self.kind == "ts" else ".m4s"


class Clip:
    """The media segments of a spec, and for each of them the digests of its pictures and of its sound packets."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder = folder
        self.spec = spec
        self.count = spec.seconds // spec.segment

    def path(self, index: int) -> Path:
        """Of a media segment."""
        return self.folder / f"{index:05d}{self.spec.suffix}"

    @property
    def init(self) -> Path | None:
        """What fragmented MP4 begins with."""
        return None if self.spec.kind == "ts" else self.folder / "init.mp4"

    @cached_property
    def digests(self) -> dict[str, list[list[str]]]:
        """By kind ("v", "a"), for each media segment."""
        found: dict[str, list[list[str]]] = json.loads((self.folder / "digests.json").read_text())
        return found


def ensure_clip(spec: Spec) -> Clip:
    """From the cache, or made now."""
    folder = cache() / "odd" / spec.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            clip = Clip(fresh, spec)
            _encode(clip)
            (fresh / "digests.json").write_text(json.dumps(_index(clip)))
            fresh.rename(folder)
    return Clip(folder, spec)


def _encode(clip: Clip) -> None:
    spec, inputs, outputs = clip.spec, [], []
    if "v" in spec.tracks:
        gop = str(max(1, int(Fraction(spec.rate) * spec.segment)))
        inputs += [
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size={spec.size}:rate={spec.rate}:duration={spec.pictures or spec.seconds}",
        ]
        outputs += ["-map", "0:v", "-vf", f"hue=h={spec.look * 47}", "-pix_fmt", "yuv420p"]
        outputs += ["-c:v", *CODECS[spec.codec], "-g", gop, "-keyint_min", gop]
        outputs += ["-bf", str(spec.b_frames)] if spec.codec == "h264" else []
        outputs += ["-x265-params", "log-level=error:bframes=0:open-gop=0:scenecut=0"] if spec.codec == "hevc" else []
    if "a" in spec.tracks:
        noise = f"anoisesrc=color=pink:seed={spec.look}:amplitude=0.2:sample_rate=48000:duration={spec.seconds}"
        outputs += ["-map", f"{len(inputs) // 4}:a", "-c:a", *SOUNDS[spec.sound], "-b:a", "48k"]
        inputs += ["-f", "lavfi", "-i", noise]
    if spec.pictures:
        _cut(clip, inputs + outputs)
        return
    mp4 = ["-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4"] if spec.kind != "ts" else []
    run(
        *inputs,
        *outputs,
        *("-strict", "experimental", "-output_ts_offset", str(spec.clock), "-muxdelay", "0", "-muxpreload", "0"),
        *("-f", "hls", "-hls_time", str(spec.segment), "-hls_list_size", "0", *mp4),
        *("-hls_segment_filename", clip.folder / f"%05d{spec.suffix}", clip.folder / "index.m3u8"),
    )
    # the sound is a few packets longer
    clip.path(clip.count).unlink(missing_ok=True)
    if not clip.path(clip.count - 1).exists() or clip.path(clip.count + 1).exists():
        raise MediaError(f"{clip.folder}: want {clip.count} media segments")


def _cut(clip: Clip, words: list[str]) -> None:
    """Fragments of one MP4: HLS as ffmpeg makes it ends a media segment with a picture."""
    whole = clip.folder / "whole.mp4"
    flags = "frag_keyframe+empty_moov+default_base_moof"
    run(*words, "-movflags", flags, "-frag_duration", f"{clip.spec.segment * 1_000_000}", "-f", "mp4", whole)
    data, at, fragments, init = whole.read_bytes(), 0, [b""], b""
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"moof":
            fragments.append(b"")
        if kind in (b"ftyp", b"moov"):
            init += data[at : at + size]
        elif kind in (b"moof", b"mdat"):
            fragments[-1] += data[at : at + size]
        at += size
    whole.unlink()
    (clip.folder / "init.mp4").write_bytes(init)
    for number, fragment in enumerate(fragments[1:][: clip.count]):
        clip.path(number).write_bytes(fragment)


def _index(clip: Clip) -> dict[str, list[list[str]]]:
    """Which media segment has which pictures and packets: told by where each begins in all of them together."""
    parts = [*filter(None, [clip.init]), *(clip.path(index) for index in range(clip.count))]
    ends = list(accumulate(part.stat().st_size for part in parts))[-clip.count :]
    whole = clip.folder / f"whole{clip.spec.suffix}"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    seen, places = look(whole), positions(whole)
    whole.unlink()
    found: dict[str, list[list[str]]] = {}
    for kind in clip.spec.tracks:
        digests = seen.digests[kind]
        if len(digests) != len(places[kind]) or len(set(digests)) != len(digests):
            raise MediaError(
                f"{clip.folder}: {kind}: {len(digests)} of {len(places[kind])}; {len(set(digests))} differ"
            )
        segments: list[list[str]] = [[] for _ in ends]
        numbers = iter(range(len(ends)))
        number = next(numbers)
        for digest, place in zip(digests, places[kind], strict=True):
            while place >= ends[number]:
                number = next(numbers)
            segments[number].append(digest)
        found[kind] = segments
    return found
