# SPDX-License-Identifier: GPL-3.0-or-later
"""An MP4 of a joined transport stream: the same pictures and sound, and nothing is given up for less."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.jobs.join import remux
from streamvaultd.jobs.join.main import JoinProgram
from streamvaultd.jobs.join.passes import MOVED, READ, WRITTEN, Passes, PassWatch
from streamvaultd.jobs.join.spec import Spec
from streamvaultd.media import ts
from streamvaultd.media.chapters import Chapter
from tests.component.test_join_media import FPS, SECONDS, Source, ffmpeg, make_source, transport, wrapping
from tests.odd.change import behind_a_picture

__all__ = ["transport", "wrapping"]

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine


class Stopped(Exception):
    """The job is killed at this point."""


def write(folder: Path, *captures: bytes) -> Spec:
    paths = tuple(folder / f"segment_{number:03d}.ts" for number in range(1, len(captures) + 1))
    for path, data in zip(paths, captures, strict=True):
        path.write_bytes(data)
    return Spec(recording=1, segments=paths, output=folder / "joined", report=folder / "report.json", mp4=True)


def report(spec: Spec) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec.report.read_text())
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("segment"))


def pictures(path: Path) -> list[str]:
    lines = ffmpeg("-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def sound(path: Path) -> list[str]:
    """Checksums of the packets, without the header that each has in a transport stream only."""
    strip = () if path.suffix == ".mp4" else ("-bsf:a", "aac_adtstoasc")
    lines = ffmpeg("-i", path, "-map", "0:a", "-c", "copy", *strip, "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5] for line in lines if not line.startswith("#")]


def index_comes_first(path: Path) -> bool:
    data = path.read_bytes()
    return data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ["transport", "wrapping"])
def test_the_joined_file_is_an_mp4_of_the_same_pictures_and_sound(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    source: Source = request.getfixturevalue(name)
    steps: list[tuple[int, int]] = []
    spec = write(tmp_path, source.capture(*range(9)), source.capture(*range(6, SECONDS)))
    assert JoinProgram(spec, progress=lambda *step: steps.append(step)).run()
    made = tmp_path / "joined.mp4"
    assert names(tmp_path) == ["joined.mp4", "report.json"]
    assert (report(spec)["path"], report(spec)["bytes"]) == (str(made), made.stat().st_size)
    assert (report(spec)["parts"][0]["path"], report(spec)["notes"]) == (str(made), [])
    whole = tmp_path / "whole.ts"
    whole.write_bytes(source.capture(*range(SECONDS)))
    assert pictures(made) == pictures(whole)
    assert len(pictures(made)) == SECONDS * FPS
    assert sound(made) == sound(whole)
    assert index_comes_first(made)
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


def test_a_gap_stays_as_long_as_it_was(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, transport.capture(0, 1), transport.capture(14, 15))
    assert JoinProgram(spec).run()
    assert report(spec)["path"] == str(tmp_path / "joined.mp4")
    made = str(tmp_path / "joined.mp4")
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", made]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert float(shown) == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.parametrize("at", ["published", "remuxed", "report"])
def test_a_job_that_is_killed_makes_the_same_file_the_next_time(tmp_path: Path, transport: Source, at: str) -> None:
    def stop(step: str) -> None:
        if step == at:
            raise Stopped

    spec = write(tmp_path, transport.capture(*range(9)), transport.capture(*range(6, SECONDS)))
    with pytest.raises(Stopped):
        JoinProgram(spec, reached=stop).run()
    assert JoinProgram(spec).run()
    assert names(tmp_path) == ["joined.mp4", "report.json"]
    assert len(pictures(tmp_path / "joined.mp4")) == SECONDS * FPS


def stays(spec: Spec) -> str:
    """Why the joined file is a transport stream after all."""
    assert report(spec)["ok"]
    assert report(spec)["path"].endswith("joined.ts")
    assert len(pictures(Path(report(spec)["path"]))) == SECONDS * FPS
    [note] = report(spec)["notes"]
    start = "joined.ts stays a transport stream: "
    assert note.startswith(start)
    return str(note.removeprefix(start))


def test_without_ffmpeg_it_stays(tmp_path: Path, transport: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        assert JoinProgram(spec).run()
    assert stays(spec) == "ffmpeg is not installed"
    assert names(tmp_path) == ["joined.ts", "report.json"]


def test_it_is_not_tried_again_by_a_join_that_was_ended_with_it(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    (tmp_path / ".joined.mp4.part").write_bytes(b"as far as it came")
    assert JoinProgram(replace(spec, tries=2)).run()
    assert stays(spec) == (
        "an earlier try of the join did not come through, perhaps for want of memory: "
        "job_memory_max is 512.0M; raise it in [limits], or for this streamer alone"
    )
    assert names(tmp_path) == ["joined.ts", "report.json"]


def test_whatever_an_earlier_try_fell_over_is_not_asked_again(
    tmp_path: Path, transport: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the program, which no report tells, costs the MP4 and not the recording's result."""
    spec = write(tmp_path, transport.capture(*range(SECONDS)))

    def falls(_source: Path) -> None:
        raise KeyError("id")

    monkeypatch.setattr(remux, "_require_constancy", falls)
    with pytest.raises(KeyError):
        JoinProgram(spec).run()
    assert JoinProgram(replace(spec, tries=2)).run()
    assert stays(spec).startswith("an earlier try of the join did not come through")
    assert names(tmp_path) == ["joined.ts", "report.json"]


def test_a_png_before_each_media_segment_is_no_picture_of_it(tmp_path: Path, transport: Source) -> None:
    """ffprobe told of a picture without any PID, and the join ended there each time that it was tried."""
    spec = write(tmp_path, b"".join(behind_a_picture(transport.capture(number)) for number in range(SECONDS)))
    assert JoinProgram(spec).run()
    made, whole = tmp_path / "joined.mp4", tmp_path / "whole.ts"
    whole.write_bytes(transport.capture(*range(SECONDS)))
    assert report(spec)["path"] == str(made)
    assert pictures(made) == pictures(whole)
    assert sound(made) == sound(whole)


def made_with(folder: Path, transport: Source, duration_ms: int, *chapters: Chapter) -> Path:
    """The MP4 of a transport stream that was planned to last so long."""
    source = folder / "joined.ts"
    source.write_bytes(transport.capture(*range(SECONDS)))
    return remux.to_mp4(source, duration_ms, reserve=0, memory=1 << 29, moved=lambda _: None, chapters=chapters)


def test_chapters_beyond_what_a_pipe_holds_are_all_there(
    tmp_path: Path, transport: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to write them while ffmpeg, which takes its time, has not begun to read."""
    monkeypatch.setattr(remux, "WRITE_OUT", 0.001)
    chapters = [Chapter(number * 10, f"{number} {'x' * 900}") for number in range(200)]
    made = made_with(tmp_path, transport, SECONDS * 1000, *chapters)
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-show_chapters", "-of", "json", made], check=True, capture_output=True, text=True
    )
    assert [each["tags"]["title"] for each in json.loads(told.stdout)["chapters"]] == [each.text for each in chapters]


def test_chapters_do_not_make_an_mp4_longer_than_its_media(tmp_path: Path, transport: Source) -> None:
    """ffmpeg says that the file lasts as long as the track that has their names, which was made for the plan."""
    planned = SECONDS * 1000 + 5000
    with pytest.raises(remux.KeptAsReceived, match=f"the MP4 would last .* ms, and not {planned}"):
        made_with(tmp_path, transport, planned, Chapter(0, "first"), Chapter(1000, "second"))
    assert names(tmp_path) == ["joined.ts"]


def test_without_room_it_stays(tmp_path: Path, transport: Source) -> None:
    whole = tmp_path / "whole.ts"
    whole.write_bytes(transport.capture(*range(SECONDS)))
    with pytest.raises(remux.KeptAsReceived, match="no room"):
        remux.to_mp4(whole, SECONDS * 1000, reserve=1 << 60, memory=1 << 30, moved=lambda _: None)
    assert names(tmp_path) == ["whole.ts"]


def test_ffmpeg_that_needs_more_memory_than_the_job_has_is_given_up(tmp_path: Path, transport: Source) -> None:
    whole = tmp_path / "whole.ts"
    whole.write_bytes(transport.capture(*range(SECONDS)))
    with pytest.raises(
        remux.KeptAsReceived, match=r"^ffmpeg had too little memory: job_memory_max is 1\.0M; raise it in \[limits"
    ):
        remux.to_mp4(whole, SECONDS * 1000, reserve=0, memory=1 << 20, moved=lambda _: None)
    assert names(tmp_path) == ["whole.ts"]


TOO_LITTLE = "ffmpeg had too little memory: job_memory_max is 512.0M; raise it in [limits], or for this streamer alone"


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (1, "[mp4 @ 0x55d5c8] Could not find tag\n[out#0/mp4 @ 0x5] Nothing was written.\nConversion failed!\n",
         "ffmpeg could not do it: Nothing was written"),
        (1, "[mov,mp4,m4a @ 0x5] av_malloc: Cannot allocate memory\nConversion failed!\n",
         TOO_LITTLE),
        (-9, "", TOO_LITTLE),
        (-11, "\n", "ffmpeg could not do it: it ended with status -11"),
    ],
)  # fmt: skip
def test_the_note_says_in_one_line_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str, told: str
) -> None:
    """What ffmpeg says beside that (lines, addresses of its parts) is for its programmers."""
    script = tmp_path / "ffmpeg"
    script.write_text(f"#!/bin/sh\nprintf '%s' {shlex.quote(said)} >&2\n" + _ending(status))
    script.chmod(0o755)
    (tmp_path / "whole.ts").write_bytes(b"media")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    order = remux.Order(tmp_path / "whole.ts", tmp_path / "part", (), 0, reserve=0, memory=512 << 20)
    with pytest.raises(remux.KeptAsReceived) as caught:
        remux._make(order, (), Passes(5, lambda _: None))
    assert str(caught.value) == told


def _ending(status: int) -> str:
    return f"exit {status}\n" if status > 0 else f"kill -{-status} $$\n"


def test_the_bar_goes_through_all_passes(tmp_path: Path) -> None:
    """A file is written, and then moved up by the length of its index: no step stands still, none goes back."""
    data = bytes(at * 37 % 251 for at in range(1 << 20))
    told: list[int] = []
    with (tmp_path / "part").open("w+b", buffering=0) as file:
        passes = Passes(len(data), told.append)
        passes.at(READ)
        looks = PassWatch(file.fileno(), len(data), passes)
        reached = []
        for at in range(0, len(data), 1 << 16):
            file.write(data[at : at + (1 << 16)])
            looks.look()
            reached.append(sum(told) / len(data))
        assert reached[-1] == pytest.approx(WRITTEN, abs=0.01)
        for at in range(0, len(data), 1 << 16):
            os.pwrite(file.fileno(), data[at : at + (1 << 16)], at + 1000)
            looks.look()
            reached.append(sum(told) / len(data))
        assert reached[-1] == pytest.approx(MOVED, abs=0.01)
    assert all(later > earlier for earlier, later in itertools.pairwise(reached))
    passes.end()
    assert sum(told) == len(data)


def test_another_file_of_that_name_is_left(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    (tmp_path / "joined.mp4").write_bytes(b"a holiday film")
    assert JoinProgram(spec).run()
    assert "cannot read joined.mp4" in stays(spec)
    assert (tmp_path / "joined.mp4").read_bytes() == b"a holiday film"


def test_an_mp4_with_less_in_it_is_not_accepted(tmp_path: Path, transport: Source) -> None:
    assert JoinProgram(write(tmp_path, transport.capture(*range(SECONDS - 1)))).run()
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    assert JoinProgram(spec).run()
    assert "the MP4 would la" in stays(spec)


def test_what_an_encoder_that_begins_anew_has_sent_is_all_there(tmp_path: Path, transport: Source) -> None:
    """Its clock is set back in the middle."""
    folder = tmp_path / "again"
    folder.mkdir()
    again = make_source(folder, "mpegts", 5.0)
    spec = write(tmp_path, transport.capture(*range(SECONDS)) + again.capture(*range(SECONDS)))
    assert JoinProgram(spec).run()
    assert report(spec)["ok"]
    made = Path(report(spec)["path"])
    assert len(pictures(made)) == 2 * SECONDS * FPS


def moved_by(source: Source, seconds: float, folder: Path) -> bytes:
    """All of the broadcast, its clock so far ahead."""
    before, after = folder / "moved.ts", folder / "by.ts"
    before.write_bytes(source.capture(*range(SECONDS)))
    offset = ("-output_ts_offset", str(seconds))
    ffmpeg("-i", before, "-copyts", "-c", "copy", *offset, "-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts", after)
    try:
        return after.read_bytes()
    finally:
        before.unlink()
        after.unlink()


@pytest.mark.parametrize("seconds", [7200, -1.0])
def test_media_of_two_clocks_last_as_long_as_they_are_shown(tmp_path: Path, transport: Source, seconds: float) -> None:
    """An encoder that begins anew, its clock two hours ahead, or nearly where it was in the beginning."""
    again = moved_by(transport, seconds, tmp_path)
    spec = write(tmp_path, transport.capture(*range(SECONDS)) + again)
    assert JoinProgram(spec).run()
    assert report(spec)["durationMs"] == pytest.approx(2 * SECONDS * 1000, abs=300)
    made = Path(report(spec)["path"])
    assert (made.name, report(spec)["notes"]) == ("joined.mp4", [])
    assert len(pictures(made)) == 2 * SECONDS * FPS
    shown = ffmpeg("-i", made, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-").splitlines()
    scale = next(line.split()[-1] for line in shown if line.startswith("#tb 0"))
    numerator, denominator = map(int, scale.split("/"))
    last = int(shown[-1].split(",")[2]) * numerator / denominator
    assert last == pytest.approx(2 * SECONDS, abs=1)


def test_pictures_that_ffmpeg_does_not_know_are_not_given_up(tmp_path: Path, transport: Source) -> None:
    """As AV1 in a transport stream: the table calls the pictures private data."""
    unknown = as_private(transport.capture(*range(SECONDS)))
    spec = write(tmp_path, unknown)
    assert JoinProgram(spec).run()
    assert (tmp_path / "joined.ts").read_bytes() == unknown
    [note] = report(spec)["notes"]
    assert "ffmpeg does not know what the streams of PID 256 are" in note
    assert names(tmp_path) == ["joined.ts", "report.json"]


def as_private(data: bytes) -> bytes:
    """The same stream; its units of pictures are of a type and a kind that no one knows."""
    changed = bytearray(data)
    for at in range(0, len(data), ts.PACKET):
        pid, start = ts.pid_of(data, at), ts.payload_at(data, at)
        if pid == 0x1000:
            section = changed[start + 1 : start + 4 + (data[start + 2] & 0x0F) * 256 + data[start + 3] - 4]
            place = section.index(b"\x1b\xe1\x00")
            section[place] = 0x06
            changed[start + 1 : start + 1 + len(section)] = section
            check = crc_of(bytes(section)).to_bytes(4, "big")
            changed[start + 1 + len(section) : start + 5 + len(section)] = check
        elif pid == 256 and start > 0:
            begins = data[at + 1] & 0x40 and data[start : start + 3] == b"\0\0\1"
            changed[start + 3] = 0xBD if begins else changed[start + 3]
            body = start + 9 + data[start + 8] if begins else start
            changed[body : at + ts.PACKET] = bytes(byte ^ 0xA5 for byte in data[body : at + ts.PACKET])
    return bytes(changed)


def crc_of(section: bytes) -> int:
    """The checksum of tables (ISO/IEC 13818-1, annex A)."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return crc


def test_a_picture_that_is_shown_hours_late_makes_no_mp4_of_hours(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, late_picture(transport.capture(*range(SECONDS))))
    assert JoinProgram(spec).run()
    assert report(spec)["durationMs"] == pytest.approx(SECONDS * 1000, abs=300)
    assert "is to be shown 9000 s after it is decoded" in stays(spec)


def late_picture(data: bytes) -> bytes:
    """The same stream; one picture, in the middle, is to be shown 2.5 hours after it is decoded."""
    changed = bytearray(data)
    for at in range(len(data) // 2 // ts.PACKET * ts.PACKET, len(data), ts.PACKET):
        start = ts.payload_at(data, at)
        if ts.pid_of(data, at) != 256 or data[start : start + 3] != b"\0\0\1" or data[start + 7] >> 6 != 3:
            continue
        old = data[start + 9 : start + 14]
        ticks = (old[0] >> 1 & 7) << 30 | old[1] << 22 | old[2] >> 1 << 15 | old[3] << 7 | old[4] >> 1
        ticks += 9000 * 1000 * ts.TICKS_PER_MS
        new = [
            0x31 | ticks >> 30 << 1,
            ticks >> 22 & 255,
            ticks >> 14 & 254 | 1,
            ticks >> 7 & 255,
            ticks << 1 & 254 | 1,
        ]
        changed[start + 9 : start + 14] = bytes(new)
        return bytes(changed)
    raise AssertionError("no picture has two times")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-c", "copy", "-mpegts_start_pid", "512"), id="streams that begin later"),
        pytest.param(("-c:v", "copy", "-c:a", "aac", "-ar", "44100"), id="sound of another rate"),
    ],
)
def test_what_ffmpeg_would_leave_out_or_call_something_else_stays(
    tmp_path: Path, transport: Source, options: tuple[str, ...]
) -> None:
    """As an advertisement, its clock that of the show."""
    before, after = tmp_path / "before.ts", tmp_path / "after.ts"
    before.write_bytes(transport.capture(*range(8, SECONDS)))
    ffmpeg("-i", before, "-copyts", "-muxdelay", "0", "-muxpreload", "0", *options, "-f", "mpegts", after)
    other = after.read_bytes()
    before.unlink()
    after.unlink()
    first = transport.capture(*range(8))
    spec = write(tmp_path, first + other)
    assert JoinProgram(spec).run()
    assert "change at byte" in stays(spec)
    assert (tmp_path / "joined.ts").read_bytes() == first + other
