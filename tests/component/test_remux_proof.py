# SPDX-License-Identifier: GPL-3.0-or-later
"""A transport stream goes for an MP4 only if that has every unit of it, at its time, whatever ffmpeg counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.jobs.join import remux
from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.media import fmp4, same_media, ts
from streamvaultd.media.inspect import Soundness, inspect_file
from streamvaultd.media.source import FileSource
from tests.component.test_join_media import FPS, SECONDS, Source, ffmpeg, transport
from tests.component.test_remux import names, pictures, report, sound, write
from tests.unit.test_media_left_out import packet

__all__ = ["transport"]

pytestmark = pytest.mark.timeout(120)  # real programs, on whatever machine

VIDEO, AUDIO, NOBODY = 256, 257, 0x333


def units(data: bytes, pid: int) -> list[int]:
    return [pes.at for pes in ts.pes_starts(data) if pes.pid == pid]


def corrupted(data: bytes) -> bytes:
    """A bit of a picture in the middle is another one."""
    at = units(data, VIDEO)[120] + ts.PACKET - 20
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def mistimed(data: bytes) -> bytes:
    """One unit of sound is 100 ms late, at most, as its neighbours are where they were."""
    at = ts.payload_at(data, units(data, AUDIO)[7]) + 9
    changed = bytearray(data)
    changed[at + 3] = changed[at + 3] ^ 0x20
    return bytes(changed)


def swapped(data: bytes) -> bytes:
    """Two packets of pictures change places; their headers, so also the counters, stay where they were."""
    plain = [
        at
        for at in range(0, len(data), ts.PACKET)
        if ts.pid_of(data, at) == VIDEO and not data[at + 1] & 0x40 and not data[at + 3] & 0x20
    ]
    one, other = plain[20], plain[31]
    changed = bytearray(data)
    changed[one + 4 : one + ts.PACKET] = data[other + 4 : other + ts.PACKET]
    changed[other + 4 : other + ts.PACKET] = data[one + 4 : one + ts.PACKET]
    return bytes(changed)


def from_another(change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """What ffmpeg makes is of other media, of as many packets and as long."""
    make = remux._make

    def made(order: remux.Order, *rest: Any) -> None:
        other = order.source.with_name("other.ts")
        other.write_bytes(change(order.source.read_bytes()))
        try:
            make(order._replace(source=other), *rest)
        finally:
            other.unlink()

    monkeypatch.setattr(remux, "_make", made)


@pytest.mark.parametrize("change", [corrupted, mistimed, swapped])
def test_another_byte_time_or_order_is_noticed(
    tmp_path: Path, transport: Source, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    data = transport.capture(*range(SECONDS))
    assert len(change(data)) == len(data)
    assert change(data) != data
    from_another(change, monkeypatch)
    spec = write(tmp_path, data)
    assert JoinProgram(spec).run()
    [note] = report(spec)["notes"]
    assert note.startswith("joined.ts stays a transport stream: the MP4 would lack something: ")
    assert (tmp_path / "joined.ts").read_bytes() == data
    assert names(tmp_path) == ["joined.ts", "report.json"]


def with_others(data: bytes) -> tuple[bytes, bytes]:
    """The same with a stream that no table names in it, and that stream alone."""
    found, others = bytearray(), bytearray()
    for count, at in enumerate(range(0, len(data), 400 * ts.PACKET)):
        one = packet(NOBODY, count, b"\0\xfc" + bytes([count & 0xFF]) * 50, is_start=count % 3 == 0)
        found += data[at : at + 400 * ts.PACKET] + one
        others += one
    return bytes(found), bytes(others)


def box_of(path: Path) -> bytes:
    with FileSource.opened(path) as source:
        [box] = [box for box in fmp4.boxes(source) if box.kind == b"uuid"]
        assert box.end == source.size
        assert source.read(box.start + 16, 16) == same_media.OTHERS
        return source.read(box.start + 32, box.end - box.start - 32)


def test_what_has_no_track_is_in_a_box_of_its_own(tmp_path: Path, transport: Source) -> None:
    data, others = with_others(transport.capture(*range(SECONDS)))
    spec = write(tmp_path, data)
    assert JoinProgram(spec).run()
    made = tmp_path / "joined.mp4"
    assert (report(spec)["path"], report(spec)["notes"]) == (str(made), [])
    assert names(tmp_path) == ["joined.mp4", "report.json"]
    assert box_of(made) == others
    assert len(pictures(made)) == SECONDS * FPS
    assert inspect_file(str(made)).soundness is Soundness.SOUND
    assert JoinProgram(spec).run()
    assert report(spec)["path"] == str(made)


@pytest.mark.parametrize("lost", [1, 0], ids=["a packet of it", "all of it"])
def test_an_mp4_that_lacks_some_of_it_is_none(
    tmp_path: Path, transport: Source, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    data, _ = with_others(transport.capture(*range(SECONDS)))
    append = remux._append_others

    def put(media: FileSource, pids: set[int], target: int) -> None:
        copy = tmp_path / "copy"
        places = [at for at in range(0, len(data), ts.PACKET) if ts.pid_of(data, at) == NOBODY]
        at = places[5]
        copy.write_bytes(data[:at] + data[at + ts.PACKET :])
        with FileSource.opened(copy) as other:
            append(other, pids, target)
        copy.unlink()

    monkeypatch.setattr(remux, "_append_others", put if lost else lambda *_: None)
    spec = write(tmp_path, data)
    assert JoinProgram(spec).run()
    [note] = report(spec)["notes"]
    assert note == f"joined.ts stays a transport stream: the MP4 would lack what PID {NOBODY} has"
    assert (tmp_path / "joined.ts").read_bytes() == data


@pytest.mark.parametrize(
    ("video", "audio"),
    [
        (("libx265", "-x265-params", "log-level=none"), ("aac",)),
        (("mpeg2video",), ("mp2",)),
        (("libx264", "-bf", "0"), ("ac3",)),
        (("libx264",), ("libmp3lame",)),
    ],
    ids=["HEVC", "MPEG-2", "AC-3", "MP3"],
)
def test_streams_of_other_codecs_are_proven_too(
    tmp_path: Path, transport: Source, video: tuple[str, ...], audio: tuple[str, ...]
) -> None:
    before, after = tmp_path / "before.ts", tmp_path / "segment_001.ts"
    before.write_bytes(transport.capture(0, 1, 2))
    ffmpeg("-i", before, "-c:v", *video, "-c:a", *audio, "-f", "mpegts", after)
    before.unlink()
    data = after.read_bytes()
    spec = write(tmp_path, data)
    assert JoinProgram(spec).run()
    made = tmp_path / "joined.mp4"
    assert (report(spec)["path"], report(spec)["notes"]) == (str(made), [])
    whole = tmp_path / "whole.ts"
    whole.write_bytes(data)
    assert pictures(made) == pictures(whole)
    assert len(sound(made)) > 10
