# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the first bytes of streams that are to be muxed: the format that holds them."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from streamvaultd.recording.streamlink import mux
from streamvaultd.recording.streamlink.command import MUXER, Version, config_text
from tests.unit.test_media_fragments import box

ANY = ("mpegts", "mp4", "matroska")
NO_TS = ("mp4", "matroska")
ASKED = ["-y", "-i", "a", "-i", "b", "-copyts", "-f", "mpegts", "pipe:1"]
TS = b"\x47\x40\x00\x10" + bytes(184) + b"\x47"


def mp4(*entries: bytes) -> bytes:
    """A header with one track for each of these codecs."""
    tables = (box(b"stsd", bytes(8), box(entry, bytes(40))) for entry in entries)
    tracks = (box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", table)))) for table in tables)
    return box(b"ftyp", b"iso6") + box(b"moov", box(b"mvhd", bytes(40)), *tracks)


def webm(*codecs: bytes) -> bytes:
    """As far as the first cluster."""
    return mux.EBML + b"...webm..." + b"\x86\x85".join(codecs) + mux.CLUSTER


@pytest.mark.parametrize(
    ("data", "held"),
    [
        (TS, ANY),
        (b"\xff\xf1\x50\x80" + bytes(100), ANY),
        (b"ID3\x04" + bytes(100), ANY),
        (mp4(b"avc1"), ANY),
        (mp4(b"hvc1", b"mp4a"), ANY),
        (mp4(b"av01"), NO_TS),
        (mp4(b"vp09", b"mp4a"), NO_TS),
        (mp4(b"Opus"), NO_TS),
        (mp4(b"encv"), NO_TS),
        (mp4(), NO_TS),
        (webm(b"V_VP9", b"A_OPUS"), NO_TS),
        (webm(b"V_VP8"), ("matroska",)),
        (webm(b"V_VP9", b"A_VORBIS"), ("matroska",)),
        (b"WEBVTT\n\n00:00", ("matroska",)),
        (mp4(b"av01")[:60], ()),
        (webm(b"V_VP9")[:9], ()),
        (b"", ()),
    ],
)
def test_the_first_bytes_tell_which_formats_hold_a_stream(data: bytes, held: tuple[str, ...]) -> None:
    assert mux.formats(data) == held


def test_a_header_that_does_not_end_is_held_by_what_holds_all() -> None:
    endless = box(b"ftyp", b"iso6") + (1 << 30).to_bytes(4, "big") + b"moov"
    assert mux.formats(endless + bytes(mux.LOOK)) == NO_TS
    assert mux.formats(mux.EBML + bytes(mux.LOOK)) == NO_TS


@pytest.mark.parametrize(
    ("held", "wanted"), [([ANY, ANY], "mpegts"), ([ANY, NO_TS], "mp4"), ([NO_TS, ("matroska",)], "matroska")]
)
def test_the_format_is_one_that_holds_all_inputs(held: list[tuple[str, ...]], wanted: str) -> None:
    options = mux.muxing(ASKED, held)
    assert options[:6] == ASKED[:6]
    assert options[-3:] == ["-f", wanted, "pipe:1"]
    assert ("-frag_duration" in options) is (wanted == "mp4")


def test_an_administrator_who_chooses_a_format_or_another_ffmpeg_has_it() -> None:
    ours, muxer = f"ffmpeg-ffmpeg={MUXER}\n", str(MUXER)
    text = config_text(Version(8, 6, 3), "http://host/x", "best", muxer=muxer)
    assert ours in text
    assert "ffmpeg-no-validation\n" in text
    assert "ffmpeg-ffmpeg" not in config_text(Version(8, 6, 3), "http://host/x", "best")
    for option in (("ffmpeg-fout", "matroska"), ("ffmpeg-ffmpeg", "/opt/ffmpeg")):
        text = config_text(Version(8, 6, 3), "http://host/x", "best", [option], muxer=muxer)
        assert ours not in text
        assert "ffmpeg-fout=mpegts" not in text
        assert "ffmpeg-no-validation" not in text


def test_streamlink_can_start_it() -> None:
    assert MUXER.stat().st_mode & stat.S_IXOTH


class Become(Exception):
    """Instead of another program."""


def become(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> list[str]:
    """What ffmpeg is given."""

    def execute(_program: str, argv: list[str]) -> None:
        raise Become(argv[1:])

    monkeypatch.setattr(os, "execvp", execute)
    with pytest.raises(Become) as raised:
        mux.main(options)
    found: list[str] = raised.value.args[0]
    return found


def test_nothing_is_taken_out_of_the_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pipes are looked at until both have told, in whatever pieces it comes; ffmpeg reads from the first byte."""
    sent = {"v": mp4(b"av01") + bytes(5000), "a": mp4(b"mp4a") + bytes(10)}
    threads = []
    for name, data in sent.items():
        os.mkfifo(tmp_path / name)
        threads.append(threading.Thread(target=_send, args=(tmp_path / name, data)))
        threads[-1].start()
    words = ["-i", str(tmp_path / "v"), "-i", str(tmp_path / "a"), "-f", "mpegts", "pipe:1"]
    options = become(monkeypatch, words)
    assert options[-3:] == ["-f", "mp4", "pipe:1"]
    for at, data in ((1, sent["v"]), (3, sent["a"])):
        fd = int(options[at].removeprefix("pipe:"))
        assert os.get_inheritable(fd)
        with open(fd, "rb") as pipe:
            assert pipe.read() == data
    for thread in threads:
        thread.join()


def _send(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as pipe:
        for byte in data[:200]:
            pipe.write(bytes([byte]))
        pipe.write(data[200:])


@pytest.mark.parametrize("options", [["-version"], [*ASKED[:-2], "matroska", "pipe:1"], ASKED])
def test_what_is_no_muxing_of_pipes_is_ffmpegs(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert become(monkeypatch, options) == options
