# SPDX-License-Identifier: GPL-3.0-or-later
"""MP4 files with an index, as ffmpeg writes them, whole, cut, and with an index that lies."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from streamvaultd.media.inspect import Soundness, inspect
from streamvaultd.media.plan import plan_join
from streamvaultd.media.splice import Splice
from tests.component.test_join_media import ffmpeg
from tests.fakes.ctl import FakeDaemon, run
from tests.fakes.memory import BytesSource

SECONDS = 4


@pytest.fixture(scope="module", params=["+faststart", "+write_colr"], ids=["index first", "index last"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = tmp_path_factory.mktemp("film") / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=192x108:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"),
        *(
            "-t",
            str(SECONDS),
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-c:a",
            "aac",
            "-movflags",
            request.param,
            path,
        ),
    )
    return path.read_bytes()


def planned(*captures: bytes) -> list[bytes]:
    """The parts that a join makes of captures."""
    sources = [BytesSource(data) for data in captures]
    return [Splice(sources, plan.pieces).read(0, plan.size) for plan in plan_join(sources)]


def test_a_whole_file_is_sound_and_its_length_is_known(film: bytes) -> None:
    found = inspect(BytesSource(film))
    assert (found.soundness, found.problems) == (Soundness.SOUND, [])
    assert found.duration_ms == pytest.approx(SECONDS * 1000, abs=50)


def test_what_is_cut_off_is_told(film: bytes) -> None:
    found = inspect(BytesSource(film[: len(film) * 2 // 3]))
    assert found.soundness is not Soundness.SOUND
    assert found.problems
    missing = [problem.offset for problem in found.problems if problem.kind == "missing"]
    assert all(offset > len(film) // 2 for offset in missing)


def test_a_join_keeps_it_whole_and_torn_ones_as_far_as_they_go(film: bytes) -> None:
    torn = film[: len(film) * 2 // 3]
    assert planned(film) == [film]
    assert planned(torn) == [torn]
    assert planned(torn, film) == [film]
    assert planned(film, torn) == [film]
    other = film[:-1] + b"?"
    assert planned(film, other) == [film, other]


def test_media_that_were_cut_out_are_told_with_their_place(film: bytes) -> None:
    at = film.index(b"mdat") - 4
    size = int.from_bytes(film[at : at + 4], "big")
    less = 5000
    film = film[:at] + (size - less).to_bytes(4, "big") + film[at + 4 : at + size - less] + film[at + size :]
    found = inspect(BytesSource(film))
    assert found.soundness is Soundness.DAMAGED
    assert {problem.kind for problem in found.problems} == {"missing"}


def test_an_index_may_say_what_it_likes(film: bytes) -> None:
    """Whatever is wrong with it, there is an answer, soon."""
    start = film.index(b"moov")
    end = start + int.from_bytes(film[start - 4 : start], "big")
    for seed in range(300):
        dice = random.Random(seed)  # noqa: S311
        damaged = bytearray(film)
        for _ in range(dice.randint(1, 20)):
            damaged[dice.randrange(start, end - 4)] = dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))
        assert inspect(BytesSource(bytes(damaged))).soundness in Soundness


def test_a_decoder_looks_at_a_file_whatever_it_is_called(
    film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("12:30.mp4").write_bytes(film)
    assert run(FakeDaemon(), "verify", "--decode", "12:30.mp4").code == 0
    middle = film.index(b"mdat") + 4000
    Path("-y.mp4").write_bytes(film[:middle] + bytes(2000) + film[middle + 2000 :])
    ran = run(FakeDaemon(), "verify", "--decode", "./-y.mp4")
    assert ran.code == 1
    assert "decoder: " in ran.out


def test_a_decoder_reads_the_file_that_it_is_given_and_no_other(
    film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded may be a list of files, which ffmpeg follows."""
    monkeypatch.chdir(tmp_path)
    Path("other.mp4").write_bytes(film)
    Path("list.ts").write_text("ffconcat version 1.0\nfile other.mp4\n")
    plain = ["ffmpeg", "-nostdin", "-v", "error", "-i", "list.ts", "-f", "null", "-"]
    assert subprocess.run(plain, capture_output=True, check=True).stderr == b""
    ran = run(FakeDaemon(), "verify", "--decode", "list.ts")
    assert ran.code == 1
    assert "Permission denied" in ran.out
