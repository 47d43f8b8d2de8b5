# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that two muxers have put into other packets: found frame by frame, whatever it is coded in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamvaultd.media.frames import units
from streamvaultd.media.left_out import left_out
from streamvaultd.media.plan import plan_join
from streamvaultd.media.sound import sound_frames
from streamvaultd.media.splice import Splice
from tests.component.test_join_media import ffmpeg
from tests.component.test_join_muxed import assert_contiguous, muxed
from tests.fakes.ffmpeg import run
from tests.fakes.memory import BytesSource

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

CODECS = {"aac": "64k", "libmp3lame": "64k", "mp2": "128k", "ac3": "96k", "eac3": "48k", "libopus": "48k"}
NOISE = ("-f", "lavfi", "-i", "anoisesrc=sample_rate=48000")
VIDEO = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", "30", "-bf", "2", "-sc_threshold", "0")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "pictures.ts"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=192x108:rate=30", "-t", "16", *VIDEO, "-f", "mpegts", path)
    return path


def broadcast(pictures: Path, codec: str) -> Path:
    """With a frame of sound in each packet, so that a muxer may begin with any of them."""
    path = pictures.with_name(f"{codec}.ts")
    sound = ("-c:a", codec, "-b:a", CODECS[codec], "-t", "16", "-pes_payload_size", "0")
    ffmpeg("-i", pictures, *NOISE, "-map", "0:v", "-map", "1:a", "-c:v", "copy", *sound, "-f", "mpegts", path)
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_no_frame_of_sound_is_there_twice_or_lost(pictures: Path, codec: str) -> None:
    """Nor is anything kept beside the result."""
    whole = broadcast(pictures, codec)
    files = [BytesSource(muxed(whole, 0, 7.3)), BytesSource(muxed(whole, 4.3, 15))]
    [plan] = plans = plan_join(files)
    assert_contiguous(whole, Splice(files, plan.pieces).read(0, plan.size), 13)
    assert left_out(files, plans) == []


RATES = [
    *(
        ("libmp3lame", "-b:a", bits, "-ar", rate)
        for bits, rate in (("128k", "44100"), ("32k", "22050"), ("24k", "8000"))
    ),
    *(("mp2", "-b:a", bits, "-ar", rate) for bits, rate in (("192k", "44100"), ("64k", "24000"))),
    *(("ac3", "-b:a", bits, "-ar", rate) for bits, rate in (("192k", "44100"), ("448k", "32000"))),
    ("eac3", "-b:a", "192k", "-ar", "44100"),
    *(("libopus", "-b:a", "48k", "-frame_duration", length) for length in ("2.5", "10", "60")),
    ("aac", "-b:a", "64k", "-ar", "44100"),
]


@pytest.mark.parametrize("options", RATES, ids="-".join)
def test_frames_are_those_that_ffmpeg_finds(tmp_path: Path, options: Sequence[str]) -> None:
    path = tmp_path / "sound.ts"
    ffmpeg(*NOISE, "-t", "3", "-c:a", *options, "-f", "mpegts", path)
    found = []
    data = BytesSource(path.read_bytes())
    for unit in units(data, 0, data.size):
        frames = list(sound_frames(unit.data, unit.body))
        assert frames[-1][0] + frames[-1][1] == len(unit.data)
        found += [(unit.pes.dts + ticks, size) for _, size, ticks in frames]
    told = run("-show_entries", "packet=size,pts", "-of", "json", path, command="ffprobe").stdout
    packets = [(int(packet["pts"]), int(packet["size"])) for packet in json.loads(told)["packets"]]
    assert len(found) == len(packets)
    assert all(abs(mine[0] - theirs[0]) <= 2 for mine, theirs in zip(found, packets, strict=True))
    # the headers of Opus, which tell a frame's length, are no part of it elsewhere
    most = 6 if options[0] == "libopus" else 0
    assert all(0 <= mine[1] - theirs[1] <= most for mine, theirs in zip(found, packets, strict=True))
