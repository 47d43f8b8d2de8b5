# SPDX-License-Identifier: GPL-3.0-or-later
"""An MP4 of a joined transport stream: the same pictures and sound, and nothing is given up for less."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.jobs.join import remux
from streamvaultd.jobs.join.main import Join, Spec
from tests.component.test_join_media import FPS, SECONDS, Source, ffmpeg, make_source, transport, wrapping

__all__ = ["transport", "wrapping"]

pytestmark = pytest.mark.timeout(120)  # real programs, on whatever machine


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
    assert Join(spec, progress=lambda *step: steps.append(step)).run()
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
    assert Join(spec).run()
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
        Join(spec, reached=stop).run()
    assert Join(spec).run()
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
        assert Join(spec).run()
    assert stays(spec) == "ffmpeg is not installed"
    assert names(tmp_path) == ["joined.ts", "report.json"]


def test_it_is_not_tried_again_by_a_join_that_was_ended_with_it(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    (tmp_path / ".joined.mp4.part").write_bytes(b"as far as it came")
    assert Join(replace(spec, tries=2)).run()
    assert stays(spec) == "an earlier try of the join did not come through"
    assert names(tmp_path) == ["joined.ts", "report.json"]


def test_without_room_it_stays(tmp_path: Path, transport: Source) -> None:
    whole = tmp_path / "whole.ts"
    whole.write_bytes(transport.capture(*range(SECONDS)))
    with pytest.raises(remux.Kept, match="no room"):
        remux.to_mp4(whole, SECONDS * 1000, reserve=1 << 60, memory=1 << 30, moved=lambda _: None)
    assert names(tmp_path) == ["whole.ts"]


def test_ffmpeg_that_needs_more_memory_than_the_job_has_is_given_up(tmp_path: Path, transport: Source) -> None:
    whole = tmp_path / "whole.ts"
    whole.write_bytes(transport.capture(*range(SECONDS)))
    with pytest.raises(remux.Kept, match="ffmpeg could not do it"):
        remux.to_mp4(whole, SECONDS * 1000, reserve=0, memory=1 << 20, moved=lambda _: None)
    assert names(tmp_path) == ["whole.ts"]


def test_another_file_of_that_name_is_left(tmp_path: Path, transport: Source) -> None:
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    (tmp_path / "joined.mp4").write_bytes(b"a holiday film")
    assert Join(spec).run()
    assert "cannot read joined.mp4" in stays(spec)
    assert (tmp_path / "joined.mp4").read_bytes() == b"a holiday film"


def test_an_mp4_with_less_in_it_is_not_accepted(tmp_path: Path, transport: Source) -> None:
    assert Join(write(tmp_path, transport.capture(*range(SECONDS - 1)))).run()
    spec = write(tmp_path, transport.capture(*range(SECONDS)))
    assert Join(spec).run()
    assert "other packets" in stays(spec)


def test_what_an_encoder_that_begins_anew_has_sent_is_all_there(tmp_path: Path, transport: Source) -> None:
    """Its clock is set back in the middle."""
    folder = tmp_path / "again"
    folder.mkdir()
    again = make_source(folder, "mpegts", 5.0)
    spec = write(tmp_path, transport.capture(*range(SECONDS)) + again.capture(*range(SECONDS)))
    assert Join(spec).run()
    assert report(spec)["ok"]
    made = Path(report(spec)["path"])
    assert len(pictures(made)) == 2 * SECONDS * FPS


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
    assert Join(spec).run()
    assert "change at byte" in stays(spec)
    assert (tmp_path / "joined.ts").read_bytes() == first + other
