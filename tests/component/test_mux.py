# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and sound that come through two pipes, as streamlink has them muxed: into what holds them, and joined."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from streamvaultd.media import fmp4
from streamvaultd.media.container import FileFormat, sniff
from streamvaultd.media.plan import plan_join
from streamvaultd.media.seam import Certainty, SeamKind
from streamvaultd.media.splice import Splice
from streamvaultd.recording.streamlink.command import MUXER
from tests.component.test_join_media import ffmpeg
from tests.component.test_join_muxed import digests
from tests.fakes.memory import BytesSource

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

SECONDS = 20
Stream = list[bytes]
"""The header, then one fragment a second."""


@pytest.fixture(scope="module", params=["libopus", "aac"])
def broadcast(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Stream]:
    """Video of which no two frames are alike, and noise, each in fragmented MP4 of its own."""
    folder = tmp_path_factory.mktemp("apart")
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=192x108:rate=25", "-f", "lavfi", "-i", "anoisesrc=sample_rate=48000")
    pictures = (
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-threads",
        "1",
        "-g",
        "25",
        "-bf",
        "2",
        "-sc_threshold",
        "0",
    )
    flags = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "1000000", "-f", "mp4")
    ends = ("-t", str(SECONDS), "-strict", "experimental", *flags)
    ffmpeg(*inputs, "-map", "0", *pictures, *ends, folder / "v")
    ffmpeg(*inputs, "-map", "1", "-c:a", str(request.param), "-b:a", "64k", *ends, folder / "a")
    return {name: _fragments((folder / name).read_bytes()) for name in "va"}


def _fragments(data: bytes) -> Stream:
    source, found = BytesSource(data), [b""]
    for box in fmp4.boxes(source):
        if box.kind == b"moof":
            found.append(b"")
        found[-1] += data[box.start : box.end]
    return found


def capture(folder: Path, broadcast: dict[str, Stream], start: int, end: int, *, sound_before: int = 0) -> bytes:
    """These seconds as they come out; the sound may begin some seconds before the pictures."""
    threads, words = [], list[str]()
    for name, stream in broadcast.items():
        path = folder / f"{name}{start}"
        os.mkfifo(path)
        first = start - (sound_before if name == "a" else 0)
        data = b"".join([stream[0], *stream[1 + first : 1 + end]])
        threads.append(threading.Thread(target=path.write_bytes, args=(data,)))
        threads[-1].start()
        words += ["-i", str(path)]
    maps = ("-c:v", "copy", "-c:a", "copy", "-map", "0:v?", "-map", "0:a?", "-map", "1:a", "-copyts")
    argv = [str(MUXER), "-y", "-nostats", "-loglevel", "error", *words, *maps, "-f", "mpegts", "pipe:1"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    for thread in threads:
        thread.join()
    return done.stdout


def test_what_a_transport_stream_does_not_hold_is_joined_from_fragments(
    tmp_path: Path, broadcast: dict[str, Stream]
) -> None:
    """One is cut off, one begins in the middle: every picture and every packet of sound once, and in order."""
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(capture(tmp_path, broadcast, 0, SECONDS))
    is_for_ts = sniff(BytesSource(whole.read_bytes())) is FileFormat.TS
    assert is_for_ts is (b"mp4a" in broadcast["a"][0])
    for name, stream in broadcast.items():
        (tmp_path / f"{name}.mp4").write_bytes(b"".join(stream[: 1 + SECONDS]))
        if not is_for_ts:
            assert digests(whole, name) == digests(tmp_path / f"{name}.mp4", name)
    files = [capture(tmp_path, broadcast, 1, 9)[:-5000], capture(tmp_path, broadcast, 5, 17, sound_before=1)]
    sources = [BytesSource(data) for data in files]
    [plan] = plan_join(sources)
    seam = plan.seams[0].seam
    assert (seam.kind, seam.certainty) == (SeamKind.EXACT if is_for_ts else SeamKind.UNION, Certainty.PROVEN)
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(Splice(sources, plan.pieces).read(0, plan.size))
    for name in "va":
        found, wanted = digests(joined, name), digests(whole, name)
        at = wanted.index(found[0])
        assert found == wanted[at : at + len(found)]
        assert len(found) >= len(wanted) * 15 // SECONDS
    assert ffmpeg("-i", joined, "-f", "null", "-") == ""
