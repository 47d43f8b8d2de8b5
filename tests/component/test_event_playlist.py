# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording is played while it goes on: ffmpeg reads every picture once, through rotations and deaths."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamvaultd.media.event_playlist import EventPlaylist, Unplayable
from tests.component.test_join_media import FPS, SECONDS, Source, ffmpeg, fragmented, transport, wrapping

__all__ = ["fragmented", "transport", "wrapping"]

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine


@dataclass
class Growing:
    """The files of a recording in a folder, and its playlist, which is written anew whenever there is more."""

    folder: Path
    playlist: EventPlaylist = field(default_factory=EventPlaylist)
    over: list[bool] = field(default_factory=list)

    def begin(self, data: bytes = b"") -> int:
        self.over.append(False)
        self.path(len(self.over)).write_bytes(data)
        return len(self.over)

    def path(self, number: int) -> Path:
        return self.folder / f"segment_{number:03d}.ts"

    def write(self, number: int, data: bytes) -> None:
        """In pieces that end anywhere, as streamlink writes, with a look after each."""
        with self.path(number).open("ab", buffering=0) as file:
            for at in range(0, len(data), 60_001):
                file.write(data[at : at + 60_001])
                self.look()

    def end(self, number: int) -> None:
        self.over[number - 1] = True
        self.look()

    def look(self, *, is_complete: bool = False) -> None:
        paths = [self.path(number) for number in range(1, len(self.over) + 1)]
        before = list(self.playlist.entries)
        with ExitStack() as stack:
            opened = [stack.enter_context(path.open("rb")) for path in paths]
            is_more = self.playlist.look([file.fileno() for file in opened], self.over, is_complete=is_complete)
        assert self.playlist.entries[: len(before)] == before
        if is_more:
            draft = self.folder / "draft"
            draft.write_text(self.playlist.text([path.name for path in paths]))
            draft.rename(self.m3u8)

    @property
    def m3u8(self) -> Path:
        return self.folder / "live.m3u8"


def pictures(path: Path) -> list[str]:
    lines = ffmpeg("-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def whole(folder: Path, source: Source) -> list[str]:
    path = folder / "whole.ts"
    path.write_bytes(source.capture(*range(SECONDS)))
    return pictures(path)


def record(growing: Growing, source: Source) -> None:
    """Rotated, killed in the middle of a media segment, both again; each time the window reaches back."""
    first = growing.begin(source.header)
    growing.write(first, source.capture(*range(5))[len(source.header) :])
    second = growing.begin()
    growing.write(second, source.capture(3, 4))
    growing.write(first, source.segments[5])
    growing.write(second, source.segments[5])
    growing.end(first)
    growing.write(second, source.segments[6])
    growing.write(second, source.segments[7][: len(source.segments[7]) // 2])
    growing.end(second)
    third = growing.begin()
    growing.write(third, source.capture(5, 6, 7, 8, 9))
    fourth = growing.begin()
    growing.write(fourth, source.capture(8, 9, 10))
    growing.end(third)
    growing.write(fourth, source.segments[11][: len(source.segments[11]) // 3])
    growing.end(fourth)
    fifth = growing.begin()
    growing.write(fifth, source.capture(*range(10, SECONDS)))
    growing.end(fifth)
    growing.look(is_complete=True)


@pytest.mark.parametrize("name", ["transport", "wrapping", "fragmented"])
def test_every_picture_is_read_once(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    source: Source = request.getfixturevalue(name)
    growing = Growing(tmp_path)
    record(growing, source)
    text = growing.m3u8.read_text()
    assert "DISCONTINUITY" not in text
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert pictures(growing.m3u8) == whole(tmp_path, source)
    assert sum(entry.piece.seconds for entry in growing.playlist.entries) == pytest.approx(SECONDS, abs=0.5)


def test_a_player_that_follows_gets_what_comes(tmp_path: Path, transport: Source) -> None:
    """It is there from the first entry on, and reads on to the end, which it is told of."""
    growing = Growing(tmp_path)
    growing.write(growing.begin(), transport.capture(0, 1, 2))
    command = ["ffmpeg", "-nostdin", "-v", "error", "-live_start_index", "0", "-i", str(growing.m3u8), "-map", "0:v"]
    command += ["-fps_mode", "passthrough", "-f", "framemd5", "-flush_packets", "1", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as player:
        assert player.stdout is not None
        read = [line for _, line in zip(range(FPS), player.stdout, strict=False)]
        growing.write(1, transport.segments[3])
        growing.end(1)
        growing.write(growing.begin(), transport.capture(*range(2, SECONDS)))
        growing.end(2)
        growing.look(is_complete=True)
        read += list(player.stdout)
    assert player.returncode == 0
    assert [line.split(",")[5].strip() for line in read if not line.startswith("#")] == [
        each.strip() for each in whole(tmp_path, transport)
    ]


@pytest.mark.parametrize("name", ["transport", "fragmented"])
@pytest.mark.parametrize(("back", "seconds"), [(100_000, range(7, 10)), (1 << 40, range(15, 16))])
def test_of_what_is_long_ago_nothing_is_listed(
    tmp_path: Path, name: str, back: int, seconds: range, request: pytest.FixtureRequest
) -> None:
    """The list begins with a key frame, and has everything from there on."""
    source: Source = request.getfixturevalue(name)
    growing = Growing(tmp_path)
    first, second = growing.begin(source.capture(0, 1)), growing.begin(source.capture(*range(1, 9)))
    growing.over[first - 1] = True
    growing.playlist.begin_with(1, back)
    growing.write(second, b"".join(source.segments[9:]))
    growing.end(second)
    growing.look(is_complete=True)
    shown = pictures(growing.m3u8)
    assert shown == whole(tmp_path, source)[-len(shown) :]
    assert len(shown) % FPS == 0
    assert len(shown) // FPS in seconds


def test_what_is_missing_between_two_files_is_said(tmp_path: Path, transport: Source) -> None:
    growing = Growing(tmp_path)
    for seconds in (range(4), range(10, SECONDS)):
        number = growing.begin()
        growing.write(number, transport.capture(*seconds))
        growing.end(number)
    growing.look(is_complete=True)
    assert growing.m3u8.read_text().count("#EXT-X-DISCONTINUITY") == 1
    assert len(pictures(growing.m3u8)) == 10 * FPS


def test_a_file_whose_media_are_in_the_one_before_adds_nothing(tmp_path: Path, transport: Source) -> None:
    growing = Growing(tmp_path)
    for seconds in (range(8), range(5, 7), range(6, SECONDS)):
        number = growing.begin()
        growing.write(number, transport.capture(*seconds))
        growing.end(number)
    growing.end(growing.begin())
    growing.look(is_complete=True)
    assert pictures(growing.m3u8) == whole(tmp_path, transport)


@pytest.mark.parametrize("data", [b"\x1a\x45\xdf\xa3" + bytes(200_000), bytes(200_000)], ids=["matroska", "noise"])
def test_what_is_read_from_its_start_alone_is_refused(tmp_path: Path, data: bytes) -> None:
    growing = Growing(tmp_path)
    with pytest.raises(Unplayable, match="from its start alone"):
        growing.write(growing.begin(), data)
