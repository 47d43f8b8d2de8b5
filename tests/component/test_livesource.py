# SPDX-License-Identifier: GPL-3.0-or-later
"""The live source in all its kinds, recorded by the real streamlink: what comes out is what was offered."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError

import pytest

from streamvaultd.recording.streamlink.command import Installation, Version
from tests.component.captures import SHORT_MEDIA, real_streamlink, world
from tests.fakes.livesource import LiveSource
from tests.fakes.media import KINDS
from tests.testbed.frames import count_frames

ON_AIR = 14.0
"""Across the first change of the encoder."""


@pytest.fixture(name="source", scope="module")
def _source() -> Iterator[LiveSource]:
    with LiveSource(SHORT_MEDIA, window=60) as source:
        yield source


def record(url: str, output: Path) -> int:
    """Record a broadcast that is over; streamlink's exit status."""
    streamlink = Installation(command=(real_streamlink(),), version=Version(8, 6, 3), python="", managed=False)
    with world() as at:
        return int(at.record(url, output, streamlink).ended()["status"])


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own source on loopback
        found: bytes = answer.read()
    return found


def status(url: str) -> int:
    """Of the answer to a request."""
    try:
        get(url)
    except HTTPError as error:
        return error.code
    return 200


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fmp4-change"])
def test_every_kind_is_recorded_frame_by_frame(source: LiveSource, tmp_path: Path, kind: str) -> None:
    source.control(kind, kind=kind, elapsed=ON_AIR, end=True)
    media = source.channels[kind].media
    url = source.url(kind, "master" if kind == "separate" else "live")
    output = tmp_path / f"result{'.mp4' if kind == 'fmp4' else '.ts'}"
    assert record(url, output) == 0
    for track in media.tracks:
        frames = count_frames(output, media, track=track, first_segment=0, last_segment=13)
        assert frames.is_perfect, (track, frames)
        assert frames.expected > 400
        assert frames.complaints == ()


def test_another_initialisation_comes_with_another_encoder(source: LiveSource, tmp_path: Path) -> None:
    """streamlink writes it into the same file, which is then cut there."""
    source.control("switch", kind="fmp4-change", elapsed=ON_AIR, end=True)
    media = source.channels["switch"].media
    assert record(source.url("switch"), tmp_path / "both.mp4") == 0
    whole = (tmp_path / "both.mp4").read_bytes()
    inits = [path.read_bytes() for path in (media.init(0), media.init(1)) if path is not None]
    places = [whole.find(init) for init in inits]
    assert places[0] == 0 < places[1]
    parts = [tmp_path / "1.mp4", tmp_path / "2.mp4"]
    parts[0].write_bytes(whole[: places[1]])
    parts[1].write_bytes(whole[places[1] :])
    frames = count_frames(parts, media, first_segment=0, last_segment=13)
    assert frames.is_perfect, frames
    one_part = count_frames(parts[0], media, first_segment=0, last_segment=13)
    assert len(one_part.lost) == one_part.expected // 7


def test_what_is_lost_repeated_or_damaged_shows_in_the_count(source: LiveSource, tmp_path: Path) -> None:
    source.control("count", end=True, elapsed=8.0)
    media = source.channels["count"].media
    files = [media.segment(index).read_bytes() for index in (0, 1, 3, 3, 2)]
    (tmp_path / "wrong.ts").write_bytes(b"".join(files))
    for track in media.tracks:
        frames = count_frames(tmp_path / "wrong.ts", media, track=track, first_segment=0, last_segment=4)
        index = media.index(track)
        assert set(range(index.starts[4], index.starts[5])) <= set(frames.lost)
        assert frames.repeated > 0
        assert frames.disordered == 2


def test_a_fault_may_be_of_single_media_segments(source: LiveSource) -> None:
    source.control("holes", elapsed=9.0)
    folder = source.url("holes").rpartition("/")[0]
    whole = get(f"{folder}/00004.ts")
    source.control("holes", fault="404", on="media", only=[4])
    assert [status(f"{folder}/{name}") for name in ("00003.ts", "00004.ts", "live.m3u8")] == [200, 404, 200]
    source.control("holes", fault="cut", on="media", only=[4, 5], for_=60)
    with pytest.raises(IncompleteRead) as cut:
        get(f"{folder}/00004.ts")
    assert len(cut.value.partial) == len(whole) // 2
    source.control("holes", fault=None)
    assert get(f"{folder}/00004.ts") == whole


def test_a_larger_picture_comes_and_goes(source: LiveSource) -> None:
    source.control("high", elapsed=9.0)
    master, folder = source.url("high", "master"), source.url("high").rpartition("/")[0]
    assert get(master).count(b"EXT-X-STREAM-INF") == 1
    source.control("high", high=True)
    assert get(master).count(b"EXT-X-STREAM-INF") == 2
    assert b"high-00000.ts" in get(f"{folder}/high.m3u8")
    assert get(f"{folder}/high-00003.ts") != get(f"{folder}/00003.ts")
    source.control("high", high=False)
    assert status(f"{folder}/high.m3u8") == 404


def test_the_source_tells_how_many_changes_have_left_the_window() -> None:
    with LiveSource(replace(SHORT_MEDIA, kind="change"), window=4) as source:
        source.control("late", elapsed=30.0)
        playlist = get(source.url("late"))
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:2\n" in playlist
    assert b"#EXT-X-DISCONTINUITY\n" not in playlist
