# SPDX-License-Identifier: GPL-3.0-or-later
"""Contact sheets and descriptions as media servers look for them, made by programs that may be killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from streamvaultd.base.filenames import NameFacts, fill, safe
from streamvaultd.config.filename import EPISODE, USUAL, as_episode, check_template
from streamvaultd.core.model import Library
from streamvaultd.jobs.after import nfo, sheets
from streamvaultd.jobs.after.step_program import Making, perform
from streamvaultd.jobs.join import output
from streamvaultd.recording.files.output import SegmentFiles
from tests.component.test_step_programs import Job

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

MINUTES = 18
"""More than one sheet holds, of which each picture is a hundred: 16 min 40 s."""

FULL_RANGE = 255 / 219
"""A JPEG has more steps of brightness than video."""

AT = datetime(2026, 11, 30, 9, 7, 12, tzinfo=UTC)
STARTED = round(AT.timestamp()) * 1_000_000
HOSTILE = [
    "plain", "", "<b>&amp;</b> ]]> \"'", "../../etc/passwd", "-rf", "CON", "a/b\\c:d*e?f", "two\nlines\r\n",
    "nul \0 \x1b[31m", "\ud800 half", "👨\u200d👩\u200d👧 🏳️\u200d🌈", "שלום \u202eabc", "S01E02 of AWE64", "1x02",
    "2019-01-01", "x" * 300, "é" * 300, "\ufffe\uffff", "…", "   ", ".hidden", "trailing. ", "%s {title} {0}",
    "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;",
]  # fmt: skip


@pytest.fixture(name="film", scope="module")
def _film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture a second, whose brightness goes up by one with every ten of them."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    source = f"nullsrc=s=64x36:r=1:d={60 * MINUTES},geq=lum='40+floor(T/10)':cb=128:cr=128"
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "5", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, *encode, str(path)], check=True)
    return path


def parsed(path: Path) -> Xml.Element:
    return Xml.fromstring(path.read_bytes())  # noqa: S314 - ours


def folder_of(job: Job) -> Path:
    return job.folder / "a b.trickplay" / "320 - 10x10"


def tile(sheet: Path, number: int) -> int:
    """How bright the middle of one of the pictures of a sheet is."""
    x, y = number % 10 * 320 + 100, number // 10 * 180 + 60
    view = ["-vf", f"crop=120:60:{x}:{y},scale=1:1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(sheet), *view]
    return subprocess.run(command, check=True, capture_output=True).stdout[0]


def test_the_sheets_are_where_a_server_looks_and_show_each_ten_seconds(film: Path, tmp_path: Path) -> None:
    job = Job(tmp_path, film, name="a b.mp4", duration=60_000 * MINUTES)
    told = job.run("sheets")
    assert sorted(path.name for path in folder_of(job).iterdir()) == ["0.jpg", "1.jpg"]
    files = {file["path"]: file["sha256"] for file in told["files"]}
    assert files == {str(path): sha256(path.read_bytes()).hexdigest() for path in folder_of(job).iterdir()}
    first = tile(folder_of(job) / "0.jpg", 0)
    for number in (1, 9, 10, 55, 99, 103):
        sheet, place = folder_of(job) / f"{number // 100}.jpg", number % 100
        assert tile(sheet, place) - first == pytest.approx(number * FULL_RANGE, abs=2.5)


def test_sheets_that_were_killed_after_some_had_names_are_done_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path, film, name="a b.mp4")
    publish, given = Making.publish, list[Path]()

    def once(made: Making, draft: Path, final: Path) -> None:
        if given:
            raise KeyboardInterrupt
        publish(made, draft, final)
        given.append(final)

    monkeypatch.setattr(Making, "publish", once)
    with pytest.raises(KeyboardInterrupt):
        perform(job.spec, sheets.make)
    monkeypatch.undo()
    inode = given[0].stat().st_ino
    assert len(job.run("sheets")["files"]) == 2
    assert given[0].stat().st_ino == inode


def test_a_folder_may_look_like_a_pattern(film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "50%d 100%"
    folder.mkdir()
    job = Job(folder, film, name="a b.mp4", duration=60_000 * MINUTES)
    assert len(job.run("sheets")["files"]) == 2
    assert sorted(path.name for path in folder_of(job).iterdir()) == ["0.jpg", "1.jpg"]


def test_what_has_no_pictures_has_no_sheets_and_says_so(film: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.ts"
    made = ["-f", "lavfi", "-i", "sine=d=3", "-c:a", "aac", str(sound)]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *made], check=True)
    told = Job(tmp_path, sound).run("sheets")
    assert (told["files"], told["notes"]) == ([], ["a b.ts has no pictures to make sheets of"])


def described(tmp_path: Path, name: str = "a b.mp4", **told: Any) -> Job:
    """A recording of which something is told."""
    source = tmp_path / "source"
    source.write_bytes(b"media")
    job = Job(tmp_path, source, name=name, duration=90_000)
    job.told |= {"started": STARTED, "ended": STARTED + 90_000_000, "policy": {"timezone": "Europe/Berlin"}, **told}
    return job


def test_an_episode_is_described(tmp_path: Path) -> None:
    titles = [{"at": 1, "title": "First", "category": "Chess"}, {"at": 2, "title": "Last", "category": "Go/Games"}]
    job = described(tmp_path, title="Last", category="Go/Games", titles=titles, siteId="b1")
    told = job.run("nfo")
    assert [file["path"] for file in told["files"]] == [str(job.folder / "a b.nfo")]
    root = parsed(job.folder / "a b.nfo")
    assert root.tag == "episodedetails"
    assert {each.tag: each.text for each in root if each.tag not in ("genre", "uniqueid")} == {
        "title": "Last", "showtitle": "demo", "season": "2026", "episode": "11301007", "aired": "2026-11-30",
        "plot": "First (Chess)\nLast (Go/Games)", "dateadded": "2026-11-30 09:08:42", "runtime": "2",
    }  # fmt: skip
    assert [each.text for each in root.iter("genre")] == ["Go/Games", "Chess"]
    assert [(each.get("type"), each.text) for each in root.iter("uniqueid")] == [
        ("streamvault", "7"),
        ("broadcast", "b1"),
    ]
    show = parsed(job.folder / "tvshow.nfo")
    assert (show.tag, show.findtext("title")) == ("tvshow", "demo")


@pytest.mark.parametrize("name", ["demo - S2025E42 - x.mp4", "s2025e42.mp4"])
def test_the_numbers_are_those_of_the_name(tmp_path: Path, name: str) -> None:
    """Kodi takes them from there, and nothing else."""
    job = described(tmp_path, name)
    job.run("nfo")
    root = parsed(job.result.with_suffix(".nfo"))
    assert (root.findtext("season"), root.findtext("episode")) == ("2025", "42")


@pytest.mark.parametrize("title", HOSTILE)
def test_any_title_makes_a_file_that_can_be_read(tmp_path: Path, title: str) -> None:
    shown = title.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    job = described(tmp_path, title=shown, category=shown, titles=[{"at": 1, "title": shown, "category": shown}])
    assert perform(job.spec, nfo.make)
    root = parsed(job.result.with_suffix(".nfo"))
    assert "\n" not in str(root.findtext("title"))
    assert root.findtext("title")
    assert "root:" not in Xml.tostring(root, encoding="unicode")
    assert sorted(path.name for path in job.folder.iterdir() if not path.name.startswith(".")) == [
        "a b.mp4", "a b.nfo", "tvshow.nfo",
    ]  # fmt: skip


def test_a_recording_of_the_shows_name_has_no_file_of_its_own(tmp_path: Path) -> None:
    """It would be taken for the show's, and go with this recording."""
    job = described(tmp_path, name="TVshow.mp4")
    told = job.run("nfo")
    assert (told["ok"], told["files"]) == (True, [])
    assert told["notes"] == ["TVshow.nfo is of all recordings, so there is none of this one"]
    assert parsed(job.folder / "tvshow.nfo").tag == "tvshow"


def test_a_try_that_was_lost_knows_its_file_by_what_is_in_it(tmp_path: Path) -> None:
    job = described(tmp_path, title="x")
    first = job.run("nfo")
    shutil.rmtree(job.spec.work)
    assert job.run("nfo") == first
    assert [Path(file["path"]).name for file in first["files"]] == ["a b.nfo"]


def test_what_somebody_has_written_stays(tmp_path: Path) -> None:
    job = described(tmp_path)
    for name in ("a b.nfo", "tvshow.nfo"):
        (job.folder / name).write_text("mine")
    told = job.run("nfo")
    assert (told["ok"], told["files"]) == (True, [])
    assert told["notes"] == ["a b.nfo is there already, and left as it is"]
    assert {(job.folder / name).read_text() for name in ("a b.nfo", "tvshow.nfo")} == {"mine"}


def test_a_try_that_was_killed_finds_its_own(tmp_path: Path) -> None:
    job = described(tmp_path)
    assert job.run("nfo")["files"] == job.run("nfo")["files"] != []


GROUP = 54_321
"""Of nobody here."""


def test_a_folder_of_another_group_gives_it_all_that_is_made(film: Path, tmp_path: Path) -> None:
    """Who is in that group may read it, and nobody else; nothing here is told of the group."""
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o2750)
    job = Job(tmp_path, film, name="a b.mp4")
    for module in ("sheets", "nfo"):
        assert job.run(module)["ok"]
    segment = job.folder / "stream_1_segments" / "segment_001.ts"
    os.close(SegmentFiles().create(segment))
    joined = output.opened(job.folder / "joined.ts", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with joined:
        pass
    found = [path for path in job.folder.rglob("*") if path != job.result]
    made = {
        path.relative_to(job.folder).as_posix()
        for path in found
        if not path.relative_to(job.folder).parts[0].startswith(".")
    }
    assert made >= {
        "a b.nfo",
        "a b.trickplay/320 - 10x10/1.jpg",
        "tvshow.nfo",
        "joined.ts",
        "stream_1_segments/segment_001.ts",
    }
    assert {path.stat().st_gid for path in found} == {GROUP}
    modes = {(path.is_dir(), path.stat().st_mode & 0o7777) for path in found}
    assert modes == {(True, 0o2750), (False, 0o640)}


# --- names -----------------------------------------------------------------------------------------------------------

JELLYFIN = re.compile(r"[Ss](\d+)[ ._-]*[Ee](\d+)")
"""Of the places in a name that may be an episode's, the first counts; in words of our own."""

KODI = re.compile(r"[Ss]([0-9]+)[\]\[ ._-]*[Ee]p?([0-9]+)(?![0-9])")


@pytest.mark.parametrize("title", HOSTILE)
@pytest.mark.parametrize("rule", [JELLYFIN, KODI], ids=["jellyfin", "kodi"])
def test_any_title_leaves_season_and_episode_to_be_found(title: str, rule: re.Pattern[str]) -> None:
    facts = NameFacts(streamer="alice", start=AT, recording=7, stream=7, title=title)
    name = safe(fill(EPISODE, facts), fallback="recording_7")
    assert name.startswith("alice - S2026E11300907 - 2026-11-30")
    found = rule.search(name)
    assert found is not None
    assert (found[1], found[2]) == ("2026", "11300907")
    assert nfo.episode_of(name, AT) == nfo.Episode(2026, 11_300_907)
    assert "/" not in name
    assert len(name.encode()) <= 200


def test_only_the_usual_name_becomes_an_episodes() -> None:
    assert check_template(EPISODE) == EPISODE
    assert as_episode(USUAL, Library.JELLYFIN) == EPISODE
    assert as_episode(USUAL, Library.NONE) == USUAL
    assert as_episode("{title} {id}", Library.JELLYFIN) == "{title} {id}"
