# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has which scratch folder: one run on each small file system, and what is told when there are too few."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from streamvaultd.scopes.scratch import Scratch, small_ones

DROP_IN = Path(__file__).parents[2] / "systemd/streamvaultd.service.d/scratch.conf"
LINE = re.compile(r"TemporaryFileSystem=/tmp/scratch/(\d\d):mode=1777,size=16M,nr_inodes=1k,nosuid,nodev")


@pytest.fixture
def small(tmp_path: Path) -> list[Path]:
    places = [tmp_path / "0", tmp_path / "1"]
    for place in places:
        place.mkdir()
    return places


@pytest.fixture
def scratch(tmp_path: Path, small: list[Path]) -> Scratch:
    return Scratch(tmp_path, small)


def give(scratch: Scratch, run: str, *, is_browser: bool = False) -> str:
    """Where a run has its folder; it makes it, and leaves a file there."""
    folder = scratch.give(run, is_browser=is_browser)
    folder.mkdir()
    (folder / "file").touch()
    assert folder.name == run
    return folder.parent.name


def test_each_run_has_a_small_one_of_its_own(scratch: Scratch, small: list[Path]) -> None:
    assert [give(scratch, run) for run in ("a", "b")] == ["0", "1"]
    assert scratch.trouble() == []
    scratch.take_back("a")
    assert list(small[0].iterdir()) == []
    assert give(scratch, "c") == "0"
    assert [path.name for path in small[1].iterdir()] == ["b"]


def test_a_run_that_is_started_again_has_the_same(scratch: Scratch) -> None:
    assert scratch.give("a", is_browser=False) == scratch.give("a", is_browser=False)
    assert give(scratch, "b") == "1"


def test_what_finds_none_free_shares_one_and_that_is_told(scratch: Scratch, tmp_path: Path) -> None:
    give(scratch, "a")
    give(scratch, "b")
    assert [give(scratch, run) for run in ("c", "d")] == [tmp_path.name] * 2
    (told,) = scratch.trouble()
    assert told.startswith("2 more than the 2 small scratch folders are in use")
    scratch.take_back("c")
    scratch.take_back("a")
    assert not (tmp_path / "c").exists()
    assert give(scratch, "e") == "0"
    scratch.take_back("d")
    assert scratch.trouble() == []


def test_browsers_share_one_and_nothing_is_told(scratch: Scratch, tmp_path: Path) -> None:
    assert give(scratch, "browser", is_browser=True) == tmp_path.name
    assert scratch.trouble() == []
    assert [give(scratch, run) for run in ("a", "b")] == ["0", "1"]
    scratch.take_back("browser")
    assert not (tmp_path / "browser").exists()


def test_one_that_is_not_empty_is_given_to_nobody(scratch: Scratch, small: list[Path]) -> None:
    (small[0] / "left").touch()
    assert give(scratch, "a") == "1"
    (small[0] / "left").unlink()
    assert give(scratch, "b") == "0"


def test_what_never_had_one_may_be_taken_back(scratch: Scratch) -> None:
    """An earlier daemon gave it a folder, in the mount namespace that it had."""
    scratch.take_back("of-an-earlier-daemon")
    assert give(scratch, "a") == "0"


def test_small_ones_are_file_systems_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("10", "09", "11", "streamvault-1-001"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name != "11")
    assert [place.name for place in small_ones(tmp_path)] == ["09", "10"]
    assert small_ones(tmp_path / "none") == []


def test_the_unit_has_small_file_systems_one_like_the_other() -> None:
    lines = [line for line in DROP_IN.read_text().splitlines() if line.startswith("Temp")]
    found = [LINE.fullmatch(line) for line in lines]
    assert [match and int(match[1]) for match in found] == list(range(48))
